"""After every step of an exchange test, check the whole: numbers, signatures over stored bytes, trees, receipts (`check_ledger`)."""

import msgspec
import sqlalchemy as sa

from gateway.core.exchange import feedback, notes
from gateway.core.exchange.admitting import required_algorithms
from gateway.core.exchange.agreements import rules_of
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import SignedDocument, read_checkpoint
from gateway.core.exchange.wire import SUITES, Suite, b64, batch_id, digest_text, origin, split_stream
from gateway.operations.partners import every_key
from gateway.services import Services
from gateway.store import audit_log, held_agreements, inbox
from gateway.store.store import moment
from gateway.store.tables import (
    in_batches,
    in_parts,
    in_records,
    out_batches,
    out_leaves,
    out_parts,
    out_records,
    out_streams,
    out_subtrees,
    receipts,
    records,
)


async def check_ledger(services: Services) -> None:
    """Every sequence is dense, every stored signature verifies over the stored bytes, every tree has its root, every receipt its batch."""
    reads = services.store.reads
    held = {name: versions[-1] for name, versions in (await held_agreements.held_agreements(reads)).items()}
    assert await audit_log.first_broken(reads) is None
    await _check_out(services, held)
    await _check_in(services, held)


def _suite_of(held, stream: str, sender: str) -> tuple[Suite, frozenset]:
    """The suite of a stream as the newest version says, and the algorithms of its notes."""
    _, dataset = split_stream(stream)
    rules = rules_of(held.agreement, dataset, sender)
    return SUITES[rules.terms.wire.suite], required_algorithms(rules)


async def _check_out(services, held):
    reads = services.store.reads
    for stream in await reads.all(sa.select(out_streams)):
        agreement = held[split_stream(stream.stream)[0]]
        ours = await every_key(reads, agreement, services.signers.party)
        rows = await reads.all(
            sa.select(out_batches)
            .where(out_batches.c.stream == stream.stream, out_batches.c.epoch == stream.epoch)
            .order_by(out_batches.c.seq)
        )
        assert [row.seq for row in rows] == list(range(1, stream.seq + 1)), "batches are dense"
        leaves = await reads.all(
            sa.select(out_leaves).where(out_leaves.c.stream == stream.stream, out_leaves.c.epoch == stream.epoch).order_by(out_leaves.c.idx)
        )
        assert [leaf.idx for leaf in leaves] == list(range(stream.size)), "leaves are dense"
        suite, required = _suite_of(agreement, stream.stream, services.signers.party)
        signed = {"required": required, "suite": suite}
        tree, previous = CompactRange(suite), None
        for row in rows:
            manifest = read_manifest(row.manifest)
            assert digest_text(row.manifest, suite) == row.manifest_digest
            assert manifest.previous == previous
            assert manifest.range.from_ == tree.size
            tree.extend(leaf.leaf for leaf in leaves[manifest.range.from_ : manifest.range.to])
            assert (manifest.tree.size, manifest.tree.root) == (tree.size, b64(tree.root()))
            context = batch_id(services.signers.party, stream.stream, stream.epoch, row.seq)
            notes.verify_document(
                SignedDocument(row.manifest, row.note),
                ours,
                artefact="manifest",
                context=context,
                use="exchange",
                **signed,
                first_seen=moment(row.created),
            )
            said = read_checkpoint(
                notes.verify(row.checkpoint, ours, use="exchange", required=required, first_seen=moment(row.created))
            )
            assert (said.origin, said.size, said.root) == (
                origin(services.signers.party, stream.stream, stream.epoch),
                tree.size,
                tree.root(),
            )
            previous = row.manifest_digest
            if row.state in ("acked", "nacked"):
                assert row.receipt is not None, "an acknowledged batch has its receipt"
        assert stream.manifest_digest == previous
        assert CompactRange.load(tree.suite, stream.size, stream.range).root() == tree.root()
        finished = await reads.all(
            sa.select(out_subtrees).where(out_subtrees.c.stream == stream.stream, out_subtrees.c.epoch == stream.epoch)
        )
        assert {(each.level, each.number, each.hash) for each in finished} == set(tree.whole), "complete subtrees stand beside the leaves"
        for record in await reads.all(
            sa.select(out_records).where(out_records.c.stream == stream.stream, out_records.c.epoch == stream.epoch)
        ):
            assert leaves[record.idx].record_id == record.record_id
        parts = {(part.epoch, part.name) for part in await reads.all(sa.select(out_parts).where(out_parts.c.stream == stream.stream))}
        for row in rows:
            if row.state not in ("acked", "nacked", "superseded"):
                assert {(row.epoch, part.name) for part in read_manifest(row.manifest).parts} <= parts, "what may go again is kept"


