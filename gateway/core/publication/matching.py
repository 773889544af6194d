"""Whether a name that somebody has is one of ours: features, a score of 0 … 1, and what the scores together mean (api.md §7.5, §8.7).

Rules, above all arithmetic:
    1. A code says more than a name. The code of A with the name of B is no match of either, however well one of them fits.
    2. Who is said to be elsewhere is at most possible. So is who bears a name of another level (吉林省宏达, 通化市宏达).
    3. Another core is at most possible, unless a long one sounds the same; so firms that do not exist match nobody.
    4. A match stands alone above the threshold and clear of the second; who shares it is ambiguous.
    5. A household is met by its whole name or code, or not at all; a person never.
A score follows from one query and one candidate alone, so neither order nor company of queries changes an answer. What is compared
are shown values: this room must not see anything else.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal, Protocol

from msgspec import Struct
from rapidfuzz.distance import Indel

from gateway.core.publication.names import PINYIN_MARK, Name, pairs, readings, region_codes, split, spoken_tokens, units
from gateway.core.records.divisions import covers

ALGORITHM = "cx-match/1"
DEFAULT_THRESHOLD = 0.85
LOWEST = 0.6
"""Below it a candidate is not worth a look, and no threshold may be."""
CLEAR = 0.03
"""By so much a match stands above whoever comes second."""

MatchStatus = Literal["exact", "match", "ambiguous", "possible", "not_found", "invalid"]

_SAME, _SAME_FORMER, _SAME_CODE = 1.0, 0.95, 0.98
_CORE_THERE, _CORE_SOMEWHERE, _SOUNDS_SAME = 0.93, 0.88, 0.86
_FORM_COST, _FORMER_COST = 0.12, 0.02
_MOST_ELSEWHERE, _MOST_OTHER_LEVEL, _MOST_OTHER_CORE = 0.8, 0.83, 0.83
_LONG = 6
"""Characters of a core that do not sound like another's by chance."""


