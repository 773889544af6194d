"""`province_soap` against its simulator over real sockets: what goes over, what comes back, and what a broken service must not achieve."""

import datetime as dt
import ipaddress
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from defusedxml.ElementTree import fromstring

from adapters import guarded_http
from adapters.hardened_xml import read_xml
from adapters.province_soap import ProvinceSoap, ProvinceSoapConfig
from adapters.province_soap_simulator import BOMB, Province, ProvinceServer, serving
from adapters.province_soap_xml import MessageHeader, Service
from gateway.adapter_contract import AdapterError, Part, Row, RowResult, SealedBatch, Secret

AT = dt.datetime(2026, 6, 1, 2, 30, tzinfo=dt.UTC)
BATCH = "credit.tonghua.example/x/province.administrative-penalties/1/7"
COLUMNS = ("CF_WSH", "CF_XDR_MC", "CF_CFJG", "CF_NR_FK", "CF_ZT")
SERVICE = Service(
    path="/cf", namespace="urn:example:sgs", operation="putCf", columns=COLUMNS, lengths={"CF_WSH": 40}, key=COLUMNS[:3], status="CF_ZT"
)


def row(number: int, op: str = "assert", sent: dict[str, Any] | None = None, **more: Any) -> Row:
    """One invented penalty."""
    fields = {"CF_WSH": f"示罚〔2026〕{number}号", "CF_XDR_MC": f"示例{number}公司", "CF_CFJG": "示例局", "CF_NR_FK": "1.200000"} | more
    return Row(rid=f"rec_{number}", v=1, op=op, dataset="administrative-penalties", reason=None, at=AT, fields=fields, sent=sent)


def sealed(*parts: bytes) -> SealedBatch:
    """A batch of these parts as the core would give it."""

    def part(number: int, data: bytes) -> Part:
        return Part(name=f"1-7-{number:03d}.bin", size=len(data), digest="", read=lambda: iter([data]))

    return SealedBatch(
        batch=BATCH, manifest=b"{}", manifest_note=b"", checkpoint=b"", parts=tuple(part(at, data) for at, data in enumerate(parts))
    )


def adapter(base_url: str, **more: Any) -> ProvinceSoap:
    """An adapter to a service."""
    settings: dict[str, Any] = {
        "base_url": base_url,
        "token": Secret("token"),
        "services": {"administrative-penalties": SERVICE},
        "allow_private": True,
        "timeout_s": 5.0,
    }
    return ProvinceSoap(ProvinceSoapConfig(**settings | more), None)


@pytest.fixture(scope="module")
def shared() -> Iterator[ProvinceServer]:
    """A service that listens during this file."""
    with serving() as made:
        yield made


@pytest.fixture
def server(shared: ProvinceServer) -> ProvinceServer:
    """The same service as if it were new."""
    shared.province = Province()
    return shared


async def bring(server: ProvinceServer, rows: list[Row], **more: Any) -> list[RowResult]:
    """Results of one delivery."""
    line = adapter(server.origin, **more)
    try:
        reply = await line.deliver(sealed(line.encode(rows)))
        assert reply is not None
        return list(line.read_reply(reply))
    finally:
        await line.close()


async def refused(server: ProvinceServer, rows: list[Row], **more: Any) -> AdapterError:
    """The error of one delivery."""
    with pytest.raises(AdapterError) as caught:
        await bring(server, rows, **more)
    return caught.value


# --- what goes over ---------------------------------------------------------------------------------------------------


async def test_a_row_is_a_call(server: ProvinceServer):
    """Each row goes alone to the path of its act type, escaped, beside the token; columns in dictionary order, empty for null."""
    results = await bring(server, [row(1), row(2, CF_NR_FK=None)])
    assert [(each.record_id, each.result) for each in results] == [("rec_1", "accepted"), ("rec_2", "accepted")]
    assert server.province.paths == ["/cf", "/cf"]
    body = fromstring(server.province.calls[1])[0][0]
    assert (body.tag, [each.tag for each in body]) == ("{urn:example:sgs}putCf", ["token", "xml"])
    assert body[1].text == (
        "<ROWDATA><ROW><CF_WSH>示罚〔2026〕2号</CF_WSH><CF_XDR_MC>示例2公司</CF_XDR_MC><CF_CFJG>示例局</CF_CFJG>"
        "<CF_NR_FK></CF_NR_FK><CF_ZT></CF_ZT></ROW></ROWDATA>"
    )


