"""A CSV of ours as others read tables, live or of a version: Frictionless data packages and CSV on the Web (api.md §7.14).

Rules: columns are those of the export, in its order; what is said of a column follows from the dictionary and the plans that made it, never
from values; a field that some plan treats is text, for a treated value keeps no type; an empty cell is null. Only what holds for
every row is a constraint: no length, for a `|` is written as two characters. This room must not know where a file lies.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct, structs

from gateway.core.disclosure.plans import PlanSet
from gateway.core.publication.columns import Column as Typed
from gateway.core.publication.columns import ColumnType
from gateway.core.records.model import Field

Kind = Literal["string", "integer", "number", "boolean", "date", "datetime", "anyURI"]


class Column(Struct, frozen=True, kw_only=True):
    """One column of a table."""

    name: str
    title: str
    title_en: str | None
    kind: Kind = "string"
    required: bool = False
    values: tuple[str, ...] = ()
    pattern: str | None = None
    unit: str | None = None
    standard: str | None = None


USCC: Final = "[0-9A-HJ-NP-RT-UW-Y]{18}"

_ENVELOPE: Final[Mapping[str, Column]] = {
    column.name: column
    for column in (
        Column(name="id", title="记录编号", title_en="Record id", required=True, pattern="rec_[a-z2-7]{26}"),
        Column(name="dataset", title="数据集", title_en="Dataset", required=True),
        Column(name="kind", title="种类", title_en="Kind", required=True),
        Column(name="kind_label", title="种类名称", title_en="Kind, in words", required=True),
        Column(name="subject_id", title="主体编号", title_en="Subject id", required=True, pattern="sub_[a-z2-7]{26}"),
        Column(name="subject_uscc", title="统一社会信用代码", title_en="Unified social credit code", pattern=USCC),
        Column(name="subject_name", title="主体名称", title_en="Name of the subject"),
        Column(name="subject_kind", title="主体类别", title_en="Kind of subject", required=True),
        Column(name="subject_kind_label", title="主体类别名称", title_en="Kind of subject, in words"),
        Column(name="subject_uri", title="主体地址", title_en="Address of the subject", kind="anyURI", required=True),
        Column(name="document_number", title="文书号", title_en="Document number"),
        Column(name="decision_date", title="决定日期", title_en="Decided on", kind="date"),
        Column(name="severity", title="失信严重程度", title_en="Severity"),
        Column(name="severity_label", title="失信严重程度名称", title_en="Severity, in words"),
        Column(name="region", title="行政区划", title_en="Division", pattern="[0-9]{6}", standard="GB/T 2260 行政区划代码"),
        Column(name="region_label", title="行政区划名称", title_en="Division, in words"),
        Column(name="published_from", title="公示起日", title_en="First day shown", kind="date"),
        Column(name="publish_until", title="公示止日", title_en="Last day shown", kind="date"),
        Column(name="period_rule", title="公示期规则", title_en="Rule of the period"),
        Column(name="basis", title="依据", title_en="Legal basis"),
        Column(name="source_name", title="来源部门", title_en="Source"),
        Column(name="source_uscc", title="来源部门代码", title_en="Code of the source", pattern=USCC),
        Column(name="source_received_at", title="收到时间", title_en="Received at", kind="datetime", required=True),
        Column(name="source_issuer", title="互认来源", title_en="Issuing city"),
        Column(name="marks", title="标记", title_en="Marks"),
        Column(name="seq", title="变更序号", title_en="Sequence number", kind="integer", required=True),
        Column(name="policy_version", title="策略版本", title_en="Policy version", kind="integer", required=True),
        Column(name="list", title="名单", title_en="List", required=True),
        Column(name="listed_on", title="列入日期", title_en="Listed on", kind="date"),
        Column(name="listing_basis", title="列入依据", title_en="Legal basis of the list"),
        Column(name="measures", title="惩戒或激励措施", title_en="Measures"),
        Column(name="removal_conditions", title="移出条件", title_en="How to leave the list"),
        Column(name="remedy", title="救济途径", title_en="Remedy"),
        Column(name="salt", title="承诺所用的盐", title_en="Salt of the commitment", required=True),
    )
}
_FIELDS: Final = {
    "subject_uscc": "uscc", "subject_name": "name", "document_number": "document_number", "decision_date": "decision_date",
    "severity": "severity",
}  # fmt: skip
_KINDS: Final[Mapping[str, Kind]] = {"int": "integer", "bool": "boolean", "date": "date", "instant": "datetime", "uri": "anyURI"}


def columns_of(held: PlanSet, names: Sequence[str], category: str) -> tuple[Column, ...]:
    """What is known of these columns of a dataset's export."""
    return tuple(_column(held, name, category) for name in names)


