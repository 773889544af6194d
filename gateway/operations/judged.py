"""What a line of a partner's batch came to: the words between whoever judges lines and whoever applies them."""

from collections.abc import Mapping

from msgspec import Struct

from gateway.core.exchange.judging import Finding, Judged, KnownRecord
from gateway.core.records.model import Admitted
from gateway.operations.accept_records import Texts


class JudgedLine(Struct, frozen=True, gc=False, kw_only=True):
    """One judged line and, if it goes on, what intake made of it."""

    index: int
    leaf: bytes
    payload: bytes
    judged: Judged
    admitted: Admitted | None
    findings: tuple[Finding, ...]


class Chunk(Struct, frozen=True, kw_only=True):
    """Some lines, no two about one record, judged against what we held of them."""

    lines: tuple[JudgedLine, ...]
    rids: tuple[str, ...]
    known: Mapping[str, KnownRecord]
    texts: tuple[Texts, ...]
