"""The catalogue as a graph: DCAT-AP 3.0.1 with schema.org beside it, as plain triples (api.md §7.14).

Rules: everything stands once, in `Facts`, which are made from the dictionary, the policies and what the store counts; a node's IRI is the
address at which it is read, or a fragment of it, so there are no blank nodes and the same facts give the same triples in the same order.
Nodes of published vocabularies carry class and label here, so that nobody has to fetch them. This room must not serialise.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

DCT: Final = "http://purl.org/dc/terms/"
DCAT: Final = "http://www.w3.org/ns/dcat#"
FOAF: Final = "http://xmlns.com/foaf/0.1/"
SKOS: Final = "http://www.w3.org/2004/02/skos/core#"
RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS: Final = "http://www.w3.org/2000/01/rdf-schema#"
XSD: Final = "http://www.w3.org/2001/XMLSchema#"
VCARD: Final = "http://www.w3.org/2006/vcard/ns#"
ADMS: Final = "http://www.w3.org/ns/adms#"
SPDX: Final = "http://spdx.org/rdf/terms#"
DCATAP: Final = "http://data.europa.eu/r5r/"
ELI: Final = "http://data.europa.eu/eli/ontology#"
SCHEMA: Final = "http://schema.org/"
AUTHORITY: Final = "http://publications.europa.eu/resource/authority/"

PREFIXES: Final[Mapping[str, str]] = {
    "adms": ADMS, "dcat": DCAT, "dcatap": DCATAP, "dct": DCT, "eli": ELI, "foaf": FOAF, "rdf": RDF, "rdfs": RDFS, "schema": SCHEMA,
    "skos": SKOS, "spdx": SPDX, "vcard": VCARD, "xsd": XSD,
}  # fmt: skip


class Text(Struct, frozen=True):
    """A literal: words in a language, or a value of a datatype."""

    text: str
    language: str | None = None
    datatype: str | None = None


Triple = tuple[str, str, str | Text]
"""Subject, predicate, object; a bare string is an IRI."""
Graph = tuple[Triple, ...]


class Terms(Struct, frozen=True, kw_only=True):
    """A licence: what may be done, how the source is named, and what is not given."""

    title: str
    uri: str
    attribution: str | None
    carve_out: str | None


class File(Struct, frozen=True, kw_only=True):
    """One way to take a dataset as a whole."""

    format: Literal["csv", "json", "ndjson", "xlsx", "parquet", "msgpack"]
    media_type: str
    access: str
    download: str
    version: str | None = None
    """Of a file that stays as it is; None: the export as it is at the moment."""
    size: int | None = None
    sha256: str | None = None


class Edition(Struct, frozen=True, kw_only=True):
    """One version that can be taken as files."""

    name: str
    built: str
    """Instant."""


class DatasetFacts(Struct, frozen=True, kw_only=True):
    """What the catalogue says of one dataset."""

    id: str
    titles: Mapping[str, str]
    """By language: zh, en."""
    descriptions: Mapping[str, str]
    keywords: tuple[str, ...]
    openness: Literal["unconditional", "conditional", "closed"]
    accrual: str | None
    basis: tuple[tuple[str, str | None], ...]
    """(《…》第…条, address or None)."""
    first: str | None
    last: str | None
    """Days of the earliest and latest decision that is shown."""
    received: str | None
    """Instant of the latest words that are shown."""
    version: str
    latest: str | None
    """Name of the latest version that can be taken as files."""
    editions: tuple[Edition, ...] = ()
    """The versions that can be taken, the newest first."""
    terms: Terms | None
    files: tuple[File, ...]
    sources: tuple[str, ...] = ()
    """Names of the departments that supply it, where every one of its records names them."""


class Facts(Struct, frozen=True, kw_only=True):
    """What the catalogue says of itself."""

    origin: str
    city: str
    region: str
    portal: str
    org: str
    contact: str | None
    """mailto: or https: address for questions about the data."""
    modified: str
    """Instant of the latest change of data or policy."""
    datasets: tuple[DatasetFacts, ...]

    @property
    def address(self) -> str:
        """Where the catalogue is read; its own IRI."""
        return f"{self.origin}/v1/datasets"


# --- the graph ----------------------------------------------------------------------------------------------------------


def catalogue_graph(facts: Facts) -> Graph:
    """The whole catalogue."""
    return _once((*_catalogue(facts), *(triple for held in facts.datasets for triple in _dataset(facts, held)), *_shared(facts)))


def dataset_graph(facts: Facts, dataset: str) -> Graph:
    """One dataset with all that it points to here; the catalogue itself is named, not told."""
    held = next(each for each in facts.datasets if each.id == dataset)
    alone = Facts(
        origin=facts.origin, city=facts.city, region=facts.region, portal=facts.portal, org=facts.org, contact=facts.contact,
        modified=facts.modified, datasets=(held,),
    )  # fmt: skip
    return _once((*_dataset(alone, held), *_shared(alone)))


def _once(triples: tuple[Triple, ...]) -> Graph:
    return tuple(sorted(dict.fromkeys(triples), key=_order))


def _order(triple: Triple) -> tuple[str, str, str, str, str]:
    subject, predicate, value = triple
    if isinstance(value, Text):
        return subject, predicate, value.text, value.language or "", value.datatype or ""
    return subject, predicate, value, "", ""


def _a(node: str, *classes: str) -> Iterator[Triple]:
    for each in classes:
        yield node, f"{RDF}type", each


def _words(node: str, predicate: str, texts: Mapping[str, str]) -> Iterator[Triple]:
    for language, text in texts.items():
        if text:
            yield node, predicate, Text(text, language)


def _instant(text: str) -> Text:
    return Text(text, None, f"{XSD}dateTime")


def _concept(node: str, scheme: str, labels: Mapping[str, str], *classes: str) -> Iterator[Triple]:
    """A value of a published vocabulary, with what a reader without network needs of it."""
    yield from _a(node, f"{SKOS}Concept", *classes)
    yield from _words(node, f"{SKOS}prefLabel", labels)
    yield node, f"{SKOS}inScheme", scheme


def _catalogue(facts: Facts) -> Iterator[Triple]:
    node = facts.address
    titles = {"zh": f"{facts.portal}公共信用数据目录", "en": f"Public credit data of {facts.city}"}
    yield from _a(node, f"{DCAT}Catalog", f"{SCHEMA}DataCatalog")
    yield from _words(node, f"{DCT}title", titles)
    yield from _words(node, f"{SCHEMA}name", titles)
    yield from _words(
        node,
        f"{DCT}description",
        {
            "zh": f"{facts.city}依法公开的公共信用数据集、数据字典与下载。",
            "en": "Datasets of public credit records, with dictionaries and downloads.",
        },
    )
    yield node, f"{DCT}publisher", _publisher(facts)
    yield node, f"{DCT}modified", _instant(facts.modified)
    yield node, f"{DCT}spatial", _place(facts)
    yield from ((node, f"{DCT}language", f"{AUTHORITY}language/{each}") for each in _LANGUAGES)
    yield node, f"{DCAT}themeTaxonomy", f"{AUTHORITY}data-theme"
    yield from _a(f"{AUTHORITY}data-theme", f"{SKOS}ConceptScheme")
    yield f"{AUTHORITY}data-theme", f"{DCT}title", Text("Data theme", "en")
    yield node, f"{FOAF}homepage", f"{facts.origin}/v1"
    yield from _a(f"{facts.origin}/v1", f"{FOAF}Document")
    yield node, f"{DCAT}service", _service(facts)
    if facts.contact is not None:
        yield node, f"{DCAT}contactPoint", _contact(facts)
    terms = _strictest(facts)
    if terms is not None:
        yield from _licensed(node, terms, facts)
    for held in facts.datasets:
        address = _address(facts, held)
        yield node, f"{DCAT}dataset", address
        yield node, f"{SCHEMA}dataset", address
        yield node, f"{DCAT}record", f"{address}#record"


def _strictest(facts: Facts) -> Terms | None:
    """The licence of the whole: only where every dataset stands under that one."""
    found = {held.terms for held in facts.datasets}
    return next(iter(found)) if len(found) == 1 else None


def _address(facts: Facts, held: DatasetFacts) -> str:
    return f"{facts.address}/{held.id}"


def _publisher(facts: Facts) -> str:
    return f"{facts.address}#publisher"


def _place(facts: Facts) -> str:
    return f"{facts.address}#place"


def _service(facts: Facts) -> str:
    return f"{facts.origin}/v1#service"


def _contact(facts: Facts) -> str:
    return f"{facts.address}#contact"


def _licensed(node: str, terms: Terms, facts: Facts) -> Iterator[Triple]:
    yield node, f"{DCT}license", terms.uri
    yield from _a(terms.uri, f"{DCT}LicenseDocument")
    yield terms.uri, f"{DCT}title", Text(terms.title, "zh")
    if terms.attribution is None and terms.carve_out is None:
        return
    rights = f"{facts.address}#rights"
    yield node, f"{DCT}rights", rights
    yield from _a(rights, f"{DCT}RightsStatement")
    for text in (terms.attribution, terms.carve_out):
        if text is not None:
            yield rights, f"{RDFS}label", Text(text, "zh")


def _dataset(facts: Facts, held: DatasetFacts) -> Iterator[Triple]:
    node = _address(facts, held)
    yield from _a(node, f"{DCAT}Dataset", f"{SCHEMA}Dataset")
    yield node, f"{DCT}identifier", Text(node, None, f"{XSD}anyURI")
    for vocabulary, title, description in ((DCT, "title", "description"), (SCHEMA, "name", "description")):
        yield from _words(node, vocabulary + title, held.titles)
        yield from _words(node, vocabulary + description, held.descriptions)
    for word in held.keywords:
        language = "en" if word.isascii() else "zh"
        yield node, f"{DCAT}keyword", Text(word, language)
        yield node, f"{SCHEMA}keywords", Text(word, language)
    yield node, f"{DCT}publisher", _publisher(facts)
    yield node, f"{SCHEMA}publisher", _publisher(facts)
    if facts.contact is not None:
        yield node, f"{DCAT}contactPoint", _contact(facts)
    yield node, f"{DCAT}theme", f"{AUTHORITY}data-theme/GOVE"
    yield from _concept(
        f"{AUTHORITY}data-theme/GOVE", f"{AUTHORITY}data-theme", {"en": "Government and public sector", "zh": "政府与公共部门"}
    )
    yield node, f"{DCT}spatial", _place(facts)
    yield node, f"{SCHEMA}spatialCoverage", _place(facts)
    yield from ((node, f"{DCT}language", f"{AUTHORITY}language/{each}") for each in _LANGUAGES)
    yield from _rights(node, held)
    yield from _rhythm(node, held)
    if held.first is not None and held.last is not None:
        period = f"{node}#temporal"
        yield node, f"{DCT}temporal", period
        yield from _a(period, f"{DCT}PeriodOfTime")
        yield period, f"{DCAT}startDate", Text(held.first, None, f"{XSD}date")
        yield period, f"{DCAT}endDate", Text(held.last, None, f"{XSD}date")
        yield node, f"{SCHEMA}temporalCoverage", Text(f"{held.first}/{held.last}")
    modified = held.received or facts.modified
    yield node, f"{DCT}modified", _instant(modified)
    yield node, f"{SCHEMA}dateModified", _instant(modified)
    yield node, f"{DCAT}version", Text(held.latest or held.version)
    yield from _series(facts, node, held)
    yield node, f"{ADMS}status", f"{AUTHORITY}dataset-status/COMPLETED"
    yield from _concept(f"{AUTHORITY}dataset-status/COMPLETED", f"{AUTHORITY}dataset-status", {"en": "completed", "zh": "已完成"})
    yield node, f"{DCAT}landingPage", node
    yield from _a(node, f"{FOAF}Document")
    yield from _law(node, held)
    yield from _dictionary(node)
    if held.terms is not None:
        yield node, f"{SCHEMA}license", held.terms.uri
    for file in held.files:
        yield from _file(facts, held, file)
    yield from _record(facts, held)


def _series(facts: Facts, node: str, held: DatasetFacts) -> Iterator[Triple]:
    """The versions: each a dataset of its own at the address of its manifest, all of them a series, each after the one before."""
    if not held.editions:
        return
    series = f"{node}/versions"
    yield from _a(series, f"{DCAT}DatasetSeries")
    yield from _words(series, f"{DCT}title", {"zh": f"{held.titles['zh']}（各版本）", "en": f"{held.titles['en']}: versions"})
    yield from _words(series, f"{DCT}description", held.descriptions)
    yield series, f"{DCT}publisher", _publisher(facts)
    yield series, f"{DCT}modified", _instant(held.editions[0].built)
    yield series, f"{DCAT}first", f"{series}/{held.editions[-1].name}"
    yield series, f"{DCAT}last", f"{series}/{held.editions[0].name}"
    for place, edition in enumerate(held.editions):
        version = f"{series}/{edition.name}"
        yield node, f"{DCAT}hasVersion", version
        yield from _a(version, f"{DCAT}Dataset")
        yield version, f"{DCAT}isVersionOf", node
        yield version, f"{DCAT}inSeries", series
        yield version, f"{DCAT}version", Text(edition.name)
        yield version, f"{DCT}issued", _instant(edition.built)
        yield from _words(version, f"{DCT}title", {language: f"{title} {edition.name}" for language, title in held.titles.items()})
        yield from _words(version, f"{DCT}description", held.descriptions)
        if place + 1 < len(held.editions):
            before = f"{series}/{held.editions[place + 1].name}"
            yield version, f"{DCAT}previousVersion", before
            yield version, f"{DCAT}prev", before


def _rights(node: str, held: DatasetFacts) -> Iterator[Triple]:
    code, english, chinese = _ACCESS[held.openness]
    access = f"{AUTHORITY}access-right/{code}"
    yield node, f"{DCT}accessRights", access
    yield from _concept(access, f"{AUTHORITY}access-right", {"en": english, "zh": chinese}, f"{DCT}RightsStatement")
    yield node, f"{SCHEMA}isAccessibleForFree", Text("true", None, f"{XSD}boolean")


def _rhythm(node: str, held: DatasetFacts) -> Iterator[Triple]:
    if held.accrual is None:
        return
    code, english, chinese = _FREQUENCY[held.accrual]
    frequency = f"{AUTHORITY}frequency/{code}"
    yield node, f"{DCT}accrualPeriodicity", frequency
    yield from _concept(frequency, f"{AUTHORITY}frequency", {"en": english, "zh": chinese}, f"{DCT}Frequency")


def _law(node: str, held: DatasetFacts) -> Iterator[Triple]:
    """On what grounds it is published, and who it comes from."""
    for place, (text, uri) in enumerate(held.basis, 1):
        law = uri or f"{node}#basis-{place}"
        yield node, f"{DCATAP}applicableLegislation", law
        yield from _a(law, f"{ELI}LegalResource")
        yield law, f"{DCT}title", Text(text, "zh")
    provenance = f"{node}#provenance"
    yield node, f"{DCT}provenance", provenance
    yield from _a(provenance, f"{DCT}ProvenanceStatement")
    suppliers = "、".join(held.sources)
    yield provenance, f"{RDFS}label", Text(f"由{suppliers or '作出决定的机关'}报送，经校验后依法公开。", "zh")


def _dictionary(node: str) -> Iterator[Triple]:
    dictionary = f"{node}/dictionary"
    yield node, f"{DCT}conformsTo", dictionary
    yield from _a(dictionary, f"{DCT}Standard")
    yield from _words(dictionary, f"{DCT}title", {"zh": "数据字典", "en": "Data dictionary"})


def _record(facts: Facts, held: DatasetFacts) -> Iterator[Triple]:
    address = _address(facts, held)
    record = f"{address}#record"
    yield from _a(record, f"{DCAT}CatalogRecord")
    yield record, f"{FOAF}primaryTopic", address
    yield record, f"{DCT}modified", _instant(facts.modified)
    yield from _words(record, f"{DCT}title", held.titles)
    yield record, f"{DCT}conformsTo", f"{DCATAP}3.0.1"
    yield from _a(f"{DCATAP}3.0.1", f"{DCT}Standard")
    yield f"{DCATAP}3.0.1", f"{DCT}title", Text("DCAT-AP 3.0.1", "en")


def _file(facts: Facts, held: DatasetFacts, file: File) -> Iterator[Triple]:
    address = _address(facts, held)
    node = f"{address}/distributions#{'live-' if file.version is None else ''}{file.format}"
    yield address, f"{DCAT}distribution", node
    yield address, f"{SCHEMA}distribution", node
    yield from _a(node, f"{DCAT}Distribution", f"{SCHEMA}DataDownload")
    what = file.version or "live"
    titles = {language: f"{title} ({file.format.upper()}, {what})" for language, title in held.titles.items()}
    yield from _words(node, f"{DCT}title", titles)
    yield node, f"{DCAT}accessURL", file.access
    yield node, f"{DCAT}downloadURL", file.download
    yield node, f"{SCHEMA}contentUrl", file.download
    yield node, f"{SCHEMA}encodingFormat", Text(file.media_type)
    media = f"https://www.iana.org/assignments/media-types/{file.media_type}"
    if file.format != "ndjson":  # not registered
        yield node, f"{DCAT}mediaType", media
        yield from _a(media, f"{DCT}MediaType")
        yield media, f"{RDFS}label", Text(file.media_type)
    code, label = _FILE_TYPES[file.format]
    yield node, f"{DCT}format", f"{AUTHORITY}file-type/{code}"
    yield from _concept(f"{AUTHORITY}file-type/{code}", f"{AUTHORITY}file-type", {"en": label}, f"{DCT}MediaTypeOrExtent")
    yield node, f"{DCATAP}availability", f"{AUTHORITY}planned-availability/STABLE"
    yield from _concept(f"{AUTHORITY}planned-availability/STABLE", f"{AUTHORITY}planned-availability", {"en": "stable", "zh": "长期提供"})
    yield node, f"{DCAT}accessService", _service(facts)
    yield node, f"{DCT}conformsTo", f"{address}/dictionary"
    yield from ((node, f"{DCT}language", f"{AUTHORITY}language/{each}") for each in _LANGUAGES)
    if held.terms is not None:
        yield from _licensed(node, held.terms, facts)
    if file.size is not None:
        yield node, f"{DCAT}byteSize", Text(str(file.size), None, f"{XSD}nonNegativeInteger")
    if file.sha256 is not None:
        checksum = f"{node}-sha256"
        yield node, f"{SPDX}checksum", checksum
        yield from _a(checksum, f"{SPDX}Checksum")
        yield checksum, f"{SPDX}algorithm", _SHA256
        yield from _a(_SHA256, f"{SPDX}ChecksumAlgorithm")
        yield checksum, f"{SPDX}checksumValue", Text(file.sha256, None, f"{XSD}hexBinary")


def _shared(facts: Facts) -> Iterator[Triple]:
    """What catalogue and datasets point to: publisher, place, languages, contact, the API."""
    publisher, place = _publisher(facts), _place(facts)
    yield from _a(publisher, f"{FOAF}Agent", f"{SCHEMA}GovernmentOrganization")
    yield publisher, f"{FOAF}name", Text(facts.portal, "zh")
    yield publisher, f"{SCHEMA}name", Text(facts.portal, "zh")
    if facts.org:
        yield publisher, f"{DCT}identifier", Text(facts.org)
    yield from _a(place, f"{DCT}Location", f"{SCHEMA}Place")
    yield place, f"{DCT}identifier", Text(facts.region)
    yield place, f"{RDFS}label", Text(facts.city, "zh")
    yield place, f"{SCHEMA}name", Text(facts.city, "zh")
    for code, label in _LANGUAGES.items():
        yield from _concept(f"{AUTHORITY}language/{code}", f"{AUTHORITY}language", {"en": label}, f"{DCT}LinguisticSystem")
    if facts.contact is not None:
        contact = _contact(facts)
        yield from _a(contact, f"{VCARD}Organization", f"{VCARD}Kind")
        yield contact, f"{VCARD}fn", Text(facts.portal, "zh")
        yield contact, f"{VCARD}{'hasEmail' if facts.contact.startswith('mailto:') else 'hasURL'}", facts.contact
    service = _service(facts)
    yield from _a(service, f"{DCAT}DataService")
    yield from _words(service, f"{DCT}title", {"zh": f"{facts.portal}开放接口", "en": "Public API"})
    yield service, f"{DCAT}endpointURL", f"{facts.origin}/v1"
    yield service, f"{DCAT}endpointDescription", f"{facts.origin}/openapi.json"
    yield service, f"{DCT}publisher", publisher
    if facts.contact is not None:
        yield service, f"{DCAT}contactPoint", _contact(facts)
    terms = _strictest(facts)
    if terms is not None:
        yield from _licensed(service, terms, facts)
    for held in facts.datasets:
        yield service, f"{DCAT}servesDataset", _address(facts, held)


_SHA256: Final = "https://spdx.org/rdf/terms/#checksumAlgorithm_sha256"
"""As the shapes of the European vocabularies ask for it: by https, other than the properties beside it."""
_LANGUAGES: Final = {"ZHO": "Chinese", "ENG": "English"}
_ACCESS: Final = {
    "unconditional": ("PUBLIC", "public", "公开"), "conditional": ("RESTRICTED", "restricted", "有条件公开"),
    "closed": ("NON_PUBLIC", "non-public", "不公开"),
}  # fmt: skip
_FREQUENCY: Final = {
    "P1D": ("DAILY", "daily", "每日"), "P7D": ("WEEKLY", "weekly", "每周"), "P1M": ("MONTHLY", "monthly", "每月"),
    "P3M": ("QUARTERLY", "quarterly", "每季"), "P1Y": ("ANNUAL", "annual", "每年"),
}  # fmt: skip
_FILE_TYPES: Final = {
    "csv": ("CSV", "CSV"), "json": ("JSON", "JSON"), "ndjson": ("JSON", "JSON"), "xlsx": ("XLSX", "Excel XLSX"),
    "parquet": ("PARQUET", "Parquet"), "msgpack": ("BIN", "binary data"),
}  # fmt: skip


def instant_of(moment: datetime) -> str:
    """An instant as it stands in the graph."""
    return moment.isoformat()[:19] + "Z"
