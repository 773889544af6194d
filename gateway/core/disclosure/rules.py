"""Reads what people write about disclosure: red lines, and the `[[rules]]` beside the fields of a dataset.

Rules: everything is decoded strictly (unknown keys, unknown words and values outside a closed list are refused with file and
line); nothing is accepted that the compiler does not use; ids are plain ASCII. What a rule *means* is decided in `policy` and
`checks`; this room must not compile.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.core.disclosure.obligations import Obligations
from gateway.core.disclosure.tiers import ClassInfo, Costs, Grounds, Name, PurposeInfo, RateClass, TierInfo, read_purposes, read_tiers
from gateway.core.disclosure.treatments import Treatment, TreatmentSpec, treatment_of
from gateway.core.errors import PolicyError
from gateway.core.records.model import Capability, DatasetId, FieldClass, SubjectKind
from gateway.core.records.policy_file import PolicyFile
from gateway.core.toml import DAYS

Flag = Literal["minor", "repaired", "expired", "disputed", "sealed", "held"]
"""Flags of a record; repaired, sealed and held rows are shown to nobody in any case."""
Budget = Annotated[str, Meta(pattern="^[1-9][0-9]{0,8}/day\\Z", max_length=13)]


class When(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """What a red line is about: exactly one of a flag of the record, a class, a field (`dataset.field`)."""

    flag: Flag | None = None
    class_: FieldClass | None = None
    field: str | None = None


class Redline(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"except_": "except"}):
    """A ceiling that no rule lifts: for a flag the row, for a class or a field a treatment."""

    id: Name
    when: When
    max: Literal["drop-row"] | TreatmentSpec
    except_: tuple[str, ...] = ()
    basis: Grounds


class ExceptionText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way past S1 for one field, with its ground and its end."""

    field: str
    kinds: Annotated[tuple[SubjectKind, ...], Meta(min_length=1)]
    max: TreatmentSpec
    basis: Grounds
    until: date


