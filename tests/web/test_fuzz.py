"""Schemathesis against the served document: whatever is asked, no 5xx, documented statuses and shapes only."""

import json
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance, unsupported_method

from gateway.app import openapi_document
from tests.web.city import City, Server

schema = schemathesis.openapi.from_dict(json.loads(openapi_document()))
SKIPPED: list[CheckFunction] = [
    positive_data_acceptance,  # a cursor or filter value of the right shape may still be nobody's
    unsupported_method,  # HEAD and OPTIONS are everywhere, documented once in words
]


def asked(case: Any, server: Server, **headers: str) -> None:
    """Send a case, compare the answer with the document."""
    if "wait" in (case.query or {}):
        case.query.pop("wait")  # holding requests open is tested elsewhere
    answer = case.call(base_url=server.origin, headers=headers)
    too_long = answer.status_code in (414, 431)  # also a refusal; the fuzzer's list lacks it
    case.validate_response(answer, excluded_checks=[*SKIPPED, negative_data_rejection] if too_long else SKIPPED)


@schema.parametrize()
@settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
def test_public(case: Any, server: Server) -> None:
    """As the public."""
    asked(case, server)


@schema.parametrize()
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
def test_department(case: Any, server: Server, city: City) -> None:
    """As a department, whose rows are made live."""
    asked(case, server, authorization=f"Bearer {_token(city)}")


_TOKENS: dict[str, str] = {}


def _token(city: City) -> str:
    """One token a city: the clock of the tests stands still, so it does not end."""
    key = str(city.folder)
    if key not in _TOKENS:
        _TOKENS[key] = city.token()
    return _TOKENS[key]
