"""Partner adapter `file_drop`: the native exchange through a shared folder, local or on an SFTP server (exchange.md §11).

    {root}/keys/{party}.json .note            {root}/agreements/{id}-{version}.json .note
    {root}/{stream}/{sender}/batches/{epoch}-{seq, 10 digits}/   parts, checkpoint, manifest.note, manifest.json
    {root}/{stream}/{sender}/receipts/{no, 10 digits}.feedback.ndjson .json .note

Rules:
- Bytes are carried unchanged; nothing here signs, verifies, judges, waits or keeps a key.
- Every name is built here out of what the core asks for, or out of a number; nothing is read because a listing shows it. A part is looked
  for only under the name that its batch and place in the manifest give it, whatever the manifest calls it.
- Parts come first and `manifest.json` last, feedback first and the `.note` of a receipt last: what has no last file does not exist yet.
- We write batches of ours, receipts for batches of the partner, our keys and the agreements; bytes under a name never change.

How files get there and what is refused on the way stands in `drop_place`; `drop_folder` and `drop_sftp` are the two places.
"""

import asyncio
import base64
import json
import re
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from datetime import date
from hashlib import sha256
from itertools import count
from typing import Annotated, Any, BinaryIO, ClassVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from adapters.drop_folder import Folder
from adapters.drop_place import LISTED, Place
from adapters.drop_sftp import Server, Sftp
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

__all__ = ["FileDrop"]

MAX_DOCUMENT = 2**20
MAX_NOTE = 16 * 1024
MAX_FEEDBACK = 64 * 2**20
MAX_PART = 256 * 2**20
MAX_PARTS = 1000
EPOCHS_AHEAD = 16
"""How far beyond its own epoch a reader looks for the next one."""
NUMBERS_AHEAD = 8
"""How far beyond a number that is missing a reader looks."""
CLOCK_TOLERANCE_S = 60.0
LITTLE_SPACE = 2**28

Wants = Callable[[IncomingBatch], Awaitable[Collection[str]]]
"""Which parts of a batch somebody wants, asked before any is read."""

_PARTY = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+\Z")
_STREAM = re.compile(r"[a-z][a-z0-9-]{1,62}\.[a-z][a-z0-9_.-]{0,62}\Z")
_DOCUMENT = re.compile(r"(?:keys/[a-z0-9.-]{1,64}|agreements/[a-z][a-z0-9-]{1,62}-[1-9][0-9]{0,9})\Z")
_BATCH = re.compile(r"[1-9][0-9]*-[0-9]{10}\Z")


class FileDropConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The folder shared with one partner."""

    root: str
    """Absolute path of a folder here, or with `sftp` the path on the server."""
    poll_s: Annotated[float, Meta(ge=0, le=86400)] = 30.0
    """How long the core waits between two looks, seconds."""
    sftp: Sftp | None = None
    ours: str = ""
    partner: str = ""
    incoming: tuple[str, ...] = ()


class FileDrop:
    """Lays batches into a folder and finds the partner's there."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"native", "deliver", "collect", "idempotent", "withdrawals", "keys", "acknowledge"}
        | {"apart", "receipts", "look", "clear", "publish", "kept"}
    )
    Config: ClassVar[type[Struct]] = FileDropConfig

    def __init__(self, config: FileDropConfig, tools: Tools | None, *, place: Place | None = None) -> None:
        if config.sftp is None and not config.root.startswith("/"):
            raise AdapterError("CONFIG", "root 应为绝对路径", transient=False, place="root")
        for party in (config.ours, config.partner):
            if party and not (_PARTY.match(party) and len(party) <= 64):
                raise AdapterError("CONFIG", "ours、partner 应为参与方名称", transient=False)
        for stream in config.incoming:
            _known(stream)
        if config.incoming and not config.partner:
            raise AdapterError("CONFIG", "未设置参与方名称", transient=False, place="partner")
        self._config = config
        self._place: Place = place or (Folder(config.root) if config.sftp is None else Server(config.root, config.sftp))

    @property
    def poll_s(self) -> float:
        """How long the core waits between two looks, seconds."""
        return self._config.poll_s

    # --- outward --------------------------------------------------------------------------------------------------------

    async def deliver(self, sealed: SealedBatch) -> bytes | None:
        """Lay the batch down, `manifest.json` last; its receipt comes later, and not by this call."""
        sender, stream, epoch, seq = _address(sealed.batch)
        if sender != self._config.ours:
            raise AdapterError("CONFIG", "只投放本方的批次", transient=False)
        folder = _batch(stream, sender, epoch, seq)
        lies = await self._place.read((*folder, "manifest.json"), MAX_DOCUMENT)
        if lies is not None and lies != sealed.manifest:
            raise AdapterError("SEQ_FORK", "此编号下已有另一份批次清单", transient=False, place="/".join(folder))
        for place, part in enumerate(sealed.parts):
            path = (*folder, part.name)
            if part.name not in _part_names(epoch, seq, place):
                raise AdapterError("SCHEMA_MANIFEST", "文件名不合规定", transient=False, place="/".join(folder))
            if lies is None or await self._place.size(path) != part.size:
                await self._place.write(path, part.read())
        for name, data in (("checkpoint", sealed.checkpoint), ("manifest.note", sealed.manifest_note)):
            await self._lay((*folder, name), data, MAX_NOTE)
        if lies is None:
            await self._place.write((*folder, "manifest.json"), [sealed.manifest])
        return None

    async def _lay(self, path: tuple[str, ...], data: bytes, limit: int) -> None:
        """Write a small file unless it lies there as it is."""
        if await self._place.read(path, limit) != data:
            await self._place.write(path, [data])

    async def receipts(self, stream: str, after: int) -> AsyncIterator[tuple[int, bytes, bytes]]:
        """Receipts for a stream of ours after a number, until the first that is not there."""
        no = after + 1
        while True:
            path = (_known(stream), self._config.ours, "receipts")
            found = await self._document((*path, f"{no:010}"))
            if found is None:
                return
            feedback = await self._place.read((*path, f"{no:010}.feedback.ndjson"), MAX_FEEDBACK)
            yield no, found, feedback or b""
            no += 1

    async def clear(self, stream: str, epoch: int, seq: int) -> None:
        """Take a batch of ours away: first it is no batch any more, then its files go."""
        await self._place.remove(_batch(_known(stream), self._config.ours, epoch, seq), "manifest.json")

    # --- inward ---------------------------------------------------------------------------------------------------------

    async def collect(self, after: str | None, stream: str | None = None) -> AsyncIterator[IncomingBatch]:
        """Batches that lie ready after a cursor, in order of number; of one stream, or of all that the partner sends.

        What lies beyond a number that is missing comes too, and moves no cursor: it may be all that is allowed to leave its sender now.
        """
        async for batch in self._collect(after, (_known(stream),) if stream is not None else self._config.incoming, None):
            yield batch

    async def collect_wanted(self, after: str | None, stream: str, wants: Wants) -> AsyncIterator[IncomingBatch]:
        """The same of one stream, with those parts alone that `wants` names, who sees each batch without its parts first."""
        async for batch in self._collect(after, (_known(stream),), wants):
            yield batch

    async def collect_behind(self, stream: str, epoch: int, seq: int, wants: Wants | None = None) -> AsyncIterator[IncomingBatch]:
        """What an older epoch still brings after a number, while a newer one is on its way; it moves no cursor."""
        missing = 0
        for number in count(seq + 1):
            manifest = await self._manifest(_known(stream), epoch, number)
            missing = missing + 1 if manifest is None else 0
            if missing > NUMBERS_AHEAD:
                return
            if manifest is not None:
                yield await self._incoming(stream, epoch, number, manifest, "", wants)

    async def _collect(self, after: str | None, streams: Sequence[str], wants: Wants | None) -> AsyncIterator[IncomingBatch]:
        positions = read_positions(after, streams)
        for name in streams:
            while True:
                following, beyond = await self._next(name, *positions[name])
                if following is None:
                    break
                epoch, seq, manifest = following
                positions[name] = (epoch, seq)
                yield await self._incoming(name, epoch, seq, manifest, json.dumps(positions, separators=(",", ":")), wants)
            for epoch, seq, manifest in beyond:
                yield await self._incoming(name, epoch, seq, manifest, json.dumps(positions, separators=(",", ":")), wants)

    async def _next(self, stream: str, epoch: int, seq: int) -> tuple[tuple[int, int, bytes] | None, list[tuple[int, int, bytes]]]:
        """What lies under the next number, or the first of a later epoch; if neither, what lies beyond a gap."""
        first = await self._manifest(stream, epoch, seq + 1)
        if first is not None:
            return (epoch, seq + 1, first), []
        later = [(each, 1) for each in range(epoch + 1, epoch + 1 + EPOCHS_AHEAD)]
        ahead = [(epoch, each) for each in range(seq + 2, seq + 2 + NUMBERS_AHEAD)]
        looked = await asyncio.gather(*(self._manifest(stream, *place) for place in (*later, *ahead)), return_exceptions=True)
        lies = [(*place, data) for place, data in zip((*later, *ahead), looked, strict=True) if isinstance(data, bytes)]
        for error in looked:
            if isinstance(error, BaseException) and not (isinstance(error, AdapterError) and error.code == "DROP_ODD"):
                raise error
        return next((found for found in lies if found[0] > epoch), None), [found for found in lies if found[0] == epoch]

    async def _manifest(self, stream: str, epoch: int, seq: int) -> bytes | None:
        return await self._place.read((*_batch(stream, self._config.partner, epoch, seq), "manifest.json"), MAX_DOCUMENT)

    async def _incoming(self, stream: str, epoch: int, seq: int, manifest: bytes, cursor: str, wants: Wants | None) -> IncomingBatch:
        """The batch with those of its parts that are wanted and lie there whole; what is missing, the core sees."""
        folder = _batch(stream, self._config.partner, epoch, seq)
        batch = IncomingBatch(
            batch=f"{self._config.partner}/x/{stream}/{epoch}/{seq}",
            manifest=manifest,
            manifest_note=await self._place.read((*folder, "manifest.note"), MAX_NOTE) or b"",
            checkpoint=await self._place.read((*folder, "checkpoint"), MAX_NOTE) or b"",
            parts=(),
            cursor=cursor,
        )
        wanted = await wants(batch) if wants is not None else None
        parts = []
        for place, (name, size, digest) in enumerate(_listed(manifest)):
            if name in _part_names(epoch, seq, place) and 0 < size <= MAX_PART and (wanted is None or name in wanted):
                copy = await self._place.fetch((*folder, name), size)
                if copy is not None:
                    parts.append(_part(name, size, digest, copy))
        return replace(batch, parts=tuple(parts))

    async def look(self, stream: str, epoch: int, seq: int, sender: str) -> tuple[bytes, bytes, bytes] | None:
        """Manifest, note and checkpoint as they lie now under a number of the partner's, or of ours."""
        if sender not in (self._config.partner, self._config.ours):
            raise AdapterError("CONFIG", "不是本线路的参与方", transient=False)
        folder = _batch(_known(stream), sender, epoch, seq)
        manifest = await self._place.read((*folder, "manifest.json"), MAX_DOCUMENT)
        if manifest is None:
            return None
        note = await self._place.read((*folder, "manifest.note"), MAX_NOTE)
        checkpoint = await self._place.read((*folder, "checkpoint"), MAX_NOTE)
        return None if note is None or checkpoint is None else (manifest, note, checkpoint)

    async def acknowledge(self, stream: str, no: int, receipt: bytes, feedback: bytes) -> None:
        """Lay a receipt down for a batch of the partner, the feedback first, its note last."""
        body, note = _envelope(receipt)
        path = (_known(stream), self._config.partner, "receipts")
        lies = await self._document((*path, f"{no:010}"))
        if lies is not None and _envelope(lies)[0] != body:
            raise AdapterError("SEQ_FORK", "此编号下已有另一份回执", transient=False, place=f"{stream}/{no}")
        await self._lay((*path, f"{no:010}.feedback.ndjson"), feedback, MAX_FEEDBACK)
        await self._lay((*path, f"{no:010}.json"), body, MAX_DOCUMENT)
        await self._lay((*path, f"{no:010}.note"), note, MAX_NOTE)

    async def kept(self, stream: str, no: int | None, near: int) -> bytes | None:
        """A receipt of ours as it lies there; the last is the one before the first gap, looked for from `near` on, back and forth."""
        path = (_known(stream), self._config.partner, "receipts")
        if no is not None:
            return await self._document((*path, f"{no:010}"))
        found, at = None, near
        while found is None and at > 0:
            found = await self._document((*path, f"{at:010}"))
            at -= found is None
        while (further := await self._document((*path, f"{at + 1:010}"))) is not None:
            found, at = further, at + 1
        return found

    # --- what lies open -------------------------------------------------------------------------------------------------

    async def keys(self, held: str | None = None) -> bytes:
        """The partner's signed keys document; nothing when it is still the one of this digest.

        Raises AdapterError NOT_FOUND where none lies.
        """
        found = await self._document(("keys", self._config.partner))
        if found is None:
            raise AdapterError("NOT_FOUND", "对方尚未放置密钥文件", transient=True)
        body, _ = _envelope(found)
        return b"" if held == "sha-256:" + base64.b64encode(sha256(body).digest()).decode() else found

    async def publish(self, name: str, document: bytes) -> None:
        """Lay a signed document down, its note last."""
        path = _named(name)
        body, note = _envelope(document)
        await self._lay((*path[:-1], path[-1] + ".json"), body, MAX_DOCUMENT)
        await self._lay((*path[:-1], path[-1] + ".note"), note, MAX_NOTE)

    async def published(self, name: str) -> bytes | None:
        """A signed document as it lies there; None when it is not there."""
        return await self._document(_named(name))

    async def _document(self, path: tuple[str, ...]) -> bytes | None:
        """Body and note as one; the note is the last that is written."""
        folder, name = path[:-1], path[-1]
        note = await self._place.read((*folder, name + ".note"), MAX_NOTE)
        body = await self._place.read((*folder, name + ".json"), MAX_DOCUMENT) if note is not None else None
        if note is None or body is None:
            return None
        try:
            said = {"body": body.decode(), "note": note.decode()}
        except UnicodeDecodeError as error:
            raise AdapterError("SCHEMA_JSON", "文件不是 UTF-8", transient=True, place="/".join(path)) from error
        return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()

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

    async def ask(self, question: bytes, deadline: Instant) -> bytes:
        """A folder answers no question."""
        raise AdapterError("UNAVAILABLE", "此线路不能互查", transient=False)

    async def counts(self, day: date) -> Sequence[Counts]:
        """Heads of signed logs are compared instead."""
        raise AdapterError("UNAVAILABLE", "此线路以签名日志核对，不另计数", transient=False)

    # --- diagnosis ------------------------------------------------------------------------------------------------------

    async def check(self) -> Sequence[Diagnostic]:
        """Folder or server, rights, clock, space, the partner's keys, and what lies about that nobody reads."""
        found: list[Diagnostic] = []
        try:
            free = await self._place.free()
            found.append(Diagnostic(what="连接", ok=True, message="可以打开交换目录"))
        except AdapterError as error:
            return [Diagnostic(what="连接", ok=False, message=error.message, remedy=_REMEDIES.get(error.code, _REMEDY))]
        found.append(_space(free))
        try:
            there = await self._place.touch(("keys", f"{self._config.ours or 'check'}.check"))
            found.append(Diagnostic(what="权限", ok=True, message="可以写入交换目录"))
            found.append(_clock(there))
        except AdapterError as error:
            found.append(Diagnostic(what="权限", ok=False, message=error.message, remedy=_REMEDIES.get(error.code, _REMEDY)))
        try:
            if self._config.partner:
                held = await self.published(f"keys/{self._config.partner}") is not None
                said = "对方密钥文件可取" if held else "交换目录中没有对方的密钥文件"
                remedy = None if held else "请对方检查其网关是否已投放 keys/ 文件"
                found.append(Diagnostic(what="密钥文件", ok=held, message=said, remedy=remedy))
            found += [each for stream in self._config.incoming if (each := await self._strange(stream)) is not None]
        except AdapterError as error:
            found.append(Diagnostic(what="读取", ok=False, message=error.message, remedy=_REMEDIES.get(error.code, _REMEDY)))
        return found

    async def _strange(self, stream: str) -> Diagnostic | None:
        """What lies among the partner's batches and is none: counted, not named, for names may be anything."""
        entries = await self._place.names((stream, self._config.partner, "batches"), LISTED)
        links = sum(1 for each in entries if not each.plain and not each.folder)
        surplus = sum(1 for each in entries if (each.plain or each.folder) and not (each.folder and _BATCH.match(each.name)))
        if len(entries) >= LISTED:
            said = f"{stream}：目录中有 {LISTED} 个以上的名称，未全部查看"
        elif links or surplus:
            said = f"{stream}：{links} 个符号链接或设备、{surplus} 个多余文件，均未读取"
        else:
            return None
        return Diagnostic(what="多余文件", ok=False, message=said, remedy="请对方清理；交换目录中只应有规定的文件")

    async def close(self) -> None:
        """Let go of the place."""
        await self._place.close()


