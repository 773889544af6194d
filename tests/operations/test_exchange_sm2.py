"""Streams under suite `gm1`, and under both algorithms: SM3 everywhere, SM2 signatures out of keys documents, mutants refused as ever.

The keys are those that `chengxin key new … --algorithm sm2` makes; the signatures of one batch are verified by a second library, gmalg.
"""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import gmalg
import msgspec
import pytest

from gateway.core.errors import ExchangeError, SettingsError
from gateway.core.exchange import agreements, notes
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import b64
from gateway.core.signing import SM2_IDENTITY, SM2_N, Sm2Signer, parse_private_key, parse_vkey
from gateway.operations.fetch_keys import with_newer_keys
from gateway.operations.handle_case import repair
from gateway.operations.manage_agreements import Side, base_url, countersign, filled, offer, own_keys, take, take_keys
from gateway.operations.manage_keys import new_key, revoke_key, write_key
from gateway.operations.send_batch import send_batch
from gateway.services import Services, load_signers
from gateway.store import changes, given_receipts, outbox
from tests.attacks.test_mutants import ONE_IN, accepted, batch_of_sealed, drawn
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import BAISHAN, PENALTIES, TONGHUA, Cities, Forger, Line, a_city, days, template

GM1 = 'suite = "gm1", also_sign = []'
BOTH = 'suite = "ed25519-sha256", also_sign = ["sm2"]'


def _with_sm2(services: Services) -> Services:
    """Keys of SM2 for batches and agreements, good at once."""
    for use in ("exchange", "agreement"):
        write_key(services.settings, use, number=2, not_before=services.clock() - days(1), algorithm="sm2")  # type: ignore[arg-type]
    services.signers.keys = load_signers(services.settings).keys
    return services


@asynccontextmanager
async def two_cities_under(folder: Path, wire: str) -> AsyncIterator[tuple[Cities, str]]:
    """Two cities that have agreed on another suite."""
    text = template().replace('suite = "ed25519-sha256", also_sign = []', wire)
    assert wire in text
    line = Line()
    async with a_city(folder / "th", TONGHUA) as ours, a_city(folder / "bs", BAISHAN, port=8001) as theirs:
        ours, theirs = (_with_sm2(msgspec.structs.replace(one, adapters=line.adapters())) for one in (ours, theirs))
        line.join(ours, theirs)
        toml = filled(text, {one.signers.party: _side(one) for one in (ours, theirs)}).encode()
        signed = await countersign(theirs, await offer(ours, toml, by="test"), toml, by="test")
        await take(ours, signed, by="test")
        for one, other in ((ours, theirs), (theirs, ours)):
            await take_keys(one, await own_keys(other), by="test")
        yield Cities(ours, theirs, line), toml.decode()


def _side(one: Services) -> Side:
    keys = tuple(one.signers.signing("agreement", one.clock(), algorithm).vkey for algorithm in ("ed25519", "sm2"))  # type: ignore[arg-type]
    return Side(base_url=base_url(one), agreement_keys=keys)


def _forger(cities: Cities, toml: str) -> Forger:
    forger = Forger(cities, agreement=agreements.read_agreement(agreements.signed_form(toml.encode())[0]))
    wanted = {"sm2"} if forger.rules.terms.wire.suite == "gm1" else {"ed25519", "sm2"}
    forger.signers = [cities.tonghua.signers.signing("exchange", cities.now, each) for each in sorted(wanted)]  # type: ignore[misc, arg-type]
    return forger


@pytest.mark.parametrize("wire", [GM1, BOTH], ids=["gm1", "both"])
async def test_a_stream_under_sm2(tmp_path: Path, wire: str):
    """Batches, receipts, a withdrawal: every note bears the lines that the agreement asks for, and both ledgers hold."""
    async with two_cities_under(tmp_path, wire) as (cities, _):
        rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2, 3)]
        made = ids(await put(cities.tonghua, DATASET, *rows))
        (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
        assert (sent.sealed, sent.waiting) == (1, 0)
        await repair(cities.tonghua, made[0], actor="test", document="示例")
        (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
        assert (sent.sealed, sent.waiting) == (1, 0)
        for services in (cities.tonghua, cities.baishan):
            await check_ledger(services)
        batch = cities.line.carried[0]
        algorithms = {parse_vkey(key.signer.vkey).key_id: key.signer.algorithm for key in cities.tonghua.signers.keys}
        wanted = {"sm2"} if wire == GM1 else {"ed25519", "sm2"}
        for note in (batch.manifest_note.decode(), batch.checkpoint.decode()):
            assert {algorithms[line.key_id] for line in notes.parse(note).lines} == wanted
        digest = "sm3:" if wire == GM1 else "sha-256:"
        assert all(part["digest"].startswith(digest) for part in json.loads(batch.manifest)["parts"])
        given = await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)
        assert {len(notes.parse(each.document.note).lines) for each in given} == {len(wanted)}
        assert await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES) == []
        keys = await own_keys(cities.tonghua)
        assert len(notes.parse(keys.note).lines) == 2, "a keys document bears a line of each"


async def test_a_second_library_believes_what_we_sign(tmp_path: Path):
    """An SM2 line over a manifest is good for gmalg, in the name of the agreed identity."""
    async with two_cities_under(tmp_path, GM1) as (cities, toml):
        forger = _forger(cities, toml)
        note = notes.parse(forger.seal([forger.penalty(1)]).document.note)
        (line,) = note.lines
        key = parse_vkey(cities.tonghua.signers.signing("exchange", cities.now, "sm2").vkey)
        public = b64decode(key.vkey.split("+", 2)[2])[-65:]
        r, s = _integers(line.signature)
        assert gmalg.SM2(pk=public, uid=SM2_IDENTITY).verify(note.text.encode(), r, s)