class Features(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a candidate has its score. What was not compared is left out."""

    uscc_equal: bool | None = None
    registration_number_equal: bool | None = None
    name_equal: bool | None = None
    core_similarity: float | None = None
    pinyin_similarity: float | None = None
    region_conflict: bool | None = None
    form_conflict: bool | None = None
    former_name: bool | None = None


class Wanted(Struct, frozen=True, kw_only=True):
    """One query as it is compared."""

    name: Name | None = None
    uscc: str | None = None
    """A valid code that the caller may ask for."""
    reg_no: str | None = None
    region: str | None = None
    """A division of six digits, said beside the name."""


class Offered(Struct, frozen=True, kw_only=True):
    """One subject as the caller is shown it."""

    subject_id: str
    name: str | None = None
    former_names: tuple[str, ...] = ()
    uscc: str | None = None
    region: str | None = None
    has_uscc: bool = False
    """It is the subject behind the code that was asked."""
    has_reg_no: bool = False
    household: bool = False


class Scored(Struct, frozen=True, kw_only=True):
    """One subject with its score."""

    subject_id: str
    score: float
    features: Features
    certain: bool = False
    """Code or whole name say so."""
    capped: bool = False
    """A rule holds it at `possible`, whatever the threshold."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What the candidates of one query come to; best first, ties by opaque id."""

    status: MatchStatus
    candidates: tuple[Scored, ...] = ()


# --- one name beside another -------------------------------------------------------------------------------------------

_BRANCH = ("分公司", "子公司", "办事处", "代表处", "经营部", "营业部", "服务部", "门市部", "分厂", "分店")
_FAMILIES = (
    (_BRANCH, "branch"),
    (("合作社", "联合社"), "cooperative"),
    (("集团公司", "集团"), "group"),
    (("公司",), "company"),
    (("合伙企业", "合伙"), "partnership"),
    (("独资企业",), "sole"),
    (("个体工商户", "家庭农场", "商行", "商店", "总店", "店"), "shop"),
    (("厂",), "factory"),
    (("事务所",), "office"),
    (("协会", "学会", "商会", "基金会", "联合会", "委员会"), "society"),
    (("中心",), "centre"),
)


def _family(form: str) -> str:
    family = next((name for endings, name in _FAMILIES if form.endswith(endings)), "")
    return "group" if family == "company" and "集团" in form else family


def _forms_conflict(one: str, other: str) -> bool:
    """Whether two forms are of different kinds of organisation; who gives no form says nothing."""
    return bool(one and other) and _family(one) != _family(other)


def _syllables(text: str) -> list[tuple[str, ...]]:
    return [readings(unit) or (unit,) for unit in units(text)]


def sounds_alike(one: str, other: str) -> float:
    """0 … 1: how alike two texts sound, without tones; of a character with several readings any may be meant."""
    first, second = _syllables(one), _syllables(other)
    if len(first) == len(second):
        same = sum(not set(a).isdisjoint(b) for a, b in zip(first, second, strict=True))
        if same:
            return same / len(first)
    return Indel.normalized_similarity([each[0] for each in first], [each[0] for each in second])


def _fits(codes: Iterable[str], there: Sequence[str]) -> bool:
    return any(covers(one, other) or covers(other, one) for one in codes for other in there)


class _Told(Struct, frozen=True):
    """What two names and places say of one another."""

    features: Features
    score: float
    capped: bool


@lru_cache(4096)
def taken_apart(name: str) -> Name:
    """A shown name taken apart; candidates come again and again."""
    return split(name)


def _beside(wanted: Wanted, asked: Name, name: Name, region: str | None, *, former: bool) -> _Told:
    here, there = region_codes(asked.region), region_codes(name.region)
    places = (*there, region) if region else tuple(there)
    said = here or wanted.region
    elsewhere = bool(places) and not (
        (not wanted.region or _fits((wanted.region,), (region,) if region else places)) and (not here or _fits(here, places))
    )
    equal = asked.norm == name.norm
    forms = not equal and _forms_conflict(asked.form, name.form)
    core = Indel.normalized_similarity(asked.core, name.core)
    sound = 1.0 if asked.core == name.core else sounds_alike(asked.core, name.core)
    if equal:
        score = _SAME_FORMER if former else _SAME
    elif asked.core == name.core and asked.core:
        score = _CORE_THERE if said and places else _CORE_SOMEWHERE
    elif sound == 1.0 and len(asked.core) >= _LONG:
        score = _SOUNDS_SAME
    else:
        brand = max(Indel.normalized_similarity(asked.brand, name.brand), sounds_alike(asked.brand, name.brand))
        score = _MOST_OTHER_CORE * (0.5 * brand + 0.35 * core + 0.15 * sound) if asked.brand and name.brand else 0.0
    if not equal:
        score = max(0.0, score - _FORM_COST * forms - _FORMER_COST * former)
        if here and there and here != there:
            score = min(score, _MOST_OTHER_LEVEL)
    if elsewhere:
        score = min(score, _MOST_ELSEWHERE)
    features = Features(
        name_equal=equal,
        core_similarity=round(core, 2),
        pinyin_similarity=round(sound, 2),
        region_conflict=elsewhere,
        form_conflict=forms,
        former_name=former,
    )
    return _Told(features, score, elsewhere)


# --- one candidate -----------------------------------------------------------------------------------------------------


def _by_name(wanted: Wanted, offered: Offered) -> _Told | None:
    """The best that one of its names says of it."""
    if wanted.name is None:
        return None
    shown = [(offered.name, False)] if offered.name else []
    told = [
        _beside(wanted, wanted.name, taken_apart(each), offered.region, former=former)
        for each, former in (*shown, *((each, True) for each in offered.former_names))
    ]
    return max(told, key=lambda each: each.score, default=None)


def _agrees(told: _Told | None) -> bool:
    """Whether a name does not speak against a code: the same core, or one that sounds the same."""
    return told is None or told.features.name_equal is True or told.features.pinyin_similarity == 1.0


def score(wanted: Wanted, offered: Offered) -> Scored:
    """One subject against one query."""
    told = _by_name(wanted, offered)
    features = told.features if told is not None else Features()
    equal = {
        "uscc_equal": (offered.has_uscc or offered.uscc == wanted.uscc) if wanted.uscc and (offered.has_uscc or offered.uscc) else None,
        "registration_number_equal": True if offered.has_reg_no else None,
    }
    features = Features(
        uscc_equal=equal["uscc_equal"],
        registration_number_equal=equal["registration_number_equal"],
        **{name: getattr(features, name) for name in Features.__struct_fields__[2:]},
    )
    contradicted = features.uscc_equal is False
    by_code = (offered.has_uscc or offered.has_reg_no) and not contradicted
    if by_code:
        points = _SAME if offered.has_uscc else _SAME_CODE
        if _agrees(told):
            return Scored(subject_id=offered.subject_id, score=points, features=features, certain=offered.has_uscc)
        points = max(LOWEST, min(_MOST_ELSEWHERE, told.score if told is not None else 0.0))
        return Scored(subject_id=offered.subject_id, score=round(points, 2), features=features, capped=True)
    if told is None:
        return Scored(subject_id=offered.subject_id, score=0.0, features=features, capped=True)
    points = min(told.score, _MOST_ELSEWHERE) if contradicted else told.score
    return Scored(
        subject_id=offered.subject_id,
        score=round(points, 2),
        features=features,
        certain=features.name_equal is True and not features.former_name and not contradicted and not told.capped,
        capped=contradicted or told.capped,
    )


# --- all candidates ----------------------------------------------------------------------------------------------------


def judge(wanted: Wanted, offers: Iterable[Offered], *, threshold: float = DEFAULT_THRESHOLD) -> Verdict:
    """What a query finds among the subjects that might be meant."""
    offers = list(offers)
    homes = frozenset(each.subject_id for each in offers if each.household)
    scored = [each for each in (score(wanted, offer) for offer in offers) if each.score >= LOWEST]
    only = any(each.certain for each in scored if each.subject_id not in homes)
    scored = [
        each for each in scored if each.subject_id not in homes or (not only and each.certain and each.features.name_equal is not False)
    ]
    scored.sort(key=lambda each: (each.capped, each.features.uscc_equal is not True, -each.score, each.subject_id))
    if not scored:
        return Verdict(status="not_found")
    coded = [each for each in scored if each.certain and each.features.uscc_equal]
    certain = coded or [each for each in scored if each.certain]
    if len(certain) == 1:
        return Verdict(status="exact", candidates=tuple(certain))
    above = [each for each in scored if each.score >= threshold and not each.capped]
    if not above:
        return Verdict(status="possible", candidates=tuple(scored))
    second = max((each.score for each in scored if each is not above[0]), default=0.0)
    alone = len(above) == 1 and above[0].score - second >= CLEAR
    return Verdict(status="match" if alone else "ambiguous", candidates=tuple(scored))


# --- who might be meant ------------------------------------------------------------------------------------------------

SHORTLIST = 8
"""Subjects of a query that are compared in full."""
_MOST_PARTS = 4


class Held(Protocol):
    """A row of the names index, as far as it is looked at here."""

    subject_id: str
    name_norm: str
    core: str
    tokens: str


def _spoken(name: Name) -> tuple[str, ...]:
    return tuple(token for token in spoken_tokens(name) if token.startswith(PINYIN_MARK))


def token_groups(name: Name) -> list[tuple[str, ...]]:
    """What the index is asked for a name: those that sound so, those that hold all of its core, those that share a part of its brand.

    A part is the whole brand of two characters, three neighbours of a longer one.
    """
    groups: list[tuple[str, ...]] = [(token,) for token in _spoken(name)]
    if core := tuple(pairs(name.core)):
        groups.append(core)
    brand = pairs(name.brand or name.core or name.norm)
    groups += list(pairwise(brand))[:_MOST_PARTS] if len(brand) > 1 else [(pair,) for pair in brand]
    return list(dict.fromkeys(groups))


def shortlist(name: Name, held: Iterable[Held]) -> list[str]:
    """The subjects whose indexed names come nearest, best first: what they are shown as is compared afterwards."""
    norm, core = name.norm, name.core
    sounds = [token + " " for token in _spoken(name)]  # as it stands among tokens: its initials follow
    alike = Indel.normalized_similarity
    best: dict[str, float] = {}
    for row in {(each.subject_id, each.name_norm): each for each in held}.values():
        if row.name_norm == norm:
            near = 3.0
        else:
            near = 2.0 if row.core == core else alike(core, row.core)
            for sound in sounds:
                if sound in row.tokens:
                    near += 0.5
                    break
            near += 0.25 * alike(norm, row.name_norm)
        known = best.get(row.subject_id)
        if known is None or near > known:
            best[row.subject_id] = near
    return sorted(best, key=lambda subject_id: (-best[subject_id], subject_id))[:SHORTLIST]
