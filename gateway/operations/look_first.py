"""The first look at a batch on a line (exchange.md §6): is its manifest to be believed, and which of its parts are worth reading.

Rules: nothing that a manifest lists is read before its note verifies and its sizes are within the agreement; then parts are read one at a
time, so that memory is a part's and not the batch's. This story must not judge a batch: the admission does, from the start.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from gateway.adapter_contract import Part
from gateway.core.exchange.notes import SignedDocument
from gateway.operations.admit_batch import Admission
from gateway.services import Services


async def parts_worth_reading(services: Services, stream: str, document: SignedDocument, caller: str) -> frozenset[str]:
    """Names of the parts to read; none of a batch that is decided already, or that its manifest alone fails.

    Raises BatchRefused when the manifest is not to be believed.
    """
    return await Admission(services, stream, document, "", {}, caller).first_look()


class PartFiles(Mapping[str, bytes]):
    """The parts of a batch as they lie on the line: each is read whenever it is asked for, and none is kept."""

    def __init__(self, parts: Iterable[Part], wanted: Collection[str]) -> None:
        self._read: dict[str, Callable[[], Iterator[bytes]]] = {part.name: part.read for part in parts if part.name in wanted}

    def __getitem__(self, name: str) -> bytes:
        """The bytes of a part."""
        return b"".join(self._read[name]())

    def __contains__(self, name: object) -> bool:
        """Whether it lies there, without reading it."""
        return name in self._read

    def __iter__(self) -> Iterator[str]:
        """Names, in order."""
        return iter(self._read)

    def __len__(self) -> int:
        """How many."""
        return len(self._read)
