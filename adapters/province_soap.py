"""Partner adapter `province_soap`: rows to a province's or the state's 双公示 service, SOAP 1.1 over HTTPS (exchange.md §18).

Rules:
- One service for each act type; an operation takes a token and an XML text. Nothing here retries, follows a redirect or logs.
- `00` is accepted; any other code is the row's, and one that the settings do not know is held. Who is to blame is never guessed: a line
  number that names no row blames none.
- The service knows no key of ours. A call that was sent and not answered is `outcome_unknown`, and so is whatever goes wrong after
  a row of the batch was answered: a second try would bring that row twice. `dedupe` says that the partner guarantees it would not.
- Outward only: nothing is read here but answers.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Final, Literal

import httpx
import msgspec
from msgspec import Meta, Struct

from adapters.guarded_http import GuardedHttp, bounded, clocks
from adapters.province_soap_xml import (
    AnswerNames,
    ClientFault,
    MessageHeader,
    SentRow,
    Service,
    call,
    encode_row,
    read_answer,
    read_part,
)
from gateway.adapter_contract import (
    CONTRACT_VERSION,
    AdapterError,
    Counts,
    Diagnostic,
    IncomingBatch,
    Instant,
    Row,
    RowResult,
    SealedBatch,
    Secret,
    SourceRecord,
    Tools,
)

__all__ = ["ProvinceSoap", "ProvinceSoapConfig"]

MAX_ANSWER: Final = 2**20
MAX_REPLY: Final = 8 * 2**20
ACCEPTED: Final = "00"
ONE_BY_ONE: Final = 20
"""After so many refusals of one bulk call its rows go one by one."""
_TRANSIENT_STATUS: Final = frozenset({408, 425, 429})


class ProvinceSoapConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The line to one province."""

    base_url: str
    """`https://host/path`; plain http only to loopback, with `allow_private`."""
    token: Secret
    services: Annotated[dict[str, Service], Meta(min_length=1)]
    """Dataset → service."""
    ca_file: str | None = None
    """PEM file of the only authorities that are trusted for this partner; needed for https."""
    proxy: str | None = None
    allow_private: bool = False
    """Danger: lets this line reach private addresses, as a government's own network has them."""
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """For one call."""
    row_mode: Literal["single", "bulk"] = "single"
    """single: a call a row; bulk: up to `bulk_rows`, which the partner takes whole or not at all."""
    bulk_rows: Annotated[int, Meta(ge=1, le=500)] = 500
    withdraw: Literal["status_row", "none"] = "none"
    """status_row: a withdrawal is the row again, its status withdrawn; none: this line has no withdrawals."""
    dedupe: Literal["business_key", "none"] = "none"
    """business_key: the partner guarantees that a row whose key it knows is not a second row."""
    envelope: Literal["rowdata", "exchange_message"] = "rowdata"
    header: MessageHeader | None = None
    """Of `exchange_message`."""
    answer: AnswerNames = AnswerNames()
    codes: dict[str, Literal["unchanged", "warned", "held", "rejected"]] = {}
    """What the partner's codes mean, besides 00; one that is not here is held."""
    fatal: tuple[str, ...] = ()
    """Codes that are about no row but the call (a token that is over): the line stops."""
    longest: Annotated[int, Meta(ge=1, le=100_000)] = 5000
    """Characters that a column takes unless the service says otherwise."""


