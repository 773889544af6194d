"""Change which policies are in force: read a folder, check it, activate it for the first time, tell what is active.

Rules: the files are only a proposal, what is in force stands in the store; a first activation happens once, in an empty
store, by whoever holds the data directory, and is audited; nothing is activated that does not compile today. This story must
not decide what a rule means: that is `core/disclosure`.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct

from gateway.core.disclosure.effect import effect
from gateway.core.disclosure.policy import check_policies, compile_policies, files_digest
from gateway.core.disclosure.residual import DEFAULT_K
from gateway.core.errors import PolicyError
from gateway.core.records.periods import legal_day
from gateway.operations.agreement_fit import agreement_faults
from gateway.services import Services
from gateway.store import alarms, audit, proposals
from gateway.store import policies as policy_rows

PIECES = re.compile(r"[A-Za-z0-9_.-]{1,100}(?:/[A-Za-z0-9_.-]{1,100}){0,3}")
FILE_LIMIT = 2 * 2**20
FOLDER_LIMIT = 16 * 2**20
KNOWN = "only *.toml and README.md stand here"
LARGEST = "at most 2 MiB a file and 16 MiB in all"

AGREEMENTS = "agreements"
OUTSIDE = frozenset({AGREEMENTS})
"""Beside the version: agreements are signed on their own (exchange.md §3). The tests belong to it (policy.md §3)."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that `policy check` found (policy.md §9)."""

    code: str
    file: str | None
    line: int | None
    rule: str | None
    field: str | None
    message: str
    hint: str | None


class Candidates(Struct, frozen=True, kw_only=True):
    """How many candidates a tier is left with of an identifier that it sees in part."""

    field: str
    tier: str
    candidates: int


class CheckReport(Struct, frozen=True, kw_only=True):
    """Answer of `policy check`, member for member as policy.md §9 prints it."""

    ok: bool
    digest: str | None
    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    residual: tuple[Candidates, ...] = ()
    """Of every partially shown identifier the fewest candidates that any purpose or kind of subject leaves a tier."""


class OpenProposal(Struct, frozen=True, kw_only=True):
    """A proposal that somebody still has to do something about."""

    proposal: int
    version: int
    kind: str
    author: str
    state: str
    activate_at: datetime | None
    unconfirmed_since: datetime | None


class StandingAlarm(Struct, frozen=True, kw_only=True):
    """An alarm that stands, of whatever room."""

    kind: str
    target: str
    raised_at: datetime
    detail: Mapping[str, object]


class PolicyStatus(Struct, frozen=True, kw_only=True):
    """What is in force, and whether the folder says something else."""

    version: int
    digest: str | None
    folder: str
    folder_digest: str | None
    datasets: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    plans: int = 0
    proposals: tuple[OpenProposal, ...] = ()
    """What waits: for approvals, for an instant, or for a confirmation."""
    alarms: tuple[StandingAlarm, ...] = ()


class Activated(Struct, frozen=True, kw_only=True):
    """One activation, as the audit keeps it."""

    version: int
    digest: str
    files: int
    first: bool
    """False: one was in force already."""


def read_folder(folder: Path) -> dict[str, bytes]:
    """The policy files by their path in the folder; agreements and pages to read are not among them.

    Raises PolicyError for a folder that is absent, files that are too large, links and whatever is no TOML file.
    """
    if not folder.is_dir():
        raise PolicyError("there is no such folder", file=str(folder), hint="give the folder that holds tiers.toml, or run `chengxin init`")
    files: dict[str, bytes] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.split("/")[0] in OUTSIDE or path.suffix == ".md":
            continue
        if path.is_symlink() or not path.is_file():
            raise PolicyError("a policy file must be a plain file, no link", file=name, hint="put the file itself here")
        if path.suffix != ".toml":
            raise PolicyError("an unknown file in the policy folder", file=name, hint=KNOWN)
        size = path.stat().st_size
        total += size
        if size > FILE_LIMIT or total > FOLDER_LIMIT:
            raise PolicyError("the policy files are too large", file=name, hint=LARGEST)
        files[name] = path.read_bytes()
    if not files:
        raise PolicyError("the folder holds no policy file", file=str(folder), hint="give the folder that holds tiers.toml")
    return files


