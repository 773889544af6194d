"""Versions and deltas without a store: the law of deltas over random histories, commitments, canonical rows, formats."""

import json
from base64 import urlsafe_b64decode
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.core.exchange.merkle import leaf_hash
from gateway.core.publication import ftm
from gateway.core.publication.deltas import applied, csv_head, csv_lines, delta, ndjson_lines
from gateway.core.publication.narrowing import narrowed
from gateway.core.publication.version_formats import FORMATS, Sheet, formats_for, msgpack
from gateway.core.publication.versions import (
    OPEN,
    Kept,
    canonical,
    commitment,
    document_of,
    leaves_of,
    removed_commitments,
    root_of,
    root_with_removed,
    row_line,
)

SUBJECT = {
    "id": "sub_x",
    "uscc": "91220502XXT00002X2",
    "name": "通化市示例有限公司",
    "kind": "enterprise",
    "uri": "https://h/v1/subjects/x",
}


def document(record_id: str, value: int) -> dict[str, Any]:
    """A listing of nobody."""
    return {
        "id": record_id, "dataset": "tax-violations", "kind": "blacklist", "subject": dict(SUBJECT),
        "severity": "serious", "severity_label": "严重", "publish_until": "2027-01-01", "listed_on": "2026-01-02",
        "source": {"name": "示例税务局", "uscc": None, "received_at": "2026-01-02T00:00:00Z"}, "marks": [],
        "fields": {"case_nature": "evasion", "amount": str(value)}, "treatments": {}, "seq": value, "policy_version": 3, "links": {},
    }  # fmt: skip


def line(record_id: str, value: int) -> bytes:
    """Its row, under a salt of its own."""
    return row_line(document(record_id, value), sha256(f"{record_id}{value}".encode()).digest()[:16])


class History:
    """A list through its builds, removals and policies, with every issue of every version as it was once served."""

    def __init__(self) -> None:
        self.rows: list[Kept] = []
        self.versions: list[int] = []
        self.served: dict[int, list[list[bytes]]] = {}
        self.roots: dict[int, list[bytes]] = {}
        self._seq = 0

    def _note(self, seq: int) -> None:
        rows = self.of(seq)
        issue = [row.line for row in rows if row.line is not None]
        if not self.served.setdefault(seq, []) or self.served[seq][-1] != issue:
            self.served[seq].append(issue)
        self.roots.setdefault(seq, []).append(root_of(row.commitment for row in rows if row.commitment is not None))

    def of(self, seq: int) -> list[Kept]:
        """Everything that a version holds or held."""
        return sorted((row for row in self.rows if row.in_version(seq)), key=lambda row: row.record_id)

    def build(self, wanted: dict[str, int]) -> None:
        """A version with these records, each with its value; what is not named stays, for only a removal takes out."""
        self._seq += 10
        for place, row in enumerate(self.rows):
            if row.until == OPEN and row.line is not None:
                said = document_of(row.line)["seq"]
                if wanted.get(row.record_id, said) != said or row.rewritten:
                    self.rows[place] = structs.replace(row, until=self._seq)
                    wanted = {row.record_id: said, **wanted}
        standing = {row.record_id for row in self.rows if row.until == OPEN}
        for record_id, value in wanted.items():
            if record_id not in standing:
                made = line(record_id, value)
                self.rows.append(Kept(record_id=record_id, first=self._seq, line=made, commitment=commitment(made)))
        self.versions.append(self._seq)
        self._note(self._seq)

    def remove(self, record_id: str) -> None:
        """A record leaves: every version that holds it is issued again."""
        newest = self.versions[-1] if self.versions else 0
        for place, row in enumerate(self.rows):
            if row.record_id == record_id and row.line is not None:
                until = newest + 1 if row.until == OPEN else row.until
                self.rows[place] = structs.replace(row, line=None, until=until, reason="expired")
        for seq in self.versions:
            self._note(seq)

    def narrow(self) -> None:
        """A policy takes a field out of everything there is."""
        newest = self.versions[-1] if self.versions else 0
        for place, row in enumerate(self.rows):
            if row.line is None:
                self.rows[place] = structs.replace(row, commitment=None)
                continue
            shown = document_of(row.line)
            shown["fields"].pop("case_nature", None)
            changed = narrowed(row.line, shown, other_policy=True)
            if changed is not None:
                made = row_line(document_of(changed[0]), sha256(changed[0]).digest()[:16])
                self.rows[place] = structs.replace(
                    row, line=made, commitment=commitment(made), rewritten=newest, rewritten_fields=changed[1]
                )
        for seq in self.versions:
            self._note(seq)

    def play(self, steps: list[tuple[str, Any]]) -> None:
        """Whatever happened, in order."""
        for name, argument in steps:
            getattr(self, name)(*argument)


