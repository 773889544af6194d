"""Publish the policies: versions past, in force and to come, their matrix, and what changes between two (api.md §7.16).

Rules: a version exists for the public once it was in force, or has a time at which it will be; what was proposed only does not.
Everybody is told the same. A version that this program cannot read any more is not there. Compiling takes a second: it is done off the loop
and remembered. This story must not read a record, a grant or a name of an administrator.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import msgspec

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.audiences import MatrixRow
from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.policy import compile_policies, files_digest
from gateway.core.disclosure.published import Change, public_names, published_changes, published_matrix
from gateway.core.disclosure.tiers import TIERS
from gateway.core.errors import ErrorItem, InvalidParameter, NotFound, PolicyError
from gateway.core.publication import flat
from gateway.core.publication.columns import Column
from gateway.core.publication.documents import instant
from gateway.core.records.periods import legal_day
from gateway.operations.answering import ENCODER, Scene, answer, begin, document_answer
from gateway.operations.asking import MEDIA_TYPES, Answer, Format, Language
from gateway.operations.table_files import About, ParquetFile, XlsxFile
from gateway.services import Services
from gateway.store import policies as policy_rows
from gateway.store import proposals

COLUMNS = ("dataset", "field", "label", "subject_kind", "tier", "purpose", "treatment", "capabilities", "basis")
"""Of the matrix as a table."""
VERSIONS = 200
"""So many activations are listed, the newest first."""


async def policies(services: Services, caller: Caller, language: Language) -> Answer:
    """Which versions were, are and will be in force."""
    scene = await begin(services, caller, language, reads_records=False)
    history = await policy_rows.activations(services.store.reads)
    items = [*(await _scheduled(scene)), *reversed([_activation(scene, history, place) for place in range(len(history))])]
    return document_answer(scene, {"items": items[:VERSIONS], "policy_version": scene.forms.version}, reads_data=False)


def _activation(scene: Scene, history: Sequence[policy_rows.Activation], place: int) -> dict[str, Any]:
    held = history[place]
    until = history[place + 1].at if place + 1 < len(history) else None
    before = history[place - 1].version if place else None
    known = held.version in {each.version for each in history[:place]}
    return {
        "version": held.version, "state": "in_force" if until is None else "past",
        "effective_from": instant(held.at), "effective_until": None if until is None else instant(until),
        "summary": _summary(scene.language, before, again=known), "links": _links(scene, held.version, before),
    }  # fmt: skip


async def _scheduled(scene: Scene) -> list[dict[str, Any]]:
    return [
        {
            "version": each.version, "state": "scheduled", "effective_from": instant(each.activate_at), "effective_until": None,
            "summary": _summary(scene.language, scene.forms.version, again=False),
            "links": _links(scene, each.version, scene.forms.version),
        }
        for each in await proposals.pending(scene.services.store.reads)
        if each.state == "scheduled" and each.activate_at is not None
    ]  # fmt: skip


def _summary(language: Language, before: int | None, *, again: bool) -> str:
    if before is None:
        return "The first version." if language == "en" else "首个版本。"
    if language == "en":
        return f"{'An earlier version again' if again else 'A new version'}, in the place of version {before}."
    return f"{'恢复较早的版本' if again else '新版本'}，取代第 {before} 版。"


def _links(scene: Scene, version: int, before: int | None) -> dict[str, str]:
    address = f"{scene.origin}/v1/policies"
    links = {"matrix": f"{address}/{version}/matrix"}
    return links if before is None else {**links, "diff": f"{address}/{before}/diff/{version}"}


# --- one version --------------------------------------------------------------------------------------------------------


async def matrix(
    services: Services, version: str, caller: Caller, language: Language, *, dataset: str | None, tier: str | None, spelt: Format
) -> Answer:
    """The cells of a version that everybody may read.

    Raises NotFound; InvalidParameter for a dataset or tier that nobody knows of.
    """
    scene = await begin(services, caller, language, reads_records=False)
    names = public_names(scene.policies)
    if dataset is not None and dataset not in names:
        raise InvalidParameter(errors=(ErrorItem("unknown", "没有这个数据集", parameter="dataset"),))
    if tier is not None and tier not in TIERS:
        raise InvalidParameter(errors=(ErrorItem("unknown", "没有这个访问层级", parameter="tier"),))
    asked = await _version(scene, version)
    body, rows = await asyncio.to_thread(_matrix, _Pair(asked, asked, scene.policies), dataset, tier, spelt, language == "en")
    file_name = f"policy-{asked.version}-matrix.{spelt}" if spelt in _FILES else None
    return answer(scene, body, media_type=MEDIA_TYPES[spelt], reads_data=False, rows=rows, file_name=file_name)


@lru_cache(maxsize=64)
def _matrix(pair: "_Pair", dataset: str | None, tier: str | None, spelt: Format, english: bool) -> tuple[bytes, int]:
    """The matrix in one format, and how many rows it has; remembered, for it is long and never changes under one version in force."""
    rows = published_matrix(pair.old, public_names(pair.in_force), dataset=dataset, tier=tier, english=english)
    return _spelt(rows, pair.old.version, spelt), len(rows)


def _spelt(rows: Sequence[MatrixRow], version: int, spelt: Format) -> bytes:
    if spelt == "ndjson":
        return b"".join(ENCODER.encode(row) + b"\n" for row in rows)
    if spelt in ("json", "msgpack"):
        document = {"version": version, "items": rows}
        return ENCODER.encode(document) if spelt == "json" else _PACKED.encode(document)
    flattened = [flat.flatten(msgspec.to_builtins(row)) for row in rows]
    if spelt == "csv":
        return flat.line(COLUMNS) + b"".join(flat.line([row.get(name) for name in COLUMNS]) for row in flattened)
    about = About(title=f"policy-{version}-matrix", versions={"policy_version": str(version)})
    columns = [Column(name) for name in COLUMNS]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "matrix"
        file = (XlsxFile if spelt == "xlsx" else ParquetFile)(path, columns, about)
        file.add(flattened)
        file.finish()
        return path.read_bytes()


_FILES: frozenset[Format] = frozenset({"xlsx", "parquet"})
_PACKED = msgspec.msgpack.Encoder()


async def difference(services: Services, before: str, after: str, caller: Caller, language: Language) -> Answer:
    """Which cells one version widens or narrows against another.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    old, new = await _version(scene, before), await _version(scene, after)
    changes = await asyncio.to_thread(_changes, _Pair(old, new, scene.policies))
    document = {"from": old.version, "to": new.version, "items": changes, "policy_version": scene.forms.version}
    return document_answer(scene, document, reads_data=False)


