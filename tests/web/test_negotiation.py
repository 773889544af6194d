"""Header fields of a request: languages, media types, codings."""

import pytest

from gateway.web.negotiation import CSV, JSON, NDJSON, accepts_coding, header, language_of, media_type_of

OFFERS = (JSON, NDJSON, CSV)


@pytest.mark.parametrize(
    ("field", "language"),
    [
        (b"", "zh-CN"),
        (b"en", "en"),
        (b"en-GB,en;q=0.9", "en"),
        (b"zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        (b"en;q=0.5,zh;q=0.4", "en"),
        (b"fr", "zh-CN"),
        (b"EN", "en"),
        (b"en;q=0", "zh-CN"),
        (b"*", "zh-CN"),
        (b";;;,", "zh-CN"),
        (b"en;q=banana", "zh-CN"),
    ],
)
def test_language_is_chinese_unless_english_is_preferred(field: bytes, language: str) -> None:
    """English is answered only to those who want it more than Chinese."""
    assert language_of(field) == language


@pytest.mark.parametrize(
    ("field", "media"),
    [
        (b"", JSON),
        (b"*/*", JSON),
        (b"text/csv", CSV),
        (b"text/*", CSV),
        (b"application/x-ndjson;q=0.9, application/json;q=0.1", NDJSON),
        (b"application/json;q=0, */*", NDJSON),
        (b"image/png", None),
        (b"application/json;q=0", None),
        (b"text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        (b"application/*, text/csv", JSON),
        (b"application/json;q=0.5, text/csv;q=0.5", JSON),
        (b"*/*;q=0", None),
        (b"text/csv;q=0.2, */*;q=0.1", CSV),
        (b"TEXT/CSV", CSV),
        (b"application/json; charset=utf-8", JSON),
    ],
)
def test_media_type_follows_quality_then_our_order(field: bytes, media: str | None) -> None:
    """The most wanted offer is given, equal wishes go by our order, and nothing acceptable is None."""
    assert media_type_of(field, OFFERS) == media


@pytest.mark.parametrize(
    ("field", "wanted"), [(b"gzip", True), (b"gzip;q=0", False), (b"*", True), (b"br", False), (b"", False), (b"*;q=0", False)]
)
def test_a_coding_with_weight_nought_is_refused(field: bytes, wanted: bool) -> None:
    """`q=0` is a no, whatever a star says."""
    assert accepts_coding(field, "gzip") is wanted


def test_repeated_header_fields_are_one_list() -> None:
    """Two lines of one field read as one with a comma."""
    assert header([(b"accept", b"text/csv"), (b"x", b"y"), (b"accept", b"*/*")], b"accept") == b"text/csv,*/*"
