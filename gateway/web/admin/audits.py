"""The audit trail over the administrators' API, for auditors, and for a privacy officer what it says about one subject.

It is what `chengxin audit …` and `chengxin verify audit` do. Whom it is about stands in a body, never in an address.
"""

from datetime import date
from typing import Annotated, Final, get_args

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import InvalidParameter
from gateway.operations import read_audit, verify_audit, who_looked
from gateway.operations.read_audit import Kind, Place, Wanted
from gateway.web.admin.desk import Act, Download, Route

TAR: Final = "application/x-tar"
DAY: Final = "a day: 2026-07-01"


class Days(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First and last day of an export."""

    from_day: date
    to_day: date


class Verification(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose rows are checked (none: all), and checkpoints that were kept elsewhere."""

    from_day: date | None = None
    to_day: date | None = None
    checkpoint: Annotated[tuple[Annotated[str, Meta(max_length=8192)], ...], Meta(max_length=100)] = ()


class AboutSubject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One subject, by its code or opaque id, or by code or number with its kind; which days, and where to go on (`DAY/WRITER/N`)."""

    code: Annotated[str, Meta(max_length=64)] | None = None
    subject: who_looked.SubjectAsked | None = None
    from_day: date | None = None
    to_day: date | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: Annotated[str, Meta(max_length=64)] | None = None

    def __repr__(self) -> str:
        return "<AboutSubject>"


FILTERS = tuple(name for name in Wanted.__struct_fields__)


async def listed(act: Act) -> object:
    """Rows by day, kind, actor, act, target, organisation, app, purpose and dataset."""
    limit = act.query.get("limit", "100")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 5):
        raise InvalidParameter("limit is a number")
    for name in ("from_day", "to_day"):
        _refuse(name, act.query.get(name), date, DAY)
    _refuse("kind", act.query.get("kind"), Kind, f"one of {', '.join(get_args(Kind))}")
    wanted = Wanted(**{name: act.query[name] for name in FILTERS if name in act.query})
    return await read_audit.read_audit(act.services, wanted, after=_place(act.query.get("after")), limit=int(limit), by=act.by)


async def exported(act: Act) -> object:
    """The folder that `verify audit` reads, as one tar file."""
    body: Days = act.body
    made = await read_audit.archive_audit(act.services, from_day=body.from_day.isoformat(), to_day=body.to_day.isoformat(), by=act.by)
    return Download(media_type=TAR, file_name=f"{made.name}.tar", chunks=made.chunks)


async def verified(act: Act) -> object:
    """Check every row, entry and checkpoint of the trail."""
    act.by.require("auditor")
    body: Verification = act.body
    return await verify_audit.verify_store(
        act.services,
        known_notes=body.checkpoint,
        from_day=verify_audit.NEVER if body.from_day is None else body.from_day.isoformat(),
        to_day=verify_audit.ALWAYS if body.to_day is None else body.to_day.isoformat(),
    )


async def about(act: Act) -> object:
    """Who looked at what is kept about one subject, why, and what was done with it."""
    body: AboutSubject = act.body
    return await who_looked.who_looked(
        act.services,
        code=body.code,
        subject=body.subject,
        from_day="" if body.from_day is None else body.from_day.isoformat(),
        to_day=who_looked.ALWAYS if body.to_day is None else body.to_day.isoformat(),
        after=who_looked.place_in(body.after),
        limit=body.limit,
        by=act.by,
    )


def _refuse(name: str, text: str | None, kind: object, what: str) -> None:
    """Refuses what is none of its kind: a day that is none finds no row, and would read as if nobody had looked.

    Raises InvalidParameter.
    """
    try:
        if text is not None:
            msgspec.convert(text, kind)
    except msgspec.ValidationError:
        raise InvalidParameter(f"{name} is {what}") from None


def _place(text: str | None) -> Place | None:
    if text is None:
        return None
    day, _, rest = text.partition("/")
    writer, _, number = rest.rpartition("/")
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise InvalidParameter("after is DAY/WRITER/N")
    _refuse("after", day, date, "DAY/WRITER/N")
    return day, writer, int(number)


ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/admin/v1/audit", command="audit list", summary="Rows of the audit trail", handler=listed,
          query=(*FILTERS, "limit", "after"), gives=read_audit.AuditPage, roles=("auditor",)),
    Route(method="POST", path="/admin/v1/audit/export", command="audit export", summary="Rows, tree and checkpoints of some days",
          handler=exported, takes=Days, media_type=TAR, roles=("auditor",)),
    Route(method="POST", path="/admin/v1/audit/verify", command="verify audit", summary="Verify the trail", handler=verified,
          takes=Verification, gives=verify_audit.Verified, roles=("auditor",)),
    Route(method="POST", path="/admin/v1/audit/about", command="audit about", summary="Who looked at what is kept about one subject",
          handler=about, takes=AboutSubject, gives=who_looked.Looks, roles=("privacy-officer",)),
)  # fmt: skip
