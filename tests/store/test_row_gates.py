"""The gate language is compiled twice, and both readings agree on every row, on both databases."""

from typing import Any

import msgspec
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.disclosure.row_language import (
    All,
    AnyOf,
    Attribute,
    Attributes,
    Between,
    Compare,
    IsNull,
    Member,
    Not,
    RowRule,
    Within,
    allows,
)
from gateway.store.row_gates import Reach, expression, reached
from gateway.store.store import Store
from gateway.store.tables import records, subjects

WORDS = ("market", "food", "Ärger", "市场", "a'b\"%", "true", "5", "M", "m")
REGIONS = ("220500", "220502", "220599", "220600", "110101", "22050", "2205００", "000000", "22050a")
DAYS = ("2026-01-01", "2026-03-02", "1999-12-31")
ORGS = ("11220500XXT0001181", "11220502XXT0001189", None)

JSON = st.one_of(st.none(), st.booleans(), st.integers(-3, 10**17), st.sampled_from((*WORDS, *DAYS, *REGIONS)))
ROW = st.fixed_dictionaries(
    {"region": st.sampled_from([each for each in REGIONS if len(each) == 6]), "authority_code": st.sampled_from(ORGS),
     "sender": st.sampled_from(ORGS), "subject_id": st.sampled_from(("sub_a", "sub_b")),
     "clear": st.dictionaries(st.sampled_from(("theme", "level", "urgent", "day", "place")), JSON)}
)  # fmt: skip
LIST = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(tuple)
DIVISIONS = st.lists(st.sampled_from(REGIONS), min_size=1, max_size=3, unique=True).map(tuple)
TEXT_FIELD = st.sampled_from(("theme", "day", "owner_org", "region", "subject"))
ONE = st.sampled_from(("$org.id", "$org.unit", "$subject.key")).map(Attribute)
ATOM: st.SearchStrategy[Any] = st.one_of(
    st.builds(Compare, st.sampled_from(("eq", "ne")), TEXT_FIELD, st.just("text"), st.one_of(st.sampled_from(WORDS + REGIONS), ONE)),
    st.builds(Compare, st.sampled_from(("lt", "le", "gt", "ge")), st.just("day"), st.just("text"), st.sampled_from(DAYS)),
    st.builds(Compare, st.sampled_from(("eq", "ne", "lt", "le", "gt", "ge")), st.just("level"), st.just("number"), st.integers(-3, 10**17)),
    st.builds(Compare, st.sampled_from(("eq", "ne")), st.just("urgent"), st.just("truth"), st.booleans()),
    st.builds(Between, st.just("level"), st.just("number"), st.integers(-3, 3), st.integers(3, 10**17)),
    st.builds(Between, st.just("day"), st.just("text"), st.just("2000-01-01"), st.sampled_from(DAYS[:2])),
    st.builds(Member, TEXT_FIELD, st.just("text"), st.one_of(LIST, st.just(Attribute("$grant.themes")))),
    st.builds(Within, st.sampled_from(("region", "place")), st.one_of(DIVISIONS, st.just(Attribute("$grant.regions")))),
    st.builds(IsNull, st.sampled_from(("theme", "level", "urgent", "owner_org"))),
)
RULE: st.SearchStrategy[Any] = st.recursive(
    st.one_of(ATOM, st.builds(Not, ATOM)),
    lambda inner: st.one_of(
        st.builds(All, st.lists(inner, min_size=1, max_size=3).map(tuple)), st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
CALLER = st.builds(
    Attributes,
    org_id=st.sampled_from(ORGS),
    org_unit=st.sampled_from((None, "220502", "market")),
    grant_regions=st.one_of(st.just(()), DIVISIONS),
    grant_themes=st.one_of(st.just(()), LIST),
    subject_key=st.sampled_from((None, "sub_a")),
)


def _drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Examples of a strategy, the same in every run."""
    found: list[Any] = []

    @settings(max_examples=count, database=None, derandomize=True, deadline=None)
    @given(strategy)
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found


def _stored(number: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "record_id": f"rec_{number:05}", "subject_id": row["subject_id"], "dataset": "d", "category": "penalty", "kind": "legal",
        "business_key": str(number), "issuer": "", "version": 1, "state": "in_force", "trust": "signed", "region": row["region"],
        "authority_code": row["authority_code"], "sender": row["sender"], "dates": b"{}", "minor": False, "sealed_flag": False,
        "clear": msgspec.json.encode(row["clear"]), "content_digest": b"", "received_at": "", "changed_at": "", "changed_seq": number,
    }  # fmt: skip


def _values(row: dict[str, Any]) -> dict[str, Any]:
    return row["clear"] | {"region": row["region"], "owner_org": row["authority_code"] or row["sender"], "subject": row["subject_id"]}


async def _filled(store: Store, rows: list[dict[str, Any]]) -> None:
    async with store.transaction() as tx:
        for each in ("sub_a", "sub_b"):
            await tx.execute(sa.insert(subjects).values(subject_id=each, kind="legal", head_seq=1, known_by=b"{}"))
        await tx.execute(sa.insert(records), [_stored(number, row) for number, row in enumerate(rows)])


async def test_predicate_and_sql_agree_on_every_row(store: Store) -> None:
    """Whatever the rule, the row and the caller: values of wrong types, missing ones and odd letters included."""
    rows = _drawn(ROW, 120)
    await _filled(store, rows)
    cases: list[tuple[RowRule, Attributes]] = _drawn(st.tuples(RULE, CALLER), 150)
    for rule, attributes in cases:
        wanted = {f"rec_{number:05}" for number, row in enumerate(rows) if allows(rule, _values(row), attributes)}
        found = await store.reads.all(sa.select(records.c.record_id).where(expression(rule, attributes)))
        assert {row.record_id for row in found} == wanted, (rule, attributes)


async def test_no_reach_is_no_row(store: Store) -> None:
    """Without a part nothing is reached; a part without a rule reaches all of its dataset and kinds, and nothing beside."""
    await _filled(store, _drawn(ROW, 5))

    async def count(*parts: Reach) -> int:
        return len(await store.reads.all(sa.select(records.c.record_id).where(reached(parts))))

    whole = Reach(dataset="d", kinds=("legal", "natural"), rule=None, attributes=Attributes())
    assert await count() == 0
    assert await count(whole) == len(_drawn(ROW, 5))
    assert await count(msgspec.structs.replace(whole, dataset="e")) == 0
    assert await count(msgspec.structs.replace(whole, kinds=("natural",))) == 0


async def test_an_erased_record_breaks_no_gate(store: Store) -> None:
    """A row whose values were erased has no values; asking for one is no error."""
    row = _stored(1, {"region": "220502", "authority_code": None, "sender": None, "subject_id": "sub_a", "clear": {}})
    async with store.transaction() as tx:
        await tx.execute(sa.insert(subjects).values(subject_id="sub_a", kind="legal", head_seq=1, known_by=b"{}"))
        await tx.execute(sa.insert(records).values(**row))
    rule = Compare("eq", "theme", "text", "market")
    assert await store.reads.all(sa.select(records.c.record_id).where(expression(rule, Attributes()))) == []
