"""Partner adapter `https_partner`: the native exchange over HTTPS (exchange.md §10).

Rules:
- Bytes are carried unchanged; nothing here signs, verifies, retries, sleeps between attempts, follows a redirect or keeps a key.
- Requests go to the partner's checked address only, bounded in time, bytes and rate (`guarded_http`). A timeout after sending is
  `outcome_unknown`.
- An answer that is no receipt is an AdapterError with the partner's own code; messages never repeat what was carried.

`deliver` returns `{"receipt":{"body","note"},"feedback":"<NDJSON>" or null}`; the core believes neither before it has checked them.
"""

import base64
import json
import re
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from itertools import count
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Meta, Struct

from adapters.guarded_http import GuardedHttp, bounded, clocks
from adapters.https_partner_check import told_by_agreements, told_by_keys
from adapters.positions import read_positions
from gateway.adapter_contract import (
    CONTRACT_VERSION,
    AdapterError,
    Counts,
    Diagnostic,
    IncomingBatch,
    Instant,
    Part,
    Row,
    RowResult,
    SealedBatch,
    SourceRecord,
    Tools,
)

__all__ = ["HttpsPartner"]

INLINE_BYTES = 6 * 2**20
"""Parts up to this size go with the batch; larger ones one by one."""
MAX_ANSWER = 2**20
MAX_FEEDBACK = 64 * 2**20
MAX_PART = 256 * 2**20
NUMBERS_HELD_BACK = 256
"""How many numbers in a row may be held back before no more are asked for: a partner's answers alone end nothing."""
POSTS = 4
"""How often one delivery asks what is missing."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
"""A code of the specification, as a problem spells it; any other word of the partner's is none."""
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT_CODES = frozenset({"TIME_FUTURE", "SIG_UNKNOWN_KEY", "SIG_KEY_EXPIRED"})


class HttpsPartnerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The line to one partner."""

    base_url: str
    """`https://host/x/v1`; plain http only to loopback, with `allow_private`."""
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """For one answer, seconds, from the first byte sent to the last byte read."""
    part_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 600.0
    """For one part, seconds."""
    proxy: str | None = None
    """Forward proxy for this line; the environment is never asked for one."""
    ca_file: str | None = None
    """PEM file of the authorities trusted for this partner; null: those of the system."""
    allow_private: bool = False
    """Danger: lets this line reach private addresses. For test mode and closed networks."""
    streams: tuple[str, ...] = ()
    """Streams that `collect` asks for (pull)."""
    wait_s: Annotated[int, Meta(ge=0, le=30)] = 30
    """How long the partner may hold back its answer when there is nothing new (pull)."""
    agreed: dict[str, str] = {}
    """Digests of the texts that we have agreed, by `id/version`: whether the partner has the same, `check` tells."""


class HttpsPartner:
    """Carries batches to a partner's gateway, and fetches its batches and keys."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"native", "deliver", "collect", "ask", "idempotent", "withdrawals", "keys", "resync", "acknowledge", "receipts", "tell", "hear"}
        | {"later", "kept"}
    )
    Config: ClassVar[type[Struct]] = HttpsPartnerConfig

    def __init__(self, config: HttpsPartnerConfig, tools: Tools, *, resolve: Callable[[str, int], Any] | None = None) -> None:
        self._config = config
        self._tools = tools
        self._base = config.base_url.rstrip("/")
        self._line = GuardedHttp(
            config.base_url,
            timeout_s=config.timeout_s,
            proxy=config.proxy,
            ca_file=config.ca_file,
            allow_private=config.allow_private,
            resolve=resolve,
        )

    # --- native batches ------------------------------------------------------------------------------------------------

    async def deliver(self, sealed: SealedBatch) -> bytes | None:
        """Post the batch, send the parts that are missing, post again; the receipt, with its feedback where there is any."""
        stream, epoch, seq = _address(sealed.batch)
        parts = {part.name: part for part in sealed.parts}
        inline = sum(part.size for part in sealed.parts) <= INLINE_BYTES
        said: dict[str, object] = {
            "manifest": {"body": sealed.manifest.decode(), "note": sealed.manifest_note.decode()},
            "checkpoint": sealed.checkpoint.decode(),
        }
        if inline and parts:
            said["parts"] = {name: base64.b64encode(b"".join(part.read())).decode() for name, part in parts.items()}
        body = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
        for _ in range(POSTS):
            answer = await self._json("POST", f"/streams/{quote(stream)}/batches", body)
            if answer.get("state") != "FETCHING":
                return await self._with_feedback(stream, answer)
            missing = answer.get("missing")
            if not isinstance(missing, list) or not missing:
                raise AdapterError("UNAVAILABLE", "对方仍在处理，请稍后再试", transient=True)
            for name in missing:
                if name not in parts:
                    raise AdapterError("SIG_PART_MISSING", "对方索要本批次没有的文件", transient=False)
                await self._put(stream, epoch, seq, parts[name])
        raise AdapterError("SIG_PART_MISSING", "对方反复索要文件", transient=True)

    async def _put(self, stream: str, epoch: int, seq: int, part: Part) -> None:
        path = f"/streams/{quote(stream)}/files/{quote(part.name)}?epoch={epoch}&seq={seq}"
        await self._call("PUT", path, b"".join(part.read()), "application/octet-stream", seconds=self._config.part_timeout_s)

    async def _with_feedback(self, stream: str, answer: Mapping[str, Any]) -> bytes:
        """The receipt as it came, and its feedback file if it names one and the line gives it."""
        body, note = answer.get("body"), answer.get("note")
        if not isinstance(body, str) or not isinstance(note, str):
            raise AdapterError("SCHEMA_MANIFEST", "对方的回答不是回执", transient=True)
        feedback: str | None = None
        try:
            said = json.loads(body)
            no, lines = said["no"], said["feedback"]["lines"]
        except (ValueError, KeyError, TypeError):
            no, lines = None, 0
        if type(no) is int and type(lines) is int and lines > 0:
            try:
                feedback = (await self._call("GET", f"/streams/{quote(stream)}/feedback/{no}", limit=MAX_FEEDBACK)).decode()
            except (AdapterError, UnicodeDecodeError):
                feedback = None  # the receipt stands without it; it can be asked for again
        elif lines == 0:
            feedback = ""
        return json.dumps(
            {"receipt": {"body": body, "note": note}, "feedback": feedback}, ensure_ascii=False, separators=(",", ":")
        ).encode()

    async def collect(self, after: str | None) -> AsyncIterator[IncomingBatch]:
        """New batches of the configured streams, in order of number; the cursor says how far each stream has come."""
        positions = read_positions(after, self._config.streams)
        for stream in self._config.streams:
            closed = False
            while True:
                epoch, seq = positions[stream]
                path = f"/streams/{quote(stream)}/manifests/{seq + 1}?epoch={epoch}&wait={self._config.wait_s}"
                try:
                    data = await self._call("GET", path, seconds=self._config.timeout_s + self._config.wait_s, empty=True)
                except AdapterError as error:
                    if error.code == "SCOPE_AGREEMENT":  # not given while the agreement stands still; what only withdraws is
                        async for batch in self._beyond(stream, positions):
                            yield batch
                        break
                    if closed:
                        raise AdapterError("SEQ_CLOSED", "对方已不再提供此批次", transient=False, place=stream) from error
                    if error.code != "SEQ_CLOSED":
                        raise
                    closed = True  # no longer served: perhaps a new epoch has begun
                    positions[stream] = (max(error.epoch if isinstance(error, _Closed) else 0, epoch + 1), 0)
                    continue
                if not data:
                    break
                closed = False
                said = _object(data)
                positions[stream] = (epoch, seq + 1)
                yield await self._incoming(stream, epoch, seq + 1, said, json.dumps(positions, separators=(",", ":")))

    async def collect_behind(self, stream: str, epoch: int, seq: int) -> AsyncIterator[IncomingBatch]:
        """What an older epoch still brings after a number, while a newer one is on its way; it moves no cursor."""
        async for number, data in self._not_held_back(stream, epoch, seq + 1, ends=("SEQ_CLOSED", "SEQ_GAP")):
            yield await self._incoming(stream, epoch, number, _object(data), "")

    async def _beyond(self, stream: str, positions: Mapping[str, tuple[int, int]]) -> AsyncIterator[IncomingBatch]:
        """What is given behind a batch that is not; the cursor stays before that one."""
        epoch, seq = positions[stream]
        cursor = json.dumps(positions, separators=(",", ":"))
        async for number, data in self._not_held_back(stream, epoch, seq + 2, ends=("SEQ_GAP",)):
            yield await self._incoming(stream, epoch, number, _object(data), cursor)

    async def _not_held_back(self, stream: str, epoch: int, first: int, *, ends: Sequence[str]) -> AsyncIterator[tuple[int, bytes]]:
        """From a number on what is given now, which is what only withdraws; until a code that ends it, or too many that are not given."""
        missing = 0
        for number in count(first):
            try:
                data = await self._call("GET", f"/streams/{quote(stream)}/manifests/{number}?epoch={epoch}", empty=True)
            except AdapterError as error:
                if error.code in ends:
                    return
                if error.code != "SCOPE_AGREEMENT":
                    raise
                missing += 1
                if missing > NUMBERS_HELD_BACK:
                    return
                continue
            if not data:
                return
            missing = 0
            yield number, data

    async def _incoming(self, stream: str, epoch: int, seq: int, said: Mapping[str, Any], cursor: str) -> IncomingBatch:
        try:
            manifest, note, checkpoint = said["manifest"]["body"], said["manifest"]["note"], said["checkpoint"]
            names = [(part["name"], part["bytes"], part["digest"]) for part in json.loads(manifest)["parts"]]
            sender = json.loads(manifest)["sender"]
        except (ValueError, KeyError, TypeError) as error:
            raise AdapterError("SCHEMA_MANIFEST", "对方的批次清单无法读取", transient=True) from error
        parts = [await self._fetch(stream, str(name), size, str(digest)) for name, size, digest in names if type(size) is int]
        return IncomingBatch(
            batch=f"{sender}/x/{stream}/{epoch}/{seq}",
            manifest=str(manifest).encode(),
            manifest_note=str(note).encode(),
            checkpoint=str(checkpoint).encode(),
            parts=tuple(parts),
            cursor=cursor,
        )

    async def _fetch(self, stream: str, name: str, size: int, digest: str) -> Part:
        """One part into a temporary file; a broken transfer goes on where it stopped."""
        if not 0 < size <= MAX_PART:
            raise AdapterError("SIZE_BYTES", "文件过大", transient=False, place=name)
        file = tempfile.TemporaryFile()  # noqa: SIM115  # closed when nobody can read the Part any more
        for _ in range(POSTS):
            have = file.tell()
            data = await self._call(
                "GET",
                f"/streams/{quote(stream)}/files/{quote(name)}",
                limit=size - have + 1,
                seconds=self._config.part_timeout_s,
                headers={"range": f"bytes={have}-"} if have else None,
            )
            if len(data) == size and have:
                file.seek(0)  # the partner does not know ranges and sent the whole
            file.write(data)
            if file.tell() >= size:
                break

        def read() -> Iterator[bytes]:
            file.seek(0)
            while chunk := file.read(65536):
                yield chunk

        weakref.finalize(read, file.close)
        return Part(name=name, size=file.tell(), digest=digest, read=read)

    async def ask(self, question: bytes, deadline: Instant) -> bytes:
        """Carry a signed question; the answer's bytes as they came, never late and never empty."""
        left = (deadline - datetime.now(UTC)).total_seconds()
        if left <= 0:
            raise AdapterError("UNAVAILABLE", "已过截止时间", transient=False)
        try:
            answer = await self._call("POST", "/query", question, "application/json", seconds=min(left, self._config.timeout_s))
        except _Answered as error:  # it may have heard, and counted, the question
            raise AdapterError(error.code, error.message, transient=error.transient, outcome_unknown=True) from error
        if not answer:
            raise AdapterError("UNAVAILABLE", "对方的回答为空", transient=True, outcome_unknown=True)
        return answer

    async def later(self, question: str) -> bytes:
        """The answer to a question that the partner could not answer at once, as it came."""
        return await self._call("GET", f"/query/{quote(question)}")

    async def keys(self, held: str | None = None) -> bytes:
        """The partner's signed keys document, as it came; nothing when it is still the one of this digest."""
        tag = {"if-none-match": f'"{held.partition(":")[2]}"'} if held else None
        return await self._call("GET", "/keys", headers=tag, unchanged=True)

    async def acknowledge(self, stream: str, no: int, receipt: bytes, feedback: bytes) -> None:
        """Bring the partner a receipt for a batch that was fetched: its feedback first."""
        if feedback:
            await self._call("PUT", f"/streams/{quote(stream)}/feedback/{no}", feedback, "application/x-ndjson", empty=True)
        await self._call("POST", f"/streams/{quote(stream)}/receipts", receipt, "application/json", empty=True)

    async def receipts(self, stream: str, after: int) -> AsyncIterator[tuple[int, bytes, bytes]]:
        """The receipts that the partner gave for a stream of ours after a number, in order, each with its feedback."""
        no = after
        while True:
            no += 1
            try:
                receipt = await self._call("GET", f"/streams/{quote(stream)}/receipts/{no}")
            except AdapterError as error:
                if error.code == "NOT_FOUND":
                    return
                raise
            feedback = await self._call("GET", f"/streams/{quote(stream)}/feedback/{no}", limit=MAX_FEEDBACK)
            yield no, receipt, feedback

    async def kept(self, stream: str, no: int | None, near: int) -> bytes | None:
        """A receipt that we once gave for a stream of the partner, as it keeps it; None where it keeps none of that number."""
        del near  # it knows which one is the last
        path = f"/streams/{quote(stream)}/kept-receipts/{'latest' if no is None else no}"
        return await self._call("GET", path, empty=True) or None

    async def tell(self, document: bytes) -> bytes:
        """Bring the partner a signed agreement, notice or inventory."""
        return await self._call("POST", "/agreements", document, "application/json", receipts=True)

    async def hear(self, held: Mapping[str, str]) -> Sequence[bytes]:
        """What the partner keeps for us of agreements where it knows another state: versions, then notices, then its inventory."""
        try:
            items = _object(await self._call("GET", "/agreements")).get("items")
        except AdapterError as error:
            if error.code == "NOT_FOUND":
                return []  # it serves what travels by itself, and nothing to be asked for
            raise
        found: list[bytes] = []
        for item in items if isinstance(items, list) else ():
            try:
                name, version, state = str(item["id"]), int(item["version"]), str(item["state"])
            except (TypeError, KeyError, ValueError) as error:
                raise AdapterError("SCHEMA_JSON", "对方的协议清单无法读取", transient=True) from error
            known = held.get(f"{name}/{version}")
            if known == state or (known is None and version == 1):
                continue
            path = f"/agreements/{quote(name, safe='')}"
            if known in (None, "offered", "draft"):
                found.append(await self._call("GET", f"{path}/{version}"))
                continue
            notices = _object(await self._call("GET", f"{path}/states")).get("items")
            found += [msgspec.json.encode(one) for one in notices] if isinstance(notices, list) else []
            if state in ("terminated", "expired"):
                try:
                    found.append(await self._call("GET", f"{path}/inventory"))
                except AdapterError as error:
                    if error.code != "NOT_FOUND":
                        raise
        return found

    async def resync(self, stream: str, reason: str) -> None:
        """Ask the partner to begin a stream of its own anew."""
        body = json.dumps({"reason": reason}).encode()
        await self._call("POST", f"/streams/{quote(stream)}/resync", body, "application/json", receipts=True)

    # --- what this line does not do: never called, for the capabilities do not name it -----------------------------------

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Native lines are carried as they are."""
        raise AdapterError("UNAVAILABLE", "此线路直接传送原生批次", transient=False)

    def decode(self, part: bytes) -> Sequence[SourceRecord]:
        """Native lines are carried as they are."""
        raise AdapterError("UNAVAILABLE", "此线路直接传送原生批次", transient=False)

    def read_reply(self, reply: bytes) -> Sequence[RowResult]:
        """Receipts are read by the core."""
        raise AdapterError("UNAVAILABLE", "回执由系统核验", transient=False)

    async def counts(self, day: date) -> Sequence[Counts]:
        """Heads of signed logs are compared instead."""
        raise AdapterError("UNAVAILABLE", "此线路以签名日志核对，不另计数", transient=False)

    # --- diagnosis ----------------------------------------------------------------------------------------------------

    async def check(self) -> Sequence[Diagnostic]:
        """Name, address, connection, keys document, maintenance, texts of agreements and clock, each with what to do."""
        found: list[Diagnostic] = []
        try:
            await self._line.addresses()
            found.append(Diagnostic(what="域名解析", ok=True, message="对方地址可解析且允许访问"))
        except AdapterError as error:
            return [Diagnostic(what="域名解析", ok=False, message=error.message, remedy="检查 base_url、DNS 与 allow_private 设置")]
        try:
            async with self._answer("GET", "/keys", None, None, self._config.timeout_s, None) as answer:
                said = answer.headers.get("date")
                status = answer.status_code
                data = await bounded(answer, MAX_ANSWER)
            found.append(Diagnostic(what="连接", ok=True, message="可以连接"))
        except AdapterError as error:
            found.append(Diagnostic(what="连接", ok=False, message=error.message, remedy="检查网络、证书与对方服务是否运行"))
            return found
        if status != httpx.codes.OK:
            found.append(Diagnostic(what="密钥文件", ok=False, message=f"对方返回状态 {status}", remedy="请对方检查 /x/v1/keys"))
            return found + clocks(said)
        return [*found, *told_by_keys(data, datetime.now(UTC)), *await self._texts(), *clocks(said)]

    async def _texts(self) -> list[Diagnostic]:
        """Whether the partner holds the texts that we have agreed, as it lists them to whoever signs as us."""
        if not self._config.agreed:
            return []
        try:
            return told_by_agreements(await self._call("GET", "/agreements"), self._config.agreed)
        except AdapterError as error:
            remedy = "请对方核对协议与本方密钥文件（chengxin exchange take-keys）"
            return [Diagnostic(what="协议清单", ok=False, message=f"对方没有给出协议清单（{error.code}）", remedy=remedy)]

    async def close(self) -> None:
        """Let go of the connections."""
        await self._line.close()

    # --- the line itself ------------------------------------------------------------------------------------------------

    async def _json(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        return _object(await self._call(method, path, body, "application/json", receipts=True))

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        media: str | None = None,
        *,
        limit: int = MAX_ANSWER,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
        receipts: bool = False,
        empty: bool = False,
        unchanged: bool = False,
    ) -> bytes:
        """One call: the body of an answer that means success, else an AdapterError with the partner's code."""
        async with self._answer(method, path, body, media, seconds or self._config.timeout_s, headers) as answer:
            status = answer.status_code
            data = await bounded(answer, limit)
            kind = answer.headers.get("content-type", "")
        if status in (200, 201, 206) or (status == 204 and empty):
            return data
        if status == httpx.codes.NOT_MODIFIED and unchanged and not data:
            return b""
        if receipts and status in (202, 409, 422) and kind.startswith("application/json"):
            return data  # a receipt, or the parts that are wanted
        raise _refused(status, kind, data)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: bytes | None, media: str | None, seconds: float, headers: Mapping[str, str] | None
    ) -> AsyncIterator[httpx.Response]:
        url = self._base + path
        sent = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
        if media is not None:
            sent["content-type"] = media
        if path != "/keys":  # open to all, and read before the partner knows any key of ours
            sent |= self._tools.sign_request(method, url, media, body)
        async with self._line.answer(method, path, body, sent, seconds) as answer:
            yield answer


