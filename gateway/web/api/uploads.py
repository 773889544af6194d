"""Files of departments and districts over HTTP: the body is the file, the answer its receipt, or, by `Accept`, its error file."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any, Final
from urllib.parse import unquote

from gateway.core.errors import BadRequest, ErrorItem, InvalidParameter, NotPermitted
from gateway.operations.error_sheet import file_name
from gateway.operations.ingest import ErrorFile
from gateway.operations.ingest_receipt import receipt_json
from gateway.operations.take_upload import ENCODINGS, SUFFIXES, take_upload
from gateway.web.api import door_shapes
from gateway.web.api.common import PURPOSE
from gateway.web.asked import begin, disposition
from gateway.web.describe import AnyRequest, Described, Parameter, posted
from gateway.web.negotiation import CSV, JSON, XLSX, header
from gateway.web.problems import Refusal
from gateway.web.replies import NO_STORE, Reply

_SHEETS: Final[dict[str, str]] = {"csv": "text/csv; charset=utf-8", "xlsx": XLSX}
"""In what the error file comes; anything else is the receipt."""

UPLOADS = Described(
    operation_id="takeUpload",
    method="post",
    tag="报送",
    summary="报送文件",
    description="A department's or district's file, CSV or XLSX, as its own statement; the answer is the receipt, row by row, or, by "
    "Accept, the error file as CSV or XLSX: the rows that were rejected or are held, in the sender's own columns with what identifies a "
    "person masked, each with code, message and advice, and below them the counts. Nothing of it is kept: the same file again gives the "
    "same receipt, and its error file, whenever it is asked for. Confirmed by the digest of the file, the upload is signed by the "
    "authority; else it is vouched.",
    media=(JSON, XLSX, CSV),
    files=tuple(SUFFIXES),
    sends="CF_XDR_MC,CF_XDR_SHXYM,CF_WSH\r\n通化市示例药业有限公司,91220502XXT00002X2,通市监罚〔2026〕12号\r\n",
    sends_text="一个文件。One file.",
    gives=door_shapes.Receipt,
    examples={
        CSV: "行号,行政相对人名称,统一社会信用代码,结果,代码,字段,说明,建议\r\n"
        "17,通化市示例商贸有限公司,91220502XXT00002X1,拒绝,SUBJ_USCC,CF_XDR_SHXYM,统一社会信用代码校验码不符,请核对代码\r\n"
    },
    takes=(
        Parameter(name="dataset", text="数据集。Dataset id.", required=True, example="administrative-penalties"),
        Parameter(
            name="encoding",
            text="CSV 的编码，须写明，不猜测；默认 utf-8。Of a CSV file; declared, never guessed.",
            schema={"type": "string", "enum": list(ENCODINGS), "default": "utf-8"},
        ),
        Parameter(
            name="Officer",
            where="header",
            text="经办人，UTF-8 百分号编码。Who of the authority answers for it, percent-encoded UTF-8.",
            schema={"type": "string", "maxLength": 300},
            required=True,
            example="%E6%B5%8B%E8%AF%95%E5%91%98%E7%94%B2",
        ),
        Parameter(
            name="Content-Digest",
            where="header",
            text="经办人所确认文件的摘要（RFC 9530）；有则为本机关签认，无则仅为转述。Digest of the file that the officer confirms: with "
            "it the upload is the authority's own statement, without it vouched.",
            schema={"type": "string", "maxLength": 300},
            example="sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
        ),
        PURPOSE,
    ),
    problems=("body-invalid", "body-too-large", "file-refused", "invalid-parameter", "purpose-missing", "unsupported-media-type"),
    example={
        "dataset": "administrative-penalties",
        "file_sha256": "0" * 64,
        "trust": "signed",
        "accepted": 118,
        "unchanged": 0,
        "held": 1,
        "withdrawn": 0,
        "rejected": {"SUBJ_USCC": 1},
        "noted": {},
        "rows": [{"line": 17, "code": "SUBJ_USCC", "field": "CF_XDR_SHXYM"}],
        "notes": [],
    },
)


@posted("/v1/uploads", UPLOADS)
async def uploads(request: AnyRequest) -> Reply:
    """Take in a file."""
    asked = await begin(request, UPLOADS)
    if asked.caller.shared:
        raise NotPermitted
    dataset, encoding = asked.params.get("dataset"), asked.params.get("encoding")
    if dataset is None or (encoding is not None and encoding not in ENCODINGS):
        name = "dataset" if dataset is None else "encoding"
        raise InvalidParameter(errors=(ErrorItem("required" if dataset is None else "enum", "", parameter=name),))
    fields = list(asked.scope["headers"])
    media = header(fields, b"content-type").partition(b";")[0].strip().lower().decode("latin-1")
    if media not in SUFFIXES or header(fields, b"content-encoding"):
        raise Refusal("unsupported-media-type", acceptable=tuple(SUFFIXES))
    sheet = BytesIO()
    errors = ErrorFile(sheet, "csv" if asked.format == "csv" else "xlsx") if asked.format in _SHEETS else None
    receipt = await take_upload(
        asked.services,
        asked.caller,
        dataset=dataset,
        officer=_officer(header(fields, b"officer")),
        media_type=media,
        encoding=encoding,
        body=_chunks(request),
        digest=header(fields, b"content-digest").decode("latin-1"),
        errors=errors,
    )
    if errors is None:
        headers = [(b"content-type", b"application/json"), (b"content-language", asked.language.encode()), NO_STORE]
        return Reply(200, headers, receipt_json(receipt))
    named = (b"content-disposition", disposition(file_name(dataset, errors.form)))
    headers = [(b"content-type", _SHEETS[asked.format].encode()), (b"content-language", b"zh-CN"), named, NO_STORE]
    return Reply(200, headers, sheet.getvalue())


def _officer(field: bytes) -> str:
    try:
        return unquote(field.decode("ascii"), errors="strict")
    except UnicodeDecodeError as error:
        raise BadRequest("Officer 请求头须为 UTF-8 的百分号编码。") from error


async def _chunks(request: Any) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk


HANDLERS: Final = (uploads,)