async def test_odd_texts_arrive_as_they_were(server: ProvinceServer):
    """Markup, quotes, `]]>`, line ends of every kind, tabs, blanks and emoji come out of two parsers unchanged."""
    text = " <a>&amp;]]>\"'\r\n\r\t　 😀 "
    await bring(server, [row(1, CF_XDR_MC=text)])
    assert server.province.rows[0]["CF_XDR_MC"] == text


async def test_bulk_is_bounded(server: ProvinceServer):
    """In bulk mode a call has so many rows at most, and the rows keep their order."""
    results = await bring(server, [row(number) for number in range(1, 8)], row_mode="bulk", bulk_rows=3)
    assert len(server.province.calls) == 3
    assert [each["CF_XDR_MC"] for each in server.province.rows] == [f"示例{number}公司" for number in range(1, 8)]
    assert {each.result for each in results} == {"accepted"}


async def test_an_exchange_message_wraps_the_rows(server: ProvinceServer):
    """The envelope has header and fields, and a second try bears the same flow and serial number."""
    header = MessageHeader(sender="220500", receiver="220000", operator="测试员甲")
    for _ in range(2):
        await bring(server, [row(1)], envelope="exchange_message", header=header)
    said = [fromstring(call)[0][0][1].text for call in server.province.calls]
    assert said[0] == said[1]
    message = fromstring(str(said[0]))
    assert [each.tag for each in message] == ["Header", "Body"]
    assert [each.tag for each in message[0]] == ["sender", "receiver", "cc", "flow", "item", "sn", "securityType", "operator", "contacts"]
    assert message[0].findtext("sn") == "7-1"
    assert message.findtext("Body/fields/CF_WSH") == "示罚〔2026〕1号"


async def test_a_withdrawal_is_the_row_with_its_status(server: ProvinceServer):
    """With `status_row` what was sent goes again, withdrawn, and the line has that capability; without it nothing is encoded."""
    sent = row(1).fields
    results = await bring(server, [row(1, "repair", sent=sent, CF_XDR_MC=None)], withdraw="status_row")
    assert [each.result for each in results] == ["withdrawn"]
    assert server.province.rows == [{name: str(sent.get(name, "")) for name in COLUMNS} | {"CF_ZT": "撤销"}]
    line = adapter(server.origin)
    assert "withdrawals" not in line.capabilities
    with pytest.raises(AdapterError) as caught:
        line.encode([row(1), row(2, "repair", sent=sent)])
    assert (caught.value.code, caught.value.place) == ("SCOPE_OP", "2")


@pytest.mark.parametrize(
    ("changed", "code", "place"),
    [
        ({"CF_WSH": "长" * 41}, "SCHEMA_LENGTH", "1:CF_WSH"),
        ({"CF_XDR_MC": "长" * 5001}, "SCHEMA_LENGTH", "1:CF_XDR_MC"),
        ({"CF_NEU": "x"}, "SCHEMA_UNKNOWN", "1:CF_NEU"),
        ({"CF_XDR_MC": True}, "SCHEMA_TYPE", "1:CF_XDR_MC"),
        ({"CF_CFJG": None}, "SCHEMA_MISSING", "1:CF_CFJG"),
        ({"CF_XDR_MC": "示例\x00公司"}, "SCHEMA_TYPE", "1:CF_XDR_MC"),
        ({"CF_XDR_MC": "示例\x1b[31m公司"}, "SCHEMA_TYPE", "1:CF_XDR_MC"),
        ({"CF_XDR_MC": "示例\ud800公司"}, "SCHEMA_TYPE", "1:CF_XDR_MC"),
        ({"CF_XDR_MC": "示例\ufffe公司"}, "SCHEMA_TYPE", "1:CF_XDR_MC"),
    ],
)
def test_a29_what_does_not_fit_is_refused(changed: dict[str, Any], code: str, place: str):
    """Too long, unknown to the dictionary, without its key, or no character of XML 1.0: refused with row and column, never cut."""
    line = adapter("http://127.0.0.1:9", dedupe="business_key")
    with pytest.raises(AdapterError) as caught:
        line.encode([row(1, **changed)])
    assert (caught.value.code, caught.value.place, caught.value.transient) == (code, place, False)
    assert "公司" not in str(caught.value)


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("escaped", [False, True])
async def test_a_refused_row_is_named(server: ProvinceServer, escaped: bool):
    """In single mode a fault names its row, the others go on, and a code means what the settings say; another code is held."""
    server.province.faults = {"示例2公司": ("31", "代码\u202e表\x85不符"), "示例3公司": ("77", "?")}
    server.province.escaped = escaped
    results = await bring(server, [row(number) for number in range(1, 5)], codes={"31": "rejected"})
    assert [(each.record_id, each.result, each.code) for each in results] == [
        ("rec_1", "accepted", None),
        ("rec_2", "rejected", "31"),
        ("rec_3", "held", "77"),
        ("rec_4", "accepted", None),
    ]
    assert results[1].message == "代码\ufffd表\ufffd不符"
    assert [each.place for each in results] == [f"1-7-000.bin:{number}" for number in range(1, 5)]


