"""What an app asks to use a token for: `authorization_details` (RFC 9396) of our one type, against its live grants.

Rules: an element names a purpose and at most one dataset, nothing else; asking for more than the grants is refused, never cut down;
nothing asked for is all that is granted. This room must not know how a token is made.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

from gateway.core.callers.compact import Malformed, strict_json
from gateway.core.callers.grants import Grant

TYPE: Final = "credit-data"
MOST: Final = 64
_MEMBERS: Final = frozenset({"type", "purpose", "dataset"})
Access = tuple[tuple[str, str], ...]
"""(dataset, purpose) pairs."""


class DetailsRefused(ValueError):
    """Not ours, malformed, or more than is granted: `invalid_authorization_details`."""


def granted(grants: Iterable[Grant], day: date) -> Access:
    """All pairs that these grants allow on this legal day."""
    return tuple(sorted({(grant.dataset, purpose) for grant in grants if grant.live(day) for purpose in grant.purposes}))


def wanted(text: str | None, allowed: Access) -> Access:
    """The pairs that a token is to be bound to.

    Raises DetailsRefused.
    """
    if text is None:
        return allowed
    found: set[tuple[str, str]] = set()
    for dataset, purpose in _read(text):
        pairs = {pair for pair in allowed if pair[1] == purpose and dataset in (None, pair[0])}
        if not pairs:
            raise DetailsRefused("not granted")
        found |= pairs
    return tuple(sorted(found))


def told(access: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """The pairs as an answer tells them."""
    return [{"type": TYPE, "dataset": dataset, "purpose": purpose} for dataset, purpose in access]


def _read(text: str) -> list[tuple[str | None, str]]:
    try:
        read = strict_json(b'{"a":' + text.encode("utf-8") + b"}")
    except (Malformed, UnicodeEncodeError):
        raise DetailsRefused("no JSON") from None
    items: Any = read.get("a") if len(read) == 1 else None  # else it went on behind the list
    if not isinstance(items, list) or not 1 <= len(items) <= MOST:
        raise DetailsRefused("a list of one to sixty-four elements")
    return [_element(item) for item in items]


def _element(item: object) -> tuple[str | None, str]:
    if not isinstance(item, dict) or not set(item) <= _MEMBERS or item.get("type") != TYPE:
        raise DetailsRefused("an element is of our type")
    purpose, dataset = item.get("purpose"), item.get("dataset")
    if not isinstance(purpose, str) or not (isinstance(dataset, str) or "dataset" not in item):
        raise DetailsRefused("an element names a purpose, and at most one dataset")
    return dataset, purpose
