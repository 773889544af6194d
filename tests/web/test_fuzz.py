"""Schemathesis against the document that each tier is served: whatever is asked, no 5xx, documented statuses and shapes only.

Strategy: every operation of the public's document gets some examples on both databases; the document of every other tier, with the
fields that its own plans show, a few. Then what schemathesis calls coverage: each parameter and member of a body at its bounds, beyond
them, absent, twice and of another type, a third of them for the public, a share for each other tier. Then walks from answers to the
requests that they lead to, which is how a removed or renamed identifier would be found. `subject` has no door yet. `make soak` asks every
tier's questions of both databases, and all of the public's bounds.
"""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CheckFunction
from schemathesis.config import GenerationConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.generation.drivers import CoverageGenerator
from schemathesis.generation.feedback import NO_FEEDBACK
from schemathesis.generation.overrides import Override
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance, unsupported_method
from schemathesis.transport.requests import ManagedCookiesSession

from gateway.operations import follow_feed
from tests.doors import developer
from tests.web.city import City, Server, copied, served

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
SOAK = bool(os.environ.get("SOAK"))
COVERED = (
    ("public", "open.read", 1 if SOAK else 3),
    *((tier, purpose, 11 + 2 * index) for index, (tier, purpose, _) in enumerate(TIERS[1:])),
)
"""Every nth case, with other n for each tier: what differs between the documents is what records show."""


@pytest.fixture(scope="module")
def own_city(sqlite_city: City, tmp_path_factory: pytest.TempPathFactory) -> City:
    """A copy of the city: a department's cases approve texts and send files."""
    return copied(sqlite_city, tmp_path_factory.mktemp("fuzzed") / "gateway")


@pytest.fixture(scope="module")
def own_server(own_city: City) -> Iterator[Server]:
    """Its server."""
    with served(own_city) as running:
        yield running


@pytest.fixture
def line() -> Iterator[ManagedCookiesSession]:
    """A connection that is kept, as schemathesis' own runs keep it; without, each question would open one and look proxies up for it."""
    with ManagedCookiesSession() as kept:
        kept.headers.clear()
        kept.trust_env = False
        yield kept


def credentials(city: City, tier: str, purpose: str) -> dict[str, str]:
    """Header fields of a caller of this tier."""
    if tier == "public":
        return {}
    if tier == "developer":
        _, key = city.run(developer)
        return {"authorization": f"Bearer {key}"}
    return {"authorization": f"Bearer {city.token(tier, purpose)}", "purpose": purpose, "case-ref": "AN-2026-1"}


def aimed_at(case: Any) -> str | None:
    """The header field that this case tries, in lower case."""
    data = case.meta.phase.data if case.meta is not None else None
    name = getattr(data, "parameter", None)
    return name.lower() if name and data.parameter_location == ParameterLocation.HEADER else None


def asked(case: Any, server: Server, headers: dict[str, str], line: ManagedCookiesSession) -> None:
    """Send a case, compare the answer with the document."""
    if "wait" in (case.query or {}):
        case.query.pop("wait")  # holding requests open is tested elsewhere
    aimed = aimed_at(case)  # a header field of ours must not stand where a bad one is tried
    sent = {name: value for name, value in headers.items() if name != aimed}
    answer = case.call(base_url=server.origin, session=line, headers=sent, timeout=60)
    too_long = answer.status_code in (414, 431)  # also a refusal; the fuzzer's list lacks it
    case.validate_response(answer, excluded_checks=[*SKIPPED, negative_data_rejection] if too_long else SKIPPED)


@pytest.mark.parametrize(("tier", "purpose", "examples"), TIERS, ids=[tier for tier, _, _ in TIERS])
def test_no_question_of_a_tier_finds_a_fault(
    monkeypatch: pytest.MonkeyPatch,
    line: ManagedCookiesSession,
    sqlite_server: Server,
    sqlite_city: City,
    tier: str,
    purpose: str,
    examples: int,
) -> None:
    """Every operation of the tier's own document: no fault of ours, no status and no shape that it does not name."""
    questioned(monkeypatch, line, sqlite_server, sqlite_city, tier, purpose, examples)


