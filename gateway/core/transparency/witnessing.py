"""Witnesses: others who sign a head only if it continues the one they signed before (c2sp.org/tlog-witness, tlog-policy).

Rules: a witness remembers size and root of the newest head of each log; it signs another one only with a proof that the new tree begins
with the old. A policy names logs, witnesses, groups and the quorum; a head counts as witnessed when its quorum is met. This room must not
read a clock or keep what was seen: check and store are one step of whoever keeps it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.notes import Checkpoint, KeyRing, KnownKey
from gateway.core.exchange.wire import b64, unb64
from gateway.core.signing import CosignatureVerifier, Verifier, parse_cosignature_vkey, parse_vkey
from gateway.core.transparency.tiles import check_consistency

MAX_PROOF: Final = 63
MAX_REQUEST: Final = 32 * 1024
"""Bytes of the largest request: a proof of 63 lines and a note of 16 KiB."""
_OLD = re.compile(r"old (0|[1-9][0-9]{0,15})\Z")


class WitnessRefused(Exception):
    """Why a witness does not sign; `size`: the size that it holds."""

    def __init__(self, status: int, said: str, *, size: int | None = None) -> None:
        super().__init__(said)
        self.status = status
        self.said = said
        self.size = size


class Held(NamedTuple):
    """The newest head that a witness has signed."""

    size: int
    root: bytes


class Ask(Struct, frozen=True, kw_only=True):
    """A request to a witness; nothing is believed yet."""

    old: int
    proof: tuple[bytes, ...]
    note: str


def write_ask(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body of `add-checkpoint`."""
    return "".join([f"old {old}\n", *(f"{b64(node)}\n" for node in proof), "\n", note]).encode()


def read_ask(body: bytes) -> Ask:
    """The request out of its body.

    Raises WitnessRefused 400.
    """
    try:
        text = body.decode()
        if len(body) > MAX_REQUEST:
            raise ValueError
        head, separator, note = text.partition("\n\n")
        first, *rest = head.split("\n")
        old = _OLD.match(first)
        if old is None or not separator or len(rest) > MAX_PROOF:
            raise ValueError
        proof = tuple(unb64(line, "SCHEMA_LINE") for line in rest)
        if any(len(node) != 32 for node in proof):
            raise ValueError
    except (ValueError, ExchangeError) as error:
        raise WitnessRefused(400, "the body is `old SIZE`, proof lines, an empty line and a checkpoint") from error
    return Ask(old=int(old[1]), proof=proof, note=note)


def judge(ask: Ask, logs: Mapping[str, KeyRing], held: Held | None) -> Checkpoint:
    """The head that a witness who holds `held` of this log signs; `logs`: by origin the keys of logs it knows.

    Raises WitnessRefused: 404 for an unknown log, 403 without a good signature of a trusted key, 400 for an older tree that is larger,
    409 for another size held or two roots of one size, 422 for a proof that does not hold.
    """
    head, text, lines = _head_of(ask.note)
    ring = logs.get(head.origin)
    if ring is None:
        raise WitnessRefused(404, "no log of this origin is known here")
    known = [(ring.keys[line.name, line.key_id], line) for line in lines if (line.name, line.key_id) in ring.keys]
    if not known or not all(key.verifier.verify(text.encode(), line.signature) for key, line in known):
        raise WitnessRefused(403, "no good signature of a key of this log")
    if ask.old > head.size:
        raise WitnessRefused(400, "the older tree is larger than the newer one")
    size, root = held if held is not None else Held(0, notes.EMPTY_ROOT)
    if ask.old != size or (head.size == size and head.root != root):
        raise WitnessRefused(409, "another size is held", size=size)
    try:
        check_consistency(size, root, head.size, head.root, ask.proof)
    except ExchangeError as error:
        raise WitnessRefused(422, "the proof does not hold") from error
    return head


def origin_asked(ask: Ask) -> str:
    """The log that a request is about, before anything of it is believed.

    Raises WitnessRefused 400.
    """
    return _head_of(ask.note)[0].origin


def _head_of(note: str) -> tuple[Checkpoint, str, tuple[notes.SignatureLine, ...]]:
    try:
        parsed = notes.parse(note)
        return notes.read_checkpoint(parsed.text), parsed.text, parsed.lines
    except ExchangeError as error:
        raise WitnessRefused(400, "the note is no checkpoint") from error


