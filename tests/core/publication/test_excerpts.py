"""Excerpts: what is read from bytes is what the whole document gives, and columns stand where their values do."""

from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.publication import flat
from gateway.core.publication.excerpts import ALWAYS, Excerpt
from tests.core.publication.test_flat import COLUMNS, documents

PATHS = st.sampled_from(
    ("kind", "subject", "subject.name", "subject.kind", "source.name", "source.uscc", "fields", "fields.facts", "fields.absent", "basis",
     "basis.text", "region.code", "document_number", "treatments", "absent", "absent.too")
)  # fmt: skip


def plainly(document: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    """The rule itself: a key that is named whole stays whole, of an object the named members, and no object without one."""
    kept: dict[str, Any] = {}
    for key, value in document.items():
        if key in ALWAYS or key in paths:
            kept[key] = value
        elif isinstance(value, dict):
            inner = {name: each for name, each in value.items() if f"{key}.{name}" in paths}
            kept |= {key: inner} if inner else {}
    return kept


@given(documents(), st.lists(PATHS, min_size=1, unique=True), st.sampled_from(("", "source", "fields")))
@example({"id": "rec_a", "source": None, "marks": []}, ["source.name"], "")
def test_an_excerpt_of_bytes_is_that_of_the_document(document: dict[str, Any], paths: list[str], broken: str) -> None:
    """Read from bytes or made of the document it is the same, in the order of the document, also where an object is none."""
    if broken:
        document = document | {broken: None}
    excerpt, body = Excerpt(paths), msgspec.json.encode(document)
    wanted = msgspec.json.encode(plainly(document, paths))
    assert msgspec.json.encode(excerpt.of(document)) == wanted
    assert msgspec.json.encode(excerpt.read(body)) == wanted


@given(
    st.lists(st.tuples(documents(), st.sampled_from(("", "source", "fields", "region")), st.booleans()), max_size=5),
    st.lists(PATHS, min_size=1, unique=True),
)
def test_excerpts_of_many_alike_are_written_as_each_by_itself(alike: list[tuple[dict[str, Any], str, bool]], paths: list[str]) -> None:
    """Whatever the first has or lacks: a missing key, an object that is none, an empty one; in JSON, and line by line."""
    made = [
        {key: None if key == other else value for key, value in document.items() if key != other or not left_out}
        for document, other, left_out in alike
    ]
    made += [{key: {} if key == "fields" else value for key, value in document.items()} for document in made[:1]]
    excerpt, bodies = Excerpt(paths), [msgspec.json.encode(document) for document in made]
    each = [excerpt.read(body) for body in bodies]
    assert msgspec.json.encode(excerpt.alike(bodies)) == msgspec.json.encode(each)
    assert msgspec.json.Encoder().encode_lines(excerpt.alike(bodies[::-1])) == msgspec.json.Encoder().encode_lines(each[::-1])


@given(documents(), st.lists(PATHS, min_size=1, unique=True))
def test_a_column_is_kept_where_its_value_is(document: dict[str, Any], paths: list[str]) -> None:
    """No kept column is missing from the excerpt of a document that has it, and no other column stands in it."""
    excerpt = Excerpt(paths)
    whole, row = flat.flatten(document), flat.flatten(excerpt.of(document))
    assert {column for column in COLUMNS if column in row} == {column for column in COLUMNS if column in whole and excerpt.keeps(column)}
