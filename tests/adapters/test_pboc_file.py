"""`pboc_file` against its simulator in a folder: what is put in, what comes back, and what broken feedback must not achieve."""

import datetime as dt
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters import pboc_file_folder
from adapters.pboc_file import PbocFile, PbocFileConfig
from adapters.pboc_file_format import RecordType, encode_header, read_header, read_name
from adapters.pboc_file_simulator import Bank, Misbehaviour
from gateway.adapter_contract import AdapterError, LateReply, Part, Row, RowResult, SealedBatch
from gateway.core.errors import ExchangeError
from gateway.core.exchange import sealed_files
from tests.operations.publishing import household_code

AT = dt.datetime(2026, 6, 1, 2, 30, tzinfo=dt.UTC)
KEY = bytes(range(32))
INSTITUTION = "TH220500000001"
PENALTIES = RecordType(
    record="710", delete="714", columns=("CF_WSH", "CF_XDR_MC", "CF_XDR_SHXYM", "CF_NR_FK"), organisation="CF_XDR_SHXYM", key=("CF_WSH",)
)


class Tools:
    """What the core lends."""

    def __init__(self, key: bytes = KEY) -> None:
        self.key = key

    def sign_request(self, method: str, url: str, content_type: str | None, body: bytes | None) -> Mapping[str, str]:
        """Unused."""
        raise NotImplementedError

    def seal_file(self, name: str, data: bytes) -> bytes:
        """As the core does."""
        return sealed_files.seal_file(self.key, name, data)

    def open_file(self, name: str, data: bytes) -> bytes:
        """As the core does."""
        try:
            return sealed_files.open_file(self.key, name, data)
        except ExchangeError as error:
            raise AdapterError(error.code, "文件无法打开", transient=False) from error


def adapter(root: Path, **more: Any) -> PbocFile:
    """An adapter on a folder."""
    settings: dict[str, Any] = {
        "root": str(root),
        "institution": INSTITUTION,
        "types": {"administrative-penalties": PENALTIES},
        "codes": {"E001": "rejected", "E002": "held"},
        "settle_s": 0.0,
    }
    return PbocFile(PbocFileConfig(**settings | more), Tools())


def row(number: int, op: str = "assert", sent: dict[str, Any] | None = None, **more: Any) -> Row:
    """One invented penalty of an organisation."""
    fields = {"CF_WSH": f"示罚〔2026〕{number}号", "CF_XDR_MC": f"示例{number}公司", "CF_XDR_SHXYM": "91220502XXT00002X2", "CF_NR_FK": None}
    said = {} if op not in ("assert", "amend") else fields | more
    return Row(rid=f"rec_{number}", v=1, op=op, dataset="administrative-penalties", reason=None, at=AT, fields=said, sent=sent)


def sealed(line: PbocFile, rows: list[Row], seq: int = 7, serial: int = 1) -> SealedBatch:
    """A batch of these rows as the core would give it."""
    data = line.encode(rows)
    part = Part(name=f"1-{seq}-000.bin", size=len(data), digest="", read=lambda: iter([data[:9], data[9:]]))
    return SealedBatch(
        batch=f"credit.tonghua.example/x/bank.administrative-penalties/1/{seq}",
        manifest=b'{"created":"2026-06-01T16:30:00Z"}',
        manifest_note=b"",
        checkpoint=b"",
        parts=(part,),
        numbers=dict.fromkeys(line.numbers(data), serial),
    )


async def late(line: PbocFile, after: str | None = None) -> list[LateReply]:
    """Feedback since a cursor."""
    return [each async for each in line.feedback(after)]


async def told(line: PbocFile, after: str | None = None) -> list[RowResult]:
    """Results of all feedback since a cursor."""
    return [result for each in await late(line, after) for result in line.read_reply(each.data)]


def outcome(results: list[RowResult]) -> dict[str | None, tuple[str, str | None]]:
    """Record → result and code; none may stand twice."""
    found = {each.record_id: (each.result, each.code) for each in results}
    assert len(found) == len(results)
    return found


def names(root: Path, folder: str) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in (root / folder).iterdir())


