"""Pieces of the core, in one process: a View of a 30-field mixed record against its encoding; compiling and checking the shipped policies.

`python -m tests.bench.pieces` prints {"view_us": …, "encode_us": …, "compile_s": …, "bulk_s": …}.
"""

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from gateway import garbage
from gateway.core.disclosure import likeness, redaction, stretches
from gateway.core.disclosure.policy import _compiled, check_policies, compile_policies
from gateway.core.disclosure.redaction import redact
from gateway.core.disclosure.views import view
from gateway.core.records.model import DatasetId, LifeDates, Record, RecordId, SubjectId, Unpublished, Value
from tests.bench import register
from tests.core.disclosure.bulk import bulk
from tests.core.disclosure.learning import CORPORA

POLICIES = Path(__file__).resolve().parents[2] / "policies"
LAST = "datasets/bulk-19.toml"
TEXT = "经查，当事人于2026年3月在经营场所销售商品未按规定标明价格，涉及商品12种，货值金额12000元，事后已主动改正并退还价款。"
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


DECISION = TEXT * 50
HOSTILE = ("王小明1", "微信", "1 ", "李·王·", "账号1234567 ", "住址：")


def _growth() -> float:
    """How much longer a megabyte takes than a tenth of it, at worst: ten where time is linear.

    Tenths before and after each megabyte, so that both are of the same moment of a machine that changes its speed.
    """
    worst = 0.0
    for unit in HOSTILE:
        small, large = (unit * (size // len(unit)) for size in (100_000, 1_000_000))
        rounds = []
        for _ in range(3):
            before = [_redacted_s(small) for _ in range(2)]
            whole = _redacted_s(large)
            rounds.append(whole / statistics.median(before + [_redacted_s(small) for _ in range(2)]))
        worst = max(worst, statistics.median(rounds))
    return worst


def _unmet() -> float:
    """Characters a second of sentences that nothing is remembered of, one by one: those of the harmless corpus, whose words were met."""
    sentences = [line for line in (CORPORA / "harmless.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    taken = []
    for _ in range(6):
        for remembered in (stretches._read_before, likeness._weighed, redaction._harmless):
            remembered.clear()
        taken.append(sum(map(_redacted_s, sentences)))
    return sum(map(len, sentences)) / statistics.median(taken[1:])


def _redacted_s(text: str) -> float:
    started = time.process_time()
    redact(text, ["测试甲某"])
    return time.process_time() - started


def _sample_value(kind: str, name: str) -> Value:
    samples: dict[str, Value] = {
        "uscc": register.AUTHORITY,
        "date": "2026-10-01",
        "id_no": "220599198506150070",
        "person_name": "测试甲某",
        "subject_name": register.name(1),
        "int": 3,
        "bool": True,
        "division": "220502",
        "mobile": "13800000000",
        "address": "吉林省通化市东昌区示例路1号",
    }
    if kind.startswith("decimal"):
        return "1.200000"
    return samples.get(kind, f"示例值 {name}")


def _microseconds(call: Callable[[], object], rounds: int = 20_000) -> float:
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(rounds // 5):
            call()
        taken.append((time.perf_counter() - started) / (rounds // 5) * 1e6)
    return statistics.median(taken)


def _bulk() -> float:
    """Seconds of processor time to check a folder at the limit of rules: the fault is in the last rule, so nothing is left out."""
    files = bulk()
    files[LAST] = files[LAST].replace(b"first = 6", b"first = 10")
    started = time.process_time()
    found = check_policies(files, version=1, today=date(2026, 11, 23))
    if {error.code for error in found.errors} != {"policy-S10"}:
        raise SystemExit("the planted fault was not found: the figure would mean nothing")
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    files = {str(path.relative_to(POLICIES)): path.read_bytes() for path in sorted(POLICIES.rglob("*.toml"))}
    compiled = []
    for _ in range(3):
        started = time.perf_counter()
        _compiled.cache_clear()  # as in a process that has not compiled them
        policies = compile_policies(files, version=1, today=date(2026, 11, 23))
        compiled.append(time.perf_counter() - started)
    dataset = policies.catalogue.datasets[DatasetId("administrative-penalties")]
    plan_set = policies.plan_set("administrative-penalties", "department", "dept.supervision")
    assert plan_set is not None
    plan = plan_set.plans["individual_business"]
    record = Record(
        record_id=RecordId("rec_" + "a" * 26),
        subject_id=SubjectId("sub_" + "a" * 26),
        dataset=dataset.id,
        category=dataset.category,
        kind="individual_business",
        version=1,
        state="in_force",
        trust="signed",
        region="220500",
        authority_code=register.AUTHORITY,
        authority_name=register.AUTHORITY_NAME,
        dates=LifeDates(decision=date(2026, 10, 1), first_publication_here=date(2026, 10, 2)),
        severity="general",
        received_at=NOW,
        changed_seq=1,
        raw=Unpublished({name: _sample_value(field.type, name) for name, field in dataset.fields.items() if not field.text}),
    )
    shown = view(record, plan, policies, NOW, None)
    if shown is None or len(shown.fields) < 20:
        raise SystemExit("the sample record has no view: the figure would mean nothing")
    encode = msgspec.json.Encoder().encode
    figures = {
        "view_us": _microseconds(lambda: view(record, plan, policies, NOW, None)),
        "encode_us": _microseconds(lambda: encode(shown)),
        "compile_s": statistics.median(compiled),
        "bulk_s": _bulk(),
        "redact_us": _microseconds(lambda: redact(TEXT, ["测试甲某"])),
        "redact_hostile_s": _microseconds(lambda: redact("王小明1" * 5000, ["测试甲某"]), rounds=5) / 1e6,
        "redact_chars_s": len(DECISION) / (_microseconds(lambda: redact(DECISION, ["测试甲某"]), rounds=5) / 1e6),
        "redact_unmet_chars_s": _unmet(),
        "redact_ratio": _growth(),
        "fields": len(shown.fields),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    garbage.seldom()
    main()
