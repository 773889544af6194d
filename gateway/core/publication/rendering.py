"""Makes of records what the read model keeps: rendered records and subjects, names, and what each plan set is to be told.

Rules: everything shown comes out of `views.view`; a subject is made of what its records show, new ones and those rendered before.
All but the numbers is made here (`seq` is given when it is told), so that nothing is computed while the store is locked. A View whose
truth has ended already is not shown. The results are plain bytes and texts: no document outlives its encoding.
This room must not write.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from gateway.core.disclosure.plans import Plan, Policies
from gateway.core.disclosure.pseudonyms import keyed
from gateway.core.disclosure.seats import packed
from gateway.core.disclosure.views import View, seat_of, view
from gateway.core.publication.changes import Digests, Told, settled
from gateway.core.publication.documents import head_bytes, instant, record_head, until
from gateway.core.publication.forms import Form, Forms, without
from gateway.core.publication.listings import list_for, listed_on, listing_head, measures_of
from gateway.core.publication.names import index_tokens, place_of, split
from gateway.core.publication.ranges import bits_of, keys_of
from gateway.core.publication.subjects import Statement, SubjectPage, statement_of, subject_page
from gateway.core.records.catalogue import ListDef
from gateway.core.records.model import Record, SubjectKind

Halves = tuple[bytes, bytes]


class Shown(Struct, frozen=True, kw_only=True, gc=False):
    """A record as the public sees it, ready but for its numbers."""

    subject_id: str
    dataset: str
    category: str
    kind: SubjectKind
    list: str | None
    version_seq: int
    valid_from: str
    valid_until: str
    digest: bytes
    amended: str | None
    corrected: str | None
    received_at: str
    region: str
    source: str | None
    severity: str | None
    decision_date: str | None
    published_from: str | None
    listed_on: str | None
    marks: str
    body: bytes
    listing: bytes | None
    flat: Halves
    listing_flat: Halves | None


class ToBeTold(Struct, frozen=True, kw_only=True, gc=False):
    """A record as a bound plan set is told of it."""

    dataset: str
    category: str
    list: str | None
    digest: bytes
    seat: bytes
    """Where it lies, as the plan set's row gates ask it."""
    valid_until: str
    amended: str | None
    corrected: str | None
    received_at: str


class Name(Struct, frozen=True, kw_only=True, gc=False):
    """One name of one organisation, as the index keeps it."""

    place: int
    subject_id: str
    role: str
    shown: str
    name_norm: str
    core: str
    tokens: str


RangeRow = tuple[str, str, str, int]
"""Question, digest, subject, and the bits of its lists."""


class Made(Struct, frozen=True, kw_only=True):
    """What one pass made."""

    shown: Mapping[str, Shown]
    """By record."""
    told: Mapping[str, Mapping[str, ToBeTold]]
    """By plan set and record."""
    subjects: Mapping[str, SubjectPage | None]
    """None: nothing of it is shown."""
    ranges: Sequence[RangeRow]
    """Of subjects that stand on a list: what range look-ups know them by."""


class _Way(NamedTuple):
    """How records of one dataset and kind are told to one bound plan set."""

    plan: Plan
    silent: frozenset[str]
    asked: frozenset[str]
    told: Mapping[str, Told]
    bound: dict[str, ToBeTold]
    """Where what is made is put, by record."""


