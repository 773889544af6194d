"""Whom a row is about: its identity numbers, its kind of subject, the keys by which the subject is known, and whether it is under age.

92 is a household whatever the category says; what is unknown or contradicts itself (a firm's code with another category, with an identity
number, or with another taxpayer number) is a natural person, and held. Nobody under fourteen is taken in. This room must not look at
anything but identity.
"""

import re
from collections.abc import Mapping
from datetime import date

from gateway.core.errors import RowFault
from gateway.core.publication.names import normalise as normalise_name
from gateway.core.records.cells import folded
from gateway.core.records.columns import Door, Notes
from gateway.core.records.identifiers import (
    CitizenId,
    citizen_check_character,
    looks_like_citizen_number,
    normalise_code,
    org_code_check_character,
    parse_citizen_id,
    subject_kind,
    uscc_is_valid,
)
from gateway.core.records.model import SubjectKind, Value

ADULT, REFUSED_BELOW = 18, 14
_CITIZEN_DOCUMENTS = frozenset({
    "身份证", "居民身份证", "公民身份证", "公民身份号码", "身份证号", "二代身份证", "临时身份证", "临时居民身份证", "户口簿", "居住证",
    "港澳居民居住证", "台湾居民居住证", "港澳台居民居住证", "111", "112", "113", "154",
})
"""Documents that bear a number of GB 11643."""
_BIRTH_DOCUMENTS = frozenset({"出生医学证明", "117"})
_OTHER_DOCUMENT = re.compile(r"[0-9A-Z()/\-]{3,64}")
_HOUSEHOLD_SERIES = "6789"
"""First digit of the sequence of a registration number: individual households (domain notes 1.3, unverified, so only ever a doubt)."""
_TAX_NUMBER = re.compile("[0-9A-Z]{15}|[0-9A-Z]{17,18}|[0-9A-Z]{20}")
_KINDS = frozenset({"legal", "individual_business", "natural"})
_CITIZEN_BODY = re.compile("[1-9][0-9]{16}[0-9X]")
_LONG_NUMBER = re.compile(r"[0-9０-９](?:[\s\-－–—.·]?[0-9０-９]){16}")
_CITIZEN_SHAPE = re.compile(r"(?<![0-9])[1-9][0-9]{5}(?:18|19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9X](?![0-9])")
_DASHES = dict.fromkeys(map(ord, "-–—.·"))


def read_identities(values: dict[str, Value], door: Door, demo: bool, today: date) -> CitizenId | None:
    """Normalises every identity number of the row; that of the subject, if it is a citizen number."""
    subject: CitizenId | None = None
    for name, document in door.identities:
        number = values.get(name)
        if not isinstance(number, str):
            continue
        kind = folded(str(values.get(document) or "")) if document else ""
        try:
            if _is_citizen_document(kind, number):
                citizen = parse_citizen_id(number, demo=demo, today=today)
                values[name] = citizen.number
                if name == "id_no":
                    subject = citizen
            else:
                code = normalise_code(number)
                if _OTHER_DOCUMENT.fullmatch(code) is None:
                    raise RowFault("SUBJ_ID", "证件号码格式不符")
                if kind in _BIRTH_DOCUMENTS and name == "id_no":
                    raise RowFault("LAW_MINOR", "不归集不满十四周岁未成年人的信息")
                values[name] = code
        except RowFault as fault:
            fault.field = door.wires[name]
            raise
    return subject


def _is_citizen_document(document: str, number: str) -> bool:
    """Whether a number is read as one of GB 11643: by its document, or because it is one whatever the document is called."""
    if not document or document in _CITIZEN_DOCUMENTS or ("身份" in document and "居留" not in document):
        return True
    code = normalise_code(number)
    return _CITIZEN_BODY.fullmatch(code) is not None and citizen_check_character(code[:17]) == code[17]


def may_hide_number(text: str) -> bool:
    """Whether so many digits stand in a text, one behind the other, that they may be a citizen number."""
    return _LONG_NUMBER.search(text) is not None


