"""Whether a batch may be believed (exchange.md §6–7), as far as its manifest and its notes say.

A batch is admitted only if, in this order: it is small enough; its manifest note verifies with pinned keys of the sender; it is
addressed to us; an agreement in force covers its stream and direction; its time is right; it is the next of its stream and names the
manifest we hold as previous; its checkpoint verifies and says the same; each part has the size and digest the manifest says and there is
no other; its lines hash to the root (the last two in `batch_lines.py`). Only then is a record looked at (`records.py`). Until then nothing
of it is believed, and a failure fails the batch as a whole; which answer it gets stands at the end. This room must not look into a part.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import Agreement, Held, Limits, StreamRules
from gateway.core.exchange.manifests import FREE_OF_RATIO, Head, Manifest, ManifestAgreement
from gateway.core.exchange.notes import KeyRing, SignedDocument, read_checkpoint
from gateway.core.exchange.wire import SUITES, Suite, b64, encode, origin, parse_instant, strict_json
from gateway.core.signing import Algorithm


def check_size(manifest: Manifest, limits: Limits) -> None:
    """Step 1, as far as the manifest says it: number and sizes of parts, number of lines.

    Raises ExchangeError SIZE_PARTS, SIZE_LINES, SIZE_BYTES or SIZE_RATIO.
    """
    if len(manifest.parts) > limits.parts:
        raise ExchangeError("more parts than agreed", code="SIZE_PARTS")
    if sum(part.lines for part in manifest.parts) > limits.lines or manifest.lines > limits.lines:
        raise ExchangeError("more lines than agreed", code="SIZE_LINES")
    for part in manifest.parts:
        if part.bytes > limits.part_bytes or part.bytes_raw > limits.part_bytes_raw:
            raise ExchangeError("a part is larger than agreed", code="SIZE_BYTES", place=part.name)
        if part.bytes_raw > FREE_OF_RATIO and part.bytes_raw > part.bytes * limits.ratio:
            raise ExchangeError("a part is compressed further than agreed", code="SIZE_RATIO", place=part.name)


def required_algorithms(rules: StreamRules) -> frozenset[Algorithm]:
    """What the stream's notes must be signed with."""
    return frozenset({SUITES[rules.terms.wire.suite].algorithm, *rules.terms.wire.also_sign})


def _own_time(body: bytes) -> datetime | None:
    try:
        created = strict_json(body).get("created")
        return parse_instant(created, "SCHEMA_MANIFEST") if isinstance(created, str) else None
    except ExchangeError:
        return None


def check_note(
    document: SignedDocument,
    ring: KeyRing,
    *,
    context: str,
    required: frozenset[Algorithm],
    suite: Suite,
    first_seen: datetime,
    skew: timedelta,
) -> None:
    """Step 2: the manifest's note, with keys of the sender, about this batch and these bytes.

    Raises ExchangeError SIG_*.
    """
    notes.verify_document(
        document,
        ring,
        artefact="manifest",
        context=context,
        use="exchange",
        first_seen=first_seen,
        own_time=_own_time(document.body),
        required=required,
        suite=suite,
        skew=skew,
    )


def check_agreement(manifest: Manifest, versions: Sequence[Held], governing: Held | None, rules: StreamRules, now: datetime) -> None:
    """Step 4: an agreement in force covers this stream, direction, suite, format and schema.

    `governing` is the version that was in force at `created` (after the end: the last in force); a batch may name a neighbour of it, where
    the two sides have had the second signature at different moments. It is judged by the rules of `governing` in any case.

    Raises ExchangeError SCOPE_AGREEMENT, SCOPE_DIGEST or SCHEMA_VERSION; SCOPE_AGREEMENT with place `suspended` waits, it is not refused.
    """
    if governing is None or governing.agreement.id != manifest.agreement.id:
        raise ExchangeError("no agreement was in force at `created`", code="SCOPE_AGREEMENT")
    _check_text(manifest.agreement, versions, governing.agreement)
    _check_standing(manifest, versions, governing, now)
    if (manifest.sender, manifest.receiver) != (rules.terms.from_, rules.terms.to):
        raise ExchangeError("the stream goes the other way", code="SCOPE_AGREEMENT")
    if (manifest.suite, manifest.format) != (rules.terms.wire.suite, rules.terms.wire.format):
        raise ExchangeError("another suite or format than agreed", code="SCHEMA_VERSION")
    if not rules.schema_fits(manifest.schema_):
        raise ExchangeError("another schema than agreed", code="SCHEMA_VERSION")


