"""What changes in this API, for those who built on it: told by `/v1/feeds/changelog.atom`, the newest first.

Rules: an entry is written with the change that it tells of, and never changed afterwards; its instant is the day of the change. Every
operation that everybody's document has is told of once as added, and what will go when its `Deprecation` begins (api.md §9), at least six
months before it goes (`tests/web/test_feeds.py` holds both against the routes). So is what was answered and is refused from now on.
"""

from typing import Final, Literal

from msgspec import Struct


class Change(Struct, frozen=True, kw_only=True):
    """One change."""

    id: str
    """For ever; begins with the version."""
    at: str
    kind: Literal["added", "changed", "deprecated", "removed"]
    title_zh: str
    title_en: str
    text_zh: str
    text_en: str
    operations: tuple[str, ...] = ()
    """Which operations of the document were added, or will go."""


CHANGELOG: Final[tuple[Change, ...]] = (
    Change(
        id="0.1.0-searched-and-told",
        at="2026-11-30T15:30:00Z",
        kind="changed",
        title_zh="查找认得更多写法，英文错误说明同样具体",
        title_en="Searches know more ways to write, and faults are told in English as exactly",
        text_zh=(
            "统一社会信用代码中的九位组织机构代码、写全的拼音（含行政区划与组织形式）以及尚未输完的拼音（至少三个字母）都能查到主体。"
            "Accept-Language 为英文时，errors 的说明与中文同样具体。OpenRefine 查询中过长的文本不再使整批被拒，只是没有结果。"
            "批量核对的 NDJSON 文件中超过 64 位的整数，现答 422 file-refused 并指明位置。"
        ),
        text_en=(
            "Organisations are found by the nine characters of the organisation code inside their unified code, by pinyin written out "
            "with region and form, and by pinyin that is still being typed (three letters at least). With English asked for, the details "
            "of errors are as exact as in Chinese. A text too long for a name no longer has a batch of OpenRefine refused: it finds "
            "nothing. A whole number of more than 64 bits in an NDJSON file of a match job is 422 file-refused with its place."
        ),
    ),
    Change(
        id="0.1.0-writes-under-a-condition",
        at="2026-11-30T08:45:00Z",
        kind="changed",
        title_zh="不再默默忽略更改类请求的 If-Match",
        title_en="If-Match of what changes something is not passed over",
        text_zh=(
            "POST 与 DELETE 等请求带 If-Match 的，现答 412 precondition-failed：可更改的资源没有强 ETag，标记无从成立；“*”在路径可读时"
            "成立。此前被忽略。"
        ),
        text_en=(
            "A POST, DELETE and the like with If-Match is 412 precondition-failed: what can be changed has no strong ETag, so no tag can "
            "hold; `*` holds where the path can be read. The field was passed over until now."
        ),
    ),
    Change(
        id="0.1.0-plans-named",
        at="2026-11-30T08:30:00Z",
        kind="changed",
        title_zh="回执与变更源写明策略计划",
        title_en="Receipts and feeds name the plans",
        text_zh=(
            "查询回执与其签名文本（chengxin-receipt/2）写明 policy_plan；/v1/changes 的每页、JSON Feed 的 _credit 与 Atom 的 policy "
            "元素也写明；事件流在计划变更时发出 plan 事件。此前的回执仍可核验。"
        ),
        text_en=(
            "Receipts of queries and their signed text (chengxin-receipt/2) name policy_plan, and so do pages of /v1/changes, `_credit` of "
            "a JSON Feed and an element `policy` in Atom; the event stream tells changed plans in an event `plan`. Receipts of before "
            "verify on."
        ),
    ),
    Change(
        id="0.1.0-described-versions",
        at="2026-11-30T05:00:00Z",
        kind="added",
        title_zh="名单与数据集各版本的 CSV 描述",
        title_en="The CSV files of versions are described",
        text_zh="新增各版本的 csv-metadata.json（CSVW，CSV 文件以 rel=describedby 指向它）与 datapackage.json（Frictionless）。",
        text_en=(
            "csv-metadata.json (CSVW, to which the CSV file points by rel=describedby) and datapackage.json (Frictionless) of each version "
            "of a list or dataset."
        ),
        operations=(
            "getListVersionCsvMetadata", "getListVersionDatapackage", "getDatasetVersionCsvMetadata", "getDatasetVersionDatapackage",
        ),
    ),
    Change(
        id="0.1.0-members",
        at="2026-11-30T04:00:00Z",
        kind="changed",
        title_zh="不再默默忽略的参数取值",
        title_en="Values of parameters that were passed over in silence",
        text_zh=(
            "fields、facet、sort 与各过滤值中重复或为空的取值、CSV 以外的 excel=1、NDJSON 以外的 trailer=1、带前导零的数，现答 400 "
            "invalid-parameter；此前被忽略。"
        ),
        text_en=(
            "A member that stands twice, or is empty, in `fields`, `facet`, `sort` or the values of a filter, `excel=1` of anything but "
            "CSV, `trailer=1` of anything but NDJSON, and numbers with leading zeros are 400 invalid-parameter; they were passed over "
            "until now."
        ),
    ),
    Change(
        id="0.1.0-successors",
        at="2026-11-30T00:00:00Z",
        kind="added",
        title_zh="合并或换码的企业转到新代码",
        title_en="Firms that were merged or renumbered",
        text_zh="/v1/subjects/{代码} 对已合并或换码的企业答 308，转到其新代码。",
        text_en="/v1/subjects/{code} leads (308) to the successor of a firm that was merged or renumbered.",
    ),
    Change(
        id="0.1.0-exports",
        at="2026-11-29T00:00:00Z",
        kind="changed",
        title_zh="导出不再接受 count 与 facet",
        title_en="No count and no facet beside an export",
        text_zh="limit=all 与 count 或 facet 同用，现答 400 invalid-parameter；此前被忽略。",
        text_en="`count` and `facet` beside `limit=all` are 400 invalid-parameter; they were passed over until now.",
    ),
    Change(
        id="0.1.0-proofs",
        at="2026-11-28T18:00:00Z",
        kind="added",
        title_zh="查询回执、公开日志与公开的策略",
        title_en="Receipts, the publication log, and policies as data",
        text_zh="新增 /v1/receipts（带二维码）、/v1/log 及其证明、/v1/policies（版本、矩阵、差异）、/v1/audit/checkpoints。",
        text_en=(
            "/v1/receipts with a QR code, /v1/log with proofs, /v1/policies with versions, matrices and differences, /v1/audit/checkpoints."
        ),
        operations=(
            "issueReceipt", "getReceipt", "getReceiptQr", "describeLog", "getLogEntry", "getLogProof", "listPolicies", "getPolicyMatrix",
            "getPolicyDiff", "listAuditCheckpoints",
        ),
    ),
    Change(
        id="0.1.0-open-data",
        at="2026-11-28T15:00:00Z",
        kind="added",
        title_zh="开放数据目录",
        title_en="The catalogue of open data",
        text_zh=(
            "新增 /catalog.jsonld、.ttl、.rdf（DCAT-AP 3），各数据集的 distributions、quality、datapackage.json 与 csv-metadata.json，"
            "/v1/ftm（FollowTheMoney），以及 sitemap.xml、robots.txt、security.txt。"
        ),
        text_en=(
            "/catalog.jsonld, .ttl and .rdf (DCAT-AP 3); distributions, quality, datapackage.json and csv-metadata.json of each dataset; "
            "/v1/ftm (FollowTheMoney); sitemap.xml, robots.txt and security.txt."
        ),
        operations=(
            "getCatalogueJsonld", "getCatalogueTtl", "getCatalogueRdf", "listDistributions", "getQuality", "getDatapackage",
            "getCsvMetadata", "getFtmCatalogue", "getFtmChain", "getFtmDelta", "getSitemap", "getRobotsTxt", "getSecurityTxt",
        ),
    ),
    Change(
        id="0.1.0-matching",
        at="2026-11-28T12:00:00Z",
        kind="added",
        title_zh="核对、批量核对、OpenRefine 与隐私查询",
        title_en="Matching, match jobs, OpenRefine, and range look-up",
        text_zh="新增 /v1/match、/v1/match-jobs（CSV、XLSX、NDJSON）、/v1/reconcile（OpenRefine 0.2）、/v1/range 与 /v1/normaliser。",
        text_en=(
            "/v1/match, /v1/match-jobs (CSV, XLSX, NDJSON), /v1/reconcile (OpenRefine 0.2), /v1/range (who is asked about is not told) "
            "with /v1/normaliser."
        ),
        operations=(
            "matchNames", "submitMatchJob", "getMatchJob", "cancelMatchJob", "getMatchJobResult", "getReconciliation", "reconcile",
            "suggestForReconciliation", "showForReconciliation", "previewForReconciliation", "proposeForReconciliation", "describeRange",
            "lookUpRange", "getNormaliser",
        ),
    ),
    Change(
        id="0.1.0-versions",
        at="2026-11-28T09:00:00Z",
        kind="added",
        title_zh="名单与数据集的版本和增量",
        title_en="Versions and deltas of lists and datasets",
        text_zh="新增名单与数据集的 versions、checkpoint 与 deltas；主体的 timeline；POST 可带 Idempotency-Key。",
        text_en="Versions, checkpoints and deltas of lists and datasets; the timeline of a subject; Idempotency-Key on POST.",
        operations=(
            "listListVersions", "getListVersion", "getListCheckpoint", "getListDelta", "listDatasetVersions", "getDatasetVersion",
            "getDatasetCheckpoint", "getSubjectTimeline",
        ),
    ),
    Change(
        id="0.1.0-doors",
        at="2026-11-28T06:00:00Z",
        kind="added",
        title_zh="应用的凭证、报送与审核",
        title_en="Credentials of apps, uploads, reviews",
        text_zh="新增 /oauth/token（private_key_jwt 与 DPoP）、吊销与查验，/v1/me/fields，/v1/uploads 与 /v1/reviews。",
        text_en="/oauth/token (private_key_jwt, DPoP), revocation and introspection, /v1/me/fields, /v1/uploads and /v1/reviews.",
        operations=(
            "issueToken", "revokeToken", "introspectToken", "getAuthorizationServer", "getProtectedResource", "listMyFields", "takeUpload",
            "listReviews", "getReview", "approveReview", "editReview", "refuseReview",
        ),
    ),
    Change(
        id="0.1.0-feeds",
        at="2026-11-28T00:00:00Z",
        kind="added",
        title_zh="事件流、订阅源与三种新格式",
        title_en="Event stream, feeds, and three more formats",
        text_zh=(
            "新增 /v1/changes/stream（Server-Sent Events）、/v1/feeds/{名单}.atom 与 .json、/v1/feeds/datasets.atom；"
            "所有列表另有 XLSX、Parquet 与 MessagePack 格式；回答可用 zstd 压缩。"
        ),
        text_en=(
            "/v1/changes/stream (server-sent events), /v1/feeds/{list}.atom and .json, /v1/feeds/datasets.atom; every list also in XLSX, "
            "Parquet and MessagePack; answers in zstd."
        ),
        operations=("followChanges", "getFeed"),
    ),
    Change(
        id="0.1.0-first",
        at="2026-11-23T00:00:00Z",
        kind="added",
        title_zh="主体、记录、名单、数据集与变更",
        title_en="Subjects, records, lists, datasets, changes",
        text_zh="/v1 的开始：主体、记录、名单、数据集与变更，JSON、NDJSON 与 CSV；提示与代码校验；/openapi.json。",
        text_en=(
            "The beginning of /v1: subjects, records, lists, datasets and changes in JSON, NDJSON and CSV; suggestions; validation of "
            "codes; /openapi.json."
        ),
        operations=(
            "getRoot", "getMe", "listKeys", "listProblems", "searchSubjects", "getSubject", "listSubjectRecords", "suggest", "validateUscc",
            "listRecords", "getRecord", "listLists", "getList", "listListings", "listChanges", "listDatasets", "getDataset",
            "getDictionary", "getSchema",
        ),
    ),
)  # fmt: skip
"""The newest first."""
