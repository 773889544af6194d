"""What a line of a partner's batch comes to, given what is held of its record (exchange.md §4, §6, §9).

A line is judged alone and only after its batch was verified, in this order: disclosures; schema and fields; operation, region,
authority, category, kind; owner; identifiers; version and state; basis and persons. A line about a person or a household without a
basis in the agreement is refused before any of that, and its disclosures are not opened. Nothing is coerced: an unknown enumeration
value is held. This room must not store or publish; what it lets through still has to pass intake.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import WITHDRAWALS, StreamRules, region_existed
from gateway.core.exchange.disclosures import Opened, open_all
from gateway.core.exchange.feedback import Severity
from gateway.core.exchange.merkle import leaf_hash
from gateway.core.exchange.records import REASONS, STATUS_OF, Line, Payload, Statement, Withdrawal, read_statement, read_withdrawal
from gateway.core.exchange.wire import MAX_INTEGER, Suite, parse_date, parse_instant
from gateway.core.records.identifiers import uscc_is_valid
from gateway.core.records.model import SUBJECT_KINDS, Value

CATEGORIES = frozenset(
    {"licence", "penalty", "blacklist", "redlist", "commitment", "evaluation", "abnormal", "registration", "agency_filing", "measure"}
)


class Finding(Struct, frozen=True, gc=False, kw_only=True):
    """One thing to tell the sender of a line."""

    severity: Severity
    code: str
    field: str | None = None
    disclosure: str | None = None
    retry: bool = False


class KnownRecord(Struct, frozen=True, gc=False, kw_only=True):
    """What we hold of a rid: who said it, and the last version that took effect."""

    sender: str | None
    """None: the rid is one of our own records."""
    dataset: str
    v: int
    op: str
    """`purge`: it was in force, and its content is gone because the agreement ended; its sender may say it again.
    `held`: it was asserted, and was held here or taken back by a person."""
    leaf: bytes
    stream: str = ""
    """In which its content was said; empty for our own."""


Action = Literal["store", "withdraw", "acknowledge", "unchanged", "hold", "reject"]


class Judged(Struct, frozen=True, gc=False, kw_only=True):
    """What a line comes to: `store` goes on to intake, `withdraw` takes the record off every exit."""

    action: Action
    rid: str | None
    v: int | None
    op: str
    payload: Payload | None
    opened: Opened = Opened()
    """Its fields, of a line that is stored."""
    findings: tuple[Finding, ...] = ()

    def digest_of(self, name: str | None) -> str | None:
        """The salted digest that points at a field."""
        return self.opened.digest_of(name)


class _Fault(Exception):
    def __init__(
        self, code: str, *, field: str | None = None, disclosure: str | None = None, severity: Severity = "reject", retry: bool = True
    ) -> None:
        super().__init__(code)
        self.finding = Finding(severity=severity, code=code, field=field, disclosure=disclosure, retry=retry)


def judge(line: Line, rules: StreamRules, known: KnownRecord | None, suite: Suite) -> Judged:
    """What a line of a verified batch comes to, given what we hold of its record."""
    said: Payload | None = None
    try:
        said = _payload(line)
        if isinstance(said, Withdrawal):
            return _judge_withdrawal(line, said, rules, known, suite)
        if said.subject_kind != "legal" and not rules.persons:  # before all else: an unknown kind may be a person's, and is not kept
            raise _Fault("LAW_PERSON", retry=False)
        _check_clear(said, rules, suite)
        opened = _open(line, said, suite)
        _check_fields(opened, rules)
        _check_scope(said, rules)
        _check_owner(known, said, rules)
        _check_names(said)
        unchanged = _check_version(said, known, line, suite)
        if not said.basis:
            raise _Fault("LAW_BASIS")
    except _Fault as fault:
        action: Action = "hold" if fault.finding.severity == "hold" else "reject"
        return Judged(
            action=action, rid=said.rid if said else None, v=said.v if said else None, op=line.op, payload=said, findings=(fault.finding,)
        )
    if unchanged:
        return Judged(
            action="unchanged", rid=said.rid, v=said.v, op=said.op, payload=said, findings=(Finding(severity="info", code="DUP_SAME"),)
        )
    if rules.twins:  # they are for whoever is shown less than we are
        opened = opened.without({twin.name for twin in rules.twins})
    return Judged(action="store", rid=said.rid, v=said.v, op=said.op, payload=said, opened=opened)


def _payload(line: Line) -> Payload:
    withdraws = line.op in WITHDRAWALS
    if line.said is not None and isinstance(line.said, Withdrawal) == withdraws:
        return line.said
    try:
        return read_withdrawal(line.payload) if withdraws else read_statement(line.payload)
    except msgspec.ValidationError as error:
        text = str(error)
        code = "SCHEMA_UNKNOWN" if "unknown field" in text else "SCHEMA_MISSING" if "missing required" in text else "SCHEMA_TYPE"
        raise _Fault(code) from error


def _check_common(said: Payload, rules: StreamRules, suite: Suite) -> None:
    if said.iss != rules.terms.from_:
        raise _Fault("SCOPE_ISSUER", retry=False)
    if not _is_rid(said.rid) or not 1 <= said.v <= MAX_INTEGER:
        raise _Fault("SCHEMA_TYPE", field="rid" if not _is_rid(said.rid) else "v")
    if said.status not in STATUS_OF[said.op]:
        raise _Fault("SCHEMA_STATUS")
    if said.dataset != rules.terms.dataset or not rules.schema_fits(said.schema):
        raise _Fault("SCHEMA_VERSION")
    if said.sd_alg != suite.digest_name:
        raise _Fault("SCHEMA_DISCLOSURE")
    try:
        parse_instant(said.at, "SCHEMA_TYPE")
    except ExchangeError as error:
        raise _Fault("SCHEMA_TYPE", field="at") from error


_RID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz234567")


def _is_rid(rid: str) -> bool:
    return len(rid) == 30 and rid.startswith("rec_") and _RID_CHARACTERS.issuperset(rid[4:]) and rid[-1] in "aeimquy4"


_clear_day = lru_cache(maxsize=4096)(parse_date)
"""Of the clear part alone, of which many lines have the same days: a day among the disclosures may be somebody's, and is not kept."""