def agreements_in(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The agreement files of a folder that was sent, and that `read_files` found in order."""
    return {name: content for name, content in files.items() if name.split("/")[0] == AGREEMENTS and len(content) <= FILE_LIMIT}


def read_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The policy files of a folder that was sent, by the same rules as those of a folder here.

    Raises PolicyError.
    """
    kept: dict[str, bytes] = {}
    total = 0
    for name, content in sorted(files.items()):
        pieces = name.split("/")
        if PIECES.fullmatch(name) is None or ".." in pieces:  # any text may stand here, so it is not repeated
            raise PolicyError("a policy file is named by its path in the folder: words, dots and dashes", hint="datasets/x.toml")
        if pieces[0] in OUTSIDE or name.endswith(".md"):
            continue
        if not name.endswith(".toml"):
            raise PolicyError("an unknown file in the policy folder", file=name, hint=KNOWN)
        total += len(content)
        if len(content) > FILE_LIMIT or total > FOLDER_LIMIT:
            raise PolicyError("the policy files are too large", file=name, hint=LARGEST)
        kept[name] = content
    if not kept:
        raise PolicyError("no policy file was sent", hint="send the folder that holds tiers.toml")
    return kept


def read_agreements(folder: Path) -> dict[str, bytes]:
    """The agreement files that stand in a policy folder, beside the policies.

    Raises PolicyError for links and files that are too large.
    """
    files: dict[str, bytes] = {}
    for path in sorted((folder / AGREEMENTS).glob("*.toml")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file() or path.stat().st_size > FILE_LIMIT:
            raise PolicyError("an agreement is a plain file of at most 2 MiB, no link", file=name, hint="put the file itself here")
        files[name] = path.read_bytes()
    return files


def check_folder(folder: Path, at: datetime, *, residual_k: int = DEFAULT_K, ours: str | None = None) -> CheckReport:
    """What the static checks say of a folder on that day, and of the agreements in it; needs no store.

    `ours`: our name as a party of them, where it is known.
    """
    try:
        return check_files(read_folder(folder), at, residual_k=residual_k, agreements=read_agreements(folder), ours=ours)
    except PolicyError as error:
        return CheckReport(ok=False, digest=None, errors=(_finding(error),))


def check_files(
    files: Mapping[str, bytes],
    at: datetime,
    *,
    residual_k: int = DEFAULT_K,
    agreements: Mapping[str, bytes] = MappingProxyType({}),
    ours: str | None = None,
) -> CheckReport:
    """What the static checks say of these files on that day; of agreements, what is wrong with them and what the policies do not cover."""
    try:
        found = check_policies(files, version=0, today=legal_day(at), residual_k=residual_k)
    except PolicyError as error:
        return CheckReport(ok=False, digest=None, errors=(_finding(error),))
    wrong, uncovered = ([], []) if found.policies is None else agreement_faults(agreements, found.policies, ours)
    # what one line does wrong in several cells is said once, unless the cells are named
    errors, warnings = (tuple(dict.fromkeys(map(_finding, part))) for part in ((*found.errors, *wrong), (*found.warnings, *uncovered)))
    fewest: dict[tuple[str, str], int] = {}
    for each in found.residual:
        fewest[each.field, each.tier] = min(each.candidates, fewest.get((each.field, each.tier), each.candidates))
    residual = tuple(Candidates(field=field, tier=tier, candidates=number) for (field, tier), number in fewest.items())
    return CheckReport(ok=not errors, digest=files_digest(files), errors=errors, warnings=warnings, residual=residual)


async def in_force(services: Services) -> Activated | None:
    """The version in force, whatever a folder says meanwhile; None before the first activation."""
    active = await policy_rows.active(services.store.reads)
    if active is None:
        return None
    version, files = active
    return Activated(version=version, digest=files_digest(files), files=len(files), first=False)


async def activate_initial(services: Services, folder: Path, *, by: str) -> Activated:
    """Put a folder into force in a store that has no policy yet; the same folder again changes nothing.

    Raises PolicyError when the folder does not compile today, or another policy is in force already.
    """
    files = read_folder(folder)
    digest = files_digest(files)
    compiled = compile_policies(files, version=1, today=legal_day(services.clock()), residual_k=services.settings.residual_k)
    async with services.store.transaction() as tx:
        active = await policy_rows.active(tx)
        if active is not None:
            version, in_force = active
            if files_digest(in_force) != digest:
                raise PolicyError(
                    "a policy is in force already; only an empty store takes a first one",
                    code="approval-conflict",
                    hint="`chengxin policy status` shows it; a change needs a proposal and an approval",
                )
            return Activated(version=version, digest=digest, files=len(files), first=False)
        version = await policy_rows.propose(tx, files, digest, by)
        proposal = await proposals.add(
            tx, version=version, parent=None, author=by, kind="initial", effect=effect(None, compiled).digest, detail={}, evidence=None
        )
        await policy_rows.activate(tx, version, by, "initial", proposal=proposal)
        await proposals.tell(tx, proposal, "activated", by, {"reason": "initial"}, state="active", unconfirmed_since=tx.now)
        await audit.write(
            tx,
            by,
            "policy.activate",
            f"policy/{version}",
            {"digest": digest, "files": len(files), "reason": "initial", "confirmation": "queued"},
        )
    await services.policies.refresh()
    return Activated(version=version, digest=digest, files=len(files), first=True)


async def status(services: Services) -> PolicyStatus:
    """What is in force, and whether the folder of the settings differs from it."""
    folder = Path(services.settings.policies)
    try:
        folder_digest: str | None = files_digest(read_folder(folder))
    except PolicyError:
        folder_digest = None
    active = await policy_rows.active(services.store.reads)
    if active is None:
        return PolicyStatus(version=0, digest=None, folder=str(folder), folder_digest=folder_digest)
    policies = await services.policies.fresh()
    reads = services.store.reads
    waiting = {one.id: one for one in (*await proposals.open_ones(reads), *await proposals.pending(reads))}
    return PolicyStatus(
        version=policies.version,
        digest=policies.digest,
        folder=str(folder),
        folder_digest=folder_digest,
        datasets=tuple(policies.catalogue.datasets),
        lists=tuple(policies.catalogue.lists),
        plans=len(policies.plan_sets),
        proposals=tuple(
            OpenProposal(
                proposal=one.id,
                version=one.version,
                kind=one.kind,
                author=one.author,
                state=one.state,
                activate_at=one.activate_at,
                unconfirmed_since=one.unconfirmed_since,
            )
            for _, one in sorted(waiting.items())
        ),
        alarms=tuple(
            StandingAlarm(kind=one.kind, target=one.target, raised_at=one.raised_at, detail=one.detail)
            for one in await alarms.standing(reads)
        ),
    )


def _finding(error: PolicyError) -> Finding:
    return Finding(
        code=error.code, file=error.file, line=error.line, rule=error.rule, field=error.field, message=error.detail, hint=error.hint
    )
