"""Match names and codes that somebody has with the subjects that we show (api.md §7.5, §8.7, §12.21).

Rules: what is compared is what the caller is shown; a code counts only where a plan lets it be asked. An address tells a division and
nothing else: addresses held are compared with nothing. Organisations are found by the public's index; a household by its whole name
or code alone, a person never; what looks like a citizen number finds nobody and is offered nothing. What a batch costs in statements
follows from what was asked, never from what is found.

For three users: `match_names` answers `POST /v1/match`; match jobs and reconciliation call `outcomes` with some queries at a time under
a scene of their own (`answering.begin`; a job renews it for each hundred and lets `scene.effort` take its time).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from gateway.core.callers.caller import Caller
from gateway.core.errors import BodyInvalid, ErrorItem, NotPermitted, RowFault
from gateway.core.publication.labels import label
from gateway.core.publication.matching import (
    ALGORITHM,
    DEFAULT_THRESHOLD,
    LOWEST,
    Features,
    MatchStatus,
    Offered,
    Wanted,
    judge,
    shortlist,
    token_groups,
)
from gateway.core.publication.names import split, without_note
from gateway.core.records.divisions import leading_division
from gateway.core.records.identifiers import check_uscc, looks_like_citizen_number, normalise_code, parse_reg_no, suggest_uscc
from gateway.operations.answering import DOCUMENT, Scene, begin, document_answer, refuse_ended
from gateway.operations.asking import Answer, Language
from gateway.operations.look_up import kind_of_code, may_look_up, shown_subject
from gateway.operations.owing import pay
from gateway.operations.reaching import owed_of
from gateway.services import Services
from gateway.store import renderings, search
from gateway.store.subjects import bearers_of, stored_value

MOST_QUERIES = 100
MOST_QUERIES_PUBLIC = 20
MOST_CANDIDATES = 10
_A_GROUP = 60
"""Names that one group of tokens may bring."""

Text = Annotated[str, Meta(max_length=200)]
Code = Annotated[str, Meta(max_length=64)]


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody knows of one organisation; a region says where it is and finds nothing by itself."""

    name: Text | None = None
    uscc: Code | None = None
    registration_number: Code | None = None
    address: Text | None = None
    region: Annotated[str, Meta(pattern="^[1-9][0-9]{5}$", description="Division, six digits", examples=["220502"])] | None = None