def _check_clear(said: Statement, rules: StreamRules, suite: Suite) -> None:
    _check_common(said, rules, suite)
    if len(said.authority_name) > 200 or len(said.basis) > 8:
        raise _Fault("SCHEMA_LENGTH", field="authority_name" if len(said.authority_name) > 200 else "basis")
    for name, text in (("decided_on", said.decided_on), ("publish_until", said.publish_until)):
        try:
            if text is not None:
                _clear_day(text, "SCHEMA_TYPE")
        except ExchangeError as error:
            raise _Fault("SCHEMA_TYPE", field=name) from error
    if said.subject_kind not in SUBJECT_KINDS:
        raise _Fault("SCHEMA_ENUM", field="subject_kind", severity="hold")
    if said.category not in CATEGORIES or said.trust not in ("signed", "vouched"):
        raise _Fault("SCHEMA_ENUM", field="category" if said.category not in CATEGORIES else "trust", severity="hold")
    if said.reason is not None and (said.op != "assert" or said.reason != "repair_revoked"):
        raise _Fault("SCHEMA_ENUM", field="reason", severity="hold")


def _open(line: Line, said: Statement, suite: Suite) -> Opened:
    try:
        return open_all(line.texts.split(b"\n") if line.texts else [], line.rows, said.sd, suite)
    except ExchangeError as error:
        raise _Fault(error.code, field=error.place) from error


def _check_fields(opened: Opened, rules: StreamRules) -> None:
    checks, room, required = rules.checks, rules.lengths.get, rules.required
    for name, value in zip(opened.names, opened.values, strict=True):
        if type(value) is str and len(value) <= room(name, -1):
            continue
        check = checks.get(name)
        if check is None:
            raise _Fault("SCOPE_FIELD", disclosure=opened.digest_of(name), retry=False)
        code = check(value) if value is not None else "SCHEMA_MISSING" if name in required else None
        if code is not None:
            raise _Fault(code, field=name, disclosure=opened.digest_of(name), severity="hold" if code == "SCHEMA_ENUM" else "reject")
    if len(opened.names) != len(checks):
        raise _Fault("SCHEMA_MISSING", field=next(name for name in checks if name not in opened.names))
    if rules.twins:
        _check_twins(opened, rules)


def _check_twins(opened: Opened, rules: StreamRules) -> None:
    """Whoever has the whole value recomputes what of it was sealed in part (§4)."""
    given = dict(zip(opened.names, opened.values, strict=True))
    for twin in rules.twins:
        if twin.treat(given[twin.field]) != given[twin.name]:
            raise _Fault("SCHEMA_TWIN", field=twin.name, disclosure=opened.digest_of(twin.name))


def check_values(values: Iterable[tuple[str, Value]], rules: StreamRules) -> str | None:
    """Code of the first value that its agreed field does not take; the sender asks it before sealing."""
    checks, lengths, required = rules.checks, rules.lengths, rules.required
    for name, value in values:
        if value is None:
            if name in required:
                return "SCHEMA_MISSING"
        elif type(value) is str and name in lengths and len(value) <= lengths[name]:
            continue
        elif (code := checks[name](value)) is not None:
            return code
    return None


