"""Tell one subject who looked at its records, and what was done with them (PIPL 45, policy.md §15): the extract for whoever comes and asks.

An extract, in this order: the code or number is read and leads to the subject, if we know one; each day of the trail is looked through for
rows about either; each row is told as far as the subject may know; that it was asked for is a row about the subject too, and only then the
answer is given.

Rules: privacy officers only, and no value of a record passes here. Told are times, organisations, purposes, plans and forms of what was
shown, misses too; never an officer, an account, an app, a credential, another subject, or the case of an authority of ours. What a partner
asked is told with its case and ground, as long as the question is kept: the subject may read it. What a purpose keeps from the subject for
a while is not there before, nor any sign of it. A page ends after so many rows of the trail, whether or not it is full.
This story must not say whether there is such a subject.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import date, datetime, timedelta
from typing import Final

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.disclosure.plans import Policies
from gateway.core.errors import InvalidParameter, RowFault
from gateway.core.exchange.questions import Question, SubjectAsked
from gateway.core.records.cells import folded
from gateway.core.records.identifiers import normalise_code, parse_citizen_id, uscc_is_valid
from gateway.core.records.model import SubjectId, SubjectKind
from gateway.core.records.periods import legal_day
from gateway.operations.answer_partner import question_said_in, still_kept
from gateway.operations.look_up_person import SHAPE as LOOK_UP
from gateway.operations.record_access import MUTUAL
from gateway.services import Services
from gateway.store import apps, audit, audit_subjects, held_agreements, lines, renderings
from gateway.store import questions as log
from gateway.store.audit_subjects import About, Day
from gateway.store.questions import Asked
from gateway.store.reads import Row
from gateway.store.store import moment
from gateway.store.subjects import keys_of_subject, stored_value

__all__ = ["ALWAYS", "Looked", "Looks", "SubjectAsked", "place_in", "who_looked"]

MAX_ROWS: Final = 1000
MOST_READ: Final = 200_000
"""Rows of the trail that a server looks through for one page; the day in which they are reached is read to its end."""
ALWAYS: Final = "9999-12-31"
_PLACE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9a-z]{0,32}/[0-9]{1,15}", re.ASCII)
_RECORD: Final = "record/"
_MISSING: Final = frozenset({"data.read", "data.asked"})
"""Acts that may find nothing."""
_WORDS: Final[Mapping[str, str]] = {
    "audit.about": "向主体提供查询记录",
    "batch.seal": "向协议城市提供",
    "data.ask": "向其他城市查询",
    "data.asked": "其他城市查询",
    "data.read": "查询",
    "dispute.close": "异议办结",
    "dispute.open": "受理异议",
    "line.seal": "报送",
    "query.told-subject": "向主体提供查询记录",
    "record.confirm": "确认互认",
    "record.erase": "删除记录",
    "record.export": "出具记录凭证",
    "record.repair": "信用修复",
    "record.withdraw": "撤回记录",
    "subject.erase": "删除主体全部记录",
    "subject.shred": "销毁主体数据密钥",
    "text.approve": "文本审核：放行",
    "text.edit": "文本审核：修改",
    "text.refuse": "文本审核：不予公开",
}
"""What is done, as the person concerned reads it; what has no words is told by its code."""

_SHAPES: Final[Mapping[str, str]] = {LOOK_UP: "按证件号码查询", MUTUAL: "查看其他城市的答复", "review": "审核文本", "reviews": "审核文本"}
"""What of `data.read` has words of its own."""

Place = tuple[str, str, int]
"""Day, writer and number of the row that was told last; a day alone where none of it was."""


def place_in(text: str | None) -> Place | None:
    """Where to go on, as it is written.

    Raises InvalidParameter.
    """
    if text is None:
        return None
    if _PLACE.fullmatch(text) is None:
        raise InvalidParameter("after is DAY/WRITER/N", place="after")
    day, writer, number = text.split("/")
    return day, writer, int(number)


class Looked(Struct, frozen=True, kw_only=True):
    """One row of the trail, as the subject may read it."""

    at: datetime
    act: str
    label: str
    org: str | None
    """Who looked, or to whom it was given."""
    name: str | None
    """Of the organisation; of a partner city its party."""
    unit: str | None
    purpose: str | None
    purpose_label: str | None
    """In the words for the subject."""
    basis: tuple[str, ...]
    datasets: tuple[str, ...]
    """Empty where the row holds several together."""
    policy_version: int | None
    policy_plan: str | None
    records: int | None
    """How many of this subject's; None where the row is about others too."""
    forms: Mapping[str, int]
    """How many fields of each record were shown in which form."""
    result: str | None
    """`miss`: nothing was found; of a partner's question what it was answered."""
    level: int | None
    case: str | None
    """Of a partner's question; nobody else's case is told."""
    record: str | None
    """Of an act upon one record."""
    row: str
    """Its place in the trail, by which an auditor finds and proves it."""


