"""Agreements: what two parties exchange, which way, about whom, until when (exchange.md §3).

The operator's TOML file is a proposal; the signed JSON is the agreement, and both sides sign the same bytes. A version is good with
both parties' pinned keys (and, from version 2, the previous version's too). Suspension and termination are one-sided and take effect at
once. The front of `agreed_terms` (what stands in one), `agreement_lint` (what may not), `field_rules` and `stream_rules` (what a stream
may say).

This room must not sign, and it never lets `[local]` into what is signed.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.agreed_terms import (
    OPS,
    WITHDRAWALS,
    Agreement,
    Fault,
    FieldTerms,
    Limits,
    Local,
    Op,
    Scope,
    StreamTerms,
    Strict,
    Terms,
)
from gateway.core.exchange.agreement_lint import lint
from gateway.core.exchange.field_rules import check_of, field_fault
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.stream_rules import StreamRules, region_existed, rules_of, schema_of
from gateway.core.exchange.wire import (
    AgreementId,
    Digest,
    Number,
    PartyName,
    digest_text,
    encode,
    instant,
    parse_date,
    parse_instant,
    strict_json,
)
from gateway.core.records.periods import end_instant, first_instant
from gateway.core.toml import TomlFault, parse

__all__ = [
    "OPS",
    "WITHDRAWALS",
    "Agreement",
    "Fault",
    "FieldTerms",
    "Limits",
    "Local",
    "Op",
    "Scope",
    "StreamRules",
    "StreamTerms",
    "Terms",
    "check_of",
    "field_fault",
    "lint",
    "region_existed",
    "rules_of",
    "schema_of",
]

AGREEMENT_TYPE = "chengxin-exchange/agreement/1"

MAX_REASON = 500
"""Characters of a notice's reason."""
MAX_NOTICE_BYTES = 16 * 1024
LAST_MONTH = timedelta(days=30)
NOTICES_A_DAY = 20
"""Of one side about one agreement; beyond it only what stops an agreement that goes on is taken."""

State = Literal["draft", "offered", "agreed", "active", "suspended", "terminated", "expired", "superseded"]
"""`agreed` becomes `active` by time and keys; `expired` and `superseded` come by time alone."""


# --- reading ----------------------------------------------------------------------------------------------------------


def signed_form(toml: bytes, *, place: str | None = None) -> tuple[bytes, Local]:
    """The bytes that both sides sign, made from the operator's file, and its `[local]` part.

    Raises ExchangeError SCHEMA_TYPE for no TOML, SCHEMA_UNKNOWN for an unknown member of `[local]`.
    """
    try:
        file = parse(toml)
    except TomlFault as fault:
        raise ExchangeError(f"the agreement file: {fault.detail}", code="SCHEMA_TYPE", place=place, hint=fault.hint) from None
    try:
        local = msgspec.convert(file.pop("local", {}), Local)
    except msgspec.ValidationError as error:
        raise _shape_error(error, f"{place or 'agreement'} [local]") from error
    return encode({"type": AGREEMENT_TYPE} | {name: _plain(value) for name, value in file.items()}), local


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | datetime | time):
        raise ExchangeError("an agreement has no fractions and no times of day", code="SCHEMA_TYPE")
    return value.isoformat() if isinstance(value, date) else value


def _shape_error(error: msgspec.ValidationError, place: str | None) -> ExchangeError:
    text, _, where = str(error).partition(" - at ")
    code = "SCHEMA_UNKNOWN" if "unknown field" in text else "SCHEMA_MISSING" if "missing required" in text else "SCHEMA_TYPE"
    return ExchangeError(text, code=code, place=place or where.strip("`").removeprefix("$").removeprefix(".") or None)


def parsed(body: bytes, *, place: str | None = None) -> tuple[Agreement, tuple[Fault, ...]]:
    """The agreement that these signed bytes say, and everything in it that may not stand in any.

    Raises ExchangeError SCHEMA_* with the place, for what is no agreement at all.
    """
    value = strict_json(body)
    try:
        terms = msgspec.convert(value, Terms)
    except msgspec.ValidationError as error:
        raise _shape_error(error, place) from error
    effective, expires = parse_date(terms.effective, "SCHEMA_TYPE"), parse_date(terms.expires, "SCHEMA_TYPE")
    agreement = Agreement(body=body, digest=digest_text(body), terms=terms, effective=first_instant(effective), ends=end_instant(expires))
    return agreement, lint(agreement)


def read_agreement(body: bytes, *, place: str | None = None) -> Agreement:
    """The agreement that these signed bytes say, well formed and consistent in itself.

    Raises ExchangeError SCHEMA_* with the place.
    """
    agreement, faults = parsed(body, place=place)
    if faults:
        raise ExchangeError("; ".join(fault.message for fault in faults), code=faults[0].code, place=place or faults[0].place)
    return agreement