def _check_scope(said: Statement, rules: StreamRules) -> None:
    code = scope_fault(said, rules)
    if code is not None:
        raise _Fault(code, retry=False)


def scope_fault(said: Statement, rules: StreamRules) -> str | None:
    """Code of the first thing that this stream may not say; the sender asks it too, before sealing."""
    if said.op not in rules.ops:
        return "SCOPE_OP"
    if not rules.in_region(said.region) or not region_existed(said.region, date.fromisoformat(said.decided_on)):
        return "SCOPE_REGION"
    if rules.authorities is not None and said.authority not in rules.authorities:
        return "SCOPE_AUTHORITY"
    if said.category not in rules.categories:
        return "SCOPE_CATEGORY"
    if said.subject_kind not in rules.kinds:
        return "SCOPE_KIND"
    return None


def _check_owner(known: KnownRecord | None, said: Payload, rules: StreamRules) -> None:
    if known is not None and (known.sender != rules.terms.from_ or known.dataset != said.dataset):
        raise _Fault("SCOPE_OWNER", retry=False)


def _check_names(said: Statement) -> None:
    if not uscc_is_valid(said.authority):
        raise _Fault("SUBJ_USCC", field="authority")


def _check_version(said: Payload, known: KnownRecord | None, line: Line, suite: Suite) -> bool:
    """Whether the line only repeats what we hold; refuses versions that do not rise and operations that are not possible now."""
    if known is not None:
        if known.op == "erase":
            raise _Fault("SEQ_ERASED", retry=False)
        again = known.op == "purge" and isinstance(said, Statement)  # the record is what it was: its number need not rise
        if said.v == known.v and leaf_hash(line.payload, suite) == known.leaf and not again:
            return True
        if said.v < known.v or (said.v == known.v and not again):
            raise _Fault("SEQ_VERSION")
    if said.op == "assert":
        withdrawn = known is not None and known.op in ("retract", "expire", "purge", "held")
        possible = known is None or withdrawn or (known.op == "repair" and said.reason == "repair_revoked")
    elif said.op == "amend":
        possible = known is not None and known.op in ("assert", "amend", "held")
    else:
        possible = True
    if not possible:
        raise _Fault("SEQ_STATE")
    return False


def _judge_withdrawal(line: Line, said: Withdrawal, rules: StreamRules, known: KnownRecord | None, suite: Suite) -> Judged:
    _check_common(said, rules, suite)
    if said.sd or line.texts:
        raise _Fault("SCHEMA_DISCLOSURE")
    if said.op not in rules.ops:
        raise _Fault("SCOPE_OP", retry=False)
    _check_owner(known, said, rules)
    if _check_version(said, known, line, suite):
        return Judged(
            action="acknowledge",
            rid=said.rid,
            v=said.v,
            op=said.op,
            payload=said,
            findings=(Finding(severity="info", code="DUP_SAME"), acknowledgement(said.op)),
        )
    findings: list[Finding] = []
    if said.reason not in REASONS[said.op]:
        findings.append(Finding(severity="warn", code="SCHEMA_ENUM", field="reason"))
    in_force = known is not None and known.op in ("assert", "amend", "held")
    if not in_force and said.op != "erase":
        findings.append(Finding(severity="warn", code="SEQ_STATE"))
    findings.append(acknowledgement(said.op))
    withdraws = in_force or (said.op == "erase" and known is not None)
    return Judged(
        action="withdraw" if withdraws else "acknowledge", rid=said.rid, v=said.v, op=said.op, payload=said, findings=tuple(findings)
    )


def acknowledgement(op: str) -> Finding:
    """What is owed for each withdrawal."""
    return Finding(severity="info", code="ACK_ERASED" if op == "erase" else "ACK_WITHDRAWN")


def after(
    known: Mapping[str, KnownRecord], judged: Judged, leaf: bytes, *, sender: str, dataset: str, stream: str
) -> KnownRecord | None:
    """What we hold of the record once the line has taken effect; None when it has not.

    A withdrawal says nothing: what is kept of the record is still what another stream of the sender said, and goes with that one's end.
    """
    if judged.action not in ("store", "withdraw", "acknowledge") or judged.rid is None or judged.v is None:
        return None
    before = known.get(judged.rid)
    if judged.action == "acknowledge" and before is None and judged.op != "erase":
        return None
    if before is not None and (judged.v < before.v or (judged.v == before.v and (before.op, judged.action) != ("purge", "store"))):
        return None
    told_in = stream if before is None or judged.action == "store" else before.stream
    return KnownRecord(sender=sender, dataset=dataset, v=judged.v, op=judged.op, leaf=leaf, stream=told_in)