# --- names and files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "TH220500000001202606027100001.enc",
        "TH22050000000120260602710000100.enc",
        "TH22050000000120260602710010000.enc",
        "th220500000001202606027100001" + "0.enc",
        "TH220500000001202613027100001" + "0.enc",
        "../220500000001202606027100001" + "0.enc",
        "TH220500000001202606027100001" + "2.enc",
        "TH220500000001202606027100001" + "0.exe",
        "TH220500000001202606027101001" + "0.enc",
        "TH2205000000012026060271000010.enc\n",
    ],
)
def test_a_name_of_another_shape_is_none(text: str):
    """A name has exactly 34 characters in their places: anything else is no name, also one that climbs out of the folder."""
    assert read_name(text) is None


def test_a_name_says_what_it_says():
    """Institution, day, type, `0`, serial, flag, form: 34 characters, and back."""
    name = read_name("TH2205000000012026060271000071.enc")
    assert name is not None
    assert (name.institution, name.day, name.type, name.serial) == (INSTITUTION, dt.date(2026, 6, 2), "710", 7)
    assert (name.feedback, name.form, len(name.text)) == (True, "enc", 34)


async def test_a_file_has_the_shape(tmp_path: Path):
    """The header has 50 bytes in their places, then one document a line; the file is the part, byte for byte."""
    line = adapter(tmp_path, form="txt")
    batch = sealed(line, [row(1), row(2, CF_XDR_MC="甲<&]]>\n乙")])
    await line.deliver(batch)
    (name,) = names(tmp_path, "submit")
    assert name == "TH2205000000012026060271000010.txt"  # the day of the manifest in UTC+8
    data = (tmp_path / "submit" / name).read_bytes()
    assert data == b"".join(batch.parts[0].read())
    first, *lines = data.decode().splitlines()
    assert first == "A0507102.0.0  TH220500000001202606011030000" + "0000002"
    assert len(first) == 50
    assert lines[0] == (
        "<Document><BsSgmt><InfRecType>710</InfRecType><RecId>rec_1</RecId><RecVer>1</RecVer><RptDate>2026-06-01</RptDate></BsSgmt>"
        "<InfSgmt><CF_WSH>示罚〔2026〕1号</CF_WSH><CF_XDR_MC>示例1公司</CF_XDR_MC><CF_XDR_SHXYM>91220502XXT00002X2</CF_XDR_SHXYM>"
        "</InfSgmt></Document>"
    )
    assert len(lines) == 2
    assert Bank(tmp_path).collect()[0].documents[1].fields["CF_XDR_MC"] == "甲<&]]>\n乙"


def test_basic_information_says_so():
    """The template of basic information is `10`, of everything else two blanks."""
    kind = RecordType(record="310", columns=("A",), organisation="A", basic=True)
    line = PbocFile(PbocFileConfig(root="x", institution=INSTITUTION, types={"registrations": kind}), None)
    one = Row(rid="rec_1", v=1, op="assert", dataset="registrations", reason=None, at=AT, fields={"A": "91220502XXT00002X2"})
    header = read_header(line.encode([one]).split(b"\n")[0])
    assert (header.basic, header.type, header.count, encode_header(header)[12:14]) == (True, "310", 1, b"10")
    assert "withdrawals" not in line.capabilities


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
@pytest.mark.parametrize("form", ["txt", "enc"])
async def test_what_is_sent_is_read_and_answered(tmp_path: Path, encoding: Any, form: str):
    """Statements and withdrawals go as files of their own types; the bank reads them, and its feedback finds every row."""
    line = adapter(tmp_path, encoding=encoding, form=form)
    bank = Bank(tmp_path, key=KEY, encoding=encoding)
    bank.faults = {"示例2公司": ("E001", "机构\u202e不存在")}
    await line.deliver(sealed(line, [row(1), row(9, "repair", sent=row(9).fields), row(2, CF_XDR_MC="示例2公司😀龘"), row(3)]))
    taken = bank.work()
    assert [(each.name.type, len(each.documents), each.fault) for each in taken] == [("710", 3, None), ("714", 1, None)]
    assert taken[1].documents[0].fields == {"CF_WSH": "示罚〔2026〕9号"}
    assert set(bank.stock) == {"rec_1", "rec_3"}
    results = await told(line)
    assert outcome(results) == {
        "rec_1": ("accepted", None),
        "rec_2": ("rejected", "E001"),
        "rec_3": ("accepted", None),
        "rec_9": ("withdrawn", None),
    }
    assert next(each.message for each in results if each.record_id == "rec_2") == "机构\ufffd不存在"
    assert {each.place.rpartition(":")[2]: each.record_id for each in results} == {"1": "rec_1", "2": "rec_2", "3": "rec_3", "4": "rec_9"}


