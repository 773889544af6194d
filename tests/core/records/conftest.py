"""What the tests of this room share: the shipped policies as read, and rows that only need to be bent."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.adapter_contract import SourceRecord
from gateway.core.records.catalogue import Catalogue, read_catalogue
from gateway.core.records.intake import AuthorityInfo, IntakeContext, intake
from gateway.core.records.model import Admitted, DatasetId

NOW = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
SENDER = "11220500XXT0001181"
INSTITUTION = "12220500XXT000126Q"
FIRM, HOUSEHOLD = "91220502XXT00002X2", "92220502XXT0000972"
PERSON = "220599198506150070"

Files = dict[str, bytes]
Admit = Callable[..., Admitted]


@pytest.fixture(scope="session")
def policy_files() -> Files:
    """The shipped policies folder as path → bytes."""
    root = Path(__file__).resolve().parents[3] / "policies"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def catalogue(policy_files: Files) -> Catalogue:
    """The shipped policies, read."""
    return read_catalogue(policy_files)


AUTHORITIES = {
    each.uscc: each
    for each in (
        AuthorityInfo(uscc=SENDER, name="通化市市场监督管理局（示例）", region="220500"),
        AuthorityInfo(uscc=INSTITUTION, name="东昌区行政审批局（示例）", region="220502", covers=("*",)),
    )
}
BASE: dict[str, dict[str, Any]] = {
    "administrative-penalties": {
        "name": "通化市示例药业有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "document_number": "通市监罚〔2026〕12号",
        "violation_type": "违反药品管理规定",
        "facts": "销售超过有效期的药品。",
        "legal_basis": "《中华人民共和国药品管理法》第九十八条",
        "penalty_type": "罚款",
        "content": "罚款壹万贰仟元。",
        "fine_amount": "1.2",
        "decision_date": "2026-05-06",
        "effective_until": "2027-05-06",
        "authority": "通化市市场监督管理局（示例）",
        "authority_code": SENDER,
        "source_unit": "通化市市场监督管理局（示例）",
        "source_unit_code": SENDER,
    },
    "administrative-licences": {
        "name": "通化市示例药业有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "document_name": "药品经营许可",
        "document_number": "吉药许〔2026〕7号",
        "licence_type": "普通",
        "content": "药品零售",
        "decision_date": "2026-05-06",
        "valid_from": "2026-05-06",
        "valid_until": "2031/5/5",
        "authority": "通化市市场监督管理局（示例）",
        "authority_code": SENDER,
        "source_unit": "通化市市场监督管理局（示例）",
        "source_unit_code": SENDER,
    },
    "registrations": {"name": "通化市示例药业有限公司", "uscc": FIRM, "established_on": "2016-05-11", "registered_capital": "200(万)"},
    "tax-violations": {
        "name": "通化市示例药业有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "case_nature": "偷税",
        "facts": "少列收入。",
        "legal_basis": "《中华人民共和国税收征收管理法》第六十三条",
        "content": "追缴税款并处罚款。",
        "document_number": "通税失〔2026〕1号",
        "decision_date": "2026-05-06",
        "authority": "通化市税务局（示例）",
        "authority_code": SENDER,
    },
    "honours": {
        "name": "通化市示例药业有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "honour_name": "A级纳税人",
        "decision_date": "2026-04-20",
        "evaluation_year": "2025",
        "authority": "通化市税务局（示例）",
        "authority_code": SENDER,
    },
    "wage-arrears": {
        "name": "通化市示例建筑工程有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "facts": "拖欠三十名农民工工资，经责令限期支付逾期未支付。",
        "legal_basis": "《保障农民工工资支付条例》",
        "document_number": "通人社失〔2026〕1号",
        "decision_date": "2026-05-06",
        "listed_on": "2026-05-06",
        "authority": "通化市人力资源和社会保障局（示例）",
        "authority_code": SENDER,
    },
    "serious-market-violations": {
        "name": "通化市示例食品有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "theme": "食品安全",
        "facts": "生产经营添加非食用物质的食品。",
        "legal_basis": "《市场监督管理严重违法失信名单管理办法》",
        "document_number": "通市监失〔2026〕1号",
        "decision_date": "2026-05-06",
        "listed_on": "2026-05-06",
        "authority": "通化市市场监督管理局（示例）",
        "authority_code": SENDER,
    },
    "abnormal-operations": {
        "name": "通化市示例商贸有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "reason": "未按规定期限公示年度报告",
        "legal_basis": "《企业经营异常名录管理暂行办法》",
        "document_number": "通市监异〔2026〕1号",
        "decision_date": "2026-05-06",
        "listed_on": "2026-05-06",
        "authority": "通化市市场监督管理局（示例）",
        "authority_code": SENDER,
    },
    "commitments": {
        "name": "通化市示例商贸有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "document_number": "22050220260506000001",
        "commitment_type": "审批替代型",
        "matter": "办理食品经营许可",
        "content": "承诺符合法定条件。",
        "decision_date": "2026-05-06",
        "disclosure": "可向社会公开",
        "authority": "通化市市场监督管理局（示例）",
        "authority_code": SENDER,
    },
    "agency-filings": {
        "name": "通化市示例信用服务有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "filing_number": "示信备〔2026〕1号",
        "business_type": "企业征信；信用管理咨询",
        "filing_status": "有效",
        "decision_date": "2026-05-06",
        "valid_until": "2029-05-05",
        "authority": "通化市政务服务和数字化建设管理局（示例）",
        "authority_code": SENDER,
    },
    "measures": {
        "name": "通化市示例商贸有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "about_rid": "rec_aaaqeayeaudaocajbifqydiob4",
        "about_v": "1",
        "measure_code": "green-channel",
        "measure_basis": "《吉林省社会信用条例》",
        "decision_date": "2026-05-06",
        "outcome": "实施中",
        "authority": "通化市政务服务和数字化建设管理局（示例）",
        "authority_code": SENDER,
    },
    "assessments": {
        "name": "通化市示例商贸有限公司",
        "category": "法人及非法人组织",
        "uscc": FIRM,
        "scheme": "纳税信用等级",
        "rating": "B",
        "legal_basis": "《中华人民共和国税收征收管理法实施细则》第四十八条",
        "evaluation_year": "2025",
        "decision_date": "2026-04-20",
        "valid_until": "2027-04-19",
        "disclosure": "政务共享",
        "authority": "通化市税务局（示例）",
        "authority_code": SENDER,
    },
}
"""One good row a dataset, by own names; a test changes what it is about."""


@pytest.fixture
def admit(catalogue: Catalogue) -> Admit:
    """Intake of the dataset's good row with changes: `admit("honours", name="…", uscc=None)`."""

    def call(
        dataset: str = "administrative-penalties",
        /,
        *,
        op: Any = "upsert",
        record_id: str | None = None,
        raw: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Admitted:
        described = catalogue.datasets[DatasetId(dataset)]
        cells = {described.fields[name].wire_name: value for name, value in (BASE[dataset] | changes).items() if value is not None}
        standing: dict[str, Any] = {"dataset": described, "sender": SENDER, "officer": "示例", "demo": True, "now": NOW, "region": "220500"}
        standing |= context or {}
        made = IntakeContext(authorities=AUTHORITIES, **standing)
        record = SourceRecord(
            dataset=dataset,
            record_id=record_id,
            op=op,
            as_of=NOW,
            fields=cells if raw is None else raw,
            place="file.csv!R2",
        )
        return intake(record, made)

    return call
