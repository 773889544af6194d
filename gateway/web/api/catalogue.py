"""The catalogue for machines of other houses: graphs, table descriptions, distributions, quality (api.md §7.14)."""

from typing import Final

from litestar.params import FromPath

from gateway.operations import describe_catalogue, describe_data, tell_quality
from gateway.operations.spell_graphs import Spelling
from gateway.web.api import data_shapes
from gateway.web.api.common import DATASET_ID, PURPOSE
from gateway.web.asked import Asked, begin
from gateway.web.describe import AnyRequest, Described, path
from gateway.web.negotiation import JSON, JSON_LD, RDF_XML, TURTLE, media_type_of
from gateway.web.replies import Reply

GRAPH_MEDIA: Final = (JSON, JSON_LD, TURTLE, RDF_XML)
_SPELLINGS: Final[dict[str, Spelling]] = {JSON_LD: "json-ld", TURTLE: "turtle", RDF_XML: "xml"}


def spelling_of(asked: Asked, described: Described) -> Spelling | None:
    """In which spelling of a graph a path is wanted; None: as JSON."""
    if asked.path != asked.scope["path"]:  # a suffix has said so
        return None
    return _SPELLINGS.get(media_type_of(asked.field(b"accept"), described.media) or "")


def _catalogue(media: str, suffix: str, spelling: str, example: object) -> Described:
    return Described(
        operation_id=f"getCatalogue{suffix.capitalize()}",
        tag="数据集",
        summary=f"数据目录（DCAT-AP，{spelling}）",
        description="The whole catalogue as DCAT-AP 3.0.1; the three spellings are one graph.",
        takes=(PURPOSE,),
        media=(media,),
        one_format=True,
        example=example,
    )


_TURTLE_EXAMPLE: Final = """\
@prefix dcat: <http://www.w3.org/ns/dcat#> .

<https://h/v1/datasets> a dcat:Catalog ;
    dcat:dataset <https://h/v1/datasets/honours> .
"""
GRAPH_EXAMPLES: Final = {
    JSON_LD: {"@context": {"dcat": "http://www.w3.org/ns/dcat#"}, "@graph": [{"@id": "https://h/v1/datasets", "@type": "dcat:Catalog"}]},
    TURTLE: _TURTLE_EXAMPLE,
    RDF_XML: (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="https://h/v1/datasets"/></rdf:RDF>'
    ),
}
"""Beginnings of the catalogue."""
CATALOGUE_JSONLD = _catalogue(JSON_LD, "jsonld", "JSON-LD", GRAPH_EXAMPLES[JSON_LD])
CATALOGUE_TTL = _catalogue(TURTLE, "ttl", "Turtle", GRAPH_EXAMPLES[TURTLE])
CATALOGUE_RDF = _catalogue(RDF_XML, "rdf", "RDF/XML", GRAPH_EXAMPLES[RDF_XML])


async def _whole(request: AnyRequest, described: Described, spelling: Spelling) -> Reply:
    asked = await begin(request, described)
    told = await describe_catalogue.catalogue(asked.services, asked.caller, asked.language, spelling)
    return asked.reply(told, names_subjects=False)


@path("/catalog.jsonld", CATALOGUE_JSONLD)
async def catalogue_jsonld(request: AnyRequest) -> Reply:
    """The catalogue as JSON-LD."""
    return await _whole(request, CATALOGUE_JSONLD, "json-ld")


@path("/catalog.ttl", CATALOGUE_TTL)
async def catalogue_ttl(request: AnyRequest) -> Reply:
    """The catalogue as Turtle."""
    return await _whole(request, CATALOGUE_TTL, "turtle")


@path("/catalog.rdf", CATALOGUE_RDF)
async def catalogue_rdf(request: AnyRequest) -> Reply:
    """The catalogue as RDF/XML."""
    return await _whole(request, CATALOGUE_RDF, "xml")


