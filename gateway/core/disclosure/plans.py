"""Plans: what a compiled policy looks like. One plan holds all cells of a dataset, tier, purpose and kind of subject.

Rules: everything here is frozen and made by `policy` alone; a request looks a plan up and evaluates nothing; a kind without a plan
is not shown. This room must not decide anything.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct, field

from gateway.core.disclosure.masking import Treat
from gateway.core.disclosure.obligations import Obligations
from gateway.core.disclosure.row_language import RowRule
from gateway.core.disclosure.rules import Redlines
from gateway.core.disclosure.schemas import JsonSchema
from gateway.core.disclosure.tiers import ClassInfo, Costs, PurposeInfo, RateClass, TierInfo
from gateway.core.disclosure.treatments import Treatment
from gateway.core.errors import PolicyError
from gateway.core.records.catalogue import Catalogue
from gateway.core.records.model import SUBJECT_KINDS, BasisRef, Capability, DatasetId, Field, FieldClass, SubjectKind

PERSONAL_CLASSES: Final[frozenset[FieldClass]] = frozenset({"P1", "P2", "P3"})
GUESSABLE: Final[frozenset[Capability]] = frozenset({"filter", "sort", "facet", "search"})
"""What would let a caller feel his way to a person; `lookup` takes a whole value only."""

SHARING_TIERS: Final = frozenset({"department", "partner", "supervisor", "pboc"})


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON (RFC 8785: all keys are ASCII and there are no floats, so sorting is all it takes)."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted", enc_hook=_plain)).hexdigest()


def _plain(value: object) -> object:
    if type(value) is MappingProxyType or isinstance(value, Mapping):  # to ask for any mapping takes ten times as long
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")


class Mode:
    """How a step treats its field; compared by number because it happens for every field of every record."""

    CLEAR = 0
    VALUE = 1
    TEXT = 2
    HOUSEHOLD = 3
    PSEUDONYM = 4


class Step(NamedTuple):
    """One field of a view, in output order."""

    field: str
    mode: int
    treat: Treat
    """Of a VALUE step the mask, of a PSEUDONYM step the normal form; the others do not call it."""
    option: bool
    """TEXT: the strict profile. HOUSEHOLD: the county may come from the code, for this plan shows that much of it."""
    hold: bool
    """TEXT: nothing while the residual score is not zero."""


class Gate(Struct, frozen=True, kw_only=True):
    """Which rows a plan may show at all; the gates that close for everyone (withdrawn, repaired, held, sealed) need no mention."""

    period: Literal["publication", "sharing", "none"]
    """`none`: the subject, who may see its own records after the others may not."""
    legality: Literal["closed", "held"] = "closed"
    """Without a live basis: not shown, or shown as held (to the subject)."""
    minors: bool
    vouched_negative: bool
    """Whether an unsigned statement may burden its subject here."""
    onward: bool
    """Whether what came from another city may be shown."""
    flags: tuple[str, ...] = ()
    """Flags of records that a red line closes."""
    requires: tuple[str, ...] = ()
    """Fields of this plan without which nothing is published."""


class Envelope(Struct, frozen=True, kw_only=True):
    """Which values beside the fields a plan shows: only what its fields show in clear."""

    severity: bool
    authority: bool
    authority_code: bool
    source: bool
    source_code: bool
    decision_date: bool


class Summary(Struct, frozen=True, kw_only=True):
    """What stands for a held text (policy.md §13), made only of fields that the plan shows in clear."""

    act: str
    kind_field: str | None
    kind_words: Mapping[str, str]
    amount_field: str | None
    amount_bands: tuple[str, ...]
    amount_unit: str | None
    date_field: str | None


OWN_FIELDS: Final = frozenset({"name", "former_names", "uscc", "reg_no", "org_code", "tax_no", "institution_no", "society_no"})
"""Fields that name the record's own subject; the text profile `third_parties` leaves them in."""


class Reasons(Struct, frozen=True, kw_only=True):
    """Why a cell is as it is; what `explain` prints."""

    label: str
    class_: FieldClass
    class_label: str
    withheld: str
    """Why fields of this class may be withheld, in the words of tiers.toml."""
    withheld_basis: tuple[str, ...]
    rule: str | None
    file: str
    line: int | None
    steps: tuple[str, ...]
    treatment: Treatment
    capabilities: tuple[Capability, ...]
    basis: tuple[str, ...]
    reviewed: bool = False
    """A text of which none is shown that no reviewer released."""


