"""How long to wait before a partner's line is tried again: 1, 2, 4 … 60 minutes, give or take a fifth (exchange.md §7).

Rules: how often it was tried stands in the store with whatever waits, so a schedule goes on after a restart. What a clock that was ahead
has put off for days is due as soon as the clock is right again: no pause of ours is that long. This file tells no story.
"""

from datetime import datetime, timedelta
from typing import Final

LONGEST: Final = timedelta(minutes=60)
_SPREAD: Final = 0.2
FURTHEST: Final = LONGEST * (1 + _SPREAD)
"""No attempt is put off further than this, neither by a pause nor while one that may take an hour (`LONGEST_DELIVERY`) is under way."""


def due(at: datetime | None, now: datetime) -> bool:
    """Whether the next attempt is due: no moment is set, it has come, or it lies further ahead than any that we set: a clock was ahead."""
    return at is None or at <= now or at - now > FURTHEST


def pause(attempts: int) -> timedelta:
    """After so many attempts before the one that failed just now."""
    from tenacity import RetryCallState, Retrying, wait_exponential, wait_random  # no start needs it, and few hours do

    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempts + 1
    grown = wait_exponential(multiplier=60, max=LONGEST.total_seconds())(state)
    return timedelta(seconds=grown + wait_random(-_SPREAD * grown, _SPREAD * grown)(state))
