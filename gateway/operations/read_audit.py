"""Read the audit trail, as an auditor: rows by day, kind, organisation, purpose and dataset, and the folder to take home.

Rules: auditors only, and their reading is a row of the trail itself; subjects stay HMACs, so nobody is looked up by name here. An auditor
reads the trail and nothing else: no value of a record passes this story.
"""

from pathlib import Path

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.operations.audit_folder import Archived, Exported, archive_folder, write_folder
from gateway.operations.keep_audit import checkpoint
from gateway.services import Services
from gateway.store import audit
from gateway.store.audit import AuditRow, Kind, Wanted

__all__ = ["AuditPage", "Kind", "Place", "Wanted", "archive_audit", "export_audit", "read_audit"]

MAX_ROWS = 1000

Place = tuple[str, str, int]


class AuditPage(Struct, frozen=True, kw_only=True):
    """Some rows, and where to go on."""

    rows: tuple[AuditRow, ...]
    next: Place | None
    """Day, writer and number of the last row, when there may be more."""


async def read_audit(services: Services, wanted: Wanted, *, after: Place | None = None, limit: int = 100, by: Administrator) -> AuditPage:
    """The rows that an auditor wants, in order of day, writer and number.

    Raises RoleMissing.
    """
    by.require("auditor")
    limit = max(1, min(limit, MAX_ROWS))
    rows = await audit.rows(services.store.reads, wanted, after=after, limit=limit)
    async with services.store.transaction() as tx:
        asked = {name: value for name in wanted.__struct_fields__ if (value := getattr(wanted, name)) is not None}
        await audit.write(tx, f"admin:{by.name}", "audit.read", "audit", {"filters": sorted(asked), "rows": len(rows)})
    last = rows[-1] if len(rows) == limit else None
    return AuditPage(rows=tuple(rows), next=(last.day, last.writer, last.n) if last is not None else None)


async def export_audit(services: Services, out: Path, *, from_day: str, to_day: str, by: Administrator) -> Exported:
    """Write the rows of these days with everything that vouches for them into a new folder; what was not sealed yet is sealed first.

    Raises RoleMissing, SettingsError `audit-folder`, StoreError `audit-broken`.
    """
    by.require("auditor")
    await checkpoint(services)
    done = await write_folder(services, out, from_day=from_day, to_day=to_day)
    await _tell(services, by, from_day, to_day, done.rows)
    return done


async def archive_audit(services: Services, *, from_day: str, to_day: str, by: Administrator) -> Archived:
    """The same as one archive; that it leaves is a row before its first byte does.

    Raises RoleMissing.
    """
    by.require("auditor")
    await checkpoint(services)
    done = await archive_folder(services, from_day=from_day, to_day=to_day)
    await _tell(services, by, from_day, to_day, done.rows)
    return done


async def _tell(services: Services, by: Administrator, from_day: str, to_day: str, count: int) -> None:
    async with services.store.transaction() as tx:
        await audit.write(tx, f"admin:{by.name}", "audit.export", "audit", {"from": from_day, "to": to_day, "rows": count})
