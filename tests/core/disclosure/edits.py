"""Single edits of a policy folder, and what becomes of a change in truth: what each caller is shown before and after, and what he owes.

The folder is the shipped one less all datasets but one, so that a version is compiled in a moment. An edit is made in the parsed text:
a member taken out, another value, an entry more or less. The judge knows nothing of how an effect is reckoned: it looks at views.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, Final

from msgspec import Struct, structs

from gateway.core.disclosure.obligations import AUDITS, CACHES
from gateway.core.disclosure.plans import Plan, Policies
from gateway.core.disclosure.policy import check_policies
from gateway.core.disclosure.row_language import Attributes
from gateway.core.disclosure.synthetic import CITY, SAMPLE_KEY, noon, synthetic_record
from gateway.core.disclosure.twin import twins
from gateway.core.disclosure.views import View, view
from gateway.core.records.columns import CLOCKS
from gateway.core.records.model import SUBJECT_KINDS, DatasetId, Record, SubjectKind, Unpublished
from tests.core.disclosure.making import TODAY, shipped_files

DATASETS: Final = tuple(sorted(path[9:-5] for path in shipped_files() if path.startswith("datasets/")))
DAYS: Final = (TODAY, date(2026, 8, 1), date(2028, 2, 29), date(2031, 1, 1))
"""When it is looked at: today, soon, on a leap day, when most has ended."""
Tree = dict[str, Any]
Folder = dict[str, Tree]


class Edit(Struct, frozen=True, kw_only=True):
    """One change of one file: where, and what becomes of what stands there."""

    file: str
    path: tuple[str | int, ...]
    what: str
    make: Callable[[Any], Any]

    def __repr__(self) -> str:
        return f"{self.file}:{'.'.join(map(str, self.path))} {self.what}"


@cache
def folder(dataset: str) -> Folder:
    """The shipped files, parsed, less the other datasets with their lists, red lines' exceptions and cases."""
    kept: Folder = {}
    for path, content in shipped_files().items():
        tree = tomllib.loads(content.decode())
        of = tree.get("dataset") if path.startswith("lists/") else path[9:-5] if path.startswith("datasets/") else dataset
        if of == dataset:
            kept[path] = tree
    kept["catalogue.toml"]["licences"] = {"open-data": {"title": "开放数据", "url": "https://credit.example/licence", "strictness": 1}}
    ways = kept["redlines.toml"]["exceptions"]
    kept["redlines.toml"]["exceptions"] = [way for way in ways if way["field"].startswith(f"{dataset}.")]
    return kept


def written(held: Folder) -> dict[str, bytes]:
    """The files of a folder as text."""
    return {path: "".join(f"{_key(key)} = {_toml(value)}\n" for key, value in tree.items()).encode() for path, tree in held.items()}


def _key(key: str) -> str:
    return f'"{key}"'


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_toml(held)}" for key, held in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return value.isoformat() if isinstance(value, date) else str(value)


def compiled(held: Folder) -> Policies | None:
    """The folder compiled; None where it is refused."""
    try:
        return check_policies(written(held), version=1, today=TODAY).policies
    except Exception as error:  # a text that cannot be read is refused as well
        if type(error).__name__ != "PolicyError":
            raise
        return None


@cache
def base(dataset: str) -> Policies:
    """The folder as shipped."""
    made = compiled(folder(dataset))
    assert made is not None
    return made


def edited(dataset: str, edit: Edit) -> Folder:
    """The folder with one edit."""
    held = deepcopy(folder(dataset))
    if not edit.path:
        del held[edit.file]
        return held
    *way, last = edit.path
    at: Any = held[edit.file]
    for step in way:
        at = at[step]
    if edit.what == "removed":
        del at[last]
    else:
        at[last] = edit.make(deepcopy(at[last]))
    return held


# --- every edit -------------------------------------------------------------------------------------------------------


@cache
def edits(dataset: str) -> tuple[Edit, ...]:
    """Every single edit of the folder that is tried: each thing taken out, each value made another, each list one more."""
    found: list[Edit] = []
    for file, tree in folder(dataset).items():
        if file.startswith("lists/"):
            found.append(Edit(file=file, path=(), what="removed", make=lambda held: held))
        for path, value in _places(tree, ()):
            found.append(Edit(file=file, path=path, what="removed", make=lambda held: held))
            found += [Edit(file=file, path=path, what=what, make=make) for what, make in _others(file, path, value)]
    return tuple(found)


