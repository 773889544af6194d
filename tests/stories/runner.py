"""Runs stories: plain text that a lawyer can read, played against a whole gateway on a real socket.

    # a comment
    clock 2026-07-01                        midnight in China of that day, or an instant; the gateway is started anew
    ingest DATASET as USCC officer NAME     the indented lines that follow are the file, CSV in UTF-8
    ingest DATASET vouched                  the same without anybody who answers for it
    settle                                  all readers to the end, removals told
    repair ID · withdraw ID REASON · dispute open ID · dispute close ID upheld|rejected
    token department dept.supervision       an access token, kept as {token}
    GET /v1/lists | Accept: text/csv        a request; after | its header fields
    status 200 · header etag contains W/ · header link lacks next · no header link
    body contains TEXT · body lacks TEXT · body is TEXT · lines 3
    keep seq = $.next_since                 remember a value of the last JSON answer, used as {seq}
    keep tag = header etag

A story that fails says file and line. Nothing here knows the inside of the gateway but the stories of `operations/`.
"""

import json
import re
import shlex
import shutil
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx

from gateway.app import create_app
from gateway.operations import handle_case, manage_keys
from gateway.operations.ingest import ingest
from gateway.operations.render_public import settle
from gateway.operations.set_up import set_up, shipped_policies
from gateway.operations.withdraw import withdraw
from gateway.services import Services, open_services
from tests.house import settings_of, write_settings
from tests.web.serving import client_of

CHINA = timezone(timedelta(hours=8))
ORIGIN = "http://127.0.0.1:8000"


def _renewed(folder: Path) -> Path:
    """The shipped policies of a city that renews its exceptions in time: a story runs for years, and an ended plan answers 503."""
    shutil.copytree(shipped_policies(), folder)
    redlines = folder / "redlines.toml"
    redlines.write_text(redlines.read_text(encoding="utf-8").replace("until = 2027-12-31", "until = 2037-12-31"), encoding="utf-8")
    return folder


class StoryFailedError(AssertionError):
    """A line of a story that does not hold."""


