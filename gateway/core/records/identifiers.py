"""The numbers by which subjects are known: what is right about one, what is wrong, and what may have been meant.

Rules: full width, case, blanks and invisible characters are normalised; nothing else is ever corrected silently: an O stays an O, and
the sender is told. Position 17 of a USCC (the organisation code's own check) only warns, every other failed check is a fault. A citizen
number's division is the one at first issue and is not looked up; 220599, where nobody lives, is for test people in demo mode only.
No error text repeats a value. This room must not read a residence out of a code.
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import date
from typing import Literal

from msgspec import Struct

from gateway.core.errors import RowFault
from gateway.core.records.divisions import division
from gateway.core.records.model import SubjectKind

USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""GB 32100: I O S V Z never occur; the value of a character is its index."""
ORG_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
USCC_CATEGORIES: dict[str, str] = {
    "1": "1239", "2": "19", "3": "123459", "4": "19", "5": "1239", "6": "129",
    "7": "129", "8": "19", "9": "123", "A": "19", "N": "1239", "Y": "1",
}
"""Registering department → kinds of body it registers (domain notes, unverified: used to rank what may have been meant, not to refuse)."""
LOOK_ALIKES = str.maketrans("IOSVZ", "105U2")
TEST_DIVISION = "220599"
PERMIT_PREFIXES = ("81", "82", "83", "9")
"""Residence permits of Hong Kong, Macao and Taiwan residents; the 2023 foreign permanent-resident card."""
CITIZEN_CHECKS = "10X98765432"
MAX_SUGGESTIONS = 5

_INVISIBLE = dict.fromkeys([0x00AD, 0x180E, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065)])
_INVISIBLE_SIGN = re.compile(f"[{''.join(map(chr, _INVISIBLE))}]")
_USCC_SET = frozenset(USCC_ALPHABET)
_ORG_SET = frozenset(ORG_ALPHABET)
_TO_BASE = bytes.maketrans(USCC_ALPHABET.encode(), ORG_ALPHABET[:31].encode())
_BASE_USCC = 34  # ≡ 3 mod 31: the standard's weights 3^(i-1) are the place values of the reversed code read in this base
_BASE_ORG = 35   # ≡ 2 mod 11: the weights 3 7 9 10 5 8 4 2 are 2^8 … 2^1
_BASE_ID = 13    # ≡ 2 mod 11: the weights 7 9 10 5 … 4 2 are 2^17 … 2^1
_USCC_WEIGHTS = (*(pow(3, place, 31) for place in range(17)), 1)
_SPREADSHEET_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?E\+?[0-9]+")
_NUMBER_HINT = "请将该列设为文本格式，重新填写完整号码"
_CITIZEN_SHAPE = re.compile(
    r"(?<![0-9])[1-9][0-9]{5}(?:(?:1[89]|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9X]"
    r"|[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3})(?![0-9])"
)
_FOURTEEN = re.compile(r"(?:[^0-9]*[0-9]){14}")
"""So many digits a citizen number has at least."""
_WITHIN_NUMBERS = re.compile(r"[\s\-–—−‐·]")
"""What people put between the digits of one number; commas and slashes stand between several."""
_SEPARATORS = re.compile(r"[\s\-–—−‐·.,_/]")


