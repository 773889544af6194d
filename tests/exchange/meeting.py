"""A gateway of Tonghua, served by its own process, and the stranger: what both agreed, what the gateway has, what the stranger says.

The gateway is set up and told by its own commands; only its invented records are put in by the story, because a file would say no more.
"""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from base64 import b32encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.services import open_services
from tests.commands import chengxin, environment
from tests.exchange.stranger.city import Stranger
from tests.exchange.stranger.formats import JsonObject
from tests.exchange.stranger.records import Line, signed_form, statement
from tests.house import TONGHUA, make, settings_of, write_settings
from tests.operations.publishing import MARKET, TAX, code, penalty, put, violation
from tests.region import template

NOW = "2026-06-02T02:30:00Z"
STRANGER, ORG = "credit.baishan.example", "11220600XXT0001186"
PENALTIES, HONOURS = "administrative-penalties", "honours"
AGREEMENT = "tonghua-stranger-2026"
STREAM = f"{AGREEMENT}.{PENALTIES}"
PUSHED = f"{AGREEMENT}.{HONOURS}"
BATCHES = f"/streams/{STREAM}/batches"
QUERY = f'query = {{ levels = [1, 2], datasets = ["{PENALTIES}"], per_day = 100, per_officer_day = 100, per_subject_day = 100 }}'
LISTED = (3, 4, 5)
"""Firms of a public list."""


BEHIND = round((datetime.now(UTC) - datetime.fromisoformat(NOW)).total_seconds())
CLOCK = f"-PT{BEHIND}S"
"""Of the served process: it was set up at NOW, and its clock goes on from there, because some exits are left at a full half minute."""


def now() -> datetime:
    """The moment at which both cities are."""
    return datetime.now(UTC) - timedelta(seconds=BEHIND)


def agreement_file(stranger: Stranger, port: int, vkey: str) -> str:
    """What both offices have agreed on: penalties and honours as shipped; theirs pushed to us, ours pulled by them, honours pushed."""
    head, penalties, honours, *_ = template().split("[[streams]]")
    head = head.replace("tonghua-baishan-2026", AGREEMENT).replace('"exchange.batch", ', '"exchange.batch", "mutual.query", ')
    head = head.replace("natural_persons =", f"{QUERY}\nnatural_persons =")
    for party, base_url, key in (
        (TONGHUA, f"http://127.0.0.1:{port}/x/v1", vkey),
        (STRANGER, stranger.base_url, stranger.agreement_key.key.text),
    ):
        head = head.replace(f"https://{party}/x/v1", base_url).replace("agreement_keys = []", f'agreement_keys = ["{key}"]', 1)
    ours = penalties.replace('"push"', '"pull"')
    theirs = penalties.replace(f'from = "{TONGHUA}"\nto = "{STRANGER}"', f'from = "{STRANGER}"\nto = "{TONGHUA}"')
    scope = f'scope = {{ regions = ["220600"], except = [], authorities = ["{ORG}"], categories = ["penalty"] }}'
    theirs = re.sub(r"^scope = .*$", scope, theirs, flags=re.MULTILINE)
    local = '[local]\nadapter = "https_partner"\ntier = "partner"\nallow_private = true\n'
    return f"{head}[[streams]]{ours}[[streams]]{theirs}[[streams]]{honours}{local}"


class Gateway:
    """The gateway's folder, and its served process once it runs."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> str:
        """One of its commands."""
        done = chengxin(self.folder, *arguments, CHENGXIN_NOW=CLOCK)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serve(self) -> None:
        """The real process, until it answers."""
        said = environment(CHENGXIN_NOW=CLOCK, CHENGXIN_EXCHANGE_POLL_S="1", CHENGXIN_LOG_POLL_S="1")
        with (self.folder / "serve.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve"], cwd=self.folder, env=said, stdout=log, stderr=log, start_new_session=True
            )

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "serve.log").read_text(encoding="utf-8")
            try:
                return bool(self.read("/healthz", ""))
            except OSError:  # nobody listens yet, or it is not ready
                return False

        until(answers)

    def read(self, path: str, below: str = "/log/2026") -> bytes:
        """A public file, as anybody gets it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{below}{path}", timeout=20) as answer:
            data: bytes = answer.read()
        return data

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=20)


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """What comes, soon after there is something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.25)
    return found


def honour(number: int) -> JsonObject:
    """A row of the gateway's list of honours."""
    return {
        "主体名称": f"通化市示例{number}有限公司",
        "主体类别": "法人及非法人组织",
        "统一社会信用代码": code(number),
        "荣誉名称": "诚信示范企业",
        "荣誉级别": "市级",
        "认定日期": "2026-05-06",
        "有效期至": "2027-12-31",
        "认定机关": "通化市市场监督管理局（示例）",
        "认定机关统一社会信用代码": MARKET,
    }