class Story:
    """One story in play: the gateway's folder, the clock, the last answer, what was kept."""

    def __init__(self, path: Path, folder: Path, database: str = "") -> None:
        self.path = path
        self.folder = folder
        self.settings_file = write_settings(folder, database=database, policies=_renewed(folder / "policies"))
        self.now = "2026-06-01T02:30:00Z"
        self.kept: dict[str, str] = {}
        self.answer: httpx.Response | None = None
        self.files = 0
        self._stack = AsyncExitStack()
        self._client: httpx.AsyncClient | None = None
        self._services: Services | None = None

    async def play(self) -> None:
        """Every line in order. Raises StoryFailedError with file, line and what was answered."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        number = 0
        try:
            while number < len(lines):
                line, number = lines[number], number + 1
                if not line.strip() or line.startswith("#"):
                    continue
                block = []
                while number < len(lines) and lines[number].startswith("    "):
                    block.append(lines[number][4:])
                    number += 1
                try:
                    await self._step(line.strip(), block)
                except StoryFailedError as error:
                    raise StoryFailedError(f"{self.path.name}:{number}: {line.strip()}\n{error}\n{self._told()}") from error
        finally:
            await self._close()

    async def _step(self, line: str, block: list[str]) -> None:
        verb, _, rest = line.partition(" ")
        rest = self._filled(rest)
        match verb:
            case "clock":
                await self._close()
                self.now = (
                    rest
                    if "T" in rest
                    else datetime.fromisoformat(rest).replace(tzinfo=CHINA).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                )
            case "ingest":
                await self._ingest(rest, block)
            case "settle":
                await settle(await self.services())
            case "repair":
                await handle_case.repair(await self.services(), rest, actor="story")
            case "withdraw":
                record, _, reason = rest.partition(" ")
                await withdraw(await self.services(), record, reason=reason, actor="story")
            case "dispute":
                await self._dispute(*rest.split())
            case "token":
                tier, purpose = rest.split()
                issued = await manage_keys.issue_token(
                    await self.services(), app="story-app", org="11220500XXT0001181", tier=tier, purpose=purpose, by="story"
                )
                self.kept["token"] = issued.token
            case "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT" | "DELETE":
                await self._ask(verb, rest)
            case "keep":
                name, _, where = rest.partition(" = ")
                self.kept[name] = self._found(where)
            case _:
                self._check(verb, rest)

    async def services(self) -> Services:
        """The gateway as the command line opens it, at the story's time."""
        if self._services is None:
            settings = settings_of(self.settings_file, CHENGXIN_NOW=self.now)
            if not settings.data_path.exists():
                await set_up(settings, by="story")
            self._services = await self._stack.enter_async_context(open_services(settings))
        await self._services.policies.refresh()
        return self._services

    async def _server(self) -> httpx.AsyncClient:
        if self._client is None:
            settings = (await self.services()).settings
            self._client = await self._stack.enter_async_context(client_of(create_app(settings)))
        return self._client

    async def _close(self) -> None:
        await self._stack.aclose()
        self._client = self._services = None

    async def _ingest(self, rest: str, block: list[str]) -> None:
        words = shlex.split(rest)
        dataset = words[0]
        authority, officer = (None, None) if words[1] == "vouched" else (words[2], words[4])
        self.files += 1
        path = self.folder / f"{self.files}.csv"
        path.write_text("\n".join(block) + "\n", encoding="utf-8")
        receipt = await ingest(
            await self.services(), dataset=dataset, path=path, authority=authority, officer=officer, encoding="utf-8", progress=None
        )
        if receipt.rejected:
            raise StoryFailedError(f"rejected: {receipt.rejected} {receipt.rows}")

    async def _dispute(self, act: str, record: str, outcome: str = "") -> None:
        services = await self.services()
        if act == "open":
            await handle_case.open_dispute(services, record, actor="story")
        else:
            await handle_case.close_dispute(services, record, upheld=outcome == "upheld", actor="story")

    async def _ask(self, method: str, rest: str) -> None:
        target, *fields = (piece.strip() for piece in rest.split(" | "))
        headers = {name.strip(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        client = await self._server()
        self.answer = await client.request(method, target.removeprefix(ORIGIN), headers=headers)

    def _filled(self, text: str) -> str:
        return re.sub(r"{(\w+)}", lambda match: self.kept.get(match[1], match[0]), text)

    def _found(self, where: str) -> str:
        answer = self._answered()
        if where.startswith("header "):
            return answer.headers[where.removeprefix("header ")]
        value: Any = answer.json()
        for piece in re.findall(r"\.(\w+)|\[(-?\d+)\]", where):
            try:
                value = value[piece[0]] if piece[0] else value[int(piece[1])]
            except (KeyError, IndexError, TypeError) as error:
                raise StoryFailedError(f"the answer has no {where}") from error
        return value if isinstance(value, str) else json.dumps(value)

    def _answered(self) -> httpx.Response:
        if self.answer is None:
            raise StoryFailedError("nothing has been asked yet")
        return self.answer

    def _told(self) -> str:
        if self.answer is None:
            return ""
        return f"{self.answer.status_code} {dict(self.answer.headers)}\n{self.answer.text[:4000]}"

    def _check(self, verb: str, rest: str) -> None:
        answer = self._answered()
        kind, _, text = rest.partition(" ")
        match verb, kind:
            case "status", _:
                holds = answer.status_code == int(rest)
            case "body", "contains":
                holds = text in answer.text
            case "body", "lacks":
                holds = text not in answer.text
            case "body", "is":
                holds = text == answer.text
            case "body", "empty":
                holds = answer.text == ""
            case "lines", _:
                holds = len(answer.text.splitlines()) == int(rest)
            case "no", "header":
                holds = text not in answer.headers
            case "header", _:
                how, _, wanted = text.partition(" ")
                value = answer.headers.get(kind, "")
                holds = {"contains": wanted in value, "lacks": wanted not in value, "is": wanted == value}[how]
            case _:
                raise StoryFailedError("no word of a story")
        if not holds:
            raise StoryFailedError("does not hold")
