"""What the command line says and how: results as text or JSON on stdout, errors and progress on stderr.

Rules: an error is one line `code at place: text (hint)` and exit 1; wrong usage is exit 2; a fault of the program itself names
files and lines of ours, never a value. A progress bar is drawn on a terminal only. This room must not do any work itself.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from gateway.core.errors import GatewayError

Progress = Callable[[int, int | None], None]
"""Rows done, rows in all (None: not known yet)."""

STEP = 20_000
"""Without a terminal a line is written every so many rows."""

_PACKAGE = Path(__file__).resolve().parent


def say(text: str = "") -> None:
    """One line of a result."""
    click.echo(text)


def note(text: str) -> None:
    """One line beside the result, for people."""
    click.echo(text, err=True)


def show(result: object, *, as_json: bool, text: Callable[[], Sequence[str]]) -> None:
    """The result as JSON for programs, or as lines for people."""
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
    else:
        for line in text():
            say(line)


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> list[str]:
    """Columns of equal width; a Chinese character takes two places."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(head, *cells, strict=True)] if cells else [_width(name) for name in head]
    return [
        "  ".join(text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(head), *cells]
    ]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value.isoformat() if isinstance(value, date) else str(value)


def _width(text: str) -> int:
    return sum(2 if ord(character) > 0x2E7F else 1 for character in text)


def tell_error(error: BaseException) -> int:
    """Write an error as one line and give the exit status for it."""
    if isinstance(error, GatewayError):
        note(f"error: {error}" if error.detail else f"error: {error.code}: nothing here has this name")
        return 1
    if isinstance(error, OSError):
        note(f"error: system-error at {error.filename or '-'}: {error.strerror or type(error).__name__}")
        return 1
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(frame.filename).resolve().parents]
    note(f"error: internal at {_places(ours)}: {type(error).__name__} (a fault of this program; report these lines, they hold no data)")
    return 1


def _places(frames: Sequence[Any]) -> str:
    return " < ".join(f"{Path(frame.filename).relative_to(_PACKAGE.parent)}:{frame.lineno}" for frame in reversed(frames)) or "-"


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Progress]:
    """A bar on a terminal, a line every some thousand rows elsewhere, nothing when quiet."""
    if quiet:
        yield lambda _done, _total: None
    elif sys.stderr.isatty():
        with _bar(what) as tell:
            yield tell
    else:
        yield _lines(what)


def _lines(what: str) -> Progress:
    told = 0

    def tell(done: int, total: int | None) -> None:
        nonlocal told
        if done - told >= STEP or (done == total and told < done):
            told = done
            note(f"{what}: {done}" + (f" of {total}" if total is not None else "") + " rows")

    return tell


@contextmanager
def _bar(what: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
