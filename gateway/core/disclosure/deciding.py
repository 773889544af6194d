"""One cell of the matrix: what a rule says of a field, lowered by every red line that reaches it, and the rights that come with it.

Rules: inside one rule a field's own line beats the line of its class; what no rule names is dropped; an unclassified field is dropped
whatever a rule says (S2); capabilities are a field's `query` where it is shown clear, plus `allow`, less `deny`; fields about persons are
never filtered, sorted, counted or searched by anybody. No step raises. This room must not see a record.
"""

from collections.abc import Mapping

from msgspec import Struct

from gateway.core.disclosure.plans import GUESSABLE, PERSONAL_CLASSES, Reasons
from gateway.core.disclosure.rules import DisclosureFiles, Rule
from gateway.core.disclosure.treatments import DROP, Clear, Drop, Redact, Treatment, describe, meet, treatment_of
from gateway.core.records.model import Capability, Dataset, FieldClass, SubjectKind

Laws = Mapping[FieldClass, tuple[str, ...]]
"""What the classes of fields stand on, as shown beside a record."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What is decided of a cell, whichever rule says so: the same words give the same verdict."""

    steps: tuple[str, ...]
    treatment: Treatment
    capabilities: tuple[Capability, ...]
    withheld: str
    withheld_basis: tuple[str, ...]


class Decider:
    """Decides the cells of one policy folder; remembers verdicts, for a folder says few different things many times."""

    __slots__ = ("_grounds", "_laws", "_texts", "_verdicts")

    def __init__(self, texts: DisclosureFiles) -> None:
        self._texts = texts
        self._laws: Laws = {name: tuple(basis.text for basis in of.basis) for name, of in texts.classes.items()}
        self._verdicts: dict[object, Verdict] = {}
        self._grounds: dict[object, tuple[str, ...]] = {}

    def cell(self, dataset: Dataset, name: str, tier: str, kind: SubjectKind, rule: Rule) -> Reasons:
        """One cell: the meet of what the rule says and of every red line that reaches it, with each step; the default is `drop`."""
        described = dataset.fields[name]
        class_ = described.classes.get(kind, "U")
        line = rule.fields.get(name)
        key = (dataset.id, name, tier, kind, rule.classes.get(class_), rule.text if described.text else None, line)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = _verdict(dataset, name, tier, kind, rule, self._texts, self._laws)
        grounds = (dataset.id, rule.basis, line.basis if line is not None else ())
        basis = self._grounds.get(grounds)
        if basis is None:
            basis = self._grounds[grounds] = tuple(dataset.bases[ground].text for ground in (*grounds[1], *grounds[2]))
        return Reasons(
            label=described.label,
            class_=class_,
            class_label=self._texts.classes[class_].label,
            withheld=verdict.withheld,
            withheld_basis=verdict.withheld_basis,
            rule=rule.id,
            file=rule.file,
            line=rule.line_of(name, text=described.text),
            steps=verdict.steps,
            treatment=verdict.treatment,
            capabilities=verdict.capabilities,
            basis=basis,
            reviewed=described.review,
        )


def _verdict(dataset: Dataset, name: str, tier: str, kind: SubjectKind, rule: Rule, texts: DisclosureFiles, laws: Laws) -> Verdict:
    described = dataset.fields[name]
    class_ = described.classes.get(kind, "U")
    line = rule.fields.get(name)
    steps: list[str] = []
    if line is not None and line.treatment is not None:
        treatment = treatment_of(line.treatment)
        steps.append(f"field.{name}: {describe(treatment)}")
    elif described.text and class_ in rule.classes and not isinstance(rule.classes[class_], Drop):
        treatment = rule.text
        steps.append(f"text: {describe(treatment)}")
    elif described.text:
        treatment = DROP
        steps.append(f"class {class_} is not named for texts: drop")
    else:
        treatment = rule.classes.get(class_, DROP)
        steps.append(f"class {class_}: {describe(treatment)}" if class_ in rule.classes else f"class {class_} is not named: drop")
    if class_ == "U" and not isinstance(treatment, Drop):
        treatment = DROP
        steps.append("unclassified: drop")
    whole_name = f"{dataset.id}.{name}"
    for redline in texts.redlines.redlines:
        when = redline.when
        reached = when.class_ == class_ if when.class_ is not None else when.field == whole_name
        if reached and redline.max != "drop-row" and tier not in redline.except_:
            ceiling = treatment_of(redline.max)
            treatment = meet(treatment, ceiling)
            steps.append(f"red line {redline.id}: at most {describe(ceiling)} → {describe(treatment)}")
    if described.review and isinstance(treatment, Redact) and treatment.hold:
        steps.append(f"fields.{name}.review: each text waits until a reviewer releases it")
    allowed: set[Capability] = set()
    if not isinstance(treatment, Drop):
        if isinstance(treatment, Clear):
            allowed |= described.query
        if line is not None:
            allowed |= set(line.allow)
            allowed -= set(line.deny)
        if class_ in PERSONAL_CLASSES:
            allowed -= GUESSABLE
    withheld, law = _withheld(class_, kind, treatment, texts)
    return Verdict(
        steps=tuple(steps),
        treatment=treatment,
        capabilities=tuple(sorted(allowed)),
        withheld=withheld,
        withheld_basis=laws[law],
    )


def _withheld(class_: FieldClass, kind: SubjectKind, treatment: Treatment, texts: DisclosureFiles) -> tuple[str, FieldClass]:
    """Why a cell may be withheld, and the class by whose law; what is open by law of an organisation may still point at a person."""
    if isinstance(treatment, Redact):
        return "自由文本可能含有个人信息", "P1"
    if kind != "legal" and class_ not in PERSONAL_CLASSES and class_ != "U" and isinstance(treatment, Drop):
        return "可据以识别或者推知个人", "P1"
    return texts.classes[class_].reason, class_
