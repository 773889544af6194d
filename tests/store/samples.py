"""Small datasets and statements for the tests of the store; people in division 220599 only, firms with bodies `XXT…`."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from gateway.core.records.model import (
    Admitted,
    CatalogueRef,
    Dataset,
    DatasetId,
    Field,
    LifeDates,
    Period,
    Publish,
    Redaction,
    Unpublished,
    Value,
)

RECEIVED = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)


def field(name: str, kind: str, classes: Any, *, text: bool = False) -> Field:
    spread = dict.fromkeys(("legal", "individual_business", "natural"), classes) if isinstance(classes, str) else classes
    return Field(name=name, label=name, type=kind, classes=spread, text=text)


def dataset(identifier: str, category: Any, fields: list[Field]) -> Dataset:
    return Dataset(
        id=DatasetId(identifier),
        label=identifier,
        category=category,
        catalogue=CatalogueRef(edition="2024", item="x"),
        share="conditional",
        open="conditional",
        publish=Publish(act=category),
        business_key=("document_number",),
        fields={each.name: each for each in fields},
    )


FIRM_OPEN = {"legal": "O", "individual_business": "P1", "natural": "P1"}
CODE = {"legal": "O", "individual_business": "P2", "natural": "P2"}

PENALTIES = dataset(
    "administrative-penalties",
    "penalty",
    [
        field("name", "subject_name", FIRM_OPEN),
        field("uscc", "uscc", CODE),
        field("id_no", "id_no", "P2"),
        field("legal_representative", "person_name", "P1"),
        field("document_number", "string", "O"),
        field("facts", "string", "O", text=True),
        field("fine_amount", "decimal(18,6)", "O"),
        field("decision_date", "date", "O"),
        field("phone", "phone", "B1"),
        field("turnover", "decimal(18,6)", "B2"),
        field("remark", "string", "U"),
    ],
)

REGISTRATIONS = dataset(
    "registrations",
    "registration",
    [
        field("name", "subject_name", FIRM_OPEN),
        field("uscc", "uscc", CODE),
        field("org_code", "org_code", CODE),
        field("established_on", "date", "O"),
        field("enterprise_type", "string", "O"),
        field("capital", "string", "O"),
        field("scope", "string", "O"),
        field("province", "string", "O"),
        field("place", "string", "O"),
        field("status", "string", "O"),
        field("legal_representative", "person_name", "P1"),
        field("authority", "string", "O"),
        field("authority_code", "uscc", "O"),
        field("decision_date", "date", "O"),
    ],
)


def penalty(
    number: int = 1, *, kind: Any = "legal", keys: tuple[tuple[str, str], ...] | None = None, place: str = "f.csv!R2", **changes: Any
) -> Admitted:
    """A penalty; further words replace members of Admitted, or, where the dataset has such a field, values."""
    values: dict[str, Value] = {
        "name": f"通化甲乙{number}商贸有限公司",
        "uscc": f"91220502XXT{number:07d}",
        "id_no": None,
        "legal_representative": "赵某甲",
        "document_number": f"通市罚〔2026〕{number}号",
        "facts": "当事人赵某甲电话见卷",
        "fine_amount": "2.000000",
        "decision_date": "2026-05-06",
        "phone": "04350000000",
        "turnover": "88.000000",
        "remark": None,
    }
    words: dict[str, Any] = {
        "dataset": PENALTIES.id,
        "category": "penalty",
        "kind": kind,
        "subject_keys": (("uscc", str(values["uscc"])),) if keys is None else keys,
        "business_key": (str(changes.get("document_number", values["document_number"])), "11220502XXT0000001"),
        "trust": "signed",
        "region": "220502",
        "authority_code": "11220502XXT0000001",
        "authority_name": "通化市某局（示例）",
        "sender": "11220502XXT0000001",
        "officer": "钱某乙",
        "dates": LifeDates(decision=date(2026, 5, 6)),
        "severity": "general",
        "received_at": RECEIVED,
        "place": place,
    }
    for name, value in changes.items():
        (values if name in PENALTIES.fields else words)[name] = value
    return Admitted(values=Unpublished(values), **words)


def registration(number: int, *, place: str = "r.csv!R2", **changes: Any) -> Admitted:
    values: dict[str, Value] = {
        "name": f"通化示例{number}商贸有限公司",
        "uscc": f"91220502XXT{number:07d}",
        "org_code": f"XXT{number:06d}",
        "established_on": "2019-03-04",
        "enterprise_type": "有限责任公司(自然人独资)",
        "capital": "200(万)",
        "scope": "日用百货、五金、建材销售；道路货物运输（依法须经批准的项目，经相关部门批准后方可开展经营活动）",
        "province": "吉林省",
        "place": "通化市",
        "status": "存续",
        "legal_representative": "赵某甲",
        "authority": "通化市某局（示例）",
        "authority_code": "11220502XXT0000001",
        "decision_date": "2019-03-04",
    }
    values |= {name: value for name, value in changes.items() if name in REGISTRATIONS.fields}
    words: dict[str, Any] = {
        "dataset": REGISTRATIONS.id,
        "category": "registration",
        "kind": "legal",
        "subject_keys": (("uscc", str(values["uscc"])), ("org_code", str(values["org_code"]))),
        "business_key": (str(values["uscc"]),),
        "trust": "vouched",
        "region": "220502",
        "authority_code": "11220502XXT0000001",
        "authority_name": "通化市某局（示例）",
        "dates": LifeDates(decision=date(2019, 3, 4)),
        "received_at": RECEIVED,
        "place": place,
    }
    words |= {name: value for name, value in changes.items() if name not in REGISTRATIONS.fields}
    return Admitted(values=Unpublished(values), **words)


def forever(_admitted: Admitted, dates: LifeDates) -> Period:
    """A period without an end."""
    return Period(state="open", first_day=dates.decision, rule="forever")


def no_texts(count: int) -> list[Mapping[str, Redaction]]:
    return [{} for _ in range(count)]
