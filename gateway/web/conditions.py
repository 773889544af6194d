"""Writes under a condition (RFC 9110 §13.1.1): `If-Match` on whatever changes something is honoured, and never passed over in silence.

Rules: what can be changed here has no strong validator, and `If-Match` compares strongly: no tag holds, the right one of JSON neither, for
it is weak. `*` holds where the path can be read. So the answer follows from the field alone and tells nothing of anybody's validator
(policy.md §18, channel 11). It is judged at the door and refused by `refuse_unmet` when all else about a request is right, just before
anything is done: what is refused anyway is refused for that. This room must not read the store.
"""

from collections.abc import Callable, Mapping
from typing import Final

from gateway.web.asgi import Scope
from gateway.web.problems import Refusal

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_UNMET: Final = "unmet"


def judge(scope: Scope, readable: Callable[[], bool]) -> None:
    """Whether the condition of a write holds, for `refuse_unmet`; `readable`: whether there is a representation at its path."""
    fields = [value.strip() for name, value in scope["headers"] if name == b"if-match"]
    if fields and scope["method"] not in SAFE and not (fields == [b"*"] and readable()):
        scope.setdefault("state", {})[_UNMET] = True


def refuse_unmet(scope: Mapping[str, object]) -> None:
    """Raises Refusal `precondition-failed` for a write whose condition does not hold."""
    state = scope.get("state")
    if isinstance(state, dict) and state.get(_UNMET):
        raise Refusal("precondition-failed")
