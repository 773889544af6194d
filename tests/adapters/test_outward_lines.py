"""The conformance suite over the lines that only send: `province_soap` in both row modes, `pboc_file` plain and sealed."""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from adapters.hardened_xml import local, read_xml
from adapters.pboc_file import PbocFile, PbocFileConfig
from adapters.pboc_file_format import RecordType, read_name, sections
from adapters.pboc_file_simulator import Bank
from adapters.province_soap import ProvinceSoap, ProvinceSoapConfig
from adapters.province_soap_simulator import Province, ProvinceServer
from adapters.province_soap_xml import Service, read_part
from adapters.suite import AT, PartnerAdapterSuite, PartnerLine, bytes_of, canned_batch
from gateway.adapter_contract import Part, Row, RowResult, SealedBatch, Secret, SourceRecord
from tests.adapters.test_pboc_file import KEY, Tools

CODES = {"01": "unchanged", "10": "rejected"}
RESULTS: Mapping[str, Any] = {"00": "accepted", "01": "unchanged", "10": "rejected"}


# --- the province -----------------------------------------------------------------------------------------------------


class SoapLine(PartnerLine):
    """A service that guarantees its business key."""

    service: ClassVar[Mapping[str, object]] = {
        "namespace": "urn:example:canned",
        "operation": "put",
        "columns": ["document_number", "name", "amount", "note", "state"],
        "key": ["document_number"],
        "status": "state",
    }
    config: ClassVar[Mapping[str, object]] = {
        "base_url": "http://127.0.0.1:9",
        "token": {"file": "token"},
        "services": {"canned": service},
    }
    needs: ClassVar[tuple[str, ...]] = ("base_url", "token", "services")
    too_long: ClassVar[int | None] = 5001
    mode: ClassVar[Any] = "single"

    def __init__(self) -> None:
        self.server = ProvinceServer()
        self.server.province.key = ("document_number",)
        self.origin = self.server.origin
        self.elsewhere: ProvinceServer | None = None

    @property
    def province(self) -> Province:
        """The other side."""
        return self.server.province

    def connect(self, timeout_s: float = 20) -> ProvinceSoap:
        """An adapter to it."""
        return ProvinceSoap(
            ProvinceSoapConfig(
                base_url=self.origin,
                token=Secret("token"),
                services={"canned": msgspec.convert(self.service, Service)},
                allow_private=True,
                timeout_s=timeout_s,
                row_mode=self.mode,
                withdraw="status_row",
                dedupe="business_key",
                codes=CODES,  # type: ignore[arg-type]  # words of the settings
            ),
            None,
        )

    def understood(self, part: bytes) -> Sequence[SourceRecord]:
        """As the service's own parser reads each row."""
        found = []
        for row in read_part(Part(name="p", size=len(part), digest="", read=lambda: iter([part]))):
            fields = {local(cell.tag): cell.text or "" for cell in read_xml(row.xml.encode())}
            op: Any = "withdraw" if row.withdrawn else "upsert"
            found.append(
                SourceRecord(dataset="canned", record_id=row.rid, op=op, version=row.version, as_of=AT, fields={**fields}, place=row.place)
            )
        return found

    def received(self, batch: str) -> Sequence[SourceRecord]:
        """The rows that the service holds, known again by their document numbers."""
        ids = {row.fields["document_number"]: row.rid for row in self.rows("walk")}
        suffix = batch.rpartition("/")[2]
        return [
            SourceRecord(dataset="canned", record_id=f"{ids[row['document_number']]}-{suffix}", as_of=AT, fields={**row}, place="")
            for row in self.province.rows
        ]

    def effects(self, batch: str) -> int:
        """How often all of its rows were new."""
        return self.province.taken // len(self.rows("walk"))

    def cut(self) -> None:
        """Nobody listens."""
        self.server.close()

    def end(self) -> None:
        """Nobody listens any more."""
        self.server.close()
        if self.elsewhere is not None:
            self.elsewhere.close()

    def lose_replies(self) -> bool:
        """It hangs up when the rows are taken."""
        self.province.drop = "after"
        return True

    def redirect(self) -> bool:
        """To another service."""
        self.elsewhere = ProvinceServer()
        self.province.redirect_to = self.elsewhere.origin
        return True

    def followed(self) -> bool:
        """Whether the other service was called."""
        return self.elsewhere is not None and bool(self.elsewhere.province.calls)

    def dawdle(self, seconds: float) -> None:
        """Slow."""
        self.province.delay_s = seconds

    def refuse(self) -> bool:
        """Its own fault."""
        self.province.status, self.province.keeps = 503, False
        return True

    def break_off(self) -> bool:
        """It hangs up in the middle of a call."""
        self.province.drop = "before"
        return True

    def fail_to_keep(self) -> bool:
        """It has read everything and cannot keep it."""
        self.province.status, self.province.body, self.province.keeps = 500, b"disk full", False
        return True

    def heal(self) -> bool:
        """All is well."""
        self.province.drop, self.province.status, self.province.body, self.province.keeps = "", None, None, True
        return True

    def hurried(self) -> ProvinceSoap:
        """With a bound of half a second."""
        return self.connect(timeout_s=0.5)

    def reply_about(self, codes: Sequence[tuple[str, str]]) -> tuple[bytes, Sequence[RowResult]]:
        """As `deliver` keeps the answers."""
        row = {"rid": "rec_1", "version": 1, "withdrawn": False, "text": None, "answer": ""}
        rows = [{"place": f"p:{place}", "code": code, **row} for place, code in codes]
        expected = [RowResult(place=f"p:{place}", record_id="rec_1", result=RESULTS.get(code, "held")) for place, code in codes]
        return msgspec.json.encode({"type": "province-soap-reply/1", "rows": rows}), expected


