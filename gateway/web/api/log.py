"""The transparency log: what it is, its entries and proofs under `/v1/log`, heads and tiles under `/log/{year}` (api.md §7.17)."""

import re
from typing import Final

from litestar import Router, get
from litestar.params import FromPath

from gateway.core.errors import ErrorItem, ExchangeError, InvalidParameter, NotFound
from gateway.core.exchange.wire import unb64
from gateway.core.transparency.entries import Place
from gateway.operations import read_log
from gateway.operations.read_log import Given
from gateway.web.api import proof_shapes
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Described, Parameter, path
from gateway.web.house import house_of
from gateway.web.negotiation import header
from gateway.web.replies import Header, Reply, matches

_YEAR: Final = re.compile(r"2[0-9]{3}\Z")
_INDEX: Final = re.compile(r"(0|[1-9][0-9]{0,15})\Z")
_RECORD: Final = re.compile(r"rec_[a-z2-7]{25}[aeimquy4]\Z")
_HEX: Final = re.compile(r"^[0-9a-f]{64}\Z")
_ENTRY: Final = (
    '{"op":"list","rid":"rec_aaaqeayeaudaocajbifqydiob4","v":1,"c":"ZNCIiJ+N8E8DSJUJnXcmG1hLJxQUafsRdWc5IgaxycA=",'
    '"at":"2026-06-01T02:00:00Z","authority":"11220500XXT0001181","reason":null,"prev":null}'
)

LOG = Described(
    operation_id="describeLog",
    tag="名单",
    summary="公示透明日志",
    description="The logs of all years: whatever was listed, changed or taken down in public lists, append-only and signed. Heads and "
    "tiles follow C2SP tlog-tiles.",
    gives=proof_shapes.TransparencyLogs,
    example={
        "items": [
            {
                "year": 2026,
                "origin": "credit.tonghua.example/log/2026",
                "size": 42,
                "signed_at": "2026-06-01T02:30:00Z",
                "vkeys": ["credit.tonghua.example/log/2026+0533d8af+AcqTrBcFGHBx1nuDx/8O/oEI6OxFMFdddyaHkzPb2r58"],
                "witnessed": False,
                "merge_delay_s": 120,
                "links": {
                    "checkpoint": "https://h/log/2026/checkpoint",
                    "tiles": "https://h/log/2026/tile/",
                    "policy": "https://h/log/policy",
                },
            }
        ],
        "policy_version": 42,
    },
)


@path("/v1/log", LOG)
async def describe(request: AnyRequest) -> Reply:
    """The logs of all years."""
    asked = await begin(request, LOG)
    return asked.reply(await read_log.describe(asked.services, asked.caller, asked.language), names_subjects=False)


ENTRY = Described(
    operation_id="getLogEntry",
    tag="名单",
    summary="透明日志的一个条目",
    description="One entry: what happened to a record, named by its opaque id, the commitment to what is shown of it, and when.",
    takes=(
        Parameter(name="index", where="path", text="序号，自 0。Index, from 0.", schema={"type": "integer", "minimum": 0}, example="0"),
        Parameter(
            name="year",
            text="年份。Year of the log.",
            schema={"type": "string", "pattern": "^2[0-9]{3}$"},
            required=True,
            example="2026",
        ),
    ),
    gives=proof_shapes.LogEntry,
    problems=("invalid-parameter", "not-found"),
    example={
        "year": 2026,
        "index": 0,
        "op": "list",
        "rid": "rec_aaaqeayeaudaocajbifqydiob4",
        "v": 1,
        "commitment": "ZNCIiJ+N8E8DSJUJnXcmG1hLJxQUafsRdWc5IgaxycA=",
        "at": "2026-06-01T02:00:00Z",
        "authority": "11220500XXT0001181",
        "reason": None,
        "prev": None,
        "entry": _ENTRY,
        "policy_version": 42,
    },
)


@path("/v1/log/entries/{index:str}", ENTRY)
async def entry(request: AnyRequest, index: FromPath[str]) -> Reply:
    """One entry."""
    asked = await begin(request, ENTRY)
    year = asked.params.get("year", "")
    if _YEAR.match(year) is None:
        raise InvalidParameter(errors=(ErrorItem("format", "应为四位年份", parameter="year"),))
    if _INDEX.match(index) is None:
        raise NotFound
    place = Place(int(year), int(index))
    return asked.reply(await read_log.entry(asked.services, asked.caller, asked.language, place), names_subjects=False)


