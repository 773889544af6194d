"""Whether every form in which the public is shown a listed record says what its listing says, to which the log is committed.

A record on a list stands in four forms: its listing, its own page, and a CSV line of either. Only the listing has a commitment in the log;
the others follow from it, so that none of them can be changed behind the log's back. This room must not judge who may see anything.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.core.publication.flat import LISTING_COLUMNS, SALT, Table
from gateway.core.publication.forms import Form, kind_of_form, without
from gateway.core.publication.listings import LISTED_FIELDS

_OF_THE_LISTING: Final = frozenset({*LISTING_COLUMNS, SALT, "fields", "links"})
"""Members that a record's own page has not, or has otherwise."""


def says_the_same(form: Form, listing: Mapping[str, Any], page: Mapping[str, Any], lines: tuple[bytes, bytes | None]) -> bool:
    """Whether a record's page, its CSV line and that of its listing say what the listing does, as this plan set has them.

    Raises KeyError or TypeError for what is no rendered document at all.
    """
    fields = page["fields"]
    if (
        {name: value for name, value in listing.items() if name not in _OF_THE_LISTING}
        != {name: value for name, value in page.items() if name not in {"fields", "links"}}
        or {name: value for name, value in fields.items() if name not in LISTED_FIELDS} != listing["fields"]
        or {name: value for name, value in listing["links"].items() if name != "proof"} != page["links"]
        or fields.get("removal_conditions") not in {None, "", listing["removal_conditions"]}
        or fields.get("remedy") != listing["remedy"]
        or fields.get("listed_on") not in {None, listing["listed_on"]}
    ):
        return False
    unfit = form.unfit.get(kind_of_form(listing["subject"]["kind"]), frozenset())
    unsalted = {name: value for name, value in listing.items() if name != SALT}
    seq, version, salt = listing["seq"], listing["policy_version"], listing[SALT].encode()
    return lines == (
        Table.joined(form.table.halves(without(dict(page), unfit)), seq, version),
        Table.joined(form.listing_table.halves(without(unsalted, unfit)), seq, version, salt),
    )
