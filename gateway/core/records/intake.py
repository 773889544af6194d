"""The door in: a `SourceRecord` becomes an `Admitted`, or a `RowFault` says why not; nothing else makes one.

Rows that have the same columns are read together (`reading`) and judged one by one. Of each row, in this order:
- every column is known; a prohibited one rejects the row (LAW_PROHIBITED);
- every value is of its type and length. Width, case and blanks are normalised, control characters refused, nothing is coerced: an
  unknown enumeration value stays as sent and holds the row (SCHEMA_ENUM), an amount that is not a plain number is SCHEMA_TYPE;
- nothing required is missing (SCHEMA_MISSING, LAW_BASIS for the legal basis);
- the subject is known by a right number, code and category decide its kind; contradictory means natural person, held (SUBJ_CONFLICT);
- no text tells what may not be collected; nobody is under 14; persons only where the dataset takes them (LAW_PERSON);
- the deciding authority is one for which the sender may speak (SCOPE_AUTHORITY);
- the clocks can be set; a severity that cannot be derived holds the row (LAW_PERIOD), a day of decision to come too (TIME_FUTURE).

An unknown division is a note. A row's own region is that of the deciding authority. A statement of an authority by a named officer, or of a
partner under its signature, is `signed`; all else is `vouched`. No error repeats a value. This room must not store, and must not know
who may see what.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache

from msgspec import Struct

from gateway.adapter_contract import SourceRecord
from gateway.core.errors import RowFault
from gateway.core.records.catalogue import SUBJECT
from gateway.core.records.columns import MOST_LIVES, SEPARATOR, Door, Notes, door_of
from gateway.core.records.divisions import covers, division
from gateway.core.records.headers import header_map
from gateway.core.records.identifiers import normalise_code, uscc_inner_ok
from gateway.core.records.model import SUBJECT_KINDS, Admitted, Dataset, LifeDates, RecordId, Unpublished, Value
from gateway.core.records.periods import derive_severity, legal_day
from gateway.core.records.prohibited import prohibited_text
from gateway.core.records.reading import Rows, read_rows
from gateway.core.records.subjects import is_minor, read_identities, refuse_hidden_number, subject_of

__all__ = ["AuthorityInfo", "IntakeContext", "header_map", "intake", "intake_all"]

LONG_TERM = "2099-12-31"
"""How the national tables write "no end"; what lies beyond it is none either."""
_ENDS = frozenset({"valid_until", "upstream_end"})
"""Dates that may be "no end"; written for any other date of the life of a record it is a date to come."""


class AuthorityInfo(Struct, frozen=True, kw_only=True):
    """An authority that may upload: where it decides, and for whom besides itself it speaks."""

    uscc: str
    name: str
    region: str
    covers: tuple[str, ...] = ()
    """Codes of other authorities; `*` = every authority of its region."""


class IntakeContext(Struct, frozen=True, kw_only=True):
    """What intake must know beside the row."""

    dataset: Dataset
    authorities: Mapping[str, AuthorityInfo]
    sender: str | None = None
    """USCC of the uploading authority; None: nobody stands for the rows."""
    officer: str | None = None
    demo: bool = False
    now: datetime
    region: str
    """Our own city; for a partner's record the region that its payload claims."""
    issuer: str | None = None
    """Party of the partner whose signed batch this is."""


# --- rows, and one row -------------------------------------------------------------------------------------------------------

_HOLDS = ("SUBJ_CONFLICT", "LAW_BASIS", "SCHEMA_ENUM", "LAW_PERIOD", "SCHEMA_MISSING", "TIME_FUTURE")
"""The weightiest first: a record has one hold, the others are told as warnings."""
_ROUND_BRACKETS = str.maketrans("[【〔〖{「『]】〕〗}」』", "(((((((" + ")))))))")
_OTHER_BRACKETS = re.compile("[][【〔〖{「『】〕〗}」』]")


