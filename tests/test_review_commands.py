"""`chengxin review …`: what the commands ask of the gateway, as an application of a department."""

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner, Result

from gateway import reference_client
from gateway.cli import cli

TEXT = "rec_2222222222222222222222222a~facts"


class Asked:
    """A gateway's client that keeps what it was asked, and answers what it was told to."""

    said: list[tuple[str, str, Any]] = []  # noqa: RUF012 - one list for the one client of a test
    answers: list[httpx.Response] = []  # noqa: RUF012 - the same

    def __init__(self, origin: str, app: str, key: object) -> None:
        self.origin = origin
        assert (app, key) == ("desk", "the key")

    def request(self, method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> httpx.Response:
        """One call."""
        assert headers["Purpose"] == "dept.supervision"
        self.said.append((method, url, None if body is None else msgspec.json.decode(body)))
        return self.answers.pop(0)


class KeyFile:
    """Reads any file as the one key."""

    @staticmethod
    def read(_: Path) -> str:
        """The key."""
        return "the key"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> type[Asked]:
    """The client, without a past."""
    Asked.said, Asked.answers = [], []
    monkeypatch.setattr(reference_client, "Client", Asked)
    monkeypatch.setattr(reference_client, "Key", KeyFile)
    return Asked


def run(folder: Path, *words: str) -> Result:
    """The command, with the options that every one needs."""
    key = folder / "key.pem"
    key.write_text("", encoding="utf-8")
    return CliRunner().invoke(cli, ["review", *words, "--app", "desk", "--key", str(key), "--url", "https://g.example", "--json"])


def test_the_list_goes_on_to_its_end(asked: type[Asked], tmp_path: Path) -> None:
    """Page after page, with the filters."""
    item = {"id": TEXT, "dataset": "d", "label": "l", "residual": 1, "since": "s", "overdue": False}
    asked.answers = [httpx.Response(200, json={"items": [item], "next": "s~r"}), httpx.Response(200, json={"items": [], "next": None})]
    done = run(tmp_path, "list", "--overdue", "--dataset", "d")
    assert done.exit_code == 0, done.output
    assert msgspec.json.decode(done.output) == [item]
    assert [url for _, url, _ in asked.said] == [
        "https://g.example/v1/reviews?dataset=d&overdue=1",
        "https://g.example/v1/reviews?dataset=d&overdue=1&after=s%7Er",
    ] or asked.said[1][1].endswith("after=s~r")


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (("approve", TEXT, "--same-text"), "approve", {"same_text": True}),
        (("edit", TEXT, "--span", "3-6", "--span", "9-11"), "edit", {"spans": [{"start": 3, "end": 6}, {"start": 9, "end": 11}]}),
        (("refuse", TEXT, "--reason", "x"), "refuse", {"reason": "x"}),
    ],
)
def test_decisions_are_posted(asked: type[Asked], tmp_path: Path, words: tuple[str, ...], path: str, body: object) -> None:
    """Each with its own body."""
    asked.answers = [httpx.Response(200, json={"id": TEXT, "decision": "released", "decided": 1})]
    done = run(tmp_path, *words)
    assert done.exit_code == 0, done.output
    assert asked.said == [("POST", f"https://g.example/v1/reviews/{TEXT}/{path}", body)]


def test_wrong_spans_and_problems_are_told(asked: type[Asked], tmp_path: Path) -> None:
    """A span that is none is wrong usage; a problem of the gateway is told by its code."""
    assert run(tmp_path, "edit", TEXT, "--span", "3").exit_code == 2
    asked.answers = [httpx.Response(404, json={"code": "not-found", "detail": "没有可以显示的内容。"})]
    done = run(tmp_path, "show", TEXT)
    assert done.exit_code == 1
    assert str(done.exception) == f"not-found at https://g.example/v1/reviews/{TEXT}: 404 没有可以显示的内容。"
