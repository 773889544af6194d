"""A partner that signs nothing, in this process: its adapter (one JSON object a row), and what it does well or badly when told to."""

import asyncio
import json
from collections import Counter
from typing import Any

from msgspec import Struct, structs

from gateway.adapter_contract import CONTRACT_VERSION, AdapterError, Counts, Diagnostic, LateReply, RowResult
from gateway.adapter_loading import Adapters
from gateway.services import Services
from gateway.settings import PartnerSetting
from tests.administrators import Admin, enrolled

PROVINCE = "credit.jl.example"
FIELDS = ["CF_XDR_MC", "CF_XDR_SHXYM", "CF_WSH", "CF_NR_FK", "CF_JDRQ"]
LINE = """\
id = "province"
partner = "credit.jl.example"
org = "11220500XXT0001181"
title = "向省级平台报送双公示信息"
basis = [{ text = "《吉林省社会信用条例》" }]
owner = "信用信息中心"
tier = "supervisor"
purpose = "province.report"
from = 2026-01-01
until = 2026-12-31
%s

[[datasets]]
dataset = "administrative-penalties"
regions = ["220500"]
subject_kinds = %s
fields = %s
"""


def line_file(more: str = "", *, kinds: str = '["legal"]', fields: list[str] = FIELDS, **instead: str) -> bytes:
    """The file of a line to the province, with other words in it."""
    text = LINE % (more, kinds, json.dumps(fields))
    for name, value in instead.items():
        text = "\n".join(f"{name} = {value}" if row.startswith(f"{name} =") else row for row in text.split("\n"))
    return text.encode()


class Desk:
    """The partner's desk: the rows that it holds, and its moods."""

    def __init__(self) -> None:
        self.capabilities = {"encode", "deliver", "reply", "withdrawals", "idempotent"}
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        self.batches: Counter[str] = Counter()
        self.mood = ""
        self.codes: dict[str, str] = {}
        """Record → what is said of it, instead of 00."""
        self.silent_about: set[str] = set()
        """Records that it leaves out of its answers."""
        self.slow, self.others = "", asyncio.Event()
        """A stream over which it takes a batch only when it has one over another stream."""
        self.late: list[LateReply] = []
        self.told: list[Counts] = []
        self.longest = 200
        self.encoded = 0


class NoConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to set."""


def adapter_of(desk: Desk) -> type[Any]:
    """The adapter to a desk."""

    class Clerk:
        contract_version = CONTRACT_VERSION
        capabilities = frozenset(desk.capabilities)
        Config = NoConfig

        def __init__(self, config: NoConfig, tools: object) -> None:
            self.capabilities = frozenset(desk.capabilities)

        def encode(self, rows: Any) -> bytes:
            desk.encoded += 1
            if desk.mood == "encode-raises":
                raise ZeroDivisionError("a secret value")
            for number, row in enumerate(rows, 1):
                if any(isinstance(value, str) and len(value) > desk.longest for value in row.fields.values()):
                    raise AdapterError("SCHEMA_LENGTH", "过长", transient=False, place=str(number))
            said = [{"rid": row.rid, "v": row.v, "op": row.op, "fields": row.fields, "sent": row.sent, "why": row.reason} for row in rows]
            return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in said).encode()

        async def deliver(self, sealed: Any) -> bytes | None:
            if desk.mood == "raises":
                raise KeyError("a secret value")
            if desk.mood == "huge":
                return b"x" * (8 * 2**20 + 1)
            if desk.mood == "down":
                raise AdapterError("UNAVAILABLE", "不通", transient=True)
            if desk.mood == "lost":
                self._take(sealed)
                raise AdapterError("UNAVAILABLE", "回执丢失", transient=True, outcome_unknown=True)
            if desk.mood.startswith("no table for ") and desk.mood[13:] in sealed.batch:
                raise AdapterError("SCHEMA_TABLE", "没有表", transient=False)
            if desk.mood == "hangs":
                await asyncio.sleep(3600)
            if desk.slow and f"/{desk.slow}/" in sealed.batch:
                await asyncio.wait_for(desk.others.wait(), 60)
            replies = self._take(sealed)
            desk.others.set()
            if desk.mood == "gibberish":
                return b"no answer of ours"
            return json.dumps(replies).encode() if "reply" in desk.capabilities else None

        def _take(self, sealed: Any) -> list[dict[str, str]]:
            desk.batches[sealed.batch] += 1
            replies = []
            for part in sealed.parts:
                for number, line in enumerate(b"".join(part.read()).splitlines(), 1):
                    row = json.loads(line)
                    desk.rows[row["rid"], row["v"]] = row
                    if row["rid"] not in desk.silent_about:
                        replies.append({"line": str(number), "code": desk.codes.get(row["rid"], "00")})
            return replies

        def read_reply(self, reply: bytes) -> tuple[RowResult, ...]:
            said = json.loads(reply)
            words: Any = {"00": "accepted", "10": "rejected"}
            return tuple(
                RowResult(
                    place=f"line {each['line']}" if "line" in each else "",
                    record_id=each.get("rid"),
                    version=each.get("v"),
                    result=words.get(each["code"], "held"),
                    code=None if each["code"] == "00" else each["code"],
                )
                for each in said
            )

        async def feedback(self, after: str | None) -> Any:
            for late in desk.late[int(after or 0) :]:
                yield late

        async def counts(self, day: Any) -> list[Counts]:
            return [each for each in desk.told if each.day == day]

        async def check(self) -> list[Diagnostic]:
            return [Diagnostic(what="连接", ok=desk.mood != "down", message="可以连接", remedy="检查网络")]

        async def close(self) -> None:
            return None

        def _never(self, *_: object) -> Any:
            raise AssertionError("called without its capability")

        decode = collect = ask = _never

    return Clerk


def at_desk(services: Services, desk: Desk, **more: Any) -> Services:
    """The same gateway with the adapter to this desk in its settings."""
    partners = (PartnerSetting(party=PROVINCE, adapter="clerk", config=more),)
    settings = structs.replace(services.settings, partners=partners)
    return structs.replace(services, settings=settings, adapters=Adapters({"clerk": lambda: adapter_of(desk)}))


async def two_persons(services: Services) -> tuple[Admin, Admin]:
    """An operator, and an approver of another unit."""
    approver = await enrolled(services, "li", "approver")
    return await enrolled(services, "zhang", "operator"), approver