def active(stranger: Stranger) -> bool:
    """Whether the agreement stands for the gateway too: it has the stranger's keys."""
    answer = stranger.ask("GET", "/agreements")
    if answer.status == 401:
        assert answer.code == "sig-unknown-key", "the gateway is fetching them"
        return False
    return str(answer.json["items"][0]["state"]) == "active"


@contextmanager
def agreed(folder: Path) -> Iterator[tuple[Stranger, Gateway]]:
    """Both cities, agreed by files as offices do it, and running."""
    stranger = Stranger(STRANGER, ORG, "220600", now)
    with socket.socket() as probe:  # while the stranger has its own
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    gateway = Gateway(folder, port)
    settings = settings_of(write_settings(folder, port=port), CHENGXIN_NOW=NOW)
    asyncio.run(make(settings))

    async def filled() -> None:
        async with open_services(settings) as services:
            rows = [penalty(code(n), f"通化市示例{n}有限公司", f"通市监罚〔2026〕{n}号") for n in (1, 2)]
            await put(services, PENALTIES, *rows)
            await put(services, HONOURS, honour(6), honour(7))
            await put(services, TAX, *(violation(code(n), f"通化市示例{n}有限公司", f"通税稽罚〔2026〕{n}号") for n in LISTED))

    asyncio.run(filled())
    (vkey,) = (line.split()[-1] for line in gateway.run("key", "list").splitlines() if line.startswith("agreement "))
    text = agreement_file(stranger, port, vkey)
    (folder / "agreement.toml").write_text(text, encoding="utf-8")
    offered = stranger.offered(signed_form(tomllib.loads(text)))
    (folder / "offer.json").write_text(json.dumps(offered), encoding="utf-8")
    gateway.run("agreement", "countersign", "agreement.toml", "offer.json", "--out", "signed.json")
    both = json.loads((folder / "signed.json").read_text(encoding="utf-8"))
    stranger.agreed(both, TONGHUA)
    try:
        gateway.serve()
        stranger.take_keys()
        until(lambda: active(stranger))
        yield stranger, gateway
    finally:
        gateway.stop()
        stranger.close()


def rid(number: int) -> str:
    """A record id of the stranger's."""
    return "rec_" + b32encode(bytes(15) + bytes([number])).decode().lower().rstrip("=")


def fields(number: int) -> JsonObject:
    """What the stranger's register says of a penalty, under the agreed names; null where it says nothing."""
    return {
        "CF_XDR_MC": f"白山市示例{number}有限公司",
        "CF_XDR_LB": "legal",
        "CF_XDR_SHXYM": code(number, division="220602"),
        "CF_WSH": f"白市监罚〔2026〕{number}号",
        "CF_WFXW": "超范围经营",
        "CF_SY": "超出登记的经营范围从事经营活动。",
        "CF_YJ": "《示例条例》第一条",
        "CF_CFLB": "罚款",
        "CF_NR": "罚款。",
        "CF_NR_FK": "1.2",
        "CF_JDRQ": "2026-03-02",
        "CF_YXQ": "2099-12-31",
        "CF_SXYZCD": "general",
        "CF_CFJG": "白山市市场监督管理局（示例）",
        "CF_CFJGDM": ORG,
        "CF_SJLY": "白山市市场监督管理局（示例）",
        "CF_SJLYDM": ORG,
    }


def asserted(stranger: Stranger, number: int, **changed: Any) -> Line:
    """A penalty of the stranger's as a record line."""
    values = dict.fromkeys(stranger.stream(PENALTIES, ours=True).fields) | fields(number) | changed
    clear = {
        "iss": STRANGER,
        "rid": rid(number),
        "v": 1,
        "op": "assert",
        "status": "in_force",
        "dataset": PENALTIES,
        "schema": f"{PENALTIES}/1.0",
        "category": "penalty",
        "region": "220600",
        "subject_kind": "legal",
        "authority": ORG,
        "authority_name": values["CF_CFJG"],
        "decided_on": "2026-03-02",
        "publish_until": None,
        "dispute": False,
        "reason": None,
        "basis": [{"text": "《示例条例》第一条", "uri": None, "item": None}],
        "trust": "signed",
        "at": "2026-06-01T01:00:00Z",
    }
    return statement(clear, values, os.urandom(32))
