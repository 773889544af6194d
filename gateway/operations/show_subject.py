"""Show a subject on one page: its document and the first page of its records, as this caller may see them, with words for fields and codes.

Rules: both are answers of the query stories, under their plans and at their price; nothing is shown here that they do not show. The words
are those of the dictionaries; a field without a word keeps its name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, structs

from gateway.core.callers.caller import Caller
from gateway.core.records.model import DatasetId, Field
from gateway.operations import answer_query
from gateway.operations.answering import DOCUMENT, begin
from gateway.operations.asking import Answer, Ask
from gateway.services import Services

Document = dict[str, Any]


class FieldWords(Struct, frozen=True):
    """What a field and its codes are called."""

    label: str
    values: Mapping[str, str]


class SubjectShown(Struct, frozen=True, kw_only=True):
    """A subject and its records, ready to be put on a page."""

    subject: Document
    records: Sequence[Document]
    more: bool
    """There are more records than stand here."""
    titles: Mapping[str, str]
    """Of datasets."""
    words: Mapping[str, Mapping[str, FieldWords]]
    """Of the fields of each dataset."""
    answer: Answer
    """Under what the page stands, and who may keep it; without a body."""


_UNITS: Final[Mapping[str, str]] = {"万元": "10,000 yuan", "元": "yuan"}
"""Units of amounts in English; another one stands as the dictionary has it."""


def _label(field: Field, *, english: bool) -> str:
    """The name of a field, with its unit."""
    label = (field.label_en or field.label) if english else field.label
    if field.unit is None or field.unit in label:
        return label
    return f"{label} ({_UNITS.get(field.unit, field.unit)})" if english else f"{label}（{field.unit}）"


async def show_subject(services: Services, subject: str, caller: Caller, ask: Ask) -> SubjectShown:
    """A subject by code or id.

    Raises UsccInvalid, NotFound, PolicyExpired, and as the stories of both answers do.
    """
    scene = await begin(services, caller, ask.language)
    document = await answer_query.subject_document(services, subject, caller, ask.language)
    records = await answer_query.subject_records(services, subject, caller, ask)
    page = DOCUMENT.decode(records.body)
    english = ask.language == "en"
    known = [scene.policies.catalogue.datasets[DatasetId(each)] for each in sorted({item["dataset"] for item in page["items"]})]
    return SubjectShown(
        subject=DOCUMENT.decode(document.body),
        records=page["items"],
        more=page["next"] is not None,
        titles={each.id: (each.label_en or each.label) if english else each.label for each in known},
        words={
            each.id: {
                name: FieldWords(_label(field, english=english), field.words(english=english))
                for name, field in each.fields.items()
                if name in scene.forms.plan_sets[each.id].shown
            }
            for each in known
        },
        answer=structs.replace(
            document,
            body=b"",
            max_age=min(document.max_age, records.max_age),
            private=document.private or records.private,
            no_store=document.no_store or records.no_store,
            looked_at=document.looked_at + records.looked_at,
        ),
    )
