"""What may stand in no agreement (exchange.md §3): every fault of a text, with its place.

This room must not know our policies: what they allow is asked where we sign.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.core.errors import ExchangeError
from gateway.core.exchange import documents
from gateway.core.exchange.agreed_terms import Agreement, Fault, PartyTerms, StreamTerms, Terms
from gateway.core.exchange.field_rules import field_fault
from gateway.core.exchange.wire import SUITES
from gateway.core.records.divisions import covers, division
from gateway.core.records.identifiers import uscc_is_valid
from gateway.core.records.model import NEGATIVE_CATEGORIES
from gateway.core.signing import sm2_is_here

LONGEST_LINE = 128 * 1024
"""Of records (§4): parts that cannot hold one would stop their stream for ever."""


def lint(agreement: Agreement) -> tuple[Fault, ...]:
    """Everything in the text that may not stand in any agreement."""
    return tuple(_faults(agreement))


def _faults(agreement: Agreement) -> Iterable[Fault]:
    terms = agreement.terms
    if terms.onward:
        yield Fault(code="SCHEMA_ENUM", message="onward must be false: what comes in is not passed on", place="onward")
    if (terms.version == 1) != (terms.previous is None):
        yield Fault(
            code="SCHEMA_MISSING",
            message="from version 2 on, previous is the digest of the version before; version 1 has none",
            place="previous",
        )
    if agreement.ends <= agreement.effective:
        yield Fault(code="SCHEMA_TYPE", message="expires lies before effective", place="expires")
    if len(terms.parties) != 2 or len({party.party for party in terms.parties}) != 2:
        yield Fault(code="SCHEMA_TYPE", message="an agreement has exactly two parties", place="parties")
        return
    for party in terms.parties:
        yield from _party_faults(party)
        yield from _algorithm_faults(agreement, party)
    yield from _person_faults(terms)
    if min(terms.limits.part_bytes, terms.limits.part_bytes_raw) < LONGEST_LINE:
        yield Fault(code="SIZE_BYTES", message="a part has room for one line of 128 KiB at least", place="limits")
    names = {party.party for party in terms.parties}
    seen: set[tuple[str, str]] = set()
    for number, stream in enumerate(terms.streams):
        place = f"streams[{number}]"
        if {stream.from_, stream.to} != names:
            yield Fault(code="SCHEMA_TYPE", message="a stream goes from one party to the other", place=place)
        if (stream.dataset, stream.from_) in seen:
            yield Fault(code="SCHEMA_TYPE", message="one stream per dataset and direction", place=place)
        seen.add((stream.dataset, stream.from_))
        yield from _stream_faults(terms, stream, place)


def _party_faults(party: PartyTerms) -> Iterable[Fault]:
    place = f"parties.{party.party}"
    if not _known_region(party.identity.region):
        yield Fault(code="SCOPE_REGION", message="a region is six digits of the division table", place=f"{place}.identity.region")
    if not uscc_is_valid(party.identity.org):
        yield Fault(code="SUBJ_USCC", message="org is the USCC of the operating body", place=f"{place}.identity.org")
    url = urlsplit(party.identity.base_url)
    if (
        url.scheme not in ("https", "http")
        or not url.hostname
        or url.query
        or url.fragment
        or url.username
        or not url.path.endswith("/x/v1")
    ):
        yield Fault(code="SCHEMA_TYPE", message="base_url is https://host/x/v1", place=f"{place}.identity.base_url")
    elif url.scheme == "http" and url.hostname not in ("127.0.0.1", "::1", "localhost"):
        yield Fault(code="SCHEMA_TYPE", message="plain http is for loopback in test mode only", place=f"{place}.identity.base_url")
    if not party.agreement_keys:
        yield Fault(
            code="SCHEMA_MISSING",
            message="agreement_keys is empty: each side puts in the keys that the other office has read out (`chengxin key list`)",
            place=f"{place}.agreement_keys",
        )
    for vkey in party.agreement_keys:
        try:
            verifier = next(iter(documents.pinned(party.party, [vkey]).keys.values())).verifier
        except ExchangeError as error:
            yield Fault(code="SIG_FORMAT", message=error.detail, place=f"{place}.agreement_keys")
            continue
        if verifier.name != f"{party.party}/agreement":
            yield Fault(code="SIG_KEY_USE", message="agreement_keys hold keys named party/agreement", place=f"{place}.agreement_keys")


def _algorithm_faults(agreement: Agreement, party: PartyTerms) -> Iterable[Fault]:
    """Whoever's streams need SM2 signs its documents with SM2 too, and pins a key for that."""
    try:
        pinned = {key.verifier.algorithm for key in agreement.pins(party.party).keys.values()}
    except ExchangeError:
        return  # said of the key itself
    for algorithm in sorted(agreement.algorithms - pinned):
        if party.agreement_keys:
            yield Fault(
                code="SIG_ALG_MISSING",
                message=f"agreement_keys pin no {algorithm} key (`chengxin key new agreement --algorithm {algorithm}`)",
                place=f"parties.{party.party}.agreement_keys",
            )


