"""Which receipts may keep what was asked: those that are certainly about organisations alone."""

import json

import pytest

from gateway.core.publication.receipts import about_organisations

FIRM = {"id": "sub_a", "kind": "enterprise", "name": "示例"}
ITEMS = {"items": [{"id": "rec_a", "subject": {"kind": "enterprise"}}]}


@pytest.mark.parametrize(
    ("url", "answer", "certain"),
    [
        ("/v1/subjects/91220502XXT00002X2", FIRM, True),
        ("/v1/subjects/sub_2222222222222222222222222a", FIRM, True),
        ("/v1/subjects/91220502XXT00002X2/records?kind=penalty", ITEMS, True),
        ("/v1/subjects/91220502XXT00002X2/timeline", {"items": []}, True),
        ("/v1/records?dataset=honours", ITEMS, True),
        ("/v1/lists/tax-violations/listings", {"items": []}, True),
        ("/v1/subjects/92220502XXT00002X2", FIRM | {"kind": "household"}, False),
        ("/v1/subjects/92220502XXT00002X2/records", {"items": []}, False),
        ("/v1/subjects/92220502xxt00002x2/timeline", {"items": []}, False),
        ("/v1/subjects/%EF%BC%99%EF%BC%92220502XXT00002X2/records", {"items": []}, False),
        ("/v1/subjects/sub_2222222222222222222222222a/timeline", {"items": []}, False),
        ("/v1/subjects/sub_2222222222222222222222222a?fields=id", {"id": "sub_a"}, False),
        ("/v1/subjects?q=%E6%B5%8B%E8%AF%95%E7%94%B2", {"items": []}, False),
        ("/v1/subjects?q=", {"items": []}, False),
        ("/v1/records?dataset=honours&shape=flat", {"items": []}, False),
        ("/v1/records?dataset=honours&document_number=92220502XXT00002X2", {"items": []}, False),
        ("/v1/lists/wage-arrears/listings", {"items": [{"subject": {"kind": "person"}}]}, False),
    ],
)
def test_what_is_not_certain_is_not(url: str, answer: object, certain: bool) -> None:
    """Searched texts, households by any spelling, cut answers and opaque ids leave nothing that could be asked again."""
    assert about_organisations(url, json.dumps(answer).encode()) is certain
