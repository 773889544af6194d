"""What we hold: datasets and fields as described in `policies/datasets/`, subjects, and records with their raw values.

Raw values live in `Unpublished`, a class no encoder knows; only `core/disclosure/views.py`, `core/publication/listings.py` and
`store/records.py` may open it (tested). This room must not decide what anybody may see.

Field names that carry meaning for the envelope (api.md §6.1), the same in every dataset that has them:

    name · uscc · id_no                      who the record is about
    reg_no org_code tax_no institution_no society_no    other keys of the same subject
    category                                 行政相对人类别: with the USCC it decides the subject kind
    document_number · decision_date · severity
    authority · authority_code               who decided
    source_unit · source_unit_code           数据来源单位: who gave us the row
"""

from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Annotated, Literal, NewType, NoReturn

from msgspec import Meta, Struct

RecordId = NewType("RecordId", str)
SubjectId = NewType("SubjectId", str)
DatasetId = NewType("DatasetId", str)
PolicyVersion = NewType("PolicyVersion", int)

Value = str | int | bool | None
"""Dates are ISO 8601 text, decimals canonical text, codes text: one form from intake to every exit."""

SubjectKind = Literal["legal", "individual_business", "natural"]
SUBJECT_KINDS: tuple[SubjectKind, ...] = ("legal", "individual_business", "natural")

FieldClass = Literal["O", "B1", "B2", "P1", "P2", "P3", "U"]
"""policy.md §3: open · business contact · trade secret · personal · direct identifier · sensitive · unclassified."""

Category = Literal[
    "licence", "penalty", "blacklist", "redlist", "commitment", "evaluation", "abnormal", "registration", "agency_filing", "measure"
]
NEGATIVE_CATEGORIES: frozenset[str] = frozenset({"penalty", "blacklist", "abnormal"})
"""Categories that burden their subject: a vouched (unsigned) source never publishes or lists here (exchange.md §14)."""
POSITIVE_CATEGORIES: frozenset[str] = frozenset({"redlist"})
"""Categories that benefit their subject; all others beside these and the negative ones are neutral."""

RecordState = Literal["in_force", "held", "retracted", "repaired", "expired", "erased"]
Trust = Literal["signed", "vouched"]

Capability = Literal["filter", "sort", "facet", "search", "lookup", "export", "delta"]


Address = Annotated[str, Meta(pattern=r"""^https?://[^\s<>"{}|\\^`]+\Z""", max_length=500)]
"""Where something can be read; written into catalogues and answers as a link, so it is one."""


class BasisRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}, cache_hash=True):
    """A legal ground: law, article, first and last day in force."""

    law: str
    article: str = ""
    uri: Address | None = None
    from_: date | None = None
    until: date | None = None

    @property
    def text(self) -> str:
        """《law》第…条, as shown beside a record."""
        return f"《{self.law}》" + (f"第{self.article}条" if self.article else "")


class Field(Struct, frozen=True, kw_only=True):
    """A named value of a record, as its dataset file describes it."""

    name: str
    label: str
    type: str
    """Of the closed list of policy.md §4, parameters included: `decimal(18,6)`."""
    wire: str | None = None
    length: int | None = None
    required: bool = False
    unit: str | None = None
    classes: Mapping[SubjectKind, FieldClass]
    query: frozenset[Capability] = frozenset()
    text: bool = False
    review: bool = False
    """Every text of it waits for a reviewer, whatever the redactor says of it."""
    values: Mapping[str, str] = MappingProxyType({})
    """Enumeration: code → Chinese label; the source may send either."""
    values_en: Mapping[str, str] = MappingProxyType({})
    """Code → English label, for all codes or for none; no source sends it."""
    aliases: Mapping[str, str] = MappingProxyType({})
    """Further texts that departments write for a value: text → value (`长期` → `2099-12-31`, an older label → its code)."""
    multiple: bool = False
    """An enumeration of which several may hold: the value is their codes in dictionary order, joined by `;`."""
    detail: str | None = None
    """Field that takes the words of `其他-…`, so that an open enumeration loses nothing."""
    bands: tuple[str, ...] = ()
    """Edges for `generalise` of an amount, ascending; fixed by policy, never by data."""
    synonyms: tuple[str, ...] = ()
    """Further headers under which departments send this column."""
    link_key: str | None = None
    derived_from: tuple[str, ...] = ()
    tells: Literal["birth", "sex", "nothing"] | None = None
    """What a value says of its person beside itself; None: as its class and type suggest (`core/disclosure/residual`)."""
    label_en: str | None = None
    standard_element: str | None = None
    """The national standard that defines the value, and its element, as it is cited."""

    @property
    def wire_name(self) -> str:
        """The national column code where one exists, else our own name."""
        return self.wire or self.name

    def words(self, *, english: bool) -> Mapping[str, str]:
        """Of an enumeration: code → label in that language; in Chinese where there is no English."""
        return self.values_en if english and self.values_en else self.values


