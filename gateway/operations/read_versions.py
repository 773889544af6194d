"""Read versions, their files and deltas (api.md §7.8, §7.18, §12.13): what is public, whoever asks.

Rules: before anything of a version is given, its rows are asked again, by this story's own clock and the state of the log:
a period that has ended, a withdrawal or a harder redaction that was committed a moment ago, another policy make the version
`version-reissuing` until `reissue_lists` has issued it again. An issue that was replaced is gone, with the address of the next. This
story must not give an old byte of what has left.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from gateway.core.callers.caller import PUBLIC
from gateway.core.disclosure.obligations import Cache
from gateway.core.errors import (
    DeltaWindow,
    ErrorItem,
    InvalidParameter,
    NotFound,
    VersionReissued,
    VersionReissuing,
    VersionWithdrawn,
)
from gateway.core.exchange import notes
from gateway.core.publication import ftm
from gateway.core.publication.documents import instant, notice
from gateway.core.publication.narrowing import narrowed
from gateway.core.publication.version_formats import FORMATS
from gateway.core.publication.versions import (
    DURATIONS,
    NAME,
    OPEN,
    File,
    Version,
    checkpoint_text,
    item,
    manifest,
    removed_commitments,
)
from gateway.core.signing import Signer
from gateway.operations.answering import Scene, answer, begin, document_answer, max_age, refuse_ended
from gateway.operations.asking import Answer, Ask, Language, Position
from gateway.operations.collected import Collection, collection_of, collections_of, ground_of, left_out, row_of
from gateway.operations.live_records import live
from gateway.operations.pages import limit_of
from gateway.operations.reaching import licence_of, owed_of
from gateway.operations.version_files import chain_file, delta_file, files_of, version_file
from gateway.services import Services
from gateway.store import lists
from gateway.store.store import Reads

LATEST = "latest"
DELTA_FORMATS = ("ndjson", "csv")
_DOCUMENT = msgspec.json.Decoder(dict[str, Any])
_ISSUE = re.compile(r"r[1-9][0-9]{0,7}", re.ASCII)
"""How an issue is written in the name of a file, and no other way."""
_ASK = 200
"""So many records that changed since the reader looked last are asked one by one; more, and it is the reader's turn."""


class Served(Struct, frozen=True, kw_only=True):
    """A file to be sent: its copy, and what its headers say."""

    path: Path
    size: int
    sha256: str
    media_type: str
    modified: datetime
    fixed: bool
    """Whether this address never has other bytes: else only the tag tells whether they are those that the caller holds."""
    file_name: str
    max_age: int
    cache: Cache
    version: str
    policy_version: int
    policy_plan: str
    sample: bool
    links: tuple[tuple[str, str], ...]


class Elsewhere(Struct, frozen=True):
    """What was asked for stands there now."""

    url: str


class Room(Struct, frozen=True, kw_only=True):
    """One collection as one request sees it."""

    scene: Scene
    collection: Collection
    current: Version | None

    @property
    def address(self) -> str:
        """Of its document."""
        return f"{self.scene.origin}/v1/{self.collection.id}"


async def _room(services: Services, collection_id: str, language: Language) -> Room:
    """Raises NotFound; PolicyExpired where plans have outlived their grounds."""
    scene = await begin(services, PUBLIC, language)
    collection = collection_of(scene.policies, scene.forms, collection_id)
    refuse_ended(scene, (collection.dataset,))
    return Room(scene=scene, collection=collection, current=await lists.current(services.store.reads, collection.id))


async def _find(room: Room, name: str) -> Version:
    """A version by its name, or the latest.

    Raises NotFound, VersionWithdrawn.
    """
    found = room.current if name == LATEST else None
    if name != LATEST and NAME.match(name):
        found = await lists.version(room.scene.services.store.reads, room.collection.id, name)
    if found is None:
        raise NotFound
    if found.withdrawn:
        raise VersionWithdrawn(next_url=_latest(room))
    return found


def _latest(room: Room) -> str | None:
    return None if room.current is None else f"{room.address}/versions/{room.current.name}"


async def _servable(room: Room, version: Version) -> None:
    """Raises VersionReissuing when a row of this version may not be shown as it stands."""
    scene, reads = room.scene, room.scene.services.store.reads
    changed = await lists.unread(reads, version, _ASK + 1)
    if version.valid_until <= scene.now_text:
        changed = sorted({*changed, *await lists.ended_of(reads, version, scene.now_text, _ASK + 1)})
    if changed and (len(changed) > _ASK or not await _stand_as_shown(room, version, changed)):
        raise VersionReissuing
    # last of all: what the reader of lists has read until now says of no record any more that it is to be asked
    if version.ground != ground_of(scene.forms, room.collection) or await lists.is_leaving(reads, version):
        raise VersionReissuing