def _person_faults(terms: Terms) -> Iterable[Fault]:
    persons = terms.natural_persons
    complete = bool(persons.datasets and persons.fields and persons.basis and persons.assessment and persons.route)
    if persons.allowed and not complete:
        yield Fault(
            code="LAW_PERSON", message="natural_persons needs datasets, fields, basis, assessment and route", place="natural_persons"
        )
    if not persons.allowed and (persons.datasets or persons.fields):
        yield Fault(code="LAW_PERSON", message="natural_persons lists something and allows nothing", place="natural_persons")
    if persons.allowed and persons.route == "province" and not any(party.identity.region.endswith("0000") for party in terms.parties):
        yield Fault(code="LAW_PERSON", message="route = province needs the province as the other party", place="natural_persons")


def _stream_faults(terms: Terms, stream: StreamTerms, place: str) -> Iterable[Fault]:
    persons = terms.natural_persons
    for kind in ("natural", "individual_business"):
        if kind in stream.subject_kinds and not (persons.allowed and stream.dataset in persons.datasets):
            yield Fault(
                code="LAW_PERSON",
                message=f"{kind} in subject_kinds without natural_persons for this dataset",
                place=f"{place}.subject_kinds",
            )
        elif kind in stream.subject_kinds and "measure" in stream.scope.categories:
            yield Fault(code="LAW_PERSON", message="measures are told of organisations only", place=f"{place}.subject_kinds")
    if "*" in stream.scope.authorities and (stream.polarity == "negative" or NEGATIVE_CATEGORIES & set(stream.scope.categories)):
        yield Fault(
            code="SCOPE_AUTHORITY", message='authorities = ["*"] may not stand in a negative stream', place=f"{place}.scope.authorities"
        )
    for authority in stream.scope.authorities:
        if authority != "*" and not uscc_is_valid(authority):
            yield Fault(code="SUBJ_USCC", message="an authority is named by its USCC", place=f"{place}.scope.authorities")
    if stream.polarity == "positive" and NEGATIVE_CATEGORIES & set(stream.scope.categories):
        yield Fault(code="SCOPE_CATEGORY", message="a negative category in a positive stream", place=f"{place}.scope.categories")
    if not stream.scope.regions or not stream.scope.authorities or not stream.scope.categories:
        yield Fault(code="SCHEMA_MISSING", message="scope names regions, authorities and categories", place=f"{place}.scope")
    for region in (*stream.scope.regions, *stream.scope.except_):
        if not _known_region(region):
            yield Fault(code="SCOPE_REGION", message="a region is six digits of the division table", place=f"{place}.scope.regions")
    if not sm2_is_here() and "sm2" in (SUITES[stream.wire.suite].algorithm, *stream.wire.also_sign):
        yield Fault(
            code="SIG_ALG_MISSING",
            message="this gateway has no SM2 (extra `gm`): only ed25519-sha256 streams can be agreed",
            place=f"{place}.wire.suite",
        )
    if stream.wire.format != "lines/1":
        yield Fault(code="SCHEMA_VERSION", message="streams of an agreement are lines/1 alone", place=f"{place}.wire.format")
    if stream.purpose not in terms.purposes:
        yield Fault(code="SCHEMA_ENUM", message="the stream's purpose is not among the agreement's", place=f"{place}.purpose")
    if not stream.fields:
        yield Fault(code="SCHEMA_MISSING", message="a stream names its fields", place=f"{place}.fields")
    names = [field.name for field in stream.fields]
    if len(set(names)) != len(names):
        yield Fault(code="SCHEMA_TYPE", message="a field is named twice", place=f"{place}.fields")
    roles = [field.role for field in stream.fields if field.role]
    if len(set(roles)) != len(roles):
        yield Fault(code="SCHEMA_TYPE", message="a role is given to one field", place=f"{place}.fields")
    if len(names) + sum(len(field.twins) for field in stream.fields) > 64:
        yield Fault(code="SIZE_LINE", message="a line has at most 64 disclosures", place=f"{place}.fields")
    for field in stream.fields:
        fault = field_fault(field)
        if fault:
            yield Fault(code="SCHEMA_TYPE", message=fault, place=f"{place}.{field.name}")


def _known_region(region: str) -> bool:
    return covers(region, region) and division(region) is not None
