"""The terms of one stream, made ready for checking many records (exchange.md §3).

Rights are checked per record: a partner speaks only as itself, about its own rids, within the regions, authorities, categories, kinds,
operations and fields of the list. This room must not look at a record.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache

from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreed_terms import Agreement, StreamTerms
from gateway.core.exchange.field_rules import TEXT_TYPES, Check, Twin, check_of, plain_length, twin_check, twins_of
from gateway.core.records.divisions import covers, division
from gateway.core.records.model import Value


class StreamRules(Struct, frozen=True, kw_only=True):
    """The terms of one stream, made ready for checking many records."""

    agreement: Agreement
    terms: StreamTerms
    checks: Mapping[str, Check]
    """Of every agreed field and twin."""
    lengths: Mapping[str, int]
    """Of every agreed text: a text of at most so many characters passes its check."""
    required: frozenset[str]
    twins: tuple[Twin, ...]
    """What is sealed beside its field, in part."""
    ops: frozenset[str]
    kinds: frozenset[str]
    categories: frozenset[str]
    authorities: frozenset[str] | None
    """None: any authority (positive and neutral streams only)."""
    persons: bool
    """Lines about people or households have a basis in the agreement (§14)."""

    @property
    def stream(self) -> str:
        """Its name."""
        return f"{self.agreement.id}.{self.terms.dataset}"

    def in_region(self, region: str) -> bool:
        """Whether a region is on the list and not taken out."""
        return _in_region(self.terms.scope.regions, self.terms.scope.except_, region)

    def with_twins(self, values: Sequence[tuple[str, Value]]) -> list[tuple[str, Value]]:
        """The values of a record with those of its twins: null where the field is, or where the treatment drops it."""
        known = dict(values)
        return [*values, *((twin.name, twin.treat(known.get(twin.field))) for twin in self.twins)]

    def schema_fits(self, schema: str) -> bool:
        """Same dataset and major, minor not below the least agreed."""
        return _schema_fits(schema, self.terms.dataset, self.terms.schema_.major, self.terms.schema_.min_minor)


@lru_cache(maxsize=1024)
def _schema_fits(schema: str, dataset: str, major: int, min_minor: int) -> bool:
    match = _SCHEMA.match(schema)
    return match is not None and match[1] == dataset and int(match[2]) == major and int(match[3]) >= min_minor


_SCHEMA = re.compile(r"([a-z][a-z0-9_.-]{0,62})/(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\Z")


@lru_cache(maxsize=4096)
def _in_region(regions: tuple[str, ...], outside: tuple[str, ...], region: str) -> bool:
    return any(covers(scope, region) for scope in regions) and not any(covers(scope, region) for scope in outside)


@lru_cache(maxsize=65536)
def region_existed(region: str, day: date) -> bool:
    """Whether the division table knows the code on that day."""
    return division(region, day) is not None


def rules_of(agreement: Agreement, dataset: str, sender: str) -> StreamRules:
    """The rules of one stream.

    Raises ExchangeError SCOPE_AGREEMENT when the agreement has no such stream in this direction.
    """
    terms = agreement.stream(dataset, sender)
    if terms is None:
        raise ExchangeError("the agreement has no such stream in this direction", code="SCOPE_AGREEMENT", place=f"{agreement.id}.{dataset}")
    persons = agreement.terms.natural_persons
    twins = tuple(twin for field in terms.fields for twin in twins_of(field))
    return StreamRules(
        agreement=agreement,
        terms=terms,
        checks={field.name: check_of(field) for field in terms.fields} | {twin.name: twin_check for twin in twins},
        lengths={field.name: plain_length(field) for field in terms.fields if field.type in TEXT_TYPES},
        twins=twins,
        required=frozenset(field.name for field in terms.fields if field.required),
        ops=frozenset(terms.ops),
        kinds=frozenset(terms.subject_kinds),
        categories=frozenset(terms.scope.categories),
        authorities=None if "*" in terms.scope.authorities else frozenset(terms.scope.authorities),
        persons=persons.allowed and dataset in persons.datasets,
    )


def schema_of(terms: StreamTerms) -> str:
    """The schema under which we seal: the least that was agreed."""
    return f"{terms.dataset}/{terms.schema_.major}.{terms.schema_.min_minor}"
