"""Keys and ciphertexts: the key file, derived keys, data keys, values bound to their place."""

import hmac
import os
import pickle
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.errors import SettingsError, StoreError
from gateway.store.kek import create_kek, load_kek
from gateway.store.store import Store
from gateway.store.suites import KEY_BYTES, SUITES
from gateway.store.tables import deks
from gateway.store.vault import SUITE_AES, Vault, dek_id_of


def test_key_file_is_made_once_and_read_back(tmp_path: Path) -> None:
    """A key file has mode 0400 and 32 bytes, and is never overwritten."""
    path = tmp_path / "keys" / "kek"
    key = create_kek(path)
    assert load_kek(path) == key
    assert path.stat().st_mode & 0o777 == 0o400
    with pytest.raises(SettingsError) as refused:
        create_kek(path)
    assert refused.value.code == "key-exists"
    assert load_kek(path) == key


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644, 0o700, 0o500])
def test_key_file_that_others_can_read_stops_the_start(tmp_path: Path, mode: int) -> None:
    """Any mode but 0400 and 0600 is refused, with the command that mends it."""
    path = tmp_path / "kek"
    create_kek(path)
    path.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 0400") as refused:
        load_kek(path)
    assert refused.value.code == "key-mode"


def test_key_file_missing_damaged_or_no_file(tmp_path: Path) -> None:
    """A missing key names the command that makes one; a wrong length, a folder and a pipe are refused; a link to a good file is one."""
    with pytest.raises(SettingsError, match="chengxin init"):
        load_kek(tmp_path / "kek")
    short = tmp_path / "short"
    short.write_bytes(b"x" * 31)
    short.chmod(0o400)
    with pytest.raises(SettingsError, match="32 bytes"):
        load_kek(short)
    create_kek(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert load_kek(tmp_path / "link") == load_kek(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe", 0o400)
    for wrong in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(SettingsError) as refused:
            load_kek(wrong)
        assert refused.value.code == "key-mode"
    with pytest.raises(SettingsError, match="32 bytes"):
        Vault(b"short")


def test_derived_keys_differ_by_label(vault: Vault) -> None:
    """Each label has its own key, the same each time; blind indexes differ by scope and field."""
    assert vault.key("etag") == Vault(vault.ring._kek).key("etag") != vault.key("cursor")
    assert vault.digest("etag", b"x") == vault.digester("etag")(b"x") != vault.digest("cursor", b"x")
    blinds = {vault.blind(scope, field, "v") for scope in ("a", "b") for field in ("x", "y")}
    assert len(blinds) == 4
    assert all(len(blind) == 32 for blind in blinds)


async def test_value_opens_only_in_its_place(store: Store, vault: Vault) -> None:
    """A ciphertext moved to another row, column or table, or altered in any byte, does not open."""
    async with store.transaction() as tx:
        dek = await vault.dek(tx, "subject:sub_1", create=True)
        other = await vault.dek(tx, "subject:sub_2", create=True)
    sealed = vault.seal(dek, "records", "name", "rec_1", "赵某甲".encode())
    assert vault.open(dek, "records", "name", "rec_1", sealed) == "赵某甲".encode()
    assert (sealed[0], dek_id_of(sealed)) == (SUITE_AES, dek.dek_id)
    for place in (("records", "name", "rec_2"), ("records", "id_no", "rec_1"), ("audit", "name", "rec_1")):
        with pytest.raises(StoreError, match="value-altered"):
            vault.open(dek, *place, sealed)
    for index in range(len(sealed)):
        altered = bytearray(sealed)
        altered[index] ^= 1
        with pytest.raises(StoreError, match="value-altered"):
            vault.open(dek, "records", "name", "rec_1", bytes(altered))
    for wrong in (b"", sealed[:20]):
        with pytest.raises(StoreError, match="value-altered"):
            vault.open(dek, "records", "name", "rec_1", wrong)
    with pytest.raises(StoreError, match="value-altered"):
        vault.open(other, "records", "name", "rec_1", sealed)
    many = vault.seal_many("records", [(dek, "name", "rec_1", b"a"), (other, "name", "rec_1", b"b")])
    assert [vault.open(key, "records", "name", "rec_1", value) for key, value in zip((dek, other), many, strict=True)] == [b"a", b"b"]


async def test_equal_values_have_unequal_ciphertexts(store: Store, vault: Vault) -> None:
    """Nobody sees from the tables that two values are equal."""
    async with store.transaction() as tx:
        dek = await vault.dek(tx, "subject:sub_1", create=True)
    assert len({vault.seal(dek, "records", "name", "rec_1", b"same") for _ in range(50)}) == 50


async def test_data_key_is_found_again_and_shredded(store: Store, kek: bytes) -> None:
    """A data key is the same for every process with the key file; once its row is gone, it is gone; its number is not given again."""
    vault = store.vault
    async with store.transaction() as tx:
        made = await vault.dek(tx, "subject:sub_1", create=True)
        shared = await vault.dek(tx, "org:penalties:2026", create=True)
    sealed, open_data = vault.seal(made, "records", "name", "rec_1", b"v"), vault.seal(shared, "records", "name", "rec_2", b"w")
    fresh = Vault(kek)
    assert fresh.open(await fresh.dek(store.reads, "subject:sub_1"), "records", "name", "rec_1", sealed) == b"v"
    for _ in range(2):  # the second time from memory
        assert (
            fresh.open((await fresh.deks_by_id(store.reads, [shared.dek_id]))[shared.dek_id], "records", "name", "rec_2", open_data) == b"w"
        )
    async with store.transaction() as tx:
        await tx.execute(sa.delete(deks).where(deks.c.scope == "subject:sub_1"))
    for each in (vault, fresh):
        with pytest.raises(StoreError, match="key-missing"):
            await each.dek(store.reads, "subject:sub_1")
        assert await each.deks_by_id(store.reads, [made.dek_id]) == {}
    async with store.transaction() as tx:
        again = await vault.dek(tx, "subject:sub_1", create=True)
    assert again.dek_id not in (made.dek_id, shared.dek_id)


async def test_data_key_of_a_lost_transaction_is_not_remembered(store: Store) -> None:
    """A key that was made and rolled back must not seal anything later: its row does not exist."""
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as tx:
            await store.vault.dek(tx, "org:penalties:2026", create=True)
            await store.vault.dek(tx, "org:penalties:2026")
            raise ZeroDivisionError
    with pytest.raises(StoreError, match="key-missing"):
        await store.vault.dek(store.reads, "org:penalties:2026")
    async with store.transaction() as tx:
        dek = await store.vault.dek(tx, "org:penalties:2026", create=True)
    assert await store.vault.deks_by_id(store.reads, [dek.dek_id])


async def test_data_keys_are_made_in_transactions_only(store: Store) -> None:
    """Reading never makes a key."""
    with pytest.raises(StoreError):
        await store.vault.dek(store.reads, "subject:sub_1", create=True)


async def test_altered_or_foreign_wrapped_key_is_refused(store: Store) -> None:
    """A wrapped key that was changed, swapped with another scope's, or belongs to another key file, does not open."""
    async with store.transaction() as tx:
        await store.vault.deks(tx, ["subject:a", "subject:b"], create=True)
    with pytest.raises(StoreError, match="key-wrong"):
        await Vault(os.urandom(32)).dek(store.reads, "subject:a")
    async with store.transaction() as tx:
        row = await tx.one(sa.select(deks).where(deks.c.scope == "subject:b"))
        await tx.execute(sa.update(deks).where(deks.c.scope == "subject:a").values(wrapped=row.wrapped))
    with pytest.raises(StoreError, match="key-wrong"):
        await store.vault.dek(store.reads, "subject:a")
    async with store.transaction() as tx:
        await tx.execute(sa.update(deks).where(deks.c.scope == "subject:b").values(wrapped=b"\x09" + row.wrapped[1:]))
    with pytest.raises(StoreError, match="key-unknown-suite"):
        await store.vault.dek(store.reads, "subject:b")


async def test_keys_have_no_readable_form(store: Store, vault: Vault) -> None:
    """Neither vault nor data key shows or pickles what it holds."""
    async with store.transaction() as tx:
        dek = await vault.dek(tx, "subject:sub_1", create=True)
    assert (repr(vault), repr(dek)) == ("<Vault>", f"<Dek {dek.dek_id}>")
    for each in (vault, dek):
        with pytest.raises(TypeError):
            pickle.dumps(each)


def test_a_digest_is_the_hmac_of_the_standard() -> None:
    """Begun once and copied for each value, it is what the standard library says, whatever the length."""
    for key in (bytes(range(32)), b"k" * KEY_BYTES):
        digest = SUITES[1].mac(key)
        for size in (0, 1, 55, 56, 63, 64, 65, 1000):
            data = b"v" * size
            assert digest(data) == hmac.digest(key, data, "sha256")
