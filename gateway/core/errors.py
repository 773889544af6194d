"""The errors of the house, drawn as a tree; every leaf has a stable, published code.

    GatewayError
    ├── SettingsError            settings-invalid, key-invalid …: the program refuses to start and says how to mend it
    ├── RequestError             what a caller did (api.md §5); `web/problems.py` gives each its status
    │   ├── BadRequest  UnknownParameter  RepeatedParameter  InvalidParameter  BadCursor  CursorExpired
    │   ├── UsccInvalid  BodyInvalid  PurposeMissing  CredentialsInvalid  NotPermitted
    │   ├── TooManyRowsForFormat  TextTooLongForFormat  IdempotencyInProgress  IdempotencyMismatch
    │   └── NotFound  MethodNotAllowed  NotAcceptable  SinceTooOld …
    ├── FileRefused              a department's file as a whole (FILE_*): found before any row is stored
    ├── RowFault                 one row or record: rejected or held, with the codes of exchange.md §8
    ├── PolicyError              policy-parse, policy-S1 …: file, line, rule, what to do
    ├── ExchangeError            SIG_*, SEQ_*, SCOPE_*, SCHEMA_*, SIZE_*, TIME_* of exchange.md §8
    ├── AdminError               what an administrator's act lacks: admin-signature, role-conflict, invitation-invalid …
    │   └── RoleMissing          role-missing
    └── StoreError               store-locked, migration-needed …

Codes never change meaning. An error text never contains a value that a caller or a source sent: it names the place, the
code and what to do.
"""


class GatewayError(Exception):
    """Base of every error that leaves a room on purpose.

    `detail` says what is wrong, `place` where (file!row!column, `$.rules[0].text`, parameter name), `hint` what to do.
    """

    code: str = "internal"

    def __init__(self, detail: str = "", *, place: str | None = None, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.place = place
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        where = f" at {self.place}" if self.place else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.code}{where}: {self.detail}{hint}"


class SettingsError(GatewayError):
    """Settings, keys or files that do not allow a start."""

    code = "settings-invalid"


class StoreError(GatewayError):
    """The store cannot do what was asked: locked, not migrated, of another gateway."""

    code = "store-unavailable"


class AdminError(GatewayError):
    """An act of an administrator that is not believed or not allowed.

    `cause` tells the audit why a signature was refused and `admin` whose name it bore; whoever sent it learns the code alone.
    """

    code = "admin-signature"
    admin: str | None = None

    def __init__(
        self, detail: str = "", *, place: str | None = None, hint: str | None = None, code: str | None = None, cause: str | None = None
    ) -> None:
        super().__init__(detail, place=place, hint=hint, code=code)
        self.cause = cause


class RoleMissing(AdminError):
    """The administrator is known, but has none of the roles that this act needs."""

    code = "role-missing"


class RowFault(GatewayError):
    """One row cannot be accepted as it stands; `severity` is `reject` or `hold` (exchange.md §8)."""

    code = "SCHEMA_TYPE"

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        severity: str = "reject",
        place: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(detail, place=place, hint=hint, code=code)
        self.field = field
        self.severity = severity


class FileRefused(GatewayError):
    """A file is refused as a whole, before any of its rows is stored."""

    code = "FILE_FORMAT"


