"""Opening the house: keys that others can read, that are damaged or of another party stop the start and say how to mend it."""

import asyncio
import os
import shutil
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import GatewayError, NoActivePolicy, SettingsError
from gateway.core.signing import Ed25519Signer
from gateway.operations.change_policy import activate_initial
from gateway.operations.manage_keys import create_keys
from gateway.operations.set_up import shipped_policies
from gateway.services import SeededRandom, load_signers, open_services
from gateway.store import policies as policy_rows
from tests.house import a_gateway, settings_of, write_settings


async def start(path: Path, **environment: str) -> None:
    """Open and close the house."""
    async with open_services(settings_of(path, **environment)):
        pass


@pytest.fixture
async def ready(tmp_path: Path) -> Path:
    """The settings file of a gateway that starts."""
    async with a_gateway(tmp_path):
        return tmp_path / "chengxin.toml"


async def test_a_gateway_that_was_set_up_starts(ready: Path) -> None:
    """With its keys, tables and policies in place the house opens."""
    async with open_services(settings_of(ready)) as services:
        assert services.policies.current().version == 1
        assert services.signers.signing("exchange", services.clock()).name == "credit.tonghua.example/x"
        assert "excel_csv" in services.adapters


@pytest.mark.parametrize(
    ("spoil", "line", "told", "hint"),
    [
        (lambda text: b"\xef\xbb\xbf" + text, 1, "byte order mark", "without BOM"),
        (lambda text: "city = 1\n# 通化\n".encode("gb18030") + text, 2, "not UTF-8", "as UTF-8"),
        (lambda text: b"party = [\n" + text, 2, "no TOML", "TOML 1.0"),
    ],
)
def test_a_settings_file_as_an_editor_left_it_is_told_by_line(tmp_path: Path, spoil: Any, line: int, told: str, hint: str) -> None:
    """A mark that cannot be seen, another encoding, a slip of the pen: each with its line and what to do, and no byte of it."""
    path = write_settings(tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(SettingsError, match=told) as fault:
        settings_of(path)
    assert fault.value.place == f"{path}:{line}"
    assert hint in (fault.value.hint or "")


def _write(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def _share(keys: Path) -> None:
    """The http key becomes the exchange key under another name."""
    text = (keys / "exchange-1.toml").read_text(encoding="ascii")
    private = text.split('"')[1]
    seed = b64decode(private.split("+", 4)[4])[1:]
    text = text.replace(private, Ed25519Signer("credit.tonghua.example/http", seed).private_text()).replace('"exchange"', '"http"')
    _write(keys / "http-1.toml", text.encode("ascii"))


@pytest.mark.parametrize(
    ("damage", "code", "hint"),
    [
        (lambda keys: (keys / "kek").unlink(), "key-missing", "put back"),
        (lambda keys: (keys / "kek").chmod(0o644), "key-mode", "chmod 0400"),
        (lambda keys: _write(keys / "kek", b"short"), "key-invalid", "put back"),
        (lambda keys: _write(keys / "kek", os.urandom(32)), "key-wrong", "put back"),
        (lambda keys: (keys / "exchange-1.toml").unlink(), "key-missing", "chengxin key init"),
        (lambda keys: (keys / "http-1.toml").chmod(0o640), "key-readable", "chmod 0400"),
        (lambda keys: _write(keys / "http-1.toml", b'use = "http"\n'), "key-invalid", "backup"),
        (lambda keys: _write(keys / "http-1.toml", b"\xff\xfe"), "key-invalid", "backup"),
        (lambda keys: _write(keys / "http-1.toml", (keys / "exchange-1.toml").read_bytes()), "key-missing", "key init"),
        (_share, "key-shared", "key init"),
        (lambda keys: shutil.rmtree(keys.parent), "data-missing", "chengxin init"),
    ],
)
async def test_damaged_keys_stop_the_start(ready: Path, damage: object, code: str, hint: str) -> None:
    """Each damage to the key files gives its own code, the place, and what to do; nothing is repaired in silence."""
    damage(ready.parent / "data" / "keys")  # type: ignore[operator]  # a row of the table above
    with pytest.raises(GatewayError) as refused:
        await start(ready)
    assert refused.value.code == code
    assert refused.value.place
    assert hint in (refused.value.hint or "")


async def test_keys_of_another_party_stop_the_start(ready: Path) -> None:
    """A gateway that was renamed, or given another's data directory, does not sign."""
    write_settings(ready.parent, party="credit.baishan.example")
    with pytest.raises(SettingsError, match="key-invalid"):
        await start(ready)


async def test_a_store_of_another_gateway_is_refused(ready: Path, tmp_path: Path) -> None:
    """With its own keys, but somebody else's database, the start stops too."""
    other = write_settings(tmp_path / "other", party="credit.baishan.example")
    create_keys(settings_of(other))
    shutil.copyfile(ready.parent / "data" / "gateway.db", other.parent / "data" / "gateway.db")
    for name in ("kek",):
        (other.parent / "data" / "keys" / name).unlink()
        shutil.copy(ready.parent / "data" / "keys" / name, other.parent / "data" / "keys" / name)
    with pytest.raises(GatewayError, match="store-foreign"):
        await start(other)


async def test_a_store_without_policies_serves_none(tmp_path: Path) -> None:
    """Before the first activation everything that needs a policy is refused with its code."""
    settings = settings_of(write_settings(tmp_path))
    create_keys(settings)
    async with open_services(settings, migrate=True) as services:
        assert services.policies.version == 0
        with pytest.raises(NoActivePolicy, match="policy activate --initial"):
            services.policies.current()


async def test_an_unmigrated_store_is_refused(tmp_path: Path) -> None:
    """Serving never makes tables; the error names the command that does."""
    path = write_settings(tmp_path)
    create_keys(settings_of(path))
    with pytest.raises(GatewayError, match=r"migration-needed.*chengxin init"):
        await start(path)


async def test_another_process_swaps_the_policies_in(ready: Path) -> None:
    """What one process activates, another sees at its next look, as one new value; the old value stays whole."""
    async with open_services(settings_of(ready)) as one, open_services(settings_of(ready)) as other:
        before = other.policies.current()
        assert not await other.policies.refresh()
        files = await policy_rows.files_of(one.store.reads, 1)
        name = next(name for name in files if name.startswith("datasets/"))
        files[name] += b"\n# a remark\n"
        async with one.store.transaction() as tx:
            await policy_rows.activate(tx, await policy_rows.propose(tx, files, "another", "test"), "test", "test")
        assert other.policies.current() is before
        assert (await other.policies.fresh()).version == 2
        assert before.version == 1


async def test_seeded_openings_never_share_a_stream(ready: Path) -> None:
    """Two processes with one seed draw different bytes, and a copied store draws the same as its twin."""
    twin = ready.parent.parent / f"{ready.parent.name}-twin"
    shutil.copytree(ready.parent, twin)

    async def drawn(path: Path) -> bytes:
        async with open_services(settings_of(path, CHENGXIN_SEED="7")) as services:
            return services.random(16)

    first, second = await drawn(ready), await drawn(ready)
    assert first != second
    assert [await drawn(twin / "chengxin.toml"), await drawn(twin / "chengxin.toml")] == [first, second]
    shutil.rmtree(twin)


def test_a_seeded_stream_is_one_stream() -> None:
    """Drawing in small or in large pieces gives the same bytes, and another seed gives others."""
    pieces, whole = SeededRandom("a"), SeededRandom("a")
    assert b"".join(pieces(size) for size in (1, 0, 31, 32, 33, 100)) == whole(197)
    assert SeededRandom("b")(16) != SeededRandom("a")(16)
    assert len(set(SeededRandom("")(64))) > 16


async def test_the_shipped_policies_come_into_force_once(ready: Path) -> None:
    """The same folder again is no second version; another folder is refused until the change commands exist."""
    async with open_services(settings_of(ready)) as services:
        again = await activate_initial(services, shipped_policies(), by="test")
        assert (again.version, again.first) == (1, False)
        other = ready.parent / "other"
        await asyncio.to_thread(shutil.copytree, shipped_policies(), other)
        tiers = other / "tiers.toml"
        tiers.write_bytes(tiers.read_bytes() + b"\n# changed\n")
        with pytest.raises(GatewayError, match="approval-conflict"):
            await activate_initial(services, other, by="test")


def test_signers_are_read_once_for_each_use(tmp_path: Path) -> None:
    """Exchange, HTTP, agreement, audit, receipt and export, this year's log and the witness: eight keys."""
    settings = settings_of(write_settings(tmp_path))
    made = create_keys(settings)
    uses = ("exchange", "http", "agreement", "audit", "receipt", "export", "log", "witness")
    assert set(made.files) == {"kek", *(f"{use}-1.toml" for use in uses)}
    signers = load_signers(settings)
    assert {key.use for key in signers.keys} == set(uses)
    assert len({key.signer.vkey for key in signers.keys}) == 8
    assert create_keys(settings).files == ()
    assert {oct(path.stat().st_mode & 0o777) for path in settings.keys_path.iterdir()} == {"0o400"}
    assert oct(settings.keys_path.stat().st_mode & 0o777) == "0o700"


async def test_keys_whose_text_ends_alike_are_two_keys(ready: Path) -> None:
    """Base64 knows the sign that parts a key's text too: two keys that end in it are no one key under two uses."""
    keys = ready.parent / "data" / "keys"
    alike = (each for number in range(4096) if (each := Ed25519Signer("x", sha256(b"%d" % number).digest())).vkey.endswith("+"))
    for use, name in (("exchange", "x"), ("http", "http")):
        path = keys / f"{use}-1.toml"
        text = path.read_text(encoding="ascii")
        seed = b64decode(next(alike).private_text().split("+", 4)[4])[1:]
        made = Ed25519Signer(f"credit.tonghua.example/{name}", seed)
        assert made.vkey.endswith("+")
        _write(path, text.replace(text.split('"')[1], made.private_text()).encode("ascii"))
    assert len(load_signers(settings_of(ready)).keys) >= 2