class Plan(Struct, frozen=True, kw_only=True):
    """All cells of one dataset, tier, purpose and kind of subject."""

    dataset: DatasetId
    tier: str
    purpose: str
    kind: SubjectKind
    columns: tuple[str, ...]
    """Raw values that are selected and decrypted; nothing else leaves the database for this plan."""
    texts: tuple[str, ...]
    """Fields of which the stored redacted text is shown."""
    steps: tuple[Step, ...]
    treatments: Mapping[str, str]
    """Shown, but not clear: what every view of this plan says (a held text differs)."""
    gate: Gate
    envelope: Envelope
    summary: Summary | None
    capabilities: Mapping[str, frozenset[Capability]]
    personal: bool
    """Shows a person more than a surname: never cached, never in bulk to those without a duty."""
    obligations: Obligations
    """What using it owes: the rule's and the purpose's together, its rate class always named."""
    budgets: Mapping[str, int]
    """Field → look-ups a day for an organisation."""
    rows: RowRule | None
    """Which rows the plan may show to whom; None: all. Of the subject's plans always: its own."""
    schema: JsonSchema
    """JSON Schema of the fields of its views: mentions only what it shows."""
    basis: tuple[BasisRef, ...]
    reasons: Mapping[str, Reasons]
    valid_until: datetime | None
    plan_hash: str

    @property
    def whole_texts(self) -> frozenset[str]:
        """Texts of which it shows more than what is publishable of them: those are opened for it."""
        return frozenset(step.field for step in self.steps if step.mode == Mode.TEXT and not (step.option and step.hold))

    def can(self, name: str, capability: Capability) -> bool:
        """Whether this plan's caller may use a field so."""
        return capability in self.capabilities.get(name, frozenset())


class FieldInfo(Struct, frozen=True, kw_only=True):
    """What may be asked of one name: a value of the envelope, or a field of a dataset as the caller's plans show it."""

    type: str = "string"
    """As in a dataset file; parameters count: `decimal(18,6)`."""
    query: frozenset[Capability] = frozenset()
    """Of: filter, sort, facet. Empty: the name may only be chosen by `fields=`."""
    values: tuple[str, ...] = ()
    """Closed list of an enumeration; empty: any value of the type."""
    kinds: tuple[SubjectKind, ...] = SUBJECT_KINDS
    """Kinds of subject for which it may be filtered."""


class PlanSet(Struct, frozen=True, kw_only=True):
    """The plans of one dataset, tier and purpose over its kinds of subject; a kind without a plan is not shown."""

    dataset: DatasetId
    tier: str
    purpose: str
    plans: Mapping[SubjectKind, Plan]
    hash: str
    columns: frozenset[str]
    """Union of what its plans select."""
    shown: tuple[str, ...]
    """Every field that some kind of subject shows, in dictionary order."""
    asked: Mapping[str, FieldInfo]
    """Of each shown field what may be asked of it."""
    described: Mapping[str, Field]
    """The dataset's own words about its fields."""

    @property
    def personal(self) -> bool:
        """Whether some plan of it is a personal one."""
        return any(plan.personal for plan in self.plans.values())

    @property
    def whole_texts(self) -> frozenset[str]:
        """Texts that some plan of it needs opened."""
        return frozenset[str]().union(*(plan.whole_texts for plan in self.plans.values()))

    def kinds_with(self, name: str, capability: Capability) -> tuple[SubjectKind, ...]:
        """The kinds whose plan lets this caller use the field so; an answer is narrowed to them."""
        return tuple(kind for kind, plan in self.plans.items() if plan.can(name, capability))


class Policies(Struct, frozen=True, kw_only=True):
    """One policy version, compiled: immutable, replaced as a whole by swapping one reference."""

    version: int
    digest: str
    catalogue: Catalogue
    plan_sets: Mapping[tuple[str, str, str], PlanSet]
    """(dataset, tier, purpose) → plans."""
    purposes: Mapping[str, PurposeInfo]
    tiers: Mapping[str, TierInfo]
    classes: Mapping[FieldClass, ClassInfo]
    redlines: Redlines
    rate_classes: Mapping[str, RateClass]
    costs: Costs
    warnings: tuple[PolicyError, ...] = ()
    memo: dict[Any, Any] = field(default_factory=dict)
    """Answers of pure functions of this very version (legality and periods of a day); a convenience, bounded by `gates`."""

    failures: dict[tuple[str, str, str, str, str], int] = field(default_factory=dict)
    """(dataset, tier, purpose, kind, field) → how often its treatment broke, since somebody was last told; no values."""

    def plan_set(self, dataset: str, tier: str, purpose: str) -> PlanSet | None:
        """The plans under which this tier reads a dataset for a purpose; None: nothing of it is shown. `developer` reads public's."""
        return self.plan_sets.get((dataset, "public" if tier == "developer" else tier, purpose))

    def public(self, dataset: str) -> PlanSet | None:
        """What everybody may see of a dataset."""
        return self.plan_sets.get((dataset, "public", "open.read"))

    def sets_of(self, tier: str, purpose: str) -> tuple[PlanSet, ...]:
        """Every plan set of a tier and purpose, by dataset id."""
        tier = "public" if tier == "developer" else tier
        return tuple(held for (_, of, why), held in sorted(self.plan_sets.items()) if of == tier and why == purpose)

    def hash_of(self, tier: str, purpose: str) -> str:
        """The name of all plan sets of a tier and purpose together: what answers over several datasets carry."""
        return digest([held.hash for held in self.sets_of(tier, purpose)])
