"""Partner adapter `pboc_file`: public facts about organisations as files in a drop folder, feedback as files (exchange.md §18).

The real interface of the People's Bank is not public. This is the shape that reporters' systems show, with a simulator, and no more.

Rules:
- Outward only organisations, and of them only the columns that the settings name as everybody's to see: whoever is no organisation is
  `LAW_PERSON`, any other field `SCOPE_FIELD`. Inward nothing but feedback.
- The core takes a file's serial in the transaction that writes the batch, so a batch has the same names whenever it is delivered; a person
  confirms it before. A file appears whole under its name, or not; which record stands on which line is noted beside it first.
- Feedback is numbered as it is found, kept as it came, and believed about a row only where file, line and record fit together.
- Files are sealed and opened by the core's tools under the line's key, which never comes here.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta, Struct

from adapters.pboc_file_folder import Folder, Submitted
from adapters.pboc_file_format import (
    HERE,
    INSTITUTION,
    MAX_COUNT,
    Encoding,
    Fault,
    FileName,
    Form,
    Header,
    RecordType,
    Section,
    encode_document,
    encode_header,
    read_faults,
    read_lines,
    sections,
    type_of,
)
from gateway.adapter_contract import (
    CONTRACT_VERSION,
    AdapterError,
    Counts,
    Diagnostic,
    IncomingBatch,
    Instant,
    LateReply,
    Row,
    RowResult,
    SealedBatch,
    SourceRecord,
    Tools,
)

__all__ = ["PbocFile", "PbocFileConfig"]

LATE_REPLIES: Final = 200
"""Feedback files of one look."""
UNKNOWN: Final = "FEEDBACK_UNKNOWN"
"""Line and record of a feedback do not fit together, or are none of the file's."""
TWICE: Final = "FEEDBACK_TWICE"
"""Two codes for one line."""


class PbocFileConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The line to the bank's front-end host."""

    root: str
    """Folder of the line; below it `submit`, `feedback`, and what the line notes for itself."""
    institution: Annotated[str, Meta(pattern=INSTITUTION)]
    types: Annotated[dict[str, RecordType], Meta(min_length=1)]
    """Dataset → how it is told."""
    form: Form = "enc"
    """enc: sealed under the line's key; txt: plain, for a folder that is protected otherwise."""
    encoding: Encoding = "utf-8"
    accepted: tuple[str, ...] = ("0000",)
    """Codes of feedback that mean taken; on line 0, the whole file."""
    codes: dict[str, Literal["unchanged", "warned", "held", "rejected"]] = {}
    """What the bank's other codes mean; one that is not here is held."""
    longest: Annotated[int, Meta(ge=1, le=100_000)] = 5000
    """Characters of a column unless the type says otherwise."""
    settle_s: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    """A feedback file is read when it has not changed for so long."""
    keep_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    """How long the line keeps its notes and the feedback that was read."""


class _Late(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="pboc-feedback/1"):
    """A feedback file as it came, with the file that it is about."""

    file: str
    rows: tuple[tuple[str, int, int], ...]
    deletes: bool
    data: bytes


