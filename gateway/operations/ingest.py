"""Ingest a department's file: adapter pages → intake row by row → redaction → records, changes and receipt in one transaction a chunk.

Rules:
- A file is refused before any of its rows is stored; afterwards a bad row is rejected alone, and told by line, code and column.
- With authority and officer the upload is that authority's own statement; without them it is vouched and burdens nobody. A row of an
  authority for which the sender may not speak is rejected (SCOPE_AUTHORITY).
- A chunk's records, its place in the file and its lines of the receipt are committed together. Killed anywhere, the next start goes on
  behind the last chunk; nothing is done twice, nothing is left out.
- One file says one thing about one record: a row that contradicts an earlier row of its file is rejected (DUP_KEY), the same again is
  unchanged.
- The same file again under the same word and the same rules gives the same receipt. Under other rules (another policy, another register
  of authorities) its rows are judged again, and what is stored already comes out unchanged.
- A receipt holds places and codes, never values. The error file, with the sender's own cells, is made from the file when it is asked for.
- A file of an authority that no officer confirmed is vouched, and may speak for no other authority than a signed one.

Readers of the change log follow after each chunk; this story must not wait for them with a transaction open.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from gateway.adapter_contract import AdapterError, Page, RowResult, SourceAdapter
from gateway.core.errors import FileRefused, RowFault
from gateway.core.records.identifiers import parse_uscc
from gateway.core.records.intake import AuthorityInfo, IntakeContext, header_map, intake_all
from gateway.core.records.model import Admitted, Dataset, DatasetId
from gateway.core.records.periods import legal_day
from gateway.operations.accept_records import Texts, accept_records, redactions
from gateway.operations.error_sheet import Form, write_error_sheet
from gateway.operations.ingest_receipt import (
    Chunk,
    IngestReceipt,
    bad_rows,
    begun,
    grown,
    head_of,
    receipt_json,
    receipt_of,
    rows_done,
    summed,
)
from gateway.operations.keep_uploads import keep_upload, read_upload
from gateway.operations.render_public import IN_LOOP, render_public, uncollected
from gateway.services import Services
from gateway.store import audit, ingests
from gateway.store.ingests import Ingest
from gateway.store.store import new_id

__all__ = ["IngestReceipt", "ingest", "receipt_json"]

ADAPTER = "excel_csv"
Progress = Callable[[int, int | None], None]
"""Rows done, rows in all."""

CODE_TYPES = frozenset({"uscc", "org_code", "reg_no", "id_no", "account"})
"""Field types that a spreadsheet must keep as text."""


class ErrorFile(NamedTuple):
    """Where the error file goes, and in which form."""

    to: IO[bytes]
    form: Form


class _Job(NamedTuple):
    """What stays the same while one file is ingested."""

    services: Services
    dataset: Dataset
    authorities: Mapping[str, AuthorityInfo]
    authority: str | None
    officer: str | None
    """Who confirmed the file; None: nobody."""
    actor: str
    sent_by: str
    """The app that sent the file; empty at the command line."""
    file_name: str
    rules: str
    key_field: str
    """The column by which rows are told apart: named where a row contradicts another."""


async def ingest(
    services: Services,
    *,
    dataset: str,
    path: Path,
    authority: str | None = None,
    officer: str | None = None,
    encoding: str | None = None,
    progress: Progress | None = None,
    follow: bool = True,
    name: str = "",
    sender: str = "",
    confirmed: bool = True,
    sha256: str | None = None,
    errors: ErrorFile | None = None,
) -> IngestReceipt:
    """Take in one file and give its receipt.

    `confirmed`: whether the officer has confirmed this very file by its digest; if not, it is vouched. `sha256`: the digest that it
    must have. `errors`: also write its error file.
    `name` is what a file is called that lies in no folder; `sender` is the app that sent it, which is written down before any row is.

    With `follow` the readers of the change log read along, so that what is public can be asked for when the receipt is there; without
    it that is left to whoever serves.
    Raises FileRefused (FILE_*, SIZE_*, SCOPE_AUTHORITY, dataset-unknown) before any row is stored, and FILE_DIGEST at the end when a file
    that is to be kept has changed meanwhile; NoActivePolicy, StoreError.
    """
    job = await _job(services, dataset, name or path.name, authority, officer, sender, confirmed=confirmed)
    async with _opened(job, path, encoding) as adapter:
        async with aclosing(adapter.pull(None)) as pages:  # type: ignore[type-var]  # every pull is an async generator
            first = await anext(pages)  # it comes only when the whole file has been looked through
            digest = first.cursor.partition(":")[0]
            if sha256 is not None and sha256.strip().lower() != digest:
                hint = "compare the digests"
                raise FileRefused("this is not the file that was confirmed", code="FILE_DIGEST", place=path.name, hint=hint)
            ingested = await _begin(job, digest)
            if not ingested.done:
                total = sum(count.rows for count in await adapter.counts(legal_day(services.clock())))
                rest = _after(first, pages) if ingested.cursor is None else adapter.pull(ingested.cursor)
                ingested = await _read_on(job, rest, ingested, progress, total, path, follow=follow)
        if progress is not None:
            done = rows_done(ingested.receipt)
            progress(done, done)
    receipt = receipt_of(ingested)
    if errors is not None:

        def opened(giving_back: bool) -> AbstractAsyncContextManager[SourceAdapter]:
            return _opened(job, path, encoding, giving_back=giving_back)

        await write_error_sheet(
            opened, _context(job), receipt, bad_rows(ingested), form=errors.form, to=errors.to, at=services.clock()
        )
    return receipt


# --- before the first row -------------------------------------------------------------------------------------------------


async def _job(
    services: Services, dataset: str, name: str, authority: str | None, officer: str | None, sent_by: str, *, confirmed: bool
) -> _Job:
    """The request checked: a dataset that there is, an authority that may send.

    Raises FileRefused, NoActivePolicy.
    """
    policies = await services.policies.fresh()
    described = policies.catalogue.datasets.get(DatasetId(dataset))
    if described is None:
        known = ", ".join(sorted(policies.catalogue.datasets))
        raise FileRefused("there is no such dataset", code="dataset-unknown", place="DATASET", hint=f"one of {known}")
    if described.category == "measure":
        raise FileRefused(
            "measures follow from records of other cities, and are written down one by one",
            code="SCOPE_CATEGORY",
            place="DATASET",
            hint="`chengxin measure take`",
        )
    if (authority is None) != (officer is None):
        raise FileRefused("authority and officer go together", code="SCOPE_AUTHORITY", place="--authority", hint="give both, or neither")
    if officer is not None and not officer.strip():
        raise FileRefused("nobody answers for the file", code="SCOPE_AUTHORITY", place="--officer", hint="name one, or give neither")
    register = {
        each.uscc: AuthorityInfo(uscc=each.uscc, name=each.name, region=each.region, covers=each.covers)
        for each in services.settings.authorities
    }
    sender = None
    if authority is not None:
        try:
            sender = parse_uscc(authority)
        except RowFault as fault:
            raise FileRefused(fault.detail, code=fault.code, place="--authority", hint=fault.hint) from None
        if sender not in register:
            raise FileRefused(
                "this authority may not upload here",
                code="SCOPE_AUTHORITY",
                place="--authority",
                hint="add it to [[authorities]] of the settings file",
            )
    rules = (policies.version, policies.digest, services.settings.region, services.settings.demo, services.settings.authorities)
    return _Job(
        services=services,
        dataset=described,
        authorities=register,
        authority=sender,
        officer=officer if confirmed else None,
        actor=f"authority:{sender}" if sender else "vouched",
        sent_by=sent_by,
        file_name=name,
        key_field=described.fields[next((name for name in described.business_key if name in described.fields), "uscc")].wire_name,
        rules=sha256(msgspec.json.encode(rules)).hexdigest()[:32],
    )


@asynccontextmanager
async def _opened(job: _Job, path: Path, encoding: str | None, *, giving_back: bool = False) -> AsyncIterator[SourceAdapter]:
    """The adapter for one file; its faults leave as refusals of the file."""
    fields = job.dataset.fields
    headers = {text: fields[name].wire_name for text, name in header_map(job.dataset).items()}
    config: dict[str, object] = {
        "path": str(path),
        "name": job.file_name,
        "dataset": job.dataset.id,
        "headers": headers,
        "giving_back": giving_back,
        "as_of": job.services.clock(),
        "page_rows": job.services.settings.ingest_chunk,
        "dates": _wires(job.dataset, lambda kind, _: kind in ("date", "instant")),
        "codes": _wires(job.dataset, lambda kind, key: kind in CODE_TYPES or key in ("org", "person")),
        "numbers": _wires(job.dataset, lambda kind, _: kind == "int" or kind.startswith("decimal")),
    }
    if encoding is not None:
        config["encoding"] = encoding
    adapter = job.services.adapters.source(ADAPTER, config)
    try:
        yield adapter
    except AdapterError as error:
        raise FileRefused(error.message, code=error.code, place=error.place) from error
    finally:
        await adapter.close()


def _wires(dataset: Dataset, chosen: Callable[[str, str | None], bool]) -> list[str]:
    return [field.wire_name for field in dataset.fields.values() if chosen(field.type, field.link_key)]


async def _after(first: Page, pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
    """A page that was read already, and those behind it."""
    yield first
    async for page in pages:
        yield page


async def _begin(job: _Job, digest: str) -> Ingest:
    """The ingest of this file under this word: a new one, the one to go on with, the finished one, or that one judged again."""
    head = begun(job.rules, new_id("run_", job.services.random), signed=job.officer is not None)
    async with job.services.store.transaction() as tx:
        ingested = await ingests.start(
            tx,
            dataset=job.dataset.id,
            file_sha256=digest,
            file_name=job.file_name,
            authority=job.authority,
            officer=job.officer,
            receipt=head,
        )
        if ingested.done and head_of(ingested.receipt).rules != job.rules:
            ingested = await ingests.reopen(tx, ingested.ingest_id, receipt=head)
        if job.sent_by:
            await audit.write(tx, job.sent_by, "upload.take", f"ingest/{ingested.ingest_id}", {"dataset": job.dataset.id, "sha256": digest})
        return ingested


# --- chunk by chunk -------------------------------------------------------------------------------------------------------


async def _read_on(
    job: _Job, left: AsyncIterator[Page], ingested: Ingest, progress: Progress | None, total: int, path: Path, *, follow: bool
) -> Ingest:
    """All that is left of the file, one transaction a chunk."""
    actor = f"{job.actor}/{head_of(ingested.receipt).run}"
    done = rows_done(ingested.receipt)
    if progress is not None:
        progress(done, total)
    async with aclosing(left) as pages:  # type: ignore[type-var]  # every pull is an async generator
        async for page in pages:
            with uncollected(len(page.records) > IN_LOOP):
                ingested, chunk = await _take(job, page, ingested, actor)
            while follow and await render_public(job.services):
                pass
            done += chunk.rows
            if progress is not None:
                progress(done, total)
    return await _finish(job, ingested, path)


async def _take(job: _Job, page: Page, ingested: Ingest, actor: str) -> tuple[Ingest, Chunk]:
    """Store one page: everything that needs no database before the transaction, the rest within it."""
    services = job.services
    admitted, faults, texts = await asyncio.to_thread(_judged, job, page)  # long work: a server answers others meanwhile
    async with services.store.transaction() as tx:
        outcomes = await accept_records(services, tx, admitted, job.dataset, actor=actor, texts=texts, once=True)
        chunk = summed(admitted, outcomes, faults, key_field=job.key_field)
        receipt = grown(ingested.receipt, chunk)
        await ingests.advance(tx, ingested.ingest_id, cursor=page.cursor, receipt=receipt, expected=ingested.cursor)
    return msgspec.structs.replace(ingested, cursor=page.cursor, receipt=receipt), chunk


def _judged(job: _Job, page: Page) -> tuple[list[Admitted], list[RowResult | RowFault], list[Texts]]:
    """What intake says of a page, and the texts of what it lets in."""
    admitted, faults = _admitted(job, page)
    return admitted, faults, redactions(admitted, job.dataset)


def _admitted(job: _Job, page: Page) -> tuple[list[Admitted], list[RowResult | RowFault]]:
    """What of a page intake lets in, and what not."""
    admitted: list[Admitted] = []
    faults: list[RowResult | RowFault] = list(page.unreadable)
    for outcome in intake_all(page.records, _context(job)):
        if isinstance(outcome, RowFault):
            faults.append(outcome)
        else:
            admitted.append(outcome)
    return admitted, faults


def _context(job: _Job) -> IntakeContext:
    """What intake may look at."""
    return IntakeContext(
        dataset=job.dataset,
        authorities=job.authorities,
        sender=job.authority,
        officer=job.officer,
        demo=job.services.settings.demo,
        now=job.services.clock(),
        region=job.services.settings.region,
    )


async def _finish(job: _Job, ingested: Ingest, path: Path) -> Ingest:
    """Make the receipt final, leave the act in the audit trail, and keep the file where nobody answers for it."""
    total = receipt_of(ingested)
    upload = await read_upload(job.dataset, path, ingested.file_sha256, total.rejected) if job.officer is None else None
    async with job.services.store.transaction() as tx:
        await ingests.finish(tx, ingested.ingest_id, receipt=ingested.receipt, expected=ingested.cursor)
        if upload is not None:
            await keep_upload(job.services, tx, ingested, upload)
        await audit.write(
            tx,
            job.actor,
            "ingest.file",
            f"ingest/{ingested.ingest_id}",
            {
                "dataset": total.dataset,
                "sha256": total.file_sha256,
                "accepted": total.accepted,
                "unchanged": total.unchanged,
                "held": total.held,
                "withdrawn": total.withdrawn,
                "rejected": total.rejected,
            },
        )
    return msgspec.structs.replace(ingested, done=True)