# --- policy -----------------------------------------------------------------------------------------------------------


class Witness(Struct, frozen=True, kw_only=True):
    """One witness: its key, and where it is asked."""

    name: str
    verifier: CosignatureVerifier
    url: str | None


class LogPolicy(Struct, frozen=True, kw_only=True):
    """Which logs and witnesses are trusted, and how many of them make a head good."""

    logs: tuple[Verifier, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    groups: Mapping[str, tuple[int, tuple[str, ...]]] = {}
    """By name: how many of which witnesses or groups."""
    quorum: str | None = None

    def met(self, signed: frozenset[str]) -> bool:
        """Whether the witnesses of these names make the quorum."""
        return self.quorum is None or self._good(self.quorum, signed)

    def witnessed(self, note: str) -> bool:
        """Whether a head is witnessed: a quorum is asked for, and its witnesses have signed. Without a quorum nobody outside has looked."""
        return self.quorum is not None and self.met(frozenset(cosigned(note, self.witnesses)))

    def _good(self, name: str, signed: frozenset[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in signed
        needed, members = group
        return sum(self._good(member, signed) for member in members) >= needed


def lines_of(text: str) -> tuple[str, ...]:
    """What a policy file says, without its remarks."""
    words = (line.split() for line in text.splitlines())
    return tuple(" ".join(each) for each in words if each and not each[0].startswith("#"))


def read_policy(text: str) -> LogPolicy:
    """A policy out of its file (c2sp.org/tlog-policy): `log`, `witness`, `group` and one `quorum`; names before they are used.

    Raises ExchangeError SCHEMA_LINE with the line.
    """
    logs: list[Verifier] = []
    witnesses: dict[str, Witness] = {}
    groups: dict[str, tuple[int, tuple[str, ...]]] = {}
    quorum: list[str | None] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        known = witnesses.keys() | groups.keys()
        try:
            match words:
                case ["log", vkey, *url] if len(url) < 2:
                    logs.append(parse_vkey(vkey))
                case ["witness", name, vkey, *url] if len(url) < 2 and name not in known and name != "none":
                    witnesses[name] = Witness(name=name, verifier=parse_cosignature_vkey(vkey), url=url[0] if url else None)
                case ["group", name, needed, *members] if name not in known and name != "none" and members and known >= set(members):
                    count = {"any": 1, "all": len(members)}.get(needed) or int(needed)
                    if not 1 <= count <= len(set(members)) or len(set(members)) != len(members):
                        raise ValueError
                    groups[name] = (count, tuple(members))
                case ["quorum", "none"]:
                    quorum.append(None)
                case ["quorum", name] if name in known:
                    quorum.append(name)
                case _:
                    raise ValueError
        except (ValueError, ExchangeError) as error:
            raise ExchangeError("no line of a log policy", code="SCHEMA_LINE", place=f"line {number}") from error
    if len(quorum) != 1:
        raise ExchangeError("a log policy has one quorum line", code="SCHEMA_LINE")
    return LogPolicy(logs=tuple(logs), witnesses=tuple(witnesses.values()), groups=groups, quorum=quorum[0])


def cosigned(note: str, witnesses: Sequence[Witness]) -> dict[str, datetime]:
    """By name of the witness the time at which it signed this head.

    Raises ExchangeError SIG_FORMAT, and SIG_INVALID where a known witness's line fails.
    """
    parsed = notes.parse(note)
    known = {(each.verifier.name, each.verifier.key_id): each for each in witnesses}
    found: dict[str, datetime] = {}
    for line in parsed.lines:
        witness = known.get((line.name, line.key_id))
        if witness is None:
            continue
        if not witness.verifier.verify(parsed.text.encode(), line.signature):
            raise ExchangeError("a witness's signature fails", code="SIG_INVALID", place=line.name)
        found[witness.name] = datetime.fromtimestamp(int.from_bytes(line.signature[:8], "big"), UTC)
    return found


def ring_of(origin: str, verifiers: Sequence[Verifier]) -> KeyRing:
    """The keys that sign this log: those whose name is its origin."""
    return KeyRing.of(origin, [KnownKey(verifier=each, use="log") for each in verifiers if each.name == origin])
