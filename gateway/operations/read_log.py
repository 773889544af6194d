"""Answer about the transparency log: heads, tiles, entries, and the proof of one record (api.md §7.17, exchange.md §15).

Rules: only what a signed head covers is given. A proof by record is for what is public; by commitment for whoever has row and salt, also
after the record left. Of what is not public nothing is said, not even that it is known. This story must not sign.
"""

from hashlib import sha256
from math import ceil
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import NotFound
from gateway.core.exchange import notes
from gateway.core.exchange.merkle import proof_text
from gateway.core.publication.versions import commitment_of, row_line, salt_of
from gateway.core.transparency import tiles
from gateway.core.transparency.entries import Place, origin_of, read_entry
from gateway.core.transparency.tiles import BUNDLE, TileName
from gateway.operations.answering import begin, document_answer
from gateway.operations.asking import Answer, Language
from gateway.operations.collected import left_out, row_of
from gateway.operations.keep_log import inclusion_proof, policy_of, vkeys_of
from gateway.operations.live_records import live
from gateway.services import Services
from gateway.store import transparency
from gateway.store.transparency import Head

ROUND_S: Final = 60
"""What comes on top of the pause between two rounds: rendering, entering what piled up, asking witnesses for 20 seconds."""
_DOCUMENT = msgspec.json.Decoder(dict[str, Any])


class Given(Struct, frozen=True):
    """Bytes of a log, and whether they will ever be others."""

    body: bytes
    media: str
    immutable: bool = False


def tag_of(given: Given) -> str:
    """A validator of these bytes: they are the same for everybody, and public."""
    return sha256(given.body).hexdigest()[:32]


async def _head(services: Services, year: int) -> Head:
    head = await transparency.head(services.store.reads, year)
    if head is None or head.note is None:
        raise NotFound
    return head


async def checkpoint(services: Services, year: int) -> Given:
    """The newest signed head of a year, with the cosignatures that came in.

    Raises NotFound.
    """
    head = await _head(services, year)
    return Given((head.note or "").encode(), "text/plain; charset=utf-8")


async def tile(services: Services, year: int, path: str) -> Given:
    """A tile or a bundle of entries, of what a signed head covers.

    Raises NotFound.
    """
    name = tiles.read_tile_path(path)
    head = await _head(services, year)
    if name is None or not _covered(name, head.signed_size):
        raise NotFound
    if name.level == BUNDLE:
        low = name.number * tiles.WIDTH
        body = tiles.bundle(await transparency.entries(services.store.reads, year, low, low + name.width))
    else:
        body = (await transparency.tiles(services.store.reads, year, [name])).get(name, b"")
    return Given(body, "application/octet-stream", immutable=True)


def _covered(name: TileName, size: int) -> bool:
    """Whether a head of this size has so many hashes, or entries, there."""
    there = size >> 8 * max(name.level, 0)
    return name.number * tiles.WIDTH + name.width <= there


async def policy_text(services: Services) -> Given:
    """Our logs and their witnesses, as verifiers take them (c2sp.org/tlog-policy)."""
    policy = policy_of(services)
    origin = services.settings.public_origin.rstrip("/")
    lines = [f"log {vkey} {origin}/log/{vkey.partition('+')[0].rpartition('/')[2]}" for vkey in vkeys_of(services)]
    lines += [f"witness {each.name} {each.verifier.vkey}" + (f" {each.url}" if each.url else "") for each in policy.witnesses]
    for name, (count, members) in policy.groups.items():
        lines.append(f"group {name} {count} {' '.join(members)}")
    lines.append(f"quorum {policy.quorum or 'none'}")
    return Given(("\n".join(lines) + "\n").encode(), "text/plain; charset=utf-8")


def merge_delay_s(poll_s: float) -> int | None:
    """Within how many seconds what happens stands under a signed head: the maximum merge delay of RFC 9162 §1.3; None: nobody promises."""
    return ceil(poll_s) + ROUND_S if poll_s else None


