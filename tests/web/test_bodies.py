"""JSON bodies at the doors: what no database and no answer can hold is no text, wherever it stands."""

import json
from typing import Any

import pytest

from gateway.core.callers.compact import unkeepable
from gateway.core.errors import BodyInvalid
from gateway.web.bodies import read_json
from tests.web.city import Server

HALF = "\ud800"
NUL = "rec_\0"
ASKED: dict[str, list[Any]] = {
    "/v1/match": [
        {"queries": HALF},
        {"queries": [{"id": HALF, "name": "通化"}]},
        {"queries": [{"id": "a", "name": HALF}]},
        {"queries": [{"id": "a", "name": "通化", "region": HALF}]},
        {"queries": [{"id": "a", "name": "通化", HALF: 1}]},
        {"queries": [{"id": "a", "name": NUL}]},
    ],
    "/v1/receipts": [{"url": HALF}, {"url": f"/v1/subjects?q={HALF}"}, {HALF: 1}, {"url": NUL}],
    "/v1/lookups": [{"dataset": HALF}, {"dataset": "administrative-penalties", "id_no": "220599198001010013", "name": f"测试{HALF}"}],
}


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, bodies in ASKED.items() for body in bodies])
def test_what_is_no_character_makes_no_text(server: Server, path: str, body: object) -> None:
    """Half a surrogate pair and U+0000, in a value or a name, are the sender's fault: never one of the program or its database."""
    answer = server.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) in ((400, "body-invalid"), (403, "not-permitted")), answer.text
    assert (answer.status_code == 403) == (path == "/v1/lookups"), "the public looks nobody up"
    with pytest.raises(BodyInvalid):
        read_json(json.dumps(body).encode(), dict[str, Any])


def test_whole_characters_are_texts() -> None:
    """A pair that is whole, and a backslash before a `u`, are read as they are."""
    for text in ("𠮷", "\\ud800", "\\\\ud800", "\\u0000", "\t"):
        raw = json.dumps({"a": text}).encode()
        assert unkeepable(raw, json.loads(raw)) is None
        assert read_json(raw, dict[str, Any]) == {"a": text}
