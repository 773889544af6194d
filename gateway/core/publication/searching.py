"""How a typed text is looked for among names, and which names fit how well (api.md §8.4–§8.6).

Rules: what a query's tokens find is only a candidate: `matched` looks at the text again, so no engine decides an answer. Rank: exact
name, exact core, prefix, phrase, all pairs, same sound or same characters, 60 % of the pairs, one character apart (the tier); then, where
the text itself does not stand there, likeness of the core; then the place of the name (`names`: short before long, active before cancelled,
opaque id). What is typed wrong is looked for only where nothing is found as typed. Nothing else: a subject is found by what it is called.

Tiers and places are strict orders, and the index gives names by place: so a page is full when as many hits are `certain`, however many
names hold the text (`Step`). This room must not see anything but shown names.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from operator import itemgetter
from typing import Final, Literal, Protocol
from unicodedata import normalize

from msgspec import Struct
from rapidfuzz.distance import Indel

from gateway.core.publication.names import (
    BRAND_MARK,
    CORE_MARK,
    FORMS,
    INITIALS_MARK,
    PINYIN_MARK,
    START_MARK,
    TYPED,
    TYPED_MARK,
    is_plain,
    is_single,
    normalise,
    pairs,
    said_cores,
    said_regions,
    sounding,
    split,
    starts,
    typed,
    units,
)

MAX_QUERY = 128
"""Code points of a query after normalisation (api.md §12.10)."""
MAX_CANDIDATES = 1000
"""How many candidates of one query can be walked."""
RERANKED = 200
"""How many of them are compared character by character."""

EXACT_NAME, EXACT_CORE, PREFIX, PHRASE, ALL_PAIRS, SOUNDS, MOST_PAIRS, NEAR = range(8)
"""Tiers."""
Route = Literal["uscc", "org_code", "reg_no", "spoken", "character", "pairs", "nothing"]


class Step(Struct, frozen=True):
    """Names that hold all of these tokens: none fits better than the tier, save those that begin so."""

    tier: int
    tokens: tuple[str, ...]
    begun: str = ""
    """Who holds this token as well begins with the text."""


class NameQuery(Struct, frozen=True, kw_only=True, dict=True):
    """A query as the index is asked: what must be there, what is enough, and how to look again."""

    route: Route
    text: str
    """Normalised."""
    core: str
    """Of the query, as if it were a name."""
    said: tuple[str, ...] = ()
    """Of Latin letters what may be the pinyin of a core: all of them, and without a region before and a form behind."""
    asked: tuple[tuple[Step, ...], ...]
    """Ways to its candidates, tried in this order until one finds something; the steps of a way share no name."""
    loose: tuple[str, ...] = ()
    """Any one of these finds the candidates for "at least 60 % of the pairs"."""
    needed: tuple[str, ...] = ()
    """The pairs of which 60 % must be there for a loose hit."""

    @cached_property
    def sounds(self) -> frozenset[str]:
        """Tokens of who sounds like the core."""
        return frozenset(sounding(self.core)) if self.needed and len(self.core) > 1 else frozenset()

    @cached_property
    def besides(self) -> "Judge":
        """How names fit in which the text does not stand: nearly always it stands in every name that the index gives."""
        return _judge_besides(self)

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """What Latin letters mean that are the pinyin of a region and no more: looked for where nobody is called so."""
        return said_regions(self.text) if self.route == "spoken" else ()

    @property
    def near(self) -> tuple[tuple[str, ...], ...]:
        """Groups of tokens that find a core with a wrong homophone, two characters swapped, or one character wrong."""
        if not self.needed or len(self.core) == 1:
            return ()
        return (*((token,) for token in sorted(self.sounds)), *_one_wrong(self.core))


def route(text: str) -> Route:
    """Which way a query goes, by its shape alone."""
    if is_plain(text) and not text.isascii():  # nearly every query is a Chinese text and nothing else
        return "character" if len(text) == 1 else "pairs"
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
    # nothing but itself, and no Latin letters alone: it can be no code
    way: Route = route(text) if norm != text or text.isascii() else "character" if len(text) == 1 else "pairs"
    if way == "nothing":
        return NameQuery(route=way, text="", core="", asked=())
    if way == "character":
        step = Step(PHRASE, (CORE_MARK + norm,), BRAND_MARK + norm) if is_single(norm) else Step(PHRASE, (norm,), starts(norm)[0])
        return NameQuery(route=way, text=norm, core=norm, asked=((step,),))
    if way == "spoken":
        spoken = Step(PHRASE, (norm,)), Step(ALL_PAIRS, (PINYIN_MARK + norm,)), Step(MOST_PAIRS, (INITIALS_MARK + norm,))
        said = norm, *said_cores(norm)
        whole = tuple([Step(ALL_PAIRS, (PINYIN_MARK + each,)) for each in said[1:]])
        begun = tuple([Step(NEAR, (token,)) for token in dict.fromkeys(map(typed, said)) if token])  # somebody is still typing
        return NameQuery(route=way, text=norm, core=norm, said=said, asked=tuple([steps for steps in (spoken, whole, begun) if steps]))
    every = pairs(norm) or [norm]
    own = frozenset((*pairs(name.region), *pairs(name.form))) if name.region or name.form else frozenset()
    telling = [token for token in every if token not in _FORM_PAIRS and token not in own]
    start = START_MARK + norm[:2] if len(norm) > 1 and is_single(norm[0]) and is_single(norm[1]) else starts(norm)[0]
    if not telling:
        return NameQuery(route=way, text=norm, core=name.core, asked=((Step(PHRASE, tuple(every), start),),))
    loose: tuple[str, ...] = ()
    if len(every) >= 3:
        # A name that holds 60 % of n pairs misses at most n − needed of them: among any (n − needed + 1) it holds one.
        enough = -(-len(every) * 3 // 5)
        loose = tuple((telling + [token for token in every if token not in telling])[: len(every) - enough + 1])
    asked: list[tuple[Step, ...]] = [(Step(PHRASE, tuple(telling), start),)]
    if name.region:
        core = tuple([token for token in pairs(name.core) if token not in _FORM_PAIRS and token not in own])
        if core and core != tuple(telling):
            asked.append((Step(ALL_PAIRS, core),))  # 通化示例 is 通化市示例, though 化示 stands nowhere in it
    return NameQuery(
        route=way,
        text=norm,
        core=name.core,
        asked=tuple(asked),
        loose=loose,
        needed=tuple(every),
    )


_LONGEST_MENDED = 12
_SHORTEST_MENDED = 4


def _one_wrong(core: str) -> list[tuple[str, ...]]:
    """Groups of marked characters: all of a core, in whatever order, and of a longer one all but each."""
    marked = list(dict.fromkeys(CORE_MARK + character for character in core if is_single(character)))
    if len(marked) < 3 or len(marked) > _LONGEST_MENDED:
        return []
    groups = [tuple(marked)]
    if len(marked) >= _SHORTEST_MENDED:
        groups += [tuple(marked[:place] + marked[place + 1 :]) for place in range(len(marked))]
    return groups


_FORM_PAIRS = frozenset(pair for form in FORMS for pair in pairs(form))
"""Pairs of any form; like those of a query's own region and form they tell little."""