SUSPENDED = "suspended"
"""`place` of an error that waits, for the agreement or a keys document, instead of being refused."""


def _check_text(named: ManifestAgreement, versions: Sequence[Held], governing: Agreement) -> None:
    """The batch names the text in force, or the one before, of which its sender lacks the successor; one that names the next waits."""
    if (named.version, named.digest) == (governing.version, governing.digest):
        return
    held = next((one for one in versions if (one.agreement.version, one.agreement.digest) == (named.version, named.digest)), None)
    if held is not None and held.complete and held.agreement.version == governing.version - 1:
        return
    if held is not None and not held.complete and held.agreement.version == governing.version + 1:
        raise ExchangeError("a signature of this version has not come yet", code="SCOPE_AGREEMENT", place=SUSPENDED)
    raise ExchangeError("another text of the agreement was in force", code="SCOPE_DIGEST")


def _check_standing(manifest: Manifest, versions: Sequence[Held], governing: Held, now: datetime) -> None:
    latest = max((held for held in versions if held.complete), key=lambda held: held.agreement.version, default=governing)
    present = governing.standing(now)
    if present.state == "superseded" and latest.standing(now).state in ("active", "suspended"):
        present = latest.standing(now)
    then = governing.standing(manifest.created_at)
    if present.active and then.state in ("active", "suspended", "superseded"):
        return  # whoever made it meanwhile had not heard of the suspension, or of its end before us: it has waited
    if manifest.only_withdrawals and (governing.takes_withdrawals(now) or latest.takes_withdrawals(now)):
        return
    raise ExchangeError(
        f"the agreement is {present.state}", code="SCOPE_AGREEMENT", place=SUSPENDED if present.state == "suspended" else None
    )


def check_time(manifest: Manifest, *, now: datetime, skew: timedelta, previous_created: datetime | None) -> None:
    """Step 5, judged once, at first sight.

    Raises ExchangeError TIME_FUTURE, TIME_EXPIRED or TIME_ORDER.
    """
    if manifest.created_at > now + skew:
        raise ExchangeError("created lies in the future", code="TIME_FUTURE")
    if parse_instant(manifest.valid_until, "SCHEMA_MANIFEST") < now - skew:
        raise ExchangeError("valid_until is past", code="TIME_EXPIRED")
    if previous_created is not None and manifest.created_at < previous_created - skew:
        raise ExchangeError("created lies before that of the previous batch", code="TIME_ORDER")


def check_sequence(
    manifest: Manifest,
    head: Head | None,
    staged: Head | None = None,
    *,
    refused: int = 0,
    replaced: bool = False,
    whole: bool = False,
) -> None:
    """Step 6: the next batch of its stream, naming the manifest held as previous.

    `staged` is how far the next epoch has come, `refused` the last of those behind the present one that were refused here; `replaced`: that
    the head which it replaces was the one held was found before, and the old epoch has gone on since; `whole`: the last batch of the next
    epoch is here, and waits. A batch of a seq already held reaches this only with another digest.

    Raises ExchangeError SEQ_EPOCH, SEQ_GAP, SEQ_FORK, SEQ_PREVIOUS, SEQ_REPLAY or SEQ_ROOT.
    """
    begins = begins_epoch(manifest.epoch, head, refused=refused)
    place = staged if begins else head
    if begins and staged is not None and staged.seq and manifest.snapshot == "none" and manifest.seq > staged.seq + (0 if whole else 1):
        raise ExchangeError("the new epoch is not whole yet, or not applied", code="SEQ_GAP")
    if begins:
        _check_new_epoch(manifest, None if replaced else head)
    elif manifest.epoch != (head.epoch if head is not None else 1):
        raise ExchangeError("another epoch than the current or the next one", code="SEQ_EPOCH")
    seq, size, digest = (place.seq, place.tree.size, place.manifest_digest) if place is not None else (0, 0, None)
    if manifest.seq > seq + 1:
        raise ExchangeError("a batch before this one is missing", code="SEQ_GAP")
    if manifest.seq <= seq:
        raise ExchangeError("another batch holds this number", code="SEQ_FORK")
    if manifest.previous != digest:
        raise ExchangeError("previous names another manifest than the one held", code="SEQ_PREVIOUS")
    if manifest.range.from_ < size:
        raise ExchangeError("the range begins below the size held", code="SEQ_REPLAY")
    if manifest.range.from_ > size:
        raise ExchangeError("the range begins above the size held", code="SEQ_ROOT")