class MatchQuery(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One query of a batch."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]


class MatchAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch of queries."""

    queries: Annotated[tuple[MatchQuery, ...], Meta(min_length=1, max_length=MOST_QUERIES)]
    limit: Annotated[int, Meta(ge=1, le=MOST_CANDIDATES)] = 3
    threshold: Annotated[float, Meta(ge=LOWEST, le=1)] = DEFAULT_THRESHOLD
    explain: bool = False


class Match(Struct, frozen=True, kw_only=True):
    """One subject that may be meant."""

    document: Mapping[str, Any]
    """As the caller is shown it."""
    score: float
    features: Features


class Outcome(Struct, frozen=True, kw_only=True):
    """What one query comes to."""

    status: MatchStatus
    candidates: tuple[Match, ...] = ()
    errors: tuple[str, ...] = ()
    """Codes of what is wrong with an invalid query."""
    suggestions: tuple[str, ...] = ()
    """Codes that may have been meant."""


NOBODY = Outcome(status="not_found")


def most_queries(caller: Caller) -> int:
    """How many queries a batch of this caller may have.

    Raises NotPermitted for who asks about itself alone.
    """
    if caller.tier == "subject":
        raise NotPermitted
    return MOST_QUERIES_PUBLIC if caller.tier == "public" else MOST_QUERIES


async def match_names(services: Services, caller: Caller, asked: MatchAsked, language: Language) -> Answer:
    """The answer to a batch.

    Raises BodyInvalid for equal ids, an id like a person's number, or too many queries; PolicyExpired.
    """
    _check(asked, most_queries(caller))
    scene = await begin(services, caller, language)
    found = await outcomes(scene, asked.queries, limit=asked.limit, threshold=asked.threshold)
    results = [told(query.id, outcome, language, explain=asked.explain) for query, outcome in zip(asked.queries, found, strict=True)]
    document = {
        "results": results,
        "algorithm": ALGORITHM,
        "dataset_version": scene.head.version,
        "policy_version": scene.forms.version,
    }
    return structs.replace(document_answer(scene, document).unstored(), looked_at=0)  # a query has its price, whatever it looks at


def _check(asked: MatchAsked, most: int) -> None:
    if len(asked.queries) > most:
        raise _invalid("/queries", f"一次最多 {most} 个查询")
    seen: set[str] = set()
    for place, query in enumerate(asked.queries):
        if query.id in seen:
            raise _invalid(f"/queries/{place}/id", "编号重复")
        if looks_like_citizen_number(query.id):
            raise _invalid(f"/queries/{place}/id", "编号不得像公民身份号码")
        seen.add(query.id)


def _invalid(pointer: str, detail: str) -> BodyInvalid:
    return BodyInvalid(detail, errors=(ErrorItem("invalid", detail, pointer=pointer),))


def told(query: str, outcome: Outcome, language: Language, *, explain: bool) -> dict[str, Any]:
    """An outcome as the API tells it."""
    said: dict[str, Any] = {"id": query, "status": outcome.status, "status_label": label("match_status", outcome.status, language)}
    if outcome.status == "invalid":
        return {
            **said,
            "errors": [{"code": code} for code in outcome.errors],
            "suggestions": list(outcome.suggestions),
        }
    said["candidates"] = [
        {
            "subject": {key: each.document[key] for key in ("id", "uscc", "name") if key in each.document},
            "score": each.score,
            **({"features": each.features} if explain else {}),
        }
        for each in outcome.candidates
    ]
    return said


# --- what was asked ----------------------------------------------------------------------------------------------------


class _Read(Struct, frozen=True, kw_only=True):
    """A query as it may be asked, with what its codes are stored as."""

    wanted: Wanted
    uscc_stored: str | None = None


def _read(scene: Scene, question: Question) -> _Read | Outcome:
    """What of a query may be asked, or what is said of it at once."""
    if not any((question.name, question.uscc, question.registration_number, question.address)):
        return _wrong("empty")
    if any(each and looks_like_citizen_number(each) for each in (question.name, question.registration_number, question.address)):
        return NOBODY
    name = split(without_note(question.name)) if question.name else None
    if name is not None and not name.norm:
        return _wrong("name")
    uscc = stored = None
    if question.uscc:
        code = normalise_code(question.uscc)
        check = check_uscc(code)
        if looks_like_citizen_number(question.uscc):
            return _wrong("uscc")
        if not check.valid:
            faults = tuple(fault for fault, state in check.checks.items() if state == "failed")
            return Outcome(status="invalid", errors=faults, suggestions=tuple(meant for meant, _ in suggest_uscc(code)))
        if may_look_up(scene, "uscc", kind_of_code(code)):
            uscc, stored = code, stored_value(scene.services.store.vault, "uscc", code, kind_of_code(code))
    reg_no = None
    if question.registration_number:
        try:
            reg_no = parse_reg_no(question.registration_number)
        except RowFault:
            return _wrong("registration_number")
        if not may_look_up(scene, "reg_no", "legal"):
            reg_no = None
    region = question.region or (leading_division(question.address) if question.address else None)
    return _Read(wanted=Wanted(name=name, uscc=uscc, reg_no=reg_no, region=region), uscc_stored=stored)


def _wrong(code: str) -> Outcome:
    return Outcome(status="invalid", errors=(code,))


# --- who may be meant --------------------------------------------------------------------------------------------------


async def outcomes(scene: Scene, questions: Sequence[Question], *, limit: int = 3, threshold: float = DEFAULT_THRESHOLD) -> list[Outcome]:
    """What each of at most some hundred queries comes to, in their order; whoever is named by an outcome is paid for.

    Raises PolicyExpired, QueryTimeout, and as `pay` does.
    """
    refuse_ended(scene)
    read = [_read(scene, question) for question in questions]
    asked = [each for each in read if isinstance(each, _Read)]
    by_name = await _named(scene, asked)
    by_code = await _coded(scene, asked)
    bearers = await _households(scene, asked)
    wanted = {subject_id for ids in (*by_name, *bearers, *(list(code.values()) for code in by_code)) for subject_id in ids}
    documents = await _documents(scene, wanted)
    # who else bears the name, unseen by the caller, changes nothing: the one that is shown is the one
    shown = [[home for home in homes if home in documents] for homes in bearers]
    homes = [those[0] if len(those) == 1 else None for those in shown]
    meant = [
        list(dict.fromkeys([*names, *(code.values()), *([home] if home else ())]))
        for names, code, home in zip(by_name, by_code, homes, strict=True)
    ]
    found: list[Outcome] = []
    bodies: dict[str, bytes] = {}
    places = iter(zip(asked, meant, by_code, homes, strict=True))
    for each in read:
        if isinstance(each, Outcome):
            found.append(each)
            continue
        query, ids, codes, home = next(places)
        offers = [_offered(documents[it][1], it, query.wanted, codes, home) for it in ids if it in documents]
        verdict = judge(query.wanted, offers, threshold=threshold)
        best = verdict.candidates[:limit]
        bodies.update((one.subject_id, documents[one.subject_id][0]) for one in best)
        found.append(
            Outcome(
                status=verdict.status,
                candidates=tuple(Match(document=documents[one.subject_id][1], score=one.score, features=one.features) for one in best),
            )
        )
        await scene.effort.looked_at(len(offers))
    owed = owed_of(scene.forms)
    if not scene.public and owed.max_rows is not None and len(bodies) > owed.max_rows:
        raise _invalid("/queries", f"每次最多 {owed.max_rows} 个主体，请分批")
    await pay(scene, owed, "match", list(bodies.values()))
    return found


async def _named(scene: Scene, asked: Sequence[_Read]) -> list[list[str]]:
    """For each query the subjects whose names come near."""
    store = scene.services.store
    wanted = [token_groups(each.wanted.name) if each.wanted.name is not None else [] for each in asked]
    exact: dict[str, list[Any]] = {}
    for row in await search.exact_of(store.reads, [each.wanted.name.norm for each in asked if each.wanted.name is not None]):
        exact.setdefault(row.name_norm, []).append(row)
    groups = list(dict.fromkeys(group for each in wanted for group in each))
    held = dict(zip(groups, await search.gathered(store.reads, store.dialect, groups, limit=_A_GROUP), strict=True))
    found: list[list[str]] = []
    for each, own in zip(asked, wanted, strict=True):
        name = each.wanted.name
        rows = [row for group in own for row in held[group]]
        found.append(shortlist(name, [*exact.get(name.norm, ()), *rows]) if name is not None else [])
        await scene.effort.looked_at(len(rows))
    return found


async def _coded(scene: Scene, asked: Sequence[_Read]) -> list[dict[str, str]]:
    """For each query the subjects behind its codes, by kind of code."""
    reads = scene.services.store.reads
    of_uscc = await renderings.subjects_of_keys(reads, "uscc", [each.uscc_stored for each in asked if each.uscc_stored])
    of_reg_no = await renderings.subjects_of_keys(reads, "reg_no", [each.wanted.reg_no for each in asked if each.wanted.reg_no])
    found = []
    for each in asked:
        behind = {"uscc": of_uscc.get(each.uscc_stored or ""), "reg_no": of_reg_no.get(each.wanted.reg_no or "")}
        found.append({kind: subject_id for kind, subject_id in behind.items() if subject_id is not None})
    return found


async def _households(scene: Scene, asked: Sequence[_Read]) -> list[list[str]]:
    """For each query the households whose whole name it is, shown or not, where a plan lets one be found so."""
    if not may_look_up(scene, "name", "individual_business"):
        return [[] for _ in asked]
    norms = [each.wanted.name.norm if each.wanted.name is not None else "" for each in asked]
    bearers = await bearers_of(scene.services.store.reads, {norm for norm in norms if norm})
    return [bearers.get(norm, []) for norm in norms]


async def _documents(scene: Scene, ids: set[str]) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Those of these subjects that the caller is shown, organisations and households alone."""
    found: dict[str, tuple[bytes, dict[str, Any]]] = {}
    for row in await renderings.many_subjects(scene.services.store.reads, sorted(ids)):
        if row.kind not in ("legal", "individual_business"):
            continue
        body = await shown_subject(scene, row)
        if body is not None:
            found[row.subject_id] = body, DOCUMENT.decode(body)
    return found


def _offered(document: Mapping[str, Any], subject_id: str, wanted: Wanted, codes: Mapping[str, str], home: str | None) -> Offered:
    """A subject as it is compared: by what is shown in clear, and by what the index has found of it."""
    treated = document.get("treatments") or {}
    household = document.get("kind") == "household"
    named = wanted.name is not None and subject_id == home
    name = wanted.name.norm if wanted.name is not None and named else None if "name" in treated else document.get("name")
    return Offered(
        subject_id=subject_id,
        name=name,
        former_names=tuple(document.get("former_names") or ()) if "former_names" not in treated and not household else (),
        uscc=document.get("uscc") if "uscc" not in treated and not household else None,
        region=document.get("region"),
        has_uscc=codes.get("uscc") == subject_id,
        has_reg_no=codes.get("reg_no") == subject_id,
        household=household,
    )