_MARKS: Final = frozenset((BRAND_MARK, CORE_MARK, PINYIN_MARK, INITIALS_MARK, START_MARK, TYPED_MARK))

_NEAR_ENOUGH = 0.7


Judge = Callable[[str, str, str], int | None]
"""Of a candidate's normalised name, core and tokens: how it fits a query, best 0; None when it only shares tokens with it.

Of a name that holds the text itself the tokens are not looked at, unless it is Latin letters that may be spoken."""


def matched(query: NameQuery, name_norm: str, core: str, tokens: str) -> int | None:
    """How a candidate fits the query, best 0; None when it only shares tokens with it."""
    return judge_of(query)(name_norm, core, tokens)


def judge_of(query: NameQuery) -> Judge:
    """How candidates fit a query: what follows from the query alone is worked out once for all of them."""
    made = {"character": _judge_character, "spoken": _judge_spoken}.get(query.route, _judge_pairs)
    return made(query, query.text, query.core or query.text)


def _judge_character(query: NameQuery, text: str, own: str) -> Judge:
    def judge(name_norm: str, core: str, tokens: str) -> int | None:
        if name_norm == text:
            return EXACT_NAME
        if core and core == own:
            return EXACT_CORE
        if core.startswith(text):
            return PREFIX
        return PHRASE if text in core else None

    return judge