class _RowReply(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one row, as kept: the partner's words, and the digest of the answer that had them."""

    place: str
    rid: str
    version: int
    withdrawn: bool
    code: str
    text: str | None
    answer: str


class _Reply(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="province-soap-reply/1"):
    """What a batch was answered, in order of its rows."""

    rows: tuple[_RowReply, ...]


class ProvinceSoap:
    """Carries rows to a province's service."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: frozenset[str] = frozenset({"encode", "deliver", "reply"})
    """By settings also `withdrawals`, `idempotent`: see the adapter's own attribute."""
    Config: ClassVar[type[Struct]] = ProvinceSoapConfig

    def __init__(self, config: ProvinceSoapConfig, tools: Tools | None, *, resolve: Callable[[str, int], Any] | None = None) -> None:
        _consistent(config)
        self._config = config
        self.capabilities = type(self).capabilities | {
            name for name, has in (("withdrawals", config.withdraw == "status_row"), ("idempotent", config.dedupe == "business_key")) if has
        }
        self._line = GuardedHttp(
            config.base_url,
            timeout_s=config.timeout_s,
            proxy=config.proxy,
            ca_file=config.ca_file,
            allow_private=config.allow_private,
            resolve=resolve,
        )

    def encode(self, rows: Sequence[Row]) -> bytes:
        """A line a row; what the partner's dictionary, its columns or XML cannot carry is refused with row and column."""
        config = self._config
        return "".join(
            encode_row(
                row,
                number,
                self._service(row.dataset),
                longest=config.longest,
                withdraw=config.withdraw == "status_row",
                keyed=config.dedupe == "business_key",
            )
            for number, row in enumerate(rows, 1)
        ).encode()

    async def deliver(self, sealed: SealedBatch) -> bytes | None:
        """Every row brought to the service of its act type; what each was answered.

        Raises AdapterError; with `outcome_unknown` when a row may have been taken and nobody can say.
        """
        service = self._service(_dataset(sealed.batch))
        rows = [row for part in sealed.parts for row in read_part(part)]
        step = self._config.bulk_rows if self._config.row_mode == "bulk" else 1
        told: dict[str, _RowReply] = {}
        try:
            for at in range(0, len(rows), step):
                await self._bring(rows[at : at + step], sealed.batch, service, told)
        except AdapterError as error:
            if told and not error.outcome_unknown:
                raise AdapterError(error.code, error.message, transient=error.transient, place=error.place, outcome_unknown=True) from error
            raise
        reply = msgspec.json.encode(_Reply(rows=tuple(told[row.place] for row in rows)))
        if len(reply) > MAX_REPLY:
            raise AdapterError("SIZE_BYTES", "答复过大", transient=False, outcome_unknown=True)
        return reply

    async def _bring(self, rows: Sequence[SentRow], batch: str, service: Service, told: dict[str, _RowReply]) -> None:
        """Some rows in one call; of a bulk call that was refused because of one row, the others again without it."""
        left, refusals = list(rows), 0
        while left:
            taken = left if refusals < ONE_BY_ONE else left[:1]
            answer, digest = await self._ask(taken, batch, service)
            named = answer.line if answer.line is not None else 1 if len(taken) == 1 else 0
            if answer.code == ACCEPTED:
                done, code, text = taken, answer.code, answer.text
            elif 1 <= named <= len(taken):
                done, code, text = [taken[named - 1]], answer.code, answer.text
                refusals += 1
            else:  # refused, and no row of ours is to blame: a person looks
                done, code, text = taken, "SCHEMA_LINE", f"对方以 {answer.code} 拒绝，所指的行不存在"
            for row in done:
                told[row.place] = _RowReply(
                    place=row.place, rid=row.rid, version=row.version, withdrawn=row.withdrawn, code=code, text=text, answer=digest
                )
            gone = {row.place for row in done}
            left = [row for row in left if row.place not in gone]

    async def _ask(self, rows: Sequence[SentRow], batch: str, service: Service) -> tuple[Any, str]:
        """One call: the answer and its digest."""
        config = self._config
        header = config.header if config.envelope == "exchange_message" else None
        body = call(rows, batch, service, config.token.reveal(), header)
        headers = {
            "content-type": "text/xml; charset=utf-8",
            "soapaction": f'"{service.namespace}/{service.operation}"',
            "accept": "text/xml",
            "accept-encoding": "identity",
        }
        place, answered = rows[0].place, False
        try:
            async with self._line.answer("POST", service.path, body, headers, config.timeout_s) as reply:
                answered, status = True, reply.status_code
                data = await bounded(reply, MAX_ANSWER)
            answer = _understood(status, data, config.answer)
        except AdapterError as error:
            # it came as far as the partner: whether the rows were taken is known only where the partner has said so
            unknown = error.outcome_unknown or (answered and not isinstance(error, _NotTaken))
            raise AdapterError(error.code, error.message, transient=error.transient, place=place, outcome_unknown=unknown) from error
        if answer.code in config.fatal:
            raise AdapterError("REFUSED", f"对方以 {answer.code} 拒绝此线路", transient=False, place=place)
        return answer, sha256(data).hexdigest()

    def read_reply(self, reply: bytes) -> Sequence[RowResult]:
        """What became of each row; a code that the settings do not know is held."""
        try:
            said = msgspec.json.decode(reply, type=_Reply)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise AdapterError("SCHEMA_LINE", "答复不是本格式", transient=False) from None
        return tuple(map(self._result, said.rows))

    def _result(self, row: _RowReply) -> RowResult:
        accepted = row.code == ACCEPTED
        return RowResult(
            place=row.place,
            record_id=row.rid,
            version=row.version,
            result=("withdrawn" if row.withdrawn else "accepted") if accepted else self._config.codes.get(row.code, "held"),
            code=None if accepted else row.code,
            message=None if accepted else row.text,
        )

    async def check(self) -> Sequence[Diagnostic]:
        """Name, connection, services and clock, each with what to do; nothing is sent, so the token is not tried."""
        try:
            await self._line.addresses()
        except AdapterError as error:
            return [Diagnostic(what="域名解析", ok=False, message=error.message, remedy="检查 base_url、DNS 与 allow_private 设置")]
        found = [Diagnostic(what="域名解析", ok=True, message="对方地址可解析且允许访问")]
        date: str | None = None
        for dataset, service in self._config.services.items():
            what = f"服务 {dataset}"
            try:
                async with self._line.answer("GET", f"{service.path}?wsdl", None, {"accept": "text/xml"}, self._config.timeout_s) as answer:
                    status, date = answer.status_code, answer.headers.get("date") or date
            except AdapterError as error:
                remedy = "检查网络、ca_file 所信任的证书与对方服务是否运行"
                found.append(Diagnostic(what=what, ok=False, message=error.message, remedy=remedy))
                continue
            ok = status == httpx.codes.OK
            message = "可以连接，服务说明可取" if ok else f"可以连接，服务说明返回状态 {status}"
            found.append(Diagnostic(what=what, ok=ok, message=message, remedy=None if ok else "请对方确认 path 与服务地址"))
        return found + clocks(date)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._line.close()

    def _service(self, dataset: str) -> Service:
        if dataset not in self._config.services:
            raise AdapterError("CONFIG", "此数据集没有设置服务（services）", transient=False, place=dataset)
        return self._config.services[dataset]

    # --- what this line does not do: never called, for the capabilities do not name it -----------------------------------

    def decode(self, part: bytes) -> Sequence[SourceRecord]:
        """Outward only."""
        raise AdapterError("UNAVAILABLE", "此线路只向外报送", transient=False)

    def collect(self, after: str | None) -> AsyncIterator[IncomingBatch]:
        """Outward only."""
        raise AdapterError("UNAVAILABLE", "此线路只向外报送", transient=False)

    async def ask(self, question: bytes, deadline: Instant) -> bytes:
        """Outward only."""
        raise AdapterError("UNAVAILABLE", "此线路只向外报送", transient=False)

    async def counts(self, day: date) -> Sequence[Counts]:
        """The service tells no counts."""
        raise AdapterError("UNAVAILABLE", "对方不提供核对数", transient=False)


class _NotTaken(AdapterError):
    """The partner has said that it did nothing."""


def _understood(status: int, data: bytes, names: AnswerNames) -> Any:
    """The answer that a status and a body are.

    Raises _NotTaken where the partner refused the call itself, AdapterError where nobody can say.
    """
    try:
        if status in (httpx.codes.OK, httpx.codes.INTERNAL_SERVER_ERROR):  # SOAP 1.1 sends faults with 500
            answer = read_answer(data, names)
            if status == httpx.codes.OK:
                return answer
    except ClientFault:
        raise _NotTaken("REFUSED", "对方认为请求有误", transient=False) from None
    except AdapterError:
        if status == httpx.codes.OK:
            raise
    if 400 <= status < 500:
        raise _NotTaken("REFUSED", f"对方以状态 {status} 拒绝", transient=status in _TRANSIENT_STATUS)
    raise AdapterError("UNAVAILABLE", f"对方返回状态 {status}", transient=True)


def _dataset(batch: str) -> str:
    """The dataset of a batch, by its stream's name."""
    stream = batch.partition("/x/")[2].partition("/")[0]
    return stream.partition(".")[2]


def _consistent(config: ProvinceSoapConfig) -> None:
    """Settings that contradict each other do not start.

    Raises AdapterError CONFIG.
    """
    if config.base_url.startswith("https:") and config.ca_file is None:
        raise AdapterError("CONFIG", "https 线路须设置 ca_file，只信任其中的证书", transient=False)
    if config.envelope == "exchange_message" and config.header is None:
        raise AdapterError("CONFIG", "exchange_message 须设置 header", transient=False)
    if ACCEPTED in config.codes or ACCEPTED in config.fatal:
        raise AdapterError("CONFIG", "00 总是表示接收", transient=False)
    for dataset, service in config.services.items():
        named = {*service.names, *service.lengths, *service.key, *([service.status] if service.status else [])}
        if len(set(service.columns)) != len(service.columns) or named - set(service.columns):
            raise AdapterError("CONFIG", "columns 重复，或者缺少其他设置提到的列", transient=False, place=dataset)
        if config.withdraw == "status_row" and (service.status is None or not service.key):
            raise AdapterError("CONFIG", "status_row 须设置 status 与 key", transient=False, place=dataset)
        if config.dedupe == "business_key" and not service.key:
            raise AdapterError("CONFIG", "business_key 须设置 key", transient=False, place=dataset)
