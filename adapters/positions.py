"""How far a line has come in each stream of a partner: the cursor of adapters that collect by epoch and number."""

import json
from collections.abc import Sequence

from gateway.adapter_contract import AdapterError


def read_positions(after: str | None, streams: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Epoch and number of each stream as a cursor says them; without one all are at their beginning.

    What another version of the same agreement names is kept beside them: a stream that it takes up again goes on.

    Raises AdapterError CURSOR_UNKNOWN.
    """
    positions = dict.fromkeys(streams, (1, 0))
    if after is None:
        return positions
    agreements = tuple({stream.partition(".")[0] + "." for stream in streams})
    try:
        said = json.loads(after)
        for stream, (epoch, seq) in said.items():
            if not stream.startswith(agreements) or type(epoch) is not int or type(seq) is not int or epoch < 1 or seq < 0:
                raise ValueError(stream)  # one way out for every bad cursor
            positions[stream] = (epoch, seq)
    except (ValueError, TypeError, AttributeError) as error:
        raise AdapterError("CURSOR_UNKNOWN", "游标不是此线路给出的", transient=False) from error
    return positions
