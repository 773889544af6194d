"""Every rule of what may stand in no agreement, with the code and the very place that is told."""

from typing import Any

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import parsed
from gateway.core.exchange.wire import encode
from tests.core.exchange.test_agreements import BAISHAN, TONGHUA, stream, terms

SCOPE = {"regions": ["220500"], "except": [], "authorities": ["11220500XXT0001181"], "categories": ["penalty"]}
PARTY = f"parties.{TONGHUA}"
FIELD = {"name": "CF_A", "type": "date", "required": False}


def party(**changes: Any) -> dict[str, Any]:
    """The agreement with a changed first party."""
    said = terms()
    said["parties"][0] |= changes
    return said


def identity(**changes: Any) -> dict[str, Any]:
    """The agreement with a changed identity of the first party."""
    return party(identity=terms()["parties"][0]["identity"] | changes)


@pytest.mark.parametrize(
    ("said", "code", "place"),
    [
        (terms(onward=True), "SCHEMA_ENUM", "onward"),
        (terms(version=2), "SCHEMA_MISSING", "previous"),
        (terms(effective="2029-01-01"), "SCHEMA_TYPE", "expires"),
        (terms(parties=terms()["parties"][:1]), "SCHEMA_TYPE", "parties"),
        (terms(limits={"part_bytes": 1000, "lines": 1, "error_permille": 1}), "SIZE_BYTES", "limits"),
        (terms(natural_persons={"allowed": True}), "LAW_PERSON", "natural_persons"),
        (identity(region="220599"), "SCOPE_REGION", f"{PARTY}.identity.region"),
        (identity(region="2205"), "SCOPE_REGION", f"{PARTY}.identity.region"),
        (identity(org="11220500XXT0001182"), "SUBJ_USCC", f"{PARTY}.identity.org"),
        (identity(base_url="https://credit.example/"), "SCHEMA_TYPE", f"{PARTY}.identity.base_url"),
        (identity(base_url="http://credit.example/x/v1"), "SCHEMA_TYPE", f"{PARTY}.identity.base_url"),
        (party(agreement_keys=[]), "SCHEMA_MISSING", f"{PARTY}.agreement_keys"),
        (party(agreement_keys=["x"]), "SIG_FORMAT", f"{PARTY}.agreement_keys"),
        (stream(to=TONGHUA), "SCHEMA_TYPE", "streams[0]"),
        (stream(subject_kinds=["natural"]), "LAW_PERSON", "streams[0].subject_kinds"),
        (stream(subject_kinds=["individual_business"]), "LAW_PERSON", "streams[0].subject_kinds"),
        (stream(scope=SCOPE | {"authorities": ["*"]}), "SCOPE_AUTHORITY", "streams[0].scope.authorities"),
        (stream(scope=SCOPE | {"authorities": ["1"]}), "SUBJ_USCC", "streams[0].scope.authorities"),
        (stream(polarity="positive"), "SCOPE_CATEGORY", "streams[0].scope.categories"),
        (stream(scope=SCOPE | {"categories": []}), "SCHEMA_MISSING", "streams[0].scope"),
        (stream(scope=SCOPE | {"regions": ["22050"]}), "SCOPE_REGION", "streams[0].scope.regions"),
        (stream(scope=SCOPE | {"regions": ["000000"]}), "SCOPE_REGION", "streams[0].scope.regions"),
        (stream(scope=SCOPE | {"except": ["999999"]}), "SCOPE_REGION", "streams[0].scope.regions"),
        (stream(wire={"delivery": "push", "suite": "ed25519-sha256", "format": "part/1"}), "SCHEMA_VERSION", "streams[0].wire.format"),
        (stream(purpose="mutual.query"), "SCHEMA_ENUM", "streams[0].purpose"),
        (stream(fields=[]), "SCHEMA_MISSING", "streams[0].fields"),
        (stream(fields=[FIELD] * 2), "SCHEMA_TYPE", "streams[0].fields"),
        (stream(fields=[FIELD | {"name": f"CF_{n}"} for n in range(65)]), "SIZE_LINE", "streams[0].fields"),
        (stream(fields=[FIELD | {"type": "money"}]), "SCHEMA_TYPE", "streams[0].CF_A"),
    ],
)
def test_a_fault_has_its_place(said: dict[str, Any], code: str, place: str):
    """Each rule names its code and where it was broken."""
    _, faults = parsed(encode(said))
    assert (code, place) in [(fault.code, fault.place) for fault in faults]
    assert all(fault.message for fault in faults)


@pytest.mark.parametrize(
    ("said", "code", "place"),
    [
        (terms(limits={"lines": 2_000_000}), "SCHEMA_TYPE", "limits.lines"),
        (terms(limits={"lines": 1, "error_permille": 1001}), "SCHEMA_TYPE", "limits.error_permille"),
        (terms(limits={"secret": 1}), "SCHEMA_UNKNOWN", "limits"),
        (terms(skew_s=601), "SCHEMA_TYPE", "skew_s"),
        (terms(only_on_mondays=True), "SCHEMA_UNKNOWN", None),
        (stream(ops=["assert", "praise"]), "SCHEMA_TYPE", "streams[0].ops[1]"),
        (stream(wire={"delivery": "pigeon", "suite": "ed25519-sha256"}), "SCHEMA_TYPE", "streams[0].wire.delivery"),
    ],
)
def test_a_shape_has_its_place(said: dict[str, Any], code: str, place: str | None):
    """What is no agreement at all says which member it is; a member that nobody knows is refused."""
    with pytest.raises(ExchangeError) as caught:
        parsed(encode(said))
    assert (caught.value.code, caught.value.place) == (code, place)


def test_all_faults_are_told_at_once():
    """Two faults in one text are both told, each with its place."""
    said = stream(to=BAISHAN, purpose="mutual.query", fields=[]) | {"onward": True}
    _, faults = parsed(encode(said))
    assert [fault.place for fault in faults] == ["onward", "streams[0].purpose", "streams[0].fields"]


@pytest.mark.parametrize("kind", ["natural", "individual_business"])
def test_measures_are_told_of_organisations_only(kind: str):
    """Whatever ground an agreement has for persons and households, its stream of measures tells of neither."""
    ground = {"allowed": True, "fields": ["CF_A"], "basis": [{"text": "《示例条例》"}], "assessment": "1", "route": "direct"}
    for category, codes in (("penalty", set()), ("measure", {"LAW_PERSON"})):
        said = stream(subject_kinds=["legal", kind], scope=SCOPE | {"categories": [category]}, polarity="neutral")
        said |= {"natural_persons": ground | {"datasets": [said["streams"][0]["dataset"]]}}
        _, faults = parsed(encode(said))
        assert {fault.code for fault in faults if fault.place == "streams[0].subject_kinds"} == codes
