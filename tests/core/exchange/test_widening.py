"""What is wider in the next version of an agreement: each member alone, in its own word; what only takes away is not."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.core.exchange.agreed_terms import Local
from gateway.core.exchange.widening import widenings
from tests.core.exchange.test_agreements import BAISHAN, TONGHUA, made, terms

BASIS = {"datasets": ["penalties"], "fields": ["CF_WSH"], "basis": [{"text": "《示例法》第一条"}], "assessment": "评估〔2026〕1号"}
Change = Callable[[dict[str, Any]], object]


def first() -> dict[str, Any]:
    """A version with something of everything, so that all can be taken away and added to."""
    said = terms(
        recognition=[{"dataset": "honours", "category": "redlist", "freshness_h": 48}],
        natural_persons={"allowed": True, "route": "direct", **BASIS},
        sla={"withdraw_h": 24, "erase_h": 72, "feedback_h": 24, "hold_h": 72, "stop_after_h": 12},
    )
    stream = said["streams"][0]
    stream["ops"] = ["assert", "amend", "retract"]
    stream["scope"] = {
        "regions": ["220500", "220600"],
        "except": ["220581"],
        "authorities": ["11220500XXT0001181", "11220600XXT0001186"],
        "categories": ["penalty", "licence"],
    }
    stream["schema"] = {"major": 1, "min_minor": 2}
    stream["fields"] += [
        {"name": "CF_LB", "type": "enum", "required": False, "values": ["a", "b"]},
        {"name": "CF_MC", "type": "string", "length": 100, "required": False},
    ]
    return said


def stream_of(said: dict[str, Any]) -> dict[str, Any]:
    """Its only stream."""
    return said["streams"][0]  # type: ignore[no-any-return]  # data


def field_of(said: dict[str, Any], name: str) -> dict[str, Any]:
    """One of its fields."""
    return next(field for field in stream_of(said)["fields"] if field["name"] == name)


WIDER: dict[str, tuple[str, Change]] = {
    "region": ("regions", lambda said: stream_of(said)["scope"]["regions"].append("220300")),
    "region of another level": ("regions", lambda said: stream_of(said)["scope"]["regions"].append("220000")),
    "no exception": ("regions", lambda said: stream_of(said)["scope"].update({"except": []})),
    "authority": ("authorities", lambda said: stream_of(said)["scope"]["authorities"].append("91220600XXT000185U")),
    "category": ("categories", lambda said: stream_of(said)["scope"]["categories"].append("evaluation")),
    "polarity": ("categories", lambda said: stream_of(said).update(polarity="neutral")),
    "kind": ("kinds", lambda said: stream_of(said)["subject_kinds"].append("natural")),
    "op": ("ops", lambda said: stream_of(said)["ops"].append("repair")),
    "field": ("fields", lambda said: stream_of(said)["fields"].append({"name": "CF_X", "type": "date", "required": False})),
    "length": ("fields", lambda said: field_of(said, "CF_WSH").update(length=129)),
    "type": ("fields", lambda said: field_of(said, "CF_MC").update(type="text")),
    "value": ("fields", lambda said: field_of(said, "CF_LB")["values"].append("c")),
    "schema": ("fields", lambda said: stream_of(said)["schema"].update(min_minor=1)),
    "purpose": ("purposes", lambda said: said["purposes"].append("mutual.recognition")),
    "stream": ("streams", lambda said: said["streams"].append(stream_of(said) | {"from": BAISHAN, "to": TONGHUA})),
    "lines": ("limits", lambda said: said["limits"].update(lines=100001)),
    "errors": ("limits", lambda said: said["limits"].update(error_permille=51)),
    "requests": ("limits", lambda said: said["limits"].update(requests_min=121)),
    "clock": ("limits", lambda said: said.update(skew_s=301)),
    "questions": ("limits", lambda said: said["query"].update(per_day=2)),
    "level": ("query", lambda said: said["query"].update(levels=[1, 2])),
    "recognition": ("recognition", lambda said: said["recognition"].append({"dataset": "a", "category": "redlist", "freshness_h": 1})),
    "freshness": ("recognition", lambda said: said["recognition"][0].update(freshness_h=49)),
    "persons": ("persons", lambda said: said["natural_persons"]["fields"].append("CF_XDR_SHXYM")),
    "later withdrawals": ("deadlines", lambda said: said["sla"].update(withdraw_h=25)),
    "never stopped": ("deadlines", lambda said: said["sla"].update(stop_after_h=0)),
    "kept longer": ("retention", lambda said: said["retention"].update(parts_days=31)),
    "frozen": ("retention", lambda said: said["retention"].update(after_termination="freeze")),
    "longer": ("time", lambda said: said.update(expires="2029-11-30")),
    "address": ("parties", lambda said: said["parties"][1]["identity"].update(base_url="https://elsewhere.example/x/v1")),
    "key": ("keys", lambda said: said["parties"][0]["agreement_keys"].append(_another())),
}


def _another() -> str:
    from gateway.core.signing import Ed25519Signer

    return Ed25519Signer(f"{TONGHUA}/agreement", b"\x21" * 32).vkey


NARROWER: dict[str, Change] = {
    "region": lambda said: stream_of(said)["scope"]["regions"].remove("220600"),
    "part of a region": lambda said: stream_of(said)["scope"].update(regions=["220500", "220602"]),
    "exception": lambda said: stream_of(said)["scope"]["except"].append("220582"),
    "authority": lambda said: stream_of(said)["scope"]["authorities"].pop(),
    "category": lambda said: stream_of(said)["scope"]["categories"].pop(),
    "op": lambda said: stream_of(said)["ops"].remove("retract"),
    "field": lambda said: stream_of(said)["fields"].pop(),
    "length": lambda said: field_of(said, "CF_MC").update(length=99),
    "value": lambda said: field_of(said, "CF_LB")["values"].pop(),
    "required": lambda said: field_of(said, "CF_MC").update(required=True),
    "stream": lambda said: said["streams"].clear(),
    "lines": lambda said: said["limits"].update(lines=1),
    "questions": lambda said: said.pop("query"),
    "recognition": lambda said: said["recognition"].clear(),
    "persons": lambda said: said.update(natural_persons={"allowed": False}),
    "sooner": lambda said: said["sla"].update(withdraw_h=1, erase_h=1, feedback_h=1, hold_h=1, stop_after_h=1),
    "shorter": lambda said: said.update(expires="2028-01-01"),
    "title": lambda said: said.update(title="另一标题"),
    "kept shorter": lambda said: said["retention"].update(parts_days=1),
}


def next_of(change: Change) -> dict[str, Any]:
    """The version after, with one change."""
    said = first() | {"version": 2, "previous": made(first()).digest}
    change(said)
    return said


@pytest.mark.parametrize("name", WIDER)
def test_each_member_can_widen(name: str):
    """One member made wider is told once, as what it is, with its place and words; taken back it is narrower and not told."""
    what, change = WIDER[name]
    before, after = made(first()), made(next_of(change))
    found = widenings(before, after)
    assert [(each.what, bool(each.place), bool(each.words)) for each in found] == [(what, True, True)], found
    if name not in ("polarity", "type", "address"):
        assert widenings(after, before) == ()


@pytest.mark.parametrize("name", NARROWER)
def test_taking_away_is_not_wider(name: str):
    """A version that only narrows widens nothing."""
    assert widenings(made(first()), made(next_of(NARROWER[name]))) == ()


def test_the_first_version_widens_from_nothing():
    """Every stream of a first version, its questions and what it recognises are told."""
    assert [each.what for each in widenings(None, made(first()))] == ["streams", "query", "recognition"]


def test_another_tier_of_ours_is_another_form():
    """The tier stands in our own part, which nobody signs; fields leave us in another form when it changes."""
    same = made(first())
    assert [each.what for each in widenings(same, same, local=(Local(), Local(tier="supervisor")))] == ["masks"]
    assert widenings(same, same, local=(Local(), Local(adapter="memory"))) == ()
