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
    looks_like_citizen_number,
    normalise_code,
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
_TAX_NUMBER = re.compile("[0-9A-Z]{15}|[0-9A-Z]{17,18}|[0-9A-Z]{20}")
_KINDS = frozenset({"legal", "individual_business", "natural"})


def read_identities(values: dict[str, Value], door: Door, demo: bool, today: date) -> CitizenId | None:
    """Normalises every identity number of the row; that of the subject, if it is a citizen number."""
    subject: CitizenId | None = None
    for name, document in door.identities:
        number = values.get(name)
        if not isinstance(number, str):
            continue
        kind = folded(str(values.get(document) or "")) if document else ""
        try:
            if not kind or kind in _CITIZEN_DOCUMENTS:
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


def _tax_number(values: Mapping[str, Value], door: Door) -> tuple[str | None, bool]:
    """(the USCC that the taxpayer number is, whether it hides a citizen number)."""
    number = values.get("tax_no")
    if not isinstance(number, str):
        return None, False
    if _TAX_NUMBER.fullmatch(number) is None:
        raise RowFault("SCHEMA_TYPE", "纳税人识别号不符", field=door.wires["tax_no"], hint="应为15、17、18或20位")
    if uscc_is_valid(number):
        return number, False
    return None, len(number) > 15 and looks_like_citizen_number(number[:15] if len(number) == 17 else number[:18])


def subject_of(values: Mapping[str, Value], door: Door, holds: Notes) -> tuple[SubjectKind, tuple[tuple[str, str], ...]]:
    """Kind and keys of the subject; what contradicts itself is a natural person, and held."""
    category, uscc, identity = values.get("category"), values.get("uscc"), values.get("id_no")
    by_tax, personal = _tax_number(values, door) if "tax_no" in values else (None, False)
    code = uscc if isinstance(uscc, str) else by_tax
    kind, contradictory = subject_kind(category if category in _KINDS else None, code, identity is not None)
    if (personal and kind == "legal") or (by_tax is not None and by_tax != code):
        kind, contradictory = "natural", True
    keys: list[tuple[str, str]] = []
    if kind == "natural" and isinstance(identity, str):
        document = folded(str(values.get("id_type") or ""))
        keys.append(("id_no", identity if not document or document in _CITIZEN_DOCUMENTS else f"{document}:{identity}"))
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
