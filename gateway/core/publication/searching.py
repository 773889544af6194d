"""How a typed text is looked for among names, and which names fit how well (api.md §8.4–§8.6).

Rules: what a query's tokens find is only a candidate: `matched` looks at the text again, so no engine decides an answer. Rank: exact
name, exact core, prefix, phrase, all pairs, 60 % of the pairs; then likeness of the core; then not cancelled; then the opaque id.
Nothing else: a subject is found by what it is called. This room must not see anything but shown names.
"""

from collections.abc import Iterable, Sequence
from typing import Literal
from unicodedata import normalize

from msgspec import Struct
from rapidfuzz.distance import Indel

from gateway.core.publication.names import (
    BRAND_MARK,
    CORE_MARK,
    INITIALS_MARK,
    PINYIN_MARK,
    Name,
    is_single,
    normalise,
    pairs,
    split,
    units,
)

MAX_QUERY = 128
"""Code points of a query after normalisation (api.md §12.10)."""
MAX_CANDIDATES = 1000
"""How many candidates of one query can be walked."""
RERANKED = 200
"""How many of them are compared character by character."""

Route = Literal["uscc", "org_code", "reg_no", "spoken", "character", "pairs", "nothing"]


class NameQuery(Struct, frozen=True, kw_only=True):
    """A query as the index is asked: what must be there, what is enough, and how to look again."""

    route: Route
    text: str
    """Normalised."""
    core: str
    """Of the query, as if it were a name."""
    asked: tuple[tuple[str, ...], ...]
    """Groups of tokens that are all required; groups are tried in this order until one finds something."""
    loose: tuple[str, ...] = ()
    """Any one of these finds the candidates for "at least 60 % of the pairs"."""
    needed: tuple[str, ...] = ()
    """The pairs of which 60 % must be there for a loose hit."""


def route(text: str) -> Route:
    """Which way a query goes, by its shape alone."""
    norm = normalise(text)
    if not norm:
        return "nothing"
    plain = "".join(normalize("NFKC", text).upper().split())
    if len(plain) == 18 and plain.isascii() and plain.isalnum() and any(character.isdigit() for character in plain):
        return "uscc"
    if len(norm) == 15 and norm.isascii() and norm.isdigit():
        return "reg_no"
    if len(norm) == 9 and norm.isascii() and norm[:8].isalnum() and any(character.isdigit() for character in norm):
        return "org_code"
    if norm.isascii() and norm.isalpha():
        return "spoken"
    if len(norm) == 1:
        return "character"
    return "pairs"