def _places(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if path:
        yield path, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in pairs:
        yield from _places(held, (*path, key))


_WORDS: Final = (
    ("drop", "exists", "surname", "clear"),
    ("O", "B1", "B2", "P1", "P2", "P3", "U"),
    AUDITS,
    CACHES,
    ("none", "required"),
    ("none", "key", "bound", "session"),
    ("none", "conditional", "unconditional"),
    ("closed", "conditional", "unconditional"),
    ("strict", "third_parties"),
    ("publication", "sharing"),
    ("first_publication", "decision", "listing", "conduct_end", "valid_until"),
    ("audit.personal", "audit.count", "disclosure.personal"),
    ("minor", "general", "serious"),
    ("penalty", "blacklist", "redlist", "registration", "licence"),
)
_MORE: Final[Mapping[str, tuple[Any, ...]]] = {
    "tiers": ("public", "department", "partner", "supervisor", "pboc", "subject"),
    "kinds": SUBJECT_KINDS,
    "subject_kinds": SUBJECT_KINDS,
    "query": ("filter", "sort", "facet", "search", "lookup", "export", "delta"),
    "allow": ("filter", "sort", "facet", "search", "lookup", "export", "delta"),
    "deny": ("filter", "lookup", "export"),
    "early_stop": ("repair_approved", "revoked", "obligation_fulfilled"),
    "except": ("subject", "department", "public"),
    "requires": ("name", "authority_code", "decision_date", "theme"),
    "synonyms": ("别的列",),
    "null_words": ("示例",),
    "derived_from": ("id_no",),
    "business_key": ("name",),
    "acts": ("penalty", "abnormal"),
    "categories": ("licence",),
    "severity": ("minor", "general", "serious"),
    "flags": ("verify",),
    "purposes": ("open.read", "dept.supervision"),
}


def _others(file: str, path: tuple[str | int, ...], value: Any) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """What else could stand at a place, each with a word for it."""
    name = next((step for step in reversed(path) if isinstance(step, str)), "")
    if isinstance(value, bool):
        yield "turned", lambda held: not held
    elif isinstance(value, int | float):
        for factor in (2, 0.5, 1000):
            yield f"times {factor}", lambda held, factor=factor: max(1, int(held * factor))
    elif isinstance(value, date):
        for days in (-400, 400):
            yield f"{days:+} days", lambda held, days=days: held + timedelta(days=days)
    elif isinstance(value, str):
        for words in _WORDS:
            if value in words:
                yield from ((f"→ {word}", lambda _held, word=word: word) for word in words if word != value)
        if value.startswith("P") and value[1:2].isdigit():
            yield from ((f"→ {word}", lambda _held, word=word: word) for word in ("P1D", "P2M", "P4Y", "P20Y"))
        if value.endswith("/day"):
            yield from ((f"→ {word}", lambda _held, word=word: word) for word in ("1/day", "900000000/day"))
        yield "other words", lambda held: f"{held}甲"
    elif isinstance(value, list):
        yield "emptied", lambda _held: []
        for more in _MORE.get(str(name), ()):
            if more not in value:
                yield f"and {more}", lambda held, more=more: [*held, more]
        if value and isinstance(value[0], dict) and "law" in value[0]:
            yield "and another law", lambda held: [*held, {"law": "别的法", "from": date(2020, 1, 1), "until": date(2027, 1, 1)}]
        if value and isinstance(value[0], dict) and "law" not in value[0]:
            yield "one more", lambda held: [*held, _another(held[-1])]
    elif isinstance(value, dict):
        if {"tiers", "purposes", "kinds"} & value.keys() and name == "for":
            return
        if value and all(isinstance(each, dict) for each in value.values()) and name != "field":
            yield "one more", lambda held: {**held, "another": {**deepcopy(list(held.values())[-1]), **_RENAMED}}
        for more, held_value in _MEMBERS.items():
            if more not in value and _belongs(file, path, more):
                yield f"{more} given", lambda held, more=more, held_value=held_value: {**held, more: deepcopy(held_value)}


_RENAMED: Final[Tree] = {"label": "另一个", "synonyms": [], "wire": "ANOTHER"}
_MEMBERS: Final[Tree] = {
    "until": date(2026, 9, 1),
    "article": "九",
    "uri": "https://credit.example/law",
    "allow": ["lookup"],
    "deny": ["filter"],
    "budget": "100/day",
    "min_k": 10,
    "max_rows": 50,
    "max_rows_day": 50,
    "license": "cc",
    "severity": "severity",
    "requires": ["authority_code"],
    "tells": "nothing",
    "link_key": "org",
    "derived_from": ["name"],
    "required": True,
    "bands": ["1", "2"],
    "detail": "remark",
    "unit": "万元",
    "label_en": "Another",
    "rows": {"in": ["theme", "$grant.themes"]},
    "retention": {"max": "P1Y", "start": "sharing_end"},
    "min": "P1M",
    "note": "另",
}


def _belongs(file: str, path: tuple[str | int, ...], member: str) -> bool:
    """Whether a member could stand in a table at all; most guesses would only be refused."""
    last = path[-1]
    of = {
        "fields": {"tells", "link_key", "derived_from", "required", "bands", "detail", "unit", "label_en"},
        "rules": {"rows"},
        "field": {"allow", "deny", "budget"},
        "obligations": {"min_k", "max_rows", "max_rows_day", "license"},
        "publish": {"severity", "requires"},
        "basis": {"until", "article", "uri"},
        "legal_basis": {"until", "article", "uri"},
        "bases": {"until", "article", "uri"},
        "editions": {"until"},
        "valid": {"until"},
        "periods": {"retention", "note"},
        "publication": {"min"},
    }
    return member in of.get(str(last), ()) or (len(path) > 1 and member in of.get(str(path[-2]), ()))


def _another(entry: Tree) -> Tree:
    made = deepcopy(entry)
    for key in ("id", "item"):
        if key in made:
            made[key] = f"{made[key]}-another"
    if "for" in made and "tiers" in made["for"]:
        made["for"]["purposes"] = ["mutual.query"]
    return made


# --- what becomes of it -----------------------------------------------------------------------------------------------


def shows_more(old: Policies, new: Policies) -> str | None:
    """What somebody sees, may do or need not do under the second version that was otherwise under the first; None: nothing."""
    for dataset in new.catalogue.datasets:
        if dataset not in old.catalogue.datasets:
            continue
        for records in _records(old, new, dataset):
            for key, plan, after in _plans(old, new, dataset):
                for day, one, other in records:
                    if one.kind != after.kind:
                        continue
                    found = _more(
                        *(_seen(record, held, version, noon(day)) for record, held, version in ((one, plan, old), (other, after, new)))
                    )
                    if found is not None:
                        return f"{key} on {day}: {found}"
    return _owes_less(old, new)


def _plans(old: Policies, new: Policies, dataset: str) -> Iterator[tuple[tuple[str, ...], Plan | None, Plan]]:
    for (of, tier, purpose), held in new.plan_sets.items():
        if of == dataset:
            before = old.plan_sets.get((of, tier, purpose))
            for kind, plan in held.plans.items():
                yield (of, tier, purpose, kind), before.plans.get(kind) if before is not None else None, plan


def _records(old: Policies, new: Policies, dataset: str) -> Iterator[list[tuple[date, Record, Record]]]:
    """Records as they stand, read by both versions, and as each version would take them in."""
    same = old.catalogue.datasets[DatasetId(dataset)] == new.catalogue.datasets[DatasetId(dataset)]
    for kind in SUBJECT_KINDS:
        stored, taken = [], []
        for day in DAYS:
            for one in _twins(old, dataset, kind, day):
                stored.append((day, one, one))
                if not same:
                    taken.append((day, one, _taken(new, dataset, kind, one, day)))
        yield stored + taken


def _twins(policies: Policies, dataset: str, kind: SubjectKind, day: date) -> tuple[Record, ...]:
    key = ("records of edits", dataset, kind, day)
    if key not in policies.memo:
        policies.memo[key] = tuple(_made(policies, dataset, kind, day))
    found: tuple[Record, ...] = policies.memo[key]
    return found


def _made(policies: Policies, dataset: str, kind: SubjectKind, day: date) -> Iterator[Record]:
    described = policies.catalogue.datasets[DatasetId(dataset)]
    for twin in twins(policies, dataset, kind, day, "publication"):
        record = twin.record
        yield record
        if twin.case != "ordinary":
            continue
        yield structs.replace(record, trust="vouched")
        yield structs.replace(record, issuer="another-city")
        yield structs.replace(record, dispute_since=noon(day))
        yield structs.replace(record, state="expired")
        yield structs.replace(record, severity="serious")
        yield structs.replace(record, minor=True)
        ended = {name: (day - timedelta(days=3)).isoformat() for name in CLOCKS if name in described.fields}
        for name, moment in ended.items():  # every clock that a sender may give, three days ago
            values = {**record.raw.open(), name: moment}
            yield synthetic_record(described, kind, values, at=day, name=f"{dataset}/{kind}/{name}")


def _taken(new: Policies, dataset: str, kind: SubjectKind, record: Record, day: date) -> Record:
    """The same row as the new version takes it in: what it has no field for is not there, its clocks and texts are its own."""
    described = new.catalogue.datasets[DatasetId(dataset)]
    values = {name: value for name, value in record.raw.open().items() if name in described.fields}
    made = synthetic_record(described, kind, values, at=day, name=record.record_id)
    kept = ("record_id", "subject_id", "trust", "issuer", "dispute_since", "state", "minor", "severity")
    if record.severity == "serious" and made.severity != "serious":
        kept = (*kept, "severity")
    return structs.replace(made, **{name: getattr(record, name) for name in kept}, raw=Unpublished(values))


_CALLERS: Final = (
    Attributes(grant_regions=(CITY,), grant_themes=("food", "market", "other")),
    Attributes(org_id="11220500XXT0001181", grant_regions=("110000",)),
)


def _seen(record: Record, plan: Plan | None, policies: Policies, now: datetime) -> list[View | None]:
    """What two callers see of a record, each the subject of it where the plan is the subject's."""
    if plan is None:
        return [None for _ in _CALLERS]
    return [
        view(record, plan, policies, now, structs.replace(caller, subject_key=record.subject_id), keyed=SAMPLE_KEY) for caller in _CALLERS
    ]


_BESIDE: Final = ("source_name", "source_code", "severity", "decision_date")


def _more(before: list[View | None], after: list[View | None]) -> str | None:
    for one, other in zip(before, after, strict=True):
        if other is None:
            continue
        if one is None:
            return "a record that was closed"
        for name in _BESIDE:
            if getattr(other, name) not in (None, getattr(one, name)):
                return f"{name} beside the fields"
        for name, value in other.fields.items():
            was = one.fields.get(name)
            if value is None or value == was or (name == "summary" and _words(value) <= _words(was)):
                continue
            if name not in one.fields or not _coarser(was, value):
                return f"{name}: {was!r} → {value!r}"
    return None


def _words(summary: object) -> set[str]:
    """What a summary says after the title of its dataset."""
    return set(str(summary or "").split("；")[1:])


def _coarser(was: object, value: object) -> bool:
    """Whether a value can be told from the one shown before."""
    if isinstance(value, bool):
        return True
    if was is None or isinstance(was, bool):
        return False
    one, other = str(was), str(value)
    if other.endswith("****个体工商户"):  # the county stands beside the fields
        return True
    if "〔" in other or "〔" in one:  # texts: no fewer placeholders
        return other.count("〔") >= one.count("〔")
    shown = other.rstrip("X").split("*")[0].removesuffix("某某")
    return len(other) <= len(one) + 10 and (one.startswith(shown) or "****" in other or "某某" in other)


def _owes_less(old: Policies, new: Policies) -> str | None:
    """A right more, a bound less, a word about a case that is not asked for any more."""
    for (dataset, tier, purpose), held in new.plan_sets.items():
        before = old.plan_sets.get((dataset, tier, purpose))
        for kind, plan in held.plans.items():
            was = before.plans.get(kind) if before is not None else None
            if was is None:
                return f"a plan more: {dataset}/{tier}/{purpose}/{kind}"
            found = _weaker(was, plan)
            if found is not None:
                return f"{found} of {dataset}/{tier}/{purpose}/{kind}"
    for name, info in new.purposes.items():
        known = old.purposes.get(name)
        if known is None or set(info.tiers) - set(known.tiers):
            return f"purpose {name} for more"
        order = ("none", "key", "bound", "session")
        if (info.case_ref, order.index(info.assurance)) < (known.case_ref, order.index(known.assurance)) or info.case_ref < known.case_ref:
            return f"purpose {name} asks for less"
    for name, kept in old.catalogue.retention.items():
        if new.catalogue.retention.get(name) != kept and name != "audit.count":
            return f"{name} is kept otherwise"
    for name, listing in new.catalogue.lists.items():
        known_list = old.catalogue.lists.get(name)
        if known_list is None or any(listing.takes(kind) and not known_list.takes(kind) for kind in SUBJECT_KINDS):
            return f"list {name} takes more"
    return None


def _weaker(was: Plan, now: Plan) -> str | None:
    for name, rights in now.capabilities.items():
        if rights - was.capabilities.get(name, frozenset()):
            return f"rights on {name}"
    one, other = was.obligations, now.obligations
    orders = (("audit", AUDITS), ("cache", CACHES), ("case_ref", ("none", "required")))
    for member, order in orders:
        if order.index(getattr(other, member)) < order.index(getattr(one, member)):
            return member
    for member in ("max_rows", "max_rows_day"):
        before, after = getattr(one, member), getattr(other, member)
        if before is not None and (after is None or after > before):
            return member
    if one.min_k is not None and (other.min_k is None or other.min_k < one.min_k):
        return "min_k"
    for name, budget in now.budgets.items():
        if was.can(name, "lookup") and budget > was.budgets.get(name, 0):
            return f"budget of {name}"
    if any(now.can(name, "lookup") and name not in now.budgets for name in was.budgets):
        return "budget"
    if was.valid_until is not None and (now.valid_until is None or now.valid_until > was.valid_until):
        return "end"
    return None
