"""What the tests of this room start from: the shipped policies, a small one that can be bent, and records of invented subjects."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.disclosure.plans import Plan, Policies
from gateway.core.disclosure.policy import compile_policies
from gateway.core.disclosure.redaction import REDACTOR
from gateway.core.errors import PolicyError
from gateway.core.records.identifiers import uscc_check_character
from gateway.core.records.model import LifeDates, Record, Redaction, SubjectKind, Unpublished, Value

POLICIES = Path(__file__).resolve().parents[3] / "policies"
TODAY = date(2026, 6, 1)
NOW = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
PENALTIES = "administrative-penalties"

FIRM = "91220502XXT00002X2"
HOUSEHOLD = "92220502XXT000045" + uscc_check_character("92220502XXT000045")
PERSON = "220599198001010013"  # not a number of anybody: no such division


@cache
def shipped_files() -> Mapping[str, bytes]:
    """The policy folder of this checkout."""
    folders = ("", "datasets/", "lists/")
    return {
        path.relative_to(POLICIES).as_posix(): path.read_bytes()
        for folder in folders
        for path in sorted((POLICIES / folder).glob("*.toml"))
    }


@cache
def shipped() -> Policies:
    """The shipped policies, compiled for the day of the tests."""
    return compile_policies(shipped_files(), version=1, today=TODAY)


def plan_of(dataset: str, tier: str, purpose: str, kind: SubjectKind, policies: Policies | None = None) -> Plan:
    """A plan that must exist."""
    held = (policies or shipped()).plan_set(dataset, tier, purpose)
    assert held is not None
    return held.plans[kind]


PUBLIC = ("public", "open.read")
DEPARTMENT = ("department", "dept.supervision")
PARTNER = ("partner", "exchange.batch")

VALUES: dict[str, Value] = {
    "name": "通化市示例药业有限公司",
    "category": "legal",
    "uscc": FIRM,
    "reg_no": "220500000012345",
    "legal_representative": "某某甲",
    "legal_representative_id_no": PERSON,
    "document_number": "通市监罚〔2026〕12号",
    "violation_type": "销售超过保质期的食品",
    "facts": "当事人销售超过保质期的食品，货值金额2000元。",
    "legal_basis": "《中华人民共和国食品安全法》第三十四条第一款第十项",
    "content": "罚款12000元。",
    "penalty_type": "fine;confiscation",
    "fine_amount": "1.200000",
    "confiscated_amount": "0.200000",
    "decision_date": "2026-03-02",
    "effective_until": "2027-03-02",
    "severity": "general",
    "theme": "food",
    "authority": "通化市市场监督管理局（示例）",
    "authority_code": "11220500XXT0001181",
    "source_unit": "通化市市场监督管理局（示例）",
    "source_unit_code": "11220500XXT0001181",
    "remark": "内部备注，不得外传",
}
TEXT_FIELDS = ("violation_type", "facts", "legal_basis", "content")


def clean(text: str) -> Redaction:
    """A text in which the redactor found nothing."""
    return Redaction(strict=text, third_parties=text, residual=0, redactor=REDACTOR)


def penalty(kind: SubjectKind = "legal", values: Mapping[str, Value] | None = None, **changes: Any) -> Record:
    """An invented penalty; `values` and `changes` replace what is written here."""
    raw = dict(VALUES)
    if kind == "individual_business":
        raw |= {"name": "东昌区甲乙小吃店", "uscc": HOUSEHOLD, "category": kind}
    elif kind == "natural":
        raw |= {"name": "某某乙", "uscc": None, "id_no": PERSON, "category": kind}
    raw |= values or {}
    texts = {name: clean(text) for name in TEXT_FIELDS if isinstance(text := raw.get(name), str)}
    record = Record(
        record_id="rec_" + "a" * 26,  # type: ignore[arg-type]  # a test may write an id as text
        subject_id="sub_" + "b" * 26,  # type: ignore[arg-type]  # the same
        dataset=PENALTIES,  # type: ignore[arg-type]  # the same
        category="penalty",
        kind=kind,
        version=1,
        state="in_force",
        trust="signed",
        region="220500",
        authority_code="11220500XXT0001181",
        authority_name="通化市市场监督管理局（示例）",
        dates=LifeDates(decision=date(2026, 3, 2), first_publication_here=date(2026, 3, 9)),
        severity="general",
        received_at=datetime(2026, 3, 6, tzinfo=UTC),
        changed_seq=3,
        raw=Unpublished(raw),
        texts=texts,
    )
    return msgspec.structs.replace(record, **changes)


def bent(path: str, *changes: tuple[str, str], of: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """The shipped files (or these) with some text of one of them replaced; the text must be there."""
    files = dict(shipped_files() if of is None else of)
    text = files[path].decode()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    files[path] = text.encode()
    return files


def added(path: str, text: str) -> dict[str, bytes]:
    """The shipped files with a text put at the end of one of them."""
    files = dict(shipped_files())
    files[path] += text.encode()
    return files


def refused(files: Mapping[str, bytes], today: date = TODAY) -> PolicyError:
    """The fault for which these files are refused."""
    try:
        compile_policies(files, version=1, today=today)
    except PolicyError as error:
        return error
    raise AssertionError("these files should have been refused")


def line_of(files: Mapping[str, bytes], path: str, text: str) -> int:
    """The first line of a file that holds this text."""
    return next(number for number, line in enumerate(files[path].decode().splitlines(), start=1) if text in line)


SUBJECT = ("subject", "self.read")
_SELF_READ = """
[purposes."self.read"]
label = "本人查询"
subject_label = "本人查询"
basis = [{ law = "中华人民共和国个人信息保护法", article = "四十五", from = 2021-11-01 }]
tiers = ["subject"]
case_ref = "none"
assurance = "session"
retention = "audit.personal"
"""


def ruled(rule: str, files: Mapping[str, bytes] | None = None, path: str = f"datasets/{PENALTIES}.toml") -> dict[str, bytes]:
    """The files with one more rule at the end of a dataset, and the purpose `self.read` if they have none."""
    made = dict(files or shipped_files())
    if b"self.read" not in made["purposes.toml"]:
        made["purposes.toml"] += _SELF_READ.encode()
    made[path] += f"\n[[rules]]\n{rule}".encode()
    return made


def without_rules_for(tier: str, path: str = f"datasets/{PENALTIES}.toml") -> dict[str, bytes]:
    """The shipped files less the rules of a dataset that name a tier."""
    made = dict(shipped_files())
    head, *rules = made[path].decode().split("[[rules]]")
    made[path] = "[[rules]]".join((head, *(rule for rule in rules if f'"{tier}"' not in rule.partition("purposes")[0]))).encode()
    return made