def intake(source: SourceRecord, context: IntakeContext) -> Admitted:
    """One statement, let in: normalised, its subject and clocks decided.

    Raises RowFault (reject) with code, column and place; what is only held is admitted with `hold_code`.
    """
    (outcome,) = intake_all((source,), context)
    if isinstance(outcome, RowFault):
        raise outcome
    return outcome


def intake_all(sources: Sequence[SourceRecord], context: IntakeContext) -> list[Admitted | RowFault]:
    """Many statements, each let in or told what is wrong with it, in order."""
    door, today = door_of(context.dataset), legal_day(context.now)
    spoken_for = _spoken_for(context)
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, source in enumerate(sources):
        alike.setdefault(tuple(source.fields), []).append(place)
    outcomes: dict[int, Admitted | RowFault] = {}
    for places in alike.values():
        some = [sources[place] for place in places]
        outcomes.update(zip(places, _admit_alike(some, context, door, today, spoken_for), strict=True))
    return [outcomes[place] for place in range(len(sources))]


def _admit_alike(
    sources: Sequence[SourceRecord], context: IntakeContext, door: Door, today: date, spoken_for: frozenset[str]
) -> Iterator[Admitted | RowFault]:
    """Statements with the same columns."""
    try:
        rows = read_rows([source.fields for source in sources], door)
    except RowFault as of_all:
        for source in sources:
            yield RowFault(of_all.code, of_all.detail, field=of_all.field, place=source.place, hint=of_all.hint)
        return
    for row, source in enumerate(sources):
        fault = rows.faults.get(row)
        if fault is not None:
            fault.place = source.place
            yield fault
            continue
        try:
            yield _admit(source, context, door, rows, row, today, spoken_for)
        except RowFault as why:
            why.place = source.place
            yield why.with_traceback(None)  # it would hold on to all the rows


def _admit(
    source: SourceRecord, context: IntakeContext, door: Door, rows: Rows, row: int, today: date, spoken_for: frozenset[str]
) -> Admitted:
    dataset, upsert, signed_by_partner = door.dataset, source.op == "upsert", context.issuer is not None
    values = rows.values[row]
    holds: Notes = rows.holds.get(row) or []
    warnings: Notes = []
    _refuse_missing(values, door, rows.whole, statement=upsert and not signed_by_partner)
    citizen = read_identities(values, door, context.demo, today)
    kind, keys = subject_of(values, door, holds)
    # a row that names neither code nor kind is no statement about a person, but about nobody: SUBJ_MISSING below
    doubtful = bool(holds) and any(code == "SUBJ_CONFLICT" for code, _ in holds)
    if upsert and not doubtful and kind not in dataset.subject_kinds and (keys or values.get("category") in SUBJECT_KINDS):
        raise RowFault("LAW_PERSON", "该数据集不归集此类主体的信息", field=door.wires.get("category"))
    if not keys and (upsert or not (signed_by_partner and source.record_id)):
        natural = kind == "natural" and "id_no" in door.wires
        raise RowFault("SUBJ_MISSING", "缺少主体身份号码", field=door.wires.get("id_no" if natural else "uscc"),
                       hint="自然人填写证件号码，其他主体至少填写一种代码")
    dates = _dates(values, door)
    minor = False
    severity: str | None = None
    if upsert:
        if kind != "natural":
            _refuse_without_code(values, door)
        if row in rows.numbered:
            refuse_hidden_number(values, kind, door, today)
        if row in rows.telling and prohibited_text("\t".join([value for value in values.values() if isinstance(value, str)])):
            raise RowFault("LAW_PROHIBITED", "含有禁止采集的个人信息", hint="宗教信仰、基因、指纹、血型、病史等不得采集，请删除后重新报送")
        if citizen is not None:
            minor = is_minor(citizen, dates.decision, today, door)
        severity = _severity(values, door, holds)
        if not (rows.whole >= door.publishable or values.keys() >= door.publishable):
            holds += [(_UNPUBLISHABLE.get(name, "SCHEMA_MISSING"), door.wires[name]) for name in door.publishable if name not in values]
        if dates.decision is not None and dates.decision > today:
            holds.append(("TIME_FUTURE", door.wires["decision_date"]))
        if dates.conduct_end is not None and dates.conduct_end > today:  # the ceiling is counted from it
            holds.append(("TIME_FUTURE", door.wires["conduct_end"]))
    code, name, region = _authority(values, door, context, warnings)
    _note_codes(values, door, warnings)
    hold_code, hold_field = None, None
    if holds and upsert:  # a withdrawal waits for nobody
        holds.sort(key=_weight)
        hold_code, hold_field = holds[0]
        warnings += holds[1:]
    signed = signed_by_partner or (context.sender is not None and context.officer is not None)
    return Admitted(
        dataset=dataset.id, category=dataset.category, op=source.op, reason=source.reason, kind=kind, subject_keys=keys,
        business_key=_business_key(values, dataset, keys), values=Unpublished(values), trust="signed" if signed else "vouched",
        issuer=context.issuer, region=region, authority_code=code, authority_name=name, sender=context.sender,
        speaks_for=spoken_for, officer=context.officer, dates=dates, severity=severity, minor=minor, hold_code=hold_code,
        hold_field=hold_field, warnings=tuple(warnings),
        record_id=RecordId(source.record_id) if signed_by_partner and source.record_id is not None else None,
        version=source.version if signed_by_partner else None, received_at=context.now, place=source.place,
    )


