"""Keep what nobody signed as it came, signed as received (exchange.md §14): a file without an officer's word for its digest.

Rules: the file is kept when every row of it was judged, in the transaction that ends its ingest, once, sealed, for thirty days; it goes
sooner with any erasure, for nobody knows whom it names. Of some files only our signed note of size and digest is kept: one with a row
that may not be kept at all; one of a dataset about people with any rejected row, for a person whose row was rejected is no subject, and no
erasure could name them; one during whose ingest something was erased; one that is too large. A file whose ingest has not ended is not
kept. A file that an officer confirmed is not kept either: its authority answers for it. This story must not judge a row.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

from msgspec import Struct

from gateway.core.errors import FileRefused
from gateway.core.exchange import notes
from gateway.core.exchange.wire import SHA256, b64, encode
from gateway.core.records.model import Dataset
from gateway.operations.partners import exchange_signers
from gateway.services import Services
from gateway.store import erasures, kept_uploads, lines
from gateway.store.ingests import Ingest
from gateway.store.store import Transaction

KEPT: Final = timedelta(days=30)
LARGEST: Final = 32 * 2**20
"""Bytes of a file that is kept: as large as one over HTTP may be. It is sealed in one piece."""
MAY_NOT_BE_KEPT: Final = frozenset({"LAW_PERSON", "LAW_MINOR", "LAW_PROHIBITED"})


class Upload(Struct, frozen=True, kw_only=True):
    """A file that was judged to its end."""

    size: int
    digest: str
    """As a note names it."""
    data: bytes | None
    """None: its bytes are not kept."""


async def read_upload(dataset: Dataset, path: Path, digest: str, rejected: Iterable[str]) -> Upload:
    """A file to keep, when all its rows were judged, with these codes of rejected ones.

    Raises FileRefused FILE_DIGEST for a file that changed while it was read.
    """
    codes = set(rejected)
    unnamed = codes and any(kind != "legal" for kind in dataset.subject_kinds)
    return await asyncio.to_thread(_read, path, digest, not (unnamed or MAY_NOT_BE_KEPT & codes))


def _read(path: Path, digest: str, wanted: bool) -> Upload:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1) if wanted else None
        if data is not None and len(data) <= LARGEST:
            found, size = sha256(data).hexdigest(), len(data)
        else:
            file.seek(0)
            found, size, data = file_digest(file, "sha256").hexdigest(), file.tell(), None
    if found != digest:
        raise FileRefused("the file changes while it is read", code="FILE_DIGEST", place=path.name, hint="send a file that rests")
    return Upload(size=size, digest=f"{SHA256.digest_name}:{b64(bytes.fromhex(found))}", data=data)


async def keep_upload(services: Services, tx: Transaction, ingested: Ingest, upload: Upload) -> None:
    """Keep the file of an ingest that ends here; of one that was kept before at most less than then.

    Raises SettingsError key-missing, StoreError.
    """
    dataset = ingested.dataset
    if await kept_uploads.is_kept(tx, dataset, ingested.ingest_id):
        if upload.data is None:  # judged again, by other rules
            await kept_uploads.drop_of(tx, dataset, ingested.ingest_id)
        return
    data = upload.data if not await erasures.any_since(tx, ingested.started_at) else None
    line = kept_uploads.name_of(dataset)
    no = await lines.next_reply_no(tx, line)
    body = encode({"type": "chengxin-exchange/received/1", "line": line, "no": no, "digest": upload.digest, "bytes": upload.size})
    document = notes.sign_document("received", f"{line}/{no}", body, exchange_signers(services, tx.now))
    await kept_uploads.keep(tx, dataset, ingested.ingest_id, no, data, document, upload.digest)


async def forget_uploads(services: Services) -> None:
    """Forget the bytes whose time is over.

    Raises StoreError.
    """
    before = services.clock() - KEPT
    if await kept_uploads.any_until(services.store.reads, before):
        async with services.store.transaction() as tx:
            await kept_uploads.drop_until(tx, before)
