"""Offer while somebody types: subjects, datasets, fields (api.md §7.4).

Rules: public organisations only, what the caller's plans show; a household is never offered. At most ten. This story must not rank.
"""

from typing import Any

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.query import Query
from gateway.core.publication.names import normalise
from gateway.core.publication.searching import MAX_QUERY
from gateway.core.records.model import Dataset, Field
from gateway.operations import pages
from gateway.operations.answering import DOCUMENT, Scene, begin, document_answer, refuse_ended
from gateway.operations.asking import Answer, Ask
from gateway.operations.find_subjects import shown_hits
from gateway.operations.look_up import look_up
from gateway.operations.owing import pay
from gateway.operations.reaching import owed_of
from gateway.services import Services

MAX_OFFERS = 10
_KINDS = ("subject", "dataset", "field")


async def suggest(services: Services, caller: Caller, ask: Ask) -> Answer:
    """At most ten offers for what has been typed: subjects, datasets, fields. Raises InvalidParameter, PolicyExpired."""
    scene = await begin(services, caller, ask.language)
    text = ask.params.get("q", "")
    limit = ask.params.get("limit", str(MAX_OFFERS))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MAX_OFFERS):
        raise pages.invalid("limit", "应为 1 至 10 的整数")
    kinds = (ask.params["kind"],) if "kind" in ask.params else _KINDS
    if not set(kinds) <= set(_KINDS):
        raise pages.invalid("kind", "应为 subject、dataset 或 field")
    if not 1 <= len(normalise(text)) <= MAX_QUERY:
        raise pages.invalid("q", "去掉标点、空格和符号后应有 1 至 128 个字符")
    items: list[dict[str, Any]] = []
    if "subject" in kinds:
        refuse_ended(scene, kinds=("legal",))
        items.extend(await _subject_offers(scene, text, int(limit)))
    norm = normalise(text)
    for name, held in sorted(scene.forms.plan_sets.items()):
        described = scene.policies.catalogue.datasets[held.dataset]
        title = _label(scene, described)
        if "dataset" in kinds and norm in normalise(f"{described.label} {described.label_en or ''} {name}"):
            items.append({"kind": "dataset", "text": title, "id": name, "matched_on": "label"})
        for field in held.shown if "field" in kinds else ():
            known = described.fields[field]
            if norm in normalise(f"{known.label} {known.label_en or ''}"):
                offer = {"kind": "field", "text": _label(scene, known), "id": f"{name}.{field}", "matched_on": "label"}
                items.append({**offer, "dataset": name, "dataset_label": title})  # fields of several datasets are called alike
    return document_answer(scene, {"items": items[: int(limit)], "policy_version": scene.forms.version})


def _label(scene: Scene, of: Dataset | Field) -> str:
    return (of.label_en or of.label) if scene.language == "en" else of.label


async def _subject_offers(scene: Scene, text: str, limit: int) -> list[dict[str, Any]]:
    found = await look_up(scene, text, limit)
    if found.alone:  # a household is never offered
        return []
    rows, more = await shown_hits(scene, found, found.hits, Query(), limit)
    if not more and not found.whole:  # some of the first are not shown
        found = await look_up(scene, text)
        rows, _ = await shown_hits(scene, found, found.hits, Query(), limit)
    await pay(scene, owed_of(scene.forms), "suggest", [body for _, body in rows])
    offers = []
    for hit, body in rows:
        document = DOCUMENT.decode(body)
        offer = {
            "kind": "subject",
            "text": document.get("name"),
            "id": hit.subject_id,
            "uscc": document.get("uscc"),
            "matched_on": hit.matched_on,
        }
        offers.append({key: value for key, value in offer.items() if value is not None})
    return offers