async def test_a_refused_record_is_sent_again_whole(tmp_path: Path):
    """The next file holds the refused record with all its fields, and the bank then has it."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    bank.faults = {"示例1公司": ("E001", "x")}
    await line.deliver(sealed(line, [row(1), row(2)]))
    bank.work()
    assert set(bank.stock) == {"rec_2"}
    bank.faults = {}
    await line.deliver(sealed(line, [row(1)], seq=8, serial=2))
    (again,) = bank.work()
    assert again.documents[0].fields == {name: value for name, value in row(1).fields.items() if value is not None}
    assert set(bank.stock) == {"rec_1", "rec_2"}


# --- only what is lawful ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "code", "place"),
    [
        ({"CF_XDR_SHXYM": None}, "LAW_PERSON", "2:CF_XDR_SHXYM"),
        ({"CF_XDR_SHXYM": household_code(7)}, "LAW_PERSON", "2:CF_XDR_SHXYM"),
        ({"CF_XDR_SHXYM": "91220502XXT00002X3"}, "LAW_PERSON", "2:CF_XDR_SHXYM"),
        ({"CF_XDR_SHXYM": "某某"}, "LAW_PERSON", "2:CF_XDR_SHXYM"),
        ({"CF_FRDB": "某某"}, "SCOPE_FIELD", "2:CF_FRDB"),
        ({"CF_XDR_MC": "长" * 5001}, "SCHEMA_LENGTH", "2:CF_XDR_MC"),
        ({"CF_XDR_MC": "示例\x00公司"}, "SCHEMA_TYPE", "2:CF_XDR_MC"),
        ({"CF_XDR_MC": "示例\ud800公司"}, "SCHEMA_TYPE", "2:CF_XDR_MC"),
        ({"CF_XDR_MC": True}, "SCHEMA_TYPE", "2:CF_XDR_MC"),
    ],
)
def test_what_is_not_lawfully_public_is_refused(tmp_path: Path, changed: dict[str, Any], code: str, place: str):
    """Persons and households are LAW_PERSON, other fields SCOPE_FIELD, and what does not fit is refused; no value is told."""
    line = adapter(tmp_path)
    with pytest.raises(AdapterError) as caught:
        line.encode([row(1), row(2, **changed)])
    assert (caught.value.code, caught.value.place, caught.value.transient) == (code, place, False)
    assert "公司" not in str(caught.value)


def test_a_number_of_a_person_is_no_code(tmp_path: Path):
    """Whatever has the check digit of an identity card is no organisation, also where it would pass as a code."""
    line = adapter(tmp_path)
    refused = 0
    for tail in range(1000):
        body = f"22059919900101{tail:03d}"
        number = body + "10X98765432"[sum(int(body[at]) << (17 - at) for at in range(17)) % 11]
        with pytest.raises(AdapterError) as caught:
            line.encode([row(1, CF_XDR_SHXYM=number)])
        refused += caught.value.code == "LAW_PERSON"
    assert refused == 1000


# --- numbers, once, crashes -------------------------------------------------------------------------------------------


async def test_a_batch_is_put_in_once(tmp_path: Path):
    """Delivered again, also after the bank has taken the files away, nothing appears a second time."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    batch = sealed(line, [row(1), row(2, "retract")])
    for _ in range(2):
        await line.deliver(batch)
    assert len(bank.collect()) == 2
    await line.deliver(batch)
    assert bank.collect() == []


async def test_a_sealed_file_is_the_same_file_again(tmp_path: Path):
    """Put into two folders under one name, the bytes are the same: sealing has no chance in it."""
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        line = adapter(tmp_path / name)
        await line.deliver(sealed(line, [row(1)]))
        found.append([path.read_bytes() for path in (tmp_path / name / "submit").iterdir()])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["pending", "begun", "draft"])