class Redlines(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`redlines.toml`."""

    redlines: tuple[Redline, ...] = ()
    exceptions: tuple[ExceptionText, ...] = ()


class ForText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The block of the matrix that a rule fills."""

    tiers: Annotated[tuple[str, ...], Meta(min_length=1)]
    purposes: Annotated[tuple[str, ...], Meta(min_length=1)]
    kinds: Annotated[tuple[SubjectKind, ...], Meta(min_length=1)]


class FieldRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rule says of one field: it beats what it says of the field's class."""

    treatment: TreatmentSpec | None = None
    allow: tuple[Capability, ...] = ()
    deny: tuple[Capability, ...] = ()
    budget: Budget | None = None
    """Look-ups a day for an organisation: `200/day`."""
    basis: tuple[str, ...] = ()


class RuleText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for", "class_": "class"}):
    """One `[[rules]]` table."""

    id: Name
    for_: ForText
    class_: dict[FieldClass, TreatmentSpec] = {}
    text: TreatmentSpec = "drop"
    field: dict[str, Any] = {}
    rows: Any = None
    basis: Annotated[tuple[str, ...], Meta(min_length=1)]
    obligations: Obligations


class Rule(Struct, frozen=True, kw_only=True):
    """A rule as the compiler takes it, with the place where it stands."""

    id: str
    dataset: DatasetId
    file: str
    line: int
    tiers: tuple[str, ...]
    purposes: tuple[str, ...]
    kinds: tuple[SubjectKind, ...]
    classes: Mapping[FieldClass, Treatment]
    text: Treatment
    fields: Mapping[str, FieldRule]
    lines: Mapping[str, int]
    """Line of each key of the block: `class`, `field.uscc`."""
    basis: tuple[str, ...]
    obligations: Obligations
    rows: object
    """What `rows` says, as written; None: nothing."""

    def line_of(self, field: str, *, text: bool = False) -> int:
        """The line that decides how a field is treated: its own, else that of its class or of texts, else the rule's."""
        own = self.fields.get(field)
        key = f"field.{field}" if own is not None and own.treatment is not None else "text" if text else "class"
        return self.lines.get(key, self.line)


class DisclosureFiles(Struct, frozen=True, kw_only=True):
    """The three files beside the datasets."""

    tiers: Mapping[str, TierInfo]
    classes: Mapping[FieldClass, ClassInfo]
    rate_classes: Mapping[str, RateClass]
    costs: Costs
    purposes: Mapping[str, PurposeInfo]
    redlines: Redlines


_TABLE_HEAD: Final = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")


def read_disclosure_files(files: Mapping[str, bytes]) -> DisclosureFiles:
    """Tiers, purposes and red lines of a policy folder.

    Raises PolicyError policy-parse with file and line.
    """
    tiers = read_tiers(_file(files, "tiers.toml"))
    purposes = read_purposes(_file(files, "purposes.toml"))
    file = _file(files, "redlines.toml")
    redlines = file.convert(file.values, Redlines)
    for number, redline in enumerate(redlines.redlines):
        if any(other.id == redline.id for other in redlines.redlines[:number]):
            raise file.error(f"red line {redline.id} stands twice", "redlines", number, hint="give it an id of its own")
        when = redline.when
        named = [name for name, value in (("flag", when.flag), ("class", when.class_), ("field", when.field)) if value is not None]
        if len(named) != 1:
            raise file.error(
                f"red line {redline.id}: `when` names exactly one of flag, class, field",
                "redlines",
                number,
                hint='for example when = { class = "P3" }',
            )
        if (redline.max == "drop-row") != (when.flag is not None):
            raise file.error(
                f'red line {redline.id}: a flag takes max = "drop-row", a class or a field a treatment',
                "redlines",
                number,
                hint="a flag is about the whole record",
            )
    seen: set[tuple[str, SubjectKind]] = set()
    for number, exception in enumerate(redlines.exceptions):
        for kind in exception.kinds:
            if (exception.field, kind) in seen:
                detail = f"the exception of {exception.field} stands twice for {kind}"
                raise file.error(detail, "exceptions", number, hint="one exception a field and kind, so that its end is plain")
            seen.add((exception.field, kind))
    return DisclosureFiles(
        tiers=tiers.tiers,
        classes=tiers.classes,
        rate_classes=tiers.rate_classes,
        costs=tiers.costs,
        purposes=purposes,
        redlines=redlines,
    )


def _file(files: Mapping[str, bytes], path: str) -> PolicyFile:
    content = files.get(path)
    if content is None:
        raise PolicyError("the file is missing from the policy folder", file=path, hint="policies/README.md lists the files")
    return PolicyFile(path, content)


def read_rules(dataset: DatasetId, tables: tuple[dict[str, Any], ...], file: str, content: bytes) -> tuple[Rule, ...]:
    """The rules of one dataset, each with its line.

    Raises PolicyError policy-parse with file and line.
    """
    blocks = rule_blocks(content)
    rules = []
    for number, table in enumerate(tables):
        line, keys = blocks[number] if number < len(blocks) else (1, {})
        named = table.get("id")
        plain = isinstance(named, str) and named.isascii() and named.isprintable()
        place = _Place(file=file, line=line, keys=keys, rule=str(named) if plain else f"number {number + 1}")
        text = place.convert(table, RuleText)
        rules.append(
            Rule(
                id=text.id,
                dataset=dataset,
                file=file,
                line=line,
                tiers=text.for_.tiers,
                purposes=text.for_.purposes,
                kinds=text.for_.kinds,
                classes={name: treatment_of(spec) for name, spec in text.class_.items()},
                text=treatment_of(text.text),
                fields={name: place.convert(said, FieldRule, f"field.{name}") for name, said in text.field.items()},
                lines=keys,
                basis=text.basis,
                obligations=text.obligations,
                rows=text.rows,
            )
        )
    return tuple(rules)


_T = TypeVar("_T")


class _Place(Struct, frozen=True, kw_only=True):
    """Where a rule stands, so that whatever is wrong in it is told with its line."""

    file: str
    line: int
    keys: Mapping[str, int]
    rule: str

    def convert(self, value: object, into: type[_T], key: str = "") -> _T:
        """A value of the rule as a Struct.

        Raises PolicyError policy-parse with file and line.
        """
        try:
            return msgspec.convert(value, into, builtin_types=DAYS)
        except msgspec.ValidationError as error:
            said, _, path = str(error).partition(" - at `")
            steps = [*([key] if key else []), *_STEPS.findall(path)]
            unknown = _UNKNOWN.search(said)
            if unknown is not None:
                steps.append(unknown[1])
            where = ".".join(steps)
            while steps and ".".join(steps) not in self.keys:
                steps.pop()
            line = self.keys[".".join(steps)] if steps else self.line
            detail = f"rule {self.rule}: {said}{f' in `{where}`' if where else ''}"
            raise PolicyError(detail, file=self.file, line=line, rule=self.rule, hint="policies/README.md lists every key") from None


_STEPS: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]+)`")


def rule_blocks(content: bytes) -> list[tuple[int, dict[str, int]]]:
    """For each `[[rules]]` of a file its line and the lines of its keys, dotted tables such as `[rules.field.uscc]` included."""
    blocks: list[tuple[int, dict[str, int]]] = []
    prefix: str | None = None
    for number, line in _code_lines(content):
        head = _TABLE_HEAD.match(line)
        if head is not None:
            name = _dotted(head[1])
            if name == "rules" and line.lstrip().startswith("[["):
                blocks.append((number, {}))
                prefix = ""
            elif blocks and name.startswith("rules."):
                prefix = name.removeprefix("rules.")
                _note(blocks[-1][1], prefix, number)
                prefix += "."
            else:
                prefix = None
            continue
        key = _KEY.match(line)
        if key is not None and blocks and prefix is not None:
            _note(blocks[-1][1], prefix + _dotted(key[1]), number)
    return blocks


def _note(keys: dict[str, int], path: str, number: int) -> None:
    parts = path.split(".")
    for depth in range(1, len(parts) + 1):
        keys.setdefault(".".join(parts[:depth]), number)


def _dotted(text: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in text.split("."))


def _code_lines(content: bytes) -> Iterator[tuple[int, str]]:
    """Numbered lines outside multi-line strings."""
    inside: str | None = None
    for number, line in enumerate(content.decode("utf-8", errors="replace").split("\n"), start=1):
        if inside is None:
            yield number, line
        for quote in ('"""', "'''"):
            if (inside is None or inside == quote) and line.count(quote) % 2:
                inside = quote if inside is None else None
                break


def line_naming(content: bytes, words: str) -> int | None:
    """The first line that mentions these words; how errors find a red line or an exception."""
    return next((number for number, line in _code_lines(content) if words in line), None)
