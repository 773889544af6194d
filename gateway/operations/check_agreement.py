"""Look at an agreement file before anybody signs it: every fault with its place, and what is wider than what is agreed now.

This story signs and keeps nothing.
"""

from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import agreements as terms
from gateway.core.exchange.agreements import Fault
from gateway.core.exchange.widening import Wider
from gateway.operations.agree_wider import wider_than
from gateway.operations.agreement_fit import must_fit, plan_faults
from gateway.services import Services
from gateway.store import held_agreements


class Checked(Struct, frozen=True, kw_only=True):
    """What is wrong with a file, and what it would widen."""

    faults: tuple[Fault, ...]
    wider: tuple[Wider, ...]


async def check_agreement(services: Services, toml: bytes) -> Checked:
    """Every fault of the text and of what our policies allow; what is wider only where the text itself is sound.

    Raises NoActivePolicy, StoreError.
    """
    try:
        body, local = terms.signed_form(toml)
        agreement, faults = terms.parsed(body)
    except ExchangeError as error:
        return Checked(faults=(Fault(code=error.code, message=error.detail, place=error.place or "agreement"),), wider=())
    if faults:
        return Checked(faults=faults, wider=())
    faults = plan_faults(agreement, local, await services.policies.fresh(), services.signers.party)
    if not faults:
        try:
            await must_fit(services, agreement, local)
        except ExchangeError as error:
            faults = (Fault(code=error.code, message=error.detail, place=error.place or "agreement"),)
    versions = (await held_agreements.held_agreements(services.store.reads, agreement.id)).get(agreement.id, [])
    return Checked(faults=faults, wider=wider_than(versions, agreement, local))