class _Answered(AdapterError):
    """The partner was there, and its answer is none: a status of its own."""


class _Closed(AdapterError):
    """No longer served; perhaps with the epoch to start from."""

    def __init__(self, message: str, epoch: object) -> None:
        super().__init__("SEQ_CLOSED", message, transient=False)
        self.epoch = epoch if type(epoch) is int and 0 < epoch < 2**53 else 0


def _refused(status: int, kind: str, data: bytes) -> AdapterError:
    """What a problem of the partner means to the core: its code, and whether another try may help."""
    code: Any = ""
    said: dict[str, Any] = {}
    if kind.startswith("application/problem+json"):
        try:
            said = _object(data)
            code = said.get("code")
        except AdapterError:
            code = ""
    known = isinstance(code, str) and _CODE.fullmatch(code) is not None
    code = code.upper().replace("-", "_") if known else ""
    if code == "SEQ_CLOSED":
        return _Closed(f"对方以状态 {status} 拒绝", said.get("epoch"))
    transient = status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES
    return _Answered(code or "UNAVAILABLE", f"对方以状态 {status} 拒绝", transient=transient)


def _object(data: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AdapterError("SCHEMA_JSON", "对方的回答不是 JSON", transient=True) from error
    if not isinstance(said, dict):
        raise AdapterError("SCHEMA_JSON", "对方的回答不是 JSON 对象", transient=True)
    return said


def _address(batch: str) -> tuple[str, int, int]:
    origin, _, seq = batch.rpartition("/")
    origin, _, epoch = origin.rpartition("/")
    return origin.partition("/x/")[2], int(epoch), int(seq)
