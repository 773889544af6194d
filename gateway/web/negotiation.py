"""What a request's headers ask for: language and media type, by RFC 9110 with q-values.

Rules: nothing acceptable is an error (406), never another format; an unreadable header field counts as absent, because
proxies damage them and the answer without it is always a right one. Results are remembered by header bytes, for the same
few values come millions of times. This room must not look at paths or callers.
"""

from functools import lru_cache
from typing import Literal

Language = Literal["zh-CN", "en"]
Coding = Literal["zstd", "gzip"]
LANGUAGES: tuple[Language, ...] = ("zh-CN", "en")

_BY_PRIMARY: dict[str, Language] = {"zh": "zh-CN", "en": "en"}

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PARQUET = "application/vnd.apache.parquet"
MSGPACK = "application/vnd.msgpack"
EVENTS = "text/event-stream"
ATOM = "application/atom+xml"
JSON_FEED = "application/feed+json"
PROBLEM = "application/problem+json"
HTML = "text/html"
YAML = "application/yaml"
JSON_LD = "application/ld+json"
TURTLE = "text/turtle"
RDF_XML = "application/rdf+xml"
OPENAPI = "application/vnd.oai.openapi+json"


def _weighted(field: bytes) -> list[tuple[str, float]]:
    """The members of a list field with their q-values, in order of appearance; unreadable ones are left out."""
    members: list[tuple[str, float]] = []
    for part in field.decode("latin-1").split(","):
        value, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if not value:
            continue
        q = 1.0
        for parameter in parameters:
            name, _, text = parameter.partition("=")
            if name.strip() == "q":
                try:
                    q = float(text)
                except ValueError:
                    q = -1.0
        if 0.0 <= q <= 1.0:
            members.append((value, q))
    return members


@lru_cache(1024)
def language_of(field: bytes) -> Language:
    """The answer's language for an `Accept-Language` field; zh-CN unless English is preferred."""
    best: dict[Language, float] = {}
    for tag, q in _weighted(field):
        language = _BY_PRIMARY.get(tag.partition("-")[0])
        if language is not None:
            best[language] = max(q, best.get(language, 0.0))
    return "en" if best.get("en", 0.0) > best.get("zh-CN", 0.0) else "zh-CN"


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """How much a media type is wanted: the most specific range that matches decides (RFC 9110 §12.5.1)."""
    kind = offer.partition("/")[0]
    found = {"exact": -1.0, "type": -1.0, "any": -1.0}
    for media, q in ranges:
        if media == offer:
            found["exact"] = max(q, found["exact"])
        elif media == f"{kind}/*":
            found["type"] = max(q, found["type"])
        elif media == "*/*":
            found["any"] = max(q, found["any"])
    return next((q for q in found.values() if q >= 0.0), 0.0)


@lru_cache(1024)
def media_type_of(field: bytes, offers: tuple[str, ...]) -> str | None:
    """The offer that an `Accept` field wants most, None if it wants none; equal wishes go by the order of the offers."""
    ranges = _weighted(field)
    if not ranges:
        return offers[0]
    best, best_q = None, 0.0
    for offer in offers:
        q = _quality(offer, ranges)
        if q > best_q:
            best, best_q = offer, q
    return best


@lru_cache(1024)
def accepts_coding(field: bytes, coding: str) -> bool:
    """Whether an `Accept-Encoding` field allows a content coding; `gzip;q=0` is a no."""
    weights = dict(_weighted(field))
    return weights.get(coding, weights.get("*", 0.0)) > 0.0


CODINGS: tuple[Coding, ...] = ("zstd", "gzip")
"""What we compress with, the better one first."""


@lru_cache(1024)
def coding_of(field: bytes) -> Coding | None:
    """The content coding that an `Accept-Encoding` field wants most; None: as it is."""
    weights = dict(_weighted(field))
    anything = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, anything))
    wanted = weights.get(best, anything)
    return best if wanted > 0.0 and wanted >= weights.get("identity", 0.0) else None


def header(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The value of a request header field, several lines joined by a comma; empty if absent."""
    found = b""
    seen = False
    for key, value in headers:
        if key == name:
            found = found + b"," + value if seen else value
            seen = True
    return found
