"""Range look-ups: who stands on which lists, asked and answered by the beginning of a digest (api.md §7.11).

Rules:
- a row is the digest of a code or a name of an organisation that stands on a list now, with a bit for each list; two of one name
  share a row. Who stands on none has no row: that somebody is known here at all is not told.
- every answer has 64 rows or a multiple of it. What is missing are rows of no bits, made by a keyed function of question, prefix and
  version: the same while the version is, so that asking again tells nothing. Rows stand in order of their digests, and all of one
  answer are equally long.
- digests are of what a View showed. This room must not decide who stands on a list.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b, sha256
from typing import Final, Literal

from gateway.core.publication.names import normalise
from gateway.core.publication.subjects import SubjectPage
from gateway.core.records.catalogue import ListDef
from gateway.core.signing import sm3

Algorithm = Literal["sha256", "sm3"]
On = Literal["uscc", "name"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = ("sha256", "sm3")
ON: Final[tuple[On, ...]] = ("uscc", "name")
MIN_PREFIX: Final = 2
MAX_PREFIX: Final = 5
STEP: Final = 64
"""Rows of an answer are a multiple of it."""
CROWD: Final = 50
"""So many of the register should begin alike, that a prefix points at nobody."""
DIGITS: Final = 64
"""Hexadecimal digits of a digest, of either algorithm."""


def digest(algorithm: Algorithm, text: str) -> str:
    """The digest of a text in UTF-8, as hexadecimal digits."""
    data = text.encode()
    return sha256(data).hexdigest() if algorithm == "sha256" else sm3(data).hex()


def question(algorithm: Algorithm, on: On) -> str:
    """Under which word the rows of one question are kept."""
    return f"{algorithm}/{on}"


def keys_of(page: SubjectPage) -> list[tuple[str, str]]:
    """(question, digest) of everything by which an organisation may be asked about: its code, its name, its former names."""
    texts: list[tuple[On, str]] = [] if page.code is None else [("uscc", page.code)]
    texts += [("name", norm) for norm in dict.fromkeys(normalise(name) for _, name in page.names) if norm]
    return [(question(algorithm, on), digest(algorithm, text)) for on, text in texts for algorithm in ALGORITHMS]


def bits_of(page: SubjectPage, lists: Mapping[str, ListDef]) -> int:
    """The bits of the lists on which it stands."""
    bits: int = 0
    for each in page.lists:
        bits |= 1 << int(lists[each].range_bit)
    return bits


def recommended(size: int) -> int:
    """The longest prefix of which, in a register of this size, at least 50 begin alike; never less than the shortest."""
    return max((length for length in range(MIN_PREFIX, MAX_PREFIX + 1) if size >= CROWD * 16**length), default=MIN_PREFIX)


def told_size(size: int) -> int:
    """The size of the register as it is told: its first two digits, so that nobody sees one organisation come or go."""
    unit: int = 10 ** max(0, len(str(size)) - 2)
    return size // unit * unit


def lines(rows: Iterable[tuple[str, int]], *, asked: str, prefix: str, version: str, key: bytes) -> bytes:
    """The answer: a line for each digest with its bits, and lines of no bits up to the next multiple of 64."""
    found: dict[str, int] = {}
    for each, bits in rows:
        found[each] = found.get(each, 0) | bits
    found = {each: bits for each, bits in found.items() if bits}
    wanted = STEP * max(1, -(-len(found) // STEP))
    number = 0
    while len(found) < wanted:
        seed = f"{asked}\0{prefix}\0{version}\0{number}".encode()
        found.setdefault(prefix + blake2b(seed, key=key, digest_size=DIGITS // 2).hexdigest()[len(prefix) :], 0)
        number += 1
    return "".join([f"{each[len(prefix) :]}:{bits:08x}\n" for each, bits in sorted(found.items())]).encode()