def read_query(text: str) -> NameQuery:
    """How the index is asked for a text: pairs of its region and form are ignored while another remains."""
    name = split(text)
    norm = name.norm
    way = route(text)
    if way == "nothing":
        return NameQuery(route=way, text="", core="", asked=())
    if way == "character":
        groups: tuple[tuple[str, ...], ...] = ((BRAND_MARK + norm,), (CORE_MARK + norm,)) if is_single(norm) else ((norm,),)
        return NameQuery(route=way, text=norm, core=norm, asked=groups)
    if way == "spoken":
        return NameQuery(route=way, text=norm, core=norm, asked=((norm,), (PINYIN_MARK + norm,), (INITIALS_MARK + norm,)))
    every = pairs(norm) or [norm]
    common = _everyday_pairs(name)
    telling = [token for token in every if token not in common]
    if not telling:
        return NameQuery(route=way, text=norm, core=name.core, asked=(tuple(every),))
    loose: tuple[str, ...] = ()
    if len(every) >= 3:
        # A name that holds 60 % of n pairs misses at most n − needed of them: among any (n − needed + 1) it holds one.
        enough = -(-len(every) * 3 // 5)
        loose = tuple((telling + [token for token in every if token in common])[: len(every) - enough + 1])
    return NameQuery(route=way, text=norm, core=name.core, asked=(tuple(telling),), loose=loose, needed=tuple(every))


def _everyday_pairs(name: Name) -> frozenset[str]:
    """Pairs of the region and the form of a query: they tell little."""
    return frozenset(pairs(name.region)) | frozenset(pairs(name.form))


EXACT_NAME, EXACT_CORE, PREFIX, PHRASE, ALL_PAIRS, MOST_PAIRS = range(6)


def matched(query: NameQuery, name_norm: str, core: str, tokens: str) -> int | None:
    """How a candidate fits the query, best 0; None when it only shares tokens with it."""
    text = query.text
    if name_norm == text:
        return EXACT_NAME
    if core and core == (query.core or text):
        return EXACT_CORE
    if query.route == "character":
        if core.startswith(text):
            return PREFIX
        return PHRASE if text in core else None
    if query.route == "spoken":
        if text in units(name_norm):
            return PHRASE
        held = tokens.split(" ")
        return ALL_PAIRS if PINYIN_MARK + text in held else MOST_PAIRS if INITIALS_MARK + text in held else None
    if name_norm.startswith(text) or core.startswith(text):
        return PREFIX
    if text in name_norm:
        return PHRASE
    if query.loose:
        held_pairs = set(tokens.split(" "))
        share = sum(token in held_pairs for token in query.needed)
        if share == len(query.needed):
            return ALL_PAIRS
        if share * 5 >= len(query.needed) * 3:
            return MOST_PAIRS
    return None


def likeness(query: NameQuery, name: str, core: str) -> int:
    """0 … 1000: how alike two cores are (brand and trade over region, form nearly nothing)."""
    one = Indel.normalized_similarity(query.core or query.text, core)
    other = Indel.normalized_similarity(query.text, name)
    return round(900 * one + 100 * other)


class Candidate(Struct, frozen=True, kw_only=True):
    """One name that shares tokens with a query."""

    subject_id: str
    role: str
    shown: str
    name_norm: str
    core: str
    tokens: str
    cancelled: bool = False


class Hit(Struct, frozen=True, kw_only=True):
    """One subject found, with the name that found it."""

    subject_id: str
    matched_on: str
    shown: str
    order: tuple[int, int, int, str]
    """Tier, unlikeness, cancelled, id: immutable while the names are, so a walk can stand on it."""


_NOT_COMPARED = 1001


def rank(query: NameQuery, candidates: Iterable[Candidate], *, capped: bool = False) -> list[Hit]:
    """The subjects a query finds, best first, each once; ties by opaque id.

    `capped`: more names fit than can be walked, so likeness says nothing: within a tier the order is by id.
    """
    tiers: list[tuple[int, int, int, str, Candidate]] = []
    for candidate in candidates:
        tier = matched(query, candidate.name_norm, candidate.core, candidate.tokens)
        if tier is not None:
            tiers.append((tier, int(candidate.cancelled), int(candidate.role != "name"), candidate.subject_id, candidate))
    tiers.sort(key=lambda item: item[:4])
    best: dict[str, Hit] = {}
    for position, (tier, cancelled, _, subject_id, candidate) in enumerate(tiers):
        if capped:
            order = (tier, 0, 0, subject_id)
        else:
            unlike = 1000 - likeness(query, candidate.name_norm, candidate.core) if position < RERANKED else _NOT_COMPARED
            order = (tier, unlike, cancelled, subject_id)
        known = best.get(subject_id)
        if known is None or order < known.order:
            best[subject_id] = Hit(
                subject_id=subject_id, matched_on="name" if candidate.role == "name" else "former_name", shown=candidate.shown, order=order
            )
    return sorted(best.values(), key=lambda hit: hit.order)


def highlight(query: NameQuery, shown: str) -> list[list[int]]:
    """Where the query stands in a shown name: half-open ranges of code points; of single pairs where the whole is not there."""
    norm, origin = _traced(shown)
    wanted = [query.text] if query.text in norm else [token for token in query.needed if token in norm]
    marked = sorted({origin[index] for text in wanted for start in _starts(norm, text) for index in range(start, start + len(text))})
    ranges: list[list[int]] = []
    for index in marked:
        if ranges and ranges[-1][1] == index:
            ranges[-1][1] = index + 1
        else:
            ranges.append([index, index + 1])
    return ranges


def _starts(norm: str, text: str) -> Sequence[int]:
    found: list[int] = []
    at = norm.find(text)
    while at >= 0:
        found.append(at)
        at = norm.find(text, at + 1)
    return found


def _traced(shown: str) -> tuple[str, list[int]]:
    """The normalised text, and for each of its characters the place it came from."""
    text = ""
    origin: list[int] = []
    for index, character in enumerate(shown):
        piece = normalise(character)
        text += piece
        origin.extend([index] * len(piece))
    return text, origin
