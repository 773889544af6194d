"""What somebody sent as TOML comes to an end: a fault with its line, in little time, and never an error of Python's own."""

import time
from datetime import date

import msgspec
import pytest

from gateway.core.disclosure.policy import check_policies
from gateway.core.errors import AdminError, ExchangeError, GatewayError, PolicyError
from gateway.core.exchange.agreements import signed_form
from gateway.core.exchange.lines import read_terms
from gateway.core.toml import MAX_DEPTH, TomlFault, decode, parse
from gateway.operations.manage_grants import read_grant
from tests.core.disclosure.making import TODAY, shipped_files

HOSTILE = {
    "a number of thousands of digits": b"\nx = " + b"9" * 5000,
    "a key of a hundred thousand parts": b"\n" + b".".join([b"a"] * 100_000) + b" = 1",
    "quoted parts": b"\n" + b" . ".join([b'"a"', b"'b'"] * 20_000) + b" = 1",
    "a header of as many": b"\n[" + b".".join([b"a"] * 100_000) + b"]",
    "brackets": b"\nx = " + b"[" * 5000 + b"]" * 5000,
    "tables in tables": b"\nx = " + b"{a=" * 5000 + b"1" + b"}" * 5000,
    "no UTF-8": b'\nx = "\xff"',
    "an open text": b'\nx = """' + b'\\"""' * 20_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_one_fault(text: bytes) -> None:
    """Of every reader the error of its own kind, at once."""
    begun = time.process_time()
    with pytest.raises(TomlFault) as fault:
        parse(text)
    assert fault.value.hint
    files = dict(shipped_files())
    files["tiers.toml"] += text + b"\n"
    with pytest.raises(PolicyError) as refused:
        check_policies(files, version=1, today=TODAY)
    assert (refused.value.code, refused.value.file) == ("policy-parse", "tiers.toml")
    codes = {}
    for reader, kind in ((signed_form, ExchangeError), (read_terms, ExchangeError), (read_grant, AdminError)):
        with pytest.raises(kind) as error:
            reader(text)
        assert isinstance(error.value, GatewayError)
        codes[reader] = error.value.code
    assert codes[signed_form] == "SCHEMA_TYPE"
    assert codes[read_grant] == "grant-invalid"
    assert time.process_time() - begun < 3, "before: eight seconds for a key of twenty thousand parts"


def test_what_nests_as_deep_as_is_allowed() -> None:
    """Dots of numbers, texts and comments are no nesting; sixteen parts are read, one more is not."""
    flat = b"x = [" + b"4.5, " * 40 + b'] # a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r\ny = "' + b"a." * 40 + b'"'
    assert parse(flat)["y"] == "a." * 40
    deep = [b"a"] * MAX_DEPTH
    assert parse(b".".join(deep) + b" = 1")
    with pytest.raises(TomlFault) as fault:
        parse(b"\n" + b".".join([*deep, b"a"]) + b" = 1")
    assert fault.value.line == 2


def test_a_byte_order_mark_is_named() -> None:
    """What an editor of Windows puts before a file is told as such: it cannot be seen."""
    with pytest.raises(TomlFault, match="byte order mark") as fault:
        parse("\ufeffx = 1".encode())
    assert (fault.value.line, "without BOM" in fault.value.hint) == (1, True)


def test_a_day_in_quotes_is_no_day() -> None:
    """Wrong types are refused, not read as what they look like."""

    class Until(msgspec.Struct):
        until: date

    assert decode(b"until = 2026-06-01", Until).until == date(2026, 6, 1)
    with pytest.raises(msgspec.ValidationError):
        decode(b'until = "2026-06-01"', Until)
    files = dict(shipped_files())
    files["redlines.toml"] = files["redlines.toml"].replace(b"until = 2027-12-31", b'until = "2027-12-31"', 1)
    with pytest.raises(PolicyError) as refused:
        check_policies(files, version=1, today=TODAY)
    assert (refused.value.code, refused.value.file) == ("policy-parse", "redlines.toml")
    files = dict(shipped_files())
    name = "datasets/administrative-penalties.toml"
    files[name] = files[name].replace(b"from = 2025-08-01", b'from = "2025-08-01"', 1)
    with pytest.raises(PolicyError) as refused:
        check_policies(files, version=1, today=TODAY)
    assert (refused.value.code, refused.value.file) == ("policy-parse", name)
