"""Give a receipt of an answer, and show one to whoever holds its id (api.md §7.17).

Rules:
- the answer was made by the same stories, for the same caller, as if it had been asked for directly; a receipt gives no other.
- what is kept is sealed under the id, which only the holder has. The question is kept with it only where it was answered from what
  everybody may see and no person or household stands in the answer; of any other nothing is kept that could be asked again.
- `overtaken` is found out by asking again as the public, once, when somebody with the id wants to know; None where nothing was kept.
- an id that never was and one whose time is over are the same 404, found out by the same statement.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
from msgspec import Struct

from gateway.core.callers.caller import Caller
from gateway.core.errors import NotFound
from gateway.core.exchange import notes
from gateway.core.publication import receipts
from gateway.core.publication.documents import instant
from gateway.core.publication.receipts import Receipt
from gateway.core.records.periods import legal_day
from gateway.operations.asking import Language
from gateway.services import Services
from gateway.store import query_receipts

AskAgain = Callable[[str, Language], Awaitable[bytes | None]]
"""The present answer to a question in a language, asked by nobody in particular; None: there is none any more."""


class Question(Struct, frozen=True, kw_only=True):
    """What was asked, and what tells whether the answer still says the same."""

    url: str
    language: Language
    content: bytes


class _Kept(Struct, frozen=True, kw_only=True):
    receipt: Receipt
    note: str
    question: Question | None


class Given(Struct, frozen=True, kw_only=True):
    """An answer of which a receipt is wanted, as it was made."""

    url: str
    language: Language
    body: bytes
    dataset_version: str
    policy_version: int
    policy_plan: str


class Issued(Struct, frozen=True, kw_only=True):
    """A receipt as its holder gets it, once."""

    receipt: Receipt
    note: str
    salt: bytes
    """What stands before the answer in its digest; empty for answers about organisations alone."""


class Shown(Struct, frozen=True, kw_only=True):
    """A receipt as whoever holds its id sees it."""

    receipt: Receipt
    note: str
    overtaken: bool | None
    """Whether the answer would say something else today; None: it was about persons, or for a caller of its own, and nothing was kept."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Kept)


async def issue(services: Services, caller: Caller, given: Given) -> Issued:
    """A receipt of an answer that this caller was just given.

    Raises SettingsError key-missing where no key may sign receipts.
    """
    now = services.clock()
    personal = not caller.open or not receipts.about_organisations(given.url, given.body)
    salt = services.random(receipts.SALT_BYTES) if personal else b""
    receipt = Receipt(
        id=receipts.receipt_id(services.random(16)),
        issued_at=instant(now),
        answer_sha256=receipts.answer_digest(given.body, salt),
        dataset_version=given.dataset_version,
        policy_version=given.policy_version,
        policy_plan=given.policy_plan,
    )
    signer = services.signers.signing("receipt", now)
    note = notes.sign(receipts.note_text(receipt, services.settings.party), [signer])
    question = None if personal else Question(url=given.url, language=given.language, content=receipts.content_digest(given.body))
    today = legal_day(now)
    async with services.store.transaction() as tx:
        await query_receipts.forget(tx, today=today.isoformat())
        await query_receipts.add(
            tx,
            receipt.id,
            _ENCODER.encode(_Kept(receipt=receipt, note=note, question=question)),
            until=(today + timedelta(days=services.settings.receipt_days)).isoformat(),
            suite=services.settings.crypto_suite,
        )
    return Issued(receipt=receipt, note=note, salt=salt)


async def look(services: Services, receipt_id: str) -> tuple[Receipt, str]:
    """A receipt and its note, without asking anything again.

    Raises NotFound.
    """
    kept = await _kept(services, receipt_id)
    return kept.receipt, kept.note


async def show(services: Services, receipt_id: str, ask_again: AskAgain) -> Shown:
    """A receipt, and whether its answer is overtaken.

    Raises NotFound.
    """
    kept = await _kept(services, receipt_id)
    overtaken: bool | None = None
    if kept.question is not None:
        present = await ask_again(kept.question.url, kept.question.language)
        overtaken = present is None or receipts.content_digest(present) != kept.question.content
    return Shown(receipt=kept.receipt, note=kept.note, overtaken=overtaken)


async def _kept(services: Services, receipt_id: str) -> _Kept:
    body = await query_receipts.find(services.store.reads, receipt_id, today=legal_day(services.clock()).isoformat())
    if body is None:
        raise NotFound
    return _DECODER.decode(body)