def _judge_spoken(query: NameQuery, text: str, own: str) -> Judge:
    def judge(name_norm: str, core: str, tokens: str) -> int | None:
        if name_norm == text:
            return EXACT_NAME
        if core and core == own:
            return EXACT_CORE
        if text in units(name_norm):
            return PHRASE
        held = f" {tokens} "
        if any(f" {PINYIN_MARK}{said} " in held for said in query.said):
            return ALL_PAIRS
        if f" {INITIALS_MARK}{text} " in held:
            return MOST_PAIRS
        return NEAR if any(len(said) >= TYPED[0] and f" {PINYIN_MARK}{said}" in held for said in query.said) else None

    return judge


def _judge_pairs(query: NameQuery, text: str, own: str) -> Judge:
    def judge(name_norm: str, core: str, tokens: str) -> int | None:
        if name_norm == text:
            return EXACT_NAME
        if core and core == own:
            return EXACT_CORE
        if name_norm.startswith(text) or core.startswith(text):
            return PREFIX
        if text in name_norm:
            return PHRASE
        return query.besides(name_norm, core, tokens)

    return judge


def _judge_besides(query: NameQuery) -> Judge:
    """How names fit a query whose text does not stand in them."""
    needed = query.needed if query.loose else ()
    # two characters follow one another in a name where they are a token of it; any other token is looked for among all of them, as
    # text, for a set of them would be made for each name
    together = tuple([token for token in needed if len(token) == 2 and all(map(is_single, token)) and token[0] not in _MARKS])
    others = tuple([f" {token} " for token in needed if token not in together])
    every, enough = len(needed), -(-len(needed) * 3 // 5)
    sounds = tuple([f" {token} " for token in query.sounds])
    own = query.core  # not the query, which keeps this judge
    size, letters = len(own), sorted(own)
    mended = size >= _SHORTEST_MENDED

    def judge(name_norm: str, core: str, tokens: str) -> int | None:
        share = 0
        for token in together:
            if token in name_norm:
                share += 1
        held = f" {tokens} "
        for token in others:
            if token in held:
                share += 1
        if share and share == every:
            return ALL_PAIRS
        for token in sounds:
            if token in held:
                return SOUNDS
        if len(core) == size > 2 and sorted(core) == letters:
            return SOUNDS
        if every and share >= enough:
            return MOST_PAIRS
        if mended and Indel.normalized_similarity(own, core, score_cutoff=_NEAR_ENOUGH) >= _NEAR_ENOUGH:
            return NEAR
        return None

    return judge


def likeness(query: NameQuery, name: str, core: str) -> int:
    """0 … 1000: how alike two cores are (brand and trade over region, form nearly nothing)."""
    one = Indel.normalized_similarity(query.core or query.text, core)
    other = Indel.normalized_similarity(query.text, name)
    return round(900 * one + 100 * other)


class Candidate(Protocol):
    """One name that shares tokens with a query: a row of the index."""

    place: int
    subject_id: str
    role: str
    shown: str
    name_norm: str
    core: str
    tokens: str


class Hit(Struct, frozen=True, kw_only=True, gc=False):
    """One subject found, with the name that found it."""

    subject_id: str
    matched_on: str
    shown: str
    norm: str = ""
    """`shown` as it was looked at, normalised; of a code nothing."""
    order: tuple[int, int, int, str]
    """Tier, unlikeness, place, id: immutable while the names are, so a walk can stand on it."""


_ITSELF: Final = frozenset({EXACT_NAME, PREFIX, PHRASE})
"""Where the text itself stands in a name, the place says enough: who is shorter is more like it."""
_NOT_COMPARED = 1001


Fit = tuple[int, int, int, bool, str, Candidate]
"""A candidate that fits: tier, how far its length is off, place, whether it is another name than its subject's, subject."""


def fitting(query: NameQuery, candidates: Iterable[Candidate]) -> list[Fit]:
    """Those of the candidates that fit, as `ranked` puts them in order."""
    compares = query.route not in ("character", "spoken")
    judge, size = judge_of(query), len(query.core)
    fits: list[Fit] = []
    for candidate in candidates:
        core = candidate.core
        tier = judge(candidate.name_norm, core, candidate.tokens)
        if tier is not None:
            apart = abs(len(core) - size) if compares and tier not in _ITSELF else 0
            fits.append((tier, apart, candidate.place, candidate.role != "name", candidate.subject_id, candidate))
    return fits


def rank(query: NameQuery, candidates: Iterable[Candidate]) -> list[Hit]:
    """The subjects a query finds, best first, each once; ties by opaque id."""
    return ranked(query, fitting(query, candidates))


def ranked(query: NameQuery, fits: Sequence[Fit], most: int | None = None) -> list[Hit]:
    """The same for candidates that were found fitting; no more than the first `most`."""
    compares = query.route not in ("character", "spoken")
    best: dict[str, tuple[tuple[int, int, int, str], Candidate]] = {}
    left, in_order = RERANKED, True
    for tier, _, place, _, subject_id, candidate in sorted(fits, key=_BEFORE):
        unlike = 0
        if compares and tier not in _ITSELF:
            unlike = 1000 - likeness(query, candidate.name_norm, candidate.core) if left > 0 else _NOT_COMPARED
            left -= 1
            in_order = False
        known = best.get(subject_id)
        if known is None or (tier, unlike, place, subject_id) < known[0]:
            best[subject_id] = (tier, unlike, place, subject_id), candidate
    found = best.values() if in_order else sorted(best.values(), key=_ORDER)
    return [
        Hit(
            subject_id=order[3],
            matched_on="name" if order[0] in _ITSELF and candidate.role == "name" else _matched_on(query, candidate, order[0]),
            shown=candidate.shown,
            norm=candidate.name_norm,
            order=order,
        )
        for order, candidate in islice(found, most)
    ]


_ORDER: Final = itemgetter(0)
_BEFORE: Final = itemgetter(0, 1, 2)
"""No two names have one place."""
Edge = tuple[int, int]
"""A tier and a place: what was not read of a step fits no better and stands no earlier."""


def certain(hits: Sequence[Hit], edges: Iterable[Edge]) -> Sequence[Hit]:
    """Of the hits among what was read those that nothing unread can come before."""
    tier, place = min(edges)
    return hits[: bisect_right(hits, (tier, 0, place), key=lambda hit: hit.order[:3])]


def _matched_on(query: NameQuery, candidate: Candidate, tier: int) -> str:
    """What of a subject was hit: its name, a former one, or how its name is spoken."""
    if candidate.role != "name":
        return "former_name"
    if query.route == "spoken":
        return {ALL_PAIRS: "pinyin", MOST_PAIRS: "pinyin_initials", NEAR: "pinyin"}.get(tier, "name")
    spoken = tier == SOUNDS and not query.sounds.isdisjoint(candidate.tokens.split(" "))
    return "pinyin" if spoken else "name"


def highlight(query: NameQuery, shown: str, norm: str | None = None) -> list[list[int]]:
    """Where the query stands in a shown name: half-open ranges of code points; of single pairs where the whole is not there.

    `norm` is the name normalised, where that is known.
    """
    if norm == shown:  # nearly always there is nothing to trace, and nothing to join
        at = shown.find(query.text)
        if at >= 0 > shown.find(query.text, at + 1):
            return [[at, at + len(query.text)]]
    norm, origin = _traced(shown)
    wanted = [query.text] if query.text in norm else [token for token in query.needed if token in norm]
    ranges: list[list[int]] = []
    for start, end in sorted((start, start + len(text)) for text in wanted for start in _starts(norm, text)):
        for first, last in _runs(origin[start:end]):
            if ranges and ranges[-1][1] >= first:
                ranges[-1][1] = max(last, ranges[-1][1])
            else:
                ranges.append([first, last])
    return ranges


def _runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Places that follow one another, as half-open ranges."""
    if places[-1] - places[0] == len(places) - 1:
        yield places[0], places[-1] + 1
        return
    for place in places:
        yield place, place + 1


def _starts(norm: str, text: str) -> Iterator[int]:
    at = norm.find(text)
    while at >= 0:
        yield at
        at = norm.find(text, at + 1)


def _traced(shown: str) -> tuple[str, Sequence[int]]:
    """The normalised text, and for each of its characters the place it came from."""
    if normalise(shown) == shown:
        return shown, range(len(shown))
    pieces = [_piece(character) for character in shown]
    return "".join(pieces), [index for index, piece in enumerate(pieces) for _ in piece]


_piece = lru_cache(20_000)(normalise)
"""One character at a time, and few of them are in names."""
