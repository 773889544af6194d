"""One row of a list as its request wants it: as rendered, an excerpt, flat, in another language, a document, a CSV line.

Rules: a row is made of nothing but its document; where only a part of it is wanted only that part is read. This room must not choose
rows.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from gateway.core.publication.documents import localise
from gateway.core.publication.excerpts import excerpt_of
from gateway.core.publication.flat import Rows
from gateway.operations.answering import DOCUMENT, ENCODER, Scene

Document = dict[str, Any]


class Form(Struct, frozen=True, kw_only=True):
    """How the rows of one request look."""

    columns: tuple[str, ...]
    """Flat columns, as narrowed by `fields`."""
    fields: tuple[str, ...]
    """Dotted paths asked for; empty: everything."""
    flat: bool
    trailer: bool
    count: str
    facets: tuple[str, ...]
    withheld: Callable[[Document], Document] | None = None
    """What bulk output leaves out."""
    alike: bool = False
    """The rows are of one dataset and of subjects of one kind, so their keys stand in one order."""

    @property
    def plain(self) -> bool:
        """Rows leave as they are rendered."""
        return not self.fields and not self.flat and self.withheld is None


_rows = lru_cache(maxsize=128)(Rows)


def shaped(scene: Scene, form: Form, body: bytes) -> bytes:
    """One row as this request wants it."""
    if form.plain and scene.language == "zh-CN":
        return body
    return ENCODER.encode(shaped_document(scene, form, body))


def shaped_lines(scene: Scene, form: Form, step: Sequence[bytes]) -> bytes:
    """Many of them as NDJSON."""
    if form.plain and scene.language == "zh-CN":
        return b"\n".join([*step, b""])
    return ENCODER.encode_lines(_shaped(scene, form, step))


def shaped_items(scene: Scene, form: Form, step: Sequence[bytes]) -> bytes:
    """Many of them as items of a JSON array, a comma before each."""
    if form.plain and scene.language == "zh-CN":
        return b",".join([b"", *step])
    return b"," + ENCODER.encode(_shaped(scene, form, step))[1:-1] if step else b""


def _shaped(scene: Scene, form: Form, step: Sequence[bytes]) -> list[Any]:
    if form.alike and form.fields and not form.flat and form.withheld is None and scene.language == "zh-CN":
        return excerpt_of(form.fields).alike(step)
    return [shaped_document(scene, form, body) for body in step]


def shaped_document(scene: Scene, form: Form, body: bytes) -> Document:
    """One row as this request wants it, as a document."""
    document = _wanted(scene, form, body)
    return _rows(form.columns).row(document) if form.flat else document


def csv_line(scene: Scene, form: Form, body: bytes, *, excel: bool) -> bytes:
    """One row as a CSV line."""
    return _rows(form.columns).line(_wanted(scene, form, body), excel=excel)


def _wanted(scene: Scene, form: Form, body: bytes) -> Document:
    if scene.language == "zh-CN" and form.withheld is None:
        return excerpt_of(form.fields).read(body) if form.fields else DOCUMENT.decode(body)
    document = localise(DOCUMENT.decode(body), scene.language)  # labels and what is left out follow from the whole document
    if form.withheld is not None:
        document = form.withheld(document)
    return excerpt_of(form.fields).of(document) if form.fields else document
