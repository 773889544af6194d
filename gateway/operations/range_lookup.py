"""Answer range look-ups: which lists somebody stands on, for a caller who says only how a digest begins (api.md §7.11).

Rules: everybody gets the answer of the public: organisations only, on lists that the public plan shows. A row whose subject changed
since it was made, or whose time ran out, is made anew from the records, or is not there. Nothing is counted or remembered of a look-up.
"""

from gateway.core.callers.caller import PUBLIC
from gateway.core.publication import normaliser, ranges
from gateway.core.publication.names import NORMALISER
from gateway.core.publication.ranges import Algorithm, On
from gateway.operations.answering import Scene, answer, begin, document_answer, refuse_ended
from gateway.operations.asking import Answer, Language
from gateway.operations.live_records import live_page
from gateway.services import Services
from gateway.store import ranges as stored
from gateway.store.reads import moment_of

MEDIA_TYPE = "text/plain; charset=utf-8"
PAD_KEY = "range"


async def look_up(services: Services, algorithm: Algorithm, on: On, prefix: str, language: Language) -> Answer:
    """The rows of a prefix, well-formed as the web has seen; whatever it is, the answer has at least 64 rows.

    Raises PolicyExpired.
    """
    scene = await begin(services, PUBLIC, language)
    refuse_ended(scene, kinds=("legal",))
    asked = ranges.question(algorithm, on)
    found = await stored.rows(services.store.reads, asked, prefix, plan=scene.forms.tag, now=scene.now_text)
    told = [(row.digest, int(row.bits)) for row in found if row.fresh]
    ends = [row.valid_until for row in found if row.fresh]
    for subject_id in dict.fromkeys(row.subject_id for row in found if not row.fresh):
        page = await live_page(scene, subject_id)
        if page is not None:
            bits = ranges.bits_of(page, scene.policies.catalogue.lists)
            told += [(each, bits) for name, each in ranges.keys_of(page) if name == asked and each.startswith(prefix)]
            ends.append(page.valid_until)
    body = ranges.lines(told, asked=asked, prefix=prefix, version=scene.head.version, key=services.store.vault.key(PAD_KEY))
    return answer(scene, body, valid_until=min(ends, default=None), media_type=MEDIA_TYPE)


async def describe(services: Services, language: Language) -> Answer:
    """What a client has to know to ask: algorithms, prefixes, the normaliser, and which bit is which list."""
    scene = await begin(services, PUBLIC, language, reads_records=False)
    size = await _size(scene)
    lists = sorted(scene.policies.catalogue.lists.values(), key=lambda each: each.range_bit)
    return document_answer(
        scene,
        {
            "algorithms": list(ranges.ALGORITHMS),
            "on": list(ranges.ON),
            "prefix_length": {"min": ranges.MIN_PREFIX, "max": ranges.MAX_PREFIX, "recommended": ranges.recommended(size)},
            "register_size": ranges.told_size(size),
            "normaliser": NORMALISER,
            "lists": [{"bit": each.range_bit, "list": each.id} for each in lists if each.dataset in scene.forms.plan_sets],
            "links": {"normaliser": f"{scene.origin}/v1/normaliser", "lists": f"{scene.origin}/v1/lists"},
            "dataset_version": scene.head.version,
            "policy_version": scene.forms.version,
        },
    )


async def _size(scene: Scene) -> int:
    """The size of the register, counted once for each state of the store."""
    reads = scene.services.store.reads
    moment = moment_of(reads)
    if moment is None:
        return await stored.size(reads)
    if "register-size" not in moment.known:
        moment.known["register-size"] = await stored.size(reads)
    size: int = moment.known["register-size"]
    return size


async def describe_normaliser(services: Services, language: Language) -> Answer:
    """The normaliser with its table and vectors."""
    scene = await begin(services, PUBLIC, language, reads_records=False)
    return document_answer(scene, normaliser.document(), reads_data=False)