async def _check_in(services, held):
    reads = services.store.reads
    for stream in await inbox.in_streams_all(reads):
        agreement = held[split_stream(stream.stream)[0]]
        ours = await every_key(reads, agreement, services.signers.party)
        theirs = await every_key(reads, agreement, stream.sender)
        suite, required = _suite_of(agreement, stream.stream, stream.sender)
        signed = {"required": required, "suite": suite}
        given = await reads.all(
            sa.select(receipts).where(receipts.c.sender == stream.sender, receipts.c.stream == stream.stream).order_by(receipts.c.no)
        )
        if stream.first_epoch is None:  # else some are lost: with the sender, and not here
            assert [row.no for row in given] == list(range(1, stream.receipt_no + 1)), "receipts are dense"
        batches = await reads.all(sa.select(in_batches).where(in_batches.c.sender == stream.sender, in_batches.c.stream == stream.stream))
        of_digest = {row.manifest_digest: row for row in batches}
        previous = None
        for row in given:
            receipt = feedback.read_receipt(row.body)
            if stream.first_epoch is None or row.no - 1 in {each.no for each in given}:
                assert receipt.previous == previous, "receipts are chained"
            notes.verify_document(
                SignedDocument(row.body, row.note),
                ours,
                artefact="receipt",
                context=f"{stream.stream}/{stream.sender}/{row.no}",
                use="exchange",
                **signed,
                first_seen=moment(receipt.decided_at),
            )
            assert receipt.batch is None or receipt.batch.manifest in of_digest, "a receipt has its batch"
            assert (receipt.batch is None) == (receipt.kind == "later")
            feedback.read_feedback(row.feedback, receipt.feedback, suite)
            previous = digest_text(row.body, suite)
        if stream.first_epoch is None or (given and given[-1].no == stream.receipt_no):
            assert stream.receipt_digest == previous
        present = [row for row in batches if row.epoch == stream.epoch]
        applied = sorted((row for row in present if row.state in ("applied", "partial")), key=lambda row: row.seq)
        assert [row.seq for row in applied] == list(range(1, stream.seq + 1)), "applied batches are dense"
        size = 0
        for row in batches:
            notes.verify_document(
                SignedDocument(row.manifest, row.note),
                theirs,
                artefact="manifest",
                context=batch_id(stream.sender, stream.stream, row.epoch, row.seq),
                use="exchange",
                **signed,
                first_seen=moment(row.first_seen),
            )
            assert digest_text(row.manifest, suite) == row.manifest_digest
            if row.state != "fetching":
                assert row.receipt_no is not None
        for row in applied:
            manifest = read_manifest(row.manifest)
            assert manifest.range.from_ == size
            size = manifest.range.to
        assert stream.size == size
        if applied:
            assert stream.root == read_manifest(applied[-1].manifest).tree.root
            assert stream.manifest_digest == applied[-1].manifest_digest
        else:
            assert stream.size == 0
        waiting = {row.manifest_digest for row in batches if row.state in ("fetching", "quarantined", "held", "staged")}
        kept = {
            row.manifest_digest for row in await reads.all(sa.select(in_parts.c.manifest_digest).where(in_parts.c.stream == stream.stream))
        }
        assert kept <= waiting, "parts of decided batches are not kept"
    for row in await reads.all(sa.select(in_records)):
        record = await reads.one(sa.select(records.c.state, records.c.issuer).where(records.c.record_id == row.record_id))
        if row.op in ("assert", "amend"):
            assert record is not None
            assert record.issuer == row.sender
            assert msgspec.json.decode(row.payload)["rid"] == row.record_id
        elif record is not None:
            assert record.state not in ("in_force", "held"), "what was withdrawn is in force nowhere"
