"""Versions of lists and datasets, their files, checkpoints and deltas; black lists as FollowTheMoney (api.md §7.8, §7.14, §7.18)."""

from typing import Any, Final

from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from gateway.operations import read_versions
from gateway.operations.describe_versions import describe_version
from gateway.operations.read_versions import Elsewhere, Served
from gateway.web.api import list_shapes
from gateway.web.api.common import CURSOR, DATASET_ID, LIST, PAGE_LIMIT
from gateway.web.asked import Asked, begin
from gateway.web.describe import AnyRequest, Described, Parameter, path
from gateway.web.files import sent
from gateway.web.replies import Reply

_NAME: Final = "20261104010000-88213"
_ITEM: Final[dict[str, Any]] = {
    "version": _NAME,
    "issue": 2,
    "state": "current",
    "state_label": "现行",
    "built_at": "2026-11-04T01:00:12Z",
    "rows": 1342,
    "policy_version": 42,
    "links": {"self": f"https://h/v1/lists/tax-violations/versions/{_NAME}"},
}
_ROOT: Final = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
_MANIFEST: Final = {
    **_ITEM,
    "policy_plan": "0" * 64,
    "collection": "lists/tax-violations",
    "size": 1343,
    "root": _ROOT,
    "files": [
        {
            "format": "ndjson",
            "uri": f"https://h/v1/lists/tax-violations/versions/{_NAME}.r2.ndjson",
            "bytes": 812345,
            "sha256": "0" * 64,
            "sm3": "0" * 64,
        }
    ],
    "previous": "20261103010000-88190",
    "issues": [
        {"issue": 2, "at": "2026-11-05T02:00:00Z", "cause": "removal", "removed": 1, "size": 1343, "root": _ROOT},
        {"issue": 1, "at": "2026-11-04T01:00:12Z", "cause": "built", "removed": 0, "size": 1343, "root": _ROOT},
    ],
    "removed_commitments": [{"index": 411, "commitment": "0" * 64}],
    "checkpoint": f"https://h/v1/lists/tax-violations/versions/{_NAME}/checkpoint",
}
_NOTE: Final = f"h/v1/lists/tax-violations/{_NAME}\n1343\n{_ROOT}\nmanifest sha-256:{_ROOT}\n\n— h/export AAAA\n"
_PAGE: Final = {"next": None, "prev": None, "self": "https://h/v1/lists/tax-violations/versions"}
_PAGE_PROBLEMS: Final = ("invalid-parameter", "bad-cursor", "cursor-expired")
_PROBLEMS: Final = ("version-withdrawn", "version-reissuing")
_FILE_PROBLEMS: Final = (
    *_PROBLEMS, "version-reissued", "precondition-failed", "range-not-satisfiable", "too-many-rows-for-format", "text-too-long-for-format",
)  # fmt: skip

VERSION: Final = Parameter(
    name="version",
    where="path",
    text="版本，或 latest；后接 .ndjson、.csv、.json、.msgpack、.xlsx、.parquet（失信名单另有 .ftm.json）为文件（307 到当前发布号）。"
    "A version or `latest`; with a suffix its file.",
    schema={"type": "string", "pattern": r"^(latest|[0-9]{14}-[0-9]{1,16})$"},
    example="latest",
)
FROM: Final = Parameter(
    name="start",
    where="path",
    text="起点版本，或 PT8H、P1D、P7D、P31D。From this version, or since so long.",
    schema={"type": "string", "pattern": r"^(PT8H|P1D|P7D|P31D|[0-9]{14}-[0-9]{1,16})$"},
    example="P1D",
)
TO: Final = Parameter(
    name="end",
    where="path",
    text="终点版本或 latest，后接 .ndjson 或 .csv。To this version or `latest`, with the format.",
    schema={"type": "string", "pattern": r"^(latest|[0-9]{14}-[0-9]{1,16})\.(ndjson|csv)$"},
    example="latest.ndjson",
)
FTM_NAME: Final = Parameter(
    name="name", where="path", text="FollowTheMoney 数据集名。Name of the dataset.", example="tonghua_tax_violations"
)

_VERSIONS_TEXT: Final = "Versions, newest first. A build follows a change within 15 minutes; without a change there is none."
_VERSION_TEXT: Final = (
    "The manifest of a version: files with digests, issues, what was removed, and the Merkle root. `{version}.{format}` leads to the file "
    "of the present issue, `{version}.r{issue}.{format}`: rows sorted by id, NDJSON lines in canonical JSON, with strong validators and "
    "Range. "
    "When a listing leaves, every version that holds it is issued again without it; the old issue is 410 `version-reissued`."
)
_CHECKPOINT_TEXT: Final = "Signed note (C2SP) over size, root and manifest of a version; verified with a key of use `export` of `/v1/keys`."