IDS = [f"rec_{letter * 26}" for letter in "abcd"]
BUILD = st.tuples(st.just("build"), st.tuples(st.dictionaries(st.sampled_from(IDS), st.integers(1, 3), max_size=4)))
REMOVE = st.tuples(st.just("remove"), st.tuples(st.sampled_from(IDS)))
NARROW = st.tuples(st.just("narrow"), st.just(()))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(BUILD, BUILD, REMOVE, NARROW), min_size=2, max_size=10))
def test_any_issue_of_a_with_the_delta_is_b(steps: list[tuple[str, Any]]) -> None:
    """Whatever happened, any issue of A and the current delta make the current issue of B, applied twice too."""
    history = History()
    history.play(steps)
    for start in history.versions:
        for end in (seq for seq in history.versions if seq >= start):
            told = delta(history.rows, start, end)
            assert [step.record_id for step in told] == sorted({step.record_id for step in told})
            for issue in history.served[start]:
                result = applied(issue, told)
                assert result == history.served[end][-1]
                assert applied(result, told) == result
            if start == end and len(history.served[start]) == 1:
                assert told == []


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(BUILD, REMOVE), min_size=2, max_size=10))
def test_size_and_root_stay_through_removals(steps: list[tuple[str, Any]]) -> None:
    """The tree of a version never changes while records only leave; a reader finds its root from file and manifest."""
    history = History()
    history.play(steps)
    for seq in history.versions:
        assert len(set(history.roots[seq])) == 1
        rows = history.of(seq)
        left = [(place, leaf.commitment) for place, leaf in enumerate(leaves_of(rows)) if leaf.gone]
        gone = [(each["index"], bytes.fromhex(each["commitment"])) for each in removed_commitments(left)]
        assert root_with_removed(history.served[seq][-1], gone) == (len(rows), history.roots[seq][0])


