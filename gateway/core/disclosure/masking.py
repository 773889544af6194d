"""Treatments: what may happen to a field on its way out (policy.md §5), their order, and the pure functions that apply them.

Rules: the list is closed; every treatment is a total function of the value alone, and a value of another shape than its type
gives `DROPPED`, never a partly cut one; the number of stars is fixed by the type, never by the value; `leq` is a partial order
and `meet` its greatest lower bound. `exchange.md` §22 fixes the results that travel as twins. `pseudonym` and `token` are not in
the list yet: a policy that names one does not parse.

This room must not know who asks; it is handed a treatment that somebody else has decided.
"""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from operator import mul
from typing import Final, Literal

from msgspec import Struct

from gateway.core.disclosure.surnames import COMPOUND, SINGLE
from gateway.core.records.divisions import PSEUDO_NAMES, short_name
from gateway.core.records.model import Field, SubjectKind, Value


class Drop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="drop"):
    """The key is absent, whatever the value."""


class Exists(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="exists"):
    """Whether there is a value, as a boolean."""


class Generalise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="generalise"):
    """A coarser value: of a date its month, year or decade; of a division its first 6, 4 or 2 digits; of an amount its band."""

    to: Literal["month", "year", "decade", 6, 4, 2, "band"]


class Surname(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="surname"):
    """Of a person 姓 and `某某`; of an individual business its county, four stars and 个体工商户."""


class Keep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="keep"):
    """So many graphemes at either end and a fixed number of stars between them."""

    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.first <= 64 and 0 <= self.last <= 64):
            raise ValueError("keep takes 0 to 64 graphemes at either end")


class Redact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="redact"):
    """The stored redacted text; with `hold` nothing at all while its residual score is not zero."""

    profile: Literal["strict", "third_parties"]
    hold: bool = False


class Clear(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="clear"):
    """The value."""


Treatment = Drop | Exists | Generalise | Surname | Keep | Redact | Clear
TreatmentSpec = Literal["drop", "exists", "surname", "clear"] | Treatment
"""As a policy file writes it: the bare word where there is no parameter."""

DROP: Final = Drop()
EXISTS: Final = Exists()
SURNAME: Final = Surname()
CLEAR: Final = Clear()

WORDS: Final[dict[str, Treatment]] = {"drop": DROP, "exists": EXISTS, "surname": SURNAME, "clear": CLEAR}


class Dropped(Enum):
    """What a treatment returns when the value cannot be shown under it."""

    DROPPED = "dropped"


DROPPED: Final = Dropped.DROPPED
Shown = Value | Dropped
Treat = Callable[[Value], Shown]


def treatment_of(spec: TreatmentSpec) -> Treatment:
    """The treatment that a policy file wrote as a word or as a table."""
    return WORDS[spec] if isinstance(spec, str) else spec


def word(treatment: Treatment) -> str:
    """The bare name, as `treatments` of a View says it."""
    return str(treatment.__struct_config__.tag)


def describe(treatment: Treatment) -> str:
    """Name and parameters, as twins and `explain` write them: `keep(4,0)`, `generalise(month)`."""
    if isinstance(treatment, Keep):
        return f"keep({treatment.first},{treatment.last})"
    if isinstance(treatment, Generalise):
        return f"generalise({treatment.to})"
    if isinstance(treatment, Redact):
        return f"redact({treatment.profile}{',hold' if treatment.hold else ''})"
    return word(treatment)


# --- order ------------------------------------------------------------------------------------------------------------

_COARSENESS: Final[dict[object, tuple[str, int]]] = {
    "decade": ("date", 1),
    "year": ("date", 2),
    "month": ("date", 3),
    2: ("division", 1),
    4: ("division", 2),
    6: ("division", 3),
    "band": ("amount", 1),
}
_PROFILES: Final = ("strict", "third_parties")


