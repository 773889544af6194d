"""Whether what lies under a number of ours is a batch that we ourselves have signed and forgotten: then we were restored from a backup.

Rules: only our own signature counts, under any key that we ever published; what somebody else has put there only delays us. This story
must not change anything.
"""

from gateway.adapter_contract import PartnerAdapter
from gateway.core.errors import ExchangeError
from gateway.core.exchange import admitting
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import SUITES, batch_id
from gateway.operations.partners import Stream, every_key
from gateway.services import Services
from gateway.store.outbox import OutBatch


async def found_ours(services: Services, stream: Stream, line: PartnerAdapter, batch: OutBatch) -> bool:
    """True when a manifest of this number that is not this batch's lies there with our signature.

    Raises AdapterError.
    """
    look = getattr(line, "look", None) if "look" in line.capabilities else None
    lies = await look(stream.name, batch.epoch, batch.seq, stream.sender) if look is not None else None
    if lies is None or lies[0] == batch.document.body:
        return False
    try:
        admitting.check_note(
            SignedDocument(lies[0], lies[1].decode()),
            await every_key(services.store.reads, stream.governing, stream.sender),
            context=batch_id(stream.sender, stream.name, batch.epoch, batch.seq),
            required=admitting.required_algorithms(stream.rules),
            suite=SUITES[stream.rules.terms.wire.suite],
            first_seen=services.clock(),
            skew=stream.governing.agreement.skew,
        )
    except (ExchangeError, UnicodeDecodeError):
        return False
    return True