class PbocFile:
    """Puts files into a drop folder and reads feedback out of it."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: frozenset[str] = frozenset({"encode", "deliver", "reply", "feedback", "counts", "numbers"})
    """By settings also `withdrawals`, where every dataset has a delete type: see the adapter's own attribute."""
    Config: ClassVar[type[Struct]] = PbocFileConfig

    def __init__(self, config: PbocFileConfig, tools: Tools | None) -> None:
        _consistent(config)
        self._config = config
        self._tools = tools
        self._folder = Folder(Path(config.root), keep_days=config.keep_days)
        self._basic = {code for kind in config.types.values() if kind.basic for code in (kind.record, kind.delete) if code is not None}
        self._deletes = {kind.delete for kind in config.types.values() if kind.delete is not None}
        withdraws = all(kind.delete is not None for kind in config.types.values())
        self.capabilities = type(self).capabilities | ({"withdrawals"} if withdraws else set())

    # --- out ----------------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> bytes:
        """The files of these rows one behind the other, one for each record type, in order of their first rows."""
        config = self._config
        found: dict[str, list[bytes]] = {}
        for number, row in enumerate(rows, 1):
            kind = config.types.get(row.dataset)
            if kind is None:
                raise AdapterError("CONFIG", "此数据集没有设置记录类型（types）", transient=False, place=row.dataset)
            document = encode_document(row, number, kind, longest=config.longest, encoding=config.encoding)
            found.setdefault(type_of(row, number, kind), []).append(document)
        if not rows or len(rows) > MAX_COUNT:
            raise AdapterError("SCHEMA_COUNTS", "文件的条数不合格式", transient=False)
        # the latest of what is told, not the clock: the same rows are the same bytes
        at = f"{max(row.at for row in rows).astimezone(HERE):%Y%m%d%H%M%S}"
        return b"".join(
            encode_header(Header(type=code, basic=code in self._basic, institution=config.institution, at=at, count=len(documents)))
            + b"".join(documents)
            for code, documents in found.items()
        )

    def numbers(self, part: bytes) -> Sequence[str]:
        """The record types whose files a part becomes: each needs a serial of its day."""
        return [section.header.type for section in sections(part, self._config.encoding)]

    async def deliver(self, sealed: SealedBatch) -> None:
        """Each file under its name in `submit`, once.

        Raises AdapterError; with `outcome_unknown` when a file may have been there and was taken away.
        """
        day = _day(sealed)
        found: list[Section] = []
        for part in sealed.parts:
            found += sections(b"".join(part.read()), self._config.encoding)
        for section in found:
            serial = sealed.numbers.get(section.header.type)
            if serial is None or section.header.institution != self._config.institution:
                raise AdapterError("CONFIG", "批次没有文件序号，或者属于另一机构", transient=False, place=section.header.type)
            name = FileName(
                institution=self._config.institution,
                day=day,
                type=section.header.type,
                serial=serial,
                feedback=False,
                form=self._config.form,
            ).text
            data = section.data if self._config.form == "txt" else self._seal(name, section.data)
            note = Submitted(batch=sealed.batch, dataset=_dataset(sealed.batch), day=day, rows=section.rows)
            await asyncio.to_thread(self._folder.submit, name, data, note)

    def _seal(self, name: str, data: bytes) -> bytes:
        if self._tools is None:
            raise AdapterError("CONFIG", "线路没有文件密钥", transient=False)
        return self._tools.seal_file(name, data)

    # --- back ---------------------------------------------------------------------------------------------------------

    async def feedback(self, after: str | None) -> AsyncIterator[LateReply]:
        """Feedback files in the order in which they were found, each with the rows of the file that it is about."""
        for number, name, data in await asyncio.to_thread(
            self._folder.feedback, after, self._config.institution, self._config.settle_s, LATE_REPLIES
        ):
            note = await asyncio.to_thread(self._folder.submitted, name)
            late = _Late(
                file=name.text,
                rows=note.rows if note is not None else (),
                deletes=name.type in self._deletes,
                data=data,
            )
            yield LateReply(cursor=f"{number:08d}", data=msgspec.json.encode(late), batch=note.batch if note is not None else None)

    def read_reply(self, reply: bytes) -> Sequence[RowResult]:
        """What a feedback file says of each row of the file that it is about.

        A file that does not open, is cut off, or contradicts itself holds every row: a person asks for it again.
        """
        try:
            late = msgspec.json.decode(reply, type=_Late)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise AdapterError("SCHEMA_LINE", "反馈不是本格式", transient=False) from None
        try:
            data = late.data if not late.file.endswith(".enc") else self._open(late.file, late.data)
            header, lines = read_lines(data)
            if header.institution != self._config.institution or header.type != late.file[22:25]:
                raise AdapterError("SCHEMA_LINE", "反馈的文件头与文件名不符", transient=False)
            faults = read_faults(lines, self._config.encoding)
        except AdapterError as error:
            if error.code == "CONFIG":  # our own fault: it is read when that is mended
                raise
            return [self._row(late, at, "held", error.code, error.message) for at in range(len(late.rows))]
        return self._results(late, faults)

    def _open(self, name: str, data: bytes) -> bytes:
        if self._tools is None:
            raise AdapterError("CONFIG", "线路没有文件密钥", transient=False)
        return self._tools.open_file(name, data)

    def _results(self, late: _Late, faults: Sequence[Fault]) -> list[RowResult]:
        lines_of = {rid: at for at, (rid, _, _) in enumerate(late.rows, 1)}
        whole: set[str] = set()
        by_line: dict[int, dict[str, str | None]] = {}
        results: list[RowResult] = []
        for fault in faults:
            of_record = lines_of.get(fault.rid, 0) if fault.rid is not None else fault.line
            if fault.line == 0:
                whole.add(fault.code)
            elif of_record == fault.line <= len(late.rows):
                by_line.setdefault(fault.line, {}).setdefault(fault.code, fault.text)
            elif 0 < of_record <= len(late.rows):  # the record stands on another line: neither row is believed to be meant
                for at in {of_record, fault.line} & set(range(1, len(late.rows) + 1)):
                    by_line.setdefault(at, {}).setdefault(UNKNOWN, None)
            else:  # about no row of this file: the core counts it as strange, and it hits no other row
                results.append(RowResult(place=late.file, record_id=fault.rid or UNKNOWN, result="held", code=UNKNOWN, message=fault.text))
        for at in range(len(late.rows)):
            said: dict[str, str | None] = by_line.get(at + 1) or dict.fromkeys(whole)
            if len(said) > 1:
                results.append(self._row(late, at, "held", TWICE, None))
            for code, text in said.items() if len(said) == 1 else ():
                taken = code in self._config.accepted
                result = ("withdrawn" if late.deletes else "accepted") if taken else self._config.codes.get(code, "held")
                results.append(self._row(late, at, result, None if taken else code, text))
        return results

    def _row(self, late: _Late, at: int, result: str, code: str | None, text: str | None) -> RowResult:
        rid, version, number = late.rows[at]
        return RowResult(
            place=f"{late.file}:{number}",
            record_id=rid,
            version=version,
            result=result,  # type: ignore[arg-type]  # one of the words, as the settings' type says
            code=code,
            message=text,
        )

    async def counts(self, day: date) -> Sequence[Counts]:
        """Rows of the files of a day: those that were put in, and those that the bank's feedback says were taken, where it has answered."""
        sent, answers = await asyncio.to_thread(self._folder.of_day, day)
        taken: dict[str, dict[tuple[str, int], bool]] = {}
        for name, note, data in answers:
            late = _Late(file=name.text, rows=note.rows, deletes=name.type in self._deletes, data=data)
            for result in self.read_reply(msgspec.json.encode(late)):
                if result.record_id is not None and result.version is not None:
                    done = result.result not in ("held", "rejected")
                    taken.setdefault(note.dataset, {})[result.record_id, result.version] = done
        found = [Counts(dataset=dataset, day=day, rows=rows, side="sent") for dataset, rows in sorted(sent.items())]
        return found + [Counts(dataset=dataset, day=day, rows=sum(rows.values())) for dataset, rows in sorted(taken.items())]

    # --- both ---------------------------------------------------------------------------------------------------------

    async def check(self) -> Sequence[Diagnostic]:
        """Folder, space, key, files that wait and files that are none, each with what to do."""
        try:
            found = list(await asyncio.to_thread(self._folder.check, self._config.institution))
        except (AdapterError, OSError):
            found = [Diagnostic(what="目录", ok=False, message="目录无法使用", remedy="检查 root 是否存在、是否可写")]
        if self._config.form == "enc":
            try:
                self._open("check", self._seal("check", b"check"))
                found.append(Diagnostic(what="文件密钥", ok=True, message="文件密钥可用"))
            except AdapterError as error:
                found.append(Diagnostic(what="文件密钥", ok=False, message=error.message, remedy="检查 file_key 所指的文件"))
        return found

    async def close(self) -> None:
        """Nothing is held."""

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


