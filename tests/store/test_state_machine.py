"""Whatever is said, withdrawn, disputed and erased in whatever order: the store agrees with a model of twenty lines, on both databases."""

import asyncio
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gateway.core.errors import StoreError
from gateway.core.records.model import Admitted
from gateway.settings import Clock
from gateway.store import changes, records
from gateway.store.records import TRANSITIONS
from gateway.store.store import Store
from gateway.store.vault import Vault
from tests.conftest import NOW, _named, _sql
from tests.store.checks import check_store
from tests.store.samples import PENALTIES, forever, no_texts, penalty

PERSONS = {"natural": "id_no", "individual_business": "uscc", "legal": "uscc"}


class Known:
    """What the model knows of one record."""

    def __init__(self, record_id: str, said: tuple[Any, ...] | None, state: str, version: int, *, decided_here: bool = False) -> None:
        self.record_id = record_id
        self.said = said
        self.state = state
        self.version = version
        self.decided_here = decided_here
        self.disputed = False


class StoreMachine(RuleBasedStateMachine):
    """Documents 1 to 4 of one authority; document n is about subject n, of a kind that follows from n."""

    kek = b"k" * 32

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model: dict[int, Known] = {}
        self.erased: list[str] = []

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def fresh_url(self) -> str:
        raise NotImplementedError

    @initialize()
    def open(self) -> None:
        url = self.fresh_url()

        async def opened() -> Store:
            return await Store.open(url, vault=Vault(self.kek), clock=Clock(fixed=NOW), random=os.urandom)

        self.store: Store = self.run(opened())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.runner.close()

    @staticmethod
    def statement(number: int, amount: str, hold: str | None, **words: Any) -> Admitted:
        kind = ("legal", "natural", "individual_business", "legal")[number - 1]
        return penalty(number, kind=kind, keys=((PERSONS[kind], f"subject-{number}"),), fine_amount=amount, hold_code=hold, **words)

    @rule(chunk=st.lists(st.tuples(st.integers(1, 4), st.sampled_from("123"), st.sampled_from([None, None, "SCHEMA_ENUM"])), max_size=6))
    def say(self, chunk: list[tuple[int, str, str | None]]) -> None:
        async def said() -> Any:
            async with self.store.transaction() as tx:
                return await records.accept(
                    tx, [self.statement(*each) for each in chunk], no_texts(len(chunk)), PENALTIES, actor="source", period_of=forever
                )

        for (number, amount, hold), outcome in zip(chunk, self.run(said()), strict=True):
            known = self.model.get(number)
            words = (amount, hold)
            if known is None:
                assert outcome.version == 1
                assert outcome.record_id not in self.erased
                self.model[number] = Known(str(outcome.record_id), words, "held" if hold else "in_force", 1)
                assert outcome.result == ("held" if hold else "accepted")
                continue
            assert outcome.record_id == known.record_id
            same = known.said == words
            if known.state == "repaired":
                assert (outcome.result, outcome.code) == (("unchanged" if same else "rejected"), "SEQ_STATE")
            elif same and (known.state in ("in_force", "held") or known.decided_here):
                assert outcome.result == "unchanged"
            else:
                known.said, known.state, known.version, known.decided_here = words, "held" if hold else "in_force", known.version + 1, False
                assert (outcome.result, outcome.version) == ("held" if hold else "accepted", known.version)

    @rule(number=st.integers(1, 4), reason=st.sampled_from(["revoked", "repaired", "expired", "unheard of"]))
    def source_withdraws(self, number: int, reason: str) -> None:
        async def withdrawn() -> Any:
            async with self.store.transaction() as tx:
                said = [self.statement(number, "1", None, op="withdraw", reason=reason)]
                return (await records.accept(tx, said, no_texts(1), PENALTIES, actor="source", period_of=forever))[0]

        outcome = self.run(withdrawn())
        known = self.model.get(number)
        assert outcome.result == "withdrawn"
        if known is None or known.state not in ("in_force", "held"):
            assert outcome.code == "SEQ_STATE"
            return
        known.state = {"repaired": "repaired", "expired": "expired"}.get(reason, "retracted")
        known.version += 1
        known.said = None  # the same words bring it back

    @rule(number=st.integers(1, 4), state=st.sampled_from(["in_force", "held", "retracted", "repaired", "expired"]), revoked=st.booleans())
    def decide(self, number: int, state: str, revoked: bool) -> None:
        known = self.model.get(number)
        if known is None:
            return
        op = TRANSITIONS[known.state].get(state)  # type: ignore[call-overload]  # the model keeps plain text
        allowed = op is not None and (known.state != "repaired" or revoked)

        async def decided() -> None:
            async with self.store.transaction() as tx:
                await records.set_state(
                    tx,
                    known.record_id,
                    state=state,
                    op=op or "amend",
                    reason="repair_revoked" if revoked else None,  # type: ignore[arg-type]
                    actor="clerk",
                    hold_code="LAW_BASIS" if state == "held" else None,
                )

        if not allowed:
            with pytest.raises(StoreError, match="record-state"):
                self.run(decided())
            return
        self.run(decided())
        held_by_us = state == "held"
        if state in ("retracted", "expired", "repaired"):
            known.decided_here = known.said is not None
        elif state == "in_force":
            known.decided_here = False  # the same words with the same doubt are no news
        if held_by_us:
            known.said = None  # its hold code is ours now: any statement is other words
        known.state = state
        known.version += 1

    @rule(number=st.integers(1, 4))
    def dispute(self, number: int) -> None:
        known = self.model.get(number)
        if known is None or known.state not in ("in_force", "held"):
            return

        async def marked() -> None:
            async with self.store.transaction() as tx:
                since = None if known.disputed else datetime(2026, 5, 30, tzinfo=UTC)
                await records.mark_dispute(tx, known.record_id, since, "clerk")  # type: ignore[arg-type]

        self.run(marked())
        known.disputed = not known.disputed
        known.version += 1

    @rule(number=st.integers(1, 4))
    def erase(self, number: int) -> None:
        known = self.model.pop(number, None)
        if known is None:
            return

        async def erased() -> None:
            async with self.store.transaction() as tx:
                await records.erase(tx, known.record_id, actor="clerk")  # type: ignore[arg-type]

        self.run(erased())
        self.erased.append(known.record_id)

    @rule(number=st.integers(1, 4))
    def fail_in_the_middle(self, number: int) -> None:
        async def failed() -> None:
            async with self.store.transaction() as tx:
                said = [self.statement(number, "9", None), self.statement(number % 4 + 1, "9", None, op="erase")]
                await records.accept(tx, said, no_texts(2), PENALTIES, actor="source", period_of=forever)
                raise ZeroDivisionError

        head = self.run(changes.head(self.store.reads))
        with pytest.raises(ZeroDivisionError):
            self.run(failed())
        assert self.run(changes.head(self.store.reads)) == head

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        self.run(check_store(self.store))
        found = {record.record_id: record for record in self.run(records.load(self.store.reads))}
        assert set(found) == {known.record_id for known in self.model.values()}
        for number, known in self.model.items():
            record = found[known.record_id]  # type: ignore[index]
            assert (record.state, record.version, record.dispute_since is not None) == (known.state, known.version, known.disputed)
            assert record.raw.open()["document_number"] == f"通市罚〔2026〕{number}号"
            if known.state == "in_force":
                assert record.dates.first_publication_here is not None


