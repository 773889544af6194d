"""Policies compiled: from the files of `policies/` to one frozen plan per (dataset, tier, purpose, kind of subject).

Rules:
1. Exactly one rule decides a cell; two are an error naming both (S3), none means that the whole kind is dropped.
2. A cell is the meet of what the rule says and of every red line that reaches it; what no rule names is dropped.
3. An unclassified field (`U`) is dropped whatever a rule says (S2).
4. Capabilities are rights of their own: a field's `query` where it is shown clear, plus `allow`, less `deny`. Fields about
   persons are never filtered, sorted, counted or searched by anybody: only looked up whole.
5. A plan ends with the first of its legal grounds (`valid_until`); nothing is shown under it from then on.
6. A plan is named by its hash: SHA-256 over the canonical JSON of everything that decides what it shows.

Everything is computed here, once; a request looks a plan up and evaluates nothing. This room must not see a record.
"""

import hashlib
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from msgspec import Struct, structs

from gateway.core.disclosure import checks, naming
from gateway.core.disclosure.cases import check_cases, read_cases
from gateway.core.disclosure.compiling import Compiler
from gateway.core.disclosure.plans import Plan, Policies, digest
from gateway.core.disclosure.residual import DEFAULT_K, Residual, residuals
from gateway.core.disclosure.rules import (
    read_disclosure_files,
    read_rules,
)
from gateway.core.errors import PolicyError
from gateway.core.records.catalogue import read_catalogue
from gateway.core.records.model import DatasetId, SubjectKind
from gateway.core.records.policy_file import PolicyFile

MAX_RULES: Final = 10_000


class Checked(Struct, frozen=True, kw_only=True):
    """What `check_policies` found; `policies` is None when there is an error."""

    policies: Policies | None
    errors: tuple[PolicyError, ...]
    warnings: tuple[PolicyError, ...]
    residual: tuple[Residual, ...] = ()
    """Of every partially shown identifier how many candidates are left (S6)."""


def files_digest(files: Mapping[str, bytes]) -> str:
    """The name of a policy folder's content: SHA-256 over the canonical JSON of path → SHA-256."""
    return digest({path: hashlib.sha256(content).hexdigest() for path, content in files.items()})


def compile_policies(
    files: Mapping[str, bytes], *, version: int, today: date, in_force: bool = False, residual_k: int = DEFAULT_K
) -> Policies:
    """The plans of a policy folder as the law stands on that day.

    With `in_force` the folder is a version that was checked when it was activated: a ground that has ended since closes its plans
    (`valid_until`) instead of refusing the whole version.

    Raises PolicyError for the first fault: policy-parse, policy-S1 …; `check_policies` lists them all.
    """
    asked = _Asked(files, version=version, today=today, in_force=in_force, residual_k=residual_k)
    return structs.replace(_compiled(asked), memo={}, failures={})


class _Asked:
    """A folder to compile; two are the same when they have the same plans, whoever asks and on whatever day of a version in force."""

    def __init__(self, files: Mapping[str, bytes], *, version: int, today: date, in_force: bool, residual_k: int) -> None:
        self.files, self.version, self.today, self.in_force, self.residual_k = files, version, today, in_force, residual_k
        self._key = (files_digest(files), version, None if in_force else today, residual_k)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=4)
def _compiled(asked: _Asked) -> Policies:
    """The plans, or those of lately: proposing, approving and activating ask for the same two folders again and again, from threads too.

    What a plan table remembers and counts belongs to who asked, so each is given its own.
    """
    found = check_policies(
        asked.files, version=asked.version, today=asked.today, in_force=asked.in_force, residual_k=asked.residual_k
    )
    if found.policies is None:
        raise found.errors[0]
    return found.policies


def check_policies(
    files: Mapping[str, bytes], *, version: int, today: date, in_force: bool = False, residual_k: int = DEFAULT_K
) -> Checked:
    """Every fault of a folder by the static checks, or its compiled policies; fewer than `residual_k` candidates are a fault (S6).

    Raises PolicyError policy-parse where the text cannot even be read.
    """
    catalogue = read_catalogue(files)
    texts = read_disclosure_files(files)
    paths = {name: f"datasets/{name}.toml" for name in catalogue.datasets}
    total = sum(map(len, catalogue.rules.values()))
    if total > MAX_RULES:
        most = max(catalogue.datasets, key=lambda name: len(catalogue.rules[name]))
        hint = "join rules whose blocks of the matrix have the same treatments"
        raise PolicyError(f"{total} rules; at most {MAX_RULES}", file=paths[most], line=1, hint=hint)
    rules = {name: read_rules(name, tuple(catalogue.rules.get(name, ())), paths[name], files[paths[name]]) for name in catalogue.datasets}
    day = None if in_force else today
    errors = [*naming.names(catalogue, texts, rules, files, day)]
    cells, overlaps = naming.one_rule(rules)
    errors += overlaps
    if errors:
        return Checked(policies=None, errors=tuple(errors), warnings=())
    compiler = Compiler(texts, catalogue, _law_digest(files))
    plans: dict[tuple[DatasetId, str, str], dict[SubjectKind, Plan]] = {}
    for (name, tier, purpose, kind), rule in cells.items():
        plan = compiler.plan(catalogue.datasets[name], tier, purpose, kind, rule)
        plans.setdefault((name, tier, purpose), {})[kind] = plan
    by_dataset = {name: [plan for (of, _, _), kinds in plans.items() if of == name for plan in kinds.values()] for name in rules}
    for name, of_dataset in by_dataset.items():
        by_id = {rule.id: rule for rule in rules[name]}
        errors += checks.plans(catalogue.datasets[name], of_dataset, by_id, texts)
        errors += () if in_force else checks.owed(of_dataset, by_id)
    figures, few, doubtful = residuals(catalogue.datasets, [plan for kinds in plans.values() for plan in kinds.values()], residual_k)
    errors += () if in_force else few
    warnings = (*naming.grounded(catalogue, files, paths, today), *naming.uncovered(catalogue, rules, texts, cells, paths), *doubtful)
    residual = tuple(figures)
    if errors:
        return Checked(policies=None, errors=tuple(errors), warnings=warnings, residual=residual)
    policies = Policies(
        version=version,
        digest=files_digest(files),
        catalogue=catalogue,
        plan_sets=MappingProxyType(
            {
                (name, tier, purpose): compiler.plan_set(catalogue.datasets[name], tier, purpose, kinds)
                for (name, tier, purpose), kinds in sorted(plans.items())
            }
        ),
        purposes=MappingProxyType(dict(texts.purposes)),
        tiers=MappingProxyType(dict(texts.tiers)),
        classes=MappingProxyType(dict(texts.classes)),
        redlines=texts.redlines,
        rate_classes=MappingProxyType(dict(texts.rate_classes)),
        costs=texts.costs,
        warnings=warnings,
    )
    errors += check_cases(policies, () if in_force else read_cases(files))
    if errors:
        return Checked(policies=None, errors=tuple(errors), warnings=warnings, residual=residual)
    return Checked(policies=policies, errors=(), warnings=warnings, residual=residual)


def _law_digest(files: Mapping[str, bytes]) -> str:
    """What the gates are computed from beside the plan: periods, catalogue, lists and red lines, without their comments and layout."""
    paths = ["periods.toml", "catalogue.toml", "redlines.toml", *(path for path in sorted(files) if path.startswith("lists/"))]
    texts = {path: dict(PolicyFile(path, files[path]).values) for path in paths}
    texts["catalogue.toml"].pop("licences", None)  # they decide nothing of what is shown; a plan has the id of its own
    return digest(texts)