_REMEDY = "检查网络、共享目录或服务器，稍后再试"
_REMEDIES = {
    "DROP_MISSING": "检查 root 设置，确认目录存在且已挂载",
    "DROP_RIGHTS": "请为运行网关的用户授予该目录的读写权限",
    "DROP_FULL": "清理交换目录或扩容",
    "DROP_ODD": "请删除该处的符号链接或设备，换成普通目录",
    "DROP_LOGIN": "检查 sftp.user 与登录密钥是否已在服务器登记",
    "HOST_KEY": "先与对方当面或电话核对服务器主机密钥；确属更换再修改 sftp.host_key，否则可能遭到中间人攻击",
    "CONFIG": "检查 sftp 设置与登录私钥文件",
    "SIZE_TIME": "检查共享目录或服务器是否卡住",
}


def _space(free: int | None) -> Diagnostic:
    if free is None:
        return Diagnostic(what="空间", ok=True, message="服务器不提供剩余空间")
    ok = free >= LITTLE_SPACE
    return Diagnostic(what="空间", ok=ok, message=f"剩余空间 {free // 2**20} MB", remedy=None if ok else "清理交换目录或扩容")


def _clock(there: float) -> Diagnostic:
    apart = abs(time.time() - there)
    near = apart <= CLOCK_TOLERANCE_S
    return Diagnostic(
        what="时钟", ok=near, message=f"与文件所在机器的时钟相差约 {apart:.0f} 秒", remedy=None if near else "检查两边的时间同步"
    )