def _integers(der: bytes) -> tuple[bytes, bytes]:
    middle = 4 + der[3]
    return tuple(int.from_bytes(part).to_bytes(32) for part in (der[4:middle], der[middle + 2 :]))  # type: ignore[return-value]


async def test_a_required_line_is_missing(tmp_path: Path):
    """Under both algorithms one line alone is SIG_ALG_MISSING; an Ed25519 signature under the id of an SM2 key fails (A9)."""
    async with two_cities_under(tmp_path, BOTH) as (cities, toml):
        forger = _forger(cities, toml)
        sealed = forger.seal([forger.penalty(1)])
        text = notes.parse(sealed.document.note).text
        ed25519, sm2 = forger.signers
        for signer in (ed25519, sm2):
            alone = SignedDocument(sealed.document.body, notes.sign(text, [signer]))
            with pytest.raises(ExchangeError) as caught:
                await forger.send(msgspec.structs.replace(sealed, document=alone))
            assert caught.value.code == "SIG_ALG_MISSING"
        forged = f"— {sm2.name} {b64(sm2.key_id + ed25519.sign(text.encode()))}\n"
        document = SignedDocument(sealed.document.body, notes.sign(text, [ed25519]) + forged)
        with pytest.raises(ExchangeError) as caught:
            await forger.send(msgspec.structs.replace(sealed, document=document))
        assert caught.value.code == "SIG_INVALID"
        assert await changes.head(cities.baishan.store.reads) == 0
        assert (await forger.send(sealed)).result == "applied"


async def test_a_key_of_one_algorithm_that_is_not_known_yet_is_asked_for(tmp_path: Path):
    """A successor of the SM2 key signs beside the known Ed25519 key: the receiver asks for the keys document, and takes the batch."""
    async with two_cities_under(tmp_path, BOTH) as (cities, toml):
        tonghua = cities.tonghua
        write_key(tonghua.settings, "exchange", number=3, not_before=tonghua.clock() - days(0.5), algorithm="sm2")
        tonghua.signers.keys = load_signers(tonghua.settings).keys
        forger = _forger(cities, toml)
        sealed = forger.seal([forger.penalty(1)])
        with pytest.raises(ExchangeError) as caught:
            await forger.send(sealed)
        assert caught.value.code == "SIG_ALG_MISSING"
        received = await with_newer_keys(cities.baishan, TONGHUA, lambda: forger.send(sealed))
        assert (received.result, cities.line.asked) == ("applied", 1)


async def test_no_mutant_under_gm1_is_accepted(tmp_path: Path):
    """The mutants of a batch under SM3 and SM2 are refused like any other."""
    async with two_cities_under(tmp_path, GM1) as (cities, toml):
        forger = _forger(cities, toml)
        sealed = forger.seal([forger.penalty(1), forger.withdrawal(1)])
        for group in drawn(batch_of_sealed(sealed), ONE_IN):
            assert [mutant.name for mutant in group if await accepted(cities, mutant)] == []
        assert await changes.head(cities.baishan.store.reads) == 0
        received = await forger.send(sealed)
        assert (received.result, received.code) == ("applied", None)


async def test_keys_of_sm2_are_made_and_revoked(tmp_path: Path):
    """A successor of either algorithm is published a day ahead; the last of an algorithm is not revoked; requests are never signed so."""
    async with two_cities_under(tmp_path, GM1) as (cities, _):
        tonghua = cities.tonghua
        line = await new_key(tonghua, "exchange", algorithm="sm2", by="test")
        assert line.state == "waiting"
        assert '"alg":"sm2"' in (await own_keys(tonghua)).body.decode()
        now = tonghua.signers.signing("exchange", cities.now, "sm2")
        with pytest.raises(SettingsError) as caught:
            await revoke_key(tonghua, now.vkey, reason="x", by="test")
        assert caught.value.code == "key-missing"
        for use in ("http", "log"):
            with pytest.raises(SettingsError) as caught:
                await new_key(tonghua, use, algorithm="sm2", by="test")  # type: ignore[arg-type]
            assert caught.value.code == "key-use"


def test_signatures_that_are_no_strict_der():
    """A trailing byte, a long form, a leading zero, a negative or too large integer: no signature, whatever a lenient reader would say."""
    signer = Sm2Signer.new(f"{TONGHUA}/x")
    good = signer.sign(b"x")
    assert signer.verifier.verify(b"x", good)
    assert not signer.verifier.verify(b"y", good)
    r, s = (int.from_bytes(part) for part in _integers(good))

    def der(*numbers: bytes) -> bytes:
        inner = b"".join(b"\x02" + bytes((len(number),)) + number for number in numbers)
        return b"\x30" + bytes((len(inner),)) + inner

    def positive(number: int) -> bytes:
        return number.to_bytes(number.bit_length() // 8 + 1)

    assert signer.verifier.verify(b"x", der(positive(r), positive(s)))
    for wrong in (
        good + b"\0",
        good[:-1],
        b"\x30\x81" + good[1:],
        der(b"\0" + positive(r), positive(s)),
        der(positive(r).lstrip(b"\0") if positive(r)[0] == 0 else b"\0" + positive(r), positive(s)),
        der(positive(r + SM2_N), positive(s)),
        der(b"\0", positive(s)),
        der(positive(r), b"\0"),
        der(positive(r), positive(s), b"\1"),
        bytes(64),
        b"",
    ):
        assert not signer.verifier.verify(b"x", wrong), wrong.hex()
    assert parse_private_key(signer.private_text()).vkey == signer.vkey
    for public in (bytes(65), b"\4" + bytes(64), b"\2" + bytes(32), b"\4" + b"\1" * 64):
        with pytest.raises(ExchangeError):
            type(signer.verifier)(signer.name, public)