class _Pair:
    """Two versions to be compared under a third; the same when their numbers are."""

    def __init__(self, old: Policies, new: Policies, in_force: Policies) -> None:
        self.old, self.new, self.in_force = old, new, in_force
        self._key = tuple((each.version, each.digest) for each in (old, new, in_force))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pair) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=16)
def _changes(pair: _Pair) -> tuple[Change, ...]:
    return published_changes(pair.old, pair.new, public_names(pair.in_force))


async def _version(scene: Scene, text: str) -> Policies:
    """A version by its number.

    Raises NotFound for one that never was, and is not to be, in force.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS and str(int(text)) == text):
        raise NotFound
    number = int(text)
    if number == scene.policies.version:
        return scene.policies
    reads = scene.services.store.reads
    known = {each.version for each in await policy_rows.activations(reads)}
    known |= {each.version for each in await proposals.pending(reads) if each.state == "scheduled"}
    if number not in known:
        raise NotFound
    files = await policy_rows.files_of(reads, number)
    held = _Held(files, number, legal_day(scene.now), scene.services.settings.residual_k)
    found = await asyncio.to_thread(_read, held)
    if found is None:
        raise NotFound
    return found


class _Held:
    """A version that is kept; the same as another when its number and its files are."""

    def __init__(self, files: Mapping[str, bytes], number: int, day: date, residual_k: int) -> None:
        self.files, self.number, self.day, self.residual_k = files, number, day, residual_k
        self._key = (files_digest(files), number, residual_k)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)


KEPT = 24
"""Compiled versions that a process remembers, beside those that approving and activating ask for."""
_READING = Lock()


def _read(held: _Held) -> Policies | None:
    """The plans of a version, compiled once however many ask at the same time; None when this program cannot read it any more."""
    with _READING:
        return _compiled(held)


@lru_cache(maxsize=KEPT)
def _compiled(held: _Held) -> Policies | None:
    try:
        return compile_policies(held.files, version=held.number, today=held.day, in_force=True, residual_k=held.residual_k)
    except PolicyError:
        return None


_DIGITS = 9