def leq(narrow: Treatment, wide: Treatment) -> bool:
    """Whether the first shows no more than the second, of any value (⊑)."""
    if narrow == wide or isinstance(narrow, Drop) or isinstance(wide, Clear):
        return True
    if isinstance(narrow, Clear) or isinstance(wide, Drop):
        return False
    if isinstance(narrow, Exists):
        return not isinstance(wide, Redact)
    if isinstance(narrow, Keep) and isinstance(wide, Keep):
        return narrow.first <= wide.first and narrow.last <= wide.last
    if isinstance(narrow, Generalise) and isinstance(wide, Generalise):
        (axis, fine), (other, finer) = _COARSENESS[narrow.to], _COARSENESS[wide.to]
        return axis == other and fine <= finer
    if isinstance(narrow, Redact) and isinstance(wide, Redact):
        return _PROFILES.index(narrow.profile) <= _PROFILES.index(wide.profile) and (narrow.hold or not wide.hold)
    return False


def meet(one: Treatment, other: Treatment) -> Treatment:
    """The most that both allow: the greatest lower bound. Of different families `exists`, for text `drop`."""
    if leq(one, other):
        return one
    if leq(other, one):
        return other
    if isinstance(one, Keep) and isinstance(other, Keep):
        return Keep(first=min(one.first, other.first), last=min(one.last, other.last))
    if isinstance(one, Redact) and isinstance(other, Redact):
        return Redact(profile="strict", hold=True)
    if isinstance(one, Redact) or isinstance(other, Redact):
        return DROP
    return EXISTS


def rank(treatment: Treatment) -> int:
    """Drop 0, exists 1, partial 2, clear 3: the scale of check S7."""
    if isinstance(treatment, Drop):
        return 0
    if isinstance(treatment, Exists):
        return 1
    return 3 if isinstance(treatment, Clear) else 2


# --- shapes -----------------------------------------------------------------------------------------------------------

_INVISIBLE: Final = re.compile(
    "[\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]+"
)
_SPELLED: Final = str.maketrans("〇零○一二三四五六七八九壹贰叁肆伍陆柒捌玖貳參陸", "000123456789123456789236")
_LOOKALIKE_X: Final = str.maketrans("хХⅹⅩ×", "XXXXX")

_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_VALUES: Final = bytes(_USCC_ALPHABET.find(chr(code)) % 256 for code in range(256))
"""Value of each ASCII sign in the alphabet of codes, as a translation table."""
_USCC_WEIGHTS: Final = tuple(pow(3, place, 31) for place in range(17))
_USCC: Final = re.compile(rf"[1-9ANY][{_USCC_ALPHABET}][0-9]{{6}}[{_USCC_ALPHABET}]{{10}}")
_ID_WEIGHTS: Final = tuple(pow(2, 17 - place, 11) for place in range(17))
_ID_ZERO: Final = sum(_ID_WEIGHTS) * ord("0")
_ID18: Final = re.compile(r"[1-9][0-9]{5}((?:18|19|20)[0-9]{2})([0-9]{2})([0-9]{2})[0-9]{3}[0-9X]")
_ID15: Final = re.compile(r"[1-9][0-9]{14}")
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_DIVISION: Final = re.compile(r"[1-9][0-9]{5}")
_REG_NO: Final = re.compile(r"[0-9]{13}(?:[0-9]{2})?")
_ORG_CODE: Final = re.compile(r"[0-9A-Z]{8}-?[0-9X]")
_MOBILE: Final = re.compile(r"1[3-9][0-9]{9}")
_PHONE: Final = re.compile(r"(?:0[0-9]{2,3}-?)?[1-9][0-9]{6,7}(?:-[0-9]{1,6})?|1[3-9][0-9]{9}")
_PLATE: Final = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][A-HJ-NP-Z0-9]{4,5}[A-HJ-NP-Z0-9学警港澳挂领使]"
)
_SIMPLE: Final = re.compile("[ -~\u3001-\u3029\u4e00-\u9fff\uff01-\uff5e]+")
"""Text in which every character is a grapheme, composed already."""
_EDGE: Final = re.compile(r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?")
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


def plain_code(text: str) -> str:
    """A code as masks and detectors look at it: NFKC, upper case, without blanks and invisible characters."""
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).upper()