class Publish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the publication clock needs: the act, the field with the severity, and fields without which nothing is published."""

    act: str
    severity: str | None = None
    requires: tuple[str, ...] = ()


class CatalogueRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pointer into `policies/catalogue.toml`: basis or nothing."""

    edition: str
    item: str


class About(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the catalogue tells of a dataset beside its title; nothing here decides anything."""

    zh: Annotated[str, Meta(max_length=500)] = ""
    en: Annotated[str, Meta(max_length=1000)] = ""
    keywords: tuple[str, ...] = ()
    accrual: Literal["P1D", "P7D", "P1M", "P3M", "P1Y"] | None = None
    """How often its sources are to deliver."""
    fresh_within: Annotated[str, Meta(pattern="^P[1-9][0-9]{0,2}D\\Z")] | None = None
    """How old the latest delivery of a source may be."""


class Dataset(Struct, frozen=True, kw_only=True):
    """A named collection of records with fields and rules; one file in `policies/datasets/`."""

    id: DatasetId
    label: str
    label_en: str | None = None
    category: Category
    catalogue: CatalogueRef
    share: Literal["unconditional", "conditional", "none"]
    open: Literal["unconditional", "conditional", "closed"]
    publish: Publish
    business_key: tuple[str, ...]
    one_of: tuple[tuple[str, ...], ...] = ()
    subject_kinds: tuple[SubjectKind, ...] = SUBJECT_KINDS
    null_words: frozenset[str] = frozenset()
    """Cell texts that departments write for "no value"; matched whole."""
    about: About = About()
    bases: Mapping[str, BasisRef] = MappingProxyType({})
    fields: Mapping[str, Field]
    """In dictionary order."""


class Unpublished:
    """Values as the source gave them. No encoder, no readable repr; only three files may open it."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = MappingProxyType(dict(values))

    def open(self) -> MappingProxyType[str, Value]:
        """The values; `core/disclosure/views.py`, `core/publication/listings.py` and `store/records.py` only."""
        return self._values

    def __repr__(self) -> str:
        return f"<Unpublished {sorted(self._values)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Unpublished values are neither pickled nor deep-copied")


