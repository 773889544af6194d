"""Feeds for feed readers: a list with its removals, and what is new among the datasets (api.md §7.10, §12.23).

Rules: they tell what the public sees, to everybody alike; who comes with a duty reads `/v1/changes`. A listing stands where it was last
told of; the live document has the newest 500 changes, each page of the archive a fixed range of numbers, so what was read once need not
be read again. A removed record leaves every page with the commit; that it left is told for 31 days, on the live document among its
changes and on every page of the archive alike, so that no page says where it stood. `updated` never goes back. This story must not show a
stale rendering.
"""

from datetime import timedelta
from typing import Final, Literal

from gateway.core.callers.caller import Caller
from gateway.core.errors import NotFound, NotPermitted
from gateway.core.publication import syndication
from gateway.core.publication.documents import localise
from gateway.core.publication.syndication import Channel, Entry, Gone
from gateway.core.records.catalogue import ListDef
from gateway.core.records.model import DatasetId
from gateway.operations.answering import DOCUMENT, Scene, answer, begin, refuse_ended
from gateway.operations.asking import Answer, Ask, Language
from gateway.operations.live_records import live
from gateway.operations.pages import invalid
from gateway.operations.reaching import licence_of
from gateway.services import Services
from gateway.store import syndication as store
from gateway.store.store import Row

LIVE: Final = 500
"""Changes of the live document, and numbers of a page of the archive."""
KEPT: Final = timedelta(days=31)
ATOM: Final = "application/atom+xml; charset=utf-8"
JSON_FEED: Final = "application/feed+json"
Kind = Literal["atom", "json"]
_WORDS: Final = {
    "zh-CN": ("本名单的变更：列入、修改与移出。", "数据集的更新。", "公共信用数据集"),
    "en": ("Changes of this list: listings, amendments, removals.", "Updates of datasets.", "Public credit datasets"),
}


async def list_feed(services: Services, list_id: str, kind: Kind, caller: Caller, ask: Ask) -> Answer:
    """The feed of a list, or one page of its archive.

    Raises NotPermitted for whoever reads more than the public, NotFound for a list or page that does not exist.
    """
    scene = await begin(services, caller, ask.language, reads_records=False)
    if not scene.public:
        raise NotPermitted
    held = scene.policies.catalogue.lists.get(list_id)
    if held is None or held.dataset not in scene.forms.plan_sets:
        raise NotFound
    refuse_ended(scene, (held.dataset,))
    page = _page(ask)
    gone = await store.gone(services.store.reads, scene.forms.name, held.id, scene.now - KEPT)
    channel = await (_live(scene, held, kind, gone) if page is None else _archived(scene, held, kind, gone, page))
    return _answer(scene, channel, kind, (held.dataset,))


def _page(ask: Ask) -> int | None:
    text = ask.params.get("page")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and str(int(text)) == text):
        raise invalid("page", "应为归档页的编号")
    return int(text)


async def _live(scene: Scene, held: ListDef, kind: Kind, gone: list[Row]) -> Channel:
    """The newest changes; what is older stands in the archive."""
    rows = await _listed(scene, held, above=-1, upto=2**62, limit=LIVE + 1)
    changes = sorted([*rows, *gone], key=lambda row: (-row.seq, row.record_id))
    older = changes[LIVE].seq if len(changes) > LIVE else None
    shown = {row.record_id for row in changes[:LIVE]}
    return await _channel(
        scene, held, kind, [row for row in rows if row.record_id in shown], [row for row in gone if row.record_id in shown], page=None,
        older=None if older is None else (older - 1) // LIVE,
    )  # fmt: skip