def uscc_holds(code: str) -> bool:
    """Whether 18 characters have the shape of a unified social credit code and its check character (GB 32100-2015)."""
    if _USCC.fullmatch(code) is None:
        return False
    total = sum(map(mul, _USCC_WEIGHTS, code.encode().translate(_USCC_VALUES)))
    return _USCC_ALPHABET[-total % 31] == code[17]


def day_exists(year: int, month: int, day: int) -> bool:
    """Whether the calendar has that day."""
    return (
        1 <= month <= 12
        and 1 <= day <= _DAYS[month]
        and (month != 2 or day < 29 or (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)))
    )


_DAYS: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def citizen_id(text: str) -> str | None:
    """The 18 characters of a citizen number however it is written (15 digits, full width, spaced, spelled), if it is one."""
    code = text if _ID18.fullmatch(text) else plain_code(text.translate(_LOOKALIKE_X)).translate(_SPELLED)
    whole = f"{code[:6]}19{code[6:]}0" if _ID15.fullmatch(code) else code
    found = _ID18.fullmatch(whole)
    if found is None or not day_exists(int(found[1]), int(found[2]), int(found[3])):
        return None
    check = "10X98765432"[(sum(map(mul, _ID_WEIGHTS, whole.encode())) - _ID_ZERO) % 11]
    if whole is not code:
        return whole[:17] + check
    return code if check == code[17] else None


def _uscc_shape(text: str) -> str | None:
    if uscc_holds(text):
        return text
    code = plain_code(text)
    return code if uscc_holds(code) else None


def _matches(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    def shape(text: str) -> str | None:
        code = plain_code(text)
        return code if pattern.fullmatch(code) else None

    return shape


def _plate_shape(text: str) -> str | None:
    code = re.sub("[·•.-]", "", plain_code(text))
    return code if _PLATE.fullmatch(code) else None


def _any_shape(text: str) -> str | None:
    return text if _SIMPLE.fullmatch(text) else unicodedata.normalize("NFC", text)


_SHAPES: Final[dict[str, Callable[[str], str | None]]] = {
    "string": _any_shape,
    "uscc": _uscc_shape,
    "id_no": citizen_id,
    "reg_no": _matches(_REG_NO),
    "org_code": _matches(_ORG_CODE),
    "mobile": _matches(_MOBILE),
    "phone": _matches(_PHONE),
    "plate": _plate_shape,
    "email": _matches(_EMAIL),
}
"""Types that `keep` may cut, and what a value must look like before it is cut."""

KEEP_TYPES: Final = frozenset(_SHAPES)
STARS: Final = "****"
USCC_STARS: Final = "**********"


def graphemes(text: str) -> list[str]:
    """The user-perceived characters of a text (extended grapheme clusters of UAX 29)."""
    if _SIMPLE.fullmatch(text):
        return list(text)
    clusters: list[str] = []
    previous = ""
    flags = pictograph = joined = linked = consonant = False
    hangul = ""
    for sign in text:
        code = ord(sign)
        kind = _cluster_kind(sign)
        syllable = _hangul_kind(code)
        if not clusters or previous == "control" or kind == "control":
            attach = sign == "\n" and bool(clusters) and clusters[-1][-1] == "\r"
        elif kind in ("extend", "spacing") or previous == "prepend":
            attach = True
        elif kind == "picture":
            attach = joined
        elif kind == "flag":
            attach = flags
        elif kind == "conjunct":
            attach = linked
        else:
            attach = (hangul, syllable) in _SYLLABLES
        if attach:
            clusters[-1] += sign
        else:
            clusters.append(sign)
        flags = kind == "flag" and not (attach and flags)
        joined = pictograph and code == 0x200D
        if kind != "extend":
            pictograph = kind == "picture"
            consonant, linked = kind == "conjunct", False
        elif sign in _LINKERS:
            linked = consonant
        hangul = syllable
        previous = kind
    return clusters


_SYLLABLES: Final = frozenset(
    {("L", "L"), ("L", "V"), ("L", "LV"), ("L", "LVT"), ("LV", "V"), ("V", "V"), ("LV", "T"), ("V", "T"), ("LVT", "T"), ("T", "T")}
)
_PREPENDED: Final = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd\U000111c2\U000111c3\U0001193f"
    "\U00011941\U00011a3a\U00011d46\U00011f02"
)
_LINKERS: Final = frozenset("\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d")
_CONJUNCT_BLOCKS: Final = frozenset({0x0900, 0x0980, 0x0A80, 0x0B00, 0x0C00, 0x0D00})
"""Scripts whose consonants join over a virama: Devanagari, Bengali, Gujarati, Oriya, Telugu, Malayalam."""


