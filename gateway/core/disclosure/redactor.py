"""Which redactor stands in `redaction`, and whose values it looks for: known without compiling its hundred patterns.

Rules: the version is raised whenever the same text may come out differently. This room must not read a text.
"""

from typing import Final

REDACTOR: Final = "11"
"""Raised whenever the same text may come out differently; a text of another version is held until it is scored again."""

PERSONAL_TYPES: Final = frozenset(
    {"person_name", "id_no", "uscc", "reg_no", "org_code", "mobile", "phone", "email", "plate", "account", "address"}
)
"""Types of fields whose values, where they are about a person, are looked for in the record's texts."""
