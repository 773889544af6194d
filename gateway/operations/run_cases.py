"""Run the policy tests of a folder: its cases through real views and the real planner, and what no case looks at (policy.md §10).

Rules: needs no store; a folder that does not compile is not tested. A policy is proposable only when every case holds and coverage is
whole. This story must not change the folder.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from gateway.core.disclosure.cases import Coverage, coverage, read_cases, run_case
from gateway.core.disclosure.policy import compile_policies, files_digest
from gateway.core.disclosure.residual import DEFAULT_K
from gateway.core.records.periods import legal_day
from gateway.operations.change_policy import read_folder


class FailedCase(Struct, frozen=True, kw_only=True):
    """A case that does not hold."""

    file: str
    line: int
    failures: tuple[str, ...]


class TestReport(Struct, frozen=True, kw_only=True):
    """How the cases of a folder came out."""

    ok: bool
    """Every case holds and coverage is whole: the folder may be proposed."""
    digest: str
    cases: int
    failed: tuple[FailedCase, ...]
    coverage: Coverage


def run_cases(folder: Path, at: datetime, *, residual_k: int = DEFAULT_K) -> TestReport:
    """Every case of a folder; a case without a day of its own is looked at on the day of `at`.

    Raises PolicyError when the folder does not compile on that day.
    """
    return run_cases_of(read_folder(folder), at, residual_k=residual_k)


def run_cases_of(files: Mapping[str, bytes], at: datetime, *, residual_k: int = DEFAULT_K) -> TestReport:
    """The same of files that were read.

    Raises PolicyError when they do not compile on that day.
    """
    day = legal_day(at)
    policies = compile_policies(files, version=0, today=day, residual_k=residual_k)
    cases = read_cases(files)
    results = [run_case(policies, case, day) for case in cases]
    covered = coverage(policies, cases)
    failed = tuple(FailedCase(file=one.file, line=one.line, failures=one.failures) for one in results if not one.ok)
    return TestReport(ok=not failed and covered.whole, digest=files_digest(files), cases=len(cases), failed=failed, coverage=covered)
