"""Parameters that many paths take, described once."""

from typing import Final

from gateway.web.describe import Parameter

SUBJECT: Final = Parameter(
    name="subject", where="path", text="统一社会信用代码或 sub_ 开头的主体编号。USCC, or an id we issued.", example="91220502XXT00002X2"
)
RECORD: Final = Parameter(name="record", where="path", text="记录编号。Record id.", example="rec_2222222222222222222222222a")
LIST: Final = Parameter(name="list_id", where="path", text="名单标识。List id.", example="tax-violations")
DATASET_ID: Final = Parameter(name="dataset", where="path", text="数据集标识。Dataset id.", example="administrative-penalties")

LIMIT: Final = Parameter(
    name="limit",
    text="每页条数 1–100，默认 20；all 为整份导出（流式）。Rows a page, or `all` for an export.",
    schema={"oneOf": [{"type": "integer", "minimum": 1, "maximum": 100}, {"const": "all"}], "default": 20},
    example="20",
)
PAGE_LIMIT: Final = Parameter(
    name="limit",
    text="每页条数 1–100，默认 20。Rows a page.",
    schema={"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    example="20",
)
CURSOR: Final = Parameter(
    name="cursor", text="上一页 next 中的游标，不可自造。As given in `next`.", schema={"type": "string", "maxLength": 2048}
)
SORT: Final = Parameter(
    name="sort",
    text="排序字段，- 为降序，至多两个；其后按编号。At most two keys, then id.",
    schema={"type": "string", "maxLength": 200},
    example="-decision_date",
)
FIELDS: Final = Parameter(
    name="fields",
    text="只要这些字段，逗号分隔，点号进入下层；id 总在。Sparse answer.",
    schema={"type": "string", "maxLength": 2000},
    example="id",
)
COUNT: Final = Parameter(
    name="count",
    text="是否计数；不能与 limit=all 同时使用。Whether to count; of pages only.",
    schema={"type": "string", "enum": ["none", "estimated", "exact"], "default": "none"},
)
FACET: Final = Parameter(
    name="facet",
    text="分面统计，至多五个字段；数据集自己的字段须同时给出 dataset，超过 5000 行时 timed_out；不能与 limit=all 同时使用。"
    "Facets, at most five; of a dataset's own fields together with `dataset`, over 5,000 rows at most; of pages only.",
    schema={"type": "string", "maxLength": 200},
    example="region",
)
SHAPE: Final = Parameter(name="shape", text="flat 为展平的一行。One flat row.", schema={"type": "string", "enum": ["flat"]})
TRAILER: Final = Parameter(
    name="trailer",
    text="NDJSON 末尾加一行汇总；只用于 NDJSON。A last line with the number of rows, of NDJSON alone.",
    schema={"type": "string", "enum": ["0", "1"]},
)
EXCEL: Final = Parameter(
    name="excel", text="供 Excel 打开的 CSV；只用于 CSV。CSV for Excel, of CSV alone.", schema={"type": "string", "enum": ["0", "1"]}
)
Q: Final = Parameter(
    name="q",
    text="名称或代码的一部分，一个字也可以。Name or code, one character is enough.",
    schema={"type": "string", "minLength": 1, "maxLength": 128},
    example="示例药业",
)
KIND: Final = Parameter(
    name="kind", text="种类，逗号为任一。Kind, comma for any of.", schema={"type": "string", "maxLength": 400}, example="penalty"
)
REGION: Final = Parameter(
    name="region",
    text="行政区划代码，市代码含其区县。Division; a city includes its districts.",
    schema={"type": "string", "maxLength": 400},
    example="220500",
)
DATASET: Final = Parameter(
    name="dataset", text="数据集。Dataset.", schema={"type": "string", "maxLength": 400}, example="administrative-penalties"
)
PURPOSE: Final = Parameter(
    name="Purpose",
    where="header",
    text="使用目的，凭证有多个目的时必填。Purpose of use.",
    schema={"type": "string", "maxLength": 63},
    example="open.read",
)

CASE_REF: Final = Parameter(
    name="Case-Ref",
    where="header",
    text="案件编号，4 至 64 个字符，加密保存。Case reference; kept encrypted.",
    schema={"type": "string", "minLength": 4, "maxLength": 64},
    example="2026-0123",
)

PAGING: Final = (LIMIT, CURSOR, SORT, FIELDS, COUNT, FACET, SHAPE, TRAILER, EXCEL, PURPOSE, CASE_REF)
PAGE_PROBLEMS: Final = (
    "invalid-parameter",
    "bad-cursor",
    "cursor-expired",
    "purpose-missing",
    "case-ref-missing",
    "too-many-rows-for-format",
    "text-too-long-for-format",
    "too-many-exports",
    "query-timeout",
)
EXAMPLE_PAGE: Final = {
    "next": None,
    "prev": None,
    "self": "https://h/v1/",
    "count": None,
    "facets": None,
    "as_of": "2026-11-04T01:00:00Z",
    "dataset_version": "20261104010000-88213",
    "policy_version": 42,
    "notice": None,
}
