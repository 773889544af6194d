"""Pages of HTML for people: made here whole, without script, from templates that escape whatever they are given (api.md §1, §5).

Rules: a page shows what a story gave and no more; one language a page, both where a page must be read by whoever holds its address; a
value that is not shown whole is named with how it is shown. Nothing is loaded from another host. This room must not read the store.
"""

from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from gateway.core.publication.documents import SAMPLE_NOTICE
from gateway.operations.query_receipts import Shown
from gateway.operations.show_subject import FieldWords, SubjectShown
from gateway.web.negotiation import Language
from gateway.web.problem_advice import advice_for
from gateway.web.problems import Problem, kind_of_code
from gateway.web.replies import Header

if TYPE_CHECKING:
    from jinja2 import Environment

STYLE_PATH: Final = "/docs/style.css"
CONTENT_POLICY: Final[Header] = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
PREVIEW_POLICY: Final[Header] = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors *",
)
"""Of a page that is made to be shown inside another one."""
_SAMPLE_BOTH: Final = f"{SAMPLE_NOTICE['zh-CN']} {SAMPLE_NOTICE['en']}"


@cache
def _templates() -> "Environment":
    """The templates; the library behind them is loaded when the first page is asked for, not at the start."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader("gateway.web"), autoescape=select_autoescape(), undefined=StrictUndefined, auto_reload=False, trim_blocks=False
    )


def _page(template: str, *, language: Language, noindex: bool, sample: str | None, **values: object) -> bytes:
    made = _templates().get_template(template).render(style=STYLE_PATH, language=language, noindex=noindex, sample=sample, **values)
    return made.encode()


def problem_kind(code: str) -> bytes | None:
    """What a kind of problem means, and what to do about it, in both languages; None where there is no such kind."""
    return _problem_kind(code) if kind_of_code(code) is not None else None  # only what there is may be kept


@cache
def _problem_kind(code: str) -> bytes:
    kind = kind_of_code(code)
    assert kind is not None  # noqa: S101  # asked for by whoever has looked
    return _page("problem_kind.html", language="zh-CN", noindex=False, sample=None, kind=kind, advice=advice_for(kind))


def problem(document: Problem, language: Language, wait: str | None = None) -> bytes:
    """A problem for who asked for a page; `wait`: after how many seconds it is worth trying again, for nobody sees a header field there."""
    words = {
        "more": ("含义与处理办法", "What it means, and what to do"),
        "meant": ("可能是：", "Perhaps meant:"),
        "wait": (f"请在 {wait} 秒后再试。", f"Try again in {wait} seconds."),
    }
    said = {name: each[language == "en"] for name, each in words.items()}
    return _page("problem.html", language=language, noindex=True, sample=None, problem=document, words=said, wait=wait)


def receipt(shown: Shown, *, party: str, sample: bool) -> bytes:
    """The page that verifies a receipt; in both languages."""
    return _page(
        "verify.html",
        language="zh-CN",
        noindex=True,
        sample=_SAMPLE_BOTH if sample else None,
        receipt=shown.receipt,
        note=shown.note,
        overtaken=shown.overtaken,
        party=party,
    )


# --- a subject ---------------------------------------------------------------------------------------------------------

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "uscc": ("统一社会信用代码", "Unified social credit code"),
    "former": ("曾用名", "Former names"),
    "region": ("所在地", "Region"),
    "industry": ("行业", "Industry"),
    "established": ("成立日期", "Established on"),
    "records": ("公开的记录", "Public records"),
    "none": ("没有可以显示的记录。", "There are no records to be shown."),
    "document": ("文书号", "Document number"),
    "decided": ("决定日期", "Decided on"),
    "severity": ("失信程度", "Severity"),
    "source": ("数据来源", "Source"),
    "period": ("公示期", "Publication period"),
    "no_end": ("没有法定截止日期", "no statutory end"),
    "unstated": ("未注明", "not stated"),
    "basis": ("公示依据", "Ground of publication"),
    "masked": ("未完整显示的内容及原因", "Not shown whole, and why"),
    "since": ("自", "since"),
    "issued_by": ("签发方", "issued by"),
    "agreement": ("协议", "agreement"),
    "as_of": ("数据截至", "as of"),
    "more": ("其余记录（数据）", "More records (data)"),
    "data": ("数据（JSON）", "Data (JSON)"),
    "page": ("主体页", "Page of the subject"),
    "timeline": ("时间线（JSON）", "Timeline (JSON)"),
    "policy": ("公开依据：策略版本", "Shown under policy"),
    "state": ("数据版本", "dataset version"),
    "unnamed": ("名称不公开", "Name not shown"),
    "colon": ("：", ": "),
    "then": ("；", "; "),
    "yes": ("是", "yes"),
    "no": ("否", "no"),
}
_TREATED: Final[Mapping[str, tuple[str, str]]] = {
    "exists": ("只说明有无，按公开策略不提供内容", "only whether there is one: the public policy withholds the rest"),
    "generalise": ("只显示概略值，按公开策略不提供详情", "only a coarser value: the public policy withholds the rest"),
    "surname": ("个人姓名，只显示姓氏", "a personal name: only the surname is shown"),
    "keep": ("只显示一部分，其余以星号代替，保护个人信息", "only a part, the rest as stars, to protect personal information"),
    "pseudonym": ("以代号代替，保护个人信息", "replaced by a pseudonym, to protect personal information"),
    "redact": ("其中如有个人信息，以占位符代替", "personal information in it, if any, is replaced"),
    "held": ("文本待人工审核，先显示摘要", "the text waits for review; a summary stands in its place"),
}
_OTHERWISE: Final = ("按公开策略未完整显示", "not shown whole under the public policy")


def _treated(english: bool, how: str) -> str:
    return _TREATED.get(how.partition("(")[0], _OTHERWISE)[english]


def _shown(words: Mapping[str, Mapping[str, FieldWords]], said: Mapping[str, str], dataset: str, field: str, value: Any) -> str | None:
    """A value in words."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return said["yes" if value else "no"]
    if isinstance(value, list | dict):
        parts = value.values() if isinstance(value, dict) else value
        return said["then"].join(filter(None, (_shown(words, said, dataset, field, each) for each in parts)))
    known = words.get(dataset, {}).get(field)
    if known is not None and known.values and isinstance(value, str):
        return said["then"].join(known.values.get(each, each) for each in value.split(";"))
    return str(value)