LONG = settings(
    max_examples=250 if os.environ.get("SOAK") else 15,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_store_agrees_with_the_model_on_sqlite(sqlite_template: Path) -> None:
    """On SQLite, after every step."""
    folder = Path(tempfile.mkdtemp(prefix="machine"))

    class Machine(StoreMachine):
        def fresh_url(self) -> str:
            path = folder / f"{os.urandom(6).hex()}.db"
            shutil.copyfile(sqlite_template, path)
            return f"sqlite+aiosqlite:///{path}"

    try:
        run_state_machine_as_test(Machine, settings=LONG)
    finally:
        shutil.rmtree(folder)


def test_store_agrees_with_the_model_on_postgresql(pg_server: str, pg_url: str, pg_template: str) -> None:
    """On PostgreSQL, after every step."""
    made: list[str] = []

    class Machine(StoreMachine):
        def fresh_url(self) -> str:
            name = f"m_{os.urandom(6).hex()}"
            made.append(name)

            async def create() -> None:
                await _sql(pg_server, f"CREATE DATABASE {name} TEMPLATE {pg_template} STRATEGY FILE_COPY")

            self.run(create())
            return _named(pg_url, name)

    try:
        run_state_machine_as_test(Machine, settings=LONG)
    finally:
        for name in made:
            asyncio.run(_sql(pg_server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
