"""Whether we may sign an agreement: what our compiled policies allow, our own keys, and what was before.

Rules: no field above what the plan of (tier, purpose) shows, no purpose without a plan, no adapter or dataset that is not here; the keys
pinned for us are ours. This story signs nothing.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.core.disclosure.plans import Plan, Policies
from gateway.core.errors import ExchangeError, PolicyError
from gateway.core.exchange.agreements import Agreement, Fault, Held, Local, StreamTerms, parsed, signed_form
from gateway.core.exchange.field_rules import TEXT_TYPES
from gateway.core.records.model import SubjectKind
from gateway.core.records.policy_file import PolicyFile
from gateway.core.signing import Signer
from gateway.services import Services


class Misfit(Struct, frozen=True, kw_only=True):
    """One thing in a stream that our policies do not allow us to send, or that we could not take in."""

    code: str
    message: str
    stream: int
    """Which stream of the agreement."""
    field: str | None = None
    """Which of its fields, by its name in the agreement."""


def plan_faults(agreement: Agreement, local: Local, policies: Policies, ours: str) -> tuple[Fault, ...]:
    """Everything in an agreement that our own compiled policies do not allow us to send, or could not take in."""
    streams = agreement.terms.streams
    return tuple(
        Fault(code=each.code, message=each.message, place=f"{agreement.id}.{streams[each.stream].dataset}")
        for each in misfits(agreement, local, policies, ours)
    )


def misfits(agreement: Agreement, local: Local, policies: Policies, ours: str | None) -> Iterable[Misfit]:
    """The same, stream by stream and field by field; `ours` None: of whoever sends, for nobody has said who we are."""
    for number, stream in enumerate(agreement.terms.streams):
        dataset = policies.catalogue.datasets.get(stream.dataset)  # type: ignore[call-overload]  # a DatasetId is a str
        if dataset is None:
            yield Misfit(code="SCOPE_AGREEMENT", message="our policies know no such dataset", stream=number)
            continue
        wires = {field.wire_name: name for name, field in dataset.fields.items()}
        for field in stream.fields:
            if field.name not in wires:
                yield Misfit(code="SCOPE_FIELD", message=f"the dataset has no field {field.name}", stream=number, field=field.name)
        if ours not in (None, stream.from_):
            continue
        plans = policies.plan_set(stream.dataset, local.tier, stream.purpose)
        if plans is None:
            message = f"no plan of tier {local.tier} and purpose {stream.purpose}"
            yield Misfit(code="SCOPE_FIELD", message=message, stream=number)
            continue
        for kind in stream.subject_kinds:
            yield from _hidden(stream, number, wires, plans.plans.get(kind), kind)


def _hidden(stream: StreamTerms, number: int, wires: Mapping[str, str], plan: Plan | None, kind: SubjectKind) -> Iterable[Misfit]:
    """Fields that the plan of a kind does not show, or shows in a form that is none of their agreed type."""
    shown = {step.field for step in plan.steps} if plan is not None else set()
    for field in stream.fields:
        name = wires.get(field.name)
        if name is None:
            continue
        treatment = plan.treatments.get(name, "clear") if plan is not None and name in shown else None
        if treatment is None:
            message = f"the plan for {kind} does not show {field.name}"
        elif treatment != "clear" and field.type not in TEXT_TYPES:
            message = f"the plan for {kind} shows {field.name} as {treatment}, which is no {field.type}"
        else:
            continue
        yield Misfit(code="SCOPE_FIELD", message=message, stream=number, field=field.name)


def agreement_faults(files: Mapping[str, bytes], policies: Policies, ours: str | None) -> tuple[list[PolicyError], list[PolicyError]]:
    """What is wrong with the agreement files beside a policy folder, and what in them its policies do not cover; with file and line.

    Nothing is said of keys: a template has none before the other office has read out its own.
    """
    wrong: list[PolicyError] = []
    uncovered: list[PolicyError] = []
    for name, text in sorted(files.items()):
        try:
            file = PolicyFile(name, text)
            body, local = signed_form(text)
            agreement, faults = parsed(body)
        except PolicyError as error:
            wrong.append(error)
        except ExchangeError as error:
            unknown = _UNKNOWN_FIELD.findall(error.detail)
            wrong.append(file.error(f"{error.code}: {error.detail}", *_path(error.place), *unknown, hint=_CHECKED))
        else:
            wrong += [
                file.error(fault.message, *_path(fault.place), code=fault.code, hint=_CHECKED)
                for fault in faults
                if not fault.place.endswith(".agreement_keys")
            ]
            uncovered += [_told(file, each) for each in misfits(agreement, local, policies, ours)]
    return wrong, uncovered


_CHECKED: Final = "`chengxin agreement check FILE` says more of it"
_UNKNOWN_FIELD: Final = re.compile("unknown field `([^`]+)`")


def _path(place: str | None) -> list[str | int]:
    """`streams[0].scope` as its parts."""
    return [int(each) if each.isdigit() else each for each in re.findall(r"\w+", place or "")]


def _told(file: PolicyFile, found: Misfit) -> PolicyError:
    """With the line on which the field stands, in the list that begins at `fields`."""
    begin = file.line("streams", found.stream, *(() if found.field is None else ("fields",)))
    line = begin
    if found.field is not None:
        lines = file.text.decode().splitlines()[begin - 1 :]
        line = begin + next((at for at, each in enumerate(lines) if f'"{found.field}"' in each), 0)
    hint = "change the agreement, or the rule of this tier and purpose: as it is nobody could sign it"
    return PolicyError(found.message, code=found.code, file=file.name, line=line, field=found.field, hint=hint)


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
