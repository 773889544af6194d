"""Masks: the pure functions that apply a treatment to a value (policy.md §5).

Rules: every treatment is a total function of the value alone, and a value of another shape than its type gives `DROPPED`, never a
partly cut one; the number of stars is fixed by the type, never by the value. `exchange.md` §22 fixes the results that travel as twins.
This room must not know who asks; it is handed a treatment that somebody else has decided.
"""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache
from typing import Final

from gateway.core.disclosure.shapes import DATE, DIVISION, INVISIBLE, SHAPES, SIMPLE, day_exists, graphemes, plain_code, uscc_shape
from gateway.core.disclosure.surnames import COMPOUND, SINGLE
from gateway.core.disclosure.treatments import SURNAME, Clear, Exists, Generalise, Keep, Pseudonym, Surname, Treatment
from gateway.core.records.divisions import PSEUDO_NAMES, full_name, leading_division, short_name
from gateway.core.records.model import Value


class Dropped(Enum):
    """What a treatment returns when the value cannot be shown under it."""

    DROPPED = "dropped"


DROPPED: Final = Dropped.DROPPED
Shown = Value | Dropped
Treat = Callable[[Value], Shown]

STARS: Final = "****"
USCC_STARS: Final = "**********"


def _exists(value: Value) -> Shown:
    return value is not None and value != ""


_ASCII_CODES: Final = frozenset({"uscc", "id_no", "reg_no", "org_code", "mobile", "phone"})
"""Types whose shape leaves nothing but ASCII: every character is a grapheme."""


def _keep(first: int, last: int, kind: str) -> Treat:
    shape = SHAPES[kind]
    stars = USCC_STARS if kind == "uscc" else STARS
    enough = first + last + 2
    plain = kind in _ASCII_CODES

    def treat(value: Value) -> Shown:
        if value is None:
            return None
        text = shape(value) if isinstance(value, str) else None
        if not text:
            return DROPPED
        if plain or SIMPLE.fullmatch(text):
            return f"{text[:first]}{stars}{text[len(text) - last :]}" if len(text) >= enough else stars
        signs = graphemes(text)
        if len(signs) < enough:
            return stars
        return "".join((*signs[:first], stars, *signs[len(signs) - last :]))

    return treat


_HAN: Final = re.compile("[\u4e00-\u9fff]+")
_NAME_DOTS: Final = re.compile("[·•‧∙⋅・･.᛫˙]")


@lru_cache(maxsize=8192)
def _is_letter_name(sign: str) -> bool:
    """Letters of alphabets, which do not show where the surname ends."""
    return sign.isalpha() and not ("\u3400" <= sign <= "\u9fff" or "\U00020000" <= sign <= "\U0003ffff")


def surname(name: str) -> str:
    """姓 + `某某`; `某某` alone where the surname cannot be told."""
    if _HAN.fullmatch(name):
        plain = name
    else:
        plain = INVISIBLE.sub("", unicodedata.normalize("NFKC", name))
        if _NAME_DOTS.search(plain) or any(map(_is_letter_name, plain)):
            return "某某"
    if len(plain) > 2 and plain[:2] in COMPOUND:
        return f"{plain[:2]}某某"
    return f"{plain[0]}某某" if plain and plain[0] in SINGLE else "某某"


def _surname(value: Value) -> Shown:
    if value is None:
        return None
    if not isinstance(value, str) or not value or INVISIBLE.fullmatch(value):
        return DROPPED
    return surname(value)


def _month(value: Value) -> Shown:
    parts = _date_parts(value)
    return parts if isinstance(parts, Dropped) or parts is None else parts[:7]


def _year(value: Value) -> Shown:
    parts = _date_parts(value)
    return parts if isinstance(parts, Dropped) or parts is None else parts[:4]


def _decade(value: Value) -> Shown:
    parts = _date_parts(value)
    return parts if isinstance(parts, Dropped) or parts is None else f"{parts[:3]}X"


def _date_parts(value: Value) -> str | Dropped | None:
    if value is None:
        return None
    found = DATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not (int(found[1]) and day_exists(int(found[1]), int(found[2]), int(found[3]))):
        return DROPPED
    return found[0]


def _digits(count: int) -> Treat:
    def treat(value: Value) -> Shown:
        if value is None:
            return None
        return value[:count] if isinstance(value, str) and DIVISION.fullmatch(value) else DROPPED

    return treat