async def _file_or(asked: Asked, found: Served | Elsewhere) -> Reply:
    return asked.moved(found.url) if isinstance(found, Elsewhere) else await sent(asked, found)


async def _in_one_language(request: AnyRequest, described: Described, *, by_name: bool = False) -> Asked:
    """`begin` for what is signed, and for what describes it: its bytes are the same in whatever language somebody asks."""
    asked = await begin(request, described, by_name=by_name)
    asked.language = "zh-CN"
    return asked


async def _version(request: AnyRequest, described: Described, collection: str, version: str) -> Reply:
    """The manifest, or with a suffix a file."""
    asked = await _in_one_language(request, described, by_name="." in version)
    if "." in version:
        return await _file_or(asked, await read_versions.file(asked.services, collection, version))
    answer = await read_versions.one_version(asked.services, collection, version)
    return asked.reply(answer, names_subjects=collection.startswith("lists/"))


LIST_VERSIONS = Described(
    operation_id="listListVersions",
    tag="名单",
    summary="名单的版本",
    description=_VERSIONS_TEXT,
    takes=(LIST, PAGE_LIMIT, CURSOR),
    gives=list_shapes.Versions,
    problems=_PAGE_PROBLEMS,
    example={"items": [_ITEM], **_PAGE, "window_from": _NAME, "dataset_version": _NAME, "policy_version": 42},
)


@path("/v1/lists/{list_id:str}/versions", LIST_VERSIONS)
async def list_versions(request: AnyRequest, list_id: FromPath[str]) -> Reply:
    """The versions of a list."""
    asked = await begin(request, LIST_VERSIONS)
    return asked.reply(await read_versions.versions(asked.services, f"lists/{list_id}", asked.ask()))


LIST_VERSION = Described(
    operation_id="getListVersion",
    tag="名单",
    summary="名单的一个版本",
    description=_VERSION_TEXT,
    takes=(LIST, VERSION),
    gives=list_shapes.VersionManifest,
    moves=307,
    problems=_FILE_PROBLEMS,
    example=_MANIFEST,
)


@path("/v1/lists/{list_id:str}/versions/{version:str}", LIST_VERSION)
async def list_version(request: AnyRequest, list_id: FromPath[str], version: FromPath[str]) -> Reply:
    """A version of a list, or one of its files."""
    return await _version(request, LIST_VERSION, f"lists/{list_id}", version)


LIST_CHECKPOINT = Described(
    operation_id="getListCheckpoint",
    tag="名单",
    summary="名单版本的签名",
    description=_CHECKPOINT_TEXT,
    takes=(LIST, VERSION),
    media=("text/plain",),
    problems=_PROBLEMS,
    example=_NOTE,
)


@path("/v1/lists/{list_id:str}/versions/{version:str}/checkpoint", LIST_CHECKPOINT)
async def list_checkpoint(request: AnyRequest, list_id: FromPath[str], version: FromPath[str]) -> Reply:
    """The checkpoint of a version of a list."""
    asked = await _in_one_language(request, LIST_CHECKPOINT)
    return asked.reply(await read_versions.checkpoint(asked.services, f"lists/{list_id}", version))


DELTA = Described(
    operation_id="getListDelta",
    tag="名单",
    summary="两个版本之间的增量",
    description="What makes the one version into the other: any issue of the first, with this applied and sorted by id, is the present "
    "issue of the second, byte for byte. `add` and `mod` both mean: put this row.",
    takes=(LIST, FROM, TO),
    media=("application/x-ndjson", "text/csv"),
    moves=307,
    problems=("invalid-parameter", "delta-window", *_PROBLEMS, "precondition-failed", "range-not-satisfiable"),
    example='{"op":"del","id":"rec_2222222222222222222222222a","reason":"removed"}\n',
)


@path("/v1/lists/{list_id:str}/deltas/{start:str}/{end:str}", DELTA)
async def delta(request: AnyRequest, list_id: FromPath[str], start: FromPath[str], end: FromPath[str]) -> Reply:
    """The delta between two versions of a list."""
    asked = await begin(request, DELTA, by_name=True)
    return await _file_or(asked, await read_versions.delta(asked.services, f"lists/{list_id}", start, end))


DATASET_VERSIONS = Described(
    operation_id="listDatasetVersions",
    tag="数据集",
    summary="数据集的版本",
    description=_VERSIONS_TEXT,
    takes=(DATASET_ID, PAGE_LIMIT, CURSOR),
    gives=list_shapes.Versions,
    problems=_PAGE_PROBLEMS,
    example={"items": [_ITEM], **_PAGE, "window_from": _NAME, "dataset_version": _NAME, "policy_version": 42},
)


