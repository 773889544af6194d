"""The files that every house on the web keeps: security.txt (RFC 9116), robots.txt, sitemap.xml (api.md §7.19).

Rules: a sitemap names datasets, lists, policies and the help, never a subject, a record or a listing; robots are kept away from bulk
answers that name one. Pages of subjects and receipts may be fetched: they say `noindex` themselves, which a robot that must not fetch
them never reads, so that their bare addresses would be listed for ever.
This story must not read a record.
"""

from datetime import date
from xml.etree import ElementTree as ET

from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import NoActivePolicy, NotFound
from gateway.core.publication.documents import etag, instant
from gateway.core.records.model import DatasetId
from gateway.core.records.periods import legal_day
from gateway.operations.answering import MAX_AGE, answer, begin, instant_of_version
from gateway.operations.asking import Answer
from gateway.operations.describe_data import dataset_document
from gateway.services import Services
from gateway.store import policies as policy_rows

TEXT = "text/plain; charset=utf-8"
XML = "application/xml"
_MONTHS = 12
_ROBOTS = """\
User-agent: *
Disallow: /v1/datasets/*/versions
Disallow: /v1/lists/*/
Allow: /v1/datasets
Allow: /v1/lists
Allow: /v1/policies
Allow: /catalog.
Disallow: /v1/
"""


async def security_txt(services: Services) -> Answer:
    """Who is told of a weakness.

    Raises NotFound where nobody is named.
    """
    contact = services.settings.security_contact
    if contact is None:
        raise NotFound
    lines = (
        f"Contact: {contact}",
        f"Expires: {_expires(legal_day(services.clock())).isoformat()}T00:00:00Z",
        "Preferred-Languages: zh, en",
        f"Canonical: {_origin(services)}/.well-known/security.txt",
    )
    return _bare(services, "".join(f"{line}\n" for line in lines))


def _expires(today: date) -> date:
    """The settings are read anew at each start, so what they say holds for the rest of this month and two more."""
    months = today.year * _MONTHS + today.month - 1 + 3
    return date(months // _MONTHS, months % _MONTHS + 1, 1)


async def robots_txt(services: Services) -> Answer:
    """Where robots may go: not through the API, whose answers name somebody; pages that do say themselves that they must not be kept."""
    return _bare(services, f"{_ROBOTS}\nSitemap: {_origin(services)}/sitemap.xml\n")


def _origin(services: Services) -> str:
    return services.settings.public_origin.rstrip("/")


def _bare(services: Services, text: str) -> Answer:
    """A text that follows from the settings alone; no policy needs to be in force."""
    body = text.encode()
    try:
        plan = services.policies.current().hash_of(PUBLIC.plan_tier, PUBLIC.purpose)
    except NoActivePolicy:
        plan = ""
    return Answer(
        body=body,
        media_type=TEXT,
        etag=etag(services.store.vault.key("etag"), b"house-file", body),
        max_age=MAX_AGE,
        policy_version=services.policies.version,
        policy_plan=plan,
    )


async def sitemap(services: Services) -> Answer:
    """Every page about datasets, lists and policies, with the time of its last change; and the help, which changes with the program."""
    scene = await begin(services, PUBLIC, "zh-CN", reads_records=False)
    changed = instant_of_version(scene.head.version)
    pages: list[tuple[str, str | None]] = [("/v1/datasets", changed)]
    for name in sorted(scene.forms.plan_sets):
        told = await dataset_document(scene, scene.policies.catalogue.datasets[DatasetId(name)])
        pages.append((f"/v1/datasets/{name}", told["last_received_at"] or changed))
    pages.append(("/v1/lists", changed))
    listed = sorted(name for name, held in scene.policies.catalogue.lists.items() if held.dataset in scene.forms.plan_sets)
    pages += [(f"/v1/lists/{name}", changed) for name in listed]
    history = await policy_rows.activations(services.store.reads)
    pages.append(("/v1/policies", instant(history[-1].at) if history else None))
    pages.append(("/docs", None))
    urls = ET.Element("urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    for path, at in pages:
        url = ET.SubElement(urls, "url")
        ET.SubElement(url, "loc").text = f"{scene.origin}{path}"
        if at is not None:
            ET.SubElement(url, "lastmod").text = at
    body: bytes = ET.tostring(urls, encoding="utf-8", xml_declaration=True)
    return answer(scene, body, media_type=XML, reads_data=False)
