"""The second line of a list's checkpoint, where a key of SM2 is configured (api.md §7.8): beside the Ed25519 line, never instead of it.

Strategy: the gateway has a seam for such keys and none of its own, so a signer of gmssl-pyx is put in, as a hardware module would be; what
it signed is verified by another library, gmalg. The package of the extra `gm` is in the test environment.
"""

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import gmalg
import gmssl_pyx
import pytest
from msgspec import structs

from gateway.core.exchange import notes
from gateway.core.exchange.notes import KeyRing, KnownKey
from gateway.core.signing import Algorithm, OwnKey, key_id, parse_vkey
from gateway.operations import read_versions
from gateway.operations.build_lists import settle_lists
from gateway.operations.render_public import settle
from gateway.services import Services
from tests.operations.publishing import TAX, a_house, code, put, violation

IDENTITY = b"1234567812345678"
TYPE = b"\xffgm/sm2sm3/1"
NAME = "credit.tonghua.example/export"


class Sm2Signer:
    """A private key of SM2, as `exchange.md` §2.1 has it."""

    algorithm: Algorithm = "sm2"
    name = NAME

    def __init__(self) -> None:
        self.public, self._private = gmssl_pyx.sm2_key_generate()
        self.typed = TYPE + b"\x04" + self.public

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, self.typed)

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(self.typed).decode()}"

    def sign(self, message: bytes) -> bytes:
        signature: bytes = gmssl_pyx.sm2_sign(self._private, self.public, message)  # in the name of IDENTITY
        return signature


def raw(der: bytes) -> tuple[bytes, bytes]:
    """Both integers of a strict DER sequence, 32 bytes each."""
    assert (der[0], der[1], der[2]) == (0x30, len(der) - 2, 2)
    middle = 4 + der[3]
    assert (der[middle], middle + 2 + der[middle + 1]) == (2, len(der))
    return tuple(int.from_bytes(part).to_bytes(32) for part in (der[4:middle], der[middle + 2 :]))  # type: ignore[return-value]


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Services]:
    """A gateway with one listing and a version of its list."""
    async with a_house(tmp_path, "") as services:
        await put(services, TAX, violation(code(2), "通化市示例甲药业有限公司", "通示税〔2026〕1号"))
        await settle(services)
        await settle_lists(services)
        yield services


@pytest.mark.parametrize("newer", [True, False])
async def test_a_checkpoint_bears_a_line_of_each_algorithm(small: Services, newer: bool) -> None:
    """Whichever key is newer, both lines stand over one text: who knows Ed25519 alone believes it, and the line of SM2 is good too."""
    now = small.clock()
    own = next(key for key in small.signers.keys if key.use == "export")
    signer = Sm2Signer()
    start = own.not_before + timedelta(seconds=1 if newer else -1)
    other = OwnKey(signer=signer, use="export", not_before=start, not_after=own.not_after)
    both = structs.replace(small, signers=structs.replace(small.signers, keys=(*small.signers.keys, other)))

    plain = (await read_versions.checkpoint(small, "lists/tax-violations", "latest")).body.decode()
    body = (await read_versions.checkpoint(both, "lists/tax-violations", "latest")).body.decode()
    note, before = notes.parse(body), notes.parse(plain)
    assert note.text == before.text
    assert len(before.lines) == 1
    lines = {line.key_id: line.signature for line in note.lines}
    assert set(lines) == {own.signer.key_id, signer.key_id}
    assert len(note.lines) == 2

    ring = KeyRing.of(own.signer.name, [KnownKey(verifier=parse_vkey(own.signer.vkey), use="export")])
    assert notes.verify(body, ring, use="export", required=frozenset({"ed25519"}), first_seen=now) == note.text

    message = note.text.encode()
    oracle = gmalg.SM2(pk=b"\x04" + signer.public, uid=IDENTITY)
    assert oracle.verify(message, *raw(lines[signer.key_id]))
    assert not oracle.verify(message + b" ", *raw(lines[signer.key_id]))
