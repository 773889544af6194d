"""The reference adapter passes every check of the suite, as a source and as a partner."""

from adapters.suite import PartnerAdapterSuite, PartnerLine, SourceAdapterSuite, SourceLine
from tests.adapters.lines import MemoryPartnerLine, MemorySourceLine


class TestMemoryAsSource(SourceAdapterSuite):
    """A board that is read."""

    def line(self) -> SourceLine:
        """An empty board."""
        return MemorySourceLine()


class TestMemoryAsPartner(PartnerAdapterSuite):
    """A board that is written to."""

    def line(self) -> PartnerLine:
        """An empty board."""
        return MemoryPartnerLine()