def refuse_hidden_number(values: Mapping[str, Value], kind: SubjectKind, door: Door, today: date) -> None:
    """No citizen number stands in a column that is not about identity and leaves as it is: a title, a document number, a name.

    Only numbers with a right check digit, of somebody fourteen or older: a document number of division, day and serial looks alike.
    Raises RowFault SCHEMA_TYPE.
    """
    for name in door.plain[kind]:
        value = values.get(name)
        if not isinstance(value, str) or len(value) < 17:
            continue
        if not may_hide_number(value):
            continue
        for found in _CITIZEN_SHAPE.finditer("".join(normalise_code(value).translate(_DASHES).split())):
            number = found.group()
            try:
                born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
            except ValueError:
                continue
            if citizen_check_character(number[:17]) == number[17] and born.year <= today.year - REFUSED_BELOW:
                raise RowFault("SCHEMA_TYPE", "该列含有公民身份号码", field=door.wires[name], hint="证件号码只填写在证件号码栏")


def _tax_number(values: Mapping[str, Value], door: Door) -> tuple[str | None, bool]:
    """(the USCC that the taxpayer number is, whether it hides a citizen number)."""
    number = values.get("tax_no")
    if not isinstance(number, str):
        return None, False
    if _TAX_NUMBER.fullmatch(number) is None:
        raise RowFault("SCHEMA_TYPE", "纳税人识别号不符", field=door.wires["tax_no"], hint="应为15、17、18或20位")
    if uscc_is_valid(number):
        return number, False
    if len(number) == 15:  # division and organisation code; of a person without one, the citizen number of before 1999
        return None, looks_like_citizen_number(number) and org_code_check_character(number[6:14]) != number[14]
    return None, looks_like_citizen_number(number[:15] if len(number) == 17 else number[:18])


def subject_of(values: Mapping[str, Value], door: Door, holds: Notes) -> tuple[SubjectKind, tuple[tuple[str, str], ...]]:
    """Kind and keys of the subject; what contradicts itself is a natural person, and held."""
    category, uscc, identity = values.get("category"), values.get("uscc"), values.get("id_no")
    by_tax, personal = _tax_number(values, door) if "tax_no" in values else (None, False)
    code = uscc if isinstance(uscc, str) else by_tax
    kind, contradictory = subject_kind(category if category in _KINDS else None, code, identity is not None)
    registered = values.get("reg_no")
    household = code is None and isinstance(registered, str) and registered[6] in _HOUSEHOLD_SERIES
    if (kind == "legal" and (personal or household)) or (by_tax is not None and by_tax != code):
        kind, contradictory = "natural", True
    keys: list[tuple[str, str]] = []
    if kind == "natural" and isinstance(identity, str):
        document = folded(str(values.get("id_type") or ""))
        keys.append(("id_no", identity if _is_citizen_document(document, identity) else f"{document}:{identity}"))
    if kind != "natural" or contradictory:
        keys += [(name, key) for name in door.keys_of_organisation if isinstance(key := values.get(name), str) and key != by_tax]
        if by_tax is not None:
            keys.insert(0, ("uscc", by_tax))
    if kind == "individual_business" and keys and isinstance(name := values.get("name"), str):
        keys.append(("name", normalise_name(name)))  # by its whole name a household is found; it identifies none
    if contradictory and keys:
        holds.append(("SUBJ_CONFLICT", door.wires.get("category") or door.wires.get("uscc")))
    return kind, tuple(dict.fromkeys(keys))


def is_minor(citizen: CitizenId, decision: date | None, today: date, door: Door) -> bool:
    """Whether the subject is, or was when it was decided, under age.

    Raises RowFault LAW_MINOR for somebody under fourteen.
    """
    age = citizen.age_on(today if decision is None else min(today, decision))
    if age < REFUSED_BELOW:
        raise RowFault("LAW_MINOR", "不归集不满十四周岁未成年人的信息", field=door.wires["id_no"])
    return age < ADULT