def normalise_code(text: str) -> str:
    """A code with compatibility forms folded, upper case, without blanks and invisible characters; no letter becomes a digit."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text if _INVISIBLE_SIGN.search(text) is None else text.translate(_INVISIBLE))
    return "".join(text.split()).upper()


class UsccCheck(Struct, frozen=True, kw_only=True):
    """What the arithmetic says of one unified social credit code (shape of api.md §7.4)."""

    code: str
    valid: bool
    checks: dict[str, str]
    """length, alphabet, structure, check_digit, inner_check_digit → ok, failed, warning, not_run.

    A pair of department and category that the table lacks warns, for the table is not the law (api.md §12.20).
    """
    parts: dict[str, str | None]
    """department, category, division, organisation_code; null where a part is absent or has an impossible character."""
    inner_ok: bool | None
    """Position 17; None: not reached."""


def uscc_check_character(body17: str) -> str:
    """Position 18 for the first 17 characters, all of them of the alphabet."""
    return USCC_ALPHABET[-int(body17[::-1].encode().translate(_TO_BASE), _BASE_USCC) % 31]


def org_code_check_character(body8: str) -> str:
    """Character 9 of an organisation code (GB 11714-1997) for its first eight."""
    total = sum(ORG_ALPHABET.index(character) * pow(2, 8 - place, 11) for place, character in enumerate(body8))
    return "0123456789X"[-total % 11]


def _outer_ok(code: str) -> bool:
    return uscc_check_character(code[:17]) == code[17]


def _inner_ok(code: str) -> bool:
    return "0123456789X"[-2 * int(code[8:16], _BASE_ORG) % 11] == code[16]


def _structure_ok(code: str) -> bool:
    return code[0] in USCC_CATEGORIES and code[1].isdigit() and code[2:8].isdigit()


def check_uscc(text: str) -> UsccCheck:
    """Every check of a unified social credit code, with its parts; arithmetic only."""
    code = normalise_code(text)
    length, alphabet = len(code) == 18, bool(code) and _USCC_SET.issuperset(code)
    checks = {"length": "ok" if length else "failed", "alphabet": "ok" if alphabet else "failed",
              "structure": "not_run", "check_digit": "not_run", "inner_check_digit": "not_run"}
    inner: bool | None = None
    valid = False
    if length and alphabet:
        checks["structure"] = "failed" if not _structure_ok(code) else "ok" if code[1] in USCC_CATEGORIES[code[0]] else "warning"
    if checks["structure"] in ("ok", "warning"):
        outer, inner = _outer_ok(code), _inner_ok(code)
        checks |= {"check_digit": "ok" if outer else "failed", "inner_check_digit": "ok" if inner else "warning"}
        valid = outer
    parts = {name: part if len(part) == size and _USCC_SET.issuperset(part) else None for name, part, size in (
        ("department", code[:1], 1), ("category", code[1:2], 1), ("division", code[2:8], 6), ("organisation_code", code[8:17], 9))}
    return UsccCheck(code=code, valid=valid, checks=checks, parts=parts, inner_ok=inner)


def _plausible(code: str) -> bool:
    """Both check digits, the category table and the division digits fit: fit to be offered."""
    return code[1] in USCC_CATEGORIES.get(code[0], "") and _structure_ok(code) and _inner_ok(code) and _outer_ok(code)


def _swaps(code: str) -> Iterator[str]:
    """Two neighbours exchanged."""
    for place in range(17):
        if code[place] != code[place + 1]:
            yield code[:place] + code[place + 1] + code[place] + code[place + 2:]


def _substitutions(code: str, places: list[int]) -> list[str]:
    """One other character at one of the places: 31 is prime, so one fits each. Last place first, known divisions before others."""
    values = [USCC_ALPHABET.find(character) for character in code]
    found: list[tuple[bool, int, str]] = []
    for place in places:
        rest = sum(max(values[other], 0) * weight for other, weight in enumerate(_USCC_WEIGHTS) if other != place)
        value = -rest * pow(_USCC_WEIGHTS[place], -1, 31) % 31
        if value != values[place]:
            candidate = code[:place] + USCC_ALPHABET[value] + code[place + 1:]
            found.append((place != 17 and division(candidate[2:8]) is None, -place, candidate))
    return [candidate for _, _, candidate in sorted(found)]


def suggest_uscc(text: str) -> tuple[tuple[str, str], ...]:
    """Codes that may have been meant, each with its reason: `letter` that never occurs, `swap` of neighbours, `substitution` of one."""
    code = normalise_code(text)
    if len(code) != 18 or check_uscc(code).valid:
        return ()
    impossible = [place for place, character in enumerate(code) if character not in _USCC_SET]
    letters = code.translate(LOOK_ALIKES)
    candidates: list[tuple[str, str]] = []
    if impossible and _USCC_SET.issuperset(letters):
        candidates.append((letters, "letter"))
    if not impossible:
        candidates += [(candidate, "swap") for candidate in _swaps(code)]
    if len(impossible) <= 1:
        candidates += [(candidate, "substitution") for candidate in _substitutions(code, impossible or list(range(18)))]
    offered: dict[str, str] = {}
    for candidate, reason in candidates:
        if _plausible(candidate):
            offered.setdefault(candidate, reason)
    return tuple(offered.items())[:MAX_SUGGESTIONS]


def uscc_is_valid(code: str) -> bool:
    """Whether a code that is already normalised passes every check that refuses.

    Nothing is remembered of it: what stands where a code should may be a person's number.
    """
    return len(code) == 18 and _USCC_SET.issuperset(code) and _structure_ok(code) and _outer_ok(code)


def uscc_inner_ok(code: str) -> bool:
    """Whether position 17 of a valid code fits its organisation code."""
    return _inner_ok(code)


def parse_uscc(text: str) -> str:
    """The normalised code.

    Raises RowFault SUBJ_USCC with what to look at, or SCHEMA_TYPE for a code that a spreadsheet has made a number.
    """
    code = normalise_code(text)
    if uscc_is_valid(code):
        return code
    if _SPREADSHEET_NUMBER.fullmatch(code):
        raise RowFault("SCHEMA_TYPE", "号码被表格软件存成了数值", hint=_NUMBER_HINT)
    if len(code) != 18:
        raise RowFault("SUBJ_USCC", f"统一社会信用代码长度为{len(code)}位", hint="应为18位")
    if not _USCC_SET.issuperset(code):
        raise RowFault("SUBJ_USCC", "统一社会信用代码含有不使用的字符", hint="代码不使用字母 I O S V Z，请核对是否为 1 0 5 U 2")
    if not _structure_ok(code):
        raise RowFault("SUBJ_USCC", "统一社会信用代码结构不符", hint="首位应为 1-9、A、N、Y，第3至8位应为数字")
    raise RowFault("SUBJ_USCC", "统一社会信用代码校验码不符", hint="请与证照逐位核对，相邻两位可能颠倒")


def parse_org_code(text: str) -> str:
    """An organisation code as nine characters without hyphen.

    Raises RowFault SCHEMA_TYPE.
    """
    code = normalise_code(text)
    if len(code) == 10 and code[8] == "-":
        code = code[:8] + code[9]
    if len(code) == 9 and _ORG_SET.issuperset(code) and org_code_check_character(code[:8]) == code[8]:
        return code
    hint = _NUMBER_HINT if _SPREADSHEET_NUMBER.fullmatch(code) else "应为8位本体代码加1位校验码（GB 11714-1997）"
    raise RowFault("SCHEMA_TYPE", "组织机构代码不符", hint=hint)


def parse_reg_no(text: str) -> str:
    """A registration number of fifteen digits (GS 15-2006), check digit by ISO 7064 MOD 11,10.

    Raises RowFault SCHEMA_TYPE.
    """
    code = normalise_code(text)
    if len(code) == 15 and code.isascii() and code.isdigit():
        product = 10
        for digit in code[:14]:
            product = ((product + int(digit)) % 10 or 10) * 2 % 11
        if (product + int(code[14])) % 10 == 1:
            return code
    hint = _NUMBER_HINT if _SPREADSHEET_NUMBER.fullmatch(code) else "应为15位数字，末位为校验码"
    raise RowFault("SCHEMA_TYPE", "工商注册号不符", hint=hint)


class CitizenId(Struct, frozen=True, kw_only=True):
    """A citizen number or residence permit, as eighteen characters, and what follows from it."""

    number: str
    born: date
    sex: Literal["M", "F"]
    permit: bool

    def age_on(self, day: date) -> int:
        """Whole years on that day; who is born on 29 February is a year older on 1 March."""
        return day.year - self.born.year - ((day.month, day.day) < (self.born.month, self.born.day))

    def __repr__(self) -> str:
        return "<CitizenId>"


def citizen_check_character(body17: str) -> str:
    """Position 18 of a citizen number (GB 11643-1999) for its first 17 digits."""
    return CITIZEN_CHECKS[2 * int(body17, _BASE_ID) % 11]


def parse_citizen_id(text: str, *, demo: bool, today: date) -> CitizenId:
    """A citizen number of 18 or 15 characters; 15 become 18.

    Raises RowFault SUBJ_ID (shape, date, check digit, a test person outside demo mode), or SCHEMA_TYPE for a spreadsheet's number.
    """
    code = normalise_code(text)
    if _SPREADSHEET_NUMBER.fullmatch(code):
        raise RowFault("SCHEMA_TYPE", "证件号码被表格软件存成了数值", hint=_NUMBER_HINT)
    digits = code.isascii() and code[:17].isdigit()
    if len(code) == 15 and digits:
        body = code[:6] + "19" + code[6:]
        code = body + citizen_check_character(body)
    if len(code) != 18 or not digits or code[17] not in "0123456789X" or code[0] == "0":
        raise RowFault("SUBJ_ID", "公民身份号码格式不符", hint="应为18位（末位可为X）或15位数字")
    try:
        born = date(int(code[6:10]), int(code[10:12]), int(code[12:14]))
    except ValueError:
        born = None
    if born is None or born > today or born.year < 1850:
        raise RowFault("SUBJ_ID", "公民身份号码中的出生日期不存在")
    if citizen_check_character(code[:17]) != code[17]:
        raise RowFault("SUBJ_ID", "公民身份号码校验码不符")
    if code.startswith(TEST_DIVISION) and not demo:
        raise RowFault("SUBJ_ID", "测试人员的证件号码", hint="行政区划220599仅在演示模式下使用")
    return CitizenId(number=code, born=born, sex="M" if int(code[16]) % 2 else "F", permit=code.startswith(PERMIT_PREFIXES))


def looks_like_citizen_number(text: str) -> bool:
    """Whether a citizen number of 18 or 15 characters stands in a text, whatever its width and separators; a valid USCC does not count."""
    if len(text) < 14 or sum(map(str.isdigit, text)) < 14:
        return False
    folded = _SEPARATORS.sub("", unicodedata.normalize("NFKC", text.translate(_INVISIBLE))).upper().replace("Х", "X")
    match = _CITIZEN_SHAPE.search(folded)
    if match is None:
        return False
    return match.group() != folded or not uscc_is_valid(folded) or citizen_check_character(folded[:17]) == folded[17]


def holds_citizen_number(text: str) -> bool:
    """Whether a whole citizen number stands in a text: its check character right, or, of 15 digits, dated and no registration number.

    Narrower than its shape: what only looks like one may be something else.
    """
    if text.isascii():  # nothing to fold: cursors and codes
        if _FOURTEEN.match(text) is None:
            return False
        folded = _WITHIN_NUMBERS.sub("", text).upper()
    else:
        if len(text) < 14 or sum(map(str.isdigit, text)) < 14:
            return False
        folded = _WITHIN_NUMBERS.sub("", unicodedata.normalize("NFKC", text.translate(_INVISIBLE))).upper().replace("Х", "X")
    return any(_is_citizen_number(match.group()) for match in _CITIZEN_SHAPE.finditer(folded))


def _is_citizen_number(code: str) -> bool:
    try:
        parse_citizen_id(code, demo=True, today=date.max)
    except RowFault:
        return False
    if len(code) == 18:
        return True
    try:
        parse_reg_no(code)
    except RowFault:
        return True
    return False


def subject_kind(category: str | None, uscc: str | None, has_id: bool) -> tuple[SubjectKind, bool]:
    """(kind, contradictory): `92…` is a household whatever the category says; unknown or contradictory is natural (policy.md §3)."""
    if uscc and uscc.startswith("92"):
        return "individual_business", False
    if uscc:
        return ("legal", False) if category in ("legal", None) and not has_id else ("natural", True)
    if category == "legal":
        return ("natural", True) if has_id else ("legal", False)
    if category == "individual_business":
        return "individual_business", False
    if category == "natural" or has_id:
        return "natural", False
    return "natural", True


_FORMS = {"11": "organ", "12": "institution", "13": "social_organisation", "91": "enterprise", "93": "cooperative"}


def subject_form(uscc: str | None, kind: SubjectKind) -> str:
    """The form shown for a subject (api.md §6.2), from the first characters of its code."""
    if kind == "natural":
        return "person"
    if kind == "individual_business":
        return "household"
    if not uscc:
        return "other"
    if uscc[0] == "5":
        return "social_organisation"
    if uscc[0] == "N":
        return "collective"
    return _FORMS.get(uscc[:2], "other")
