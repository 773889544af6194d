"""What the program itself writes into documents is held: where it changes, stores of before are rendered again."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256

import msgspec
from msgspec import structs

from gateway.core.disclosure.synthetic import noon
from gateway.core.disclosure.twin import twins
from gateway.core.publication.changes import Told
from gateway.core.publication.forms import WRITTEN, forms_of
from gateway.core.publication.labels import MARKS
from gateway.core.publication.rendering import Maker
from gateway.core.records.model import Recognised, Record, RecordId, SubjectKind
from tests.core.disclosure.making import NOW, TODAY, shipped

HELD = (2, "4e485cc7f2da", "6d3b52dd717d")
"""`WRITTEN`, the beginning of the hash of the public's plans, and of a digest of all that is made of the synthetic twin under them."""
_SINCE = noon(TODAY) - timedelta(days=1)
MARKED: dict[str, Callable[[Record], Record]] = {
    "vouched": lambda record: structs.replace(record, trust="vouched"),
    "another city": lambda record: structs.replace(record, issuer="credit.baishan.example"),
    "disputed": lambda record: structs.replace(record, dispute_since=_SINCE),
    "corrected": lambda record: structs.replace(record, corrected_since=_SINCE),
    "not valid any more": lambda record: structs.replace(record, dates=structs.replace(record.dates, valid_until=_OVER)),
    "recognised": lambda record: structs.replace(record, issuer="credit.baishan.example", recognised=_RECOGNISED),
}
_OVER = TODAY - timedelta(days=2)
_RECOGNISED = Recognised(agreement="agr-1", issuer="credit.baishan.example", effect="display", since=_SINCE, as_of=_SINCE)
_BEFORE = Told(digest=b"", amended=None, corrected=None, received_at="")
"""What everybody was told before: something else."""
KINDS: tuple[SubjectKind, ...] = ("legal", "individual_business", "natural")


def _records() -> Iterator[Record]:
    """The twin of every dataset, and an ordinary record of each with every mark that a record may bear."""
    for dataset in sorted(shipped().catalogue.datasets):
        for kind in KINDS:
            for twin in twins(shipped(), dataset, kind, TODAY, "publication"):
                yield twin.record
                if twin.case == "ordinary":
                    for mark, change in MARKED.items():
                        own = sha256(f"{twin.record.record_id} {mark}".encode()).hexdigest()[:26]
                        yield structs.replace(change(twin.record), record_id=RecordId(f"rec_{own}"))


def test_how_documents_are_written_has_a_number() -> None:
    """Another document of a record under the same plans needs another `WRITTEN`; under other plans only what is held here changes."""
    forms = forms_of(shipped(), "public", "open.read")
    maker = Maker(shipped(), [forms], now=NOW, key=bytes(32), origin="https://credit.tonghua.example")
    records = list(_records())
    held = {record.record_id: _BEFORE for record in records if record.corrected_since is not None}
    made = maker.make(records, held=held, told={}, siblings={record.subject_id: () for record in records})
    marks = {mark for each in made.shown.values() for mark in each.marks.split("|")}
    assert marks == {"", *MARKS} - {"held"}, "which the subject alone sees"
    said = sha256(msgspec.msgpack.encode([sorted(made.shown.items()), sorted(made.subjects.items()), sorted(made.ranges)])).hexdigest()
    now = WRITTEN, forms.plan_hash[:12], said[:12]
    advice = "renew what is held here" if now[1] != HELD[1] else "raise forms.WRITTEN, then renew what is held here"
    assert now == HELD, advice
