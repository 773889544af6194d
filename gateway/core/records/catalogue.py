"""Reads the `policies/` folder as far as records are concerned: datasets, lists, periods, and the catalogue they all point to.

Input is a mapping path → bytes; reading the folder is the operation's work. Everything is refused that is not understood: unknown files,
unknown and doubled keys, names that stand nowhere, two headers that look alike. An error names the file, the line, the field and
what to do: `policy-parse` for what is not of its shape, `policy-S10` for a well-formed name without a meaning. This room must not read
rules: it hands the `[[rules]]` tables on to `core/disclosure`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.core.errors import PolicyError
from gateway.core.records.headers import normalise_header
from gateway.core.records.identifiers import uscc_is_valid
from gateway.core.records.model import (
    NEGATIVE_CATEGORIES,
    POSITIVE_CATEGORIES,
    SUBJECT_KINDS,
    About,
    Address,
    BasisRef,
    Capability,
    CatalogueRef,
    Category,
    Dataset,
    DatasetId,
    Field,
    FieldClass,
    Publish,
    SubjectKind,
)
from gateway.core.records.periods import Ceiling, Clock, DurationText, PeriodRule, PeriodTable, duration_parts
from gateway.core.records.policy_file import PolicyFile, check_folder
from gateway.core.records.prohibited import prohibited_name

__all__ = ["Catalogue", "CatalogueItem", "Edition", "ListAuthority", "ListDef", "Measure", "PolicyFile", "read_catalogue"]

MAX_FIELDS = 54
SUBJECT = "$subject"
"""In a business key: whichever key the subject is known by."""
_ID = "^[a-z][a-z0-9_.-]{0,62}\\Z"
IdText = Annotated[str, Meta(pattern=_ID, max_length=63)]
FieldName = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,62}\\Z", max_length=63)]
FIELD_TYPE = re.compile(
    r"string|enum|bool|int|date|instant|division|uri|reg_no|org_code|subject_name|person_name|uscc|id_no|mobile|phone|email|plate|account|address"
    r"|decimal\(([1-9][0-9]?),([0-9]{1,2})\)"
)
"""The closed list of policy.md §4."""


RETENTION: Mapping[str, str] = MappingProxyType(
    {"audit.personal": "P5Y", "audit.count": "P6M", "audit.network": "P6M", "disclosure.personal": "P3Y"}
)
"""What the house keeps about itself, and for how long at least: who asked about persons (provincial credit regulations), counters and
network log (Cybersecurity Law, article 21), what was given to others (Personal Information Protection Law, article 56)."""
COUNTED: frozenset[str] = frozenset({"audit.count", "audit.network"})
"""Kept without anybody's name: too short for a purpose under which persons are asked about."""
_LONGEST_MONTH = 31


class Edition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """An edition of the national catalogue; `until` is its last day, once superseded."""

    title: str
    from_: date
    until: date | None = None
    flags: tuple[str, ...] = ()

    def in_force(self, on: date) -> bool:
        """Whether the edition is in force on a day."""
        return self.from_ <= on and (self.until is None or on <= self.until)


class CatalogueItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be collected and published, and on what ground."""

    edition: str
    item: str
    category: Category
    basis: tuple[BasisRef, ...]


class Measure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be done on account of a record, and on what ground."""

    edition: str
    id: IdText
    text: str
    polarity: Literal["black", "red", "neutral"]
    categories: tuple[Category, ...] = ()
    """Of which records; none named: all that burden (`black`) or benefit (`red`). A neutral measure names them."""
    until: date | None = None
    """Last day on which it may be in effect here."""
    basis: tuple[BasisRef, ...]

    def takes(self, category: str) -> bool:
        """Whether it may be taken on account of a record of this category."""
        if self.categories:
            return category in self.categories
        return category in (NEGATIVE_CATEGORIES if self.polarity == "black" else POSITIVE_CATEGORIES)

    def last_day(self, edition: Edition) -> date | None:
        """The last day on which it, its edition and one of its grounds are in force; None: no end is known."""
        ends = [ground.until for ground in self.basis]
        grounds = None if None in ends else max((end for end in ends if end is not None), default=None)
        return min((day for day in (self.until, edition.until, grounds) if day is not None), default=None)


