"""Datasets and their dictionaries, as the caller's plans show them (api.md §7.14)."""

from typing import Final

from litestar.params import FromPath

from gateway.operations import answer_query, describe_catalogue
from gateway.web.api import data_shapes
from gateway.web.api.catalogue import GRAPH_EXAMPLES, GRAPH_MEDIA, spelling_of
from gateway.web.api.common import DATASET_ID, PURPOSE
from gateway.web.asked import begin, without_suffix
from gateway.web.describe import AnyRequest, Described, path
from gateway.web.replies import Reply

_DATASET: Final = {
    "id": "administrative-penalties",
    "title": "行政处罚",
    "openness": "unconditional",
    "rows": 120,
    "links": {
        "records": "https://h/v1/records?dataset=administrative-penalties",
        "dictionary": "https://h/v1/datasets/administrative-penalties/dictionary",
    },
}

DATASETS = Described(
    operation_id="listDatasets",
    tag="数据集",
    summary="数据集",
    description="All datasets; as JSON-LD, Turtle or RDF/XML the DCAT-AP 3.0.1 catalogue.",
    takes=(PURPOSE,),
    gives=data_shapes.Datasets,
    media=GRAPH_MEDIA,
    examples=GRAPH_EXAMPLES,
    example={"items": [_DATASET], "dataset_version": "20261104010000-88213", "policy_version": 42},
)


@path("/v1/datasets", DATASETS)
async def datasets(request: AnyRequest) -> Reply:
    """All datasets."""
    asked = await begin(request, DATASETS)
    spelling = spelling_of(asked, DATASETS)
    if spelling is not None:
        told = await describe_catalogue.catalogue(asked.services, asked.caller, asked.language, spelling)
        return asked.reply(told, names_subjects=False)
    return asked.reply(await answer_query.datasets(asked.services, asked.caller, asked.language), names_subjects=False)


DATASET_ONE = Described(
    operation_id="getDataset",
    tag="数据集",
    summary="一个数据集",
    description="A dataset of the catalogue; as JSON-LD, Turtle or RDF/XML in the words of DCAT-AP 3.0.1 and schema.org.",
    takes=(DATASET_ID, PURPOSE),
    gives=data_shapes.Dataset,
    media=GRAPH_MEDIA,
    examples=GRAPH_EXAMPLES,
    example=_DATASET,
)


@path("/v1/datasets/{dataset:str}", DATASET_ONE)
async def one(request: AnyRequest, dataset: FromPath[str]) -> Reply:
    """One dataset."""
    asked = await begin(request, DATASET_ONE)
    spelling = spelling_of(asked, DATASET_ONE)
    if spelling is not None:
        told = await describe_catalogue.dataset_in(asked.services, dataset, asked.caller, asked.language, spelling)
    else:
        told = await answer_query.dataset(asked.services, without_suffix(dataset), asked.caller, asked.language)
    return asked.reply(told, names_subjects=False)


DICTIONARY = Described(
    operation_id="getDictionary",
    tag="数据集",
    summary="数据字典",
    description="Fields of a dataset whose existence the caller may know, and what may be done with them.",
    takes=(DATASET_ID, PURPOSE),
    gives=data_shapes.Dictionary,
    example={
        "dataset": "administrative-penalties",
        "fields": [
            {
                "name": "decision_date",
                "name_zh": "处罚决定日期",
                "name_en": "Decision date",
                "type": "date",
                "unit": None,
                "required": True,
                "sensitivity": "open",
                "treatments": {"public": "clear"},
                "treatments_by_kind": {"legal": "clear"},
                "capabilities": {"public": ["filter", "sort"]},
            }
        ],
        "policy_version": 42,
    },
)


@path("/v1/datasets/{dataset:str}/dictionary", DICTIONARY)
async def dictionary(request: AnyRequest, dataset: FromPath[str]) -> Reply:
    """The dictionary of a dataset."""
    asked = await begin(request, DICTIONARY)
    return asked.reply(await answer_query.dictionary(asked.services, dataset, asked.caller, asked.language), names_subjects=False)


SCHEMA = Described(
    operation_id="getSchema",
    tag="数据集",
    summary="字段的 JSON Schema",
    description="JSON Schema of the fields of a dataset's records as this caller's plans show them; one alternative a kind of subject.",
    takes=(DATASET_ID, PURPOSE),
    example={
        "$id": "https://h/v1/datasets/administrative-penalties/schema",
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "行政处罚",
        "anyOf": [{"title": "legal", "type": "object", "properties": {}, "additionalProperties": False}],
    },
)


@path("/v1/datasets/{dataset:str}/schema", SCHEMA)
async def schema(request: AnyRequest, dataset: FromPath[str]) -> Reply:
    """The JSON Schema of a dataset's fields, as the caller sees them."""
    asked = await begin(request, SCHEMA)
    return asked.reply(await answer_query.schema(asked.services, dataset, asked.caller, asked.language), names_subjects=False)


HANDLERS: Final = (datasets, one, dictionary, schema)
