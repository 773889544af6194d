"""How a check is made and run: what it needs, when it is left out, and its outcome as data."""

import json
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import wraps
from time import monotonic
from typing import Any, ClassVar, Literal, TypeVar
from unittest import SkipTest

import msgspec
from msgspec import Struct

from adapters.conformance.lines import Line
from adapters.conformance.watching import at_home
from gateway.adapter_contract import CONTRACT_VERSION

__all__ = ["SUITE_VERSION", "Checks", "Outcome", "Report", "check", "given", "report_json", "run", "simulated"]

SUITE_VERSION = 4

C = TypeVar("C", bound="Checks")
T = TypeVar("T")


class Checks:
    """What every suite is: checks, and a line for each of them."""

    skips: ClassVar[Mapping[str, str]] = {}
    """Check → why it does not apply here."""
    found_capabilities: ClassVar[frozenset[str]]
    """Of the adapters on the lines of this suite, once they were looked for."""

    @abstractmethod
    def line(self) -> Any:
        """A new simulated other side."""
        raise NotImplementedError

    def _line(self) -> Any:
        """A line of this check; it is ended when the check is over."""
        line: Line = self.line()
        vars(self).setdefault("_lines", []).append(line)
        return line

    def _adapter(self) -> Any:
        """An adapter on a line of its own."""
        return self._line().connect()

    def _capabilities(self) -> frozenset[str]:
        """Of the adapters on the lines of this suite; looked for once, for a line may be a server."""
        found: frozenset[str] | None = vars(type(self)).get("found_capabilities")
        if found is None:
            found = frozenset(self._adapter().capabilities)
            type(self).found_capabilities = found
        return found


def check(*capabilities: str) -> Callable[[Callable[[C], None]], Callable[[C], None]]:
    """Mark a check, with the capabilities without which it does not apply."""

    def marked(body: Callable[[C], None]) -> Callable[[C], None]:
        name = body.__name__

        @wraps(body)
        def test(self: C) -> None:
            try:
                if (reason := self.skips.get(name)) is not None:
                    assert len(reason.strip()) > 3, f"{name} is left out without a reason"
                    raise SkipTest(reason)
                missing = [each for each in capabilities if each not in self._capabilities()]
                if missing:
                    raise SkipTest(f"no capability {', '.join(missing)}")
                with at_home() as outside:
                    body(self)
                assert not outside, f"a connection to {', '.join(outside)}: a suite stays on this machine"
            finally:
                for line in vars(self).pop("_lines", []):
                    line.end()

        vars(test)["capabilities"] = capabilities
        return test

    return marked


def simulated(there: bool | None, what: str) -> None:
    """Fail a check whose trouble the line does not make: where it cannot come about, the author says so in `skips`."""
    assert there is not False, f"not simulated: {what}; simulate it, or name this check in `skips` with the reason"


def given(there: T | None, what: str) -> T:
    """What the line has; without it the check fails as above."""
    assert there is not None, f"not simulated: {what}; simulate it, or name this check in `skips` with the reason"
    return there


# --- outcomes as data -------------------------------------------------------------------------------------------------


class Outcome(Struct, frozen=True, kw_only=True):
    """What one check came to."""

    suite_version: int = SUITE_VERSION
    capability: str
    """Without which it does not apply; `any` for a check that every adapter must pass."""
    check: str
    outcome: Literal["passed", "failed", "skipped"]
    reason: str | None = None
    seconds: float = 0.0


class Report(Struct, frozen=True, kw_only=True):
    """All outcomes of one suite."""

    suite_version: int = SUITE_VERSION
    contract_version: int = CONTRACT_VERSION
    suite: str
    adapter: str | None
    capabilities: tuple[str, ...]
    seconds: float
    outcomes: tuple[Outcome, ...]


def capability_of(test: object) -> str:
    """What a check needs, as a report says it."""
    return " ".join(getattr(test, "capabilities", ())) or "any"


def checks_of(suite: type[Checks]) -> list[str]:
    """The checks of a suite by name."""
    return sorted(name for name in dir(suite) if name.startswith("test_"))


def run(suite: type[Checks], only: str | None = None) -> list[Outcome]:
    """Every check of a suite, in order of name: for reports, and for testing the suite itself."""
    outcomes = []
    for name in checks_of(suite):
        if only is not None and name != only:
            continue
        begun = monotonic()
        outcome, reason = _outcome(lambda name=name: getattr(suite(), name)())  # type: ignore[misc]  # bound at once
        seconds = round(monotonic() - begun, 3)
        capability = capability_of(getattr(suite, name))
        outcomes.append(Outcome(capability=capability, check=name, outcome=outcome, reason=reason, seconds=seconds))
    return outcomes


def _outcome(story: Callable[[], None]) -> tuple[Literal["passed", "failed", "skipped"], str | None]:
    try:
        story()
    except SkipTest as reason:
        return "skipped", str(reason)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # whatever else a check ends with is its failure
        return "failed", str(error) or type(error).__name__
    return "passed", None


def report_of(suite: type[Checks], outcomes: list[Outcome]) -> Report:
    """Outcomes with whose they are."""
    line: Line = suite().line()
    adapter = line.connect()
    line.end()
    return Report(
        suite=suite.__qualname__,
        adapter=f"{type(adapter).__module__}:{type(adapter).__qualname__}",
        capabilities=tuple(sorted(adapter.capabilities)),
        seconds=round(sum(each.seconds for each in outcomes), 3),
        outcomes=tuple(outcomes),
    )


def report_json(suite: type[Checks]) -> bytes:
    """Run a suite, and give its report as JSON."""
    return json.dumps(msgspec.to_builtins(report_of(suite, run(suite))), ensure_ascii=False, indent=1).encode() + b"\n"


def search_path() -> dict[str, str]:
    """Where another interpreter finds what this one found."""
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}
