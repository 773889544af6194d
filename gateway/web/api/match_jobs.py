"""Match jobs: a file is sent, how far it is is asked, the result is taken (api.md §7.6)."""

from hashlib import sha256
from typing import Any, Final, cast

from litestar import get
from litestar.datastructures import UploadFile
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from gateway.core.callers.buckets import FIFTHS
from gateway.core.errors import BodyInvalid, ErrorItem, NotFound
from gateway.core.publication.flat import BOM
from gateway.operations import match_jobs as story
from gateway.operations.answering import ENCODER
from gateway.operations.match_jobs import ColumnMapping, Job, JobAsked, ResultFormat, most_rows
from gateway.operations.read_table import Kind, read_table
from gateway.operations.take_upload import ENCODINGS, MAX_BYTES
from gateway.web.api import match_shapes
from gateway.web.asked import Asked, begin, disposition
from gateway.web.bodies import read_json
from gateway.web.describe import AnyRequest, Described, Parameter, deleted, path, posted
from gateway.web.negotiation import CSV, JSON, NDJSON, XLSX, header
from gateway.web.once import IDEMPOTENCY_KEY, ONCE_PROBLEMS, once
from gateway.web.problems import Refusal
from gateway.web.replies import NO_INDEX, NO_STORE, Header, Reply

MULTIPART: Final = "multipart/form-data"
MAX_BODY: Final = MAX_BYTES + 64 * 1024
_FIELDS: Final = frozenset({"file", "mapping", "threshold", "encoding"})
_KINDS: Final[dict[str, Kind]] = {"csv": "csv", "xlsx": "xlsx", "ndjson": "ndjson", "jsonl": "ndjson"}
_MEDIA: Final[dict[str, Kind]] = {CSV: "csv", XLSX: "xlsx", NDJSON: "ndjson"}
_TYPES: Final[dict[ResultFormat, str]] = {"csv": "text/csv; charset=utf-8", "xlsx": XLSX, "ndjson": NDJSON}
_JOB: Final = Parameter(name="job", where="path", text="任务编号。Id of a job.", example="job_2222222222222222222222222a")
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "job_2222222222222222222222222a",
    "state": "running",
    "state_label": "进行中",
    "rows": 5000,
    "done": 1200,
    "links": {"self": "https://h/v1/match-jobs/job_2222222222222222222222222a", "result": None},
}

SUBMIT = Described(
    operation_id="submitMatchJob",
    tag="主体",
    summary="批量核对文件",
    description="A CSV, XLSX or NDJSON file against the register: at most 100,000 rows, 1,000 without a credential. Everybody is "
    "answered as the public. A row costs 1, from a daily bucket of its own. "
    "A job belongs to its app, an anonymous one to whoever holds its id.",
    method="post",
    status=202,
    takes=(IDEMPOTENCY_KEY,),
    fields={
        MULTIPART: {
            "type": "object",
            "properties": {
                "file": {"type": "string", "format": "binary"},
                "mapping": {"type": "string", "contentMediaType": JSON, "description": '{"name": "column", "uscc": "column"}'},
                "threshold": {"type": "string", "description": "0.6 … 1, default 0.85"},
                "encoding": {"type": "string", "enum": list(ENCODINGS), "default": "utf-8"},
            },
            "required": ["file", "mapping"],
            "additionalProperties": False,
        }
    },
    sends_text="文件与各列的含义。The file, and what its columns are.",
    gives=match_shapes.MatchJob,
    problems=("body-invalid", "body-too-large", "unsupported-media-type", "file-refused", "quota-exceeded", "conflict", *ONCE_PROBLEMS),
    example={**_EXAMPLE, "state": "queued", "state_label": "排队", "done": 0},
)


