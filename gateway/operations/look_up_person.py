"""Look a natural person up by number and full name, for a case (api.md §7.20, policy.md §6, §14.8): the only way by identity to a person.

Rules: bound tiers only, whose plan for natural persons has `lookup` on the number; with a case reference always. Number and name are whole
and both must equal the record's; what is malformed is refused before the database is asked, and never repeated. A miss is an empty
list: unknown, of another name, out of the caller's reach and removed read alike, are counted and audited alike, and answered after the
same time. This story must not say why there is nothing.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from gateway.core.callers.caller import BOUND_TIERS, Caller
from gateway.core.disclosure.narrowing import Reach
from gateway.core.disclosure.obligations import LOOKED_UP
from gateway.core.disclosure.views import is_about
from gateway.core.errors import CaseRefMissing, ErrorItem, InvalidParameter, NotPermitted, RowFault
from gateway.core.publication.documents import localise
from gateway.core.publication.forms import Forms
from gateway.core.records.identifiers import parse_citizen_id
from gateway.core.records.model import DatasetId, Record, SubjectId
from gateway.core.records.periods import legal_day
from gateway.operations.answering import DOCUMENT, ENCODER, Scene, answer, begin, marked, refuse_ended
from gateway.operations.asking import Answer, Language
from gateway.operations.live_records import shown
from gateway.operations.owing import spend_lookup
from gateway.operations.reaching import columns_of, gates_of, texts_of
from gateway.operations.record_access import record_access
from gateway.services import Services
from gateway.store import renderings
from gateway.store.records import load
from gateway.store.subjects import stored_value

NUMBER: Final = LOOKED_UP
NAME: Final = "name"
FLOOR_S: Final = 0.1
"""A hit and a miss are answered after the same time: no sooner than this."""
SHAPE: Final = "lookup id_no:eq name:eq"
LONGEST_NAME: Final = 50
_NOT_IN_NAMES: Final = frozenset("*＊?？%％_＿×某0123456789０１２３４５６７８９[]()（）<>^$|\\")
"""Signs that stand for others, or are in no name."""
_NO_KEY: Final = 0
_NOBODY: Final = SubjectId("sub_")
"""Asked for when nobody has the number, so that a miss runs the statements of a hit."""


class PersonAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The question whether a person has a record in a dataset."""

    dataset: str
    id_no: str
    name: str

    def __repr__(self) -> str:
        return "<PersonAsked>"


async def look_up_person(services: Services, caller: Caller, asked: PersonAsked, language: Language) -> Answer:
    """The records of one person in one dataset, as the caller's plans show them, by id.

    Raises NotPermitted, CaseRefMissing, InvalidParameter with pointers, LookupBudgetSpent, ObligationFailed, AuditUnavailable.
    """
    may_ask(caller)
    number = _number(services, asked.id_no)
    _check_name(asked.name)
    scene = _narrowed(await begin(services, caller, language), asked.dataset)
    refuse_ended(scene, (asked.dataset,), ("natural",))
    started = asyncio.get_running_loop().time()
    await spend_lookup(scene, _budget(scene.forms))
    found = await _find(scene, asked, number)
    held = scene.forms.plan_sets[asked.dataset]
    about = [number, *dict.fromkeys(record.subject_id for record in found)]
    bodies = await shown(scene, found)
    await record_access(services, scene.policies, caller, (held,), SHAPE, len(bodies), about)
    items: list[Any] = [localise(DOCUMENT.decode(body), language) if language != "zh-CN" else msgspec.Raw(body) for body in bodies]
    document = {"matches": items, "dataset_version": scene.head.version, "policy_version": scene.forms.version}
    made = answer(scene, marked(scene, ENCODER.encode(document)), rows=len(bodies)).unstored()
    await asyncio.sleep(max(0.0, FLOOR_S - (asyncio.get_running_loop().time() - started)))
    return made


def may_ask(caller: Caller) -> None:
    """What is known of a caller before its question is read.

    Raises NotPermitted, CaseRefMissing.
    """
    if caller.plan_tier not in BOUND_TIERS:
        raise NotPermitted
    if caller.case_ref is None:
        raise CaseRefMissing


def may_find(caller: Caller, forms: Forms) -> bool:
    """Whether any plan of this caller lets it look a person up."""
    return caller.plan_tier in BOUND_TIERS and any(map(_finds, (reach for reaches in forms.reaches.values() for reach in reaches)))


def _finds(reach: Reach) -> bool:
    plan = reach.plan_set.plans.get("natural")
    return plan is not None and plan.can(NUMBER, "lookup")


def _number(services: Services, text: str) -> str:
    """The whole number.

    Raises InvalidParameter.
    """
    try:
        found = parse_citizen_id(text, demo=services.settings.demo, today=legal_day(services.clock()))
    except RowFault:
        raise _invalid(NUMBER, "应为完整有效的公民身份号码") from None
    if sum(character.isalnum() for character in text) != len(found.number):
        raise _invalid(NUMBER, "应为完整有效的公民身份号码")
    return found.number


def _check_name(text: str) -> None:
    """Raises InvalidParameter for what cannot be a whole name."""
    name = "".join(text.split())
    if not 2 <= len(name) <= LONGEST_NAME or not name.isprintable() or not _NOT_IN_NAMES.isdisjoint(name):
        raise _invalid(NAME, "应为完整姓名")


def _invalid(member: str, detail: str) -> InvalidParameter:
    return InvalidParameter(detail, errors=(ErrorItem("invalid", detail, pointer=f"/{member}"),))


def _narrowed(scene: Scene, dataset: str) -> Scene:
    """The scene with those reaches of the dataset alone under which a person may be looked up.

    Raises NotPermitted when there is none; a dataset that does not exist reads alike.
    """
    reaches = tuple(filter(_finds, scene.forms.reaches.get(dataset, ())))
    if not reaches:
        raise NotPermitted
    forms = structs.replace(scene.forms, reaches={dataset: reaches}, remembered={})
    return structs.replace(scene, forms=forms, gates=gates_of(forms))


def _budget(forms: Forms) -> int:
    """Look-ups a day: the least of what the plans allow."""
    plans = [reach.plan_set.plans["natural"] for reaches in forms.reaches.values() for reach in reaches]
    return min(plan.budgets[NUMBER] for plan in plans)


async def _find(scene: Scene, asked: PersonAsked, number: str) -> Sequence[Record]:
    """The records of the person within the caller's reach; number and name both as the record has them."""
    reads = scene.services.store.reads
    row = await renderings.subject_by_key(reads, NUMBER, stored_value(reads.vault, NUMBER, number, "natural"))
    records = await load(
        reads,
        subject=_NOBODY if row is None else SubjectId(row.subject_id),
        dataset=DatasetId(asked.dataset),
        fields=columns_of(scene.forms) | {NUMBER, NAME},
        texts=texts_of(scene.forms),
        gates=scene.gates,
    )
    if not records:
        await reads.vault.deks_by_id(reads, (_NO_KEY,))  # where there is somebody, a data key is read
    return [record for record in records if is_about(record, number, asked.name)]
