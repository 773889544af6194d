"""The synthetic twin: records of nobody, made from the definitions of the fields, to look at a policy without looking at anybody.

Rules: deterministic for a policy and a day; people are of division 220599, where nobody lives, bodies are `XXT…`; beside the ordinary
record stand the worst cases: one character everywhere, odd shapes, nothing but what is required, the last day of its period and the
day after, leap day, an objection, a minor. They leave through real views like any record. This room must not read the store.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Final, Literal, get_args

from msgspec import Struct

from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.synthetic import RecordFlag, noon, severity_of, synthetic_record
from gateway.core.records.columns import CLOCKS
from gateway.core.records.identifiers import citizen_check_character, org_code_check_character, uscc_check_character
from gateway.core.records.model import Dataset, Field, Record, SubjectKind, Value
from gateway.core.records.periods import PeriodTable, add_duration, duration_parts, publication, sharing

TwinCase = Literal["ordinary", "one_character", "odd_shapes", "required_only", "last_day", "day_after", "leap_day", "disputed", "minor"]
TWIN_CASES: Final[tuple[TwinCase, ...]] = get_args(TwinCase)


_LAST_DAYS: Final[Mapping[TwinCase, tuple[int, ...]]] = {"last_day": (0,), "day_after": (1, 2)}


class Twin(Struct, frozen=True, kw_only=True):
    """One synthetic record and what it is a case of."""

    dataset: str
    kind: SubjectKind
    case: TwinCase
    record: Record


def twins(policies: Policies, dataset: str, kind: SubjectKind, at: date, clock: Literal["publication", "sharing"]) -> tuple[Twin, ...]:
    """The twin of a dataset for a kind of subject on a day; `clock` is the one whose end the last day is."""
    described = next(held for held in policies.catalogue.datasets.values() if held.id == dataset)
    return tuple(
        Twin(
            dataset=dataset,
            kind=kind,
            case=case,
            record=synthetic_record(described, kind, values, at=at, name=f"{dataset}/{kind}/{case}", flags=flags),
        )
        for case, values, flags in _cases(described, kind, at, clock, policies.catalogue.periods)
    )


def _cases(
    dataset: Dataset, kind: SubjectKind, at: date, clock: Literal["publication", "sharing"], table: PeriodTable
) -> Iterator[tuple[TwinCase, dict[str, Value], tuple[RecordFlag, ...]]]:
    ordinary = _ordinary(dataset, kind, at - timedelta(days=30))
    yield "ordinary", ordinary, ()
    yield "one_character", ordinary | _worst(dataset, ordinary, None), ()
    yield "odd_shapes", ordinary | _worst(dataset, ordinary, _ODD), ()
    needed = {*dataset.publish.requires, *dataset.business_key, dataset.publish.severity or "", "uscc", "id_no", "name"}
    yield "required_only", {name: value for name, value in ordinary.items() if dataset.fields[name].required or name in needed}, ()
    for case, ends in _LAST_DAYS.items():  # no period of whole years ends on the day before leap day
        for end in (at - timedelta(days=days) for days in ends):
            decided = _decided_to_end(dataset, kind, end, at, clock, table)
            if decided is not None:
                yield case, _ordinary(dataset, kind, decided), ()
                break
    leap = next(day for year in range(at.year, at.year - 9, -1) if (day := _leap_day(year)) is not None and day <= at)
    yield "leap_day", _ordinary(dataset, kind, leap), ()
    yield "disputed", ordinary, ("disputed",)
    if kind == "natural":
        yield "minor", ordinary | _minor(dataset, ordinary, at), ("minor",)


def _leap_day(year: int) -> date | None:
    try:
        return date(year, 2, 29)
    except ValueError:
        return None


def _decided_to_end(
    dataset: Dataset, kind: SubjectKind, end: date, at: date, clock: Literal["publication", "sharing"], table: PeriodTable
) -> date | None:
    """A day of decision with which the clock ends on that day; None where no rule gives one."""
    lengths = {duration_parts(clock.max) for rule in table.rules for clock in (rule.publication, rule.sharing) if clock.max is not None}
    lengths |= {duration_parts(ceiling.max) for ceiling in table.ceilings}
    for months, days in sorted(lengths):
        year, month = divmod(end.year * 12 + end.month - 1 - months, 12)
        start = date(year, month + 1, min(end.day, 28)) - timedelta(days=days)
        for shift in range(-1, 6):  # the ends of months
            decided = start + timedelta(days=shift)
            if decided <= at and _ends(dataset, kind, decided, at, clock, table) == end:
                return decided
    return None


def _ends(
    dataset: Dataset, kind: SubjectKind, decided: date, at: date, clock: Literal["publication", "sharing"], table: PeriodTable
) -> date | None:
    values = _ordinary(dataset, kind, decided)
    record = synthetic_record(dataset, kind, {name: values[name] for name in values if not dataset.fields[name].text}, at=at, name="end")
    period = (publication if clock == "publication" else sharing)(
        act=dataset.publish.act,
        severity=severity_of(dataset, values),
        kind=kind,
        category=dataset.category,
        dates=record.dates,
        table=table,
        now=noon(at),
    )
    return period.last_day


# --- values -----------------------------------------------------------------------------------------------------------

ENDS: Final = frozenset({"upstream_end", "first_publication_upstream", "obligation_fulfilled", "repair_approved", "revoked"})
_NAMES: Final[Mapping[SubjectKind, str]] = {
    "legal": "通化市示例药业有限公司",
    "individual_business": "东昌区示例小吃店",
    "natural": "欧阳示例",
}
_TEXT: Final = "检查发现，负责人王示例（身份证220599198001010013，电话13900000000）销售超过保质期的食品。"
_ODD_TEXT: Final = "当事人王\u200b示例，身份证２２０５９９１９８００１０１００１３，住通化市示例路1号，患病在家，由其子小明代签。"
_HOST: Final = "https://credit.example/"


def _code(start: str) -> str:
    """A code that checks, for its first sixteen characters."""
    whole = start + org_code_check_character(start[8:])
    return whole + uscc_check_character(whole)


_CODES: Final[Mapping[SubjectKind, str]] = {
    "legal": _code("91220502XXT00091"),
    "individual_business": _code("92220502XXT00091"),
    "natural": _code("91220502XXT00091"),
}
AUTHORITY: Final = _code("11220500XXT00011")


def _citizen(born: date) -> str:
    start = f"220599{born:%Y%m%d}001"
    return start + citizen_check_character(start)


def _ordinary(dataset: Dataset, kind: SubjectKind, decided: date) -> dict[str, Value]:
    """A plain record decided on a day: every field that such a subject has, in dictionary order."""
    return {
        name: value
        for name, described in dataset.fields.items()
        if name not in _LEFT_OUT and (value := _plain_value(described, kind, decided, dataset.publish.severity)) is not None
    }


_LEFT_OUT: Final = frozenset(name for name, clock in CLOCKS.items() if clock in ENDS)
"""What a sender says of the end, or of an earlier publication, would end or begin the period by itself."""
_ORGANISATIONS: Final = frozenset({"uscc", "reg_no", "org_code", "tax_no", "institution_no", "society_no"})


def _plain_value(described: Field, kind: SubjectKind, decided: date, severity: str | None) -> Value:
    name, base = described.name, described.type.partition("(")[0]
    if (kind == "natural" and name in _ORGANISATIONS) or (kind != "natural" and name in ("id_no", "id_type")):
        return None
    if name == "category":
        return kind
    if name == severity and "general" in described.values:
        return "general"
    if described.values:
        return "fine" if "fine" in described.values else next(iter(described.values))
    if base == "date":
        ahead = name in ("valid_until", "effective_until") or name.endswith("_until")
        return (add_duration(decided, "P10Y") if ahead else decided).isoformat()
    if described.text:
        return _TEXT
    if base == "uscc":
        return _CODES[kind] if name == "uscc" else AUTHORITY
    if base == "subject_name":
        return _NAMES[kind]
    if name == "authority":
        return "通化市市场监督管理局（示例）"
    return _SIMPLE.get(base, f"示例{described.label}")


_SIMPLE: Final[Mapping[str, Value]] = {
    "int": 2026,
    "bool": True,
    "decimal": "1.2",
    "instant": "2026-03-02T01:00:00Z",
    "division": "220502",
    "uri": f"{_HOST}notice",
    "reg_no": "220500000012345",
    "org_code": "XXT00091" + org_code_check_character("XXT00091"),
    "person_name": "王示例",
    "id_no": "220599198001010013",
    "mobile": "13900000000",
    "phone": "0435-0000000",
    "email": "nobody@credit.example",
    "plate": "吉E00001",
    "account": "6222000000000000000",
    "address": "吉林省通化市东昌区示例路1号",
}
_ODD: Final[Mapping[str, Value]] = {
    "string": "👨\u200d👩\u200d👧\u200b示例",
    "subject_name": "Ａ·示例＊行",
    "person_name": "示例·阿卜杜拉",
    "uscc": "９１２２０５０２ＸＸＴ０００９１",
    "id_no": "身份证:220599198001010013",
    "reg_no": "2205 0000 0012 345",
    "org_code": "xxt00091",
    "mobile": "139-0000-0000转8",
    "phone": "内线 8001",
    "email": "nobody",
    "plate": "吉E·00001",
    "account": "6222 0000",
    "address": "不详",
    "division": "2205",
    "decimal": "0.000001",
    "uri": "credit.example",
}


def _worst(dataset: Dataset, ordinary: Mapping[str, Value], worse: Mapping[str, Value] | None) -> dict[str, Value]:
    """Bad values in place of good ones, None: one character each; what clocks and gates stand on stays as it is."""
    kept = {*CLOCKS, *dataset.publish.requires, dataset.publish.severity, "category", "authority_code"}
    found: dict[str, Value] = {}
    for name, value in ordinary.items():
        described = dataset.fields[name]
        if name in kept or not isinstance(value, str) or described.values or described.type in ("date", "instant"):
            continue
        if worse is None:
            found[name] = "某" if not described.type.startswith("decimal") else "0"
        elif described.text:
            found[name] = _ODD_TEXT
        else:
            found[name] = worse.get(described.type.partition("(")[0], value)
    return found


def _minor(dataset: Dataset, ordinary: Mapping[str, Value], at: date) -> dict[str, Value]:
    return {"id_no": _citizen(date(at.year - 16, 1, 1))} if "id_no" in ordinary and "id_no" in dataset.fields else {}