SOAP_SKIPS = {
    "test_encoding_keeps_null": "a row has every column of the dictionary, empty for null: the service has one empty element for both",
    "test_encoding_keeps_withdrawals": "a withdrawal is the row with its status; there is no column for a reason (test_province_soap)",
    "test_the_manifest_comes_last": "a service sees calls with rows, no files",
    "test_no_other_batch_arrives": "a service is called with rows, which bear no number of a batch",
    "test_unknown_words_are_refused": "the dictionary of a service names columns and lengths, no words",
}


class TestProvinceSoapRowByRow(PartnerAdapterSuite):
    """A call a row."""

    skips: ClassVar[Mapping[str, str]] = SOAP_SKIPS

    def line(self) -> PartnerLine:
        """A service of this check."""
        return SoapLine()


class BulkLine(SoapLine):
    """The same service, rows in one call."""

    mode: ClassVar[Any] = "bulk"


class TestProvinceSoapInBulk(PartnerAdapterSuite):
    """Many rows a call."""

    skips: ClassVar[Mapping[str, str]] = SOAP_SKIPS

    def line(self) -> PartnerLine:
        """A service of this check."""
        return BulkLine()


# --- the bank ---------------------------------------------------------------------------------------------------------


class BankLine(PartnerLine):
    """A folder with a bank behind it."""

    kind: ClassVar[Mapping[str, object]] = {
        "record": "710",
        "delete": "714",
        "columns": ["code", "document_number", "name", "amount", "note"],
        "organisation": "code",
        "key": ["document_number"],
    }
    config: ClassVar[Mapping[str, object]] = {"root": "line", "institution": "TH220500000001", "types": {"canned": kind}}
    needs: ClassVar[tuple[str, ...]] = ("root", "institution", "types")
    too_long: ClassVar[int | None] = 5001
    long: ClassVar[int] = 8
    form: ClassVar[Any] = "enc"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.root = self.folder / "line"
        self.root.mkdir()
        self.bank = Bank(self.root, key=KEY)

    def connect(self) -> PbocFile:
        """An adapter to it."""
        return PbocFile(
            PbocFileConfig(
                root=str(self.root),
                institution="TH220500000001",
                types={"canned": msgspec.convert(self.kind, RecordType)},
                form=self.form,
                accepted=("00",),
                codes=CODES,  # type: ignore[arg-type]  # words of the settings
                settle_s=0.0,
            ),
            Tools(),
        )

    def rows(self, name: str) -> list[Row]:
        """Of an invented organisation."""
        return [msgspec.structs.replace(row, fields={"code": "91220502XXT00002X2", **row.fields}) for row in super().rows(name)]

    def batch(self, number: int) -> SealedBatch:
        """With the time and the number that the core gives."""
        adapter = self.connect()
        data = adapter.encode([msgspec.structs.replace(row, rid=f"{row.rid}-{number}") for row in self.rows("walk")])
        batch = canned_batch(number, [data])
        manifest = msgspec.json.encode({**msgspec.json.decode(batch.manifest), "created": "2026-06-01T02:30:00Z"})
        return msgspec.structs.replace(batch, manifest=manifest, numbers=dict.fromkeys(adapter.numbers(data), number))

    def understood(self, part: bytes) -> Sequence[SourceRecord]:
        """As the bank reads each document."""
        found = []
        for section in sections(part, "utf-8"):
            for line in section.data[:-1].split(b"\n")[1:]:
                said = self.bank._document(line)
                fields = {name: said.fields.get(name) for name in ("document_number", "name", "amount", "note")}
                op: Any = "withdraw" if said.type == self.kind["delete"] else "upsert"
                found.append(
                    SourceRecord(
                        dataset="canned",
                        record_id=said.rid,
                        op=op,
                        version=said.version,
                        as_of=AT,
                        fields={**fields},
                        place=line[:9].decode(),
                    )
                )
        return found

    def _files(self, batch: str) -> list[bytes]:
        found = []
        for path in sorted((self.root / "submit").glob("*")) if (self.root / "submit").is_dir() else []:
            name = read_name(path.name)
            assert name is not None
            note = self.connect()._folder.submitted(name)
            if note is not None and note.batch == batch:
                found.append(path.read_bytes() if self.form == "txt" else Tools().open_file(path.name, path.read_bytes()))
        return found

    def everything(self) -> Sequence[str]:
        """As the notes of the files name them."""
        found = []
        for path in sorted((self.root / "submit").glob("*")):
            note = self.connect()._folder.submitted(read_name(path.name))
            found.append(note.batch)
        return found

    def arrived(self, batch: str) -> SealedBatch | None:
        """The files that lie there for the bank."""
        files = self._files(batch)
        if not files:
            return None
        said = msgspec.structs.replace(self.batch(int(batch.rpartition("/")[2])), parts=())
        data = b"".join(files)
        return msgspec.structs.replace(said, parts=(Part(name="p", size=len(data), digest="", read=lambda: iter([data])),))

    def received(self, batch: str) -> Sequence[SourceRecord] | None:
        """The documents in them."""
        return self.understood(b"".join(bytes_of(part) for part in found.parts)) if (found := self.arrived(batch)) is not None else None

    def effects(self, batch: str) -> int:
        """Files that lie there."""
        return len(self._files(batch))

    def cut(self) -> None:
        """The folder is gone."""
        self.root.rename(self.folder / "gone")

    def end(self) -> None:
        """No folder is left."""
        shutil.rmtree(self.folder)

    def refuse(self) -> bool:
        """A file stands where the folder should be."""
        (self.root / "submit").write_bytes(b"")
        return True

    def reply_about(self, codes: Sequence[tuple[str, str]]) -> tuple[bytes, Sequence[RowResult]]:
        """A feedback file about three rows."""
        batch = self.batch(1)
        asyncio.run(self.connect().deliver(batch))
        self._answer(batch.batch, codes)
        (found,) = self._looked()[-1:]
        name = "TH2205000000012026060171000011." + self.form
        expected = [
            RowResult(place=f"{name}:{place}", record_id=f"src-{place}-1", result=RESULTS.get(code, "held")) for place, code in codes
        ]
        return found.data, expected

    def write_back(self, batch: str, codes: Sequence[tuple[str, str]]) -> bool:
        """Feedback under the one name that it has; the line has looked at it before the next comes."""
        self._answer(batch, codes)
        self._looked()
        return True

    def _answer(self, batch: str, codes: Sequence[tuple[str, str]]) -> None:
        number = batch.rpartition("/")[2]
        self.bank.work() if not self.bank.taken else None
        self.bank._put(self.bank.taken[0], [(int(place), f"src-{place}-{number}", code, "") for place, code in codes])

    def _looked(self) -> list[Any]:
        async def look() -> list[Any]:
            return [late async for late in self.connect().feedback(None)]

        return asyncio.run(look())


