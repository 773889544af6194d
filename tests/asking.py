"""Two cities over real sockets for mutual queries: Tonghua holds records and is served, Baishan asks it through its real line.

Strategy: the pair is made once a module and Tonghua served on a thread; each test opens Baishan in its own loop and asks about firms of
its own. Questions can also be made by hand, and signed as Baishan signs.
"""

import asyncio
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn

from gateway.app import create_app
from gateway.core.exchange import notes, questions, wire
from gateway.core.exchange.questions import Answer, Question, SubjectAsked, Under
from gateway.operations.ask_partner import Asker, Asking
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from gateway.settings import Settings
from tests.house import PLAIN, settings_of
from tests.operations.publishing import PENALTIES, code, penalty, put
from tests.region import AGREEMENT, BAISHAN, NOW, TONGHUA, SignedBy, a_city, agree, signed_by, template

TERMS = "query = {{ levels = {levels}, datasets = {datasets}, per_day = {day}, per_officer_day = {officer}, per_subject_day = {subject} }}"
ORG = "11220600XXT0001186"
CASE = "白市监案〔2026〕31号"
ASKER = Asker(actor="office:test", org=ORG)


def with_terms(*, levels: str = "[1, 2]", datasets: str = f'["{PENALTIES}"]', day: int = 500, officer: int = 400, subject: int = 50) -> str:
    """The shipped agreement, under which the cities may also ask one another."""
    terms = TERMS.format(levels=levels, datasets=datasets, day=day, officer=officer, subject=subject)
    text = template().replace('"exchange.batch", "mutual.recognition"', '"exchange.batch", "mutual.query", "mutual.recognition"')
    return text.replace("natural_persons =", f"{terms}\nnatural_persons =", 1)


def firm(number: int) -> SubjectAsked:
    """A firm of nobody."""
    return SubjectAsked(kind="legal", uscc=code(number))


def asking(number: int, **more: Any) -> Asking:
    """What a case needs to know of a firm."""
    said: dict[str, Any] = {"subject": firm(number), "case": CASE, "basis": "《示例条例》第一条", "officer": "测试员乙"}
    return Asking(**said | more)


class Towns:
    """Both cities on disk."""

    def __init__(self, folder: Path, *texts: str) -> None:
        self.folder = folder
        self.texts = texts
        self.ports = free_port(), free_port()
        self.auth: SignedBy | None = None
        self.taken: Any = None
        """What taking records in gave."""

    def ours(self, now: str = NOW):
        """Tonghua, opened here."""
        return a_city(self.folder / "th", TONGHUA, now=now, port=self.ports[0], new=not (self.folder / "th" / "data").exists())

    def theirs(self, now: str = NOW):
        """Baishan, opened here."""
        return a_city(self.folder / "bs", BAISHAN, now=now, port=self.ports[1], new=not (self.folder / "bs" / "data").exists())

    def settings(self, city: str = "th", now: str = NOW) -> Settings:
        """Tonghua's, or Baishan's (`bs`)."""
        return settings_of(self.folder / city / "chengxin.toml", CHENGXIN_NOW=now, CHENGXIN_EXCHANGE_POLL_S="0")

    def make(self, then: Callable[[Services], Any]) -> None:
        """Agree, and let Tonghua take records in and seal what it sends."""

        async def made() -> None:
            async with self.ours() as ours, self.theirs() as theirs:
                for text in self.texts:
                    await agree(ours, theirs, text)
                self.taken = await then(ours)
                await send_batch(ours, at_once=True)  # nobody listens there: what was sealed is on its way
                self.auth = signed_by(theirs)

        asyncio.run(made())

    def question(self, number: int, **more: Any) -> Question:
        """A question of Baishan, made by hand."""
        now = datetime.fromisoformat(NOW)
        said: dict[str, Any] = {
            "id": wire.b64u(os.urandom(16)),
            "agreement": Under(id=AGREEMENT, version=1),
            "from_": BAISHAN,
            "to": TONGHUA,
            "level": 1,
            "purpose": "mutual.query",
            "case": CASE,
            "basis": "《示例条例》第一条",
            "officer": "o" * 32,
            "subject": firm(number),
            "datasets": (PENALTIES,),
            "follows": None,
            "asked_at": wire.instant(now),
            "deadline": wire.instant(now + timedelta(seconds=5)),
        }
        return Question(**said | more)


class Door:
    """Tonghua's `/x/v1`, asked as Baishan asks."""

    def __init__(self, towns: Towns) -> None:
        self.towns = towns
        assert towns.auth is not None
        self.origin = f"http://127.0.0.1:{towns.ports[0]}/x/v1"
        self.client = httpx.Client(base_url=self.origin, timeout=30, verify=PLAIN)

    def signed(self, **changed: Any) -> SignedBy:
        """How a request is signed; `changed` what is signed otherwise."""
        auth = self.towns.auth
        assert auth is not None
        return SignedBy(auth.signer, auth.now, **{"tag": "cx-query"} | changed)

    def post(self, body: bytes | Question, **changed: Any) -> httpx.Response:
        """POST a question."""
        data = body if isinstance(body, bytes) else questions.question_body(body)
        return self.client.post("/query", content=data, headers={"content-type": "application/json"}, auth=self.signed(**changed))

    def ask(self, asked: Question) -> Answer:
        """The answer, as it reads."""
        answer = self.post(asked)
        assert answer.status_code == httpx.codes.OK, answer.text
        return questions.answer_of(notes.read_envelope(answer.content).body)

    def digest(self, asked: Question) -> str:
        """Ask, and give the digest of the answer's body."""
        return wire.digest_text(notes.read_envelope(self.post(asked).content).body)


@contextmanager
def listening(settings: Settings, port: int) -> Iterator[str]:
    """A city, listening on a thread."""
    config = uvicorn.Config(
        create_app(settings),
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the city did not start")
        threading.Event().wait(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def served(towns: Towns, now: str = NOW) -> Iterator[Door]:
    """Tonghua, listening."""
    with listening(towns.settings(now=now), towns.ports[0]):
        door = Door(towns)
        yield door
        door.client.close()


def free_port() -> int:
    """A port that nobody has just now, below those that the system gives to whoever connects: it is used some seconds later."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def fined(number: int, document: str = "通示罚〔2026〕1号", **more: Any) -> dict[str, Any]:
    """A penalty of a firm."""
    return penalty(code(number), f"通化市测试{number}商贸有限公司", document, **more)


async def take(services: Services, *rows: dict[str, Any], **more: Any) -> list[str]:
    """Take penalties in; their ids."""
    return [str(outcome.record_id) for outcome in await put(services, PENALTIES, *rows, **more)]


def replaced(value: Any, **changed: Any) -> Any:
    """The same Struct with other members."""
    return msgspec.structs.replace(value, **changed)