def _cluster_kind(sign: str) -> str:
    """What UAX 29 calls a character, as far as its rules need it."""
    code = ord(sign)
    if 0x3000 <= code <= 0x9FFF and not 0x302A <= code <= 0x302F and code not in (0x3030, 0x303D, 0x3099, 0x309A, 0x3297, 0x3299):
        return ""
    category = unicodedata.category(sign)
    if (
        category in ("Mn", "Me")
        or code in (0x200C, 0x200D)
        or 0xFF9E <= code <= 0xFF9F
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xE0020 <= code <= 0xE007F
        or code in _SPACED_EXTENDERS
    ):
        return "extend"
    if sign in _PREPENDED:
        return "prepend"
    if category in ("Cc", "Zl", "Zp", "Cf", "Cs"):
        return "control"
    if category == "Mc" or code in (0x0E33, 0x0EB3):
        return "spacing"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "flag"
    if code in (0xA9, 0xAE) or (
        category in ("So", "Sk", "Cn") and (code >= 0x1F000 or 0x2100 <= code <= 0x27BF or 0x2B00 <= code <= 0x2BFF)
    ):
        return "picture"
    if code & ~0x7F in _CONJUNCT_BLOCKS and 0x15 <= code & 0x7F <= 0x39:
        return "conjunct"
    return ""


_SPACED_EXTENDERS: Final = frozenset(
    {0x09BE, 0x09D7, 0x0B3E, 0x0B57, 0x0BBE, 0x0BD7, 0x0CC2, 0x0CD5, 0x0CD6, 0x0D3E, 0x0D57, 0x0DCF, 0x0DDF, 0x1B35, 0x302E, 0x302F}
)


def _hangul_kind(code: int) -> str:
    if 0x1100 <= code <= 0x115F or 0xA960 <= code <= 0xA97C:
        return "L"
    if 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6:
        return "V"
    if 0x11A8 <= code <= 0x11FF or 0xD7CB <= code <= 0xD7FB:
        return "T"
    if 0xAC00 <= code <= 0xD7A3:
        return "LV" if (code - 0xAC00) % 28 == 0 else "LVT"
    return ""


# --- the functions ----------------------------------------------------------------------------------------------------


def _exists(value: Value) -> Shown:
    return value is not None and value != ""


def _keep(first: int, last: int, kind: str) -> Treat:
    shape = _SHAPES[kind]
    stars = USCC_STARS if kind == "uscc" else STARS
    enough = first + last + 2

    def treat(value: Value) -> Shown:
        if value is None:
            return None
        text = shape(value) if isinstance(value, str) else None
        if not text:
            return DROPPED
        if _SIMPLE.fullmatch(text):
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
        plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name))
        if _NAME_DOTS.search(plain) or any(map(_is_letter_name, plain)):
            return "某某"
    if len(plain) > 2 and plain[:2] in COMPOUND:
        return f"{plain[:2]}某某"
    return f"{plain[0]}某某" if plain and plain[0] in SINGLE else "某某"