async def test_half_a_note_of_a_crash_stops_nothing(tmp_path: Path, name: str):
    """What a crash left of a note before its file was placed is nobody's: the batch goes in at the next try."""
    line = adapter(tmp_path, form="txt")
    batch = sealed(line, [row(1)])
    (tmp_path / "noted").mkdir()
    half = b'{"batch":"credit' if name != "pending" else b""
    (tmp_path / "noted" / f"{INSTITUTION}2026060271000010.txt.{name}").write_bytes(half)
    await line.deliver(batch)
    assert names(tmp_path, "submit") == [f"{INSTITUTION}2026060271000010.txt"]
    assert names(tmp_path, "noted") == [f"{INSTITUTION}2026060271000010.txt.json"]


async def test_another_batch_under_a_used_name_is_refused(tmp_path: Path):
    """A serial that was used, and a file that somebody else put there, are DUP_KEY: nothing is overwritten."""
    line = adapter(tmp_path)
    await line.deliver(sealed(line, [row(1)]))
    (name,) = names(tmp_path, "submit")
    before = (tmp_path / "submit" / name).read_bytes()
    foreign = tmp_path / "submit" / name.replace("71000010", "71000020")
    foreign.write_bytes(b"of somebody")
    for serial in (1, 2):
        with pytest.raises(AdapterError) as caught:
            await line.deliver(sealed(line, [row(2)], seq=8, serial=serial))
        assert (caught.value.code, caught.value.transient) == ("DUP_KEY", False)
    assert (tmp_path / "submit" / name).read_bytes() == before
    assert foreign.read_bytes() == b"of somebody"
    assert [each for each in names(tmp_path, "noted") if not each.endswith(".json")] == []


class Killed(BaseException):
    """The process dies here."""


STEPS = [(pboc_file_folder, "_write"), (pboc_file_folder, "_persist"), (os, "link"), (Path, "unlink"), (Path, "rename")]


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(("where", "step"), STEPS, ids=[step for _, step in STEPS])
async def test_a23_a_crash_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, step: str, before: bool, taken: bool):
    """Ended before or after any step, the next delivery puts the file in once; or, where it may have been taken, says that nobody knows."""
    real = getattr(where, step)
    for at in range(1, 4):
        root = tmp_path / str(at)
        root.mkdir()
        line, bank = adapter(root), Bank(root, key=KEY)
        batch = sealed(line, [row(1)])
        count = 0

        def dying(*said: Any, at: int = at, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == at and before:
                raise Killed
            done = real(*said, **more)
            if count == at:
                raise Killed
            return done

        with monkeypatch.context() as patch:
            patch.setattr(where, step, dying)
            with suppress(Killed):
                await line.deliver(batch)
        files = bank.collect() if taken else []
        error: AdapterError | None = None
        try:
            await line.deliver(batch)
        except AdapterError as raised:
            error = raised
        if error is not None:
            assert (error.outcome_unknown, error.transient) == (True, False)
            assert not (root / "submit").exists() or names(root, "submit") == []
            assert [each.what for each in await line.check() if not each.ok] == ["放置中断"]
        else:
            files += bank.collect()
            assert [each.documents[0].rid for each in files] == ["rec_1"]


async def test_a_batch_without_its_number_does_not_go(tmp_path: Path):
    """The core gives each file its number; a batch without one, and one of another institution, stay here."""
    line = adapter(tmp_path)
    batch = sealed(line, [row(1)])
    for carrier, said in (
        (line, msgspec.structs.replace(batch, numbers={})),
        (adapter(tmp_path, institution="TH220500000002"), batch),
    ):
        with pytest.raises(AdapterError) as caught:
            await carrier.deliver(said)
        assert caught.value.code == "CONFIG"
    assert not (tmp_path / "submit").exists()


async def test_a_folder_that_is_gone_is_told(tmp_path: Path):
    """Without its root the line is a transient error and `check` says what to do; nothing is made elsewhere."""
    line = adapter(tmp_path / "gone")
    with pytest.raises(AdapterError) as caught:
        await line.deliver(sealed(line, [row(1)]))
    assert (caught.value.code, caught.value.transient, caught.value.outcome_unknown) == ("UNAVAILABLE", True, False)
    assert [each.ok for each in await line.check()] == [False, True]
    assert list(tmp_path.iterdir()) == []


# --- feedback that is not as it should be -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("truncated", "SCHEMA_LINE"),
        ("wrong_count", "SCHEMA_COUNTS"),
        ("garbage", "SCHEMA_LINE"),
        ("undecryptable", "FILE_SEALED"),
    ],
)
@pytest.mark.parametrize("form", ["enc", "txt"])
async def test_feedback_that_cannot_be_read_holds_its_rows(tmp_path: Path, kind: Misbehaviour, code: str, form: str):
    """Cut off, miscounted, no feedback at all or sealed under another key: every row of the file is held until good feedback comes."""
    line, bank = adapter(tmp_path, form=form), Bank(tmp_path, key=KEY)
    await line.deliver(sealed(line, [row(1), row(2)]))
    bank.misbehaves = kind
    taken = bank.work()
    first = await late(line)
    held = ("held", code) if (kind, form) != ("undecryptable", "txt") else ("accepted", None)
    assert outcome([*line.read_reply(first[0].data)]) == {"rec_1": held, "rec_2": held}
    bank.misbehaves = None
    bank.answer(taken)
    assert set(outcome(await told(line, first[0].cursor)).values()) == {("accepted", None)}