def _weight(hold: tuple[str, str | None]) -> int:
    return _HOLDS.index(hold[0])


def _refuse_missing(values: Mapping[str, Value], door: Door, whole: frozenset[str], *, statement: bool) -> None:
    """Required fields of a whole statement; of a withdrawal or a partner's record only what identifies it. `whole`: what all rows have."""
    required = door.required if statement else door.required_for_key
    if whole >= required or values.keys() >= required:
        return
    missing = [name for name in door.wires if name in required and name not in values]
    name = next((name for name in missing if name != "legal_basis"), "legal_basis")
    if name == "legal_basis":
        raise RowFault("LAW_BASIS", "缺少法律依据", field=door.wires[name], hint="写明法律、法规名称和条款")
    raise RowFault("SCHEMA_MISSING", f"缺少{door.dataset.fields[name].label}", field=door.wires[name])


def _refuse_without_code(values: Mapping[str, Value], door: Door) -> None:
    """Of each group of codes that the dataset names, an organisation or household gives at least one."""
    for group in door.dataset.one_of:
        if values.keys().isdisjoint(group):
            raise RowFault("SUBJ_MISSING", "缺少主体代码", field=door.wires[group[0]], hint="该数据集列明的代码至少填写一种")


def _dates(values: Mapping[str, Value], door: Door) -> LifeDates:
    """The days from which clocks run; "long-term" is no end. Many rows have the same: they get the same dates."""
    said = tuple([values.get(name) for name, _ in door.clocks])
    known = door.lives.get(said)
    if known is not None:
        return known
    days = {}
    for (_, clock), text in zip(door.clocks, said, strict=True):
        if isinstance(text, str) and (text < LONG_TERM or clock not in _ENDS):
            days[clock] = date.fromisoformat(text)
    if len(door.lives) >= MOST_LIVES:
        door.lives.clear()
    made = door.lives[said] = LifeDates(**days)
    return made


def _severity(values: Mapping[str, Value], door: Door, holds: Notes) -> str | None:
    """As stated, else as it follows from the kinds of penalty; a serious list is serious by law."""
    if door.dataset.category == "blacklist":
        return "serious"
    if door.severity is None:
        return None
    stated = values.get(door.severity)
    kinds = values.get("penalty_type")
    derived = derive_severity(kinds.split(SEPARATOR)) if isinstance(kinds, str) else None
    if isinstance(stated, str):
        if derived == "minor" and stated in door.severities and stated != derived:
            # a mere warning is not published; who says that it weighs more says by which rule, to a person
            holds.append(("LAW_PERIOD", door.wires[door.severity]))
        return stated if stated in door.severities else None
    if derived is None:
        holds.append(("LAW_PERIOD", door.wires[door.severity]))
    return derived