async def _archived(scene: Scene, held: ListDef, kind: Kind, gone: list[Row], page: int) -> Channel:
    """The listings whose latest change has a number of this page, and every removal that is still told."""
    above, upto = page * LIVE, (page + 1) * LIVE
    if upto > scene.head.seq:
        raise NotFound
    rows = await _listed(scene, held, above=above, upto=upto, limit=LIVE)
    before = await store.newest(scene.services.store.reads, held.id, above)
    return await _channel(scene, held, kind, rows, gone, page=page, older=(before - 1) // LIVE if before else None)


async def _listed(scene: Scene, held: ListDef, *, above: int, upto: int, limit: int) -> list[Row]:
    reads = scene.services.store.reads
    return await store.listed(reads, held.id, above=above, upto=upto, limit=limit, plan=scene.forms.tag, now=scene.now_text)


async def _channel(
    scene: Scene, held: ListDef, kind: Kind, rows: list[Row], gone: list[Row], *, page: int | None, older: int | None
) -> Channel:
    stale = [row.record_id for row in rows if not row.fresh]
    anew = await live(scene, stale, listing=True, seqs={row.record_id: row.seq for row in rows}) if stale else {}
    title = held.title(english=scene.language == "en")
    entries: list[Entry] = []
    for row in rows:
        body = row.payload if row.fresh else anew.get(row.record_id)
        if body is not None:
            entries.append(
                syndication.listing_entry(
                    localise(DOCUMENT.decode(body), scene.language), list_name=title, told_at=row.told_at,
                    op="add" if row.seq == row.added_seq else "mod", origin=scene.origin, language=scene.language,
                )
            )  # fmt: skip
    named, bound = await store.latest(scene.services.store.reads, scene.forms.name, scene.head.seq)
    current = f"{scene.origin}/v1/feeds/{held.id}.{kind}"
    licence = licence_of(scene.forms, (held.dataset,))
    return Channel(
        id=syndication.tag(scene.origin, f"list/{held.id}"),
        title=title,
        subtitle=_WORDS[scene.language][0],
        author=held.authority.name,
        language=scene.language,
        updated=named.get(held.dataset, bound),
        self_url=current if page is None else f"{current}?page={page}",
        current_url=current,
        home_url=f"{scene.origin}/v1/lists/{held.id}",
        archive=page is not None,
        older_url=None if older is None else f"{current}?page={older}",
        policy=(scene.forms.version, scene.forms.plan_hash),
        rights=_rights(scene),
        licence_url=licence,
        entries=tuple(entries),
        gone=tuple(_gone(scene, row) for row in gone),
    )


def _gone(scene: Scene, row: Row) -> Gone:
    return syndication.removal(row.record_id, seq=int(row.seq), at=row.at, reason=row.reason, origin=scene.origin)


def _rights(scene: Scene) -> str:
    """Who publishes it; in a demo also that all of it is invented."""
    said = scene.services.settings.portal
    if not scene.services.settings.demo:
        return said
    return f"{said}：示例数据，均为虚构" if scene.language != "en" else f"{said}: sample data, all of it invented"


def _answer(scene: Scene, channel: Channel, kind: Kind, datasets: tuple[str, ...] | None) -> Answer:
    body = syndication.atom(channel) if kind == "atom" else syndication.json_feed(channel)
    links = [] if channel.older_url is None else [("prev-archive", channel.older_url)]
    return answer(scene, body, media_type=ATOM if kind == "atom" else JSON_FEED, links=tuple(links), datasets=datasets)


async def dataset_feed(services: Services, caller: Caller, language: Language) -> Answer:
    """The datasets, each with the moment at which something of it was last told.

    Raises NotPermitted for whoever reads more than the public.
    """
    scene = await begin(services, caller, language, reads_records=False)
    if not scene.public:
        raise NotPermitted
    named, bound = await store.latest(services.store.reads, scene.forms.name, scene.head.seq)
    entries = []
    for name in sorted(scene.forms.plan_sets):
        held = scene.policies.catalogue.datasets[DatasetId(name)]
        title = (held.label_en or held.label) if language == "en" else held.label
        entries.append(
            Entry(
                id=syndication.tag(scene.origin, f"dataset/{name}"), title=title, text=title, updated=named.get(name, bound),
                url=f"{scene.origin}/v1/datasets/{name}", categories=((held.category, None),), said={},
            )
        )  # fmt: skip
    entries.sort(key=lambda entry: (entry.updated, entry.id), reverse=True)
    own = f"{scene.origin}/v1/feeds/datasets.atom"
    channel = Channel(
        id=syndication.tag(scene.origin, "datasets"),
        title=_WORDS[language][2],
        subtitle=_WORDS[language][1],
        author=services.settings.portal,
        language=language,
        updated=max((entry.updated for entry in entries), default=bound),
        self_url=own,
        current_url=own,
        home_url=f"{scene.origin}/v1/datasets",
        policy=(scene.forms.version, scene.forms.plan_hash),
        rights=_rights(scene),
        licence_url=licence_of(scene.forms),
        entries=tuple(entries),
    )
    return _answer(scene, channel, "atom", None)
