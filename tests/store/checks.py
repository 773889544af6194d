"""After every step, check the whole: what must hold in any store, whatever was done to it."""

from collections import defaultdict

import msgspec
import sqlalchemy as sa

from gateway.core.records.sealed import is_for_nobody
from gateway.store import audit_log
from gateway.store.store import Store
from gateway.store.tables import changes, counters, deks, record_versions, records, subject_keys, subject_names, subjects
from gateway.store.texts import texts_in
from gateway.store.vault import dek_id_of, unpack


async def check_store(store: Store) -> None:
    """The log is dense, heads and versions agree with it, every ciphertext has its key, nothing of an erased record is left."""
    log = await store.reads.all(sa.select(changes).order_by(changes.c.seq))
    assert [row.seq for row in log] == list(range(1, len(log) + 1)), "the log has a gap"
    counter = await store.reads.one(sa.select(counters.c.value).where(counters.c.name == "changes"))
    assert (counter.value if counter else 0) == len(log)
    of_record, of_subject = defaultdict(list), defaultdict(list)
    for row in log:
        of_record[row.record_id].append(row)
        of_subject[row.subject_id].append(row)
    kept = defaultdict(dict)
    for row in await store.reads.all(sa.select(record_versions)):
        kept[row.record_id][row.version] = row
    known = {row.dek_id: row.scope for row in await store.reads.all(sa.select(deks.c.dek_id, deks.c.scope))}
    all_records = await store.reads.all(sa.select(records))
    assert set(of_record) == {row.record_id for row in all_records}, "a change without its record"
    left: dict[str, int] = defaultdict(int)
    for row in all_records:
        own = of_record[row.record_id]
        assert [change.version for change in own] == list(range(1, row.version + 1)), "a version without its change"
        assert own[-1].seq == row.changed_seq
        purge = max((at for at, change in enumerate(own[:-1]) if change.op == "erase"), default=-1)  # behind it it is about whom it says
        assert all(change.subject_id == row.subject_id for change in own[purge + 1 :]), "a record moved to another subject"
        assert sorted(kept[row.record_id]) == list(range(1, row.version)), "a past version is missing"
        if row.state == "erased":
            for bare in (row, *kept[row.record_id].values()):
                assert (bare.secret, bare.texts, bare.sealed_texts, bare.clear, bare.dates) == (None, None, None, b"{}", b"{}")
                assert (bare.officer, bare.sender, bare.authority_code, bare.decided_on) == (None, None, None, None)
            continue
        left[row.subject_id] += 1
        for version, old in kept[row.record_id].items():
            change = own[version - 1]
            assert (old.seq, old.op, old.reason, old.actor, old.at) == (change.seq, change.op, change.reason, change.actor, change.at)
        for holder in (row, *kept[row.record_id].values()):
            for sealed in (sealed for column in (holder.secret, holder.sealed_texts) if column for sealed in unpack(column).values()):
                scope = known[dek_id_of(sealed)]
                assert scope.startswith("org:" if row.kind == "legal" else f"subject:{row.subject_id}"), "a value under somebody else's key"
            if is_for_nobody(row.state, row.issuer):
                assert set(msgspec.json.decode(holder.clear).values()) <= {None}, "a withdrawn value in clear"
                assert all(text.strict is None for text in texts_in(holder.texts).values()), "a withdrawn text in clear"
            for text in texts_in(holder.texts).values():
                assert text.third_parties is None, "a text with its own subject in clear"
                assert not text.held or (text.strict is None and text.doubts == ()), "a held text in clear"
    all_keys = await store.reads.all(sa.select(subject_keys))
    for row in await store.reads.all(sa.select(subjects)):
        keys = {key.key_type: key.key_value for key in all_keys if key.subject_id == row.subject_id}
        assert msgspec.json.decode(row.known_by) == keys, "keys that the other side does not know"
        assert row.head_seq == max((change.seq for change in of_subject[row.subject_id]), default=0), "a head that is not the latest change"
        if not left[row.subject_id]:
            for table in (subject_keys, subject_names):
                assert await store.reads.one(sa.select(table).where(table.c.subject_id == row.subject_id)) is None, "keys of nobody"
            assert f"subject:{row.subject_id}" not in known.values(), "a data key of nobody"
    assert await audit_log.first_broken(store.reads) is None


async def everything_in(store: Store) -> bytes:
    """All that the tables hold, as bytes, to look for what must not be there."""
    found = []
    for table in sa.inspect(subjects).metadata.sorted_tables:
        for row in await store.reads.all(sa.select(table)):
            found += [bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode() for value in row]
    return b"\0".join(found)