PROOF = Described(
    operation_id="getLogProof",
    tag="名单",
    summary="透明日志的包含证明",
    description="That a record was entered: the entry, an inclusion proof under the newest signed head (c2sp.org/tlog-proof), since and "
    "until when. Asked by `record` for what is public, or by `commitment` by whoever has row and salt, also after the record has left.",
    takes=(
        Parameter(
            name="record",
            text="公开记录的标识。Id of a public record.",
            schema={"type": "string", "pattern": "^rec_[a-z2-7]{26}$"},
            example="rec_aaaqeayeaudaocajbifqydiob4",
        ),
        Parameter(
            name="commitment",
            text="承诺值：盐与规范化行的 SHA-256，base64（日志条目所写）或十六进制（版本清单所写）。SHA-256 of salt and canonical row, "
            "as an entry writes it or in hexadecimal digits as a manifest does.",
            schema={"type": "string", "pattern": "^([A-Za-z0-9+/]{43}=|[0-9a-f]{64})$"},
            example="ZNCIiJ+N8E8DSJUJnXcmG1hLJxQUafsRdWc5IgaxycA=",
        ),
    ),
    gives=proof_shapes.LogProof,
    problems=("invalid-parameter", "not-found"),
    example={
        "year": 2026,
        "index": 0,
        "entry": _ENTRY,
        "proof": "c2sp.org/tlog-proof@v1\nindex 0\n\ncredit.tonghua.example/log/2026\n1\n…",
        "row": None,
        "published_at": "2026-06-01T02:00:00Z",
        "removed_at": None,
        "policy_version": 42,
    },
)


@path("/v1/log/proof", PROOF)
async def proof(request: AnyRequest) -> Reply:
    """The proof of one record."""
    asked = await begin(request, PROOF)
    record, commitment = asked.params.get("record"), asked.params.get("commitment")
    if (record is None) == (commitment is None):
        raise InvalidParameter(errors=(ErrorItem("required", "须给出 record 或 commitment 之一", parameter="record"),))
    if record is not None:
        if _RECORD.match(record) is None:
            raise InvalidParameter(errors=(ErrorItem("format", "不是记录标识", parameter="record"),))
        answer = await read_log.proof(asked.services, asked.caller, asked.language, record_id=record)
        return asked.reply(answer)
    try:
        digest = bytes.fromhex(commitment) if commitment and _HEX.match(commitment) else unb64(commitment or "", "SCHEMA_LINE")
    except ExchangeError:
        digest = b""
    if len(digest) != 32:
        raise InvalidParameter(errors=(ErrorItem("format", "应为 32 字节的 base64 或十六进制数字", parameter="commitment"),))
    return asked.reply(await read_log.proof(asked.services, asked.caller, asked.language, commitment=digest), names_subjects=False)


HANDLERS: Final = (describe, entry, proof)


# --- heads and tiles --------------------------------------------------------------------------------------------------


def _reply(request: AnyRequest, given: Given) -> Reply:
    tag = b'"%s"' % read_log.tag_of(given).encode()
    keep = b"public, max-age=31536000, immutable" if given.immutable else b"no-cache"
    headers: list[Header] = [(b"content-type", given.media.encode()), (b"etag", tag), (b"cache-control", keep)]
    if matches(header(list(request.scope["headers"]), b"if-none-match"), tag):
        return Reply(304, headers)
    return Reply(200, headers, given.body)


def _year(text: str) -> int:
    if _YEAR.match(text) is None:
        raise NotFound
    return int(text)


@get("/policy", include_in_schema=False)
async def policy(request: AnyRequest) -> Reply:
    """Our logs and their witnesses, as a C2SP tlog-policy."""
    return _reply(request, await read_log.policy_text(house_of(request).services))


@get("/{year:str}/checkpoint", include_in_schema=False)
async def checkpoint(request: AnyRequest, year: FromPath[str]) -> Reply:
    """The newest signed head."""
    return _reply(request, await read_log.checkpoint(house_of(request).services, _year(year)))


@get("/{year:str}/tile/{rest:path}", include_in_schema=False)
async def tile(request: AnyRequest, year: FromPath[str], rest: FromPath[str]) -> Reply:
    """A tile, or a bundle of entries."""
    return _reply(request, await read_log.tile(house_of(request).services, _year(year), str(rest).removeprefix("/")))


router = Router(path="/log", route_handlers=[policy, checkpoint, tile])