async def _stand_as_shown(room: Room, version: Version, record_ids: Sequence[str]) -> bool:
    """Whether everybody may see at this moment all that a version says of these records."""
    scene = room.scene
    said = await lists.lines_of_some(scene.services.store.reads, version, record_ids)
    shown = await live(scene, record_ids, listing=room.collection.listing is not None)
    out = left_out(scene.forms, room.collection.dataset)
    for record_id, line in said.items():
        row = row_of(_DOCUMENT.decode(shown[record_id]), out) if record_id in shown else None
        if row is None or narrowed(line, row) is not None:
            return False
    return True


def _answer(room: Room, body: bytes, version: Version | None, media_type: str = "application/json") -> Answer:
    return answer(
        room.scene,
        body,
        validator=None,
        valid_until=None if version is None or version.valid_until <= room.scene.now_text else version.valid_until,
        dataset_version=None if version is None else version.name,
        media_type=media_type,
        datasets=(room.collection.dataset,),
    )


# --- versions ----------------------------------------------------------------------------------------------------------


async def versions(services: Services, collection_id: str, ask: Ask) -> Answer:
    """A page of the kept versions of a list or dataset, newest first.

    Raises NotFound, InvalidParameter for a limit that is none, BadCursor, CursorExpired.
    """
    limit = limit_of(ask.params.get("limit"))
    room = await _room(services, collection_id, ask.language)
    scene, reads, plan = room.scene, services.store.reads, room.scene.forms.tag
    position = ask.pages.position(plan)
    place = OPEN if position is None else int(str(position.keys[0]))
    if position is not None and position.back:
        found = await lists.newer(reads, room.collection.id, place, limit + 1)
        held, newer, older = found[:limit][::-1], len(found) > limit, True
    else:
        found = await lists.older(reads, room.collection.id, place, limit + 1)
        held, newer, older = found[:limit], position is not None, len(found) > limit

    def at(version: Version, *, back: bool) -> str:
        return ask.pages.url(plan, Position(snapshot=scene.head.seq, keys=(version.seq,), back=back))

    links = {"next": at(held[-1], back=False) if held and older else None, "prev": at(held[0], back=True) if held and newer else None}
    current = None if room.current is None else room.current.name
    oldest = await lists.oldest(reads, room.collection.id)
    document = {
        "items": [item(each, state=each.state(current), origin=scene.origin, language=ask.language) for each in held],
        **links,
        "self": ask.pages.url(plan, position),
        "window_from": None if oldest is None else oldest.name,
        "dataset_version": scene.head.version,
        "policy_version": scene.forms.version,
    }
    told = tuple((relation, url) for relation, url in links.items() if url is not None)
    return document_answer(scene, document, datasets=(room.collection.dataset,), links=(*told, ("first", ask.pages.url(plan, None))))


class Shown(Struct, frozen=True, kw_only=True):
    """A version that may be given at this moment."""

    room: Room
    version: Version

    @property
    def address(self) -> str:
        """Of its manifest."""
        return f"{self.room.address}/versions/{self.version.name}"

    def answer(self, body: bytes) -> Answer:
        """JSON that says something of it."""
        return _answer(self.room, body, self.version)


async def shown(services: Services, collection_id: str, name: str) -> Shown:
    """A version by its name, or the latest, as everybody is given it.

    Raises NotFound, VersionWithdrawn, VersionReissuing.
    """
    room = await _room(services, collection_id, "zh-CN")
    version = await _find(room, name)
    await _servable(room, version)
    return Shown(room=room, version=version)


async def one_version(services: Services, collection_id: str, name: str) -> Answer:
    """The manifest of a version, as its checkpoint names it: in one language.

    Raises NotFound, VersionWithdrawn, VersionReissuing.
    """
    found = await shown(services, collection_id, name)
    return found.answer(await _manifest(found.room, found.version))


async def _manifest(room: Room, version: Version) -> bytes:
    services = room.scene.services
    reads = services.store.reads
    made = await files_of(services, room.collection, version)
    before = await lists.before(reads, version.collection, version.seq)
    return manifest(
        version,
        state=version.state(None if room.current is None else room.current.name),
        origin=room.scene.origin,
        plan=room.scene.forms.plan_sets[room.collection.dataset].hash,
        files=tuple(made.values()),
        previous=None if before is None else before.name,
        issues=await lists.issues(reads, version),
        removed=removed_commitments(await lists.gone_of(reads, version)),
        notice=notice("zh-CN") if services.settings.demo else None,
    )


