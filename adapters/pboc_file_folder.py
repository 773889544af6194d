"""The drop folder of `pboc_file`: what is put in, what is found, and what the line notes beside it.

    submit/    files for the bank's front-end program, which takes them away
    feedback/  files from it
    noted/     NAME.json: which record stands on which line of a file that was put in; NAME.pending: it is being put in
    arrived/   NUMBER-NAME: feedback in the order in which it was found
    refused/   what lay in feedback and is feedback about no file of ours

A file appears in `submit` whole or not at all, and after its note: a crash in between leaves a note that is pending, and where the file is
gone then, nobody but a person can say whether it was taken. Links are not followed, and nothing is written outside the root. Calls block:
whoever uses this calls it in a thread.
"""

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from adapters.pboc_file_format import FileName, read_name
from gateway.adapter_contract import AdapterError, Diagnostic

__all__ = ["Folder", "Submitted"]

MAX_FEEDBACK: Final = 4 * 2**20
MANY: Final = 10_000
"""Entries of a folder that are looked at."""
LITTLE_SPACE: Final = 100 * 2**20
_FOLDERS: Final = ("submit", "feedback", "noted", "arrived", "refused")


class Submitted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The note of one file."""

    batch: str
    dataset: str
    day: date
    rows: tuple[tuple[str, int, int], ...]
    """(rid, version, number in the part) of each line."""


class Folder:
    """One line's root."""

    def __init__(self, root: Path, *, keep_days: int) -> None:
        self._root = root
        self._keep = timedelta(days=keep_days)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time numbers and puts in.

        Raises AdapterError UNAVAILABLE for a root that is not there or not ours to write.
        """
        try:
            handle = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AdapterError("UNAVAILABLE", f"线路目录无法使用：{error.strerror}", transient=True) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            for name in _FOLDERS:
                (self._root / name).mkdir(mode=0o770, exist_ok=True)
            yield
        except OSError as error:
            raise AdapterError("UNAVAILABLE", f"线路目录读写出错：{error.strerror}", transient=True) from error
        finally:
            os.close(handle)

    # --- putting in ---------------------------------------------------------------------------------------------------

    def submit(self, name: str, data: bytes, note: Submitted) -> None:
        """Put one file in; once, however often it is asked for.

        Raises AdapterError DUP_KEY for another file under this name, UNAVAILABLE with `outcome_unknown` when it is gone and perhaps taken.
        """
        noted = self._root / "noted"
        done, pending, here = noted / f"{name}.json", noted / f"{name}.pending", self._root / "submit" / name
        with self._locked():
            said = msgspec.json.encode(note)
            before = _content(done) or _content(pending) or None  # an empty one says nothing
            if before is not None and before != said:
                raise AdapterError("DUP_KEY", "同名文件已用于另一批次", transient=False, place=name)
            if done.exists():
                return
            if before is not None:
                if not here.exists():
                    raise AdapterError(
                        "UNAVAILABLE", "上次放置中断，文件已不在，可能已被取走", transient=False, place=name, outcome_unknown=True
                    )
                if _content(here) != data:
                    raise AdapterError("DUP_KEY", "目录中有另一同名文件", transient=False, place=name)
            else:
                self._place(here, data, said, pending)
            pending.rename(done)
            _persist(noted)

    def _place(self, here: Path, data: bytes, said: bytes, pending: Path) -> None:
        """The file under its name, in one step, after its note."""
        draft, begun = pending.with_suffix(".draft"), pending.with_suffix(".begun")
        try:
            _write(draft, data)
            _write(begun, said)
            begun.rename(pending)  # a note is there whole or not at all: half of one would be another batch's for good
            _persist(pending.parent)
            os.link(draft, here)  # unlike a rename, this never takes another file's place
        except OSError as error:
            pending.unlink(missing_ok=True)
            if isinstance(error, FileExistsError):
                raise AdapterError("DUP_KEY", "目录中有另一同名文件", transient=False, place=here.name) from error
            raise
        finally:
            draft.unlink(missing_ok=True)
            begun.unlink(missing_ok=True)
        _persist(here.parent)

    def submitted(self, name: FileName) -> Submitted | None:
        """The note of the file that a feedback file is about."""
        for form in ("enc", "txt"):
            sent = msgspec.structs.replace(name, feedback=False, form=form)
            said = _content(self._root / "noted" / f"{sent.text}.json")
            if said is not None:
                try:
                    return msgspec.json.decode(said, type=Submitted)
                except msgspec.DecodeError:
                    return None
        return None

    def of_day(self, day: date) -> tuple[dict[str, int], list[tuple[FileName, Submitted, bytes]]]:
        """Of the files of a day: rows put in by dataset, and feedback about them in the order in which it was found.

        Raises AdapterError UNAVAILABLE.
        """
        sent: dict[str, int] = {}
        answers: list[tuple[FileName, Submitted, bytes]] = []
        with self._locked():
            for entry in self._entries("noted"):
                name = read_name(entry.name.removesuffix(".json"))
                if name is not None and name.day == day and entry.name.endswith(".json") and (note := self.submitted(name)) is not None:
                    sent[note.dataset] = sent.get(note.dataset, 0) + len(note.rows)
            for _, path in self._arrived():
                name = read_name(path.name.partition("-")[2])
                if name is not None and name.day == day and (note := self.submitted(name)) is not None:
                    answers.append((name, note, _content(path) or b""))
        return sent, answers

    # --- feedback -----------------------------------------------------------------------------------------------------

    def feedback(self, after: str | None, institution: str, settle_s: float, most: int) -> list[tuple[int, FileName, bytes]]:
        """Feedback files found since a cursor, numbered in the order in which they were found.

        Raises AdapterError CURSOR_UNKNOWN, UNAVAILABLE.
        """
        with self._locked():
            self._number(institution, settle_s)
            arrived = self._arrived()
            last = arrived[-1][0] if arrived else 0
            since = _position(after, last)
            self._tidy(arrived, since)
            found: list[tuple[int, FileName, bytes]] = []
            for number, path in arrived:
                name = read_name(path.name.partition("-")[2])
                if number > since and name is not None and len(found) < most:
                    found.append((number, name, _content(path) or b""))
            return found

    def _number(self, institution: str, settle_s: float) -> None:
        """Give what lies in `feedback` its place in the order; what is about no file of ours is set aside."""
        arrived = self._arrived()
        number = arrived[-1][0] if arrived else 0
        waiting = []
        for entry in self._entries("feedback"):
            about = entry.stat(follow_symlinks=False)
            name = read_name(entry.name)
            if name is None or not name.feedback or name.institution != institution or not stat.S_ISREG(about.st_mode):
                continue  # no feedback by its name: it stays where it is, and `check` tells of it
            if time.time() - about.st_ctime >= settle_s:
                waiting.append((about.st_ctime_ns, entry.name, name, about.st_size))
        for _, text, name, size in sorted(waiting, key=lambda each: each[:2]):
            here = self._root / "feedback" / text
            if size > MAX_FEEDBACK or self.submitted(name) is None:
                here.rename(self._root / "refused" / f"{time.time_ns()}-{text}")
                continue
            number += 1
            here.rename(self._root / "arrived" / f"{number:08d}-{text}")
        _persist(self._root / "arrived")

    def _arrived(self) -> list[tuple[int, Path]]:
        found = []
        for entry in self._entries("arrived"):
            number, _, _ = entry.name.partition("-")
            if len(number) == 8 and number.isascii() and number.isdigit() and entry.is_file(follow_symlinks=False):
                found.append((int(number), Path(entry.path)))
        return sorted(found)

    def _tidy(self, arrived: list[tuple[int, Path]], since: int) -> None:
        """Feedback that was read, and notes, are kept for some days; the last feedback stays, for its number goes on."""
        before = time.time() - self._keep.total_seconds()
        old = [path for number, path in arrived[:-1] if number <= since and path.stat().st_ctime < before]
        old += [Path(entry.path) for entry in self._entries("noted") if entry.name.endswith(".json") and entry.stat().st_ctime < before]
        for path in old:
            path.unlink(missing_ok=True)

    def _entries(self, name: str) -> list[os.DirEntry[str]]:
        found: list[os.DirEntry[str]] = []
        with os.scandir(self._root / name) as entries:
            for entry in entries:
                found.append(entry)
                if len(found) >= MANY:
                    break
        return found

    # --- diagnosis ----------------------------------------------------------------------------------------------------

    def check(self, institution: str) -> Iterator[Diagnostic]:
        """What is wrong with the folder and with what lies there.

        Raises AdapterError UNAVAILABLE.
        """
        with self._locked():
            free = shutil.disk_usage(self._root).free
            strange = 0
            for entry in self._entries("feedback"):
                name = read_name(entry.name)
                if name is None or not name.feedback or name.institution != institution or not entry.is_file(follow_symlinks=False):
                    strange += 1
            refused = len(self._entries("refused"))
            pending = sum(entry.name.endswith(".pending") for entry in self._entries("noted"))
            waiting = len(self._entries("submit"))
        yield Diagnostic(what="目录", ok=True, message=f"目录可读写，待取走的文件 {waiting} 个")
        yield _finding("空间", free >= LITTLE_SPACE, "可用空间充足", "可用空间不足 100 MiB", "清理磁盘")
        yield _finding("反馈文件名", not strange, "没有名称不符的文件", f"feedback 中有 {strange} 个名称不符的文件", "请人工查看并移走")
        yield _finding("无法对应的反馈", not refused, "没有", f"refused 中有 {refused} 个无法对应的反馈文件", "请向对方核实后移走")
        yield _finding(
            "放置中断", not pending, "没有", f"有 {pending} 个文件放置中断", "核实对方是否已取走；未取走时删除 noted 中的 .pending 后重发"
        )


def _finding(what: str, ok: bool, good: str, bad: str, remedy: str) -> Diagnostic:
    return Diagnostic(what=what, ok=ok, message=good if ok else bad, remedy=None if ok else remedy)


def _position(after: str | None, last: int) -> int:
    if after is None:
        return 0
    if len(after) != 8 or not after.isascii() or not after.isdigit() or int(after) > last:
        raise AdapterError("CURSOR_UNKNOWN", "游标不是此线路给出的", transient=False)
    return int(after)


def _content(path: Path) -> bytes | None:
    """The bytes of a plain file; None when there is none.

    Raises AdapterError UNAVAILABLE for a link, a folder, or what cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AdapterError("UNAVAILABLE", f"文件无法读取：{error.strerror}", transient=True, place=path.name) from error
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise AdapterError("UNAVAILABLE", "目录中有不是普通文件的条目", transient=False, place=path.name)
        return file.read()


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)


def _persist(folder: Path) -> None:
    """A name survives a power failure only when its folder was written."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
