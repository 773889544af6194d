"""Mutants of one valid batch: every class of byte, every field, every line, every order and every signature, changed in one place each.

All follow from the batch alone, so the same batch gives the same mutants under the same names. None is signed again: whoever changes a
batch on its way has no key. What a note may bear besides, lines of keys that nobody knows (wire specification §2.3), is no mutant.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.adapter_contract import SealedBatch

BYTE_CLASSES: Mapping[str, bytes] = {
    "digit": b"0123456789",
    "lower": b"abcdefghijklmnopqrstuvwxyz",
    "upper": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "quote": b'"',
    "bracket": b"{}[]",
    "separator": b",:",
    "mark": b"-_/+=.",
    "line end": b"\n",
    "blank": b" ",
    "lead byte": bytes(range(0xC2, 0xF5)),
    "trail byte": bytes(range(0x80, 0xC0)),
    "control": bytes(range(8)),
}
A_CLASS = 4
"""So many places of each class of byte in each file."""


class Batch(Struct, frozen=True, kw_only=True):
    """A batch as it lies on the line."""

    manifest: bytes
    note: bytes
    checkpoint: bytes
    parts: dict[str, bytes]

    def posted(self) -> bytes:
        """The body of POST batches; bytes that are no UTF-8 stay as they are."""
        said = {
            "manifest": {"body": _text(self.manifest), "note": _text(self.note)},
            "checkpoint": _text(self.checkpoint),
            "parts": {name: base64.b64encode(data).decode() for name, data in self.parts.items()},
        }
        return json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogateescape")


class Mutant(Struct, frozen=True, kw_only=True):
    """A batch with one change."""

    name: str
    batch: Batch


def batch_of(sealed: SealedBatch) -> Batch:
    """A sealed batch, all of it read."""
    return Batch(
        manifest=sealed.manifest,
        note=sealed.manifest_note,
        checkpoint=sealed.checkpoint,
        parts={part.name: b"".join(part.read()) for part in sealed.parts},
    )


def mutants(batch: Batch) -> Iterator[Mutant]:
    """Every mutant once, each other than the batch and than every other."""
    seen = {(batch.manifest, batch.note, batch.checkpoint, tuple(sorted(batch.parts.items())))}
    for name, changed in _all(batch):
        key = (changed.manifest, changed.note, changed.checkpoint, tuple(sorted(changed.parts.items())))
        if key not in seen:
            seen.add(key)
            yield Mutant(name=name, batch=changed)


def _all(batch: Batch) -> Iterator[tuple[str, Batch]]:
    for name, data in _of_bytes(batch.manifest):
        yield f"manifest, {name}", replace(batch, manifest=data)
    for name, data in _of_object(batch.manifest):
        yield f"manifest, {name}", replace(batch, manifest=data)
    for what, data in (("note", batch.note), ("checkpoint", batch.checkpoint)):
        for name, changed in (*_of_bytes(data), *_of_note(data)):
            yield f"{what}, {name}", replace(batch, **{what: changed})
    yield "the note of the checkpoint", replace(batch, note=batch.checkpoint)
    yield "the checkpoint is the note", replace(batch, checkpoint=batch.note)
    for part, data in batch.parts.items():
        raw = gzip.decompress(data) if part.endswith(".gz") else data
        others = [other for other in batch.parts if other != part]
        for name, changed in _of_bytes(data):
            yield f"{part}, {name}", _with(batch, part, changed)
        for name, changed in _of_lines(raw):
            yield f"{part}, {name}", _with(batch, part, gzip.compress(changed, mtime=0) if part.endswith(".gz") else changed)
        yield f"{part} is not there", replace(batch, parts={other: batch.parts[other] for other in others})
        yield f"{part} has another name", replace(batch, parts={**{other: batch.parts[other] for other in others}, "9-9-000.ndjson": data})
        for other in others:
            yield f"{part} is {other}", _with(batch, part, batch.parts[other])
            yield f"{part} before {other}", _with(_with(batch, part, batch.parts[other]), other, data)
    yield "a part too many", _with(batch, "1-1-099.ndjson", next(iter(batch.parts.values())))


def _with(batch: Batch, part: str, data: bytes) -> Batch:
    return replace(batch, parts={**batch.parts, part: data})


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# --- bytes ------------------------------------------------------------------------------------------------------------


def _of_bytes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Of each class some bytes, spread over the file: another of the class, one bit over, gone, doubled; the file cut, and lengthened."""
    for label, members in BYTE_CLASSES.items():
        places = [at for at, byte in enumerate(data) if byte in members]
        for at in places[:: max(1, len(places) // A_CLASS)][:A_CLASS]:
            head, byte, rest = data[:at], data[at], data[at + 1 :]
            other = members[(members.index(byte) + 1) % len(members)]
            for how, middle in (
                ("another", bytes((other,))),
                ("bit", bytes((byte ^ 0x10,))),
                ("gone", b""),
                ("doubled", bytes((byte, byte))),
            ):
                yield f"{label} at {at} {how}", head + middle + rest
    yield "a byte order mark", b"\xef\xbb\xbf" + data
    yield "a blank at the end", data + b" "
    yield "a line at the end", data + b"\n"
    yield "a NUL at the end", data + b"\0"
    yield "the last byte cut", data[:-1]
    yield "half of it", data[: len(data) // 2]
    yield "nothing of it", b""
    yield "all of it twice", data + data
    yield "with carriage returns", data.replace(b"\n", b"\r\n")


# --- a document, a note ----------------------------------------------------------------------------------------------


def _of_object(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every member at every depth: another value, none, another type, gone, twice, under another name."""
    document = json.loads(data)
    for path, value in _members(document):
        where = "/".join(str(step) for step in path)
        for how, other in (("otherwise", _other(value)), ("null", None), ("of another type", [value] if isinstance(value, str) else "x")):
            if other != value:
                yield f"{where} {how}", _encoded(_changed(document, path, other))
        yield f"{where} gone", _encoded(_changed(document, path))
        if isinstance(path[-1], str):
            told = json.dumps(path[-1]).encode() + b":" + _encoded(value)
            yield f"{where} twice", data.replace(told, told + b"," + told, 1)
            yield f"{where} under another name", _encoded(_renamed(document, path))
    yield "an unknown member", _encoded(document | {"note": "x"})
    yield "members in another order", _encoded(dict(reversed(document.items())))
    yield "with blanks", json.dumps(document, ensure_ascii=False).encode()
    yield "in escapes", json.dumps(document, ensure_ascii=True, separators=(",", ":")).replace("credit", "\\u0063redit").encode()


def _of_note(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every byte of every signature, every line of the text, the name, the key id; no signature, twice the same, of another text."""
    text, _, signatures = data.decode().rpartition("\n\n")
    for number, line in enumerate(text.split("\n")):
        lines = text.split("\n")
        for how, other in (("otherwise", [line + "x"]), ("gone", []), ("twice", [line, line]), ("empty", [""])):
            lines[number : number + 1] = other
            yield f"line {number} {how}", ("\n".join(lines) + "\n\n" + signatures).encode()
            lines = text.split("\n")
    for number, line in enumerate(signatures.splitlines()):
        dash, name, signature = line.split(" ")
        raw = base64.b64decode(signature)
        for at in range(len(raw)):
            other = raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]
            yield f"byte {at} of signature {number}", f"{text}\n\n{dash} {name} {base64.b64encode(other).decode()}\n".encode()
        for how, lines in (
            ("under another name", [f"{dash} x{name} {signature}"]),
            ("twice", [line, line]),
            ("with a hyphen", [f"- {name} {signature}"]),
            ("without its padding", [line.rstrip("=")]),
            ("cut", [f"{dash} {name} {base64.b64encode(raw[:-1]).decode()}"]),
            ("longer", [f"{dash} {name} {base64.b64encode(raw + bytes(1)).decode()}"]),
            ("of zeros", [f"{dash} {name} {base64.b64encode(raw[:4] + bytes(len(raw) - 4)).decode()}"]),
            ("the key id alone", [f"{dash} {name} {base64.b64encode(raw[:4]).decode()}"]),
            ("gone", []),
        ):
            yield f"signature {number} {how}", "\n".join((text, "", *lines, "")).encode()


# --- lines ------------------------------------------------------------------------------------------------------------


def _of_lines(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Every line: gone, twice, before the next, cut, otherwise in each member of its payload and in each disclosure."""
    lines = raw.splitlines(keepends=True)

    def put(number: int, other: Iterable[bytes]) -> bytes:
        return b"".join((*lines[:number], *other, *lines[number + 1 :]))

    for number, line in enumerate(lines):
        yield f"line {number} gone", put(number, [])
        yield f"line {number} twice", put(number, [line, line])
        yield f"line {number} with a blank", put(number, [line.replace(b'","', b'", "', 1)])
        if number:
            yield f"line {number} before line {number - 1}", b"".join((*lines[: number - 1], line, lines[number - 1], *lines[number + 1 :]))
        said = json.loads(line)
        payload, shown = json.loads(_unb64u(said["p"])), said["d"]
        for member, value in payload.items():
            for how, changed in (
                ("otherwise", payload | {member: _other(value)}),
                ("gone", {each: payload[each] for each in payload if each != member}),
            ):
                yield f"line {number}, {member} {how}", put(number, [_line(_encoded(changed), shown)])
        for at, disclosure in enumerate(shown):
            salt, name, value = json.loads(_unb64u(disclosure))
            for how, changed_to in (
                ("otherwise", [_b64u(_encoded([salt, name, _other(value)]))]),
                ("with another salt", [_b64u(_encoded([salt[::-1], name, value]))]),
                ("gone", []),
                ("twice", [disclosure, disclosure]),
            ):
                others = [*shown[:at], *changed_to, *shown[at + 1 :]]
                yield f"line {number}, disclosure {at} {how}", put(number, [_line(_unb64u(said["p"]), others)])
        if len(shown) > 1:
            yield f"line {number}, disclosures in another order", put(number, [_line(_unb64u(said["p"]), shown[::-1])])
    yield "lines in another order", b"".join(reversed(lines))
    yield "the last line without its end", raw.removesuffix(b"\n")


def _line(payload: bytes, shown: list[str]) -> bytes:
    return _encoded({"p": _b64u(payload), "d": shown}) + b"\n"


# --- values -----------------------------------------------------------------------------------------------------------


def _members(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every member at every depth, with the way to it."""
    if path:
        yield path, value
    steps: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        steps = value.items()
    elif isinstance(value, list):
        steps = enumerate(value)
    for step, inner in steps:
        yield from _members(inner, (*path, step))


def _other(value: Any) -> Any:
    """A value of the same type that is another one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("y" if value.endswith("x") else "x") if value else "x"
    if isinstance(value, list):
        return value[:-1] if value else ["x"]
    if isinstance(value, dict):
        return dict(list(value.items())[:-1]) if value else {"x": 1}
    return "x"


def _changed(document: Any, path: tuple[str | int, ...], *value: Any) -> Any:
    """A copy with another value at the end of the way, or without one."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    if value:
        inner[path[-1]] = value[0]
    else:
        del inner[path[-1]]
    return copy


def _renamed(document: Any, path: tuple[str | int, ...]) -> Any:
    copy = json.loads(json.dumps(document))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[f"{path[-1]}_"] = inner.pop(path[-1])
    return copy


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64u(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