async def describe(services: Services, caller: Caller, language: Language) -> Answer:
    """The logs of all years: origin, size, keys, where their heads and tiles are."""
    scene = await begin(services, caller, language, reads_records=False)
    items, policy = [], policy_of(services)
    verifiers = vkeys_of(services)
    for head in await transparency.heads(services.store.reads):
        origin = origin_of(services.settings.party, head.year)
        address = f"{scene.origin}/log/{head.year}"
        items.append({
            "year": head.year, "origin": origin, "size": head.signed_size, "signed_at": head.signed_at,
            "vkeys": [vkey for vkey in verifiers if vkey.startswith(f"{origin}+")],
            "witnessed": head.note is not None and policy.witnessed(head.note),
            "merge_delay_s": merge_delay_s(services.settings.log_poll_s),
            "links": {"checkpoint": f"{address}/checkpoint", "tiles": f"{address}/tile/", "policy": f"{scene.origin}/log/policy"},
        })  # fmt: skip
    return document_answer(scene, {"items": items, "policy_version": scene.forms.version}, datasets=())


async def entry(services: Services, caller: Caller, language: Language, place: Place) -> Answer:
    """One entry of a signed head.

    Raises NotFound.
    """
    scene = await begin(services, caller, language, reads_records=False)
    head = await _head(services, place.year)
    found = await transparency.entry(services.store.reads, place) if place.index < head.signed_size else None
    if found is None:
        raise NotFound
    said = read_entry(found[0])
    document = {
        "year": place.year, "index": place.index, "op": said.op, "rid": said.rid, "v": said.v, "commitment": said.c, "at": said.at,
        "authority": said.authority, "reason": said.reason, "prev": said.prev, "entry": found[0].decode(),
        "policy_version": scene.forms.version,
    }  # fmt: skip
    return document_answer(scene, document, datasets=())


async def proof(
    services: Services, caller: Caller, language: Language, *, record_id: str | None = None, commitment: bytes | None = None
) -> Answer:
    """That what is shown of a public record, or what somebody holds with its salt, was entered: entry, proof, since and until when.

    Raises NotFound, also where no signed head covers it yet.
    """
    scene = await begin(services, caller, language)
    reads = services.store.reads
    row: bytes | None = None
    if record_id is not None:
        state = (await transparency.states(reads, [record_id])).get(record_id)
        if state is None:  # before the record is looked for: one that was never public takes no longer than one that is not there
            raise NotFound
        public = scene if scene.public else await begin(services, PUBLIC, language)
        body = (await live(public, [record_id], listing=True)).get(record_id)  # as the view shows it now, not as it was rendered
        document = None if body is None else _DOCUMENT.decode(body)
        said = None if document is None else row_of(document, left_out(public.forms, document["dataset"]))
        if said is None or "salt" not in said or commitment_of(said) != state.commitment:
            raise NotFound
        row = row_line(said, salt_of(said)) if scene.public else None
        place = state.place
    else:
        found = await transparency.place_of(reads, commitment or b"")
        if found is None:
            raise NotFound
        place = found
    head = await _head(services, place.year)
    stored = await transparency.entry(reads, place) if place.index < head.signed_size else None
    if stored is None:
        raise NotFound
    body, at = stored
    after = await transparency.next_of(reads, read_entry(body).rid, place)
    signed = notes.parse(head.note or "")
    size = notes.read_checkpoint(signed.text).size
    text = proof_text(place.index, await inclusion_proof(reads, place, size), head.note or "")
    answer = {
        "year": place.year, "index": place.index, "entry": body.decode(), "proof": text, "row": None if row is None else row.decode(),
        "published_at": at, "removed_at": None if after is None else after, "policy_version": scene.forms.version,
    }  # fmt: skip
    return document_answer(scene, answer, datasets=())
