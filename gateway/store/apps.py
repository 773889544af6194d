"""Organisations, their apps, and the client keys of apps (policy.md §12, §14.5).

Rules: an app's tier never changes; a key is kept by its public members with one algorithm, and its thumbprint is taken for ever, by one
app; what has ended stays, so that the trail can name it. This room must not decide who may register what.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.store.reads import Reads, Row
from gateway.store.store import Transaction, moment, new_id
from gateway.store.tables import app_keys, apps, organisations

APP_PREFIX: Final = "app_"
_encoder = msgspec.json.Encoder(order="sorted")
_members = msgspec.json.Decoder(dict[str, str])


class Organisation(Struct, frozen=True, kw_only=True):
    """Who is behind apps."""

    org: str
    name: str
    kind: str
    region: str


class App(Struct, frozen=True, kw_only=True):
    """A program that calls us, with what counts of its organisation."""

    app: str
    org: str
    org_name: str
    kind: str
    region: str
    name: str
    unit: str | None
    tier: str
    introspects: bool
    uploads: bool
    """Whether it may send records in the name of its organisation: no grant to read says so."""
    state: str
    registered_at: datetime
    registered_by: str
    resume_by: str | None = None
    """Who asked to let it in again; a second person must agree."""

    @property
    def live(self) -> bool:
        """Whether its credentials count."""
        return self.state == "active"


class AppKey(Struct, frozen=True, kw_only=True):
    """A client key of an app."""

    thumbprint: str
    app: str
    kid: str
    alg: str
    members: Mapping[str, str]
    state: str
    added_at: datetime
    added_by: str
    approved_by: str | None
    ended_at: datetime | None


APP_COLUMNS: Final = (*apps.c, organisations.c.name.label("org_name"), organisations.c.kind, organisations.c.region)
_OF_ORG = apps.join(organisations, apps.c.org == organisations.c.org)
_ORG = sa.select(organisations).where(organisations.c.org == sa.bindparam("which"))
_APP = sa.select(*APP_COLUMNS).select_from(_OF_ORG).where(apps.c.app == sa.bindparam("which"))
_APPS = sa.select(*APP_COLUMNS).select_from(_OF_ORG).order_by(apps.c.registered_at, apps.c.app)
_KEYS = sa.select(app_keys).where(app_keys.c.app == sa.bindparam("which")).order_by(app_keys.c.added_at, app_keys.c.thumbprint)
_KEY = sa.select(app_keys).where(app_keys.c.thumbprint == sa.bindparam("which"))
_SET_STATE = (
    sa.update(apps).where(apps.c.app == sa.bindparam("which")).values(state=sa.bindparam("becomes"), resume_by=sa.bindparam("asked"))
)


async def organisation(source: Reads | Transaction, org: str) -> Organisation | None:
    """One organisation."""
    row = await source.one(_ORG, {"which": org})
    return None if row is None else Organisation(org=row.org, name=row.name, kind=row.kind, region=row.region)


async def add_organisation(tx: Transaction, made: Organisation, by: str) -> None:
    """Register an organisation."""
    await tx.execute(
        sa.insert(organisations).values(
            org=made.org, name=made.name, kind=made.kind, region=made.region, registered_at=tx.now_text, registered_by=by
        )
    )


async def add_app(
    tx: Transaction, *, org: str, name: str, unit: str | None, tier: str, introspects: bool, by: str, uploads: bool = False
) -> str:
    """Register an app; its id."""
    app = new_id(APP_PREFIX, tx.store.random)
    await tx.execute(
        sa.insert(apps).values(
            app=app,
            org=org,
            name=name,
            unit=unit,
            tier=tier,
            introspects=introspects,
            uploads=uploads,
            state="active",
            registered_at=tx.now_text,
            registered_by=by,
        )
    )
    return app


async def find(source: Reads | Transaction, app: str) -> App | None:
    """One app, whatever its state."""
    row = await source.one(_APP, {"which": app})
    return None if row is None else app_of(row)


async def everyone(source: Reads | Transaction) -> list[App]:
    """All apps in order of registration."""
    return [app_of(row) for row in await source.all(_APPS)]


async def set_state(tx: Transaction, app: str, state: str, *, resume_by: str | None = None) -> None:
    """Suspend or resume an app; `resume_by` has asked to let a suspended one in again."""
    await tx.execute(_SET_STATE, {"which": app, "becomes": state, "asked": resume_by})


def app_of(row: Row) -> App:
    """An app from a row that has `APP_COLUMNS`."""
    return App(
        app=row.app,
        org=row.org,
        org_name=row.org_name,
        kind=row.kind,
        region=row.region,
        name=row.name,
        unit=row.unit,
        tier=row.tier,
        introspects=bool(row.introspects),
        uploads=bool(row.uploads),
        state=row.state,
        registered_at=moment(row.registered_at),
        registered_by=row.registered_by,
        resume_by=row.resume_by,
    )


# --- client keys ------------------------------------------------------------------------------------------------------


async def keys_of(source: Reads | Transaction, app: str) -> list[AppKey]:
    """All keys of an app, also those that have ended."""
    return [_key_of(row) for row in await source.all(_KEYS, {"which": app})]


async def key(source: Reads | Transaction, thumbprint: str) -> AppKey | None:
    """One key."""
    row = await source.one(_KEY, {"which": thumbprint})
    return None if row is None else _key_of(row)


async def add_key(
    tx: Transaction, *, thumbprint: str, app: str, kid: str, alg: str, members: Mapping[str, str], state: str, by: str
) -> None:
    """Register a key of an app."""
    await tx.execute(
        sa.insert(app_keys).values(
            thumbprint=thumbprint,
            app=app,
            kid=kid,
            alg=alg,
            members=_encoder.encode(dict(members)),
            state=state,
            added_at=tx.now_text,
            added_by=by,
        )
    )


async def approve_key(tx: Transaction, thumbprint: str, by: str) -> None:
    """A proposed key becomes active."""
    await _change(tx, thumbprint, state="active", approved_at=tx.now_text, approved_by=by)


async def end_key(tx: Transaction, thumbprint: str) -> None:
    """A key counts no more."""
    await _change(tx, thumbprint, state="revoked", ended_at=tx.now_text)


async def _change(tx: Transaction, thumbprint: str, **values: Any) -> None:
    await tx.execute(sa.update(app_keys).where(app_keys.c.thumbprint == thumbprint).values(**values))


def _key_of(row: Row) -> AppKey:
    return AppKey(
        thumbprint=row.thumbprint,
        app=row.app,
        kid=row.kid,
        alg=row.alg,
        members=_members.decode(row.members),
        state=row.state,
        added_at=moment(row.added_at),
        added_by=row.added_by,
        approved_by=row.approved_by,
        ended_at=None if row.ended_at is None else moment(row.ended_at),
    )
