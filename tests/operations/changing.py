"""A gateway whose policy can be changed by tests: a small folder, versions that bend it, administrators, and a clock that moves."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.callers.administrators import Administrator
from gateway.core.signing import Ed25519Signer
from gateway.operations import activate_policy, approve_policy, propose_policy
from gateway.services import Services, open_services
from tests.administrators import Admin, enrolled
from tests.core.disclosure.small import NOTICES, REDLINES, small_files
from tests.house import make, settings_of, write_settings

NOW = datetime(2026, 6, 1, tzinfo=UTC)

Files = Mapping[str, bytes]


class MovingClock:
    """A clock that a test moves."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Now."""
        return self.now

    def move(self, **words: float) -> None:
        """Let time pass."""
        self.now += timedelta(**words)


def bent(old: str, new: str, path: str = NOTICES, files: Files | None = None) -> dict[str, bytes]:
    """The small folder with a text of one file replaced; the text must be there."""
    held = dict(small_files() if files is None else files)
    text, count = re.subn(old, new, held[path].decode(), count=1)
    assert count == 1, old
    return held | {path: text.encode()}


BASE = small_files()
CASES = "tests/notices.toml"
NARROW = bent(
    r'id = "notices-open-legal"\n',
    'id = "notices-open-legal"\nfield.fine = { treatment = "drop" }\n',
    files=bent('fine = "1.2"', 'fine = "ABSENT"', path=CASES),
)
"""The public sees no fine any more."""
NARROWER = bent(r'id = "notices-open-legal"\n', 'id = "notices-open-legal"\nfield.severity = { treatment = "drop" }\n', files=NARROW)
PERSONAL = bent(
    r"field.id_no = \{ treatment = \{ do = \"keep\", first = 6 \}",
    'field.id_no = { treatment = "clear"',
    files=bent(r"220599\*\*\*\*", "220599198001010013", path=CASES),
)
"""The department sees the whole number of a person."""
UNTESTED = bent(r'id_no = "ABSENT"', 'id_no = "1"', path=CASES)
"""A case that does not hold."""
RED = bent(r'except = \["subject"\]', 'except = ["subject", "department"]', path=REDLINES)
"""The department sees records of minors."""
NARROW_WITH_RIGHT = bent(r"query = \[\"filter\", \"facet\"\] \}\nremark", 'query = ["filter", "facet", "sort"] }\nremark', files=NARROW)
"""Narrower in one cell, and one right more."""


class Office:
    """An open gateway with the small policy in force, a clock, and whoever a change needs."""

    def __init__(self, services: Services, clock: MovingClock) -> None:
        self.services = services
        self.clock = clock
        self.admins: dict[str, Admin] = {}

    async def add(self, name: str, *roles: str, **words: Any) -> Admin:
        """Enrol an administrator."""
        self.admins[name] = await enrolled(self.services, name, *roles, **words)
        return self.admins[name]

    async def by(self, name: str) -> Administrator:
        """An administrator, proven for one act."""
        return await self.admins[name].acts("test")

    async def propose(self, files: Files, by: str = "author") -> propose_policy.Proposed:
        """Propose these files."""
        return await propose_policy.propose(self.services, files, by=await self.by(by))

    async def approve(
        self,
        proposal: int,
        by: str = "approver",
        *,
        at: datetime | None = None,
        fields: tuple[str, ...] | None = None,
        basis: str | None = None,
    ) -> approve_policy.ApprovedLine:
        """Approve as an administrator does who reads the effect."""
        found = await approve_policy.to_approve(self.services, proposal, approver=by, activate_at=at)
        return await approve_policy.approve(
            self.services,
            proposal,
            said=found.approval,
            signature=self.admins[by].signer.sign(found.approval.digest()),
            public_fields=found.effect.public_fields if fields is None else fields,
            basis=basis,
            by=await self.by(by),
        )

    async def activate(self, proposal: int, by: str = "author", **words: Any) -> activate_policy.Activation:
        """Put a proposal into force."""
        return await activate_policy.activate(self.services, proposal, by=await self.by(by), **words)

    async def narrow(self, files: Files = NARROW) -> activate_policy.Activation:
        """Propose and activate by one person."""
        return await self.activate((await self.propose(files)).proposal, narrow_only=True)

    async def state(self, proposal: int) -> str:
        """State of a proposal."""
        return (await propose_policy.show(self.services, proposal)).state

    async def in_force(self) -> int:
        """Version in force."""
        return (await self.services.policies.fresh()).version


def write_folder(folder: Path, files: Files) -> Path:
    """A policy folder with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


async def _staffed(services: Services) -> dict[str, Ed25519Signer]:
    """An author, an approver, a privacy and a legal officer, each of another unit; their keys."""
    names = ("author", "approver", "privacy-officer", "legal-officer")
    return {name: (await enrolled(services, name, name)).signer for name in names}


@asynccontextmanager
async def an_office(folder: Path, database: str) -> AsyncIterator[Office]:
    """The small policy in force, and whoever a change needs; enrolled once for all tests, of which each has a copy."""
    settings = settings_of(
        write_settings(folder, database=database, policies=write_folder(folder / "rules", BASE)), CHENGXIN_NOW="2026-06-01T00:00:00Z"
    )
    signers = await make(settings, _staffed)
    async with open_services(settings) as opened:
        clock = MovingClock()
        opened.store.clock = clock
        office = Office(msgspec.structs.replace(opened, clock=clock), clock)
        office.admins |= {name: Admin(name, signer, office.services) for name, signer in signers.items()}
        yield office