async def test_feedback_about_rows_of_nobody_hits_nobody(tmp_path: Path):
    """A line or record that the file does not have is told as strange, and touches no row of ours."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    await line.deliver(sealed(line, [row(1), row(2)]))
    bank.misbehaves = "unknown_rows"
    bank.work()
    results = await told(line)
    assert [(each.record_id, each.result, each.code) for each in results] == [
        ("rec_unbekannt", "held", "FEEDBACK_UNKNOWN"),
        ("rec_fremd", "held", "FEEDBACK_UNKNOWN"),
        ("rec_1", "accepted", None),
        ("rec_2", "accepted", None),
    ]


@pytest.mark.parametrize(("kind", "code"), [("wrong_record", "FEEDBACK_UNKNOWN"), ("contradictory", "FEEDBACK_TWICE")])
async def test_contradictory_feedback_holds(tmp_path: Path, kind: Misbehaviour, code: str):
    """A line that names another line's record, and two codes for one line, are believed about neither row."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    await line.deliver(sealed(line, [row(1), row(2), row(3)]))
    bank.misbehaves = kind
    bank.work()
    found = outcome(await told(line))
    assert found["rec_1"] == ("held", code)
    assert found["rec_2"] == (("held", code) if kind == "wrong_record" else ("accepted", None))
    assert found["rec_3"] == ("accepted", None)


async def test_doubled_feedback_says_it_once(tmp_path: Path):
    """A line that stands twice is one line; a file that comes twice says the same twice."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    bank.faults = {"示例2公司": ("E001", "x")}
    await line.deliver(sealed(line, [row(1), row(2)]))
    bank.misbehaves = "duplicated"
    taken = bank.work()
    first = await late(line)
    bank.answer(taken)
    second = await late(line, first[-1].cursor)
    once = {"rec_1": ("accepted", None), "rec_2": ("rejected", "E001")}
    assert [outcome([*line.read_reply(each.data)]) for each in first + second] == [once, once]
    assert {each.batch for each in first + second} == {"credit.tonghua.example/x/bank.administrative-penalties/1/7"}


async def test_a_file_that_is_refused_whole(tmp_path: Path):
    """Line 0 with another code than acceptance is the file: each of its rows bears the code."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY[::-1])  # the bank cannot open what it gets
    await line.deliver(sealed(line, [row(1), row(2)]))
    taken = bank.collect()
    Bank(tmp_path, key=KEY).answer(taken)
    assert outcome(await told(line)) == {"rec_1": ("held", "FILE_SEALED"), "rec_2": ("held", "FILE_SEALED")}


