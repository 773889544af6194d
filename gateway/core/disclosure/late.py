"""Patterns that are compiled when they are first needed: most texts need few of the redactor's hundred.

Rules: what every text is asked begins with a sign or a class in each of its alternatives, and is compiled at once: then a search
looks for that sign alone, which is some twenty times as fast as to try every alternative at every place. A class that is repeated
(`[ab]+`, `[ab]{3}`) is no such beginning, `[ab][ab]*` is; nor are alternatives of which one begins with a class and another does not.
"""

import re
from collections.abc import Iterator


class Late:
    """One such pattern."""

    __slots__ = ("_compiled", "_source")

    def __init__(self, source: str) -> None:
        self._source = source
        self._compiled: re.Pattern[str] | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """As it is compiled."""
        if self._compiled is None:
            self._compiled = re.compile(self._source)
        return self._compiled

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Every place where it stands."""
        return self.pattern.finditer(text)