def same_terms(body: bytes, toml: bytes) -> bool:
    """Whether offered bytes parse to the same value as our own file: what must hold before we countersign."""
    mine, _ = signed_form(toml)
    return bool(strict_json(body) == strict_json(mine))


# --- signatures and states --------------------------------------------------------------------------------------------


def signing_text(agreement: Agreement) -> str:
    """The text that both parties sign."""
    return notes.document_text("agreement", f"{agreement.id}/{agreement.version}", agreement.body)


def signed_by(agreement: Agreement, note: str, *, previous: Agreement | None, first_seen: datetime) -> frozenset[str]:
    """The parties whose signature on this version is complete.

    From version 2 on, a side counts only with a line of a key pinned in this version and one of a key pinned in the version before.

    Raises ExchangeError SIG_* when a pinned key's line fails or the note is about something else.
    """
    parties: set[str] = set()
    for party in agreement.parties:
        rings = [agreement.pins(party)] + ([previous.pins(party)] if previous is not None else [])
        try:
            for ring in rings:
                notes.verify_document(
                    SignedDocument(agreement.body, note),
                    ring,
                    artefact="agreement",
                    context=f"{agreement.id}/{agreement.version}",
                    use="agreement",
                    required=agreement.algorithms if ring is rings[0] else frozenset({"ed25519"}),
                    first_seen=first_seen,
                )
        except ExchangeError as error:
            if error.code in ("SIG_UNKNOWN_KEY", "SIG_ALG_MISSING"):
                continue
            raise
        parties.add(party)
    if agreement.terms.previous is not None and (previous is None or previous.digest != agreement.terms.previous):
        raise ExchangeError("this version does not follow the one held", code="SCOPE_DIGEST", place=agreement.id)
    return frozenset(parties)


class Named(Struct, frozen=True, kw_only=True):
    """How documents name an agreement."""

    id: AgreementId
    version: Number
    digest: Digest


class StateBody(Strict, frozen=True, kw_only=True, rename={"type_": "type", "from_": "from"}):
    """Body of a signed `agreement-state`."""

    type_: Literal["chengxin-exchange/agreement-state/1"] = "chengxin-exchange/agreement-state/1"
    agreement: Named
    by: PartyName
    serial: Number
    state: Literal["suspended", "active", "terminated"]
    from_: str
    reason: str


class Notice(Struct, frozen=True, kw_only=True):
    """A believed `agreement-state`: one side suspends, resumes or ends."""

    by: str
    serial: int
    state: Literal["suspended", "active", "terminated"]
    from_at: datetime
    first_seen: datetime

    @property
    def counts_from(self) -> datetime:
        """A notice counts from `from`, but never before it was known here: nobody escapes by an earlier date what is already owed."""
        return max(self.from_at, self.first_seen)

    def behind(self, longest: timedelta) -> bool:
        """Whether it dates itself further back than this before it was known here."""
        return self.first_seen - self.from_at > longest


def must_be_few(notices: Sequence[Notice], by: str, serial: int, state: str, at: datetime) -> None:
    """Whether one side may say one more thing of an agreement now; who says that it stops always may, once.

    Raises ExchangeError RATE_LIMIT.
    """
    said = [notice for notice in notices if notice.by == by]
    if sum(notice.first_seen > at - timedelta(days=1) for notice in said) < NOTICES_A_DAY:
        return
    last = max(said, key=lambda notice: notice.serial)
    ended = any(notice.state == "terminated" for notice in said)
    if serial > last.serial and not ended and (state == "terminated" or (state == "suspended" and last.state == "active")):
        return
    raise ExchangeError(f"more than {NOTICES_A_DAY} notices in a day", code="RATE_LIMIT", place=by)


def state_body(
    agreement: Agreement, *, by: str, serial: int, state: Literal["suspended", "active", "terminated"], from_at: datetime, reason: str
) -> bytes:
    """The bytes of a notice that we sign.

    Raises ExchangeError SCHEMA_LENGTH.
    """
    _check_reason(reason)
    return encode(
        StateBody(
            agreement=Named(id=agreement.id, version=agreement.version, digest=agreement.digest),
            by=by,
            serial=serial,
            state=state,
            from_=instant(from_at),
            reason=reason,
        )
    )


def _check_reason(reason: str) -> None:
    if len(reason) > MAX_REASON:
        raise ExchangeError(f"a reason has at most {MAX_REASON} characters", code="SCHEMA_LENGTH", place="reason")


def named_version(body: bytes) -> int:
    """The version of an agreement that a notice names, before anything of it is believed; 0 for none.

    Raises ExchangeError SCHEMA_JSON.
    """
    named = strict_json(body).get("agreement")
    version = named.get("version") if isinstance(named, dict) else None
    return version if type(version) is int else 0