async def test_a12_strange_entries_stay_where_they_are(tmp_path: Path):
    """Links, folders, other names, another institution's files, huge ones: nothing is followed or read, and `check` tells of them."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    await line.deliver(sealed(line, [row(1)]))
    bank.misbehaves = "wrong_name"
    bank.work()
    feedback = tmp_path / "feedback"
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    (feedback / "TH2205000000012026060271000011.enc").symlink_to(secret)
    (feedback / "TH2205000000012026060271000021.enc").mkdir()
    (feedback / "notes.zip").write_bytes(b"PK")
    with (feedback / "TH2205000000012026060271000031.txt").open("wb") as file:
        file.truncate(pboc_file_folder.MAX_FEEDBACK + 1)
    assert await late(line) == []
    assert len(names(tmp_path, "feedback")) == 4
    assert len(names(tmp_path, "refused")) == 1
    bad = {each.what: each.message for each in await line.check() if not each.ok}
    assert set(bad) == {"反馈文件名", "无法对应的反馈"}
    assert " 4 " in bad["反馈文件名"]


@pytest.mark.parametrize("text", ["示例\x1b[31m", "示例\u202e", "<!DOCTYPE a>", "&x;"])
def test_a13_hostile_feedback_lines_hold(tmp_path: Path, text: str):
    """A control character, a bomb or a DTD in a feedback line: the file is unreadable; direction marks are taken out of its words."""
    line = adapter(tmp_path, form="txt")
    xml = f"<Document><FdbkInf><LineNo>1</LineNo><ErrCode>E001</ErrCode><ErrMsg>{text}</ErrMsg></FdbkInf></Document>\n"
    data = b"A0507102.0.0  TH2205000000012026060110300000000001\n" + xml.encode()
    said = {
        "type": "pboc-feedback/1",
        "file": "TH2205000000012026060271000011.txt",
        "rows": [["rec_1", 1, 1]],
        "deletes": False,
        "data": data,
    }
    (result,) = line.read_reply(msgspec.json.encode(said))
    if "\u202e" in text:
        assert (result.result, result.code, result.message) == ("rejected", "E001", "示例\ufffd")
    else:
        assert (result.result, result.code) == ("held", "SCHEMA_LINE")


async def test_feedback_is_read_when_it_has_settled(tmp_path: Path):
    """A file that has just been written may not be whole: it is left until it has not changed for a while."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    await line.deliver(sealed(line, [row(1)]))
    bank.work()
    assert await late(adapter(tmp_path, settle_s=3600.0)) == []
    assert len(await late(line)) == 1


async def test_cursors_go_on(tmp_path: Path):
    """From each cursor only later feedback comes, also when older names arrive later; strange cursors are refused."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    for serial in (1, 2, 3):
        await line.deliver(sealed(line, [row(serial)], seq=serial, serial=serial))
    taken = bank.collect()
    for count, file in enumerate(reversed(taken), 1):
        bank.answer([file])
        assert len(await late(line)) == count
    found = await late(line)
    assert [each.batch for each in found] == [f"credit.tonghua.example/x/bank.administrative-penalties/1/{seq}" for seq in (3, 2, 1)]
    for at, each in enumerate(found):
        assert await late(line, each.cursor) == found[at + 1 :]
    for cursor in ("", "x", "00000004", "1", "٠٠٠٠٠٠٠١"):
        with pytest.raises(AdapterError) as caught:
            await late(line, cursor)
        assert (caught.value.code, caught.value.transient) == ("CURSOR_UNKNOWN", False)


async def test_feedback_comes_in_the_order_of_its_arrival(tmp_path: Path):
    """Files that lie there together come in the order in which they were written, whatever their names say."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    for serial in (1, 2, 3):
        await line.deliver(sealed(line, [row(serial)], seq=serial, serial=serial))
    taken = bank.collect()
    for at in (1, 2, 0):
        bank.answer([taken[at]])
        time.sleep(0.02)
    assert [each.batch[-1] for each in await late(line) if each.batch] == ["2", "3", "1"]