@pytest.fixture(scope="module")
def server_of_postgresql(pg_city: City) -> Iterator[Server]:
    """A server whose store is PostgreSQL."""
    with served(pg_city) as running:
        yield running


@pytest.mark.parametrize(("tier", "purpose", "examples"), TIERS if SOAK else TIERS[:1])
def test_nor_on_postgresql(
    monkeypatch: pytest.MonkeyPatch,
    line: ManagedCookiesSession,
    server_of_postgresql: Server,
    pg_city: City,
    tier: str,
    purpose: str,
    examples: int,
) -> None:
    """Other statements answer there; the document is the same."""
    questioned(monkeypatch, line, server_of_postgresql, pg_city, tier, purpose, examples)


def questioned(
    monkeypatch: pytest.MonkeyPatch,
    line: ManagedCookiesSession,
    server: Server,
    city: City,
    tier: str,
    purpose: str,
    examples: int,
) -> None:
    """Ask every operation of the tier's document."""
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
            asked(case, server, headers, line)

        one()
    assert operations > 15


def covering(operation: Any) -> Iterator[Any]:
    """The cases of schemathesis' coverage phase for one operation; there is no chance in them."""
    yield from CoverageGenerator(
        operation=operation,
        generation_modes=list(GenerationMode),
        generation_config=GenerationConfig(),
        auth_storage=None,
        override=Override(),
        feedback=NO_FEEDBACK,
        hooks=None,
    )


@pytest.mark.parametrize(("tier", "purpose", "nth"), COVERED, ids=[tier for tier, _, _ in COVERED])
def test_no_bound_of_the_document_is_overstepped(
    monkeypatch: pytest.MonkeyPatch,
    line: ManagedCookiesSession,
    own_server: Server,
    own_city: City,
    tier: str,
    purpose: str,
    nth: int,
) -> None:
    """What the document refuses is refused, what it allows never finds a fault: at each bound of each parameter and body."""
    monkeypatch.setattr(follow_feed, "LIFE_S", 0.0)
    headers = credentials(own_city, tier, purpose)
    schema = schemathesis.openapi.from_dict(own_server.get("/openapi.json", **headers).json())
    number, statuses = 0, Counter[int]()
    for found in schema.get_all_operations():
        for case in covering(found.ok()):
            number += 1
            if number % nth == 0:
                asked(case, own_server, headers, line)
                statuses[case.meta.generation.mode.is_negative] += 1
    assert number > 2000
    assert min(statuses[True], statuses[False]) * nth > 200


@pytest.mark.parametrize(("tier", "purpose", "examples"), TIERS, ids=[tier for tier, _, _ in TIERS])
def test_answers_lead_to_answers(
    line: ManagedCookiesSession, own_server: Server, own_city: City, tier: str, purpose: str, examples: int
) -> None:
    """Walks of several requests, each with what the one before has given: no fault, no undocumented shape, and most of them arrive."""
    headers = credentials(own_city, tier, purpose)
    document = own_server.get("/openapi.json", **headers).json()
    del document["paths"]["/v1/changes/stream"]  # ends by the clock
    for _, operation in [pair for item in document["paths"].values() for pair in item.items()]:
        operation["parameters"] = [each for each in operation["parameters"] if each["in"] == "path" or each.get("required")]
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=own_server.origin)
    arrived = Counter[int]()

    class Walk(schema.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers, "session": line}

        def validate_response(self, response: Any, case: Any, additional_checks: Any = (), **more: Any) -> None:
            arrived[response.status_code] += 1
            case.validate_response(response, excluded_checks=SKIPPED)

    Walk.run(
        settings=settings(
            max_examples=5 * examples,
            stateful_step_count=8,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
    )
    assert arrived[200] > arrived.total() / 3, arrived
    assert not [status for status in arrived if status >= 500]
