"""An adapter that breaks one rule by its first line: it knows a room of the gateway."""

import gateway.core.errors  # noqa: F401  # the fault
from adapters.memory import Memory


class ImportsARoom(Memory):
    """Otherwise as it should be."""