async def test_a12_a_link_among_the_notes_is_not_read(tmp_path: Path):
    """A note that is a link is an error of the line, and what it points to is neither read nor written."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    batch = sealed(line, [row(1)])
    await line.deliver(batch)
    bank.work()
    (note,) = (tmp_path / "noted").iterdir()
    elsewhere = tmp_path / "elsewhere.json"
    note.rename(elsewhere)
    note.symlink_to(elsewhere)
    said = elsewhere.read_bytes()
    for story in (late(line), line.deliver(batch), line.counts(dt.date(2026, 6, 2))):
        with pytest.raises(AdapterError) as caught:
            await story
        assert caught.value.code == "UNAVAILABLE"
    assert elsewhere.read_bytes() == said


async def test_what_is_done_is_not_kept_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After some days notes and feedback that was read are gone, and the numbers still go on."""
    line, bank = adapter(tmp_path, keep_days=1), Bank(tmp_path, key=KEY)
    for serial in (1, 2):
        await line.deliver(sealed(line, [row(serial)], seq=serial, serial=serial))
        bank.work()
        found = await late(line)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86400)
    assert await late(line, found[-1].cursor) == []
    assert names(tmp_path, "noted") == []
    assert [name[:8] for name in names(tmp_path, "arrived")] == ["00000002"]


async def test_counts_are_of_the_day(tmp_path: Path):
    """Rows put in are counted by the day of the name, and those that the bank took once it has said so."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    bank.faults = {"示例2公司": ("E001", "x")}
    await line.deliver(sealed(line, [row(1), row(2), row(3, "retract")]))
    day = dt.date(2026, 6, 2)
    assert [(each.side, each.rows) for each in await line.counts(day)] == [("sent", 3)]
    bank.work()
    await late(line)
    assert [(each.side, each.rows) for each in await line.counts(day)] == [("sent", 3), ("recv", 2)]
    assert await line.counts(dt.date(2026, 6, 1)) == []


@pytest.mark.parametrize(
    "data", [b"", b"A", b"A0507102.0.0  TH2205000000012026060110300000000002\n<Document>\n", b"{}\n", b"\xff\n", b"\n"]
)
async def test_a30_a_part_of_another_kind_is_not_put_in(tmp_path: Path, data: bytes):
    """A part that this adapter has not encoded never reaches the folder, nor gets a number."""
    line = adapter(tmp_path)
    part = Part(name="1-7-000.bin", size=len(data), digest="", read=lambda: iter([data]))
    with pytest.raises(AdapterError) as caught:
        await line.deliver(msgspec.structs.replace(sealed(line, [row(1)]), parts=(part,)))
    assert caught.value.code in ("SCHEMA_LINE", "SCHEMA_COUNTS")
    with pytest.raises(AdapterError):
        line.numbers(data)
    assert not (tmp_path / "submit").exists()


@pytest.mark.parametrize(
    "more",
    [
        {"types": {"a": PENALTIES, "b": PENALTIES}},
        {"types": {"a": RecordType(record="710", columns=("A",), organisation="B")}},
        {"types": {"a": RecordType(record="710", columns=("A", "A"), organisation="A")}},
        {"codes": {"0000": "held"}},
    ],
)
def test_settings_that_contradict_do_not_start(tmp_path: Path, more: dict[str, Any]):
    """One record type has one meaning, and what one setting names another must have."""
    with pytest.raises(AdapterError) as caught:
        adapter(tmp_path, **more)
    assert caught.value.code == "CONFIG"


async def test_a_missing_key_of_ours_is_our_fault(tmp_path: Path):
    """Feedback is not read, and not lost, while our own file key is missing."""
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    await line.deliver(sealed(line, [row(1)]))
    bank.work()
    (found,) = await late(line)
    with pytest.raises(AdapterError) as caught:
        PbocFile(line._config, None).read_reply(found.data)
    assert caught.value.code == "CONFIG"
    assert outcome([*line.read_reply(found.data)]) == {"rec_1": ("accepted", None)}


async def test_a29_no_value_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """No value stands in logs, notes, feedback that is kept beside them, or the adapter's repr; only ids and codes."""
    caplog.set_level(0)
    line, bank = adapter(tmp_path), Bank(tmp_path, key=KEY)
    await line.deliver(sealed(line, [row(1)]))
    bank.work()
    await told(line)
    kept = b"".join(path.read_bytes() for folder in ("noted", "arrived") for path in (tmp_path / folder).iterdir())
    assert "公司" not in caplog.text + repr(line) + kept.decode("utf-8", "replace")