def begins_epoch(epoch: int, head: Head | None, *, refused: int = 0) -> bool:
    """Whether a batch belongs to the next epoch, or to one behind those that were refused; whoever holds nothing of a stream takes any."""
    if head is None or head.seq == 0:
        return epoch > (head.epoch if head is not None else 1)
    return head.epoch < epoch <= max(head.epoch, refused) + 1


def _check_new_epoch(manifest: Manifest, head: Head | None) -> None:
    if manifest.snapshot == "none":
        raise ExchangeError("a new epoch begins with a snapshot", code="SEQ_EPOCH")
    replaces = manifest.replaces
    if manifest.seq > 1:
        return
    if replaces is None:
        raise ExchangeError("the first batch of an epoch names the head that it replaces", code="SEQ_EPOCH")
    if head is None or head.seq == 0:
        return
    if replaces.origin not in {origin(manifest.sender, manifest.stream, epoch) for epoch in range(head.epoch, manifest.epoch)}:
        raise ExchangeError("the first batch of an epoch names the head that it replaces", code="SEQ_EPOCH")
    if replaces.origin != origin(manifest.sender, manifest.stream, head.epoch):
        return  # of an epoch that was refused here nothing is held that it could contradict
    if replaces.size < head.tree.size or (replaces.size == head.tree.size and replaces.root != b64(head.tree.root())):
        raise ExchangeError("replaces contradicts the head held", code="SEQ_FORK")


def check_checkpoint(
    manifest: Manifest,
    checkpoint: str,
    ring: KeyRing,
    *,
    required: frozenset[Algorithm],
    first_seen: datetime,
    skew: timedelta,
    held_root: bytes | None = None,
) -> None:
    """Step 7: the checkpoint verifies and says what the manifest says.

    `held_root` is the root that we hold for the same size, if we hold one.

    Raises ExchangeError SIG_*, SEQ_ROOT, or SEQ_FORK when another root was well signed for the same size.
    """
    said = read_checkpoint(
        notes.verify(checkpoint, ring, use="exchange", required=required, first_seen=first_seen, own_time=manifest.created_at, skew=skew)
    )
    if said.origin != origin(manifest.sender, manifest.stream, manifest.epoch):
        raise ExchangeError("the checkpoint is of another stream", code="SIG_CONTEXT")
    if held_root is not None and said.size == manifest.tree.size and said.root != held_root:
        raise ExchangeError("two roots for one size, both well signed", code="SEQ_FORK")
    if said.size != manifest.tree.size or b64(said.root) != manifest.tree.root:
        raise ExchangeError("the checkpoint says another head than the manifest", code="SEQ_ROOT")


Answer = Literal["problem", "rejected", "quarantined", "frozen"]


def answer_to(step: int, error: ExchangeError) -> Answer:
    """What a failure of a step is answered with (§6, §7): a receipt of this result, or a problem that moves nothing."""
    code = error.code
    if step == 7:
        return "frozen" if code == "SEQ_FORK" else "problem"
    if step in (1, 2, 8):
        return "problem"
    if code in ("SEQ_FORK", "SEQ_PREVIOUS"):
        return "frozen"
    if code == "SEQ_GAP" or error.place == SUSPENDED:
        return "quarantined"
    return "problem" if code == "TIME_FUTURE" else "rejected"


def fork_evidence(a: tuple[SignedDocument, str], b: tuple[SignedDocument, str]) -> bytes:
    """Both sets of notes as exportable evidence."""

    def side(document: SignedDocument, checkpoint: str) -> dict[str, object]:
        return {"manifest": {"body": document.body.decode(), "note": document.note}, "checkpoint": checkpoint}

    return encode({"type": "chengxin-exchange/fork/1", "a": side(*a), "b": side(*b)})
