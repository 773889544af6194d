"""Write down who saw what, before it is seen (policy.md §15); and who was turned away at a door.

Rules: what is owed is the plans' `audit` obligation, the strictest of all that an answer stands under: `count` moves a counter, `call`
is a row a call, `subject` a row with the HMACs of the subjects; one row a dataset where an answer holds several. A row is committed
before the first byte of what it is about, in a stream before each chunk; if it cannot be, there is no data. No row holds a value:
subjects are HMACs, questions are shapes, a case reference is ciphertext. Of the public there are counters only: a log of anonymous
questions about somebody would itself be a dossier. This story must not decide who may see anything.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.obligations import AUDITS, Obligations, strictest
from gateway.core.disclosure.plans import PlanSet, Policies, digest
from gateway.core.disclosure.query import Query
from gateway.core.errors import AuditUnavailable, StoreError
from gateway.operations.answering import Scene
from gateway.services import Services
from gateway.store.audit import Said, subject_hmacs

MUTUAL: Final = "mutual-query"
"""The shape of questions between cities."""
_CALL: Final = AUDITS.index("call")
_SUBJECT: Final = AUDITS.index("subject")


class _Subject(Struct, frozen=True):
    id: str = ""


class _Shown(Struct, frozen=True):
    """What of a document the trail needs: a record names its dataset and subject, a subject is one."""

    id: str
    dataset: str = ""
    subject: _Subject = _Subject()


_read = msgspec.json.Decoder(_Shown).decode


def shape_of(query: Query) -> str:
    """The shape of a question: its fields and operators, never its values."""
    asked = [f"{each.field}:{each.op}" for each in query.filters]
    asked += [f"sort:{'-' if down else ''}{name}" for name, down in query.sort]
    return " ".join([*asked, *(["q"] if query.q is not None else []), *(["all"] if query.limit is None else [])])


async def record_access(
    services: Services,
    policies: Policies,
    caller: Caller,
    plan_sets: Iterable[PlanSet],
    shape: str,
    rows: int,
    subjects: Iterable[str],
) -> None:
    """One call of a bound caller, committed when this returns.

    `policies` are those that the answer was made under, whatever is in force by now.
    `subjects` are opaque ids of subjects, or for a look-up that may miss the identifier asked for; they are kept as HMACs only.
    Raises AuditUnavailable: then nothing may be shown.
    """
    held: dict[str, PlanSet] = {each.dataset: each for each in plan_sets}
    names = sorted(held)
    dataset = names[0] if len(names) == 1 else ""
    await _record(services, policies, caller, held, shape, {dataset: rows}, {dataset: set(subjects)})


async def record_shown(scene: Scene, shape: str, bodies: Sequence[bytes], *, datasets: Iterable[str] | None = None) -> None:
    """The same for documents of records or subjects that are about to leave: which datasets and subjects they are of is read from them.

    `datasets` are those that the question was about, where it names some. Raises AuditUnavailable.
    """
    if scene.public and scene.caller.shared:
        return
    held = scene.forms.plan_sets
    asked = held if datasets is None else {name: held[name] for name in datasets if name in held}
    if _owed(scene.policies, asked) < _CALL:
        _count(scene.services, scene.caller, asked)
        return
    counts: Counter[str] = Counter()
    subjects: dict[str, set[str]] = {}
    for shown in map(_read, bodies):
        counts[shown.dataset] += 1
        subjects.setdefault(shown.dataset, set()).add(shown.subject.id or shown.id)
    if not counts:
        counts[next(iter(asked)) if len(asked) == 1 else ""] = 0
    await _record(scene.services, scene.policies, scene.caller, asked, shape, counts, subjects)


async def record_feed(scene: Scene, items: int) -> None:
    """That a bound caller was told of changes: items name records and hold nothing of them, so there are no subjects.

    Raises AuditUnavailable.
    """
    if items and not (scene.public and scene.caller.shared):
        held = scene.forms.plan_sets
        await _record(scene.services, scene.policies, scene.caller, held, "changes", {"": items}, {})


def question_said(
    services: Services,
    *,
    actor: str,
    act: str,
    target: str,
    org: str,
    purpose: str,
    datasets: Sequence[str],
    rows: int,
    subjects: Iterable[str],
    case_ref: str,
    app: str = "",
    plan_sets: Sequence[PlanSet] = (),
    policy_version: int | None = None,
) -> Said:
    """A question between cities about one subject, as the trail has it; whose it was is written down whatever the plans owe."""
    return Said(
        actor=actor,
        act=act,
        target=target,
        org=org or None,
        app=app or None,
        purpose=purpose,
        dataset=datasets[0] if len(datasets) == 1 else "",
        plan_hash=digest([held.hash for held in plan_sets]) if plan_sets else None,
        policy_version=policy_version,
        treatments=treatments_of(plan_sets) if plan_sets else None,
        row_count=rows,
        shape=MUTUAL,
        subjects=subject_hmacs(services.store.vault, subjects),
        case_ref=case_ref,
    )


async def record_question(services: Services, said: Said) -> None:
    """Write a question between cities down; committed when this returns.

    Raises AuditUnavailable: then nothing may be told.
    """
    try:
        await services.trail.append([said])
    except StoreError as error:
        raise AuditUnavailable(place=error.code) from None


async def recorded(
    scene: Scene, shape: str, steps: AsyncIterator[Sequence[bytes]], *, datasets: Iterable[str] | None = None
) -> AsyncIterator[Sequence[bytes]]:
    """The steps of an export of documents: that it begins is written down before this returns, each step before it is given on.

    Raises AuditUnavailable, so that an export that cannot be written down never begins.
    """
    chosen = None if datasets is None else tuple(datasets)
    await record_shown(scene, shape, (), datasets=chosen)
    return _recorded(scene, shape, steps, chosen)


async def _recorded(
    scene: Scene, shape: str, steps: AsyncIterator[Sequence[bytes]], chosen: tuple[str, ...] | None
) -> AsyncIterator[Sequence[bytes]]:
    async for step in steps:
        if step:
            await record_shown(scene, shape, step, datasets=chosen)
        yield step


async def audit_refusal(services: Services, door: str, cause: str, network: str | None = None) -> None:
    """A credential that was refused at a door (`token`, `api`, `admin` …).

    The cause is a code of the log, the network is cut to /24 or /48. It returns at once: the line is written with others of its kind
    within a second, and whether it could be written never shows in the answer.
    """
    services.trail.refused(door, cause, _network(network))


# --- inside -----------------------------------------------------------------------------------------------------------


def _obligations(held: PlanSet) -> Obligations:
    return strictest(plan.obligations for plan in held.plans.values())


def _owed(policies: Policies, held: Mapping[str, PlanSet]) -> int:
    """How strict the strictest of these plan sets is."""
    key = ("audit-owed", *(each.hash for each in held.values()))
    known: int | None = policies.memo.get(key)
    if known is None:
        known = max((AUDITS.index(_obligations(each).audit) for each in held.values()), default=0)
        policies.memo[key] = known
    return known


def _count(services: Services, caller: Caller, held: Mapping[str, PlanSet]) -> None:
    services.trail.counts[caller.tier, caller.purpose, next(iter(held)) if len(held) == 1 else ""] += 1


async def _record(
    services: Services,
    policies: Policies,
    caller: Caller,
    held: Mapping[str, PlanSet],
    shape: str,
    counts: Mapping[str, int],
    subjects: Mapping[str, set[str]],
) -> None:
    owed = _owed(policies, held)
    if owed < _CALL:
        _count(services, caller, held)
        return
    vault = services.store.vault
    said = []
    for dataset, rows in counts.items():
        of = held.get(dataset)
        said.append(
            Said(
                actor=f"app/{caller.app}",
                act="data.read",
                target=caller.tier,
                org=caller.org,
                unit=caller.unit,
                app=caller.app,
                credential=caller.credential_id,
                purpose=caller.purpose,
                dataset=dataset,
                plan_hash=of.hash if of is not None else digest([held[name].hash for name in sorted(held)]),
                policy_version=policies.version,
                treatments=_treatments(policies, [of] if of is not None else list(held.values())),
                row_count=rows,
                shape=shape,
                subjects=subject_hmacs(vault, subjects.get(dataset, ())) if owed >= _SUBJECT else None,
                case_ref=caller.case_ref,
            )
        )
    try:
        await services.trail.append(said)
    except StoreError as error:
        raise AuditUnavailable(place=error.code) from None


def _treatments(policies: Policies, plan_sets: Sequence[PlanSet]) -> str:
    key = ("treatments", *(held.hash for held in plan_sets))
    known = policies.memo.get(key)
    if not isinstance(known, str):
        known = policies.memo[key] = treatments_of(plan_sets)
    return known


def treatments_of(plan_sets: Sequence[PlanSet]) -> str:
    """How many fields are shown in which form, by kind of subject: `legal clear=12 drop=3; natural clear=4 keep=2`."""
    found: dict[str, Counter[str]] = {}
    for held in plan_sets:
        for kind, plan in held.plans.items():
            found.setdefault(kind, Counter()).update(str(why.treatment.__struct_config__.tag) for why in plan.reasons.values())
    told = ((kind, " ".join(f"{name}={count}" for name, count in sorted(forms.items()))) for kind, forms in sorted(found.items()))
    return "; ".join(f"{kind} {forms}" for kind, forms in told)


def _network(text: str | None) -> str:
    """A network that names nobody: /24 of IPv4, /48 of IPv6."""
    if text is None:
        return ""
    try:
        address = ip_address(text.partition("/")[0])
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None) or address
    return str(ip_network(f"{mapped}/{24 if mapped.version == 4 else 48}", strict=False))
