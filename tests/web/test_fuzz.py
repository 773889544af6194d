"""Schemathesis against the document that each tier is served: whatever is asked, no 5xx, documented statuses and shapes only.

Strategy: every operation of the public's document gets some examples on both databases; the document of every other tier, with the
fields that its own plans show, a few. `subject` has no door yet.
"""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance, unsupported_method

from gateway.operations import follow_feed
from tests.doors import developer
from tests.web.city import City, Server

SKIPPED: list[CheckFunction] = [
    positive_data_acceptance,  # a cursor or filter value of the right shape may still be nobody's
    unsupported_method,  # HEAD and OPTIONS are everywhere, documented once in words
]
TIERS = (
    ("public", "open.read", 6),
    ("developer", "open.read", 2),
    ("department", "dept.supervision", 2),
    ("partner", "mutual.query", 2),
    ("supervisor", "province.report", 2),
    ("pboc", "pboc.report", 2),
)


def credentials(city: City, tier: str, purpose: str) -> dict[str, str]:
    """Header fields of a caller of this tier."""
    if tier == "public":
        return {}
    if tier == "developer":
        _, key = city.run(developer)
        return {"authorization": f"Bearer {key}"}
    return {"authorization": f"Bearer {city.token(tier, purpose)}", "purpose": purpose, "case-ref": "AN-2026-1"}


def asked(case: Any, server: Server, headers: dict[str, str]) -> None:
    """Send a case, compare the answer with the document."""
    if "wait" in (case.query or {}):
        case.query.pop("wait")  # holding requests open is tested elsewhere
    answer = case.call(base_url=server.origin, headers=headers)
    too_long = answer.status_code in (414, 431)  # also a refusal; the fuzzer's list lacks it
    case.validate_response(answer, excluded_checks=[*SKIPPED, negative_data_rejection] if too_long else SKIPPED)


@pytest.mark.parametrize(("tier", "purpose", "examples"), TIERS, ids=[tier for tier, _, _ in TIERS])
def test_no_question_of_a_tier_finds_a_fault(
    monkeypatch: pytest.MonkeyPatch, server: Server, city: City, tier: str, purpose: str, examples: int
) -> None:
    """Every operation of the tier's own document: no fault of ours, no status and no shape that it does not name."""
    monkeypatch.setattr(follow_feed, "LIFE_S", 0.0)  # a stream that begins and ends
    headers = credentials(city, tier, purpose)
    document = server.get("/openapi.json", **headers).json()
    assert any(name.startswith("Fields.") for name in document["components"]["schemas"])
    schema = schemathesis.openapi.from_dict(document)
    operations = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        operations += 1

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        @given(case=operation.as_strategy())
        def one(case: Any) -> None:
            asked(case, server, headers)

        one()
    assert operations > 15