def _authority(
    values: Mapping[str, Value], door: Door, context: IntakeContext, warnings: Notes
) -> tuple[str | None, str | None, str]:
    """(code, name, region) of who decided.

    Raises RowFault SCOPE_AUTHORITY when the sender may not speak for it.
    """
    code, name = values.get("authority_code"), values.get("authority")
    code, name = code if isinstance(code, str) else None, name if isinstance(name, str) else None
    if context.issuer is not None:
        return code, name, context.region
    sender = context.authorities.get(context.sender) if context.sender else None
    if context.sender is not None:
        if code is None:
            code, name = context.sender, name or (sender.name if sender else None)
        elif code != context.sender and not _speaks_for(sender, code, context.authorities):
            raise RowFault("SCOPE_AUTHORITY", "报送单位无权报送该机关的信息", field=door.wires["authority_code"],
                           hint="由作出决定的机关报送，或先登记代报关系")
    known = context.authorities.get(code) if code else None
    if known is not None:
        return code, name or known.name, known.region
    if code is not None:
        warnings.append(("REGION_UNKNOWN", door.wires.get("authority_code")))
    return code, name, sender.region if sender else context.region


def _speaks_for(sender: AuthorityInfo | None, code: str, authorities: Mapping[str, AuthorityInfo]) -> bool:
    if sender is None:
        return False
    if code in sender.covers:
        return True
    other = authorities.get(code)
    return "*" in sender.covers and other is not None and covers(sender.region, other.region)


def _spoken_for(context: IntakeContext) -> frozenset[str]:
    """The authorities for which, besides itself, the sender of these statements may speak."""
    sender = context.authorities.get(context.sender) if context.sender and context.issuer is None else None
    if sender is None:
        return frozenset()
    return frozenset({*sender.covers, *(code for code in context.authorities if _speaks_for(sender, code, context.authorities))})


def _note_codes(values: Mapping[str, Value], door: Door, warnings: Notes) -> None:
    """Notes that stop nothing: the inner check of the subject's code, a division that the table lacks."""
    uscc = values.get("uscc")
    if isinstance(uscc, str):
        if not uscc_inner_ok(uscc):
            warnings.append(("SUBJ_USCC_INNER", door.wires["uscc"]))
        if not _is_division(uscc[2:8]) and uscc[2:8] != NATIONAL:
            warnings.append(("REGION_UNKNOWN", door.wires["uscc"]))
    for name in door.divisions:
        text = values.get(name)
        if isinstance(text, str) and not _is_division(text):
            warnings.append(("REGION_UNKNOWN", door.wires[name]))


@lru_cache(maxsize=4096)
def _is_division(code: str) -> bool:
    """Whether a division ever bore this code."""
    return division(code) is not None


_UNPUBLISHABLE = {"legal_basis": "LAW_BASIS", "decision_date": "LAW_PERIOD"}
"""Why a partner's record without one of the fields that publication needs is held."""
NATIONAL = "100000"
"""In a USCC: registered with the national authority."""


def _business_key(values: Mapping[str, Value], dataset: Dataset, keys: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """The dataset's key with width, case, blanks and kinds of bracket folded, so that one decision stays one record."""
    return tuple([":".join(keys[0]) if name == SUBJECT and keys else _key_text(values.get(name)) for name in dataset.business_key])


def _key_text(value: Value) -> str:
    if value is None:
        return ""
    code = normalise_code(str(value))
    return code if _OTHER_BRACKETS.search(code) is None else code.translate(_ROUND_BRACKETS)
