"""Weigh a policy version against what is in force now: compiled today, compared cell by cell, told in figures.

Rules: whatever decides about a version decides on this, made anew each time: at proposing, at each approval, at activation, at its
scheduled instant. Compiling leaves the event loop to others. This story must not change anything.
"""

import asyncio
from collections.abc import Iterator

from msgspec import Struct

from gateway.core.callers.administrators import Role
from gateway.core.disclosure.approval import roles_needed
from gateway.core.disclosure.effect import Effect, effect
from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.policy import compile_policies, files_digest
from gateway.core.errors import NoActivePolicy
from gateway.core.records.periods import legal_day
from gateway.services import Services
from gateway.store import policies as policy_rows

CHANGES = 500
"""Lines that are told one by one; the figures count all."""


class Weighed(Struct, frozen=True, kw_only=True):
    """A version, what is in force, and what the one changes against the other."""

    version: int
    digest: str
    parent: int | None
    parent_digest: str | None
    activation: int
    """Number of the newest activation: when it has changed, all this is old."""
    effect: Effect
    effect_digest: str
    new: Policies


class EffectFigures(Struct, frozen=True, kw_only=True):
    """An effect as it is shown to whoever decides: figures and names of fields, never values."""

    digest: str
    widens: bool
    personal: bool
    redlines: bool
    cells: dict[str, dict[str, int]]
    """Class → how many cells are widened and narrowed."""
    rights_gained: int
    rights_lost: int
    others: int
    """Plans, gates, obligations, grounds, periods and red lines that differ."""
    datasets: tuple[str, ...]
    public_fields: tuple[str, ...]
    needs: tuple[Role, ...]
    """Whose approvals it takes."""
    changes: tuple[str, ...]
    """A line for each change, what widens first; at most five hundred."""


def figures(of: Effect, digest: str) -> EffectFigures:
    """The effect in figures."""
    gained = sum(right.gained for right in of.rights)
    return EffectFigures(
        digest=digest,
        widens=of.widens,
        personal=of.personal,
        redlines=of.redlines,
        cells=of.by_class(),
        rights_gained=gained,
        rights_lost=len(of.rights) - gained,
        others=len(of.others),
        datasets=of.datasets,
        public_fields=of.public_fields,
        needs=roles_needed(of),
        changes=tuple(_changes(of))[:CHANGES],
    )


def _changes(of: Effect) -> Iterator[str]:
    found = [
        (
            not cell.widens,
            f"{cell.dataset}/{cell.tier}/{cell.purpose}/{cell.kind} {cell.field} ({cell.class_}): {cell.before} → {cell.after}",
        )
        for cell in of.cells
    ]
    found += [
        (not right.gained, f"{right.dataset}/{right.tier}/{right.purpose}/{right.kind} {right.field} ({right.class_}): {right.capability}")
        for right in of.rights
    ]
    found += [
        (other.direction != "widens", f"{other.area} {other.place} {other.what}: {other.before or '-'} → {other.after or '-'}")
        for other in of.others
    ]
    for narrows, text in sorted(found):
        yield f"{'narrows' if narrows else 'widens '} {text}"


async def weigh(services: Services, version: int) -> Weighed:
    """A stored version against what is in force now.

    Raises StoreError policy-unknown, PolicyError when it does not compile as the law stands today.
    """
    reads = services.store.reads
    activation = await policy_rows.latest_activation(reads)
    try:
        old: Policies | None = await services.policies.fresh()
    except NoActivePolicy:
        old = None
    files = await policy_rows.files_of(reads, version)
    today = legal_day(services.clock())

    def compared() -> tuple[Policies, Effect, str]:
        new = compile_policies(files, version=version, today=today, residual_k=services.settings.residual_k)
        found = effect(old, new)
        return new, found, found.digest

    new, found, digest = await asyncio.to_thread(compared)
    return Weighed(
        version=version,
        digest=files_digest(files),
        parent=None if old is None else old.version,
        parent_digest=None if old is None else old.digest,
        activation=activation,
        effect=found,
        effect_digest=digest,
        new=new,
    )
