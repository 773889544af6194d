"""Keep what nobody signed as it came, signed as received (exchange.md §14): a file without an officer's word for its digest.

Rules: the file stands sealed before its first row does, once for its ingest, for thirty days. It goes sooner with any erasure, for nobody
knows whom it names, and as soon as it is read when a row of it is about somebody, or says something, that may not be kept at all. What
stays is our signed note of its digest. A file that an officer confirmed is not kept: its authority answers for it. This story must not
judge a row.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from gateway.core.errors import FileRefused
from gateway.core.exchange import notes
from gateway.core.exchange.wire import digest_text, encode
from gateway.operations.partners import exchange_signers
from gateway.services import Services
from gateway.store import kept_uploads, lines
from gateway.store.ingests import Ingest

KEPT: Final = timedelta(days=30)
MAY_NOT_BE_KEPT: Final = frozenset({"LAW_PERSON", "LAW_MINOR", "LAW_PROHIBITED"})


async def keep_upload(services: Services, ingested: Ingest, path: Path) -> None:
    """Keep the file of an ingest that begins; nothing when it was kept before.

    Raises FileRefused FILE_DIGEST for a file that changes while it is read, SettingsError key-missing, StoreError.
    """
    reads, dataset = services.store.reads, ingested.dataset
    if ingested.done or await kept_uploads.is_kept(reads, dataset, ingested.ingest_id):
        return
    data = await asyncio.to_thread(path.read_bytes)
    if sha256(data).hexdigest() != ingested.file_sha256:
        raise FileRefused("the file changes while it is read", code="FILE_DIGEST", place=path.name, hint="send a file that rests")
    line, digest = kept_uploads.name_of(dataset), digest_text(data)
    async with services.store.transaction() as tx:
        if await kept_uploads.is_kept(tx, dataset, ingested.ingest_id):
            return  # another process was faster
        no = await lines.next_reply_no(tx, line)
        body = encode({"type": "chengxin-exchange/received/1", "line": line, "no": no, "digest": digest, "bytes": len(data)})
        document = notes.sign_document("received", f"{line}/{no}", body, exchange_signers(services, tx.now))
        await kept_uploads.keep(tx, dataset, ingested.ingest_id, no, data, document, digest)


async def let_go(services: Services, ingested: Ingest, codes: Iterable[str]) -> None:
    """The file was read, with these codes of rejected rows: it is not kept when one of them says that it may not be."""
    if MAY_NOT_BE_KEPT & set(codes):
        async with services.store.transaction() as tx:
            await kept_uploads.drop_of(tx, ingested.dataset, ingested.ingest_id)


async def forget_uploads(services: Services) -> None:
    """Forget the bytes whose time is over.

    Raises StoreError.
    """
    before = services.clock() - KEPT
    if await kept_uploads.any_until(services.store.reads, before):
        async with services.store.transaction() as tx:
            await kept_uploads.drop_until(tx, before)
