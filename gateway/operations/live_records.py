"""Records and subjects made at this moment: for bound tiers, and for the public where a rendering is stale.

Rules: every record is decrypted only as far as the caller's plans need; the gates of a bound caller stand in the statement that loads
it and are asked again in its View, through which alone it is shown, with the receipt and
correction that its plan set may know; nothing is written. The bytes are those that a rendering of the same state would have. Of many
subjects so many are made at once as one breath of the loop has room for. This room must not choose whom it is asked for.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Final

from msgspec import Struct, structs

from gateway.core.disclosure.plans import Mode
from gateway.core.disclosure.pseudonyms import Keyed, keyed
from gateway.core.disclosure.views import View, view
from gateway.core.publication.changes import Digests, Told, settled
from gateway.core.publication.documents import Head, head_bytes, record_bytes, record_head, until, with_salt
from gateway.core.publication.forms import forms_of
from gateway.core.publication.listings import list_for, listing_head, measures_of
from gateway.core.publication.rendering import public_digest, searched_of
from gateway.core.publication.subjects import Statement, SubjectPage, statement_of, subject_bytes, subject_page
from gateway.core.records.model import Record, RecordId, SubjectId
from gateway.operations.answering import Scene
from gateway.operations.pseudonym_keys import pseudonyms_for
from gateway.operations.reaching import Gates, columns_of, texts_of
from gateway.store import feed, renderings, transparency
from gateway.store.records import load
from gateway.store.store import Row


class Seen(Struct, frozen=True):
    """A record as the caller sees it at this moment."""

    view: View
    head: Head


async def seen_now(scene: Scene, records: Sequence[Record]) -> dict[str, Seen]:
    """These records as the caller may see them at this moment, with the receipt and correction that its plan set may know."""
    views: list[tuple[Record, View]] = []
    names = None if scene.public else pseudonyms_for(scene.services.store.vault, scene.caller.org, scene.caller.purpose, scene.now)
    for record in records:
        seen = _seen(scene, record, names)
        if seen is not None and until(seen.valid_until) > scene.now_text:
            views.append((record, seen))
    if not views:
        return {}
    reads, ids = scene.services.store.reads, [record.record_id for record, _ in views]
    rows = await (renderings.held(reads, ids) if scene.public else renderings.told(reads, scene.forms.name, ids))
    before = renderings.told_of(rows)
    digests = Digests(scene.services.store.vault.key("feed-digest"))
    found: dict[str, Seen] = {}
    for record, seen in views:
        told = before.get(record.record_id)
        shown = settled(seen, record.corrected_since, told, _digest(scene, digests, seen, record, told)).view
        found[record.record_id] = Seen(shown, record_head(shown, scene.origin))
    return found


def _seen(scene: Scene, record: Record, names: Keyed | None) -> View | None:
    """The record as the caller sees it: of several grants the first by id that reaches it shows it."""
    if scene.public:
        plan = scene.forms.plan(record.dataset, record.kind)
        return view(record, plan, scene.policies, scene.now) if plan is not None else None
    for reach in scene.forms.reaches.get(record.dataset, ()):
        plan = reach.plan_set.plans.get(record.kind)
        seen = view(record, plan, scene.policies, scene.now, reach.attributes, keyed=names) if plan is not None else None
        if seen is not None:
            return seen
    return None


def _digest(scene: Scene, digests: Digests, seen: View, record: Record, told: Told | None) -> Callable[[View], bytes]:
    """What tells whether the plan set sees other words than it was told last."""
    forms = forms_of(scene.policies, scene.forms.tier, scene.forms.purpose)
    form = forms.by_dataset[record.dataset]
    if scene.public:
        return public_digest(digests, form, record.kind, scene.origin)
    plan = forms.plan(record.dataset, record.kind)
    if told is not None and plan is not None and plan.plan_hash != seen.plan_hash:
        return lambda _: told.digest  # narrower than what the digest is of: the reader decides, as soon as it has seen the change
    silent = form.silent[record.kind]
    if plan is None or not any(step.mode == Mode.PSEUDONYM for step in plan.steps):
        return partial(digests.view, silent=silent)

    def nobodys(shown: View) -> bytes:
        """What is remembered has the pseudonyms of no recipient."""
        key = scene.services.store.vault.key("feed-digest")
        same = view(record, plan, scene.policies, scene.now, None, keyed=keyed(key))
        return digests.view(shown if same is None else structs.replace(shown, fields=same.fields, treatments=same.treatments), silent)

    return nobodys


async def live(
    scene: Scene, record_ids: Sequence[str], *, listing: bool = False, seqs: Mapping[str, int] | None = None
) -> dict[str, bytes]:
    """These records as the caller may see them at this moment, made from the records themselves; a hidden one is absent."""
    if not record_ids:
        return {}
    reads = scene.services.store.reads
    known = await feed.latest_of(reads, scene.forms.name, record_ids) if seqs is None else seqs
    ids = [RecordId(each) for each in record_ids]
    records = await load(reads, ids=ids, fields=fields_of(scene), texts=texts_of(scene.forms), gates=gates_in(scene))
    salts = await transparency.salts(reads, record_ids) if listing and scene.public else {}
    found: dict[str, bytes] = {}
    for record_id, seen in (await seen_now(scene, records)).items():
        document = seen.head.document
        if listing:
            held = list_for(seen.view, scene.policies.catalogue)
            if held is None:
                continue
            document = listing_head(seen.head, held, measures_of(seen.view, scene.policies.catalogue))
        found[record_id] = record_bytes(
            head_bytes(document), seq=known.get(record_id, 0), policy_version=scene.forms.version, origin=scene.origin, record_id=record_id
        )
        if record_id in salts:
            found[record_id] = with_salt(found[record_id], salts[record_id], origin=scene.origin, record_id=record_id)
    return found


async def shown(scene: Scene, records: Sequence[Record]) -> list[bytes]:
    """The documents of loaded records of a bound caller, by id; as many statements for none as for some."""
    seen = await seen_now(scene, records) if records else {}
    ids: list[str] = [record.record_id for record in records] or [""]
    if not records:
        await renderings.told(scene.services.store.reads, scene.forms.name, ids)
    known = await feed.latest_of(scene.services.store.reads, scene.forms.name, ids)
    return [
        record_bytes(
            head_bytes(each.head.document),
            seq=known.get(record_id, 0),
            policy_version=scene.forms.version,
            origin=scene.origin,
            record_id=record_id,
        )
        for record_id, each in sorted(seen.items())
    ]


def fields_of(scene: Scene, dataset: str | None = None) -> frozenset[str]:
    """What the caller's plans and gates ask for; nothing else leaves the database, nor is it decrypted."""
    return columns_of(scene.forms, dataset)