@path("/v1/datasets/{dataset:str}/versions", DATASET_VERSIONS)
async def dataset_versions(request: AnyRequest, dataset: FromPath[str]) -> Reply:
    """The versions of a dataset."""
    asked = await begin(request, DATASET_VERSIONS)
    return asked.reply(await read_versions.versions(asked.services, f"datasets/{dataset}", asked.ask()), names_subjects=False)


DATASET_VERSION = Described(
    operation_id="getDatasetVersion",
    tag="数据集",
    summary="数据集的一个版本",
    description=_VERSION_TEXT,
    takes=(DATASET_ID, VERSION),
    gives=list_shapes.VersionManifest,
    moves=307,
    problems=_FILE_PROBLEMS,
    example=_MANIFEST,
)


@path("/v1/datasets/{dataset:str}/versions/{version:str}", DATASET_VERSION)
async def dataset_version(request: AnyRequest, dataset: FromPath[str], version: FromPath[str]) -> Reply:
    """A version of a dataset, or one of its files."""
    return await _version(request, DATASET_VERSION, f"datasets/{dataset}", version)


DATASET_CHECKPOINT = Described(
    operation_id="getDatasetCheckpoint",
    tag="数据集",
    summary="数据集版本的签名",
    description=_CHECKPOINT_TEXT,
    takes=(DATASET_ID, VERSION),
    media=("text/plain",),
    problems=_PROBLEMS,
    example=_NOTE,
)


@path("/v1/datasets/{dataset:str}/versions/{version:str}/checkpoint", DATASET_CHECKPOINT)
async def dataset_checkpoint(request: AnyRequest, dataset: FromPath[str], version: FromPath[str]) -> Reply:
    """The checkpoint of a version of a dataset."""
    asked = await _in_one_language(request, DATASET_CHECKPOINT)
    return asked.reply(await read_versions.checkpoint(asked.services, f"datasets/{dataset}", version), names_subjects=False)


_CSVW_TEXT: Final = "The CSV file of a version as CSV on the Web describes tables; the file names it by `rel=describedby`."
_PACKAGE_TEXT: Final = "The CSV file of a version as a Frictionless data package, with its size and digest."


def _csvw_example(collection: str) -> dict[str, Any]:
    return {
        "@context": ["http://www.w3.org/ns/csvw", {"@language": "zh"}],
        "url": f"https://h/v1/{collection}/versions/{_NAME}.r2.csv",
        "tableSchema": {"columns": [], "primaryKey": "id"},
    }


LIST_CSV_METADATA = Described(
    operation_id="getListVersionCsvMetadata",
    tag="名单",
    summary="名单版本的 CSVW 描述",
    description=_CSVW_TEXT,
    takes=(LIST, VERSION),
    one_format=True,
    problems=_PROBLEMS,
    example=_csvw_example("lists/tax-violations"),
)


@path("/v1/lists/{list_id:str}/versions/{version:str}/csv-metadata.json", LIST_CSV_METADATA)
async def list_csv_metadata(request: AnyRequest, list_id: FromPath[str], version: FromPath[str]) -> Reply:
    """A list's version as CSV on the Web."""
    asked = await _in_one_language(request, LIST_CSV_METADATA)
    return asked.reply(await describe_version(asked.services, f"lists/{list_id}", version, "csvw"), names_subjects=False)


LIST_DATAPACKAGE = Described(
    operation_id="getListVersionDatapackage",
    tag="名单",
    summary="名单版本的 Frictionless 数据包描述",
    description=_PACKAGE_TEXT,
    takes=(LIST, VERSION),
    one_format=True,
    problems=_PROBLEMS,
    example={"profile": "tabular-data-package", "name": "tax-violations", "resources": []},
)


@path("/v1/lists/{list_id:str}/versions/{version:str}/datapackage.json", LIST_DATAPACKAGE)
async def list_datapackage(request: AnyRequest, list_id: FromPath[str], version: FromPath[str]) -> Reply:
    """A list's version as a data package."""
    asked = await _in_one_language(request, LIST_DATAPACKAGE)
    return asked.reply(await describe_version(asked.services, f"lists/{list_id}", version, "frictionless"), names_subjects=False)


DATASET_CSV_METADATA = Described(
    operation_id="getDatasetVersionCsvMetadata",
    tag="数据集",
    summary="数据集版本的 CSVW 描述",
    description=_CSVW_TEXT,
    takes=(DATASET_ID, VERSION),
    one_format=True,
    problems=_PROBLEMS,
    example=_csvw_example("datasets/administrative-penalties"),
)