class Licence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What whoever takes the data may do with it; a rule names it by id in `obligations`."""

    title: str
    url: Annotated[str, Meta(pattern=r"^https://[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]{1,500}\Z", max_length=508)]
    strictness: Annotated[int, Meta(ge=0, le=1000)]
    """An answer over data under several names the one with the highest."""
    attribution: str | None = None
    """How the source is to be named."""
    carve_out: str | None = None
    """What the licence does not give: rights over personal data."""


class ListAuthority(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who keeps a list."""

    name: str
    uscc: Annotated[str, Meta(pattern="^[0-9A-HJ-NP-RT-UW-Y]{18}\\Z", max_length=18)]


class ListDef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list: one file in `policies/lists/`, built from the records of one dataset."""

    id: IdText
    label: str
    label_en: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    dataset: DatasetId
    polarity: Literal["black", "red"]
    legal_basis: tuple[BasisRef, ...]
    authority: ListAuthority
    entry_conditions: str
    removal_conditions: str
    period_rule: IdText
    households: Literal[False] | tuple[BasisRef, ...] = False
    persons: Literal[False] | tuple[BasisRef, ...] = False
    range_bit: Annotated[int, Meta(ge=0, le=31)]
    authority_lookup_uri: Address | None = None

    def title(self, *, english: bool) -> str:
        """What it is called in that language; in Chinese where it has no English name."""
        return self.label_en if english and self.label_en else self.label

    def takes(self, kind: SubjectKind) -> bool:
        """Whether subjects of this kind may stand on the list at all."""
        if kind == "legal":
            return True
        return bool(self.households if kind == "individual_business" else self.persons)


class Catalogue(Struct, frozen=True, kw_only=True):
    """Everything that `policies/` says about records, checked."""

    datasets: Mapping[DatasetId, Dataset]
    rules: Mapping[DatasetId, tuple[dict[str, Any], ...]]
    """The `[[rules]]` tables as read, in file order: for `core/disclosure`."""
    lists: Mapping[str, ListDef]
    editions: Mapping[str, Edition]
    items: Mapping[tuple[str, str], CatalogueItem]
    """(edition, item) → item."""
    measures: Mapping[tuple[str, str], Measure]
    """(edition, id) → measure."""
    licences: Mapping[str, Licence] = MappingProxyType({})
    """Id → licence, the strictest last."""
    periods: PeriodTable
    retention: Mapping[str, str]

    def list_of(self, dataset: DatasetId) -> ListDef | None:
        """The list that is built from a dataset, if any."""
        for each in self.lists.values():
            if each.dataset == dataset:
                return each
        return None


class _DatasetHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: IdText
    label: str
    label_en: str | None = None
    category: Category
    catalogue: CatalogueRef
    share: Literal["unconditional", "conditional", "none"]
    open: Literal["unconditional", "conditional", "closed"]
    publish: Publish
    business_key: Annotated[tuple[str, ...], Meta(min_length=1)]
    one_of: tuple[Annotated[tuple[str, ...], Meta(min_length=1)], ...] = ()
    subject_kinds: Annotated[tuple[SubjectKind, ...], Meta(min_length=1)] = SUBJECT_KINDS
    null_words: tuple[str, ...] = ()
    about: About = About()


class _FieldText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    label: Annotated[str, Meta(min_length=1, max_length=100)]
    type: str
    label_en: str | None = None
    wire: Annotated[str, Meta(pattern="^(?:[A-Z][A-Z0-9_]{0,98}|[a-z][a-z0-9_]{0,62})\\Z", max_length=99)] | None = None
    length: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    required: bool = False
    unit: str | None = None
    class_: FieldClass | dict[SubjectKind, FieldClass] = "U"
    query: tuple[Capability, ...] = ()
    text: bool = False
    review: bool = False
    values: dict[str, str] = {}
    values_en: dict[str, str] = {}
    aliases: dict[str, str] = {}
    multiple: bool = False
    detail: str | None = None
    bands: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    link_key: str | None = None
    derived_from: tuple[str, ...] = ()
    tells: Literal["birth", "sex", "nothing"] | None = None
    standard_element: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


# --- reading ------------------------------------------------------------------------------------------------------------


def read_catalogue(files: Mapping[str, bytes]) -> Catalogue:
    """Datasets, lists, periods and catalogue of a policies folder.

    Raises PolicyError policy-parse or policy-S10 with file and line.
    """
    check_folder(files)
    editions, items, measures = _read_editions(files)
    licences = _read_licences(files)
    periods = _read_periods(files)
    datasets: dict[DatasetId, Dataset] = {}
    rules: dict[DatasetId, tuple[dict[str, Any], ...]] = {}
    for name in sorted(files):
        if name.startswith("datasets/"):
            file = PolicyFile(name, files[name])
            dataset = _read_dataset(file, editions, periods)
            datasets[dataset.id] = dataset
            rules[dataset.id] = tuple(file.tables("rules"))
    lists = _read_lists(files, datasets, periods)
    return Catalogue(
        datasets=MappingProxyType(datasets), rules=MappingProxyType(rules), lists=MappingProxyType(lists),
        editions=MappingProxyType(editions), items=MappingProxyType(items), measures=MappingProxyType(measures),
        licences=MappingProxyType(licences), periods=periods, retention=periods.retention,
    )


def _file(files: Mapping[str, bytes], name: str) -> PolicyFile:
    if name not in files:
        raise PolicyError("the file is missing", file=name, hint="the policies folder needs it")
    return PolicyFile(name, files[name])


def _basis(file: PolicyFile, basis: Sequence[BasisRef], *path: str | int) -> None:
    """A ground that could never be in force, or none at all, is a slip of the pen."""
    if not basis:
        raise file.error("no legal basis", *path, code="policy-S10", hint="name law, article and first day")
    for ground in basis:
        if ground.from_ is not None and ground.until is not None and ground.until < ground.from_:
            raise file.error("a legal basis that ends before it begins", *path, code="policy-S10")


def _read_editions(
    files: Mapping[str, bytes],
) -> tuple[dict[str, Edition], dict[tuple[str, str], CatalogueItem], dict[tuple[str, str], Measure]]:
    file = _file(files, "catalogue.toml")
    file.only(("editions", "items", "measures", "licences"))
    editions = {key: file.convert(value, Edition, "editions", key) for key, value in file.table("editions").items()}
    items: dict[tuple[str, str], CatalogueItem] = {}
    for index, value in enumerate(file.tables("items")):
        item = file.convert(value, CatalogueItem, "items", index)
        _in_edition(file, editions, item.edition, "items", index)
        _basis(file, item.basis, "items", index, "basis")
        if items.setdefault((item.edition, item.item), item) is not item:
            raise file.error(f"item `{item.item}` stands twice in its edition", "items", index)
    measures: dict[tuple[str, str], Measure] = {}
    for index, value in enumerate(file.tables("measures")):
        measure = file.convert(value, Measure, "measures", index)
        _in_edition(file, editions, measure.edition, "measures", index)
        _fitting(file, measure, index)
        _basis(file, measure.basis, "measures", index, "basis")
        if measures.setdefault((measure.edition, measure.id), measure) is not measure:
            raise file.error(f"measure `{measure.id}` stands twice in its edition", "measures", index)
    return editions, items, measures


def _fitting(file: PolicyFile, measure: Measure, index: int) -> None:
    """A measure burdens where the record burdens, and benefits where it benefits."""
    polarity = {"black": NEGATIVE_CATEGORIES, "red": POSITIVE_CATEGORIES}.get(measure.polarity)
    if polarity is None and not measure.categories:
        raise file.error("a neutral measure names the categories it is for", "measures", index, "categories")
    for category in measure.categories:
        fits = category in polarity if polarity is not None else category not in NEGATIVE_CATEGORIES | POSITIVE_CATEGORIES
        if not fits:
            said = f"no {measure.polarity} measure may rest on a record of category `{category}`"
            raise file.error(said, "measures", index, "categories")


def _read_licences(files: Mapping[str, bytes]) -> dict[str, Licence]:
    file = _file(files, "catalogue.toml")
    found: dict[str, Licence] = {}
    for key, value in file.table("licences").items():
        if re.fullmatch(_ID, key) is None:
            raise file.error(f"`{key}` is no id", "licences", key, hint="a-z, then a-z 0-9 . _ -")
        found[key] = file.convert(value, Licence, "licences", key)
    return dict(sorted(found.items(), key=lambda each: (each[1].strictness, each[0])))


def _in_edition(file: PolicyFile, editions: Mapping[str, Edition], edition: str, *path: str | int) -> None:
    if edition not in editions:
        raise file.error(f"no edition `{edition}`", *path, code="policy-S10", hint="editions stand in catalogue.toml")


def _read_periods(files: Mapping[str, bytes]) -> PeriodTable:
    file = _file(files, "periods.toml")
    file.only(("periods", "ceilings", "retention"))
    rules: dict[str, PeriodRule] = {}
    for index, value in enumerate(file.tables("periods")):
        rule = file.convert(value, PeriodRule, "periods", index, rule=str(value.get("id")))
        path = ("periods", index)
        if rules.setdefault(rule.id, rule) is not rule:
            raise file.error(f"period `{rule.id}` stands twice", *path, rule=rule.id)
        _basis(file, rule.basis, *path, "basis")
        if not rule.for_.acts or not rule.for_.kinds:
            raise file.error("a period for no act or no kind of subject", *path, "for", rule=rule.id)
        if rule.valid.until is not None and rule.valid.until < rule.valid.from_:
            raise file.error("a period that ends before it begins", *path, "valid", rule=rule.id)
        for name, clock in (("publication", rule.publication), ("sharing", rule.sharing), ("retention", rule.retention)):
            if clock is not None:
                _check_clock(file, clock, rule.id, *path, name)
        if rule.retention is not None:
            _check_kept(file, rule.retention, rule.id, *path, "retention")
    ceilings: dict[str, Ceiling] = {}
    for index, value in enumerate(file.tables("ceilings")):
        ceiling = file.convert(value, Ceiling, "ceilings", index)
        if ceilings.setdefault(ceiling.id, ceiling) is not ceiling or ceiling.id in rules:
            raise file.error(f"ceiling `{ceiling.id}` stands twice", "ceilings", index)
        _basis(file, ceiling.basis, "ceilings", index, "basis")
        if not ceiling.start or not ceiling.categories:
            raise file.error("a ceiling without start or category", "ceilings", index)
    retention = file.convert(file.table("retention"), dict[IdText, DurationText], "retention")
    for name, kept in retention.items():
        _check_retention(file, name, kept)
    return PeriodTable(rules=tuple(rules.values()), ceilings=tuple(ceilings.values()), retention=MappingProxyType(retention))


def _check_retention(file: PolicyFile, name: str, kept: str) -> None:
    """No audit data is kept for less than the law asks; what nobody reads is refused."""
    least = RETENTION.get(name)
    if least is None:
        raise file.error(f"nothing is kept under the name `{name}`", "retention", name, hint=f"one of {', '.join(RETENTION)}")
    (months, days), (needed, _) = duration_parts(kept), duration_parts(least)
    if months + days // _LONGEST_MONTH < needed:
        raise file.error(f"`{name}` is kept for at least {least}", "retention", name, hint="policies/README.md names the laws")


def _check_clock(file: PolicyFile, clock: Clock, rule: str, *path: str | int) -> None:
    if (clock.max is None) != clock.no_end:
        raise file.error("a clock has either `max` or `no_end = true`", *path, rule=rule)
    if clock.min is not None and clock.max is not None and _days(clock.min) > _days(clock.max):
        raise file.error("`min` is longer than `max`", *path, rule=rule)


def _check_kept(file: PolicyFile, clock: Clock, rule: str, *path: str | int) -> None:
    """Of how long a record is kept there is nothing to guess: it is erased by it some day."""
    if clock.min is not None or not clock.published:
        raise file.error("a record is kept: `min` and `published` are of other clocks", *path, rule=rule)
    if clock.start is None and not clock.no_end:
        raise file.error("kept since when?", *path, rule=rule, hint='`start = "sharing_end"`, or another event')


def _days(duration: str) -> int:
    months, days = duration_parts(duration)
    return months * 30 + days


def _read_dataset(file: PolicyFile, editions: Mapping[str, Edition], periods: PeriodTable) -> Dataset:
    file.only(("dataset", "bases", "fields", "rules"))
    head = file.convert(file.table("dataset", required=True), _DatasetHead, "dataset")
    if file.name != f"datasets/{head.id}.toml":
        raise file.error(f"dataset `{head.id}` in a file of another name", "dataset", "id", hint=f"call it datasets/{head.id}.toml")
    _in_edition(file, editions, head.catalogue.edition, "dataset", "catalogue")
    bases = {key: file.convert(value, BasisRef, "bases", key) for key, value in file.table("bases").items()}
    for key, ground in bases.items():
        _basis(file, (ground,), "bases", key)
    texts = file.table("fields", required=True)
    if len(texts) > MAX_FIELDS:
        raise file.error(f"more than {MAX_FIELDS} fields", "fields", hint="a catalogue of the national standard has at most 54")
    persons = "natural" in head.subject_kinds
    fields = {name: _read_field(file, name, text, persons=persons) for name, text in texts.items()}
    _check_references(file, head, fields)
    _check_headers(file, fields)
    act = head.publish.act
    if not any(rule.takes(act) for rule in periods.rules):
        raise file.error(f"no period is for the act `{act}`", "dataset", "publish", code="policy-S10", hint="add a row to periods.toml")
    return Dataset(
        id=DatasetId(head.id), label=head.label, label_en=head.label_en, category=head.category, catalogue=head.catalogue, share=head.share,
        open=head.open, publish=head.publish, business_key=head.business_key, one_of=head.one_of, subject_kinds=head.subject_kinds,
        null_words=frozenset(head.null_words), about=head.about, bases=MappingProxyType(bases), fields=MappingProxyType(fields),
    )


def _read_field(file: PolicyFile, name: str, value: object, *, persons: bool) -> Field:
    path = ("fields", name)
    file.convert(name, FieldName, *path, field=name)
    text = file.convert(value, _FieldText, *path, field=name)

    def refuse(detail: str, hint: str | None = None) -> PolicyError:
        return file.error(detail, *path, field=name, hint=hint)

    shape = FIELD_TYPE.fullmatch(text.type)
    if shape is None:
        raise refuse("no field type of this name", "the closed list stands in policies/README.md")
    if shape[1] is not None and int(shape[2]) > int(shape[1]):
        raise refuse("more decimal places than digits")
    if (text.type == "enum") != bool(text.values):
        raise refuse("`values` belong to an enum, and an enum needs them")
    if (text.multiple or text.detail) and text.type != "enum":
        raise refuse("`multiple` and `detail` are for enums")
    if text.text and text.type != "string":
        raise refuse("only a string can be free text")
    if text.review and not text.text:
        raise refuse("only free text waits for reviewers", "`review` goes with `text = true`")
    if text.detail and "other" not in text.values:
        raise refuse("`detail` needs a value `other`")
    for code in text.values:
        file.convert(code, FieldName, *path, field=name)
    if text.values_en and text.values_en.keys() != text.values.keys():
        raise refuse("`values_en` has a label for each value of the enum, and no other")
    for alias, target in text.aliases.items():
        if text.values and target not in text.values:
            raise refuse(f"alias `{alias}` means no value of the enum")
    if any(prohibited_name(each, persons=persons) for each in (text.label, name, *text.synonyms)):
        raise refuse("a field that may not be collected", "the list stands in core/records/prohibited.py")
    given = dict.fromkeys(SUBJECT_KINDS, text.class_) if isinstance(text.class_, str) else text.class_
    classes: dict[SubjectKind, FieldClass] = {kind: given.get(kind, "U") for kind in SUBJECT_KINDS}
    return Field(
        name=name, label=text.label, label_en=text.label_en, type=text.type, wire=text.wire, length=text.length, required=text.required,
        unit=text.unit, classes=MappingProxyType(classes), query=frozenset(text.query), text=text.text, review=text.review,
        values=MappingProxyType(text.values), values_en=MappingProxyType(text.values_en), aliases=MappingProxyType(text.aliases),
        multiple=text.multiple, detail=text.detail,
        bands=text.bands, synonyms=text.synonyms, link_key=text.link_key, derived_from=text.derived_from, tells=text.tells,
        standard_element=text.standard_element,
    )


def _check_references(file: PolicyFile, head: _DatasetHead, fields: Mapping[str, Field]) -> None:
    """Every field named somewhere stands in `[fields]`."""

    def named() -> Iterator[tuple[str, tuple[str | int, ...]]]:
        yield from ((each, ("dataset", "business_key")) for each in head.business_key if each != SUBJECT)
        yield from ((each, ("dataset", "one_of")) for group in head.one_of for each in group)
        severity = [head.publish.severity] if head.publish.severity else []
        yield from ((each, ("dataset", "publish")) for each in (*head.publish.requires, *severity))
        for field in fields.values():
            yield from ((each, ("fields", field.name)) for each in (*field.derived_from, *([field.detail] if field.detail else [])))

    for name, path in named():
        if name not in fields:
            raise file.error(f"no field `{name}`", *path, code="policy-S10", field=name)
    if "name" not in fields:
        raise file.error("a dataset needs the field `name`", "fields", code="policy-S10")


def _check_headers(file: PolicyFile, fields: Mapping[str, Field]) -> None:
    """No header may mean two fields."""
    seen: dict[str, str] = {}
    for field in fields.values():
        for text in (field.label, field.name, *([field.wire] if field.wire else []), *field.synonyms):
            header = normalise_header(text)
            if seen.setdefault(header, field.name) != field.name:
                raise file.error(f"the header `{text}` also means `{seen[header]}`", "fields", field.name, field=field.name)


def _read_lists(files: Mapping[str, bytes], datasets: Mapping[DatasetId, Dataset], periods: PeriodTable) -> dict[str, ListDef]:
    rules = {rule.id: rule for rule in periods.rules}
    lists: dict[str, ListDef] = {}
    for name in sorted(files):
        if not name.startswith("lists/"):
            continue
        file = PolicyFile(name, files[name])
        made = file.convert(file.values, ListDef)
        if name != f"lists/{made.id}.toml":
            raise file.error(f"list `{made.id}` in a file of another name", "id", hint=f"call it lists/{made.id}.toml")
        if made.dataset not in datasets:
            raise file.error(f"no dataset `{made.dataset}`", "dataset", code="policy-S10")
        if made.period_rule not in rules:
            raise file.error(f"no period `{made.period_rule}`", "period_rule", code="policy-S10")
        _basis(file, made.legal_basis, "legal_basis")
        if made.persons and not made.authority_lookup_uri:
            raise file.error("a list that names persons needs `authority_lookup_uri`", "persons")
        for other in lists.values():
            if other.range_bit == made.range_bit:
                raise file.error(f"range_bit {made.range_bit} belongs to `{other.id}`", "range_bit")
            if other.dataset == made.dataset:
                raise file.error(f"`{other.id}` is built from the same dataset", "dataset")
        act = datasets[made.dataset].publish.act
        if not rules[made.period_rule].takes(act):
            raise file.error(f"the period `{made.period_rule}` is not for the act `{act}`", "period_rule", code="policy-S10",
                             hint="the list says by which rule its dataset is counted")
        if (made.polarity == "black") != (datasets[made.dataset].category in NEGATIVE_CATEGORIES):
            raise file.error("a blacklist is built from records that burden, a red list from others", "polarity", code="policy-S10")
        if not uscc_is_valid(made.authority.uscc):
            raise file.error("the code of the authority has a wrong check character", "authority", code="policy-S10")
        lists[made.id] = made
    return lists
