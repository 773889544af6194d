"""Listings as entities of FollowTheMoney, for screening software (api.md §7.18).

Rules: black lists only; an organisation and a `Sanction` for each listing, both named after the listing, so that an id alone never leads
from one listing to another one of the same firm, and a stub needs nothing but the id. In the chain of deltas what has left
since becomes a stub in the earlier `ADD` and `MOD`: id, schema, no properties. This room must not add what a row does not say.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.core.publication.versions import Kept, document_of

Entity = dict[str, Any]
_ENCODER = msgspec.json.Encoder(order="sorted")
_SCHEMAS: Mapping[str, str] = {"enterprise": "Company", "cooperative": "Company"}
_COUNTRY = "cn"


def listing_id(record_id: str) -> str:
    """The id of a listing's `Sanction`: ids of FollowTheMoney have no underscore."""
    return record_id.replace("_", "-")


def party_id(record_id: str) -> str:
    """The id of the organisation that a listing names."""
    return f"{listing_id(record_id)}-party"


def schema_of(kind: str) -> str:
    """The schema of a subject kind."""
    return _SCHEMAS.get(kind, "Organization")


def _entity(identity: str, schema: str, properties: Mapping[str, Any]) -> Entity:
    said = {name: [str(value)] for name, value in properties.items() if value is not None and value != ""}
    return {"id": identity, "schema": schema, "properties": said}


def entities(row: Mapping[str, Any], *, program: str, source_url: str) -> tuple[Entity, ...]:
    """The organisation and its `Sanction`; nothing of a household, which a list may name but screening software never."""
    subject, fields = row["subject"], row["fields"]
    if subject["kind"] == "household":
        return ()
    code = subject.get("uscc")
    whole = code is not None and "*" not in code
    party = _entity(
        party_id(row["id"]),
        schema_of(subject["kind"]),
        {
            "name": subject.get("name"),
            "uscCode": code if whole else None,
            "country": _COUNTRY,
            "topics": "reg.warn",
            "sourceUrl": subject["uri"],
        },
    )
    sanction = _entity(
        listing_id(row["id"]),
        "Sanction",
        {
            "entity": party["id"],
            "authority": row["source"]["name"],
            "program": program,
            "startDate": row.get("listed_on"),
            "endDate": row.get("publish_until"),
            "listingDate": row.get("listed_on"),
            "reason": fields.get("case_nature") or fields.get("violation_type") or row.get("severity"),
            "authorityId": row.get("document_number"),
            "sourceUrl": source_url,
        },
    )
    return party, sanction


def encoded(entity: Mapping[str, Any]) -> bytes:
    """One entity as one line."""
    return _ENCODER.encode(entity)


def _stubs(record_id: str) -> tuple[Entity, Entity]:
    return (
        {"id": party_id(record_id), "schema": "LegalEntity", "properties": {}},
        {"id": listing_id(record_id), "schema": "Sanction", "properties": {}},
    )


def chain_lines(rows: Iterable[Kept], previous: int, seq: int, *, program: str, source_url: str) -> Iterator[bytes]:
    """The link of the chain that leads from the version before to this one, each with what has become of it since."""
    before: dict[str, Kept] = {}
    after: dict[str, Kept] = {}
    for row in rows:
        if row.in_version(previous):
            before[row.record_id] = row
        if row.in_version(seq):
            after[row.record_id] = row
    for record_id in sorted(before.keys() | after.keys()):
        was, now = before.get(record_id), after.get(record_id)
        if now is None:
            for stub in _stubs(record_id):
                yield encoded({"op": "DEL", "entity": {"id": stub["id"]}}) + b"\n"
            continue
        if was is not None and was.first == now.first:
            continue
        op = "ADD" if was is None else "MOD"
        said = _stubs(record_id) if now.line is None else entities(document_of(now.line), program=program, source_url=source_url)
        for entity in said:
            yield encoded({"op": op, "entity": entity}) + b"\n"


def dataset_name(city: str, list_id: str) -> str:
    """A name without dashes."""
    return f"{city}_{list_id}".replace("-", "_")