class Looks(Struct, frozen=True, kw_only=True):
    """A page of the extract, the earliest row first."""

    rows: tuple[Looked, ...]
    next: Place | None
    """Where to go on, when there may be more."""


class _Whom(Struct, frozen=True, kw_only=True):
    names: tuple[str, ...]
    """Ids, and the code or number as everybody writes it: what the row about the asking bears."""
    about: About
    kinds: frozenset[SubjectKind]

    def __repr__(self) -> str:
        return "<_Whom>"


async def who_looked(
    services: Services,
    *,
    code: str | None = None,
    subject: SubjectAsked | None = None,
    from_day: str = "",
    to_day: str = ALWAYS,
    after: Place | None = None,
    limit: int = 100,
    most: int = MOST_READ,
    by: Administrator,
) -> Looks:
    """What the trail says about one subject: by its code or opaque id, or by what only a file or a body may hold, a person's number.

    Raises RoleMissing; InvalidParameter, which repeats nothing, for anything but one whole code, id or number; NoActivePolicy.
    """
    by.require("privacy-officer")
    limit = max(1, min(limit, MAX_ROWS))
    whom = await _whom(services, code, subject)
    told = _Telling(services, await services.policies.fresh(), whom)
    if after is not None:
        from_day = max(from_day, after[0])
    rows: list[Looked] = []
    further: Place | None = None
    read = 0
    async with aclosing(audit_subjects.by_day(services.store.reads, whom.about, from_day=from_day, to_day=to_day)) as days:
        async for day in days:
            shown = told.day(day)
            done = 1 + next((index for index, row in enumerate(shown) if (row.day, row.writer, row.n) == after), -1)
            rest = shown[done : done + limit - len(rows)]
            rows += [await told.line(row) for row in rest]
            read += day.read
            if done + len(rest) < len(shown):
                further = rest[-1].day, rest[-1].writer, rest[-1].n
                break
            if len(rows) == limit or read >= most:
                further = (date.fromisoformat(day.day) + timedelta(days=1)).isoformat(), "", 0
                break
    if further is not None and further[0] > to_day:
        further = None
    async with services.store.transaction() as tx:
        said = {"rows": len(rows), "kept_back": told.kept_back, "from": from_day, "to": to_day}
        await audit.write(tx, f"admin:{by.name}", "audit.about", "audit", said, subjects=whom.names)
    return Looks(rows=tuple(rows), next=further)


# --- whom -------------------------------------------------------------------------------------------------------------


async def _whom(services: Services, code: str | None, subject: SubjectAsked | None) -> _Whom:
    """The subject as the trail may name it: by id since we know it, by code or number whenever somebody asked with that."""
    names, keys, kind = _named(services, code, subject)
    reads = services.store.reads
    ids: dict[str, SubjectKind] = {}
    for key_type, value in keys:
        row = await renderings.subject_by_key(reads, key_type, value)
        if row is not None:
            ids[row.subject_id] = row.kind
    if code is not None and code.startswith("sub_"):
        row = await renderings.subject_by_id(reads, code)
        if row is not None:
            ids[code] = row.kind
    codes = [
        value for each, of_kind in ids.items() if of_kind == "legal" for _, value in await keys_of_subject(reads, SubjectId(each))
    ]  # of anybody else only the blind index is known
    told = [*names[:1], *codes, *ids]
    records = [row.record_id for row in await renderings.records_of(reads, list(ids))] if ids else []
    targets = [*(f"{_RECORD}{record}" for record in records), *(f"subject/{each}" for each in ids)]
    return _Whom(
        names=tuple(dict.fromkeys(told)),
        about=audit_subjects.about(services.store.vault, [*names, *told], targets),
        kinds=frozenset(ids.values()) or frozenset([kind] if kind is not None else []),
    )


def _named(
    services: Services, code: str | None, subject: SubjectAsked | None
) -> tuple[tuple[str, ...], list[tuple[str, str]], SubjectKind | None]:
    """How a subject is written, the usual spelling first; the keys under which it may be stored; and what it is if nobody knows it.

    Raises InvalidParameter.
    """
    if (code is None) == (subject is None) or (subject is not None and (subject.uscc is None) == (subject.id_no is None)):
        raise InvalidParameter("one code, or one number", place="code")
    if code is not None and code.startswith("sub_"):
        return (code,), [], None
    vault = services.store.vault
    number = None if subject is None else subject.id_no
    if number is None:
        uscc = normalise_code(code or (subject.uscc if subject is not None else None) or "")
        if not uscc_is_valid(uscc):
            raise InvalidParameter("no valid code", place="code")
        stored = [uscc, stored_value(vault, "uscc", uscc, "individual_business")]
        kind: SubjectKind = "individual_business" if uscc.startswith("92") else "legal"
        return (uscc, uscc.lower()), [("uscc", value) for value in stored], kind
    document, colon, other = number.rpartition(":")
    if colon and document and other:  # 护照:…, as intake keys it
        whole, names = f"{folded(document)}:{normalise_code(other)}", []
    else:
        try:
            whole = parse_citizen_id(number, demo=services.settings.demo, today=legal_day(services.clock())).number
        except RowFault:
            raise InvalidParameter("no valid number", place="subject") from None
        names = [whole.lower()]  # so a question that was refused may have it
        if whole[6:8] == "19":
            names.append(f"{whole[:6]}{whole[8:17]}")
    return (whole, *names), [("id_no", stored_value(vault, "id_no", whole, "natural"))], "natural"


