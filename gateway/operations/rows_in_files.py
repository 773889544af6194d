"""Rows in formats that have a writer of their own (XLSX, Parquet, MessagePack): typed, shaped off the loop, made as they leave.

Rules: what is wrong with the first rows, or does not fit into a sheet, is an answer; what goes wrong later breaks the file off, so that
half of one never ends like a whole. This room must not choose rows.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, cast

from msgspec import structs

from gateway.core.errors import TooManyRowsForFormat
from gateway.core.publication.columns import Column, typed
from gateway.core.publication.documents import notice as sample_notice
from gateway.operations.answering import Scene, instant_of_version
from gateway.operations.asking import Ask, Format
from gateway.operations.pinned import while_permitted
from gateway.operations.row_forms import Document, Form, shaped_document
from gateway.operations.row_steps import after, next_step
from gateway.operations.table_files import (
    MOST_ROWS,
    About,
    MsgpackFile,
    PackedStream,
    ParquetFile,
    TableFile,
    XlsxFile,
    file_of,
    packed_head,
    refuse_long,
    stream_of,
)
from gateway.store import walks
from gateway.store.conditions import Condition, Payload
from gateway.store.walks import Ahead

_UNCOUNTED: Final = 200_000
"""So many rows fit into any workbook: only where there are more at all an export is counted first."""
TABLES: Final[frozenset[Format]] = frozenset({"xlsx", "parquet"})
FILES: Final[frozenset[Format]] = TABLES | {"msgpack"}
"""Formats with a writer of their own, which takes rows as documents."""
PATIENCE_S: Final = 0.1
"""So long the head of a file waits for the number of its rows."""


def extension_of(ask: Ask) -> str:
    """How a file is named: what Excel is given is not lossless, and its name says so."""
    return "excel.csv" if ask.excel and ask.format == "csv" else ask.format


def _typed(scene: Scene, form: Form, datasets: tuple[str, ...] | None) -> tuple[Column, ...]:
    """The flat columns with their types, for rows of these datasets (None: subjects, of all)."""
    key = ("typed", form.columns, datasets)
    known: tuple[Column, ...] | None = scene.forms.remembered.get(key)
    if known is None:
        chosen = [name for name in scene.forms.plan_sets if datasets is None or name in datasets]
        if scene.forms.reaches:
            sets = [reach.plan_set for name in chosen for reach in scene.forms.reaches[name]]
        else:
            sets = [scene.forms.plan_sets[name] for name in chosen]
        known = scene.forms.remembered[key] = typed(form.columns, sets)
    return known


def table(
    scene: Scene,
    ask: Ask,
    form: Form,
    steps: AsyncIterator[Sequence[bytes]],
    *,
    version: str,
    title: str,
    datasets: tuple[str, ...] | None,
    ahead: Ahead | None = None,
) -> AsyncIterator[bytes]:
    """Rows as XLSX or Parquet."""
    made_at = instant_of_version(version)
    about = About(
        title=title,
        versions={"dataset_version": version, "policy_version": str(scene.forms.version)}
        | ({"notice": sample_notice(scene.language)["text"]} if scene.services.settings.demo else {}),
        made_at=None if made_at is None else datetime.fromisoformat(made_at),
    )
    columns = _typed(scene, form, datasets)
    shape = partial(_shaped_step, scene, structs.replace(form, flat=True))

    def make(place: IO[bytes]) -> TableFile:
        return (
            XlsxFile(place, columns, about, None if ahead is None else ahead.rows)
            if ask.format == "xlsx"
            else ParquetFile(place, columns, about)
        )

    return stream_of(make, shape, while_permitted(scene, steps))


def _shaped_step(scene: Scene, form: Form, step: Sequence[bytes]) -> list[Document]:
    """Rows as a file takes them."""
    return [shaped_document(scene, form, body) for body in step]


def filed(scene: Scene, form: Form, make: Callable[[Path], TableFile], steps: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[bytes]:
    """A file of these rows; each is shaped off the loop, on its way into it."""
    return file_of(
        make,
        partial(_shaped_step, scene, form),
        while_permitted(scene, steps),
        scene.services.settings.data_path,
        personal=scene.no_store,
    )


async def packed(
    scene: Scene, form: Form, tail: Mapping[str, Any], steps: AsyncIterator[Sequence[bytes]], ahead: Ahead | None
) -> AsyncIterator[bytes]:
    """Rows as MessagePack: as they come where their number is known with the first of them, else when it is.

    What is wrong with the first rows is an answer. Where counting them all (the second step) takes long the head does not wait for it; what
    goes wrong after that breaks the answer off.
    """
    head = packed_head(tail)
    first = await next_step(steps)
    second = asyncio.ensure_future(next_step(steps))
    try:
        if ahead is not None:
            await asyncio.wait({second}, timeout=PATIENCE_S)
            if not second.done():
                yield head
                head = b""
        steps = after(first, after(await second, steps))
    finally:
        second.cancel()
    if ahead is None or (rows := ahead.rows) is None:
        parts = filed(scene, form, MsgpackFile, steps)
    else:
        parts = stream_of(lambda place: PackedStream(place, rows), partial(_shaped_step, scene, form), while_permitted(scene, steps))
    async with aclosing(cast("AsyncGenerator[bytes, None]", parts)) as made:
        async for part in made:
            yield head + part if head else part
            head = b""


async def fitting(
    scene: Scene, form: Form, conditions: Sequence[Condition], payload: Payload, steps: AsyncIterator[Sequence[bytes]], ahead: Ahead
) -> AsyncIterator[Sequence[bytes]]:
    """The rows of a workbook: what a sheet cannot hold is refused before the first of them, as far as the read model tells.

    Raises TooManyRowsForFormat, TextTooLongForFormat.
    """
    reads, state = scene.services.store.reads, {"plan": scene.forms.tag, "now": scene.now_text}
    if await walks.beyond(reads, min(MOST_ROWS["xlsx"], _UNCOUNTED)):
        ahead.rows = await walks.count(reads, conditions, **state)
        if ahead.rows > MOST_ROWS["xlsx"]:
            raise TooManyRowsForFormat
    long = await walks.long_rows(reads, conditions, **state, snapshot=scene.head.seq, payload=payload)
    flat_form = structs.replace(form, flat=True)
    for body in long:
        refuse_long(shaped_document(scene, flat_form, body))
    async for step in steps:
        yield step