async def test_a_bulk_call_goes_on_without_the_refused_row(server: ProvinceServer):
    """A bulk call is refused whole: the row that it names is told, and the others come in a call of their own."""
    server.province.faults = {"示例2公司": ("31", "x"), "示例5公司": ("32", "y")}
    results = await bring(server, [row(number) for number in range(1, 7)], row_mode="bulk")
    assert [each.code for each in results] == [None, "31", None, None, "32", None]
    assert [each["CF_XDR_MC"][2] for each in server.province.rows] == ["1", "3", "4", "6"]
    assert len(server.province.calls) == 3


async def test_many_refusals_end_bulk(server: ProvinceServer):
    """After twenty refusals of one call its rows go one by one, and each is told its own fate."""
    server.province.faults = {"示例": ("31", "x")}
    results = await bring(server, [row(number) for number in range(1, 41)], row_mode="bulk")
    assert [each.code for each in results] == ["31"] * 40
    assert sum(call.count(b"&lt;ROW&gt;") for call in server.province.calls) == sum(range(21, 41)) + 20


@pytest.mark.parametrize("offset", [-2, 1, 99])
async def test_a_wrong_line_blames_nobody(server: ProvinceServer, offset: int):
    """A refusal whose line names no row is no row's fault: single or bulk, the rows are held for a person."""
    server.province.faults = {"示例2公司": ("31", "x")}
    server.province.line_offset = offset
    for mode, rows in (("single", [row(2)]), ("bulk", [row(1), row(2)])):
        results = await bring(server, rows, row_mode=mode, codes={"31": "rejected"})
        assert {(each.result, each.code) for each in results} == {("held", "SCHEMA_LINE")}
    assert server.province.rows == []


async def test_a_fatal_code_stops_the_line(server: ProvinceServer):
    """A code about the call itself is an error of the line, not of its rows."""
    error = await refused(server, [row(1)], token=Secret("other"), fatal=("10",))
    assert (error.code, error.transient, error.outcome_unknown) == ("REFUSED", False, False)


# --- when things go wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "code", "transient", "unknown", "taken"),
    [
        ({"drop": "before"}, "UNAVAILABLE", True, True, 0),
        ({"drop": "after"}, "UNAVAILABLE", True, True, 1),
        ({"delay_s": 1.0}, "UNAVAILABLE", True, True, 0),
        ({"status": 503}, "UNAVAILABLE", True, True, 1),
        ({"status": 500, "body": b"oops"}, "UNAVAILABLE", True, True, 1),
        ({"status": 403, "keeps": False}, "REFUSED", False, False, 0),
        ({"status": 429, "keeps": False}, "REFUSED", True, False, 0),
        ({"half": True}, "UNAVAILABLE", True, True, 1),
        ({"body": b""}, "SCHEMA_LINE", False, True, 1),
        ({"body": b"\xff\xfe\x00"}, "SCHEMA_LINE", False, True, 1),
        ({"body": b'{"code":"00"}'}, "SCHEMA_LINE", False, True, 1),
        ({"body": b"<code>00</code>"}, "SCHEMA_LINE", True, True, 1),
        ({"body": b" " * (2**20 + 1)}, "SIZE_BYTES", False, True, 1),
        ({"redirect_to": "http://169.254.169.254/latest/meta-data"}, "UNAVAILABLE", False, True, 0),
    ],
    ids=str,
)
async def test_a22_a_bad_service_is_never_a_success(
    server: ProvinceServer, behaviour: dict[str, Any], code: str, transient: bool, unknown: bool, taken: int
):
    """Silence, hang-ups, 5xx, redirects, half and foreign answers after sending are `outcome_unknown`; a refusal is known."""
    server.province.__dict__.update(behaviour)
    error = await refused(server, [row(1)], timeout_s=0.3 if "delay_s" in behaviour else 5.0)
    assert (error.code, error.transient, error.outcome_unknown) == (code, transient, unknown)
    assert server.province.taken == taken  # the one that dawdles takes it when nobody listens any more
    assert "公司" not in str(error)