@posted("/v1/match-jobs", SUBMIT, most=MAX_BODY)
async def submit(request: AnyRequest) -> Reply:
    """Take a file in."""
    asked = await begin(request, SUBMIT)
    most = most_rows(asked.caller)  # who may not ask at all learns it before the body is read
    name, media, body, fields = await _form(request)
    mapping, threshold = _placed(fields["mapping"]), _threshold(fields.get("threshold", "0.85"))
    kind = _KINDS.get(name.rpartition(".")[2].lower()) or _MEDIA.get(media)
    if kind is None:
        raise Refusal("unsupported-media-type", acceptable=tuple(_MEDIA))
    encoding = fields.get("encoding", "utf-8")
    if encoding not in ENCODINGS:
        raise _invalid("/encoding", "应为 utf-8 或 gb18030")
    marked = body.startswith(BOM) or (kind == "csv" and encoding != "utf-8")
    job_asked = JobAsked(mapping=mapping, threshold=threshold, language=asked.language, form=kind, marked=marked)

    async def run() -> Reply:
        table = await read_table(asked.services, body, kind, encoding=encoding, most=most)
        story.check(table, job_asked.mapping)
        await asked.house.limits.admit_rows(asked.charge, story.charged_rows(asked.caller, table) * FIFTHS)
        job = await story.submit(asked.services, asked.caller, table, job_asked)
        headers = [*_headers(asked), (b"location", _uri(asked, job.id).encode())]
        return Reply(202, headers, _document(asked, job))

    what = ENCODER.encode({"file": sha256(body).hexdigest(), "kind": kind, "fields": dict(sorted(fields.items()))})
    return await once(asked, what, run)


SHOW = Described(
    operation_id="getMatchJob",
    tag="主体",
    summary="批量核对的进度",
    description="How far a job is. Another's is not found; a day after its end it has expired.",
    takes=(_JOB,),
    gives=match_shapes.MatchJob,
    problems=("job-expired",),
    example=_EXAMPLE,
)


@path("/v1/match-jobs/{job:str}", SHOW)
async def show(request: AnyRequest, job: FromPath[str]) -> Reply:
    """How far it is."""
    asked = await begin(request, SHOW)
    return Reply(200, _headers(asked), _document(asked, await story.show(asked.services, asked.caller, job)))


CANCEL = Described(
    operation_id="cancelMatchJob",
    tag="主体",
    summary="取消批量核对并删除文件",
    description="Ends a job and erases upload and result.",
    method="delete",
    takes=(_JOB,),
    gives=match_shapes.MatchJob,
    problems=("job-expired",),
    example={**_EXAMPLE, "state": "cancelled", "state_label": "已取消"},
)


@deleted("/v1/match-jobs/{job:str}", CANCEL)
async def cancel(request: AnyRequest, job: FromPath[str]) -> Reply:
    """End it."""
    asked = await begin(request, CANCEL)
    return Reply(200, _headers(asked), _document(asked, await story.cancel(asked.services, asked.caller, job)))


RESULT = Described(
    operation_id="getMatchJobResult",
    tag="主体",
    summary="批量核对的结果文件",
    description="The columns as they were sent, then match_status, match_uscc, match_name, match_score, match_reason; for a day. "
    "CSV is UTF-8, with the byte order mark if the file had one or was GB18030.",
    takes=(
        _JOB,
        Parameter(
            name="format",
            where="path",
            text="文件格式。Format.",
            schema={"type": "string", "enum": ["csv", "xlsx", "ndjson"]},
            example="csv",
        ),
    ),
    media=(CSV, XLSX, NDJSON),
    one_format=True,
    problems=("job-expired", "text-too-long-for-format"),
    example="企业名称,match_status,match_uscc,match_name,match_score,match_reason\r\n",
)


