"""Administrators: who they are, which roles go together, and what they sign for one act (policy.md §14.6).

Rules: a role never reads data; an auditor has no other role and a key custodian never approves, also not under a second account of
the same person; an act is believed by a fresh, single-use statement, or request, signed with the administrator's enrolled key; what
was signed is kept with what it did. Whoever brought an administrator in is no second pair of eyes for that one, and what an operator
alone brought in is nobody's: such an account approves, reads the audit and keeps keys only once somebody else has confirmed it.
This room must not know what an act does.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from msgspec import Struct

from gateway.core.errors import AdminError, RoleMissing
from gateway.core.records.identifiers import looks_like_citizen_number

Role = Literal["author", "approver", "privacy-officer", "legal-officer", "key-custodian", "auditor", "operator"]
ROLES: Final[tuple[Role, ...]] = ("author", "approver", "privacy-officer", "legal-officer", "key-custodian", "auditor", "operator")
UNCONFIRMED: Final[frozenset[Role]] = frozenset({"author", "operator"})
"""Roles that count before anybody confirmed the account: what they do waits for another's approval."""
NAME: Final = re.compile(r"[a-z][a-z0-9._-]{1,62}")
"""An account: ASCII, for it stands in key names and HTTP signatures. Never a person's full name: it is told in the audit."""
PERSON: Final = re.compile(r"(?=[^0-9]*[0-9])[0-9A-Za-z][0-9A-Za-z._/-]{2,62}")
"""The personnel reference of who stands behind an account: a number of the authority's own, never a name."""

ACT_TYPE: Final = "chengxin-admin-act-v1"
ACT_SKEW: Final = timedelta(seconds=60)
"""How far the time of a statement may lie from now."""


class Evidence(Struct, frozen=True, kw_only=True):
    """What an administrator signed for one act: kept, so that anybody can verify it later with the enrolled key."""

    kind: Literal["statement", "http", "approval"]
    """`statement`: canonical JSON. `http`: the signature base of RFC 9421. `approval`: the SHA-256 of the canonical approval."""
    signed: bytes
    signature: bytes
    key_id: str


class Administrator(Struct, frozen=True, kw_only=True):
    """A live administrator, proven for one act."""

    name: str
    unit: str
    roles: frozenset[Role]
    key_id: str
    """`name+hex` of the verifier key, as in HTTP signatures."""
    person: str
    """Blind index of the person behind the account: two accounts of one person are one pair of eyes."""
    brought_in_by: frozenset[str] = frozenset()
    """Everybody whose invitations led here, from the first on."""
    public: bytes = b""
    """Public half of the key: one key is one person, whatever the account is called."""
    evidence: Evidence | None = None
    """What was signed for this act."""
    confirmed: bool = True
    """Whether another than the operator who invited it says that a person is behind it."""

    @property
    def acting(self) -> frozenset[Role]:
        """The roles that count now."""
        return self.roles if self.confirmed else self.roles & UNCONFIRMED

    def require(self, *roles: Role) -> None:
        """Go on only with one of these roles.

        Raises RoleMissing; AdminError admin-unconfirmed for a role that does not count yet.
        """
        if self.acting.intersection(roles):
            return
        if self.roles.intersection(roles):
            raise AdminError(
                "nobody but the operator who invited this account says whose it is",
                code="admin-unconfirmed",
                hint="an approver compares the key id with its holder: `chengxin key confirm-admin NAME --key-id ID`",
            )
        raise RoleMissing(
            "this administrator has none of the roles that the act needs",
            hint=f"one of {', '.join(roles)}; `chengxin key list-admins` shows who has them",
        )


def read_roles(names: Iterable[str]) -> frozenset[Role]:
    """Roles that may stand together at one person.

    Raises AdminError role-unknown, role-conflict.
    """
    asked = set(names)
    roles: frozenset[Role] = frozenset(role for role in ROLES if role in asked)
    if not roles or asked - roles:
        raise AdminError("there is no such role", code="role-unknown", place="role", hint=f"one or more of {', '.join(ROLES)}")
    if "auditor" in roles and len(roles) > 1:
        raise AdminError("an auditor has no other role", code="role-conflict", place="role", hint="who reads the audit must not act")
    if {"key-custodian", "approver"} <= roles:
        raise AdminError(
            "a key custodian does not approve", code="role-conflict", place="role", hint="give one of the two roles to another person"
        )
    return roles


def same_unit(one: str, other: str) -> bool:
    """Whether two units are one, however they are written."""
    return _folded(one) == _folded(other)


def read_person(person: str) -> str:
    """A personnel reference as it is compared: case and punctuation make no other person.

    Raises AdminError admin-person for a name, for a citizen number, and for nothing.
    """
    if PERSON.fullmatch(person) is None or looks_like_citizen_number(person):
        raise AdminError(
            "a person is named by a personnel reference: 3 to 63 of a-z 0-9 . _ / -, a digit among them",
            code="admin-person",
            place="person",
            hint="the authority's own number for the person, such as TH-0417; neither a name nor a citizen number",
        )
    return _folded(person)


def _folded(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKC", text).casefold() if sign.isalnum())


def same_hand(one: Administrator, other: Administrator) -> str | None:
    """Why two accounts are one person's, as far as anybody can see; None: they are not."""
    if one.name == other.name:
        return "the same account"
    if one.person == other.person:
        return "the same person under another account"
    if one.key_id == other.key_id or (one.public and one.public == other.public):
        return "the same key"
    return None


def dependence(one: Administrator, other: Administrator) -> str | None:
    """Why two administrators are not two pairs of eyes; None: they are."""
    why = same_hand(one, other)
    if why is not None:
        return why
    if same_unit(one.unit, other.unit):
        return "the same unit"
    if one.name in other.brought_in_by or other.name in one.brought_in_by:
        return "one brought the other in"
    return None


def canonical(value: object) -> bytes:
    """Canonical JSON (RFC 8785: ASCII keys and no floats, so that sorting is all it takes)."""
    return msgspec.json.encode(value, order="sorted")


def digest_of(value: object) -> str:
    """SHA-256 of the canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


class ActStatement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the command line signs for one act."""

    type: str
    party: str
    """Whose gateway: a statement for one installation is worth nothing at another."""
    act: str
    arguments: str
    """SHA-256 of the canonical JSON of the arguments."""
    by: str
    time: datetime
    nonce: str

    def bytes_signed(self) -> bytes:
        """Its canonical JSON."""
        return canonical(self)


def statement(*, party: str, act: str, arguments: Mapping[str, object], by: str, time: datetime, nonce: str) -> ActStatement:
    """The statement of an act with these arguments."""
    return ActStatement(
        type=ACT_TYPE, party=party, act=act, arguments=digest_of(arguments), by=by, time=time.replace(microsecond=0), nonce=nonce
    )


def refuse_stale(said: ActStatement, *, party: str, act: str, arguments: Mapping[str, object], by: str, now: datetime) -> None:
    """A statement counts for this gateway, act, arguments and administrator, and only around its time.

    Raises AdminError admin-signature.
    """
    wanted = statement(party=party, act=act, arguments=arguments, by=by, time=said.time, nonce=said.nonce)
    if said != wanted:
        raise AdminError("the statement is about another act", cause="other-act")
    if abs(now - said.time) > ACT_SKEW:
        raise AdminError("the statement is not of now", hint="check the clock of this machine", cause="stale")
    if not 16 <= len(said.nonce) <= 64:
        raise AdminError("the statement has no fit nonce", cause="nonce")
