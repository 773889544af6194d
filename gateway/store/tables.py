"""All tables on one page.

Instants are ISO 8601 text in UTC with `Z` (`YYYY-MM-DDTHH:MM:SSZ`, sortable), days are ISO text, JSON is UTF-8 bytes made by
msgspec, ids are text. Nothing personal stands here in clear: see `vault.py`, `sealing.py` and policy.md §11. Until the first
release the first migration follows this page: after a change run `python tests/store/renew_first_migration.py`. A length stands
only where something else keeps it: PostgreSQL would refuse a whole chunk for one long name.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# fmt: off
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Seq = BigInteger().with_variant(Integer, "sqlite")
"""Numbers that grow without end, and every number that a partner chooses: those reach 2⁵³−1 (exchange.md §1)."""


def _partial(name: str, *columns: str, where: str, postgresql: str | None = None, unique: bool = False) -> Index:
    """An index over some of the rows.

    PostgreSQL's condition is kept aside until tables are made: named here, it would load that dialect into every process.
    """
    return Index(name, *columns, unique=unique, sqlite_where=text(where), info={"postgresql_where": text(postgresql or where)})


def for_every_dialect() -> MetaData:
    """The tables as whoever makes them needs them: with the conditions of PostgreSQL's indexes."""
    for table in metadata.tables.values():
        for index in table.indexes:
            if (where := index.info.get("postgresql_where")) is not None:
                index.dialect_kwargs["postgresql_where"] = where
    return metadata


# --- the house itself -------------------------------------------------------------------------------------------------

meta = Table("meta", metadata, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False))
"""`party`, `region`: a store belongs to one gateway."""

counters = Table("counters", metadata, Column("name", String(96), primary_key=True), Column("value", Seq, nullable=False))
"""Dense numbers: `UPDATE … RETURNING` holds the row until commit, so order of number is order of commit, on both databases."""

readers = Table("readers", metadata, Column("name", String(96), primary_key=True), Column("position", Seq, nullable=False))
"""Cursor of each reader of the change log; moved in the transaction that did the reading's work."""

deks = Table(
    "deks", metadata,
    Column("dek_id", Seq, primary_key=True, autoincrement=False),  # from counters: never given twice, also after shredding
    Column("scope", String(128), nullable=False),       # subject:<subject_id>, org:<dataset>:<year>, or house:<what>
    Column("key_version", Integer, nullable=False),     # of the key-encryption key that wraps it
    Column("wrapped", LargeBinary, nullable=False),
    Column("retired", Boolean, nullable=False),         # renewed: still reads, never writes
    Index("ix_deks_scope", "scope"),
    _partial("uq_deks_scope_present", "scope", unique=True, where="retired = 0", postgresql="NOT retired"),
)
"""Data keys wrapped under the KEK; deleting a row shreds whatever it encrypted. Kept out of data backups."""

