"""JSON bodies, strictly: what a path does not know is refused, nothing stands twice, and every fault is told with its place.

Rules: a fault names a place of ours (RFC 6901) and never a name or value that was sent; who sends a member that is unknown learns in
which object. This room must not know what a body is about.
"""

import itertools
import json
import re
from collections.abc import Collection, Hashable
from functools import cache
from typing import Any, Final, NoReturn, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec

from gateway.core.callers.compact import Malformed, strict_json, unkeepable
from gateway.core.errors import BodyInvalid, ErrorItem
from gateway.web.describe import AnyRequest
from gateway.web.negotiation import JSON, header
from gateway.web.problems import Refusal

Shape = TypeVar("Shape")
FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 16
_SMALL: Final = 32 * 1024
"""Bytes of JSON that are looked at strictly whatever they are: some ten milliseconds at most."""

_PLACE: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]+)\]")
_MISSING: Final = re.compile(r"^Object missing required field `([a-z_]+)`")
_NUMBERED: Final = re.compile(r"q[0-9]{1,9}")
"""Names of queries that may be repeated in a fault."""
_LONGEST_NAME: Final = 64
_UNKNOWN: Final = "Object contains unknown field"


class _Twice(dict[str, Any]):
    """An object in which a name stood twice."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    return found if len(found) == len(members) else _Twice(found)


def _no_constant(_: str) -> NoReturn:
    raise ValueError


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


async def json_body(request: AnyRequest, shape: type[Shape]) -> Shape:
    """The body of a request as a shape of ours.

    Raises Refusal unsupported-media-type, BodyInvalid with the place.
    """
    fields = list(request.scope["headers"])
    if header(fields, b"content-type").partition(b";")[0].strip().lower() != JSON.encode() or header(fields, b"content-encoding"):
        raise Refusal("unsupported-media-type")
    return read_json(await request.body(), shape)


async def small_body(request: AnyRequest, shape: type[Shape], *, most: int) -> Shape:
    """A body of so many bytes at most of which nothing is told, not even where its fault is: what it says is about somebody.

    Raises Refusal unsupported-media-type or body-too-large, BodyInvalid.
    """
    fields = list(request.scope["headers"])
    if header(fields, b"content-type").partition(b";")[0].strip().lower() != JSON.encode() or header(fields, b"content-encoding"):
        raise Refusal("unsupported-media-type", acceptable=(JSON,))
    size, chunks = 0, []
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise Refusal("body-too-large")
        chunks.append(chunk)
    raw = b"".join(chunks)
    try:
        found = strict_json(raw)
        if unkeepable(raw, found) is not None:
            raise BodyInvalid
        return msgspec.convert(found, shape)
    except (Malformed, msgspec.ValidationError):
        raise BodyInvalid from None


async def form_body(request: AnyRequest, known: Collection[str]) -> dict[str, str]:
    """The fields of a form, each once and each known.

    Raises Refusal unsupported-media-type, BodyInvalid with the place.
    """
    fields = list(request.scope["headers"])
    kind, _, words = header(fields, b"content-type").partition(b";")
    plain = kind.strip().lower() == FORM.encode() and words.strip().lower() in (b"", b"charset=utf-8")
    if not plain or header(fields, b"content-encoding"):
        raise Refusal("unsupported-media-type", acceptable=(FORM,))
    try:
        pairs = parse_qsl((await request.body()).decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:  # also UnicodeDecodeError
        raise _fault("form", "应为 UTF-8 百分号编码的表单", "") from None
    found = dict(pairs)
    if any(name not in known for name in found):
        raise _fault("unknown", "含有不认识的名称", "")
    if len(found) != len(pairs):
        raise _fault("repeated", "同一名称出现两次", "")
    return found


def read_json(raw: bytes, shape: type[Shape]) -> Shape:
    """Bytes as a shape of ours.

    Raises BodyInvalid with the place.
    """
    if len(raw) > _SMALL:  # what is large and of another shape never gets to the slow look
        try:
            msgspec.json.decode(raw, type=shape)
        except msgspec.ValidationError as error:
            raise _told(str(error)) from None
        except (ValueError, RecursionError):
            raise _fault("json", "应为 UTF-8 的 JSON", "") from None
    try:
        found: Any = _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError):  # also UnicodeDecodeError, and digits beyond Python's limit
        raise _fault("json", "应为 UTF-8 的 JSON", "") from None
    known = _names(cast(Hashable, shape))
    broken = unkeepable(raw, found)
    if broken is not None:
        ours = itertools.takewhile(lambda step: isinstance(step, int) or step in known, broken)
        raise _fault("invalid", "文本中有 U+0000 或半个代理对", "".join(f"/{step}" for step in ours))
    twice = _first_twice(found, known)
    if twice is not None:
        raise _fault("repeated", "同一名称在对象中出现两次", twice)
    try:
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        raise _told(str(error)) from None


def read_members(raw: bytes, shape: type[Shape], *, most: int) -> dict[str, Shape]:
    """Bytes as an object of so many members at most, each of one shape, under names that the sender chose.

    Raises BodyInvalid with the place, as far as it may be named: a name of another form than `q0` ends it.
    """
    members = read_json(raw, dict[str, Any])
    if len(members) > most:
        raise _fault("invalid", f"一次最多 {most} 个", "")
    found: dict[str, Shape] = {}
    for name, value in members.items():
        if len(name) > _LONGEST_NAME:
            raise _fault("invalid", f"名称至多 {_LONGEST_NAME} 个字符", "")
        try:
            found[name] = msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            raise _told(str(error), f"/{name}" if _NUMBERED.fullmatch(name) else None) from None
    return found


@cache
def _names(shape: Any) -> frozenset[str]:
    """Every name that stands in a shape or in what it holds."""
    _, components = msgspec.json.schema_components([shape])
    return frozenset(name for component in components.values() for name in component.get("properties", ()))


def _first_twice(found: Any, known: frozenset[str]) -> str | None:
    """Where the first object stands that has a name twice; a place ends before a name that is not ours."""
    waiting: list[tuple[str, Any]] = [("", found)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _Twice):
            return place
        if isinstance(value, list):
            waiting += [(f"{place}/{index}", each) for index, each in reversed(list(enumerate(value)))]
        elif isinstance(value, dict):
            waiting += [(f"{place}/{name}" if name in known else place, each) for name, each in reversed(value.items())]
    return None


def _told(text: str, inside: str | None = "") -> BodyInvalid:
    """A fault with its place inside another one; None: what is outside may not be named, so nothing within it is."""
    place = _PLACE.search(text)
    pointer = "".join(f"/{name or index}" for name, index in _STEP.findall(place.group(1))) if place else ""
    if inside is None:
        return _fault("invalid", "类型或取值不符", "")
    pointer = inside + pointer
    missing = _MISSING.match(text)
    if missing:
        return _fault("required", "缺少必填项", f"{pointer}/{missing.group(1)}")
    if text.startswith(_UNKNOWN):
        return _fault("unknown", "含有不认识的名称", pointer)
    return _fault("invalid", "类型或取值不符", pointer)


def _fault(code: str, detail: str, pointer: str) -> BodyInvalid:
    return BodyInvalid(detail, errors=(ErrorItem(code, detail, pointer=pointer),))
