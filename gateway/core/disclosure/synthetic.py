"""Synthetic records: what a fixture of `policies/tests/` or the twin says of nobody, as a Record that goes through real views.

Rules: deterministic, for the same values give the same record; free text is redacted as at intake, with what the record says of persons;
the record came in, and was first published, on its day of decision (never after the day it is looked at); our own city asserted it.
Nothing of it is ever stored. This room must not look at what anybody sent.
"""

import hashlib
from base64 import b32encode
from collections.abc import Collection, Mapping
from datetime import date, datetime, time, timedelta
from types import MappingProxyType
from typing import Final, Literal, get_args

from msgspec import structs

from gateway.core.disclosure.pseudonyms import keyed
from gateway.core.disclosure.views import redacted_texts
from gateway.core.records.columns import CLOCKS, SEPARATOR
from gateway.core.records.model import (
    Admitted,
    Dataset,
    LifeDates,
    Record,
    RecordId,
    RecordState,
    SubjectId,
    SubjectKind,
    Unpublished,
    Value,
)
from gateway.core.records.periods import LEGAL_ZONE, derive_severity

RecordFlag = Literal["minor", "repaired", "expired", "disputed", "sealed", "held"]
RECORD_FLAGS: Final[tuple[RecordFlag, ...]] = get_args(RecordFlag)
"""What may be said of a record beside its values (policy.md §6)."""
CITY: Final = "220500"
PARTNER_ORG: Final = "11220600XXT0001186"
"""Operating body of whoever asks in a case: an invented partner."""
_STATES: Final[Mapping[str, RecordState]] = {"repaired": "repaired", "expired": "expired"}
_NO_END: Final = "2099-12-31"


SAMPLE_KEY: Final = keyed(b"synthetic records only")
"""Pseudonyms of a recipient that does not exist, so that cases and the twin show what they look like."""


def noon(day: date) -> datetime:
    """The middle of a legal day: what a case or preview takes for now."""
    return datetime.combine(day, time(12), tzinfo=LEGAL_ZONE)


def synthetic_record(
    dataset: Dataset, kind: SubjectKind, values: Mapping[str, Value], *, at: date, name: str, flags: Collection[RecordFlag] = ()
) -> Record:
    """A record of nobody with these values, as it would stand in the store on a day; `name` makes its ids."""
    dates = life_dates(dataset, values)
    came = min(at, dates.decision or dates.listing or at)
    dates = structs.replace(dates, first_publication_here=came, repair_approved=at if "repaired" in flags else None)
    received = noon(came)
    severity = severity_of(dataset, values)
    code, authority = values.get("authority_code"), values.get("authority")
    admitted = Admitted(
        dataset=dataset.id,
        category=dataset.category,
        kind=kind,
        subject_keys=(),
        business_key=(),
        values=Unpublished(values),
        trust="signed",
        region=CITY,
        dates=dates,
        received_at=received,
        place=name,
    )
    return Record(
        record_id=RecordId(f"rec_{_id('record', name)}"),
        subject_id=SubjectId(f"sub_{_id('subject', name)}"),
        dataset=dataset.id,
        category=dataset.category,
        kind=kind,
        version=1,
        state=next((_STATES[flag] for flag in flags if flag in _STATES), "in_force"),
        hold_code="SUBJ_CONFLICT" if "held" in flags else None,
        trust="signed",
        region=CITY,
        authority_code=code if isinstance(code, str) else None,
        authority_name=authority if isinstance(authority, str) else None,
        dates=dates,
        severity=severity,
        minor="minor" in flags,
        sealed="sealed" in flags,
        dispute_since=noon(at) - timedelta(days=1) if "disputed" in flags else None,
        received_at=received,
        changed_seq=0,
        raw=Unpublished(values),
        texts=MappingProxyType(redacted_texts(admitted, dataset)),
    )


def _id(what: str, name: str) -> str:
    return b32encode(hashlib.sha256(f"synthetic {what} {name}".encode()).digest())[:26].decode().lower()


def life_dates(dataset: Dataset, values: Mapping[str, Value]) -> LifeDates:
    """The days from which clocks run, as intake takes them from the fields; what is no day starts no clock."""
    days: dict[str, date] = {}
    for field, clock in CLOCKS.items():
        text = values.get(field)
        if field in dataset.fields and isinstance(text, str) and text < _NO_END:
            try:
                days[clock] = date.fromisoformat(text)
            except ValueError:
                continue
    return LifeDates(**days)


def severity_of(dataset: Dataset, values: Mapping[str, Value]) -> str | None:
    """As stated, else as it follows from the kinds of penalty; a serious list is serious by law."""
    if dataset.category == "blacklist":
        return "serious"
    if dataset.publish.severity is None:
        return None
    stated, kinds = values.get(dataset.publish.severity), values.get("penalty_type")
    if isinstance(stated, str):
        return stated
    return derive_severity(kinds.split(SEPARATOR)) if isinstance(kinds, str) else None
