"""All rows of a list as one answer: a stream in flat memory, in whichever format was asked for (api.md §1.3).

Rules: an export names the state that it was made of, and has no pages; a failure in it breaks off, so that half a file never ends like a
whole one. This room must not choose rows.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from gateway.core.publication import flat
from gateway.operations.answering import ENCODER, Scene, answer
from gateway.operations.asking import MEDIA_TYPES, Answer, Ask, Tally
from gateway.operations.pages import tail_of
from gateway.operations.pinned import while_permitted
from gateway.operations.row_forms import Form, csv_line, shaped_items, shaped_lines
from gateway.operations.rows_in_files import FILES, extension_of, packed, table
from gateway.store.walks import Ahead

Part = tuple[int, bytes]
"""So many rows, written as they leave."""
Write = Callable[[Sequence[bytes]], bytes]
"""How rows are written; of JSON's items each has its comma before it."""


def writing(scene: Scene, ask: Ask, form: Form, *, ready: bool) -> Write:
    """How this request's rows are written, in a format that has no file of its own; it waits for nothing, and may run in a thread.

    With `ready` rows come in their final form: JSON documents, or CSV lines.
    """
    if ask.format == "csv":
        return b"".join if ready else lambda rows: b"".join([csv_line(scene, form, body, excel=ask.excel) for body in rows])
    return partial(shaped_lines if ask.format == "ndjson" else shaped_items, scene, form)


async def written(write: Write, steps: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[Part]:
    """Rows as they are written, step by step."""
    async for step in steps:
        yield len(step), write(step)


def export_answer(
    scene: Scene,
    ask: Ask,
    form: Form,
    steps: AsyncIterator[Sequence[bytes]],
    *,
    ready: bool,
    name: str,
    notice: Mapping[str, Any] | None = None,
    truncated: bool = False,
    datasets: tuple[str, ...] | None = None,
    links: tuple[tuple[str, str], ...] = (),
    ahead: Ahead | None = None,
) -> Answer:
    """All rows as a stream. With `ready` the steps are rows in their final form (JSON documents, or CSV lines).

    `ahead` says with the first rows how many there will be, where that is known.
    """
    if ask.format not in FILES:
        lines = written(writing(scene, ask, form, ready=ready), steps)
        return written_answer(scene, ask, form, lines, name=name, notice=notice, truncated=truncated, datasets=datasets, links=links)
    tally = Tally()
    counted = _counted(steps, tally)
    if ask.format == "msgpack":
        own = ask.pages.url(scene.forms.tag, None)
        parts = packed(scene, form, _tail(scene, scene.head.version, own, notice), counted, ahead)
    else:
        parts = table(scene, ask, form, counted, version=scene.head.version, title=name, datasets=datasets, ahead=ahead)
    return _streaming(scene, ask, parts, tally, name=name, datasets=datasets, links=links)


def written_answer(
    scene: Scene,
    ask: Ask,
    form: Form,
    parts: AsyncIterator[Part],
    *,
    name: str,
    notice: Mapping[str, Any] | None = None,
    truncated: bool = False,
    datasets: tuple[str, ...] | None = None,
    links: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """All rows as a stream, written already (see `writing`)."""
    tally = Tally()
    stream = _stream(scene, ask, form, parts, tally, notice=notice, truncated=truncated)
    return _streaming(scene, ask, stream, tally, name=name, datasets=datasets, links=links)


def _streaming(
    scene: Scene,
    ask: Ask,
    parts: AsyncIterator[bytes],
    tally: Tally,
    *,
    name: str,
    datasets: tuple[str, ...] | None,
    links: tuple[tuple[str, str], ...],
) -> Answer:
    version = scene.head.version
    own = ask.pages.url(scene.forms.tag, None)
    state = (scene.forms.tag, scene.caller.plan_set, version, scene.now_text[:10], own, ask.format, str(ask.excel), ask.language)
    return answer(
        scene,
        b"",
        validator=scene.etag(b"export", *(part.encode() for part in state)),
        dataset_version=version,
        media_type=MEDIA_TYPES[ask.format],
        file_name=f"{name}-{version}.{extension_of(ask)}",
        datasets=datasets,
        links=links,
    ).streaming(while_permitted(scene, parts), tally)


async def _stream(
    scene: Scene,
    ask: Ask,
    form: Form,
    parts: AsyncIterator[Part],
    tally: Tally,
    *,
    notice: Mapping[str, Any] | None,
    truncated: bool,
) -> AsyncIterator[bytes]:
    version = scene.head.version
    if ask.format == "csv":
        yield (flat.BOM if ask.excel else b"") + flat.line(form.columns)
    elif ask.format == "json":
        yield b'{"items":['
    async for rows, part in parts:
        if rows:
            first = tally.rows == 0
            tally.rows += rows
            yield part[1:] if first and ask.format == "json" else part
    if ask.format == "json":
        yield b"]," + ENCODER.encode(_tail(scene, version, ask.pages.url(scene.forms.tag, None), notice))[1:]
    elif ask.format == "ndjson" and form.trailer:
        end: dict[str, Any] = {"rows": tally.rows, "dataset_version": version}
        yield ENCODER.encode({"_end": {**end, "truncated": True} if truncated else end}) + b"\n"


def _tail(scene: Scene, version: str, own: str, notice: Mapping[str, Any] | None) -> dict[str, Any]:
    """What stands beside the rows of an export."""
    return {"next": None, "prev": None, "self": own, **tail_of(scene, version, notice=notice)}


async def _counted(steps: AsyncIterator[Sequence[bytes]], tally: Tally) -> AsyncIterator[Sequence[bytes]]:
    async for step in steps:
        tally.rows += len(step)
        yield step
