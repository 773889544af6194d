"""One subject made from its records at this moment: for bound tiers, and for the public where its rendering is stale.

Rules: every record is decrypted only as far as the caller's plans need, and shown only through its View; nothing is written. The bytes
are those that a rendering of the same state would have. This story must not be asked for many subjects at once.
"""

from gateway.core.publication.documents import statement_of, subject_bytes, subject_page
from gateway.core.records.model import SubjectId
from gateway.operations import walking
from gateway.operations.answering import Scene
from gateway.store import feed
from gateway.store.records import load
from gateway.store.store import Row


async def live_subject(scene: Scene, row: Row) -> tuple[bytes, str] | None:
    """The subject document and the end of its truth; None when nothing of it is shown to this caller."""
    reads = scene.services.store.reads
    records = await load(reads, subject=SubjectId(row.subject_id), fields=walking.fields_of(scene))
    seen = await walking.seen_now(scene, records)
    statements = [statement_of(each.head) for each in seen.values()]
    latest = await feed.latest_of(reads, scene.forms.name, list(seen))
    page = subject_page(row.subject_id, statements, categories=scene.forms.categories, origin=scene.origin)
    if page is None:
        return None
    seq = max(latest.values(), default=0)
    if scene.public and row.body is not None:  # a removal does not move the sequence of its subject
        seq = max(seq, int(row.seq))
    return subject_bytes(page.head, seq=seq, policy_version=scene.forms.version, uri=page.uri), page.valid_until