class Maker:
    """Makes the renderings of one pass: under one policy version, at one moment."""

    def __init__(self, policies: Policies, forms: Sequence[Forms], *, now: datetime, key: bytes, origin: str) -> None:
        self._policies = policies
        self._public = forms[0]
        self._bound = forms[1:]
        self._now = now
        self._now_text = instant(now)
        self._digests = Digests(key)
        self._names = keyed(key)  # of no recipient: what is made of them here are digests alone
        self._origin = origin
        self._listings: dict[tuple[str, ...], ListDef | None] = {}
        """The list, if any, on which records of a dataset, category, kind and trust put their subject."""

    def make(
        self,
        records: Iterable[Record],
        *,
        held: Mapping[str, Told],
        told: Mapping[str, Mapping[str, Told]],
        siblings: Mapping[str, Sequence[Statement]],
    ) -> Made:
        """Everything that follows from these records.

        `held` and `told`: what the public and each bound plan set was told last; `siblings`: by subject, what its other rendered
        records say; every subject that is to be made stands in it.
        """
        shown: dict[str, Shown] = {}
        bound: dict[str, dict[str, ToBeTold]] = {each.name: {} for each in self._bound}
        statements = {subject_id: list(said) for subject_id, said in siblings.items()}
        ways: dict[tuple[str, SubjectKind], tuple[Plan | None, tuple[_Way, ...]]] = {}
        for record in records:
            kind = record.dataset, record.kind
            if kind not in ways:
                ways[kind] = self._public.plan(*kind), tuple(self._ways(*kind, bound, told))
            public, others = ways[kind]
            seen = self._view(public, record) if public is not None else None
            if seen is not None:
                made, statement = self._show(seen, record, held.get(record.record_id))
                shown[record.record_id] = made
                if record.subject_id in statements:
                    statements[record.subject_id].append(statement)
            seats: dict[frozenset[str], bytes] = {}
            for way in others:
                seen = self._view(way.plan, record)
                if seen is not None:
                    seat = seats.get(way.asked)
                    if seat is None:
                        seat = seats[way.asked] = packed(seat_of(record, way.asked))
                    way.bound[record.record_id] = self._tell(seen, record, way, seat)
        searched = searched_of(self._public)
        subjects = {
            subject_id: subject_page(subject_id, said, categories=self._public.categories, searched=searched, origin=self._origin)
            for subject_id, said in statements.items()
        }
        lists = self._policies.catalogue.lists
        ranges = [
            (asked, digest, subject_id, bits)
            for subject_id, page in subjects.items()
            if page is not None and (bits := bits_of(page, lists))
            for asked, digest in keys_of(page)
        ]
        return Made(shown=shown, told=bound, subjects=subjects, ranges=ranges)

    def _ways(
        self, dataset: str, kind: SubjectKind, bound: Mapping[str, dict[str, ToBeTold]], told: Mapping[str, Mapping[str, Told]]
    ) -> Iterator[_Way]:
        for forms in self._bound:
            plan = forms.plan(dataset, kind)
            if plan is not None:
                form = forms.by_dataset[dataset]
                yield _Way(plan, form.silent[kind], form.asked, told[forms.name], bound[forms.name])

    def _view(self, plan: Plan, record: Record) -> View | None:
        seen = view(record, plan, self._policies, self._now, None, keyed=self._names)
        return seen if seen is not None and until(seen.valid_until) > self._now_text else None

    def _listing(self, seen: View) -> ListDef | None:
        about = seen.dataset, seen.category, seen.kind, seen.trust
        if about not in self._listings:
            self._listings[about] = list_for(seen, self._policies.catalogue)
        return self._listings[about]

    def _show(self, seen: View, record: Record, before: Told | None) -> tuple[Shown, Statement]:
        form = self._public.by_dataset[record.dataset]
        silent, unfit = form.silent[record.kind], form.unfit[record.kind]
        state = settled(seen, record.corrected_since, before, public_digest(self._digests, form, record.kind, self._origin))
        seen = state.view
        head = record_head(seen, self._origin)
        body = head_bytes(head.document)
        listing = self._listing(seen)
        listed = listing_head(head, listing, measures_of(seen, self._policies.catalogue)) if listing is not None else None
        made = Shown(
            subject_id=head.subject_id,
            dataset=head.dataset,
            category=head.category,
            kind=head.kind,
            list=None if listing is None else listing.id,
            version_seq=record.changed_seq,
            valid_from=head.valid_from,
            valid_until=head.valid_until,
            digest=self._digests.document(head.document, body, silent),
            amended=state.amended,
            corrected=state.corrected,
            received_at=state.received_at,
            region=head.region,
            source=head.source,
            severity=head.severity,
            decision_date=head.decision_date,
            published_from=head.published_from,
            listed_on=None if listing is None else listed_on(head),
            marks="|".join(head.marks),
            body=body,
            listing=None if listed is None else head_bytes(listed),
            flat=form.table.halves(without(head.document, unfit)),
            listing_flat=None if listed is None else form.listing_table.halves(without(listed, unfit)),
        )
        return made, statement_of(head, made.list)

    def _tell(self, seen: View, record: Record, way: _Way, seat: bytes) -> ToBeTold:
        listing = self._listing(seen)
        digest = self._digests.view(seen, way.silent)
        state = settled(seen, record.corrected_since, way.told.get(record.record_id), lambda _: digest)
        return ToBeTold(
            dataset=record.dataset,
            category=record.category,
            list=None if listing is None else listing.id,
            digest=digest,
            seat=seat,
            valid_until=until(seen.valid_until),
            amended=state.amended,
            corrected=state.corrected,
            received_at=state.received_at,
        )


def searched_of(forms: Forms) -> frozenset[str]:
    """The datasets by whose names organisations may be found."""
    return frozenset(dataset for dataset, form in forms.by_dataset.items() if "legal" in form.searched)


def public_digest(digests: Digests, form: Form, kind: SubjectKind, origin: str) -> Callable[[View], bytes]:
    """How the public's Views of a dataset and kind are digested: by the document that they become."""
    silent = form.silent[kind]

    def digest(seen: View) -> bytes:
        document = record_head(seen, origin).document
        return digests.document(document, head_bytes(document), silent)

    return digest


def name_of(subject_id: str, role: str, shown: str, *, cancelled: bool = False) -> Name:
    """A name made ready for the index."""
    parts = split(shown)
    return Name(
        place=place_of(subject_id, parts.norm, parts.core, cancelled=cancelled),
        subject_id=subject_id,
        role=role,
        shown=shown,
        name_norm=parts.norm,
        core=parts.core,
        tokens=index_tokens(parts),
    )