_AS_TYPED: Final[Mapping[ColumnType, Kind]] = {
    "integer": "integer", "boolean": "boolean", "decimal": "number", "date": "date", "instant": "datetime",
}  # fmt: skip


def columns_of_version(held: PlanSet, typed: Sequence[Typed], category: str, *, sure: bool) -> tuple[Column, ...]:
    """What is known of the columns of a version, which has its own types.

    `sure`: all its rows are organisations', shown under the plans of today; of others only names, titles and types hold for every row.
    """
    found = []
    for column, known in zip(typed, columns_of(held, [each.name for each in typed], category), strict=True):
        plain: Kind = "anyURI" if known.kind == "anyURI" else "string"
        kept = structs.replace(known, kind=_AS_TYPED.get(column.type, plain))
        found.append(kept if sure or column.name == "id" else structs.replace(kept, required=False, values=(), pattern=None))
    return tuple(found)


def _column(held: PlanSet, name: str, category: str) -> Column:
    if name == "dataset":
        return _fixed(_ENVELOPE[name], held.dataset)
    if name == "kind":
        return _fixed(_ENVELOPE[name], category)
    of = name.removeprefix("fields_") if name.startswith("fields_") else _FIELDS.get(name)
    field = held.described.get(of) if of is not None else None
    if name in _ENVELOPE and (field is None or name in ("subject_uscc", "subject_name")):
        return _ENVELOPE[name]
    if field is None:
        about = held.described.get(name.removeprefix("treatments_"))
        title = f"{about.label}的处理方式" if about is not None else "摘要"
        return Column(name=name, title=title, title_en=f"Treatment of {about.name}" if about is not None else "Summary of a held text")
    return _described(held, name, field)


def _fixed(column: Column, value: str) -> Column:
    return Column(name=column.name, title=column.title, title_en=column.title_en, required=True, values=(value,))


def _described(held: PlanSet, name: str, field: Field) -> Column:
    """A column that holds a field of the dataset."""
    plan = held.plans.get("legal")  # the bulk forms hold organisations only
    clear = plan is not None and field.name not in plan.treatments and any(step.field == field.name for step in plan.steps)
    kind: Kind = "string"
    if clear:
        kind = "number" if field.type.startswith("decimal") else _KINDS.get(field.type, "string")
    return Column(
        name=name,
        title=field.label,
        title_en=field.label_en,
        kind=kind,
        required=clear and field.required and not field.text,
        values=tuple(field.values) if clear and field.type == "enum" and not field.multiple else (),
        pattern=USCC if clear and field.type == "uscc" else None,
        unit=field.unit,
        standard=field.standard_element,
    )


class Table(Struct, frozen=True, kw_only=True):
    """A CSV file: where it is, what its columns are, and what is said of the whole."""

    name: str
    about: str
    """The document of the dataset, list or version, below which its descriptions stand."""
    title: str
    description: str | None
    publisher: str
    version: str
    columns: tuple[Column, ...]
    download: str
    keywords: tuple[str, ...] = ()
    licence: str | None = None
    terms: Mapping[str, Any] | None = None
    size: int | None = None
    """Of a file that stays as it is."""
    sha256: str | None = None


# --- Frictionless -------------------------------------------------------------------------------------------------------

