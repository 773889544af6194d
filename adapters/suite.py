"""The conformance suite: test classes that every adapter inherits, in this repository and in anybody else's.

    class TestOurs(SourceAdapterSuite):
        def line(self) -> SourceLine:
            return OurSimulatedSource()

The author supplies a line: a simulated other side, and what opens an adapter to it. Capabilities decide which checks run; a check that does
not apply is named in `skips` with the reason. Nobody beyond this machine is called. Each check looks at one rule of the contract only, so
that an adapter which breaks one rule fails one check; beside the suite stand adapters that break a rule each, and the suite is tested
against them.

The checks stand by subject in `adapters/conformance`, the inputs in `adapters/canned`. They are plain functions: `run` and `report_json`
need no pytest; under pytest, `pytest_plugins = ["adapters.pytest_suite"]` in a `conftest.py` explains failed asserts and writes the
outcomes (`--conformance-json`).
"""

from adapters.conformance.checks import SUITE_VERSION, Outcome, Report, report_json, run
from adapters.conformance.collection import Collection
from adapters.conformance.delivery import Delivery
from adapters.conformance.folders import Folders
from adapters.conformance.formats import Formats
from adapters.conformance.lines import (
    AT,
    CannedRow,
    PartnerLine,
    SourceLine,
    bytes_of,
    canned,
    canned_batch,
    canned_rows,
)
from adapters.conformance.reading import SourceAdapterSuite
from adapters.conformance.speaking import Speaking
from gateway.adapter_contract import PARTNER_METHODS

__all__ = [
    "AT",
    "SUITE_VERSION",
    "CannedRow",
    "Outcome",
    "PartnerAdapterSuite",
    "PartnerLine",
    "Report",
    "SourceAdapterSuite",
    "SourceLine",
    "bytes_of",
    "canned",
    "canned_batch",
    "canned_rows",
    "report_json",
    "run",
]


class PartnerAdapterSuite(Formats, Delivery, Collection, Speaking, Folders):
    """Inherit, and give a `line`."""

    required = PARTNER_METHODS
