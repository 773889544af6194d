"""When nothing moves: a work that found nothing to do asks one short statement a round, until something was committed or a date comes.

Rules:
- what is asked is whether anything at all was committed since, by whatever process: not what a work reads, for of that a list is soon too
  short. So a round under the same state would do what the last one did, which was nothing; only the clock may have moved.
- a work names the earliest moments at which it finds something though nothing was committed; midnight and `LONGEST` are among them always,
  and a clock that goes back ends a standstill too.
- the state is read before the round: what is committed meanwhile, also by the round itself, is looked at by the next one. A round that
  breaks off is no round that found nothing.
This room must not know what the work is.
"""

from collections.abc import Hashable, Iterable
from datetime import timedelta
from typing import Final

from gateway.core.publication.documents import instant
from gateway.core.records.periods import first_instant, legal_day
from gateway.services import Services

LONGEST: Final = timedelta(minutes=1)
"""So long at most nothing is looked at: for what ends by the clock and nobody names, a trial token of test mode."""


class Standstill:
    """What one work of one process knows of its last round that found nothing to do."""

    __slots__ = ("_from", "_looked", "_state", "_until")

    def __init__(self) -> None:
        self._state: Hashable | None = None
        """Under which nothing was found; None: something was, or nobody has looked."""
        self._from = self._until = ""
        self._looked: tuple[Hashable | None, str, str] = (None, "", "")

    async def lasts(self, services: Services) -> bool:
        """Whether a round would find nothing; if not, the work makes one, and says `begins` when it has found nothing more.

        Raises StoreError.
        """
        state, now = await services.store.reads.state(), services.clock()
        if state is not None and state == self._state and self._from <= instant(now) < self._until:
            return True
        midnight = first_instant(legal_day(now) + timedelta(days=1))
        self._looked = state, instant(now), instant(min(midnight, now + LONGEST))
        self._state = None
        return False

    def begins(self, dates: Iterable[str | None] = ()) -> None:
        """The round since `lasts` has found nothing more to do, and finds nothing before the first of these moments."""
        self._state, self._from, latest = self._looked
        self._until = min([latest, *(date for date in dates if date is not None)])