def _known(stream: str) -> str:
    """A stream's name that may be a folder's.

    Raises AdapterError CONFIG.
    """
    if not _STREAM.match(stream) or ".." in stream:
        raise AdapterError("CONFIG", "不是数据流名称", transient=False)
    return stream


def _named(name: str) -> tuple[str, ...]:
    if not _DOCUMENT.match(name) or ".." in name:
        raise AdapterError("CONFIG", "不是文件名", transient=False)
    folder, _, file = name.partition("/")
    return folder, file


def _batch(stream: str, sender: str, epoch: int, seq: int) -> tuple[str, ...]:
    if not sender:
        raise AdapterError("CONFIG", "未设置参与方名称", transient=False)
    return stream, sender, "batches", f"{epoch}-{seq:010}"


def _part_names(epoch: int, seq: int, place: int) -> frozenset[str]:
    """What the part at this place of a manifest may be called."""
    return frozenset(f"{epoch}-{seq}-{place:03}.{kind}" for kind in ("ndjson", "ndjson.gz", "bin", "bin.gz"))


def _listed(manifest: bytes) -> list[tuple[str, int, str]]:
    """Name, size and digest of each part that a manifest names; none when it is no manifest: the core says so."""
    try:
        said = json.loads(manifest)["parts"]
        found = [(part["name"], part["bytes"], part["digest"]) for part in said[:MAX_PARTS]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    if not all(isinstance(name, str) and type(size) is int and isinstance(digest, str) for name, size, digest in found):
        return []
    return found


def _part(name: str, size: int, digest: str, copy: BinaryIO) -> Part:
    def read() -> Iterator[bytes]:
        copy.seek(0)
        while chunk := copy.read(65536):
            yield chunk

    weakref.finalize(read, copy.close)
    return Part(name=name, size=size, digest=digest, read=read)


def _address(batch: str) -> tuple[str, str, int, int]:
    try:
        origin, epoch, seq = batch.rsplit("/", 2)
        sender, _, stream = origin.partition("/x/")
        return sender, _known(stream), int(epoch), int(seq)
    except ValueError as error:
        raise AdapterError("CONFIG", "不是批次编号", transient=False) from error


def _envelope(document: bytes) -> tuple[bytes, bytes]:
    """Body and note of a signed document."""
    try:
        said: Any = json.loads(document)
        return said["body"].encode(), said["note"].encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdapterError("SCHEMA_JSON", "不是签名文件", transient=False) from error
