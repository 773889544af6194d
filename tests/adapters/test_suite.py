"""The suite itself is tested: an adapter that breaks one rule fails exactly the check of that rule, and no other."""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar

import pytest

from adapters.conformance import collection, delivery, watching
from adapters.conformance.checks import checks_of, report_of
from adapters.conformance.every import EveryAdapter
from adapters.memory import Memory
from adapters.suite import SUITE_VERSION, Outcome, PartnerAdapterSuite, SourceAdapterSuite, canned, report_json, run
from tests.adapters.broken_partners import PARTNERS as CARRIERS
from tests.adapters.broken_sources import SOURCES as BY_BEHAVIOUR
from tests.adapters.broken_speakers import SPEAKERS
from tests.adapters.imports_a_room import ImportsARoom
from tests.adapters.lines import MemoryPartnerLine, RowsLine, partner_suite, source_suite

SOURCES = {**BY_BEHAVIOUR, "test_import_loads_no_room": ImportsARoom}
PARTNERS = {**CARRIERS, **SPEAKERS}


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here is in this process: the bounds that a check waits for may be short, what it allows stays as it is."""
    monkeypatch.setattr(delivery, "BOUND_S", 0.02)
    monkeypatch.setattr(collection, "DEADLINE_S", 0.02)
    monkeypatch.setattr(watching, "BEGUN_S", 0.005)


def failed(outcomes: list[Outcome]) -> list[str]:
    """Checks that failed."""
    return [outcome.check for outcome in outcomes if outcome.outcome == "failed"]


@pytest.mark.parametrize("check", SOURCES)
def test_a_broken_source_fails_its_own_check(check: str):
    """A source that breaks one rule fails the check of that rule and passes all others."""
    assert failed(run(source_suite(SOURCES[check]))) == [check]


@pytest.mark.parametrize("check", PARTNERS)
def test_a_broken_partner_fails_its_own_check(check: str):
    """A partner line that breaks one rule fails the check of that rule and passes all others."""
    kind = RowsLine if check == "test_rows_arrive" else MemoryPartnerLine
    assert failed(run(partner_suite(PARTNERS[check], kind))) == [check]


def test_every_check_has_an_adapter_that_fails_it():
    """No check stands here that nothing was ever seen to fail."""
    common = set(checks_of(EveryAdapter))
    assert common - SOURCES.keys() == {"test_skips_name_checks"}  # it looks at the suite, not at an adapter: below
    assert set(checks_of(SourceAdapterSuite)) - common <= SOURCES.keys()
    assert set(checks_of(PartnerAdapterSuite)) - common == PARTNERS.keys()


@pytest.mark.parametrize("skips", [{"test_no_such_check": "because it is so"}, {"test_close_twice": " "}], ids=["no check", "no reason"])
def test_what_is_left_out_is_a_check_and_has_a_reason(skips: Mapping[str, str]):
    """A misspelt check, or one without a reason, is not left out in silence."""

    class Suite(source_suite(Memory)):
        pass

    Suite.skips = skips
    assert "test_skips_name_checks" in failed(run(Suite))


def test_a_check_that_is_left_out_says_why():
    """The author's reason is the reason of the outcome."""

    class Suite(source_suite(Memory)):
        skips: ClassVar[Mapping[str, str]] = {"test_null_is_not_empty": "a CSV cell has no null"}

    left = [outcome for outcome in run(Suite) if outcome.outcome == "skipped"]
    assert [(outcome.check, outcome.reason) for outcome in left] == [("test_null_is_not_empty", "a CSV cell has no null")]


class CallsElsewhere(Memory):
    async def pull(self, since):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as away, suppress(OSError):
            away.connect(("192.0.2.7", 9))
        async for page in super().pull(since):
            yield page


def test_nobody_beyond_this_machine_is_called():
    """A connection to another host is refused, and fails the check in which it was tried, also when the adapter says nothing of it."""
    outcomes = {outcome.check: outcome for outcome in run(source_suite(CallsElsewhere))}
    assert outcomes["test_nothing_is_lost"].outcome == "failed"
    assert "192.0.2.7" in outcomes["test_nothing_is_lost"].reason
    assert outcomes["test_close_twice"].outcome == "passed"


def test_outcomes_are_data():
    """The reference passes everything that it can; the report names suite version, capability, check and outcome."""
    for suite in (source_suite(Memory), partner_suite(Memory)):
        outcomes = run(suite)
        assert failed(outcomes) == []
        assert all(outcome.reason for outcome in outcomes if outcome.outcome == "skipped")
        report = report_of(suite, outcomes)
        assert report.adapter == "adapters.memory:Memory"
        assert report.suite_version == SUITE_VERSION
    said = json.loads(report_json(suite))
    assert {each["check"]: each["capability"] for each in said["outcomes"]}["test_twice_is_once"] == "deliver idempotent"
    assert {each["outcome"] for each in said["outcomes"]} == {"passed", "skipped"}
    assert said["capabilities"] == sorted(Memory.capabilities)


def test_capabilities_decide_what_runs():
    """A check of a capability that the adapter has not is left out, with that reason; an adapter's own win over its class's."""

    class Plain(Memory):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.capabilities = Memory.capabilities - {"report", "counts"}

    skipped = {outcome.check: outcome.reason for outcome in run(source_suite(Plain)) if outcome.outcome == "skipped"}
    assert skipped == {"test_reports_arrive": "no capability report", "test_counts_agree": "no capability counts"}


def test_the_canned_inputs_are_data():
    """What the suite feeds is read from files: nothing, one row, doubles, a withdrawal, blanks, zeros, dates, emoji, markup, 32 KiB."""
    assert [len(canned(name)) for name in ("empty", "one", "twice")] == [0, 1, 4]
    assert any(row.op == "withdraw" for row in canned("withdrawn"))
    notes = "".join(str(row.fields["note"]) for name in ("blanks", "odd") for row in canned(name))
    assert all(piece in notes for piece in ("\u00a0", "\u3000", "９", "1900-01-01", "2099/12/31", "😀", "]]>"))
    assert max(len(str(row.fields["note"]).encode()) for row in canned("odd")) >= 32 * 1024
    assert {"1.200000", "007"} <= {row.fields["amount"] for row in canned("numbers")}
    assert {row.fields["note"] for row in canned("nothing")} >= {None, ""}