BANK_SKIPS = {
    "test_encoding_keeps_withdrawals": "a withdrawal is a document of the delete type, without a reason (test_pboc_file)",
    "test_counts_agree_with_what_went": "what the bank has taken is known from its feedback, which comes later (test_pboc_file)",
    "test_a_broken_transfer_is_no_success": "a file gets its name when it is whole: half a file is none",
    "test_nothing_is_said_before_it_is_kept": "the name of a file is the last step, and a name that is taken is refused",
    "test_a_lost_reply_is_no_success": "a folder gives no reply: feedback comes later",
    "test_nothing_is_tried_again": "a folder gives no reply that could be lost; put in again, nothing happens (test_pboc_file)",
    "test_redirects_are_not_followed": "a folder points nowhere else",
    "test_the_deadline_is_kept": "the line waits for nobody; how long a delivery may take is the core's",
    "test_the_manifest_comes_last": "the bank's own files have no manifest",
    "test_unknown_words_are_refused": "the form of a document names columns, no words",
}


class TestPbocFileSealed(PartnerAdapterSuite):
    """Files under the line's key."""

    skips: ClassVar[Mapping[str, str]] = BANK_SKIPS

    def line(self) -> PartnerLine:
        """A folder of this check."""
        return BankLine()


class PlainLine(BankLine):
    """The same folder without a key."""

    form: ClassVar[Any] = "txt"


class TestPbocFilePlain(PartnerAdapterSuite):
    """Files as they are."""

    skips: ClassVar[Mapping[str, str]] = BANK_SKIPS

    def line(self) -> PartnerLine:
        """A folder of this check."""
        return PlainLine()
