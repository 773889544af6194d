"""The suite as a pytest plug-in: failed asserts are explained, and the outcomes of all suites of a run are written as JSON.

    pytest_plugins = ["adapters.pytest_suite"]      # conftest.py of whoever writes an adapter

It is named by whoever uses it and registered by no entry point: that would load it into every test run of the environment, and make
pytest rewrite every module of the gateway (decisions/0043).
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("adapters.conformance")

PROPERTY = "conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The file for the outcomes."""
    parser.getgroup("conformance").addoption(
        "--conformance-json", metavar="PATH", default=None, help="write the outcomes of the conformance suites of this run as JSON"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin a report; a worker of pytest-xdist leaves that to whoever started it."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Outcomes(config), "conformance-outcomes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say of each check whose it is and what it needs; properties travel with its report, also between processes."""
    checks = sys.modules.get("adapters.conformance.checks")
    if checks is None:
        return  # no test of this run has a suite
    for item in items:
        suite, test = getattr(item, "cls", None), getattr(item, "function", None)
        if isinstance(suite, type) and issubclass(suite, checks.Checks) and hasattr(test, "capabilities"):
            said = {"suite": item.nodeid.rpartition("::")[0], "capability": checks.capability_of(test), "check": item.name}
            item.user_properties.append((PROPERTY, said))


class _Outcomes:
    """What the checks of this run came to."""

    def __init__(self, config: pytest.Config) -> None:
        self._path: str | None = config.getoption("--conformance-json")
        self._suites: dict[str, list[dict[str, Any]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one report."""
        said = dict(report.user_properties).get(PROPERTY)
        if not isinstance(said, dict) or (report.when != "call" and report.passed):
            return
        reason = report.longrepr[2].removeprefix("Skipped: ") if report.skipped and isinstance(report.longrepr, tuple) else None
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = getattr(crash, "message", None) or str(report.longrepr)
        self._suites.setdefault(said["suite"], []).append(
            {
                "capability": said["capability"],
                "check": said["check"],
                "outcome": report.outcome,
                "reason": reason,
                "seconds": round(report.duration, 3),
            }
        )

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """A line for each suite, and the file."""
        from adapters.conformance.checks import SUITE_VERSION
        from gateway.adapter_contract import CONTRACT_VERSION

        for suite, outcomes in sorted(self._suites.items()):
            counts = [f"{sum(each['outcome'] == what for each in outcomes)} {what}" for what in ("passed", "failed", "skipped")]
            seconds = sum(each["seconds"] for each in outcomes)
            terminalreporter.write_line(f"conformance {SUITE_VERSION}: {suite}: {', '.join(counts)}, {seconds:.1f} s")
        if self._path is not None:
            report = {"suite_version": SUITE_VERSION, "contract_version": CONTRACT_VERSION, "suites": self._suites}
            Path(self._path).write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