@get(
    [f"/v1/match-jobs/{{job:str}}/result.{form}" for form in _TYPES],
    operation_id=RESULT.operation_id,
    opt={"described": RESULT, "template": "/v1/match-jobs/{job:str}/result.{format}"},
    include_in_schema=False,
)
async def result(request: AnyRequest, job: FromPath[str]) -> Reply:
    """The file."""
    asked = await begin(request, RESULT)
    form = cast(ResultFormat, request.scope["path"].rpartition(".")[2])
    if form not in _TYPES:
        raise NotFound
    body = await story.result(asked.services, asked.caller, job, form)
    headers: list[Header] = [
        (b"content-type", _TYPES[form].encode()),
        (b"content-language", asked.language.encode()),
        (b"content-disposition", disposition(f"match.{form}")),
        NO_STORE,
        NO_INDEX,
    ]
    return Reply(200, headers, body)


# --- the form ----------------------------------------------------------------------------------------------------------


async def _form(request: AnyRequest) -> tuple[str, str, bytes, dict[str, str]]:
    """Name, media type and bytes of the file, and the other fields, each once.

    Raises Refusal unsupported-media-type, BodyInvalid with the place.
    """
    fields = list(request.scope["headers"])
    kind = header(fields, b"content-type").partition(b";")[0].strip().lower()
    if kind != MULTIPART.encode() or header(fields, b"content-encoding"):
        raise Refusal("unsupported-media-type", acceptable=(MULTIPART,))
    try:
        form = await request.form()
    except ClientException as error:
        if error.status_code == 413:
            raise
        raise _invalid("", "应为 multipart/form-data") from None
    except (ValueError, UnicodeDecodeError):
        raise _invalid("", "应为 multipart/form-data") from None
    items = list(form.multi_items())
    if any(name not in _FIELDS for name, _ in items):
        raise _invalid("", "含有不认识的字段", "unknown")
    if len(dict(items)) != len(items):
        raise _invalid("", "字段重复", "repeated")
    sent = dict(items)
    for name in ("file", "mapping"):
        if name not in sent:
            raise _invalid(f"/{name}", "缺少必填项", "required")
    file = sent.pop("file")
    if not isinstance(file, UploadFile):
        raise _invalid("/file", "应为文件")
    texts = {name: value for name, value in sent.items() if isinstance(value, str)}
    if len(texts) != len(sent):
        raise _invalid("", "只有 file 可以是文件")
    body = await file.read()
    await file.close()
    return file.filename, file.content_type.partition(";")[0].strip().lower(), body, texts


def _placed(text: str) -> ColumnMapping:
    try:
        return read_json(text.encode(), ColumnMapping)
    except BodyInvalid as error:
        items = tuple(ErrorItem(each.code, each.detail, pointer=f"/mapping{each.pointer or ''}") for each in error.errors)
        raise BodyInvalid(errors=items) from None


def _threshold(text: str) -> float:
    plain = len(text) <= 6 and text.replace(".", "", 1).isdigit() and text.isascii()
    if not plain or not 0.6 <= float(text) <= 1:
        raise _invalid("/threshold", "应为 0.6 至 1 的数")
    return float(text)


def _invalid(pointer: str, detail: str, code: str = "invalid") -> BodyInvalid:
    return BodyInvalid(detail, errors=(ErrorItem(code, detail, pointer=pointer),))


# --- answers -----------------------------------------------------------------------------------------------------------


def _uri(asked: Asked, job: str) -> str:
    return f"{asked.house.origin}/v1/match-jobs/{job}"


def _document(asked: Asked, job: Job) -> bytes:
    uri = _uri(asked, job.id)
    said = {
        "id": job.id,
        "state": job.state,
        "state_label": story.state_label(job.state, asked.language),
        "rows": job.rows,
        "done": job.done,
        "links": {"self": uri, "result": f"{uri}/result.{job.form}" if job.state == "done" else None},
    }
    return ENCODER.encode(said)


def _headers(asked: Asked) -> list[Header]:
    return [(b"content-type", JSON.encode()), (b"content-language", asked.language.encode()), NO_STORE]


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (submit, show, cancel, result)
