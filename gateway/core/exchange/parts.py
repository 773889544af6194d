"""Seal one part in a partner's own format (`part/1`, exchange.md §5), and match what the partner says to its rows.

The leaf is the raw bytes of the part, the range counts parts, `lines` counts rows: sequence and integrity hold as for record lines,
proofs of single records do not exist. The manifest names the line and the digest of its file where others name an agreement. This room
must not know a format, and believes nothing that a partner says beyond which row it means.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import UNSET, Struct

from gateway.adapter_contract import RowResult
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import OPS
from gateway.core.exchange.lines import Line
from gateway.core.exchange.manifests import LIFETIME, Head, Manifest, ManifestAgreement, OpCounts, PartEntry, RangeEntry, TreeEntry
from gateway.core.exchange.merkle import leaf_hash
from gateway.core.exchange.notes import Checkpoint
from gateway.core.exchange.sealing import Sealed, SealedPart
from gateway.core.exchange.wire import SHA256, b64, digest_text, encode, instant, origin
from gateway.core.signing import Signer


def seal_part(
    head: Head,
    line: Line,
    data: bytes,
    counts: Mapping[str, int],
    signers: Sequence[Signer],
    *,
    sender: str,
    schema: str,
    policy_version: int,
    created: datetime,
    plan: str | None = None,
) -> Sealed:
    """The next batch of a line's stream: these bytes, which hold so many rows of each operation."""
    seq, start = head.seq + 1, head.tree.size
    tree = head.tree.copy()
    leaf = leaf_hash(data)
    tree.append(leaf)
    root = tree.root()
    name = f"{head.epoch}-{seq}-000.bin"
    entry = PartEntry(
        name=name,
        bytes=len(data),
        bytes_raw=len(data),
        lines=sum(counts.values()),
        digest=digest_text(data),
        from_=start,
        to=tree.size,
    )
    manifest = Manifest(
        stream=head.stream,
        epoch=head.epoch,
        seq=seq,
        sender=sender,
        receiver=line.terms.partner,
        agreement=ManifestAgreement(id=line.id, version=line.version, digest=line.digest),
        previous=head.manifest_digest,
        replaces=None,
        suite=SHA256.name,
        format="part/1",
        schema_=schema,
        range=RangeEntry(from_=start, to=tree.size),
        tree=TreeEntry(size=tree.size, root=b64(root)),
        counts=OpCounts.of({op: counts.get(op, 0) for op in OPS}),
        parts=(entry,),
        snapshot="none",
        policy_version=policy_version,
        created=instant(created),
        valid_until=instant(created + LIFETIME),
        policy_plan=UNSET if plan is None else plan,
    )
    body = encode(manifest)
    digest = digest_text(body)
    checkpoint = Checkpoint(origin=origin(sender, head.stream, head.epoch), size=tree.size, root=root)
    return Sealed(
        manifest=manifest,
        document=notes.sign_document("manifest", manifest.id, body, signers),
        digest=digest,
        checkpoint=notes.sign(checkpoint.text, signers),
        parts=(SealedPart(name=name, data=data, entry=entry),),
        leaves=(leaf,),
        subtrees=tuple(tree.whole),
        head=Head(stream=head.stream, epoch=head.epoch, seq=seq, tree=tree, manifest_digest=digest),
    )


# --- answers ----------------------------------------------------------------------------------------------------------


class Delivered(Struct, frozen=True, kw_only=True):
    """One row that a partner was given."""

    stream: str
    record_id: str
    v: int
    row: int
    """Its number in its part, from 1."""
    op: str


_NUMBER = re.compile(r"([0-9]{1,9})[^0-9]*\Z")


def matched(
    results: Sequence[RowResult], rows: Sequence[Delivered], *, one_batch: bool
) -> tuple[list[tuple[Delivered, RowResult]], list[RowResult]]:
    """Which row each result is about, and the results that are about none that we know.

    By record and version; without a version the latest; and, of an answer about one batch, by the last number of its place. Row 0 is
    the part as a whole: it is about each row of it.
    """
    by_version = {(each.record_id, each.v): each for each in rows}
    latest: dict[str, Delivered] = {}
    for each in rows:
        if each.record_id not in latest or latest[each.record_id].v < each.v:
            latest[each.record_id] = each
    by_place = {row.row: row for row in rows} if one_batch else {}
    found: list[tuple[Delivered, RowResult]] = []
    strange: list[RowResult] = []
    for result in results:
        row: Delivered | None = None
        if result.record_id is not None:
            row = latest.get(result.record_id) if result.version is None else by_version.get((result.record_id, result.version))
        elif one_batch and (match := _NUMBER.search(result.place)):
            if int(match[1]) == 0:
                found += [(each, result) for each in rows]
                continue
            row = by_place.get(int(match[1]))
        if row is None:
            strange.append(result)
        else:
            found.append((row, result))
    return found, strange
