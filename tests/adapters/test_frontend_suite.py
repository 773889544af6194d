"""Adapter `frontend_database` under the conformance suite, as source and as partner; what is its own stands in `test_frontend_database`."""

import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import sqlalchemy as sa

from adapters.frontend_database import FrontendDatabase
from adapters.frontend_database_format import FrontendConfig
from adapters.frontend_database_simulator import LOCAL, Province, on
from adapters.suite import AT, CannedRow, PartnerAdapterSuite, PartnerLine, SourceAdapterSuite, SourceLine
from gateway.adapter_contract import RowResult, Secret, SourceRecord, Value

FIELDS = ("document_number", "name", "amount", "note")
COLUMNS = (*FIELDS, "kind")
LONGEST = 4999
CANNED: Mapping[str, object] = {
    "url": "sqlite+aiosqlite:///nowhere.db",
    "tables": {"canned": {"name": "CX_CANNED", "fields": list(COLUMNS), "length": LONGEST, "words": {"kind": {"fine": "罚款"}}}},
    "dfbm": "220500",
}


# --- the suite --------------------------------------------------------------------------------------------------------


class _Sides:
    """A SQLite file with an exchange table, and whoever locks it."""

    config: ClassVar[Mapping[str, object]] = CANNED
    needs: ClassVar[tuple[str, ...]] = ("url", "tables", "dfbm")

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="frontend"))
        self.path = self.folder / "province.db"
        self.engine = sa.create_engine(f"sqlite:///{self.path}", poolclass=sa.NullPool)
        self.province = Province(on(self.engine), "canned", "CX_CANNED", dict.fromkeys(COLUMNS, sa.Text))
        self.page = 3
        self.wait = 5.0

    def connect(self) -> FrontendDatabase:
        """An adapter on the file."""
        settings = {**CANNED, "url": Secret(f"sqlite+aiosqlite:///{self.path}"), "page_rows": self.page, "timeout_s": self.wait}
        return FrontendDatabase(msgspec.convert(settings, FrontendConfig), None)

    def cut(self) -> None:
        """The file is no database any more that could be opened."""
        shutil.rmtree(self.folder)

    def lock(self, seconds: float) -> None:
        """Somebody else writes for so long."""
        begun = threading.Event()

        def hold() -> None:
            connection = sa.create_engine(f"sqlite:///{self.path}", poolclass=sa.NullPool).raw_connection()
            connection.execute("BEGIN EXCLUSIVE")  # type: ignore[attr-defined]  # of the driver
            begun.set()
            time.sleep(seconds)
            connection.close()

        threading.Thread(target=hold, daemon=True).start()
        begun.wait(5)

    def end(self) -> None:
        """Let go of the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class DatabaseSource(_Sides, SourceLine):
    """Rows that the other side has put there for us."""

    def put(self, rows: Sequence[CannedRow]) -> None:
        """Exactly these rows."""
        self.province.empty()
        self.grow(rows)

    def grow(self, rows: Sequence[CannedRow]) -> None:
        """These too."""
        said = AT.astimezone(LOCAL).replace(tzinfo=None)
        self.province.put(
            {
                "RECID": row.record_id,
                "REC_V": row.version,
                "OP": row.op if row.readable else "???",
                "OP_YY": row.reason,
                **{name: value for name, value in row.fields.items() if row.op == "upsert"},
                "DFBM": "220500",
                "SJC": said,
            }
            for row in rows
        )

    def reported(self) -> Sequence[RowResult]:
        """What was written beside the rows."""
        return [
            RowResult(place=f"CX_CANNED!{row['RECID']}:{row['REC_V']}", record_id=row["RECID"], result="rejected", code=row["FK_CODE"])
            for row in self.province.rows()
            if row["FK_ZT"] == "10"
        ]


class DatabasePartner(_Sides, PartnerLine):
    """A province that keeps rows."""

    too_long: ClassVar[int | None] = LONGEST + 1
    foreign: ClassVar[Mapping[str, Value]] = {"kind": "banishment"}

    def __init__(self) -> None:
        super().__init__()
        with self.engine.begin() as connection:  # it counts by itself
            connection.exec_driver_sql(
                "CREATE TRIGGER counting AFTER INSERT ON CX_CANNED BEGIN INSERT OR REPLACE INTO CX_DZ "
                "SELECT date(NEW.SJC), 'canned', 'recv', count(*), NULL FROM CX_CANNED WHERE date(SJC) = date(NEW.SJC); END"
            )

    def received(self, batch: str) -> Sequence[SourceRecord] | None:
        """The rows of a batch as they stand."""
        rows = [row for row in self.province.rows() if row["BATCH_NO"] == batch]
        return [
            SourceRecord(dataset="canned", record_id=row["RECID"], as_of=AT, fields={name: row[name] for name in FIELDS}, place="")
            for row in rows
        ]

    def effects(self, batch: str) -> int:
        """Whether all of its rows are there, or some."""
        rows = self.received(batch) or ()
        return -(-len(rows) // 8)

    def everything(self) -> Sequence[str]:
        """As the rows name them."""
        return sorted({row["BATCH_NO"] for row in self.province.rows()})

    def dawdle(self, seconds: float) -> None:
        """Somebody else writes meanwhile."""
        self.lock(seconds)

    def refuse(self) -> bool:
        """Somebody writes and does not end."""
        self.wait = 0.3
        self.lock(2.0)
        return True

    def hurried(self) -> FrontendDatabase:
        """It waits half a second."""
        self.wait = 0.5
        return self.connect()

    def reply_about(self, codes: Sequence[tuple[str, str]]) -> tuple[bytes, Sequence[RowResult]]:
        """As the adapter gives what stands beside the rows."""
        rows = [
            {"table": "CX_CANNED", "recid": f"src-{place}", "rec_v": 1, "status": code, "code": None, "text": None, "partner_id": None,
             "at": None}
            for place, code in codes
        ]  # fmt: skip
        words: Any = {"00": "accepted", "01": "unchanged", "10": "rejected"}
        expected = [
            RowResult(place=f"CX_CANNED!src-{place}:1", record_id=f"src-{place}", result=words.get(code, "held"), code=code)
            for place, code in codes
        ]
        return msgspec.json.encode({"format": "frontend-database-answers/1", "rows": rows}), expected

    def write_back(self, batch: str, codes: Sequence[tuple[str, str]]) -> bool:
        """Beside the rows of the batch, by their place in it."""
        rows = [row for row in self.province.rows() if row["BATCH_NO"] == batch]
        self.province.write_back([(rows[int(place) - 1]["RECID"], rows[int(place) - 1]["REC_V"], code, None) for place, code in codes])
        return True


class TestSource(SourceAdapterSuite):
    """As a source of rows."""

    skips: ClassVar[Mapping[str, str]] = {"test_a_slow_source_can_be_left": "a reader of SQLite waits for nobody"}

    def line(self) -> SourceLine:
        """A file of its own."""
        return DatabaseSource()


class TestPartner(PartnerAdapterSuite):
    """As a partner."""

    skips: ClassVar[Mapping[str, str]] = {
        "test_the_manifest_comes_last": "rows, no files: one transaction",
        "test_a_broken_transfer_is_no_success": "one transaction; on PostgreSQL: test_a_connection_that_is_cut",
        "test_a_broken_transfer_is_made_whole": "one transaction; on PostgreSQL: test_a_connection_that_is_cut",
        "test_nothing_is_said_before_it_is_kept": "on PostgreSQL: test_a_connection_that_is_cut",
        "test_a_lost_reply_is_no_success": "the reply is read in the transaction that writes",
        "test_redirects_are_not_followed": "a database points nowhere",
        "test_bytes_arrive_unchanged": "the partner keeps rows: test_rows_arrive",
    }

    def line(self) -> PartnerLine:
        """A file of its own."""
        return DatabasePartner()