key_roots = Table(
    "key_roots", metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("kek_version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)
"""Older key-encryption keys, wrapped under the newest: what labels and data keys of their time follow from. Kept out of data backups."""

key_labels = Table(
    "key_labels", metadata,
    Column("label", String(96), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("root", Integer, nullable=False),
    Column("suite", Integer, nullable=False),
    Column("state", String(8), nullable=False),  # next current old
    Column("at", String(32), nullable=False),
)
"""Labels that were rotated; one that is not here has its first version under the first root."""

# --- audit: chains of rows, the log above them, its signed heads ------------------------------------------------------

audit = Table(
    "audit", metadata,
    Column("day", String(10), primary_key=True),     # legal day; with the writer it is the partition
    Column("writer", String(32), primary_key=True),  # `office`: whoever holds the writer's turn; else one process
    Column("n", Seq, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("kind", String(8), nullable=False),       # act, access, refusal
    Column("actor", Text, nullable=False),
    Column("act", String(64), nullable=False),
    Column("target", Text, nullable=False),
    Column("org", String(18)),
    Column("unit", Text),
    Column("app", Text),
    Column("credential", Text),                      # id of a key or thumbprint; never the credential
    Column("purpose", String(64)),
    Column("dataset", String(64)),
    Column("plan_hash", String(64)),
    Column("policy_version", Integer),
    Column("treatments", Text),                      # how many fields are shown in which form, by kind of subject
    Column("row_count", Integer),
    Column("shape", Text),                           # fields and operators of the question; never values
    Column("subjects", LargeBinary),                 # HMACs, 16 bytes each, sorted; before them the version of their key
    Column("case_ref", LargeBinary),                 # ciphertext
    Column("detail", LargeBinary),                   # ciphertext of JSON: ids, counts and codes; never values
    Column("link", LargeBinary, nullable=False),     # SHA-256(link before ‖ row); over ciphertext, so that shredding never breaks it
    sqlite_with_rowid=False,
)

audit_partitions = Table(
    "audit_partitions", metadata,
    Column("day", String(10), primary_key=True),
    Column("writer", String(32), primary_key=True),
    Column("size", Seq, nullable=False),
    Column("link", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),      # of place, size and link: only a process with our keys moves the end
    Column("sealed", Seq, nullable=False, default=0),
    Column("tree", LargeBinary, nullable=False, default=b""),  # right edge of the tree over the sealed rows
    Column("retired", Boolean, nullable=False, default=False),
)
"""Where each partition stands: what makes the next row quick. Nothing is believed because it stands here."""

audit_log = Table(
    "audit_log", metadata,
    Column("idx", Seq, primary_key=True, autoincrement=False),
    Column("day", String(10), nullable=False),
    Column("writer", String(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index(None, "day", "writer"),
)
"""The leaves of the log: how far a partition had come, and which was deleted when its time was over. Kept for ever."""

audit_checkpoints = Table(
    "audit_checkpoints", metadata,
    Column("number", Seq, primary_key=True, autoincrement=False),
    Column("size", Seq, nullable=False, index=True),
    Column("at", String(32), nullable=False),
    Column("tree", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
)
"""Signed heads of the log; the newest are published."""
# --- budgets ----------------------------------------------------------------------------------------------------------

budgets = Table(
    "budgets", metadata,
    Column("org", String(64), primary_key=True),       # USCC
    Column("what", String(32), primary_key=True),      # lookups, rows
    Column("day", String(10), primary_key=True),       # legal day
    Column("used", Seq, nullable=False),
    sqlite_with_rowid=False,
)
"""What an organisation has spent of its daily budgets."""

# --- subjects and records ---------------------------------------------------------------------------------------------

subjects = Table(
    "subjects", metadata,
    Column("subject_id", String(30), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("head_seq", Seq, nullable=False),  # seq of the latest change of any of its records
    Column("known_by", LargeBinary, nullable=False),  # JSON {key type: stored value}: its rows of `subject_keys`, found from this side
    sqlite_with_rowid=False,
)

subject_keys = Table(
    "subject_keys", metadata,
    Column("key_type", String(20), primary_key=True),   # uscc reg_no org_code … id_no
    Column("key_value", String(80), primary_key=True),  # legal: the code; persons and households: hex of the blind index
    Column("subject_id", String(30), ForeignKey("subjects.subject_id"), nullable=False),
    sqlite_with_rowid=False,
)
"""What identifies a subject: one subject a key."""

subject_names = Table(
    "subject_names", metadata,
    Column("name_blind", String(32), primary_key=True),  # hex of the blind index of the normalised trade name
    Column("subject_id", String(30), ForeignKey("subjects.subject_id"), primary_key=True, index=True),
    sqlite_with_rowid=False,
)
"""Trade names of individual businesses, for the exact look-up; two may bear one name. Names of persons have no index at all."""

records = Table(
    "records", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("subject_id", String(30), ForeignKey("subjects.subject_id"), nullable=False),
    Column("dataset", String(63), nullable=False),
    Column("category", String(20), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("business_key", String(64), nullable=False),  # keyed digest of the business key's normalised values
    Column("issuer", String(64), nullable=False),        # '' = ours; else the partner's party
    Column("version", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("hold_code", String(32)),
    Column("trust", String(8), nullable=False),
    Column("region", String(6), nullable=False),
    Column("authority_code", String(18)),
    Column("authority_name", Text),
    Column("sender", String(18)),
    Column("officer", String(32)),                       # hex of the blind index: the officer's name stands sealed in `ingests`
    Column("decided_on", String(10)),
    Column("severity", String(16)),
    Column("dates", LargeBinary, nullable=False),        # LifeDates as JSON
    Column("publish_from", String(10)),                  # as computed at the last change; the read path computes again
    Column("publish_until", String(10)),                 # last day shown; null = no statutory end, or not computable (then hold)
    Column("period_rule", String(63)),
    Column("minor", Boolean, nullable=False),
    Column("sealed_flag", Boolean, nullable=False),
    Column("dispute_since", String(32)),
    Column("corrected_since", String(32)),
    Column("clear", LargeBinary, nullable=False),        # JSON {field: value} of what needs no encryption; of a withdrawn record all null
    Column("secret", LargeBinary),                       # msgpack {field: ciphertext}
    Column("texts", LargeBinary),                        # JSON {field: Text}: publishable text, scores, digests; see `texts.py`
    Column("sealed_texts", LargeBinary),                 # msgpack {field: ciphertext}: what is held, and names of the own subject
    Column("held_since", String(32)),                    # since when a text of it waits for a reviewer; null = none does
    Column("content_digest", LargeBinary, nullable=False),  # keyed digest of all values: tells unchanged from amended
    Column("received_at", String(32), nullable=False),
    Column("changed_at", String(32), nullable=False),
    Column("changed_seq", Seq, nullable=False),
    UniqueConstraint("dataset", "business_key", "issuer"),
    Index("ix_records_subject_id_dataset", "subject_id", "dataset"),
    Index("ix_records_dataset_record_id_state", "dataset", "record_id", "state"),
    _partial("ix_records_authority_code_held_since", "authority_code", "held_since", where="held_since IS NOT NULL"),
    _partial("ix_records_state_publish_until", "state", "publish_until", where="publish_until IS NOT NULL"),
)

record_versions = Table(
    "record_versions", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("state", String(12), nullable=False),
    Column("hold_code", String(32)),
    Column("trust", String(8), nullable=False),
    Column("region", String(6), nullable=False),
    Column("authority_code", String(18)),
    Column("authority_name", Text),
    Column("sender", String(18)),
    Column("officer", String(32)),
    Column("decided_on", String(10)),
    Column("severity", String(16)),
    Column("dates", LargeBinary, nullable=False),
    Column("publish_from", String(10)),
    Column("publish_until", String(10)),
    Column("period_rule", String(63)),
    Column("minor", Boolean, nullable=False),
    Column("sealed_flag", Boolean, nullable=False),
    Column("dispute_since", String(32)),
    Column("corrected_since", String(32)),
    Column("clear", LargeBinary, nullable=False),
    Column("secret", LargeBinary),
    Column("texts", LargeBinary),
    Column("sealed_texts", LargeBinary),
    Column("received_at", String(32), nullable=False),
    Column("op", String(16), nullable=False),
    Column("reason", String(32)),
    Column("actor", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("seq", Seq, nullable=False),
)
"""What a record was before its present version, with the change that made it so: written when a version is replaced (the present
one stands in `records`). Every change makes a version, so that (version, plan hash) reproduces any past answer."""

changes = Table(
    "changes", metadata,
    Column("seq", Seq, primary_key=True, autoincrement=False),  # dense, in order of commit
    Column("at", String(32), nullable=False),
    Column("record_id", String(30), nullable=False),    # no index: its versions and its `changed_seq` lead here
    Column("subject_id", String(30), nullable=False),
    Column("dataset", String(63), nullable=False),
    Column("version", Integer, nullable=False),
    Column("op", String(16), nullable=False),  # assert amend dispute undispute hold release repair retract expire erase recognise lift
    Column("reason", String(32)),
    Column("actor", Text, nullable=False),
)
"""The spine. Renderings, search, feeds and partner streams are readers of this table with a cursor."""

ingests = Table(
    "ingests", metadata,
    Column("ingest_id", String(30), primary_key=True),
    Column("dataset", String(63), nullable=False),
    Column("file_sha256", String(64), nullable=False),
    Column("statement", String(64), nullable=False),   # keyed digest of authority and officer, or 'vouched'
    Column("authority", String(18)),
    Column("about", LargeBinary, nullable=False),       # ciphertext of JSON {file_name, officer}: both may name a person
    Column("cursor", Text),                             # of the adapter; resume continues after it
    Column("receipt", LargeBinary, nullable=False),     # JSON so far
    Column("state", String(12), nullable=False),        # running done
    Column("started_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    UniqueConstraint("dataset", "file_sha256", "statement"),
)

# --- texts and their reviewers ----------------------------------------------------------------------------------------

text_decisions = Table(
    "text_decisions", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("field", String(63), primary_key=True),
    Column("candidate", String(64), primary_key=True),  # keyed digest of text, redactor version and redacted text
    Column("decided", String(12), nullable=False),      # released refused
    Column("result", LargeBinary, nullable=False),      # ciphertext of JSON Redaction: the redacted text as the reviewer left it
    Column("reason", LargeBinary),                      # ciphertext: a reviewer's words may name somebody
    Column("at", String(32), nullable=False),
    Column("actor", Text, nullable=False),
)
"""What reviewers decided about redacted texts. A decision is about one text as one redactor left it, and ends with either; when the same
is said again it holds again."""

# --- policies and callers ---------------------------------------------------------------------------------------------

policy_versions = Table(
    "policy_versions", metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("parent", Integer),
    Column("files", LargeBinary, nullable=False),  # msgpack {path: bytes}
    Column("proposed_at", String(32), nullable=False),
    Column("proposed_by", Text, nullable=False),
)

policy_activations = Table(
    "policy_activations", metadata,
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("version", Integer, ForeignKey("policy_versions.version"), nullable=False),
    Column("at", String(32), nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", String(64), nullable=False),
    Column("from_version", Integer),                   # what was in force before; null: nothing
    Column("proposal", Integer),
    Column("approvals", Text),                         # names of those whose approvals counted, separated by spaces
)

policy_proposals = Table(
    "policy_proposals", metadata,
    Column("proposal", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, ForeignKey("policy_versions.version"), nullable=False),
    Column("parent", Integer),                         # version in force when it was proposed
    Column("author", Text, nullable=False),
    Column("kind", String(16), nullable=False),        # propose rollback initial
    Column("effect", String(64), nullable=False),      # digest
    Column("proposed_at", String(32), nullable=False),
    Column("state", String(16), nullable=False),       # of its newest event: proposed approved scheduled active superseded …
    Column("activate_at", String(32)),
    Column("narrow_only", Boolean, nullable=False),
    Column("unconfirmed_since", String(32)),
)

policy_events = Table(
    "policy_events", metadata,
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("proposal", Integer, ForeignKey("policy_proposals.proposal"), nullable=False, index=True),
    Column("event", String(24), nullable=False),
    Column("by", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("detail", LargeBinary, nullable=False),     # JSON: ids, counts, codes, and the text of a basis or reason
    Column("evidence", LargeBinary),                   # msgpack {kind, signed bytes, signature, key id}
)
"""Append-only: what happened to each proposal, with what was signed for it."""

alarms = Table(
    "alarms", metadata,
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("kind", String(48), nullable=False),
    Column("target", Text, nullable=False),
    Column("raised_at", String(32), nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("cleared_at", String(32), index=True),
    Column("cleared_by", Text),
)

# --- administrators ----------------------------------------------------------------------------------------------------

administrators = Table(
    "administrators", metadata,
    Column("name", String(63), primary_key=True),
    Column("unit", Text, nullable=False),
    Column("person", String(32), nullable=False),      # hex of the blind index: one person behind two accounts is seen, not named
    Column("roles", Text, nullable=False),             # separated by spaces
    Column("public", LargeBinary, nullable=False, unique=True),
    Column("key_id", Text, nullable=False),            # name+hex of the verifier key
    Column("invited_by", Text, nullable=False),
    Column("enrolled_at", String(32), nullable=False),
    Column("confirmed_at", String(32)),                # null: only an operator's word says who it is
    Column("confirmed_by", Text),
    Column("retired_at", String(32)),
    Column("retired_by", Text),
)

admin_invitations = Table(
    "admin_invitations", metadata,
    Column("code_sha256", String(64), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("unit", Text, nullable=False),
    Column("person", String(32), nullable=False),
    Column("roles", Text, nullable=False),
    Column("invited_by", Text, nullable=False),
    Column("invited_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("used_at", String(32)),
)

admin_nonces = Table(
    "admin_nonces", metadata,
    Column("key_id", Text, primary_key=True),
    Column("nonce", String(64), primary_key=True),
    Column("until", String(32), nullable=False),
)
"""Single use of an administrator's signatures, for all processes; kept only as long as one would be believed."""

# --- callers: organisations, apps, credentials, grants, tokens (policy.md §12, §14) --------------------------------------

organisations = Table(
    "organisations", metadata,
    Column("org", String(18), primary_key=True),       # USCC
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),        # decides which tiers its apps may have
    Column("region", String(6), nullable=False),       # grants of its apps stay inside it
    Column("registered_at", String(32), nullable=False),
    Column("registered_by", Text, nullable=False),
)

apps = Table(
    "apps", metadata,
    Column("app", String(30), primary_key=True),
    Column("org", String(18), ForeignKey("organisations.org"), nullable=False),
    Column("name", Text, nullable=False),
    Column("unit", Text),
    Column("tier", String(16), nullable=False),        # fixed at registration
    Column("introspects", Boolean, nullable=False),    # a resource server that may ask about tokens of others
    Column("uploads", Boolean, nullable=False),        # sends records in its organisation's name; reading is a grant's matter
    Column("state", String(12), nullable=False),       # active suspended
    Column("registered_at", String(32), nullable=False),
    Column("registered_by", Text, nullable=False),
    Column("resume_by", Text),                         # who asked to let it in again, until a second person agrees
)

app_keys = Table(
    "app_keys", metadata,
    Column("thumbprint", String(43), primary_key=True),  # unique over all apps, also after its end
    Column("app", String(30), ForeignKey("apps.app"), nullable=False, index=True),
    Column("kid", String(64), nullable=False),
    Column("alg", String(8), nullable=False),          # pinned: PS256 ES256 Ed25519
    Column("members", LargeBinary, nullable=False),    # JSON of the public members
    Column("state", String(12), nullable=False),       # proposed active revoked
    Column("added_at", String(32), nullable=False),
    Column("added_by", Text, nullable=False),
    Column("approved_at", String(32)),
    Column("approved_by", Text),
    Column("ended_at", String(32)),
    UniqueConstraint("app", "kid"),
)

api_keys = Table(
    "api_keys", metadata,
    Column("key_id", String(8), primary_key=True),
    Column("app", String(30), ForeignKey("apps.app"), nullable=False, index=True),
    Column("mode", String(4), nullable=False),         # live test
    Column("mac", LargeBinary, nullable=False),        # HMAC of the secret under a pepper
    Column("scopes", Text, nullable=False),            # separated by spaces; empty: all
    Column("networks", Text, nullable=False),
    Column("expires_on", String(10), nullable=False),  # last day
    Column("state", String(12), nullable=False),       # active revoked
    Column("issued_at", String(32), nullable=False),
    Column("issued_by", Text, nullable=False),
    Column("exposed_at", String(32)),                  # when it was first seen in a URL
    Column("last_used", String(10)),
    Column("ended_at", String(32)),
)

grants = Table(
    "grants", metadata,
    Column("grant_id", String(63), primary_key=True),
    Column("app", String(30), ForeignKey("apps.app"), nullable=False, index=True),
    Column("dataset", String(63), nullable=False),
    Column("body", LargeBinary, nullable=False),       # JSON of the grant as its file says it
    Column("digest", String(64), nullable=False),      # SHA-256 of the body: what is approved
    Column("personal", Boolean, nullable=False),       # reached a personal plan when it was proposed: four eyes
    Column("state", String(12), nullable=False),       # proposed active revoked
    Column("proposed_at", String(32), nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("approved_at", String(32)),
    Column("approved_by", Text),
    Column("ended_at", String(32)),
    Column("ended_by", Text),
)

tokens = Table(
    "tokens", metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("app", String(64), nullable=False, index=True),
    Column("org", String(18), nullable=False),
    Column("tier", String(16), nullable=False),
    Column("jkt", String(43)),                         # the key that must prove itself with it; null: a trial token of test mode
    Column("credential", String(43)),                  # thumbprint of the client key that it was obtained with
    Column("access", LargeBinary, nullable=False),     # JSON [[dataset, purpose]]; dataset `*` in trial tokens
    Column("issued_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False, index=True),
)

used_ids = Table(
    "used_ids", metadata,
    Column("digest", String(64), primary_key=True),    # SHA-256 of kind, owner and `jti`
    Column("until", String(32), nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""Ids of assertions and proofs that were used once, until none could be believed any more: of partners' requests always, of callers
with `replay_url = "database"`."""

answered = Table(
    "answered", metadata,
    Column("digest", String(64), primary_key=True),    # SHA-256 of caller and `Idempotency-Key`
    Column("request", String(64), nullable=False),     # SHA-256 of what was asked under it
    Column("turn", String(32), nullable=False),        # of whoever runs it: random
    Column("lease", String(32), nullable=False),       # until when the runner is believed to be at work
    Column("until", String(32), nullable=False, index=True),
    Column("status", Integer),                         # null = still running
    Column("headers", LargeBinary),                    # JSON [[name, value]]; like the body sealed under the caller's own key
    Column("body", LargeBinary),
    sqlite_with_rowid=False,
)
"""First answers to requests under an `Idempotency-Key`, for a day."""

match_jobs = Table(
    "match_jobs", metadata,
    Column("job", String(64), primary_key=True),       # digest of its id: the id itself is nowhere here
    Column("owner", String(64), nullable=False),       # digest of organisation and app; empty: whoever holds the id
    Column("state", String(16), nullable=False, index=True),  # queued, running, done, failed, cancelled, expired
    Column("rows", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("asked", LargeBinary, nullable=False),      # JSON: which columns are which, and the options
    Column("upload", LargeBinary),                     # sealed; null when the work has ended
    Column("result", LargeBinary),                     # sealed; null before and a day after
    Column("turn", String(32), nullable=False),        # of whoever works on it: random
    Column("lease", String(32), nullable=False),       # until when the worker is believed to be at work
    Column("created", String(32), nullable=False),
    Column("until", String(32), nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""Match jobs (api.md §7.6): nothing of an upload stands in clear, and nothing of it stays after the work."""

# --- the public read model: renderings of the door, never another door -------------------------------------------------

rendered_subjects = Table(
    "rendered_subjects", metadata,
    Column("subject_id", String(30), primary_key=True),
    Column("head_seq", Seq, nullable=False),         # must equal subjects.head_seq, else the entry is stale
    Column("plan", String(64), nullable=False),      # plan hash and policy version under which it was made
    Column("valid_until", String(32), nullable=False),  # first instant at which it stops being true
    Column("etag", String(64), nullable=False),
    Column("seq", Seq, nullable=False),              # latest visible change, in the public sequence
    Column("added_seq", Seq, nullable=False),        # the public sequence when it first showed something: later ones stay out of a walk
    Column("kind", String(20), nullable=False),      # of api.md §6.2: enterprise … household
    Column("region", String(6)),
    Column("industry", String(50)),
    Column("status", String(12)),
    Column("body", LargeBinary),                     # null = nothing public is left (404)
)

rendered_records = Table(
    "rendered_records", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("subject_id", String(30), nullable=False, index=True),
    Column("dataset", String(63), nullable=False),
    Column("category", String(20), nullable=False),
    Column("list", String(63)),                      # list id, when the record is a listing
    Column("bulk", Boolean, nullable=False),         # may stand in browsing and bulk output (no natural persons, no households)
    Column("version_seq", Seq, nullable=False),      # must equal records.changed_seq, else the entry is stale
    Column("plan", String(64), nullable=False),
    Column("valid_from", String(32), nullable=False),
    Column("valid_until", String(32), nullable=False),  # '9999-12-31T00:00:00Z' = no end
    Column("seq", Seq, nullable=False),
    Column("added_seq", Seq, nullable=False),        # of its `add`: rows that came later stay out of a walk
    Column("told_at", String(32), nullable=False),   # when its latest change was told, as the public feed says
    Column("digest", LargeBinary, nullable=False),   # keyed digest of what is told, without seq, policy version, receipt and correction
    Column("amended", String(32)),                   # latest amendment of the record that the reader has seen, visible or not
    Column("corrected", String(32)),                 # latest amendment that changed what the public sees: its mark
    Column("received_at", String(32), nullable=False),  # as shown: of the latest words that the public sees
    Column("region", String(6), nullable=False),
    Column("source", String(18)),
    Column("severity", String(16)),
    Column("decision_date", String(10)),
    Column("published_from", String(10)),
    Column("listed_on", String(10)),
    Column("marks", String(128), nullable=False),    # codes joined by '|'
    Column("body", LargeBinary, nullable=False),     # JSON of the record envelope
    Column("listing", LargeBinary),                  # JSON of the listing, when it is one
    Column("flat", LargeBinary, nullable=False),     # CSV line of the record in its dataset's columns
    Column("listing_flat", LargeBinary),             # CSV line of the listing in its list's columns
    Column("salt", LargeBinary),                     # of the commitment to the listing: 16 bytes, others with every change that is told
    Index("ix_rendered_records_dataset_record_id", "dataset", "record_id"),
    _partial("ix_rendered_records_list_record_id", "list", "record_id", where="list IS NOT NULL"),
    _partial("ix_rendered_records_list_seq", "list", "seq", where="list IS NOT NULL"),
    _partial("ix_rendered_records_valid_until", "valid_until", where="valid_until < '9999'"),
    _partial("ix_rendered_records_long", "record_id", where="length(body) > 16383"),  # a spreadsheet may have no cell for them
    Index("ix_rendered_records_dataset_decision_date_record_id", "dataset", "decision_date", "record_id"),
)

feed = Table(
    "feed", metadata,
    Column("plan_set", String(80), primary_key=True),  # tier/purpose
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("op", String(8), nullable=False),           # add mod del policy; for who is concerned alone: move left
    Column("at", String(32), nullable=False),
    Column("record_id", String(30)),
    Column("dataset", String(63)),
    Column("category", String(20)),
    Column("list", String(63)),
    Column("reason", String(12)),                      # expired corrected removed
    Column("fields_changed", Text),
    Index("ix_feed_record_id_plan_set", "record_id", "plan_set"),  # a record's items in all plan sets lie on one page
    sqlite_with_rowid=False,
)
"""The change log as one plan set sees it (api.md §7.9). A removal deletes the record's earlier items and stands alone."""

feed_rows = Table(
    "feed_rows", metadata,
    Column("plan_set", String(80), primary_key=True),
    Column("record_id", String(30), primary_key=True),
    Column("dataset", String(63), nullable=False),
    Column("category", String(20), nullable=False),
    Column("list", String(63)),
    Column("digest", LargeBinary, nullable=False),      # 16 bytes of the whole, then msgpack {field: 4 bytes}: keyed, nothing readable
    Column("valid_until", String(32), nullable=False),
    Column("added_seq", Seq, nullable=False),
    Column("amended", String(32)),                      # as in `rendered_records`, for this plan set
    Column("corrected", String(32)),
    Column("received_at", String(32), nullable=False),
    Column("seat", LargeBinary, nullable=False),        # msgpack: where the record lies, as the plan set's row gates ask it
    # in the order in which they came, so that new ones stand together at the end of their day
    _partial("ix_feed_rows_plan_set_valid_until_added_seq", "plan_set", "valid_until", "added_seq", where="valid_until < '9999'"),
)
"""What a bound plan set was last told of each record; for `public` the rendered records say it. Its rows are too long for a table
without row ids: six fill a page of the tree itself, and each new one would change two pages."""

feed_pending = Table(
    "feed_pending", metadata,
    Column("plan_set", String(80), primary_key=True),
    Column("record_id", String(30), primary_key=True),
    Column("op", String(8), nullable=False),           # del left
    Column("tell_at", String(32), nullable=False),     # the next full 30 seconds
    Column("dataset", String(63), nullable=False),
    Column("category", String(20), nullable=False),
    Column("list", String(63)),
    Column("reason", String(12), nullable=False),
    sqlite_with_rowid=False,
)

feed_left = Table(
    "feed_left", metadata,
    Column("plan_set", String(80), primary_key=True),
    Column("number", Seq, primary_key=True, autoincrement=False),
    Column("record_id", String(30), nullable=False),
    Column("dataset", String(63), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("region", String(6), nullable=False),
    Column("owner", String(18)),
    Column("gated", LargeBinary, nullable=False),      # JSON of the fields that row rules ask for; none is stored as ciphertext
    Column("moved", Seq, nullable=False),              # number of the item that moved the record; 0: it left the plan set
    Column("told", Seq, nullable=False),               # number of the item that tells who saw it there; 0: it waits
    Index("ix_feed_left_plan_set_record_id", "plan_set", "record_id"),
    sqlite_with_rowid=False,
)
"""Where records lay when a bound plan set was told of them, and lie no more: who reached them there hears that they left."""

# --- versions of lists and datasets: rows through time, so that a removal reaches every version at once ---------------

list_states = Table(
    "list_states", metadata,
    Column("collection", String(80), primary_key=True),  # lists/ID or datasets/ID
    Column("seq", Seq, nullable=False),                 # the public sequence up to which its rows are built
    Column("tag", String(96), nullable=False),          # plans and policy version under which they were last looked at as a whole
    Column("ground", String(64), nullable=False),       # plans of its dataset and definition of its list, under which they stand
)

list_versions = Table(
    "list_versions", metadata,
    Column("collection", String(80), primary_key=True),
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("name", String(40), nullable=False),
    Column("built_at", String(32), nullable=False),
    Column("issue", Integer, nullable=False),
    Column("withdrawn", Boolean, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("size", Integer, nullable=False),            # of the tree: with what was removed
    Column("root", LargeBinary, nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("ground", String(64), nullable=False),
    Column("columns", Text, nullable=False),            # of the flat form, with commas between
    Column("valid_until", String(32), nullable=False),  # when the first of its rows is to be asked again
    Column("pending", String(8)),                       # why it has to be issued again: removal redacted policy
    Index("ix_list_versions_collection_name", "collection", "name", unique=True),
    _partial("ix_list_versions_pending", "pending", where="pending IS NOT NULL"),
)

list_issues = Table(
    "list_issues", metadata,
    Column("collection", String(80), primary_key=True),
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("issue", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("cause", String(8), nullable=False),         # built removal redacted policy
    Column("removed", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
)

list_rows = Table(
    "list_rows", metadata,
    Column("collection", String(80), primary_key=True),
    Column("record_id", String(30), primary_key=True),
    Column("first", Seq, primary_key=True, autoincrement=False),  # the version with which it came
    Column("until", Seq, nullable=False),               # in no version from here on; 2^53 - 1: it still stands
    Column("line", LargeBinary),                        # canonical JSON with salt; null = it left, and so did its salt
    Column("commitment", LargeBinary),                  # stays in the trees; null = in no tree any more
    Column("valid_until", String(32), nullable=False),
    Column("leaving", String(32)),                      # when the versions are issued again without it: a full 30 seconds, or its end
    Column("reason", String(12)),                       # expired corrected removed; ending: shown until `leaving`
    Column("rewritten", Seq, nullable=False),           # newest version when the line was made narrower; 0: never
    Column("rewritten_fields", Text),
    Index("ix_list_rows_record_id", "record_id"),
    _partial("ix_list_rows_leaving", "leaving", where="leaving IS NOT NULL"),
    _partial("ix_list_rows_valid_until", "valid_until", where="valid_until < '9999'"),
)
"""Each row once, whatever number of versions holds it. Of what left, id and reason stay for the deltas until its versions go."""

list_files = Table(
    "list_files", metadata,
    Column("collection", String(80), primary_key=True),
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("issue", Integer, primary_key=True, autoincrement=False),
    Column("format", String(12), primary_key=True),
    Column("bytes", Seq, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("sm3", String(64), nullable=False),
    Column("refused", String(40)),                      # why there is none: the format cannot hold its rows
)
"""What a file of an issue is; its bytes follow from the rows and are made anew wherever they are wanted, or are kept."""

list_file_parts = Table(
    "list_file_parts", metadata,
    Column("collection", String(80), primary_key=True),
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("issue", Integer, primary_key=True, autoincrement=False),
    Column("format", String(12), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("bytes", LargeBinary, nullable=False),
)
"""Bytes of files whose next making, by another release of a library, might give others; gone as soon as a row of them leaves."""

log_entries = Table(
    "log_entries", metadata,
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("idx", Seq, primary_key=True, autoincrement=False),
    Column("record_id", String(30), nullable=False, index=True),
    Column("at", String(32), nullable=False),
    Column("commitment", LargeBinary, index=True),      # as the entry bears it: who has row and salt finds it by this alone
    Column("entry", LargeBinary, nullable=False),       # the bytes that are hashed and served
)
"""The transparency log (exchange.md §15). Append-only; kept for ever: what is left of an erased record are opaque ids and hashes."""

log_tiles = Table(
    "log_tiles", metadata,
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", Seq, primary_key=True, autoincrement=False),
    Column("width", Integer, nullable=False),           # hashes in it; 256: it never changes again
    Column("hashes", LargeBinary, nullable=False),
)

log_heads = Table(
    "log_heads", metadata,
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("size", Seq, nullable=False),
    Column("tree", LargeBinary, nullable=False),        # right edge of the tree
    Column("signed_size", Seq, nullable=False),         # of the newest signed head; 0 = none
    Column("signed_at", String(32)),
    Column("note", Text),                               # the signed head, with cosignatures as they come in
    Column("unwitnessed_since", String(32)),            # since when the newest head lacks its quorum; null = it has it, or needs none
)

log_states = Table(
    "log_states", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("year", Integer, nullable=False),            # place of its latest entry
    Column("idx", Seq, nullable=False),
    Column("v", Integer, nullable=False),
    Column("op", String(8), nullable=False),
    Column("commitment", LargeBinary),                  # of what is shown; null = nothing is
    Column("authority", String(18)),                    # who decided
)

log_pending = Table(
    "log_pending", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("since", String(32), nullable=False),        # when it was rendered otherwise; of a removal when it is told
    Column("op", String(16)),                           # policy: another policy shows it otherwise; erase: it was erased; recognise …
    Column("reason", String(12)),
)
"""Listings of which the log has not yet looked whether something is to be entered."""

witnessed_heads = Table(
    "witnessed_heads", metadata,
    Column("origin", String(200), primary_key=True),
    Column("digest", String(64), nullable=False, index=True),  # hex SHA-256 of the origin: how it is asked for
    Column("size", Seq, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("at", String(32), nullable=False),
    Column("note", Text, nullable=False),               # the head with our cosignature
)
"""The newest head that we signed as a witness of each log."""

names = Table(
    "names", metadata,
    Column("name_id", Seq, primary_key=True, autoincrement=False),  # its place among all names: in this order they are found
    Column("subject_id", String(30), nullable=False, index=True),
    Column("role", String(12), nullable=False),        # name former_name
    Column("shown", String(300), nullable=False),      # as the public view shows it
    Column("name_norm", String(300), nullable=False, index=True),
    Column("core", String(300), nullable=False, index=True),
    Column("tokens", Text, nullable=False),            # joined by blanks; a contentless FTS table needs them to delete a row
)
"""Names of organisations with something public; the token index beside it differs by dialect (FTS5 · text[] under GIN)."""

range_rows = Table(
    "range_rows", metadata,
    Column("question", String(12), primary_key=True),  # algorithm/on: sha256/uscc …
    Column("digest", String(64), primary_key=True),    # hexadecimal digits
    Column("subject_id", String(30), primary_key=True, index=True),
    Column("bits", Seq, nullable=False),               # bit n = the list whose `range_bit` is n
    sqlite_with_rowid=False,
)
"""Codes and names of organisations that stand on a list, as range look-ups find them; true while the rendering of the subject is."""

query_receipts = Table(
    "query_receipts", metadata,
    Column("receipt", String(64), primary_key=True),   # digest of its id: the id itself is nowhere here
    Column("until", String(10), nullable=False, index=True),  # last day
    Column("sealed", LargeBinary, nullable=False),     # under a key that follows from the id alone
    sqlite_with_rowid=False,
)
"""Receipts of queries (api.md §7.17): without the id, which only the holder has, nothing of one can be read here."""

# --- exchange ---------------------------------------------------------------------------------------------------------

agreements = Table(
    "agreements", metadata,
    Column("agreement_id", String(63), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(80), nullable=False),
    Column("body", LargeBinary, nullable=False),   # the signed bytes
    Column("note", Text, nullable=False),          # the signature lines collected so far
    Column("local", LargeBinary, nullable=False),  # [local] of our file as JSON; never signed
    Column("state", String(12), nullable=False),   # draft offered agreed active suspended terminated
    Column("since", String(32), nullable=False),
)

agreement_states = Table(
    "agreement_states", metadata,
    Column("agreement_id", String(63), primary_key=True),
    Column("by_party", String(64), primary_key=True),
    Column("serial", Seq, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("state", String(12), nullable=False),   # suspended active terminated
    Column("from_at", String(32), nullable=False),
    Column("first_seen", String(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
)
"""Suspensions, resumptions and terminations, each signed by one side; numbered by that side."""

agreement_approvals = Table(
    "agreement_approvals", metadata,
    Column("agreement_id", String(63), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(80), primary_key=True),  # of the bytes to be signed and of our own part
    Column("wider", LargeBinary, nullable=False),    # JSON: what is wider than before, in words
    Column("asked_by", String(128), nullable=False),
    Column("asked_at", String(32), nullable=False),
    Column("approved_by", String(128)),
    Column("approved_at", String(32)),
)
"""Versions that widen: who wants to sign them, and the second person who agreed."""

withdrawn_offers = Table(
    "withdrawn_offers", metadata,
    Column("agreement_id", String(63), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(80), primary_key=True),  # of the text that was signed
    Column("withdrawn_at", String(32), nullable=False),
)
"""Offers of ours that were taken back: our signature under such a text counts no more."""

told_documents = Table(
    "told_documents", metadata,
    Column("party", String(64), primary_key=True),
    Column("what", String(192), primary_key=True),   # artefact and context of a signed document of ours
    Column("digest", String(80), nullable=False),    # of its body and note: more signatures are another letter
    Column("told_at", String(32)),                   # null: not yet
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", String(32)),
    Column("code", String(32)),
)
"""What we have brought a partner of our agreements, notices and inventories, or tried to."""

agreement_inventories = Table(
    "agreement_inventories", metadata,
    Column("agreement_id", String(63), primary_key=True),
    Column("by_party", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("first_seen", String(32), nullable=False),
)
"""What each side says that it has done with the other's records at the end of an agreement."""

partner_keys = Table(
    "partner_keys", metadata,
    Column("party", String(64), primary_key=True),
    Column("serial", Seq, primary_key=True, autoincrement=False),
    Column("digest", String(80), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("first_seen", String(32), nullable=False),
)

out_streams = Table(
    "out_streams", metadata,
    Column("stream", String(128), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("seq", Seq, nullable=False),            # last sealed batch
    Column("size", Seq, nullable=False),
    Column("range", LargeBinary, nullable=False),  # compact range: concatenated hashes
    Column("manifest_digest", String(80)),
    Column("cursor", Seq, nullable=False),         # position in `changes` up to which records are sealed
    Column("plan", String(80), nullable=False),    # plan set and agreement under which they were: another one is read anew from 0
    Column("acked_seq", Seq, nullable=False),
    Column("stopped", String(32)),                 # code that stopped it (SEQ_FORK of the receiver …); a person has to look
    Column("lost_at", String(32)),                 # began after its receiver said that it had lost what it held: what it owes is said again
)

out_batches = Table(
    "out_batches", metadata,
    Column("stream", String(128), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("manifest_digest", String(80), nullable=False),
    Column("note", Text, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("state", String(12), nullable=False),   # sealed published acked nacked waiting superseded
    Column("created", String(32), nullable=False),
    Column("published_at", String(32)),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", String(32)),         # when the outbox tries again; null = at once
    Column("code", String(32)),                    # why it is not acknowledged
    Column("withdrawals", Integer, nullable=False),  # lines for which an acknowledgement is owed
    Column("receipt", LargeBinary),                # signed document as received
)

out_receipts = Table(
    "out_receipts", metadata,
    Column("stream", String(128), primary_key=True),
    Column("no", Seq, primary_key=True, autoincrement=False),
    Column("digest", String(80), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("feedback", LargeBinary),               # null until it was fetched
    Column("received_at", String(32), nullable=False),
)
"""Receipts that partners gave us for our streams; two of one number are a fork of the receiver."""

forked_receipts = Table(
    "forked_receipts", metadata,
    Column("stream", String(128), primary_key=True),
    Column("no", Seq, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("received_at", String(32), nullable=False),
)
"""Receipts that contradict one of `out_receipts`, as signed: evidence against the receiver."""

out_feedback = Table(
    "out_feedback", metadata,
    Column("stream", String(128), primary_key=True),
    Column("no", Seq, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    Column("received_at", String(32), nullable=False),
)
"""Feedback that a partner has brought before the receipt that names it; not read until then."""

drops = Table(
    "drops", metadata,
    Column("stream", String(128), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("laid_at", String(32), nullable=False),
    Column("cleared_at", String(32)),
)
"""Batches of ours that we have laid into a shared folder, and when we took them away again."""

out_parts = Table(
    "out_parts", metadata,
    Column("stream", String(128), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("seq", Seq, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("data", LargeBinary, nullable=False),
)

out_leaves = Table(
    "out_leaves", metadata,
    Column("stream", String(128), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("idx", Seq, primary_key=True, autoincrement=False),
    Column("record_id", String(30), nullable=False, index=True),  # of `part/1`: name of the part
    Column("leaf", LargeBinary, nullable=False),
)

out_subtrees = Table(
    "out_subtrees", metadata,
    Column("stream", String(128), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", Seq, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)
"""Roots of the complete subtrees of 2^8, 2^16, … leaves of our streams: proofs are read from them and a few leaves."""

out_records = Table(
    "out_records", metadata,
    Column("stream", String(128), primary_key=True),
    Column("record_id", String(30), primary_key=True),
    Column("v", Integer, nullable=False),
    Column("op", String(8), nullable=False),
    Column("idx", Seq, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", Seq, nullable=False),                   # batch that said it
    Column("view_digest", LargeBinary, nullable=False),  # keyed digest of the view last sealed: unchanged views are not sent again
    Column("seed", LargeBinary),                          # salt seed of this version; destroyed with it
    Column("valid_until", String(32)),                    # when the view stops being true by time alone: then it is looked at again
    Column("acked_at", String(32)),                       # when the partner acknowledged the withdrawal
    Column("refused", String(32)),                        # code with which the partner rejected this version
    Column("held", Boolean, nullable=False, default=False),  # a person at the partner has still to decide about it
    Index("ix_out_records_stream_valid_until", "stream", "valid_until"),
    # withdrawals of which we wait to hear: they have no salts
    _partial("ix_out_records_stream_acked_at", "stream", "acked_at", where="acked_at IS NULL AND seed IS NULL"),
    _partial("ix_out_records_stream_held", "stream", "held", where="held = 1", postgresql="held"),
)

out_recalled = Table(
    "out_recalled", metadata,
    Column("stream", String(128), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("record_id", String(30), primary_key=True),
    Column("v", Integer, nullable=False),
    Column("op", String(8), nullable=False),
    Column("seq", Seq, nullable=False),                   # batch of the old epoch that said it
    Column("acked_at", String(32)),
)
"""Withdrawals that went out in an epoch while the next one was on its way; they are said again in that one."""

in_streams = Table(
    "in_streams", metadata,
    Column("sender", String(64), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("epoch", Seq, nullable=False),
    Column("seq", Seq, nullable=False),            # last applied
    Column("size", Seq, nullable=False),
    Column("range", LargeBinary, nullable=False),
    Column("root", String(64), nullable=False),
    Column("manifest_digest", String(80)),
    Column("created", String(32)),                 # `created` of the latest applied batch: as_of of recognition
    Column("frozen", String(32)),                  # code that froze it
    Column("release_asked_by", String(128)),       # who wants a frozen stream to go on in a new epoch
    Column("release_asked_key", String(255)),      # the key that signed the asking
    Column("released_by", String(128)),            # the second person, who lets it
    Column("receipt_no", Seq, nullable=False),
    Column("receipt_digest", String(80)),
    Column("brought_no", Seq),                     # the last receipt that was brought to a sender from whom we fetch
    Column("anew_since", String(32)),              # since when its sender has to begin a new epoch: what it said was purged
    Column("asks_since", String(32)),              # since when the sender is asked for our last receipt, for we came back from a copy
    Column("first_epoch", Seq),                    # since then: what came before this epoch was answered in the time that is lost
)

leases = Table(
    "leases", metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(64), nullable=False),     # one process, for its whole life
    Column("beat", Seq, nullable=False),              # one more with every renewal: whoever waits watches this, never a clock
    Column("renewed_at", String(32), nullable=False), # for people to read; nothing is decided by it
)
"""Work that one process of all does: who does it now."""

stream_holds = Table(
    "stream_holds", metadata,
    Column("sender", String(64), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("by", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", String(32), nullable=False),
)
"""Streams of either direction of which an operator lets nothing but withdrawals through."""

fetch_tries = Table(
    "fetch_tries", metadata,
    Column("agreement", String(63), primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", String(32), nullable=False),
    Column("code", String(64), nullable=False),
)
"""Agreements over whose line fetching fails, and when it is tried again."""

line_cursors = Table(
    "line_cursors", metadata,
    Column("line", String(128), primary_key=True),        # of an agreement its id, of what lies in a folder the stream's name
    Column("cursor", Text, nullable=False),
)
"""How far we have fetched over the line of an agreement, or looked at a stream in a folder, as the adapter says it."""

in_batches = Table(
    "in_batches", metadata,
    Column("sender", String(64), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("epoch", Seq, primary_key=True, autoincrement=False),
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("manifest_digest", String(80), primary_key=True),
    Column("state", String(12), nullable=False),   # fetching staged applied partial held quarantined rejected frozen superseded
    Column("code", String(32)),
    Column("manifest", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("first_seen", String(32), nullable=False),
    Column("receipt_no", Seq),
    Column("verified", LargeBinary),               # compact range after it, of a batch that was verified and waits
)

in_parts = Table(
    "in_parts", metadata,
    Column("sender", String(64), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("epoch", Seq, primary_key=True, autoincrement=False),
    Column("name", String(64), primary_key=True),
    Column("manifest_digest", String(80), nullable=False),
    Column("data", LargeBinary, nullable=False),
)

in_records = Table(
    "in_records", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("sender", String(64), nullable=False),
    Column("stream", String(128), nullable=False),
    Column("v", Seq, nullable=False),
    Column("op", String(8), nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("payload", LargeBinary),                # clear payload bytes; gone after erasure
    Column("at", String(32), nullable=False),
    Column("purged_at", String(32)),               # when its content was destroyed because the agreement ended; its sender may say it again
)

receipts = Table(
    "receipts", metadata,
    Column("sender", String(64), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("no", Seq, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("feedback", LargeBinary, nullable=False),
)
"""Receipts that we gave, numbered and chained by stream."""

in_owed = Table(
    "in_owed", metadata,
    Column("sender", String(64), primary_key=True),
    Column("stream", String(128), primary_key=True),
    Column("record_id", String(30), primary_key=True),
    Column("v", Seq, primary_key=True, autoincrement=False),
    Column("idx", Seq, nullable=False),            # of the line in the stream
    Column("code", String(32), nullable=False),    # ACK_WITHDRAWN ACK_ERASED; HOLD_RELEASED: how a held line ends
    Column("since", String(32), nullable=False),
)
"""News that partners wait for: told in a later receipt, once a record has left every exit, or a held one is decided about."""

erasures = Table(
    "erasures", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("subject_id", String(30), nullable=False),
    Column("at", String(32), nullable=False),
    Column("done_at", String(32)),                 # when nothing of it was left in any exit, copy, index or free page
    _partial("ix_erasures_at", "at", where="done_at IS NULL"),
)
"""Erased records, and whether what followed the erasure is done too."""

retention_due = Table(
    "retention_due", metadata,
    Column("dataset", String(63), primary_key=True),
    Column("record_id", String(30), primary_key=True),
    Column("last_day", String(10), nullable=False),     # last day on which it was to be kept
    Column("rule", String(63), nullable=False),         # of `periods.toml`
    Index("ix_retention_due_dataset_last_day_record_id", "dataset", "last_day", "record_id"),
    sqlite_with_rowid=False,
)
"""Records that were kept long enough, as the latest daily look found them; whoever acts on it computes again."""

# --- lines: partners that sign nothing, over adapters with formats of their own ------------------------------------------

lines = Table(
    "lines", metadata,
    Column("line_id", String(63), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),  # SHA-256 of the file: what was approved
    Column("file", LargeBinary, nullable=False),   # TOML as proposed
    Column("state", String(12), nullable=False),   # proposed active superseded ended refused
    Column("proposed_at", String(32), nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("approved_at", String(32)),
    Column("approved_by", Text),
    Column("ended_at", String(32)),
    Column("ended_by", Text),
)

line_states = Table(
    "line_states", metadata,
    Column("line_id", String(63), primary_key=True),
    Column("failures", Integer, nullable=False),   # in a row
    Column("code", String(64)),                    # of the last failure; null: it went well
    Column("closed_until", String(32)),            # its breaker is open: nothing is tried before
    Column("feedback_cursor", Text),               # how far what the partner wrote back was read
    Column("pull_cursor", Text),                   # how far its rows were read, of a line inward
    Column("reconciled", String(10)),              # last day whose counts were compared
)

line_rows = Table(
    "line_rows", metadata,
    Column("stream", String(128), primary_key=True),
    Column("record_id", String(30), primary_key=True),
    Column("v", Integer, primary_key=True, autoincrement=False),
    Column("seq", Seq, nullable=False),            # batch
    Column("row", Integer, nullable=False),        # its place in the part, from 1
    Column("op", String(8), nullable=False),
    Column("said", LargeBinary),                   # sealed: its fields, until something later is answered or the record is erased
    Column("result", String(12)),                  # a RowResult's; untold: the line gives none; null: none yet
    Column("code", String(64)),                    # the partner's or the adapter's
    Column("field", String(64)),
    Column("partner_id", String(64)),
    Column("answered_at", String(32)),
    Index("ix_line_rows_stream_seq", "stream", "seq"),
    Index("ix_line_rows_record_id", "record_id"),
)
"""What a line was told, row by row, and what its partner made of it."""

line_replies = Table(
    "line_replies", metadata,
    Column("line_id", String(63), primary_key=True),
    Column("no", Seq, primary_key=True, autoincrement=False),
    Column("about", String(220)),                  # batch id; null where rows name records
    Column("digest", String(80), nullable=False),
    Column("note", Text, nullable=False),          # our signature that we received these bytes
    Column("data", LargeBinary),                   # sealed: the bytes as they came; null when their time is over
    Column("received_at", String(32), nullable=False, index=True),
)
"""What partners that sign nothing gave us: replies, late replies, pages of rows."""

line_sources = Table(
    "line_sources", metadata,
    Column("line_id", String(63), primary_key=True),
    Column("source_id", String(64), primary_key=True),  # keyed digest of the source's own id
    Column("record_id", String(30), nullable=False, index=True),
    Column("version", Seq),                        # the source's own, of its last word
)
"""Which record a row of a line inward became."""

line_numbers = Table(
    "line_numbers", metadata,
    Column("partner", String(64), primary_key=True),
    Column("day", String(10), primary_key=True),   # of UTC+8
    Column("series", String(16), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("stream", String(128), nullable=False),
    Column("seq", Seq, nullable=False),            # the batch whose file has it
    Index("ix_line_numbers_stream_seq", "stream", "seq"),
)
"""Numbers of files, for a partner that wants each file of a day numbered, whichever line it comes over."""

line_counts = Table(
    "line_counts", metadata,
    Column("stream", String(128), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("ours", Integer, nullable=False),
    Column("theirs", Integer),                     # null: the partner says nothing of the day
    Column("same_digest", Boolean),                # null: one side gives none
    Column("compared_at", String(32), nullable=False),
)
"""Daily reconciliation."""

recognitions = Table(
    "recognitions", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("agreement", String(63), nullable=False),
    Column("issuer", String(64), nullable=False),
    Column("effect", String(64)),                  # local measure; null = none
    Column("consequence", String(8), nullable=False),  # none lift suspend task measure
    Column("reason", String(32), nullable=False),
    Column("until", String(10)),
    Column("inputs", LargeBinary, nullable=False),  # JSON of all inputs of the decision
    Column("decided_at", String(32), nullable=False),
    Column("as_of", String(32)),                    # as of when the partner's stream was known by then
    Column("review_at", String(32), index=True),    # when time alone changes the decision; null = never
)

measures = Table(
    "measures", metadata,
    Column("record_id", String(30), primary_key=True),  # the record of dataset `measures` that tells of it
    Column("about", String(30), nullable=False, index=True),  # the record on account of which it is taken
    Column("v", Seq, nullable=False),                # version of that record
    Column("partner", String(64), nullable=False, index=True),  # ours: whose record it is; theirs: who takes it
    Column("ours", Boolean, nullable=False),
    Column("code", String(64), nullable=False),
    Column("authority", String(18), nullable=False),
    Column("standing", String(12), nullable=False),  # in_effect suspended lifted
    Column("since", String(32), nullable=False),
)
"""Measures taken here on account of partners' records, and there on account of ours (联合奖惩反馈)."""

confirmations = Table(
    "confirmations", metadata,
    Column("record_id", String(30), primary_key=True),
    Column("version", Seq, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, primary_key=True),  # keyed digest of what that version said when it was confirmed
    Column("by_person", String(128), nullable=False),
    Column("basis", String(300), nullable=False),
    Column("at", String(32), nullable=False),
)
"""A named person's yes to the effect of a negative record from elsewhere: never automatic (exchange.md §13)."""

# --- mutual query (exchange.md §12) -----------------------------------------------------------------------------------

questions = Table(
    "questions", metadata,
    Column("party", String(64), primary_key=True),
    Column("question", String(22), primary_key=True),
    Column("agreement", String(63), nullable=False),
    Column("day", String(10), nullable=False),         # legal day, for what an agreement lets be asked a day
    Column("level", Integer, nullable=False),
    Column("officer", String(64), nullable=False),     # the partner's pseudonym
    Column("subject", String(32), nullable=False, index=True),  # keyed digest
    Column("near", String(32), nullable=False),        # keyed digest of what neighbouring codes have in common
    Column("request_digest", String(80), nullable=False),
    Column("evidence", LargeBinary, nullable=False),   # the body and its signature, sealed
    Column("result", String(20), nullable=False),      # hit no_hit need_more refused not_available_until
    Column("code", String(32)),
    Column("answer_digest", String(80), nullable=False),
    Column("told", LargeBinary),                       # the answer as sent, sealed, as long as it may be asked for again; never level 2
    Column("at", String(32), nullable=False, index=True),
    Column("until", String(32)),                       # not available until
    Index("ix_questions_agreement_day", "agreement", "day"),
    Index("ix_questions_party_answer_digest", "party", "answer_digest"),
)
"""What partners asked us, each once; numbers and digests in clear, what was asked sealed."""

inquiries = Table(
    "inquiries", metadata,
    Column("inquiry", String(30), primary_key=True),
    Column("partner", String(64), primary_key=True),
    Column("agreement", String(63), primary_key=True),
    Column("question", String(22), nullable=False),    # empty when the partner was not asked
    Column("day", String(10), nullable=False),
    Column("level", Integer, nullable=False),
    Column("org", String(18), nullable=False),         # on whose behalf
    Column("case_key", String(32), nullable=False, index=True),  # keyed digest of organisation and case
    Column("officer", String(64), nullable=False),     # our pseudonym under this agreement
    Column("subject", String(32), nullable=False),     # keyed digest
    Column("said", LargeBinary, nullable=False),       # who asked what, why; sealed
    Column("status", String(20), nullable=False),
    Column("code", String(40)),
    Column("answer", LargeBinary),                     # the signed answer of level 1, sealed
    Column("answer_digest", String(80)),
    Column("lines", LargeBinary),                      # records of level 2, sealed: gone with the case
    Column("lines_until", String(32), index=True),
    Column("asked_at", String(32), nullable=False, index=True),
    Column("answered_at", String(32)),
    Index("ix_inquiries_agreement_day", "agreement", "day"),
)
"""What we asked partners, a row for each agreement it was asked under; written before anything leaves."""