async def checkpoint(services: Services, collection_id: str, name: str) -> Answer:
    """The signed note over size, root and manifest of a version.

    Raises NotFound, VersionWithdrawn, VersionReissuing.
    """
    room = await _room(services, collection_id, "zh-CN")
    version = await _find(room, name)
    await _servable(room, version)
    host = urlsplit(room.scene.origin).netloc
    text = checkpoint_text(version, await _manifest(room, version), host=host)
    note = notes.sign(text, signers_of(services))
    return _answer(room, note.encode(), version, "text/plain; charset=utf-8")


def signers_of(services: Services) -> Sequence[Signer]:
    """The keys that sign lists: the newest good one, and the newest of every other algorithm that is configured."""
    now = services.clock()
    first = services.signers.signing("export", now)
    others: dict[str, Signer] = {}
    for key in sorted(services.signers.keys, key=lambda each: each.not_before):
        if key.use == "export" and key.good(now) and key.signer.algorithm != first.algorithm:
            others[key.signer.algorithm] = key.signer
    return (first, *others.values())


# --- files -------------------------------------------------------------------------------------------------------------


async def file(services: Services, collection_id: str, asked: str) -> Served | Elsewhere:
    """A file by `{version|latest}.{format}`, which is elsewhere, or by `{version}.r{issue}.{format}`.

    Raises NotFound, VersionWithdrawn, VersionReissued with the address of the present issue, VersionReissuing.
    """
    room = await _room(services, collection_id, "zh-CN")
    name, _, rest = asked.partition(".")
    issue: int | None = None
    head, _, tail = rest.partition(".")
    if tail and _ISSUE.fullmatch(head):
        issue, rest = int(head[1:]), tail
    if rest not in room.collection.formats or (name == LATEST and issue is not None):
        raise NotFound
    version = await _find(room, name)
    here = f"{room.address}/versions/{version.name}.r{version.issue}.{rest}"
    if issue is None:
        return Elsewhere(here)
    if issue > version.issue:
        raise NotFound
    if issue < version.issue:
        raise VersionReissued(next_url=here)
    await _servable(room, version)
    path, made = await version_file(services, room.collection, version, rest)
    issues = await lists.issues(services.store.reads, version)
    return _served(
        room, version, path, made, FORMATS[rest].media_type, issues[0].at, f"{room.collection.what}-{version.name}.r{issue}.{rest}",
        fixed=True, described=f"{room.address}/versions/{version.name}/csv-metadata.json" if rest == "csv" else None,
    )  # fmt: skip


async def _issued(reads: Reads, *versions: Version) -> str:
    """When the latest of the present issues was made."""
    return max([(await lists.issues(reads, each))[0].at for each in versions])


def _served(
    room: Room,
    version: Version,
    path: Path,
    made: File,
    media_type: str,
    at: str,
    file_name: str,
    *,
    fixed: bool = False,
    described: str | None = None,
) -> Served:
    scene, datasets = room.scene, (room.collection.dataset,)
    licence = licence_of(scene.forms, datasets)
    links: list[tuple[str, str]] = [] if licence is None else [("license", licence)]
    links.append(("describedby", described or f"{scene.origin}/v1/datasets/{room.collection.dataset}/dictionary"))
    return Served(
        path=path,
        size=made.size,
        sha256=made.sha256,
        media_type=media_type,
        modified=datetime.fromisoformat(at),
        fixed=fixed,
        file_name=file_name,
        max_age=max_age(scene.now, version.valid_until if version.valid_until > scene.now_text else None),
        cache=owed_of(scene.forms, datasets).cache,
        version=version.name,
        policy_version=scene.forms.version,
        policy_plan=scene.forms.plan_hash,
        sample=scene.services.settings.demo,
        links=tuple(links),
    )


# --- deltas ------------------------------------------------------------------------------------------------------------


async def delta(services: Services, collection_id: str, start: str, asked: str) -> Served | Elsewhere:
    """The delta `{from}/{to|latest}.{format}`; a duration or `latest` is elsewhere.

    Raises NotFound, InvalidParameter for B before A, DeltaWindow, VersionWithdrawn, VersionReissuing.
    """
    room = await _room(services, collection_id, "zh-CN")
    end, _, form = asked.partition(".")
    if form not in DELTA_FORMATS:
        raise NotFound
    if start not in DURATIONS and not NAME.match(start):
        raise NotFound
    if end != LATEST and not NAME.match(end):
        raise NotFound
    reads = services.store.reads
    oldest = await lists.oldest(reads, room.collection.id)
    if oldest is None or room.current is None:
        raise NotFound
    for name in (start, end):
        if NAME.match(name) and (name[:14], int(name[15:])) < (oldest.name[:14], oldest.seq):
            raise DeltaWindow(next_url=f"{room.address}/versions/{room.current.name}")
    later = room.current if end == LATEST else await _find(room, end)
    if start in DURATIONS:
        since = instant(room.scene.now - timedelta(seconds=DURATIONS[start]))
        first = await lists.as_of(reads, room.collection.id, since) or oldest
    else:
        found = await lists.version(reads, room.collection.id, start)
        if found is None:
            raise NotFound
        first = found
    if first.seq > later.seq:
        if start in DURATIONS:
            first = later
        else:
            raise InvalidParameter(errors=(ErrorItem("range", "起点晚于终点", parameter="from"),))
    if start in DURATIONS or end == LATEST:
        return Elsewhere(f"{room.address}/deltas/{first.name}/{later.name}.{form}")
    await _servable(room, later)
    path, made = await delta_file(services, first, later, form)
    at = await _issued(reads, first, later)
    name = f"{room.collection.what}-{first.name}-{later.name}.delta.{form}"
    return _served(room, later, path, made, FORMATS[form].media_type, at, name)


