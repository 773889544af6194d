"""Whether we may sign an agreement: what our compiled policies allow, our own keys, and what was before.

Rules: no field above what the plan of (tier, purpose) shows, no purpose without a plan, no adapter or dataset that is not here; the keys
pinned for us are ours. This story signs nothing.
"""

from collections.abc import Iterable
from datetime import datetime

from gateway.core.disclosure.plans import Policies
from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import Agreement, Fault, Held, Local
from gateway.core.signing import Signer
from gateway.services import Services


def plan_faults(agreement: Agreement, local: Local, policies: Policies, ours: str) -> tuple[Fault, ...]:
    """Everything in an agreement that our own compiled policies do not allow us to send, or could not take in."""
    return tuple(_plan_faults(agreement, local, policies, ours))


def _plan_faults(agreement: Agreement, local: Local, policies: Policies, ours: str) -> Iterable[Fault]:
    for stream in agreement.terms.streams:
        place = f"{agreement.id}.{stream.dataset}"
        dataset = policies.catalogue.datasets.get(stream.dataset)  # type: ignore[call-overload]  # a DatasetId is a str
        if dataset is None:
            yield Fault(code="SCOPE_AGREEMENT", message="our policies know no such dataset", place=place)
            continue
        wires = {field.wire_name: name for name, field in dataset.fields.items()}
        for field in stream.fields:
            if field.name not in wires:
                yield Fault(code="SCOPE_FIELD", message=f"the dataset has no field {field.name}", place=place)
        if stream.from_ != ours:
            continue
        plans = policies.plan_set(stream.dataset, local.tier, stream.purpose)
        if plans is None:
            yield Fault(code="SCOPE_FIELD", message=f"no plan of tier {local.tier} and purpose {stream.purpose}", place=place)
            continue
        for kind in stream.subject_kinds:
            plan = plans.plans.get(kind)
            shown = {step.field for step in plan.steps} if plan is not None else set()
            hidden = [field.name for field in stream.fields if field.name in wires and wires[field.name] not in shown]
            if hidden:
                yield Fault(code="SCOPE_FIELD", message=f"the plan for {kind} does not show {', '.join(hidden)}", place=place)


def _refuse(faults: Iterable[Fault]) -> None:
    found = tuple(faults)
    if found:
        raise ExchangeError("; ".join(f"{fault.place}: {fault.message}" for fault in found), code=found[0].code, place=found[0].place)


async def must_fit(services: Services, agreement: Agreement, local: Local) -> None:
    """Goes on when we may sign this text.

    Raises ExchangeError SIG_KEY_USE for keys that are not ours, SCOPE_* for what our policies do not show.
    """
    ours = services.signers.party
    agreement.other(ours)
    mine = {signer.vkey for signer in agreement_signers(services, services.clock())}
    if not mine & set(agreement.party(ours).agreement_keys):
        raise ExchangeError(
            "the agreement pins no agreement key of ours", code="SIG_KEY_USE", place=ours, hint=f"put in {', '.join(sorted(mine))}"
        )
    if foreign := set(agreement.party(ours).agreement_keys) - {key.signer.vkey for key in services.signers.keys}:
        raise ExchangeError("the agreement pins a key for us that is not ours", code="SIG_KEY_USE", place=", ".join(sorted(foreign)))
    if local.adapter not in services.adapters:
        raise ExchangeError("no such adapter is installed", code="SCOPE_AGREEMENT", place=local.adapter)
    _refuse(_line_faults(agreement, lies_until_looked_for="apart" in services.adapters.load(local.adapter).capabilities))
    _refuse(plan_faults(agreement, local, await services.policies.fresh(), ours))


def _line_faults(agreement: Agreement, *, lies_until_looked_for: bool) -> Iterable[Fault]:
    """Streams that our adapter cannot carry: through a folder goes `drop`, and nothing else does."""
    for stream in agreement.terms.streams:
        if (stream.wire.delivery == "drop") != lies_until_looked_for:
            message = f"our adapter does not carry what is delivered by {stream.wire.delivery}"
            yield Fault(code="SCOPE_AGREEMENT", message=message, place=f"{agreement.id}.{stream.dataset}")


def agreement_signers(services: Services, now: datetime) -> list[Signer]:
    """Our `agreement` keys: all that are good now, for where a key is exchanged, old and new sign side by side.

    Raises SettingsError key-missing.
    """
    newest = services.signers.signing("agreement", now)
    good = [key.signer for key in services.signers.keys if key.use == "agreement" and key.good(now)]
    return [newest, *(signer for signer in good if signer.vkey != newest.vkey)]


def must_go_on(previous: Held, at: datetime) -> None:
    """No version follows one that has been ended, or has run out.

    Raises ExchangeError SCOPE_AGREEMENT.
    """
    state = previous.standing(at).state
    if state in ("terminated", "expired"):
        said = f"the agreement is {state}: what comes now is another agreement"
        raise ExchangeError(said, code="SCOPE_AGREEMENT", place=previous.agreement.id)
