"""What this process has done of late, so that nothing is done again sooner than its pace.

Rules: after a restart everything is due; so is what was noted by a clock that has been set back since. Whoever asks says which moment it
is. This file must not know what is done.
"""

from datetime import datetime, timedelta


class Paces:
    """Moments by name."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, datetime] = {}

    def due(self, what: str, now: datetime, every: timedelta) -> bool:
        """Whether it was not done within this time before now."""
        last = self._last.get(what)
        return last is None or not timedelta() <= now - last < every

    def did(self, what: str, now: datetime) -> None:
        """It is being done now."""
        self._last[what] = now

    def forget(self) -> None:
        """Let everything be due."""
        self._last.clear()
