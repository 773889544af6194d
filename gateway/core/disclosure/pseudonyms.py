"""Pseudonyms: one recipient's own names for the persons it may not name (policy.md §5).

Rules: keyed, never a plain hash, for one city's numbers can be counted through in minutes; the key belongs to one recipient, purpose
and epoch and comes from outside; the field is part of what is hashed, so that a number and a name that look alike do not meet. This
room must not know keys.
"""

import hmac
from base64 import b32encode
from collections.abc import Callable
from functools import partial
from typing import Final

Keyed = Callable[[str, str], str]
"""Of a recipient, purpose and epoch: (field, normal form of the value) → pseudonym."""
LENGTH: Final = 26
"""Base32 characters of the first 128 bits."""


def pseudonym(key: bytes, field: str, normal: str) -> str:
    """The pseudonym of a value in its normal form: 26 base32 characters of HMAC-SHA256(key, field ‖ 0x1f ‖ value)."""
    tag = hmac.digest(key, f"{field}\x1f{normal}".encode(), "sha256")
    return b32encode(tag[:16]).decode("ascii")[:LENGTH].lower()


def keyed(key: bytes) -> Keyed:
    """The function that a view under a plan with pseudonyms is given."""
    return partial(pseudonym, key)