# --- FollowTheMoney ----------------------------------------------------------------------------------------------------


def _black(scene: Scene) -> list[Collection]:
    return [each for each in collections_of(scene.policies, scene.forms) if "ftm.json" in each.formats]


def _ftm_name(scene: Scene, collection: Collection) -> str:
    host = scene.services.settings.party.split(".")
    return ftm.dataset_name(host[1] if len(host) > 2 else host[0], collection.what)


async def ftm_catalog(services: Services, language: Language) -> Answer:
    """The black lists as datasets of FollowTheMoney."""
    scene = await begin(services, PUBLIC, language)
    refuse_ended(scene, [each.dataset for each in _black(scene)])
    datasets: list[dict[str, Any]] = []
    for each in _black(scene):
        current = await lists.current(services.store.reads, each.id)
        if current is None:
            continue
        name = _ftm_name(scene, each)
        title = each.listing.title(english=language == "en") if each.listing is not None else each.title
        entities = f"{scene.origin}/v1/{each.id}/versions/{current.name}.ftm.json"
        datasets.append(
            {
                "name": name, "title": title, "version": current.name, "entities_url": entities,
                "delta_url": f"{scene.origin}/v1/ftm/{name}/delta.json", "updated_at": current.built_at,
                "resources": [{"name": "entities.ftm.json", "url": entities, "mime_type": "application/json+ftm"}],
            }
        )  # fmt: skip
    return document_answer(scene, {"datasets": datasets})


async def _ftm_room(services: Services, name: str) -> Room:
    scene = await begin(services, PUBLIC, "zh-CN")
    found = next((each for each in _black(scene) if _ftm_name(scene, each) == name), None)
    if found is None:
        raise NotFound
    return await _room(services, found.id, "zh-CN")


async def ftm_chain(services: Services, name: str) -> Answer:
    """The chain of a dataset: each version with the address of the delta from the version before.

    Raises NotFound.
    """
    room = await _ftm_room(services, name)
    held = await lists.versions(services.store.reads, room.collection.id)
    linked = {each.name: f"{room.scene.origin}/v1/ftm/{name}/deltas/{each.name}.json" for each in reversed(held[:-1])}
    return document_answer(room.scene, {"versions": linked}, datasets=(room.collection.dataset,))


async def ftm_link(services: Services, name: str, asked: str) -> Served:
    """One link of the chain.

    Raises NotFound, VersionWithdrawn, VersionReissuing.
    """
    room = await _ftm_room(services, name)
    version_name, _, form = asked.partition(".")
    if form != "json" or not NAME.match(version_name):
        raise NotFound
    reads = services.store.reads
    version = await lists.version(reads, room.collection.id, version_name)
    before = None if version is None else await lists.before(reads, room.collection.id, version.seq)
    if version is None or before is None:
        raise NotFound
    if version.withdrawn:
        raise VersionWithdrawn(next_url=_latest(room))
    await _servable(room, version)
    path, made = await chain_file(services, room.collection, before, version)
    at = await _issued(reads, before, version)
    return _served(room, version, path, made, "application/x-ndjson", at, f"{name}-{version.name}.delta.json")


# --- beside lists and datasets -----------------------------------------------------------------------------------------


async def with_versions(scene: Scene, collection_id: str, document: dict[str, Any]) -> dict[str, Any]:
    """The object of a list or dataset with what there is of its versions: their links stand there together with their targets."""
    reads = scene.services.store.reads
    current, oldest = await lists.current(reads, collection_id), await lists.oldest(reads, collection_id)
    said = {
        "latest_version": None if current is None else current.name,
        "issue": None if current is None else current.issue,
        "window_from": None if oldest is None else oldest.name,
    }
    links = dict(document["links"])
    if current is not None:
        links["versions"] = f"{scene.origin}/v1/{collection_id}/versions"
        links["latest"] = f"{links['versions']}/{LATEST}"
    whole: dict[str, Any] = {}
    for key, value in document.items():
        whole[key] = links if key == "links" else value
        if key == "rows":
            whole |= said
    return whole
