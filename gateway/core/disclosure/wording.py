"""Values of policy texts as one line: how an effect tells them, and what two texts are compared by.

Rules: the same value gives the same line, whatever order it was written in. This room must not know what a value means.
"""

from collections.abc import Mapping

import msgspec


def said(value: object) -> str:
    """A value of a policy file as one line of text, the same for the same value."""
    plain = msgspec.to_builtins(value, enc_hook=_plain, order="sorted")
    return plain if isinstance(plain, str) else msgspec.json.encode(plain, order="sorted").decode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")