class Text(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One text field of a stored record, as much of it as somebody needs (policy.md §13); `residual` > 0 holds the text, not the record."""

    strict: str | None = None
    """For the public: everything found is a placeholder. None: it is held, or its record withdrawn, and was not opened."""
    third_parties: str | None = None
    """The record's own subject is left in. None: it was not opened."""
    residual: int
    redactor: str
    """Version of the redactor; a new one scores again."""
    doubts: tuple[tuple[int, int], ...] = ()
    """Where in `strict` the doubts stand, for whoever reviews it."""
    of: str = ""
    """Keyed digest of the text that this was made from: a decision of a reviewer ends when it changes."""
    alike: str = ""
    """Of a waiting text the keyed digest of redactor and both profiles: equal where two read exactly the same."""
    decided: Literal["", "released", "refused"] = ""
    """What a reviewer decided about exactly this."""

    @property
    def held(self) -> bool:
        """Not shown to a profile that holds, until a person has approved it."""
        return self.residual > 0 and self.decided != "released"

    @property
    def waiting(self) -> bool:
        """Held, and nobody has decided yet."""
        return self.residual > 0 and not self.decided


class Redaction(Text, frozen=True, kw_only=True):
    """One text field as the redactor left it: whole."""

    strict: str
    third_parties: str


class LifeDates(Struct, frozen=True, kw_only=True, omit_defaults=True, cache_hash=True):
    """The dates from which clocks run (domain.md §7.1); days of law in Asia/Shanghai."""

    decision: date | None = None
    delivery: date | None = None
    listing: date | None = None
    conduct_end: date | None = None
    first_publication_here: date | None = None
    first_publication_upstream: date | None = None
    obligation_fulfilled: date | None = None
    repair_approved: date | None = None
    revoked: date | None = None
    valid_until: date | None = None
    """The record's own validity (licences, honours); after it the record is marked, not removed."""
    upstream_end: date | None = None
    """Last day shown according to the party that asserted it; ours may end earlier, never later."""


class Recognised(Struct, frozen=True, kw_only=True):
    """A record issued elsewhere and recognised here (互认): exchange.md §13."""

    agreement: str
    issuer: str
    effect: str
    since: datetime
    as_of: datetime | None = None
    """As of when the partner's stream was known when this was decided."""
    until: date | None = None


class Record(Struct, frozen=True, kw_only=True):
    """One statement about a subject in a dataset, with its raw values; never leaves."""

    record_id: RecordId
    subject_id: SubjectId
    dataset: DatasetId
    category: Category
    kind: SubjectKind
    version: int
    state: RecordState
    hold_code: str | None = None
    trust: Trust
    issuer: str | None = None
    """Party of the partner that asserted it; None: our own city."""
    region: str
    """Division of the deciding authority; never read out of a USCC."""
    authority_code: str | None = None
    authority_name: str | None = None
    sender: str | None = None
    """USCC of the authority that uploaded it."""
    dates: LifeDates
    severity: str | None = None
    minor: bool = False
    sealed: bool = False
    dispute_since: datetime | None = None
    corrected_since: datetime | None = None
    recognised: Recognised | None = None
    received_at: datetime
    changed_seq: int
    raw: Unpublished
    texts: Mapping[str, Text] = MappingProxyType({})
    """Only those are whole (`Redaction`) whose seal somebody asked to open."""


class Subject(Struct, frozen=True, kw_only=True):
    """The person or organisation records are about. Its names and codes are values of its records, never of this Struct."""

    subject_id: SubjectId
    kind: SubjectKind
    head_seq: int


class Period(Struct, frozen=True, kw_only=True):
    """What the clock says of one record: from which day, to which last day, by which rule."""

    state: Literal["open", "not_yet", "over", "never", "unknown"]
    """`unknown`: not computable, so not published, and someone is told. `never`: the rule says it is not published."""
    first_day: date | None = None
    last_day: date | None = None
    """Last day shown; None with `open`: no statutory end."""
    rule: str | None = None
    flags: tuple[str, ...] = ()
    """`transition`, `derived`, `verify` …: what a reviewer should look at (domain.md §7.3)."""


class Admitted(Struct, frozen=True, kw_only=True):
    """One statement as intake lets it in: normalised values, subject and clocks decided; not yet stored."""

    dataset: DatasetId
    category: Category
    op: Literal["upsert", "withdraw", "erase"] = "upsert"
    reason: str | None = None
    kind: SubjectKind
    subject_keys: tuple[tuple[str, str], ...]
    """(key type, normalised value), strongest first: ("uscc", "9122…"), ("id_no", …)."""
    business_key: tuple[str, ...]
    """Normalised values of the dataset's business key."""
    values: Unpublished
    trust: Trust
    issuer: str | None = None
    region: str
    authority_code: str | None = None
    authority_name: str | None = None
    sender: str | None = None
    speaks_for: frozenset[str] = frozenset()
    """Codes of the authorities, beside itself, whose word the sender's may take the place of."""
    officer: str | None = None
    dates: LifeDates
    severity: str | None = None
    minor: bool = False
    hold_code: str | None = None
    """Stored, not published, until a person has looked (SCHEMA_ENUM, LAW_PERIOD, SUBJ_CONFLICT …)."""
    hold_field: str | None = None
    warnings: tuple[tuple[str, str | None], ...] = ()
    """(code, field): told to the sender, stop nothing (SUBJ_USCC_INNER, REGION_UNKNOWN)."""
    record_id: RecordId | None = None
    """The partner's own rid; None: ours is drawn at random."""
    version: int | None = None
    dispute_since: datetime | None = None
    received_at: datetime
    place: str
