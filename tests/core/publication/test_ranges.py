"""Range look-ups without a store: the published vectors, and what padding and order betray (api.md §7.11)."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.publication import normaliser, ranges
from gateway.core.publication.names import normalise
from gateway.core.signing import sm3

KEY = b"k" * 32
VECTORS = {
    "通化市示例药业（集团）有限公司": ("通化市示例药业集团有限公司", "631a36cccb775e36", "7014e507608a7d62"),
    "通化市示例藥業（集團） 有限公司": ("通化市示例药业集团有限公司", "631a36cccb775e36", "7014e507608a7d62"),
    "ＡＢＣ示例〔通化〕有限公司": ("abc示例通化有限公司", "93d88ad4c1f1aeb4", "117572ea951e1243"),
    "𠮷田·示例药业": ("𠮷田示例药业", "2b239f5579e5f3d1", "e10b3b46755e01a2"),
    "𠮷田\u200b·示例药业": ("𠮷田示例药业", "2b239f5579e5f3d1", "e10b3b46755e01a2"),
}


def test_the_published_vectors_hold() -> None:
    """What `GET /v1/normaliser` gives as vectors is what api.md §7.11 prints, for names and for the code."""
    told = {each["input"]: each for each in normaliser.document()["vectors"]}
    for text, (norm, by_sha256, by_sm3) in VECTORS.items():
        assert (told[text]["normalised"], normalise(text)) == (norm, norm)
        assert told[text]["sha256"].startswith(by_sha256)
        assert told[text]["sm3"].startswith(by_sm3)
    code = told["91220500XXT000011D"]
    assert code["sha256"] == "91399faf494453fc8ba020410e9b839d8d12630d11e528ee5433624b99535e4d"
    assert code["sm3"] == "d3a54b2dce9cfae0ecc2d6bfaa70e69834b8418aae628112effdabfea49a5973"


def test_sm3_is_the_national_one(shared_data: Path) -> None:
    """SM3 gives the digests of the known-answer vectors, whichever library makes them."""
    for vector in json.loads((shared_data / "gm_vectors.json").read_text(encoding="utf-8"))["sm3"]:
        assert sm3(bytes.fromhex(vector["message_hex"])).hex() == vector["digest_hex"]


@given(st.sets(st.text("0123456789abcdef", min_size=62, max_size=62), max_size=150), st.sampled_from(["ab", "ff"]))
def test_every_answer_has_the_shape_of_every_other(rests: set[str], prefix: str) -> None:
    """Rows are a multiple of 64, at least 64, sorted, of one length, and those with bits are those that were put in."""
    body = ranges.lines([(prefix + rest, 8) for rest in rests], asked="sha256/name", prefix=prefix, version="1-1", key=KEY)
    rows = body.decode().splitlines()
    assert len(rows) == 64 * max(1, -(-len(rests) // 64))
    assert rows == sorted(rows)
    assert {len(row) for row in rows} == {71}
    assert {row[:62] for row in rows if not row.endswith(":00000000")} == rests


def test_padding_stays_while_the_version_does() -> None:
    """Asked twice, padding is the same, so that comparing answers tells nothing; it follows from prefix, question, version and key."""

    def made(rows: list[tuple[str, int]] | None = None, **other: object) -> list[str]:
        said = {"asked": "sm3/uscc", "prefix": "0a", "version": "20260101000000-7", "key": KEY} | other
        return ranges.lines(rows or [], **said).decode().splitlines()  # type: ignore[arg-type]  # words of the call

    plain = made()
    assert made() == plain
    one = made([("0a" + "5" * 62, 3)])
    assert len(set(plain) - set(one)) == 1, "a row takes the place of one row of padding, the others stay"
    for other in ({"prefix": "0b"}, {"asked": "sm3/name"}, {"version": "20260101000000-8"}, {"key": b"l" * 32}):
        assert not set(made(**other)) & set(plain)


def test_two_of_one_name_share_a_row() -> None:
    """Two organisations with one digest are one row with the bits of both; one without bits is none."""
    digest = "ab" + "1" * 62
    body = ranges.lines([(digest, 1), (digest, 8), ("ab" + "2" * 62, 0)], asked="sha256/name", prefix="ab", version="v", key=KEY).decode()
    assert f"{'1' * 62}:00000009\n" in body
    assert "2" * 62 not in body
    assert len(body.splitlines()) == 64


def test_a_recommended_prefix_points_at_nobody() -> None:
    """The longest prefix that still leaves fifty of the register; its size is told in two digits alone."""
    sizes = [0, 300, 12_799, 12_800, 100_000, 204_799, 204_800, 3_276_800, 10**9]
    assert [ranges.recommended(size) for size in sizes] == [2, 2, 2, 2, 2, 2, 3, 4, 5]
    assert [ranges.told_size(size) for size in (0, 7, 99, 300, 12_345, 987_654)] == [0, 7, 99, 300, 12_000, 980_000]