class PolicyError(GatewayError):
    """A policy text that cannot come into force."""

    code = "policy-parse"

    def __init__(
        self,
        detail: str,
        *,
        code: str = "policy-parse",
        file: str | None = None,
        line: int | None = None,
        rule: str | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        place = ":".join(str(part) for part in (file, line) if part is not None) or None
        super().__init__(detail, place=place, hint=hint, code=code)
        self.file = file
        self.line = line
        self.rule = rule
        self.field = field


class ExchangeError(GatewayError):
    """A batch, note, agreement or question that is not admitted; the codes are those of exchange.md §8."""

    code = "SCHEMA_JSON"


class SeqClosed(ExchangeError):
    """What is no longer served of a stream, and the epoch to start from."""

    code = "SEQ_CLOSED"

    def __init__(self, detail: str, *, epoch: int, place: str | None = None) -> None:
        super().__init__(detail, place=place)
        self.epoch = epoch


class NoteRefused(ExchangeError):
    """A signed note that is not believed: of an artefact that somebody carried to us, not of the request that carried it."""

    code = "SIG_INVALID"


class RequestError(GatewayError):
    """What a caller did wrong; `errors` point at parameters or body members, never repeat values."""

    code = "bad-request"
    errors: tuple["ErrorItem", ...] = ()

    def __init__(
        self,
        detail: str = "",
        *,
        place: str | None = None,
        hint: str | None = None,
        errors: tuple["ErrorItem", ...] = (),
        next_url: str | None = None,
        suggestions: tuple[dict[str, object], ...] = (),
    ) -> None:
        super().__init__(detail, place=place, hint=hint)
        self.errors = errors
        self.next_url = next_url
        self.suggestions = suggestions


class ErrorItem:
    """One pointed fault of a request: `parameter` (query, path) or `pointer` (RFC 6901), its own code, a sentence."""

    __slots__ = ("code", "detail", "parameter", "pointer")

    def __init__(self, code: str, detail: str, *, parameter: str | None = None, pointer: str | None = None) -> None:
        self.code = code
        self.detail = detail
        self.parameter = parameter
        self.pointer = pointer


class BadRequest(RequestError):
    """A malformed URL, header or body encoding."""

    code = "bad-request"


class UnknownParameter(RequestError):
    """A parameter that this caller's plan does not know, hidden or never existing: the same answer."""

    code = "unknown-parameter"


class RepeatedParameter(RequestError):
    """A query parameter given twice."""

    code = "repeated-parameter"


class InvalidParameter(RequestError):
    """A parameter whose value breaks a bound."""

    code = "invalid-parameter"


class BadCursor(RequestError):
    """A cursor that was tampered with, or belongs to another query, tier or caller."""

    code = "bad-cursor"


class CursorExpired(RequestError):
    """One's own cursor, merely too old, or of a policy no longer in force."""

    code = "cursor-expired"


class SinceTooOld(RequestError):
    """A change-feed position below the window."""

    code = "since-too-old"


class DeltaWindow(RequestError):
    """A delta from or to a version that is not kept any more."""

    code = "delta-window"


class JobExpired(RequestError):
    """A match job whose result has had its day."""

    code = "job-expired"


class VersionReissued(RequestError):
    """An issue of a version that another one has replaced."""

    code = "version-reissued"


class VersionWithdrawn(RequestError):
    """A version that was published in error."""

    code = "version-withdrawn"


class VersionReissuing(RequestError):
    """A version of which a row has just left: until it is issued again its files are not given."""

    code = "version-reissuing"


class UsccInvalid(RequestError):
    """A unified social credit code that is not one (GB 32100-2015)."""

    code = "uscc-invalid"


class BodyInvalid(RequestError):
    """A request body that does not decode to what the operation takes."""

    code = "body-invalid"


class BodyTooLarge(RequestError):
    """A request body beyond the bound of its path."""

    code = "body-too-large"


class FileUnfit(RequestError):
    """An uploaded file that is refused as a whole: the item names the code (FILE_*, SCOPE_AUTHORITY, dataset-unknown) and the place."""

    code = "file-refused"


class PurposeMissing(RequestError):
    """A bound token for several purposes, and no `Purpose` header."""

    code = "purpose-missing"


class CredentialsInvalid(RequestError):
    """A credential that is malformed, unknown, expired or revoked; never a silent fall to public."""

    code = "credentials-invalid"


class NotPermitted(RequestError):
    """The operation exists for all to see, this tier or purpose lacks it; never about data."""

    code = "not-permitted"


class NotFound(RequestError):
    """Absent, hidden, removed, not yet public: one answer."""

    code = "not-found"


class MethodNotAllowed(RequestError):
    """Another method than the path has."""

    code = "method-not-allowed"


class Conflict(RequestError):
    """What was decided about is not there any more as it was shown."""

    code = "conflict"


class NotAcceptable(RequestError):
    """No acceptable representation."""

    code = "not-acceptable"


class Unavailable(RequestError):
    """The store or the policy in force cannot be read now; try again later."""

    code = "unavailable"


class QueryTimeout(RequestError):
    """A page took longer than the gateway gives one; narrower conditions help, or `limit=all`."""

    code = "query-timeout"


class NoActivePolicy(RequestError):
    """No policy has been activated in this store."""

    code = "no-active-policy"


class PolicyExpired(RequestError):
    """The legal grounds of plans that the question is about have ended: what they would show is neither shown nor said to be absent."""

    code = "policy-expired"


class AuditUnavailable(RequestError):
    """What must be written down before it is shown cannot be written: no data."""

    code = "audit-unavailable"


class TooManyRowsForFormat(RequestError):
    """More rows, or bytes, than a file of this format may have."""

    code = "too-many-rows-for-format"


class TextTooLongForFormat(RequestError):
    """A text that does not fit into a cell of this format; it is never cut."""

    code = "text-too-long-for-format"


class IdempotencyInProgress(RequestError):
    """The first request under this key is still running."""

    code = "idempotency-in-progress"


class IdempotencyMismatch(RequestError):
    """The key was used with another request."""

    code = "idempotency-mismatch"


class CaseRefMissing(RequestError):
    """A plan or a purpose asks for a case reference, and the request has none."""

    code = "case-ref-missing"


class RowBudgetSpent(RequestError):
    """An organisation has read as many rows today as its plans allow; `retry_after` says in how many seconds a new day begins."""

    code = "quota-exceeded"
    retry_after: int = 60


class LookupBudgetSpent(RowBudgetSpent):
    """An organisation has looked as many persons up today as its plans allow."""

    code = "lookup-budget-spent"


class ObligationFailed(RequestError):
    """What a plan obliges to could not be done: no data."""

    code = "obligation-failed"