def read_state(document: SignedDocument, agreement: Agreement, *, first_seen: datetime) -> Notice:
    """A notice of one side, signed with its pinned key.

    Raises ExchangeError SIG_*, SCHEMA_* or SCOPE_DIGEST.
    """
    if len(document.body) > MAX_NOTICE_BYTES:
        raise ExchangeError("a notice has at most 16 KiB", code="SCHEMA_LENGTH", place="agreement-state")
    try:
        said = msgspec.convert(strict_json(document.body), StateBody)
    except msgspec.ValidationError as error:
        raise _shape_error(error, "agreement-state") from error
    _check_reason(said.reason)
    from_at = parse_instant(said.from_, "SCHEMA_TYPE")
    notes.verify_document(
        document,
        agreement.pins(said.by),
        artefact="agreement-state",
        context=f"{agreement.id}/{said.by}/{said.serial}",
        use="agreement",
        required=agreement.algorithms,
        first_seen=first_seen,
        own_time=from_at,
        skew=agreement.skew,
    )
    if (said.agreement.id, said.agreement.version, said.agreement.digest) != (agreement.id, agreement.version, agreement.digest):
        raise ExchangeError("the notice is about another agreement", code="SCOPE_DIGEST", place=agreement.id)
    return Notice(by=said.by, serial=said.serial, state=said.state, from_at=from_at, first_seen=first_seen)


class Standing(Struct, frozen=True, kw_only=True):
    """How an agreement stands at one moment, and since when."""

    state: State
    since: datetime
    suspended_by: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        """Records may be sent and applied."""
        return self.state == "active"

    @property
    def ended(self) -> bool:
        """No event follows."""
        return self.state in ("terminated", "expired", "superseded")


class Held(Struct, frozen=True, kw_only=True):
    """An agreement version as the store holds it: who signed, who has said what of it, and our `[local]`."""

    agreement: Agreement
    note: str
    signed: frozenset[str]
    recorded: datetime
    notices: tuple[Notice, ...] = ()
    keys_held: bool = False
    """Both parties' keys documents have been seen."""
    successor: datetime | None = None
    """When the next version takes effect, if both have signed one."""
    local: Local = Local()

    @property
    def complete(self) -> bool:
        """Both have signed."""
        return self.signed == frozenset(self.agreement.parties)

    def standing(self, at: datetime) -> Standing:
        """How it stands at a moment, by signatures, notices, keys and time."""
        agreement = self.agreement
        if not self.complete:
            return Standing(state="offered" if self.signed else "draft", since=self.recorded)
        known = [notice for notice in self.notices if notice.counts_from <= at]
        terminated = min((notice.counts_from for notice in known if notice.state == "terminated"), default=None)
        ends = [
            (moment, state)
            for moment, state in ((terminated, "terminated"), (agreement.ends, "expired"), (self.successor, "superseded"))
            if moment is not None and moment <= at
        ]
        if ends:
            moment, state = min(ends)
            return Standing(state=state, since=moment)  # type: ignore[arg-type]  # the three words above
        latest: dict[str, Notice] = {}
        for notice in sorted(known, key=lambda notice: notice.serial):
            latest[notice.by] = notice
        suspended = [notice for notice in latest.values() if notice.state == "suspended"]
        if suspended:
            return Standing(
                state="suspended",
                since=min(notice.counts_from for notice in suspended),
                suspended_by=tuple(sorted(notice.by for notice in suspended)),
            )
        if at < agreement.effective or not self.keys_held:
            return Standing(state="agreed", since=self.recorded)
        return Standing(state="active", since=agreement.effective)

    def frozen(self, at: datetime) -> bool:
        """Whether it has ended and what was received under it is kept sealed."""
        return self.standing(at).state in ("terminated", "expired") and self.agreement.terms.retention.after_termination == "freeze"

    def last_month(self, at: datetime) -> bool:
        """Whether it ends within a month and no successor is signed, which takes two signatures on either side."""
        return self.successor is None and not self.standing(at).ended and self.agreement.ends - at < LAST_MONTH

    def lets_through(self, at: datetime, *, only_withdrawals: bool) -> bool:
        """Whether a batch may leave us at a moment, sealed before or not: also what was in flight stops at once."""
        return self.standing(at).active or (only_withdrawals and self.takes_withdrawals(at))

    def takes_withdrawals(self, at: datetime) -> bool:
        """Whether withdrawals of records already sent still travel: active, suspended, or ended at most `freeze_days` ago."""
        now = self.standing(at)
        return now.state in ("active", "suspended") or (
            now.ended and at <= now.since + timedelta(days=self.agreement.terms.retention.freeze_days)
        )


def in_force(versions: Sequence[Held], at: datetime) -> Held | None:
    """The version of an agreement that governs a moment: the highest complete one already effective, ended or not."""
    governing = [held for held in versions if held.complete and held.agreement.effective <= at]
    return max(governing, key=lambda held: held.agreement.version, default=None)