def subject(shown: SubjectShown, *, language: Language, sample: bool) -> bytes:
    """A subject with its first records."""
    english = language == "en"
    said = {name: each[english] for name, each in _WORDS.items()}
    labels = {dataset: {name: each.label for name, each in fields.items()} for dataset, fields in shown.words.items()}
    titles = {name: label for fields in labels.values() for name, label in fields.items()}
    document = shown.subject
    return _page(
        "subject.html",
        language=language,
        noindex=True,
        sample=SAMPLE_NOTICE[language] if sample else None,
        name=document.get("name") or said["unnamed"],
        subject={"uscc": None, **document},
        records=[
            {"document_number": None, "decision_date": None, "severity_label": None, "treatments": {}, **each} for each in shown.records
        ],
        more=document["links"]["records"] if shown.more else None,
        titles=_Lenient(shown.titles),
        labels={dataset: _Lenient(each) for dataset, each in labels.items()},
        subject_titles=_Lenient({"name": ("名称", "Name")[english], "uscc": said["uscc"], **titles}),
        words=said,
        treated=partial(_treated, english),
        shown=partial(_shown, shown.words, said),
        policy_version=shown.answer.policy_version,
        dataset_version=shown.answer.dataset_version,
    )


def preview(document: Mapping[str, Any], *, language: Language, sample: bool, address: str) -> bytes:
    """A subject on a small page, for tools that show it inside their own."""
    said = {name: each[language == "en"] for name, each in _WORDS.items()}
    return _page(
        "reconcile_preview.html",
        language=language,
        noindex=True,
        sample=SAMPLE_NOTICE[language] if sample else None,
        subject={"name": said["unnamed"], "uscc": None, **document},
        address=address,
        words=said,
    )


class _Lenient(dict[str, str]):
    """Words by name; a name without one has the empty text, and the page shows the name itself."""

    def __missing__(self, name: str) -> str:
        return ""