_TABLE_TYPES: Final[Mapping[Kind, Mapping[str, str]]] = {
    "anyURI": {"type": "string", "format": "uri"},
    "datetime": {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%SZ"},
}


def data_package(table: Table) -> dict[str, Any]:
    """A table as a Frictionless data package of one resource."""
    terms = table.terms
    licences = [{"name": terms["title"], "path": terms["uri"], "title": terms["title"]}] if terms is not None else []
    return {
        "profile": "tabular-data-package",
        "name": table.name,
        "id": table.about,
        "title": table.title,
        "description": table.description or table.title,
        "homepage": table.about,
        "version": table.version,
        "keywords": table.keywords,
        **({"licenses": licences} if licences else {}),
        **({"attribution": terms["attribution"], "carveOut": terms["carve_out"]} if terms is not None else {}),
        "contributors": [{"title": table.publisher, "role": "publisher"}],
        "resources": [
            {
                "profile": "tabular-data-resource",
                "name": table.name,
                "title": table.title,
                "path": table.download,
                "format": "csv",
                "mediatype": "text/csv",
                "encoding": "utf-8",
                **({"bytes": table.size, "hash": f"sha256:{table.sha256}"} if table.sha256 is not None else {}),
                "dialect": {"delimiter": ",", "lineTerminator": "\r\n", "doubleQuote": True, "header": True},
                "schema": table_schema(table.columns),
            }
        ],
    }


def table_schema(columns: Sequence[Column]) -> dict[str, Any]:
    """Table Schema of the columns."""
    fields: list[dict[str, Any]] = []
    for column in columns:
        constraints: dict[str, Any] = {}
        if column.required:
            constraints["required"] = True
        if column.name == "id":
            constraints["unique"] = True
        if column.values:
            constraints["enum"] = list(column.values)
        if column.pattern is not None:
            constraints["pattern"] = column.pattern
        fields.append(
            {
                "name": column.name,
                **_TABLE_TYPES.get(column.kind, {"type": column.kind}),
                "title": column.title,
                **({"description": _description(column)} if _description(column) else {}),
                **({"constraints": constraints} if constraints else {}),
            }
        )
    return {"fields": fields, "primaryKey": ["id"], "missingValues": [""]}


def _description(column: Column) -> str:
    parts = (column.title_en, f"单位：{column.unit}" if column.unit else None, column.standard)
    return "；".join(part for part in parts if part)


# --- CSV on the Web -----------------------------------------------------------------------------------------------------


def csvw(table: Table) -> dict[str, Any]:
    """A table as CSV on the Web describes it; what is no word of CSVW would be a fault to its readers."""
    return {
        "@context": ["http://www.w3.org/ns/csvw", {"@language": "zh"}],
        "@id": f"{table.about}/csv-metadata.json",
        "url": table.download,
        "dc:title": table.title,
        "dc:description": table.description or table.title,
        "dc:publisher": table.publisher,
        **({"dc:license": {"@id": table.licence}} if table.licence is not None else {}),
        "dc:source": {"@id": table.about},
        "dialect": {"encoding": "utf-8", "delimiter": ",", "lineTerminators": ["\r\n"], "doubleQuote": True, "header": True},
        "tableSchema": csvw_schema(table.columns),
    }


def csvw_schema(columns: Sequence[Column]) -> dict[str, Any]:
    """The `tableSchema` of the columns; an enumeration is a pattern of its codes there."""
    return {"columns": [_csvw_column(column) for column in columns], "primaryKey": "id"}


def _csvw_column(column: Column) -> dict[str, Any]:
    titles: dict[str, Any] = {"und": column.name, "zh": column.title}
    if column.title_en:
        titles["en"] = column.title_en
    return {
        "name": column.name,
        "titles": titles,
        "datatype": _datatype(column),
        "null": "",
        **({"required": True} if column.required else {}),
        **({"dc:description": _description(column)} if _description(column) else {}),
    }


def _datatype(column: Column) -> str | dict[str, Any]:
    if column.kind == "datetime":
        return {"base": "datetime", "format": "yyyy-MM-ddTHH:mm:ssX"}
    if column.kind != "string":
        return "decimal" if column.kind == "number" else column.kind
    if column.values:
        return {"base": "string", "format": "|".join(re.escape(each) for each in column.values)}
    if column.pattern is not None:
        return {"base": "string", "format": column.pattern}
    return "string"