def gates_in(scene: Scene) -> Gates | None:
    """What a caller reaches, for the statements that load records; the public reaches whatever its Views show."""
    return None if scene.public else scene.gates


PORTION: Final = 20
"""Subjects whose records are read with one statement."""


async def live_page(scene: Scene, subject_id: str) -> SubjectPage | None:
    """A subject as the caller may see it at this moment, with its lists, and the names by which everybody may find it."""
    pages = await _pages_and_records(scene, [subject_id], searched=searched_of(scene.forms))
    return pages[subject_id][0]


async def _pages_and_records(
    scene: Scene, ids: Sequence[str], *, searched: Container[str] = ()
) -> dict[str, tuple[SubjectPage | None, list[str]]]:
    """Each of these subjects as it is shown, and the ids of its records that are."""
    one = SubjectId(ids[0]) if len(ids) == 1 else None
    records = await load(
        scene.services.store.reads,
        subject=one,
        subjects=None if one is not None else [SubjectId(each) for each in ids],
        fields=fields_of(scene),
        texts=texts_of(scene.forms),
        gates=gates_in(scene),
    )
    seen = await seen_now(scene, records)
    statements: dict[str, list[Statement]] = {each: [] for each in ids}
    shown: dict[str, list[str]] = {each: [] for each in ids}
    for record in records:
        each = seen.get(record.record_id)
        if each is not None:
            listing = list_for(each.view, scene.policies.catalogue)
            statements[record.subject_id].append(statement_of(each.head, None if listing is None else listing.id))
            shown[record.subject_id].append(record.record_id)
    categories, origin = scene.forms.categories, scene.origin
    return {
        each: (subject_page(each, statements[each], categories=categories, searched=searched, origin=origin), shown[each]) for each in ids
    }


async def live_subject(scene: Scene, row: Row) -> tuple[bytes, str] | None:
    """The subject document and the end of its truth; None when nothing of it is shown to this caller."""
    return (await live_subjects(scene, [row])).get(row.subject_id)


async def live_subjects(scene: Scene, rows: Sequence[Row]) -> dict[str, tuple[bytes, str]]:
    """The same of at most a `PORTION` of subjects, by id; who is not in it is not shown."""
    if not rows:
        return {}
    pages = await _pages_and_records(scene, [row.subject_id for row in rows])
    latest = await feed.latest_of(
        scene.services.store.reads, scene.forms.name, [record_id for _, shown in pages.values() for record_id in shown]
    )
    found: dict[str, tuple[bytes, str]] = {}
    for row in rows:
        page, shown = pages[row.subject_id]
        if page is None:
            continue
        seq = max((latest[record_id] for record_id in shown if record_id in latest), default=0)
        if scene.public and row.body is not None:  # a removal does not move the sequence of its subject
            seq = max(seq, int(row.seq))
        found[row.subject_id] = (
            subject_bytes(page.head, seq=seq, policy_version=scene.forms.version, uri=page.uri), page.valid_until,
        )  # fmt: skip
    return found
