"""What a version of an agreement lets through that the one before did not, in words (exchange.md §3).

Rules: whatever cannot be shown to be as narrow as before is wider: more may be said, about more, to more, for longer, at more volume, later
withdrawn, or under a key that did not count before. A first version widens from nothing. Taking away is never wider. This room must not
decide whose consent it takes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.exchange.agreed_terms import (
    Agreement,
    FieldTerms,
    Limits,
    Local,
    NaturalPersons,
    QueryTerms,
    Scope,
    StreamTerms,
    Terms,
)
from gateway.core.records.divisions import covers

_DEADLINES: Final[Mapping[str, str]] = {
    "withdraw_h": "withdrawals are carried out within {after} h, no longer {before} h",
    "erase_h": "erasures are carried out within {after} h, no longer {before} h",
    "feedback_h": "a receipt may take {after} h, no longer {before} h",
    "hold_h": "a held batch may wait {after} h, no longer {before} h",
}


class Wider(Struct, frozen=True, kw_only=True):
    """One thing that is wider than before."""

    what: str
    """Regions, authorities, categories, kinds, fields, masks, purposes, limits, recognition, persons, ops, and so on."""
    place: str
    words: str


def widenings(before: Agreement | None, after: Agreement, *, local: tuple[Local, Local] | None = None) -> tuple[Wider, ...]:
    """Everything that is wider in a version; `local` is our own part then and now, whose tier says in which form fields leave us."""
    if before is None:
        return tuple(_first(after.terms))
    return tuple(_between(before.terms, after.terms, local))


def _first(terms: Terms) -> Iterator[Wider]:
    for stream in terms.streams:
        yield Wider(what="streams", place=_name(stream), words=f"a first agreement: {len(stream.fields)} fields of {stream.dataset}")
    if terms.query is not None:
        yield Wider(what="query", place="query", words=f"questions about {_list(terms.query.datasets)}")
    for entry in terms.recognition:
        yield Wider(what="recognition", place="recognition", words=f"{entry.category} of {entry.dataset} is recognised")


def _between(before: Terms, after: Terms, local: tuple[Local, Local] | None) -> Iterator[Wider]:
    yield from _more("purposes", "purposes", before.purposes, after.purposes, "for a further purpose: {}")
    if after.expires > before.expires:
        yield Wider(what="time", place="expires", words=f"in force until {after.expires}, no longer {before.expires}")
    yield from _parties(before, after)
    yield from _persons(before.natural_persons, after.natural_persons)
    yield from _limits(before.limits, after.limits)
    yield from _service(before, after)
    yield from _query(before.query, after.query)
    yield from _recognition(before, after)
    if local is not None and local[0].tier != local[1].tier:
        yield Wider(
            what="masks", place="[local] tier", words=f"fields leave us as tier {local[1].tier} sees them, no longer {local[0].tier}"
        )
    held = {(stream.dataset, stream.from_): stream for stream in before.streams}
    for stream in after.streams:
        old = held.get((stream.dataset, stream.from_))
        if old is None:
            yield Wider(what="streams", place=_name(stream), words=f"a further stream with {len(stream.fields)} fields")
        else:
            yield from _stream(old, stream)


def _stream(before: StreamTerms, after: StreamTerms) -> Iterator[Wider]:
    place = _name(after)
    yield from _regions(before.scope, after.scope, place)
    if "*" not in before.scope.authorities:
        yield from _more("authorities", place, before.scope.authorities, after.scope.authorities, "decisions of a further authority: {}")
    yield from _more("categories", place, before.scope.categories, after.scope.categories, "a further category: {}")
    yield from _more("kinds", place, before.subject_kinds, after.subject_kinds, "about a further kind of subject: {}")
    yield from _more("ops", place, before.ops, after.ops, "a further operation: {}")
    if before.purpose != after.purpose:
        yield Wider(what="purposes", place=place, words=f"sent for {after.purpose}, no longer for {before.purpose}")
    if before.polarity != after.polarity:
        yield Wider(what="categories", place=place, words=f"a {after.polarity} stream, no longer a {before.polarity} one")
    if before.schema_.major != after.schema_.major or after.schema_.min_minor < before.schema_.min_minor:
        yield Wider(what="fields", place=place, words="another version of the schema")
    if set(before.wire.also_sign) - set(after.wire.also_sign) or before.wire.suite != after.wire.suite:
        yield Wider(what="suites", place=place, words="other signatures are asked for than before")
    fields = {field.name: field for field in before.fields}
    for field in after.fields:
        yield from _field(fields.get(field.name), field, place)


def _regions(before: Scope, after: Scope, place: str) -> Iterator[Wider]:
    for region in after.regions:
        if not any(covers(held, region) for held in before.regions):
            yield Wider(what="regions", place=place, words=f"a further region: {region}")
    for region in before.except_:
        inside = any(covers(held, region) or covers(region, held) for held in after.regions)
        if inside and not any(covers(held, region) for held in after.except_):
            yield Wider(what="regions", place=place, words=f"{region} is not taken out any more")


def _field(before: FieldTerms | None, after: FieldTerms, place: str) -> Iterator[Wider]:
    where = f"{place} {after.name}"
    if before is None:
        yield Wider(what="fields", place=where, words=f"a further field: {after.name}")
        return
    if before.type != after.type:
        yield Wider(what="fields", place=where, words=f"its type is {after.type}, no longer {before.type}")
    if (after.length or 0) > (before.length or 0):
        yield Wider(what="fields", place=where, words=f"up to {after.length} characters, no longer {before.length}")
    yield from _more("fields", where, before.values, after.values, "a further value: {}")
    yield from _more("masks", where, before.twins, after.twins, "in a further form: {}")


def _parties(before: Terms, after: Terms) -> Iterator[Wider]:
    held = {party.party: party for party in before.parties}
    for party in after.parties:
        old = held.get(party.party)
        if old is None:
            yield Wider(what="parties", place=party.party, words="another party than before")
            continue
        if old.identity != party.identity:
            yield Wider(what="parties", place=party.party, words="another address, region or operating body of a party")
        yield from _more("keys", party.party, old.agreement_keys, party.agreement_keys, "a further key speaks for it: {}")


def _persons(before: NaturalPersons, after: NaturalPersons) -> Iterator[Wider]:
    place = "natural_persons"
    if after.allowed and not before.allowed:
        yield Wider(what="persons", place=place, words="records about persons or households may travel")
    yield from _more("persons", place, before.datasets, after.datasets, "about persons in a further dataset: {}")
    yield from _more("persons", place, before.fields, after.fields, "a further field about persons: {}")
    if before.route == "province" and after.route == "direct":
        yield Wider(what="persons", place=place, words="about persons directly, no longer through the province")


def _limits(before: Limits, after: Limits) -> Iterator[Wider]:
    old, new = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    for name, value in new.items():
        if value > old[name]:
            yield Wider(what="limits", place="limits", words=f"{name} up to {value}, no longer {old[name]}")


def _service(before: Terms, after: Terms) -> Iterator[Wider]:
    for name, words in _DEADLINES.items():
        old, new = getattr(before.sla, name), getattr(after.sla, name)
        if new > old:
            yield Wider(what="deadlines", place="sla", words=words.format(before=old, after=new))
    if before.sla.stop_after_h and (not after.sla.stop_after_h or after.sla.stop_after_h > before.sla.stop_after_h):
        yield Wider(what="deadlines", place="sla", words="new records go on for longer while acknowledgements are late")
    if after.skew_s > before.skew_s:
        yield Wider(what="limits", place="skew_s", words=f"clocks may differ by {after.skew_s} s, no longer {before.skew_s} s")
    old_keep, keep = before.retention, after.retention
    if keep.parts_days > old_keep.parts_days:
        yield Wider(what="retention", place="retention", words=f"parts are kept {keep.parts_days} days, no longer {old_keep.parts_days}")
    if (keep.after_termination, old_keep.after_termination) == ("freeze", "purge"):
        yield Wider(what="retention", place="retention", words="at the end records are frozen, no longer purged")
    if keep.freeze_days < old_keep.freeze_days:
        yield Wider(what="retention", place="retention", words="withdrawals are taken for fewer days after the end")


def _query(before: QueryTerms | None, after: QueryTerms | None) -> Iterator[Wider]:
    if after is None:
        return
    if before is None:
        yield Wider(what="query", place="query", words=f"questions about {_list(after.datasets)}")
        return
    yield from _more(
        "query", "query", [str(level) for level in before.levels], [str(level) for level in after.levels], "questions of level {}"
    )
    yield from _more("query", "query", before.datasets, after.datasets, "questions about {}")
    for name in ("per_day", "per_officer_day", "per_subject_day"):
        if getattr(after, name) > getattr(before, name):
            yield Wider(what="limits", place="query", words=f"{name} up to {getattr(after, name)}, no longer {getattr(before, name)}")


def _recognition(before: Terms, after: Terms) -> Iterator[Wider]:
    held = {(entry.dataset, entry.category): entry.freshness_h for entry in before.recognition}
    for entry in after.recognition:
        old = held.get((entry.dataset, entry.category))
        if old is None:
            yield Wider(what="recognition", place="recognition", words=f"{entry.category} of {entry.dataset} is recognised")
        elif entry.freshness_h > old:
            words = f"{entry.category} of {entry.dataset} counts for {entry.freshness_h} h without news, no longer {old} h"
            yield Wider(what="recognition", place="recognition", words=words)


def _more(what: str, place: str, before: Iterable[str], after: Iterable[str], words: str) -> Iterator[Wider]:
    held = set(before)
    for one in after:
        if one not in held:
            yield Wider(what=what, place=place, words=words.format(one))


def _name(stream: StreamTerms) -> str:
    return f"{stream.dataset} {stream.from_} → {stream.to}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