@path("/v1/datasets/{dataset:str}/versions/{version:str}/csv-metadata.json", DATASET_CSV_METADATA)
async def dataset_csv_metadata(request: AnyRequest, dataset: FromPath[str], version: FromPath[str]) -> Reply:
    """A dataset's version as CSV on the Web."""
    asked = await _in_one_language(request, DATASET_CSV_METADATA)
    return asked.reply(await describe_version(asked.services, f"datasets/{dataset}", version, "csvw"), names_subjects=False)


DATASET_DATAPACKAGE = Described(
    operation_id="getDatasetVersionDatapackage",
    tag="数据集",
    summary="数据集版本的 Frictionless 数据包描述",
    description=_PACKAGE_TEXT,
    takes=(DATASET_ID, VERSION),
    one_format=True,
    problems=_PROBLEMS,
    example={"profile": "tabular-data-package", "name": "administrative-penalties", "resources": []},
)


@path("/v1/datasets/{dataset:str}/versions/{version:str}/datapackage.json", DATASET_DATAPACKAGE)
async def dataset_datapackage(request: AnyRequest, dataset: FromPath[str], version: FromPath[str]) -> Reply:
    """A dataset's version as a data package."""
    asked = await _in_one_language(request, DATASET_DATAPACKAGE)
    return asked.reply(await describe_version(asked.services, f"datasets/{dataset}", version, "frictionless"), names_subjects=False)


FTM_CATALOGUE = Described(
    operation_id="getFtmCatalogue",
    tag="名单",
    summary="FollowTheMoney 目录",
    description="Black lists as datasets of FollowTheMoney, for screening software.",
    gives=list_shapes.FtmCatalogue,
    example={
        "datasets": [
            {
                "name": "tonghua_tax_violations",
                "title": "重大税收违法失信主体名单",
                "version": _NAME,
                "entities_url": f"https://h/v1/lists/tax-violations/versions/{_NAME}.ftm.json",
                "delta_url": "https://h/v1/ftm/tonghua_tax_violations/delta.json",
                "updated_at": "2026-11-04T01:00:12Z",
                "resources": [],
            }
        ]
    },
)


@path("/v1/ftm/catalog.json", FTM_CATALOGUE)
async def ftm_catalogue(request: AnyRequest) -> Reply:
    """What screening software may load."""
    asked = await begin(request, FTM_CATALOGUE, by_name=True)
    return asked.reply(await read_versions.ftm_catalog(asked.services, asked.language))


FTM_CHAIN = Described(
    operation_id="getFtmChain",
    tag="名单",
    summary="FollowTheMoney 增量链",
    description="Each version with the address of the delta from the version before.",
    takes=(FTM_NAME,),
    gives=list_shapes.FtmChain,
    example={"versions": {_NAME: f"https://h/v1/ftm/tonghua_tax_violations/deltas/{_NAME}.json"}},
)


@path("/v1/ftm/{name:str}/delta.json", FTM_CHAIN)
async def ftm_chain(request: AnyRequest, name: FromPath[str]) -> Reply:
    """The chain of deltas of a dataset."""
    asked = await begin(request, FTM_CHAIN, by_name=True)
    return asked.reply(await read_versions.ftm_chain(asked.services, name))


FTM_LINK = Described(
    operation_id="getFtmDelta",
    tag="名单",
    summary="FollowTheMoney 增量",
    description="`ADD`, `MOD` and `DEL` of entities from the version before. What has left since is an empty stub.",
    takes=(
        FTM_NAME,
        Parameter(
            name="version",
            where="path",
            text="版本，后接 .json。A version with `.json`.",
            schema={"type": "string", "pattern": r"^[0-9]{14}-[0-9]{1,16}\.json$"},
            example=f"{_NAME}.json",
        ),
    ),
    media=("application/x-ndjson",),
    problems=("version-withdrawn", "version-reissuing", "precondition-failed", "range-not-satisfiable"),
    example='{"entity":{"id":"rec-2222222222222222222222222a"},"op":"DEL"}\n',
)


@path("/v1/ftm/{name:str}/deltas/{version:str}", FTM_LINK)
async def ftm_link(request: AnyRequest, name: FromPath[str], version: FromPath[str]) -> Reply:
    """One link of the chain."""
    asked = await begin(request, FTM_LINK, by_name=True)
    return await sent(asked, await read_versions.ftm_link(asked.services, name, version))


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (
    list_versions,
    list_version,
    list_checkpoint,
    list_csv_metadata,
    list_datapackage,
    delta,
    dataset_versions,
    dataset_version,
    dataset_checkpoint,
    dataset_csv_metadata,
    dataset_datapackage,
    ftm_catalogue,
    ftm_chain,
    ftm_link,
)
