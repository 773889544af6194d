"""Under which key a recipient's pseudonyms are made (policy.md §5, §11): one of one recipient, purpose and epoch.

Rules: no two recipients share a key, and one that is not known to belong to an organisation has none, so that its pseudonyms are
dropped; an epoch is a legal year, after which every pseudonym is another one. What is remembered of a plan set belongs to no
recipient and has a key of its own, under which nothing leaves. This story must not look at a value.
"""

from datetime import datetime

from gateway.core.disclosure.pseudonyms import Keyed, keyed
from gateway.core.records.periods import legal_day
from gateway.store.vault import Vault


def pseudonyms_for(vault: Vault, recipient: str | None, purpose: str, now: datetime) -> Keyed | None:
    """The names that a recipient (an organisation's code, a partner's party) gets for a purpose in this legal year; None: none."""
    return None if not recipient else keyed(vault.key(f"pseudonym/{recipient}/{purpose}/{legal_day(now).year}"))
