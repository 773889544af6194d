"""How the demo shows the exchange: agreement, batch, receipt, recognition, repair, and a proof that it checks itself.

Rules: the agreement is the shipped template with both cities' addresses and keys; batches go over HTTP by the story that
`chengxin exchange send` tells; what the neighbour answers is read over HTTP. The proof is checked from what is public: signed
checkpoints, the keys document, the leaves. This room must not write to a store.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx

from gateway.core.exchange import feedback, merkle, notes
from gateway.core.exchange.wire import SHA256, b64
from gateway.demo.cities import City
from gateway.demo.views import PENALTIES, DemoFailed, ask, records_of
from gateway.operations.handle_case import repair
from gateway.operations.list_measures import list_measures
from gateway.operations.manage_agreements import (
    Side,
    agreement_with,
    agreements,
    base_url,
    countersign,
    filled,
    offer,
    own_keys,
    take,
    take_keys,
)
from gateway.operations.partners import LineTools, trusted_keys
from gateway.operations.send_batch import Sent, send_batch
from gateway.operations.set_up import shipped_policies
from gateway.sample.generate import Showcase
from gateway.services import Services
from gateway.store import inbox, ledger, outbox

HONOURS = "honours"
FILINGS = "agency-filings"
PATIENCE_S = 30.0


def template() -> str:
    """The agreement that the installation ships, without addresses and keys."""
    found = sorted((shipped_policies() / "agreements").glob("*.toml"))
    if not found:
        raise DemoFailed("the installation ships no agreement", place="policies/agreements")
    return found[0].read_text(encoding="utf-8")


async def agree(services: Mapping[str, Services], cities: tuple[City, City], *, signed: bool, wording: str = "") -> list[str]:
    """Offer the template in Tonghua (or this wording), countersign in Baishan, take back; each side gets the other's keys.

    Shown only, when it is signed.
    """
    ours, theirs = (services[city.key] for city in cities)
    if not signed:
        sides = {
            one.signers.party: Side(base_url=base_url(one), agreement_keys=(one.signers.signing("agreement", one.clock()).vkey,))
            for one in (ours, theirs)
        }
        text = filled(wording or template(), sides).encode()
        offered = await offer(ours, text, by="demo")
        countersigned = await countersign(theirs, offered, text, by="demo")
        await take(ours, countersigned, by="demo")
        for one, other in ((ours, theirs), (theirs, ours)):
            await take_keys(one, await own_keys(other), by="demo")
    lines = []
    for city in cities:
        for held in await agreements(services[city.key]):
            lines.append(f"{city.name}: {held.id} version {held.version}, {held.state}, signed by {' and '.join(held.signed_by)}")
            lines.append(f"  {held.digest}")
    return lines


class Exchange:
    """The chapters about the exchange."""

    def __init__(self, services: Mapping[str, Services], cities: tuple[City, City], sample: Showcase) -> None:
        self._cities = cities
        self._ours, self._theirs = (services[city.key] for city in cities)
        self._sample = sample

    @property
    def _names(self) -> tuple[str, str]:
        return self._cities[0].name, self._cities[1].name

    async def send(self) -> list[str]:
        """Seal and deliver what changed; each stream with its head and its receipt."""
        return [line for sent in await self._send() for line in await self._sent_lines(sent)]

    async def _send(self) -> list[Sent]:
        """Send until everything is acknowledged; the gateway that is up sends on its own, too, and whoever comes first seals."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            report = await send_batch(self._ours, at_once=True)
            stopped = next((sent for sent in report if sent.state == "stopped"), None)
            if stopped is not None:
                raise DemoFailed(f"the stream has stopped: {stopped.code}", place=stopped.stream)
            waiting = next((sent for sent in report if sent.waiting), None)
            if waiting is None:
                return report
            if asyncio.get_running_loop().time() > deadline:
                raise DemoFailed(f"the batch is not acknowledged: {waiting.code or waiting.state}", place=waiting.stream)
            await asyncio.sleep(0.2)

    async def _sent_lines(self, sent: Sent) -> list[str]:
        """The last batch of a stream, and what the neighbour's receipt for it says; its signature was checked before it counted."""
        row, no = None, 1
        while (later := await ledger.received_receipt(self._ours.store.reads, sent.stream, no)) is not None:
            row, no = later, no + 1
        if row is None:
            raise DemoFailed("the stream has no receipt", place=sent.stream)
        receipt = feedback.read_receipt(row.body)
        counts = receipt.counts
        told = {"accepted": counts.accepted, "unchanged": counts.unchanged, "held": counts.held, "withdrawn": counts.withdrawn}
        left_out = f"; not sent: {dict(sent.not_sent)}" if sent.not_sent else ""
        return [
            f"{sent.stream} → {sent.partner}",
            f"  batch {sent.seq}: {_many(counts.lines, 'line')}, tree size {sent.size}, root {sent.root}{left_out}",
            f"  receipt {receipt.no}, signed by {receipt.receiver}/x, verified: {receipt.result}, "
            + ", ".join(f"{what} {count}" for what, count in told.items() if count),
        ]

    async def recognised(self) -> list[str]:
        """An honour and a filing as Tonghua says them, as Baishan shows them to its own public, and the measures that go back."""
        async with self._client(0) as home, self._client(1) as next_door:
            honours = [honour for honour in await records_of(home, self._sample.firm.uscc, HONOURS) if not honour["marks"]]
            filings = (await ask(home, f"/v1/records?dataset={FILINGS}"))["items"]
            both = [await self._in_both(next_door, honours), await self._in_both(next_door, filings)]
        lines = []
        for (ours, there), what in zip(both, ("honour_name", "filing_number"), strict=True):
            marks = [f"{mark['code']} ({mark['label']})" for mark in there["marks"]]
            lines.append(f"{self._names[0]}: {ours['id']} {ours['fields'].get(what)} of {ours['subject']['name']}")
            lines.append(f"{self._names[1]}: the same record, source {there['source']['name']}, marks: {', '.join(marks) or 'none'}")
            said = [mark for mark in there["marks"] if "issuer" in mark]
            lines += [f"  issued by {mark['issuer']} under {mark['agreement']}, as of {mark['as_of']}" for mark in said]
        await send_batch(self._theirs, at_once=True)
        told = [each for ours, _ in both for each in await list_measures(self._ours, ours["id"])]
        lines.append(f"{self._names[0]} is told: {', '.join(f'{each.code} {each.standing}' for each in told) or 'nothing'}")
        return lines

    async def repair(self, repaired: str | None) -> tuple[str, list[str]]:
        """Repair the firm's penalty in Tonghua, send the repair, and see it gone from both cities' answers; the record's id."""
        lines = []
        async with self._client(0) as home, self._client(1) as next_door:
            if repaired is None:
                penalty, _ = await self._in_both(next_door, await records_of(home, self._sample.firm.uscc, PENALTIES))
                repaired = str(penalty["id"])
                lines.append(f"before: {repaired} {penalty['document_number']} is shown in both cities")
                done = await repair(self._ours, repaired, actor="demo", document="示例")
                lines.append(f"{self._names[0]}: {done.state} at {done.at:%Y-%m-%dT%H:%M:%SZ}")
                for sent in await self._send():
                    if sent.stream.endswith(f".{PENALTIES}"):
                        lines += await self._sent_lines(sent)
            for client, name in ((home, self._names[0]), (next_door, self._names[1])):
                await self._gone(client, repaired)
                lines.append(f"{name}: GET {_origin(client)}/v1/records/{repaired} → 404, and not among the firm's records")
        return repaired, lines

    async def prove(self, repaired: str) -> list[str]:
        """Both heads of the penalties' stream, and the proof that the repair is in the log that Baishan holds."""
        reads = self._ours.store.reads
        report = {sent.stream: sent for sent in await self._send()}
        name = next(stream for stream in report if stream.endswith(f".{PENALTIES}"))
        out = await outbox.out_stream(reads, name)
        into = await inbox.in_stream(self._theirs.store.reads, self._ours.signers.party, name)
        sent = (await ledger.sent_records(reads, name, [repaired])).get(repaired)
        if out is None or into is None or sent is None:
            raise DemoFailed("the stream of penalties holds nothing", place=name)
        async with self._client(0) as home:
            checkpoint = await self._believed(await self._checkpoint(home, name))
        leaves = await outbox.out_leaf_hashes(reads, name, out.head.epoch)
        proof = merkle.inclusion_proof(leaves, sent.idx)
        root = merkle.root_from_proof(leaves[sent.idx], sent.idx, len(leaves), proof)
        earlier = merkle.CompactRange(SHA256)
        earlier.extend(leaves[: sent.idx])
        before = earlier.root()
        earlier.extend(leaves[sent.idx :])
        if not (
            root == checkpoint.root == into.head.tree.root() == earlier.root() and checkpoint.size == len(leaves) == into.head.tree.size
        ):
            raise DemoFailed("the two heads differ, or the proof does not lead to them", place=name)
        return [
            f"stream {name}",
            f"{self._names[0]} has sent     size {out.head.tree.size:>6}  root {b64(out.head.tree.root())}",
            f"{self._names[1]} has admitted size {into.head.tree.size:>6}  root {b64(into.head.tree.root())}",
            f"checkpoint of {self._cities[0].origin}: signed by {self._ours.signers.party}/x, a key that {self._names[1]} trusts: verified",
            f"the repair is leaf {sent.idx}: {len(proof)} hashes lead from it to that root: verified",
            f"the log before it (size {sent.idx}, root {b64(before)}) is the beginning of that log: recomputed, verified",
        ]

    async def _checkpoint(self, home: httpx.AsyncClient, stream: str) -> str:
        """The head of a stream, asked for by Baishan: whoever has not signed is told nothing."""
        address = base_url(self._ours)
        headers = LineTools(self._theirs, address).sign_request("GET", f"{address}/streams/{stream}/checkpoint", None, None)
        answer = await home.get(f"/x/v1/streams/{stream}/checkpoint", headers=dict(headers))
        if answer.status_code != httpx.codes.OK:
            raise DemoFailed(f"the checkpoint was not given: {answer.status_code}", place=stream)
        return answer.text

    async def _believed(self, note: str) -> notes.Checkpoint:
        """Tonghua's checkpoint, believed under the keys that Baishan trusts, and under no others."""
        reads, party = self._theirs.store.reads, self._ours.signers.party
        held = await agreement_with(reads, self._theirs.signers.party, party, self._theirs.clock())
        if held is None:
            raise DemoFailed("there is no agreement", place=party)
        ring, _ = await trusted_keys(reads, held, party)
        text = notes.verify(note, ring, use="exchange", required=frozenset({"ed25519"}), first_seen=self._theirs.clock())
        return notes.read_checkpoint(text)

    def _client(self, which: int) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self._cities[which].origin, timeout=30)

    async def _in_both(self, next_door: httpx.AsyncClient, records: list[Any]) -> tuple[Any, Any]:
        """The first of our records that the neighbour shows too, as soon as its reader of the log has come to it; both answers.

        Not every record travels: what the agreement asks for may be held here until somebody has looked.
        """
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            for record in records:
                with suppress(DemoFailed):
                    return record, await ask(next_door, f"/v1/records/{record['id']}")
            if asyncio.get_running_loop().time() > deadline:
                raise DemoFailed("the neighbour shows none of the firm's records", place=f"{_origin(next_door)}/v1/records/…")
            await asyncio.sleep(0.2)

    async def _gone(self, client: httpx.AsyncClient, record_id: str) -> None:
        """Not found, and not in the list of the firm's records: at once, no reader is waited for."""
        answer = await client.get(f"/v1/records/{record_id}")
        listed: list[Any] = []
        with suppress(DemoFailed):  # a subject of whom nothing else is public is not found either
            listed = await records_of(client, self._sample.firm.uscc, PENALTIES)
        if answer.status_code != httpx.codes.NOT_FOUND or any(record["id"] == record_id for record in listed):
            raise DemoFailed("a repaired record is still shown", place=f"{_origin(client)}/v1/records/{record_id}")


def _origin(client: httpx.AsyncClient) -> str:
    return str(client.base_url).rstrip("/")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