async def test_a22_one_byte_a_second_is_bounded(server: ProvinceServer, monkeypatch: pytest.MonkeyPatch):
    """An answer that trickles is given up: by its rate, and at last by its time."""
    server.province.trickle_s = 0.05
    begun = time.monotonic()
    error = await refused(server, [row(1)], timeout_s=0.4)
    assert (error.code, error.outcome_unknown) == ("UNAVAILABLE", True)
    assert time.monotonic() - begun < 2
    monkeypatch.setattr(guarded_http, "SLOWEST_WINDOW_S", 0.2)
    error = await refused(server, [row(1)], timeout_s=5.0)
    assert (error.code, error.outcome_unknown) == ("SIZE_TIME", True)


async def test_what_fails_after_an_answered_row_is_unknown(server: ProvinceServer):
    """A clean refusal of the third row is `outcome_unknown` for the batch: a second try would bring the first two again."""
    server.province.faults = {"示例3公司": ("10", "token")}
    error = await refused(server, [row(number) for number in range(1, 5)], fatal=("10",))
    assert (error.code, error.place, error.outcome_unknown) == ("REFUSED", "1-7-000.bin:3", True)
    assert server.province.taken == 2


async def test_nobody_there_is_known(server: ProvinceServer):
    """A service that cannot be reached has taken nothing, and another try may help."""
    with serving() as gone:
        pass
    error = await refused(gone, [row(1)])
    assert (error.code, error.transient, error.outcome_unknown) == ("UNAVAILABLE", True, False)


async def test_a_guaranteed_key_makes_it_idempotent(server: ProvinceServer):
    """With `dedupe` the line says so, and what was brought twice stands once; without it the line does not claim it."""
    server.province.key = COLUMNS[:3]
    for _ in range(2):
        await bring(server, [row(1), row(2)], dedupe="business_key")
    assert server.province.taken == 2
    assert "idempotent" in adapter(server.origin, dedupe="business_key").capabilities
    assert "idempotent" not in adapter(server.origin).capabilities


A13 = {
    "entity bomb": BOMB,
    "external entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "parameter entity": b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]><a/>',
    "dtd": b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a/>',
    "xinclude": b'<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="file:///etc/passwd" parse="text"/></a>',
    "stylesheet": b'<?xml-stylesheet href="http://127.0.0.1:9/"?><a/>',
    "depth": b"<a>" * 1_000_000,
    "closed depth": b"<a>" * 140_000 + b"</a>" * 140_000,
    "many": b"<a>" + b"<b/>" * 200_000 + b"</a>",
    "another encoding": '<?xml version="1.0" encoding="utf-16"?><a/>'.encode("utf-16"),
    "undeclared entity": b"<a>&x;</a>",
    "control character": b"<a>&#27;</a>",
}


@pytest.mark.parametrize("kind", A13)
def test_a13_hostile_xml_is_refused(kind: str):
    """Entity bomb, external entity, XInclude, DTD, a million levels: refused at once, whatever stands in it."""
    begun = time.process_time()
    with pytest.raises(AdapterError) as caught:
        read_xml(A13[kind])
    assert caught.value.code in ("SCHEMA_LINE", "SIZE_BYTES")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("inside", [False, True])
async def test_a13_hostile_answers_are_no_answers(server: ProvinceServer, inside: bool):
    """A bomb as the answer, or escaped inside one, is `outcome_unknown`, never a success."""
    server.province.body = BOMB
    if inside:
        server.province.escaped = True
        server.province.body = server.province.answer("00", None, None).replace(b"&lt;RESULT&gt;", b"&lt;!DOCTYPE a&gt;&lt;RESULT&gt;")
    error = await refused(server, [row(1)])
    assert (error.code, error.outcome_unknown) == ("SCHEMA_LINE", True)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'{"type":"other","rows":[]}', BOMB, b"\xff"])
def test_a_reply_of_another_kind_is_refused(data: bytes):
    """`read_reply` takes what `deliver` gives, and nothing else."""
    with pytest.raises(AdapterError) as caught:
        adapter("http://127.0.0.1:9").read_reply(data)
    assert caught.value.code == "SCHEMA_LINE"