def test_a_commitment_is_the_hash_of_salt_and_row() -> None:
    """What a reader computes with nothing but the description (api.md §7.8, §12.11)."""
    row = line(IDS[0], 7)
    said = json.loads(row)
    salt = urlsafe_b64decode(said.pop("salt") + "==")
    assert len(salt) == 16
    plain = json.dumps(said, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    assert commitment(row) == sha256(salt + plain).digest()
    assert root_of([commitment(row)]) == leaf_hash(commitment(row))
    assert root_of([]) == sha256(b"").digest()


def test_rows_are_canonical() -> None:
    """Keys are sorted, text is plain, escapes are the short ones or lower-case hexadecimal (RFC 8785)."""
    wanted = '{"a":"\\"\\\\\\b\\f\\n\\r\\t\\u001f\\u0000","b":"é\u2028/\x7f"}'
    assert canonical({"b": "é\u2028/\x7f", "a": '"\\\b\f\n\r\t\x1f\x00'}) == wanted.encode()


def test_a_delta_says_nothing_of_the_departed_but_id_and_reason() -> None:
    """A `del` holds id and reason, in both formats; what came and went in between is not there."""
    history = History()
    history.build({IDS[0]: 1, IDS[1]: 1})
    history.build({IDS[1]: 2, IDS[2]: 1})
    history.remove(IDS[2])
    history.remove(IDS[0])
    history.build({IDS[3]: 1})
    told = delta(history.rows, 10, 30)
    lines = [json.loads(each) for each in ndjson_lines(told)]
    assert lines[0] == {"op": "del", "id": IDS[0], "reason": "expired"}
    assert [(each["op"], each.get("fields_changed")) for each in lines[1:]] == [("mod", ["fields.amount"]), ("add", None)]
    columns = ("id", "list", "fields_amount")
    table = b"".join([csv_head(columns), *csv_lines(told, columns)]).decode().split("\r\n")
    assert table == [
        "op,id,reason,fields_changed,list,fields_amount",
        f"del,{IDS[0]},expired,,,",
        f"mod,{IDS[1]},,fields.amount,,2",
        f"add,{IDS[3]},,,,1",
        "",
    ]


def test_a_narrower_policy_takes_out_and_makes_unknown() -> None:
    """A field that is shown no more goes, one treated otherwise is null, what is shown more widely stays as it was published."""
    shown = document(IDS[0], 5)
    del shown["fields"]["case_nature"]
    shown["subject"]["name"], shown["treatments"] = "通化市**", {"name": "surname"}
    found = narrowed(line(IDS[0], 5), shown)
    assert found is not None
    after, paths = document_of(found[0]), found[1]
    assert paths == ("fields.case_nature", "subject.name")
    assert after["fields"] == {"amount": "5"}
    assert after["subject"]["name"] is None
    assert after["treatments"] == {"name": "surname"}
    assert narrowed(found[0], shown) is None
    assert narrowed(found[0], {**shown, "subject": SUBJECT, "treatments": {}}) is None


def test_every_format_has_every_row() -> None:
    """NDJSON, CSV, JSON and MessagePack of one version hold the same rows in the same order; only black lists are entities."""
    lines = [line(each, 1) for each in IDS]
    columns = ("id", "subject_name", "salt")
    sheet = Sheet(version="20260101000000-1", columns=columns, collection="lists/x", rows=len(IDS), source_url="https://h")
    made = {name: b"".join(each.write(lines, sheet)) for name, each in FORMATS.items() if each.write is not None}
    assert made["ndjson"].splitlines() == lines
    assert [row["id"] for row in json.loads(made["json"])["items"]] == IDS
    assert msgspec.msgpack.decode(made["msgpack"]) == json.loads(made["json"])
    with pytest.raises(ValueError, match="other rows"):
        list(msgpack(lines[1:], sheet))
    assert [row.split(",")[0] for row in made["csv"].decode().split("\r\n")] == ["id", *IDS, ""]
    assert len(made["ftm.json"].splitlines()) == 2 * len(IDS)
    assert "ftm.json" in formats_for("black")
    assert "ftm.json" not in formats_for("red")
    assert "ftm.json" not in formats_for(None)


def test_the_chain_forgets_what_left() -> None:
    """An `ADD` of who has left since is a stub without properties, and its `DEL` comes in the link of its leaving."""
    history = History()
    history.build({})
    history.build({IDS[0]: 1, IDS[1]: 1})
    history.remove(IDS[0])
    history.build({IDS[1]: 2})
    links = [
        [json.loads(each) for each in ftm.chain_lines(history.rows, a, b, program="p", source_url="https://h")]
        for a, b in ((10, 20), (20, 30))
    ]
    first = [each for each in links[0] if each["entity"]["id"].startswith(ftm.listing_id(IDS[0]))]
    assert [(each["op"], each["entity"]["properties"]) for each in first] == [("ADD", {}), ("ADD", {})]
    assert {each["op"] for each in links[0]} == {"ADD"}
    assert [(each["op"], set(each["entity"])) for each in links[1][:2]] == [("DEL", {"id"}), ("DEL", {"id"})]
    assert {each["op"] for each in links[1][2:]} == {"MOD"}
    assert links[1][2]["entity"]["properties"]["name"] == ["通化市示例有限公司"]


def test_a_text_stays_only_where_nothing_is_taken_out_of_it() -> None:
    """What a redacted text said must all stand there today; a value that is not known any more, a shorter list, a held text go."""
    old = document(IDS[0], 5)
    old["fields"] |= {"facts": "张某送货。", "grounds": ["a", "b"], "summary": None}
    old["treatments"] = {"facts": "redact"}
    said = row_line(old, bytes(16))

    def found(**fields: Any) -> tuple[str, ...]:
        shown = json.loads(json.dumps(old))
        shown["fields"] |= fields
        changed = narrowed(said, shown)
        return () if changed is None else changed[1]

    assert found() == ()
    assert found(facts="经查，张某送货。已整改。", amount="6", grounds=["b", "a", "c"], summary="有一项违法") == ()
    assert found(facts="〔姓名1〕送货。") == found(facts="送货。") == found(facts=None) == ("fields.facts",)
    assert found(amount=None, grounds=["a"]) == ("fields.amount", "fields.grounds")
    held = json.loads(json.dumps(old))
    del held["fields"]["facts"]
    held["treatments"]["facts"] = "held"
    anew = narrowed(said, held)
    assert anew is not None
    assert "facts" not in document_of(anew[0])["fields"]
    assert document_of(anew[0])["treatments"] == {"facts": "held"}
    assert narrowed(anew[0], old) is None


def test_a_code_that_is_masked_is_in_no_address() -> None:
    """With the code of a subject its address goes, for the address holds the code."""
    shown = document(IDS[0], 5)
    shown["subject"] |= {"uscc": "92220502**********", "kind": "household", "uri": "https://h/v1/subjects/sub_x"}
    shown["treatments"] = {"uscc": "keep"}
    old = document(IDS[0], 5)
    old["subject"]["uri"] = "https://h/v1/subjects/91220502XXT00002X2"
    found = narrowed(row_line(old, bytes(16)), shown)
    assert found is not None
    assert b"91220502XXT00002X2" not in found[0]