# --- what is told ------------------------------------------------------------------------------------------------------


class _Telling:
    """What the subject may know of its rows, under the policies of now."""

    def __init__(self, services: Services, policies: Policies, whom: _Whom) -> None:
        self.services = services
        self.policies = policies
        self.whom = whom
        self.now = services.clock()
        self.kept_back = 0
        self._names: dict[str, str | None] = {}
        self._partners: dict[str, str] | None = None

    def day(self, day: Day) -> Sequence[Row]:
        """The rows of a day that the subject may know of by now."""
        purposes = self.policies.purposes
        shown = [row for row in day.rows if not still_kept(purposes.get(row.purpose or ""), moment(row.at), self.now)]
        self.kept_back += len(day.rows) - len(shown)
        return shown

    async def line(self, row: Row) -> Looked:
        """One row as the subject may read it."""
        info = self.policies.purposes.get(row.purpose or "")
        asked, question = await self._asked(row)
        org = row.org or (self.services.settings.org if row.kind == "act" else None)
        return Looked(
            at=moment(row.at),
            act=row.act,
            label=(_SHAPES.get(row.shape) if row.act == "data.read" else None) or _WORDS.get(row.act, row.act),
            org=org,
            name=asked.party if asked is not None else await self._name(org),
            unit=row.unit,
            purpose=row.purpose,
            purpose_label=row.purpose if info is None else info.subject_label,
            basis=(question.basis,) if question is not None else tuple(each.text for each in info.basis) if info is not None else (),
            datasets=(row.dataset,) if row.dataset else question.datasets if question is not None else (),
            policy_version=row.policy_version,
            policy_plan=row.plan_hash,
            records=row.row_count if row.act != "data.ask" and self.whom.about.alone(row.subjects) else None,
            forms=_forms(row.treatments, self.whom.kinds),
            result=asked.result if asked is not None else "miss" if row.act in _MISSING and row.row_count == 0 else None,
            level=asked.level if asked is not None else None,
            case=question.case if question is not None else None,
            record=row.target.removeprefix(_RECORD) if row.target.startswith(_RECORD) else None,
            row=f"{row.day}/{row.writer}/{row.n}",
        )

    async def _asked(self, row: Row) -> tuple[Asked | None, Question | None]:
        """Of a partner's question what it was answered, and the question itself, each as long as it is kept."""
        if row.act != "data.asked":
            return None, None
        asked = await log.one(self.services.store.reads, row.actor.removeprefix("partner/"), row.target.removeprefix("query/"))
        return asked, await question_said_in(self.services, asked) if asked is not None else None

    async def _name(self, org: str | None) -> str | None:
        if org is None:
            return None
        if org not in self._names:
            known = await apps.organisation(self.services.store.reads, org)
            self._names[org] = known.name if known is not None else (await self._others()).get(org)
        return self._names[org]

    async def _others(self) -> Mapping[str, str]:
        """Organisations that have no app here: authorities, cities, and whom our lines go to."""
        if self._partners is None:
            reads, settings = self.services.store.reads, self.services.settings
            held = [each.agreement for versions in (await held_agreements.held_agreements(reads)).values() for each in versions]
            parties = {party.identity.org: party.party for agreement in held for party in map(agreement.party, agreement.parties)}
            told = {line.terms.org: line.terms.partner for line in (await lines.approved(reads)).values()}
            authorities = {each.uscc: each.name for each in settings.authorities}
            self._partners = {**authorities, settings.org: settings.party, **told, **parties}
        return self._partners


def _forms(treatments: str | None, kinds: frozenset[SubjectKind]) -> dict[str, int]:
    """Of `legal clear=12 drop=3; natural clear=4` what is said of these kinds."""
    found: dict[str, int] = {}
    for part in (treatments or "").split("; "):
        kind, *forms = part.split(" ")
        if kind in kinds:
            for form in forms:
                name, _, count = form.partition("=")
                found[name] = found.get(name, 0) + int(count)
    return found