DISTRIBUTIONS = Described(
    operation_id="listDistributions",
    tag="数据集",
    summary="数据集的下载方式",
    description="The ways to take a dataset as a whole, and under which terms.",
    takes=(DATASET_ID, PURPOSE),
    gives=data_shapes.Distributions,
    example={
        "dataset": "administrative-penalties",
        "items": [
            {
                "format": "csv",
                "media_type": "text/csv",
                "uri": "https://h/v1/records.csv?dataset=administrative-penalties&limit=all",
                "version": None,
                "bytes": None,
                "sha256": None,
            }
        ],
        "terms": None,
        "policy_version": 42,
    },
)


@path("/v1/datasets/{dataset:str}/distributions", DISTRIBUTIONS)
async def distributions(request: AnyRequest, dataset: FromPath[str]) -> Reply:
    """The ways to take a dataset as a whole."""
    asked = await begin(request, DISTRIBUTIONS)
    return asked.reply(await describe_data.distributions(asked.services, dataset, asked.caller, asked.language), names_subjects=False)


QUALITY = Described(
    operation_id="getQuality",
    tag="数据集",
    summary="数据质量",
    description="Freshness, completeness, validity and timeliness per source department: counted over what everybody may download.",
    takes=(DATASET_ID, PURPOSE),
    gives=data_shapes.Quality,
    example={
        "dataset": "administrative-penalties",
        "items": [
            {
                "source": {"name": "通化市市场监督管理局", "uscc": "11220500XXT0001181"},
                "rows": 120,
                "freshness": {"target": "P7D", "age": "P1D", "breached": False},
                "completeness": {"document_number": 1.0},
                "validity": 0.998,
                "validity_kind": "rounded",
                "timeliness": {"within_7_working_days": 0.993},
                "late_removals": 0,
                "open_objections": 3,
                "rows_rejected": 10,
                "rows_rejected_by": {"SCHEMA_TYPE": None, "SUBJ_USCC": 5},
            }
        ],
        "sample": 2000,
        "files": 50,
        "policy_version": 42,
    },
)


@path("/v1/datasets/{dataset:str}/quality", QUALITY)
async def quality(request: AnyRequest, dataset: FromPath[str]) -> Reply:
    """The quality of a dataset, per source department."""
    asked = await begin(request, QUALITY)
    return asked.reply(await tell_quality.quality(asked.services, dataset, asked.caller, asked.language), names_subjects=False)


DATAPACKAGE = Described(
    operation_id="getDatapackage",
    tag="数据集",
    summary="Frictionless 数据包描述",
    description="The CSV of a dataset as a Frictionless data package: Table Schema with constraints, primary key and enumerations.",
    takes=(DATASET_ID, PURPOSE),
    one_format=True,
    example={"profile": "tabular-data-package", "name": "administrative-penalties", "resources": []},
)


@path("/v1/datasets/{dataset:str}/datapackage.json", DATAPACKAGE)
async def datapackage(request: AnyRequest, dataset: FromPath[str]) -> Reply:
    """A dataset as a data package."""
    asked = await begin(request, DATAPACKAGE)
    return asked.reply(await describe_catalogue.datapackage(asked.services, dataset, asked.caller, asked.language), names_subjects=False)


CSV_METADATA = Described(
    operation_id="getCsvMetadata",
    tag="数据集",
    summary="CSVW 描述",
    description="The CSV of a dataset as CSV on the Web describes tables; the CSV names it by `rel=describedby`.",
    takes=(DATASET_ID, PURPOSE),
    one_format=True,
    example={
        "@context": ["http://www.w3.org/ns/csvw", {"@language": "zh"}],
        "url": "https://h/v1/records.csv?dataset=administrative-penalties&limit=all",
        "tableSchema": {"columns": [], "primaryKey": "id"},
    },
)


@path("/v1/datasets/{dataset:str}/csv-metadata.json", CSV_METADATA)
async def csv_metadata(request: AnyRequest, dataset: FromPath[str]) -> Reply:
    """A dataset's CSV on the Web description."""
    asked = await begin(request, CSV_METADATA)
    return asked.reply(await describe_catalogue.csv_metadata(asked.services, dataset, asked.caller, asked.language), names_subjects=False)


HANDLERS: Final = (catalogue_jsonld, catalogue_ttl, catalogue_rdf, distributions, quality, datapackage, csv_metadata)
