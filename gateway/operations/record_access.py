"""Write down who saw what, before it is seen (policy.md §15); and who was turned away at a door.

Rules: what is owed is the plans' `audit` obligation, the strictest of all that an answer stands under: `count` moves a counter, `call`
is a row a call, `subject` a row with the HMACs of the subjects. A row is committed before the first byte of what it is about, in a
stream before each chunk; if it cannot be, there is no data. No row holds a value: subjects are HMACs, questions are shapes, a case
reference is ciphertext. This story must not decide who may see anything.
"""

from collections.abc import AsyncIterator, Iterable, Sequence

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.plans import PlanSet
from gateway.core.disclosure.query import Query
from gateway.operations.answering import Scene
from gateway.services import Services


def shape_of(query: Query) -> str:
    """The shape of a question: its fields and operators, never its values."""
    asked = [f"{each.field}:{each.op}" for each in query.filters]
    asked += [f"sort:{'-' if down else ''}{name}" for name, down in query.sort]
    return " ".join([*asked, *(["q"] if query.q is not None else []), *(["all"] if query.limit is None else [])])


async def record_access(
    services: Services, caller: Caller, plan_sets: Iterable[PlanSet], shape: str, rows: int, subjects: Iterable[str]
) -> None:
    """One call of a bound caller, committed when this returns.

    `subjects` are opaque ids of subjects, or for a look-up that may miss the identifier asked for; they are kept as HMACs only.
    Raises AuditUnavailable: then nothing may be shown.
    """


async def record_shown(scene: Scene, shape: str, bodies: Sequence[bytes]) -> None:
    """The same for documents of records or subjects that are about to leave: which datasets and subjects they are of is read from them.

    Raises AuditUnavailable.
    """


async def recorded(scene: Scene, shape: str, steps: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[Sequence[bytes]]:
    """The steps of an export, each given on after it was written down."""
    async for step in steps:
        await record_shown(scene, shape, step)
        yield step


async def audit_refusal(services: Services, door: str, cause: str, network: str | None = None) -> None:
    """A credential that was refused at a door (`token`, `api`, `admin` …).

    The cause is a code of the log, the network is cut to /24 or /48. It returns at once: the line is written with others of its kind
    within a second, and whether it could be written never shows in the answer.
    """
