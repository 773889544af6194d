"""Accept what intake has let in: redact the texts, store records and changes. Shared by department files and partner batches.

Rules: texts are redacted here, once, before anything is stored; a text that the redactor cannot clear is held, its record is not.
`redactions` needs no database, so callers do it before they begin the transaction in which all of a chunk is stored or nothing. This
story must not decide whether a row is good: that was intake's.
"""

from collections.abc import Mapping, Sequence

from gateway.core.disclosure.views import CASE_FIELD, case_of, persons_of, redacted_texts
from gateway.core.records.model import Admitted, Dataset, LifeDates, Period, Redaction
from gateway.core.records.periods import publication
from gateway.services import Services
from gateway.store import records
from gateway.store.records import Outcome
from gateway.store.store import Transaction

Texts = Mapping[str, Redaction]


def redactions(admitted: Sequence[Admitted], dataset: Dataset) -> list[Texts]:
    """The redacted texts of each statement, in order; what is withdrawn or erased keeps none.

    Whoever is known from one record of a case (the same number of a decision, in one chunk) is known in the others' texts.
    """
    if not any(field.text for field in dataset.fields.values()):
        return [{}] * len(admitted)
    persons = _persons_by_case(admitted, dataset)
    return [
        redacted_texts(each, dataset, persons.get(case_of(each) or "", ()) if persons else ()) if each.op == "upsert" else {}
        for each in admitted
    ]


def _persons_by_case(admitted: Sequence[Admitted], dataset: Dataset) -> dict[str, set[str]]:
    """Values of persons by the number of the decision, where several statements bear it."""
    if CASE_FIELD not in dataset.fields:
        return {}
    cases: dict[str, list[Admitted]] = {}
    for each in admitted:
        case = case_of(each)
        if case is not None and each.op == "upsert":
            cases.setdefault(case, []).append(each)
    return {case: {value for each in some for value in persons_of(each, dataset)} for case, some in cases.items() if len(some) > 1}


async def accept_records(
    services: Services,
    tx: Transaction,
    admitted: Sequence[Admitted],
    dataset: Dataset,
    *,
    actor: str,
    texts: Sequence[Texts] | None = None,
    once: bool = False,
) -> list[Outcome]:
    """Store the statements of one chunk in the caller's transaction; one outcome each, in order.

    With `once`, a statement that contradicts the same actor's last word about a record is rejected (DUP_KEY).
    Raises NoActivePolicy, or StoreError: then nothing of the chunk may be kept.
    """
    table = services.policies.current().catalogue.periods

    def period_of(each: Admitted, dates: LifeDates) -> Period:
        return publication(
            act=dataset.publish.act, severity=each.severity, kind=each.kind, category=each.category, dates=dates, table=table, now=tx.now
        )

    if texts is None:
        texts = redactions(admitted, dataset)
    return await records.accept(tx, admitted, texts, dataset, actor=actor, period_of=period_of, once=once)