def _surname(value: Value) -> Shown:
    if value is None:
        return None
    if not isinstance(value, str) or not value or _INVISIBLE.fullmatch(value):
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
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not (int(found[1]) and day_exists(int(found[1]), int(found[2]), int(found[3]))):
        return DROPPED
    return found[0]


def _digits(count: int) -> Treat:
    def treat(value: Value) -> Shown:
        if value is None:
            return None
        return value[:count] if isinstance(value, str) and _DIVISION.fullmatch(value) else DROPPED

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


def bands_ascend(edges: tuple[str, ...]) -> bool:
    """Whether edges are numbers, each above the one before it."""
    if not edges or not all(_EDGE.fullmatch(edge) for edge in edges):
        return False
    numbers = [Decimal(edge) for edge in edges]
    return all(one < other for one, other in pairwise(numbers))


def household_name(code: str | None, region: str) -> str:
    """What stands for the name of an individual business: the county of its code, else of its record, and a fixed form."""
    plain = _uscc_shape(code) if code else None
    county = _known_county(plain[2:8]) if plain else None
    return f"{county or _county(region) or ''}{STARS}个体工商户"


@lru_cache(maxsize=8192)
def _known_county(code: str) -> str | None:
    name = short_name(code)
    return short_name(code[:4] + "00") if name in PSEUDO_NAMES else name


def _county(code: str) -> str | None:
    return _known_county(code) if _DIVISION.fullmatch(code) else None


# --- which treatment fits what, and its function ----------------------------------------------------------------------

NAME_TYPES: Final = frozenset({"person_name", "subject_name"})
_WINDOWS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "id_no": ((4, 0), (6, 0)),
    "mobile": ((3, 0), (2, 0), (1, 0), (0, 0)),
    "phone": ((3, 0), (2, 0), (1, 0), (0, 0)),
    "plate": ((2, 0), (1, 0), (0, 0)),
}


def misfit(treatment: Treatment, described: Field, subject: SubjectKind) -> str | None:
    """Why this treatment cannot stand on this field, for this kind of subject; None if it can."""
    base = described.type.partition("(")[0]
    if isinstance(treatment, Drop):
        return None
    if described.text:
        return None if isinstance(treatment, Redact | Clear) else "a text field takes drop, redact or clear"
    if isinstance(treatment, Exists | Clear):
        return None
    if isinstance(treatment, Redact):
        return "redact stands on text fields only"
    if isinstance(treatment, Surname):
        if base == "person_name" or (base == "subject_name" and subject != "legal"):
            return None
        return "surname stands on names of persons and of individual businesses only"
    if isinstance(treatment, Generalise):
        return _generalise_misfit(treatment, base, described.bands)
    if base not in KEEP_TYPES:
        return f"keep does not stand on {base}"
    allowed = _WINDOWS.get(base)
    if allowed is not None and (treatment.first, treatment.last) not in allowed:
        windows = " or ".join(f"keep({first},{last})" for first, last in allowed if first)
        return f"a window of {base} is at most {windows}"
    return None


def _generalise_misfit(treatment: Generalise, base: str, bands: tuple[str, ...]) -> str | None:
    axis = _COARSENESS[treatment.to][0]
    if axis == "amount":
        if base not in ("decimal", "int"):
            return f"bands stand on amounts, not on {base}"
        return None if bands_ascend(bands) else "the field names no ascending `bands`"
    return None if axis == base else f"generalise(to = {treatment.to}) stands on a {axis} field, not on {base}"


def unchanged(value: Value) -> Shown:
    """The value as it is."""
    return value


def nothing(value: Value) -> Shown:  # a treatment takes a value, this one whatever it is
    """No value at all."""
    return DROPPED


def treat_function(treatment: Treatment, kind: str, bands: tuple[str, ...] = (), unit: str | None = None) -> Treat:
    """The function that applies a treatment to values of one type.

    `drop`, `redact` and the names of individual businesses need more than the value: `views` applies them. Raises ValueError for
    the first two.
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
        return _digits(treatment.to) if isinstance(treatment.to, int) else _DATES[treatment.to]
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