@pytest.mark.parametrize(
    "data", [b"x", b"rec_1\t1\ta\t<ROW/>", b"rec_1\tx\ta\t<ROW/>\n", b"rec_1\t1\tb\t<ROW/>\n", b"\xff\t1\ta\t<ROW/>\n"]
)
async def test_a30_a_part_of_another_kind_is_not_sent(server: ProvinceServer, data: bytes):
    """A part that this adapter has not encoded never leaves."""
    line = adapter(server.origin)
    with pytest.raises(AdapterError) as caught:
        await line.deliver(sealed(data))
    assert caught.value.code == "SCHEMA_LINE"
    assert server.province.calls == []


# --- settings and the line itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"base_url": "https://credit.example.cn/sgs"},
        {"base_url": "ftp://credit.example.cn"},
        {"envelope": "exchange_message"},
        {"codes": {"00": "held"}},
        {"services": {"x": Service(namespace="u", operation="o", columns=("A", "A"))}},
        {"services": {"x": Service(namespace="u", operation="o", columns=("A",), key=("B",))}},
        {"services": {"x": Service(namespace="u", operation="o", columns=("A",))}, "withdraw": "status_row"},
        {"services": {"x": Service(namespace="u", operation="o", columns=("A",))}, "dedupe": "business_key"},
    ],
)
def test_settings_that_contradict_do_not_start(more: dict[str, Any]):
    """A trust file is needed for https, and what one setting needs another must give."""
    with pytest.raises(AdapterError) as caught:
        adapter(**{"base_url": "http://127.0.0.1:9"} | more)
    assert caught.value.code == "CONFIG"


@pytest.mark.parametrize("namespace", ["http://服务.example/", "urn:a\r\nX: y", 'urn:"a"', "urn:a b", ""])
def test_a_namespace_fits_into_a_header_field(namespace: str):
    """It stands in `SOAPAction` too: what no header field carries is a fault of the settings, not of the line."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"namespace": namespace, "operation": "o", "columns": ["A"]}, Service)


def _certificate(folder: Path, name: str) -> tuple[str, str]:
    """A self-signed certificate of 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return str(paths[0]), str(paths[1])


async def test_only_the_trust_file_is_trusted(tmp_path: Path):
    """Over TLS the certificate of the trust file is taken, another one is not, and then nothing is sent."""
    ours, other = _certificate(tmp_path, "ours"), _certificate(tmp_path, "other")
    server = ProvinceServer(certificate=ours)
    try:
        assert [each.result for each in await bring(server, [row(1)], ca_file=ours[0])] == ["accepted"]
        error = await refused(server, [row(2)], ca_file=other[0])
        assert (error.code, error.outcome_unknown) == ("UNAVAILABLE", False)
        assert len(server.province.calls) == 1
    finally:
        server.close()


async def test_a29_the_token_is_told_nowhere(server: ProvinceServer, caplog: pytest.LogCaptureFixture):
    """Neither token nor value stands in logs, errors, the reply or any repr, whatever goes wrong."""
    caplog.set_level(0)
    line = adapter(server.origin, token=Secret("geheim-Wort"))
    server.province.token = "geheim-Wort"
    reply = await line.deliver(sealed(line.encode([row(1)])))
    server.province.status = 503
    with pytest.raises(AdapterError) as caught:
        await line.deliver(sealed(line.encode([row(1)])))
    await line.close()
    told = caplog.text + repr(line) + repr(line._config) + str(caught.value) + repr(caught.value.args) + str(reply)
    assert "geheim" not in told
    assert "公司" not in told
    assert set(json.loads(reply or b"")["rows"][0]) == {"place", "rid", "version", "withdrawn", "code", "text", "answer"}


async def test_check_names_each_service(server: ProvinceServer):
    """`check` looks for every service's description and sends no row; a redirect or an inner address is told with what to do."""
    line = adapter(server.origin)
    assert [(each.what, each.ok) for each in await line.check()] == [
        ("域名解析", True),
        ("服务 administrative-penalties", True),
        ("时钟", True),
    ]
    for date, wrong in (("Mon, 01 Jun 2020 00:00:00 GMT", ["时钟"]), ("no date", [])):
        server.province.date = date
        assert [each.what for each in await line.check() if not each.ok] == wrong
    await line.close()
    server.province.redirect_to = "http://169.254.169.254/"
    line = adapter(server.origin)
    found = await line.check()
    await line.close()
    assert [(each.ok, each.remedy is not None) for each in found] == [(True, False), (False, True)]  # and nothing of its clock
    line = adapter(server.origin, allow_private=False)
    found = await line.check()
    await line.close()
    assert [each.what for each in found if not each.ok] == ["域名解析"]
    assert server.province.calls == []