def _place(count: int) -> Treat:
    """Of an address the division with which it begins, as far as it is asked for; an address that names less is dropped."""

    def treat(value: Value) -> Shown:
        if value is None:
            return None
        code = leading_division(value) if isinstance(value, str) else None
        if code is None or (count == 6 and code.endswith("00")) or (count == 4 and code.endswith("0000")):
            return DROPPED
        return full_name(code[:count].ljust(6, "0")) or DROPPED

    return treat


_NAMES: Final = frozenset({"subject_name", "person_name"})


def _normalise(kind: str) -> Treat:
    """A value in the one form of which pseudonyms are made, so that one person has one pseudonym however it is written."""
    shape = None if kind in _NAMES else SHAPES[kind]

    def treat(value: Value) -> Shown:
        if value is None:
            return None
        if not isinstance(value, str):
            return DROPPED
        return (plain_code(value) if shape is None else shape(value)) or DROPPED

    return treat


_DATES: Final[dict[object, Treat]] = {"month": _month, "year": _year, "decade": _decade}


def _band(edges: tuple[str, ...], unit: str | None) -> Treat:
    def treat(value: Value) -> Shown:
        return None if value is None else band_label(value, edges, unit) or DROPPED

    return treat


def band_label(value: Value, edges: tuple[str, ...], unit: str | None) -> str | None:
    """The band of an amount between edges that policy has fixed: 1万元以上不满5万元; None for what is no amount."""
    try:
        number = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except InvalidOperation:
        return None
    if number is None or not number.is_finite():
        return None
    said = unit or ""
    below: str | None = None
    for edge in edges:
        if number < Decimal(edge):
            return f"{below}{said}以上不满{edge}{said}" if below is not None else f"不满{edge}{said}"
        below = edge
    return f"{below}{said}以上" if below is not None else None


def household_name(code: str | None, region: str) -> str:
    """What stands for the name of an individual business: the county of its code, else of its record, and a fixed form."""
    plain = uscc_shape(code) if code else None
    county = _known_county(plain[2:8]) if plain else None
    return f"{county or _county(region) or ''}{STARS}个体工商户"


@lru_cache(maxsize=8192)
def _known_county(code: str) -> str | None:
    name = short_name(code)
    return short_name(code[:4] + "00") if name in PSEUDO_NAMES else name


def _county(code: str) -> str | None:
    return _known_county(code) if DIVISION.fullmatch(code) else None


# --- the function of a treatment ---------------------------------------------------------------------------------------


def unchanged(value: Value) -> Shown:
    """The value as it is."""
    return value


def nothing(value: Value) -> Shown:  # a treatment takes a value, this one whatever it is
    """No value at all."""
    return DROPPED


def treat_function(treatment: Treatment, kind: str, bands: tuple[str, ...] = (), unit: str | None = None) -> Treat:
    """The function that applies a treatment to values of one type.

    `drop`, `redact` and the names of individual businesses need more than the value: `views` applies them. Raises ValueError for
    the first two. Of `pseudonym` it is the normal form that `views` hands to the keyed function of the recipient.
    """
    if isinstance(treatment, Clear):
        return unchanged
    if isinstance(treatment, Exists):
        return _exists
    if isinstance(treatment, Surname):
        return _surname
    if isinstance(treatment, Keep):
        return _keep(treatment.first, treatment.last, kind.partition("(")[0])
    if isinstance(treatment, Generalise):
        if treatment.to == "band":
            return _band(bands, unit)
        if isinstance(treatment.to, int):
            return _place(treatment.to) if kind == "address" else _digits(treatment.to)
        return _DATES[treatment.to]
    if isinstance(treatment, Pseudonym):
        return _normalise(kind.partition("(")[0])
    raise ValueError("drop and redact are no functions of a value")


_TWIN: Final = re.compile(r"(surname|keep\(([0-9]{1,2}),([0-9]{1,2})\)|generalise\((month|year|decade)\))")


def parse_twin(text: str) -> Treatment:
    """The treatment of a twin name such as `keep(4,0)` (exchange.md §22).

    Raises ValueError for anything else.
    """
    found = _TWIN.fullmatch(text)
    if found is None:
        raise ValueError("not a treatment that a twin may have")
    if found[2] is not None:
        return Keep(first=int(found[2]), last=int(found[3]))
    if found[4] == "month":
        return Generalise(to="month")
    if found[4] == "year":
        return Generalise(to="year")
    return Generalise(to="decade") if found[4] else SURNAME


def twin(treatment: Treatment, kind: str, value: Value) -> Value:
    """What a receiver recomputes from the whole value; null where the treatment drops it (exchange.md §22)."""
    shown = treat_function(treatment, kind)(value)
    return None if isinstance(shown, Dropped) else shown