class _Created(Struct):
    """Of a manifest, all that is needed here."""

    created: Instant


def _day(sealed: SealedBatch) -> date:
    """The day of the batch in UTC+8."""
    try:
        return msgspec.json.decode(sealed.manifest, type=_Created).created.astimezone(HERE).date()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AdapterError("SCHEMA_MANIFEST", "批次清单没有时间", transient=False) from error


def _dataset(batch: str) -> str:
    stream = batch.partition("/x/")[2].partition("/")[0]
    return stream.partition(".")[2]


def _consistent(config: PbocFileConfig) -> None:
    """Settings that contradict each other do not start.

    Raises AdapterError CONFIG.
    """
    codes: list[str] = []
    for dataset, kind in config.types.items():
        codes += [kind.record, *([kind.delete] if kind.delete is not None else [])]
        named = {*kind.names, *kind.lengths, *kind.key, kind.organisation}
        if len(set(kind.columns)) != len(kind.columns) or named - set(kind.columns):
            raise AdapterError("CONFIG", "columns 重复，或者缺少其他设置提到的列", transient=False, place=dataset)
    if len(set(codes)) != len(codes):
        raise AdapterError("CONFIG", "两个数据集使用同一记录类型", transient=False, place="types")
    if set(config.accepted) & set(config.codes):
        raise AdapterError("CONFIG", "同一代码既为接收又为其他", transient=False, place="codes")
