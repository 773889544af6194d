"""Administrative divisions of China with the days on which their codes are valid (GB/T 2260; table `divisions.tsv`).

An unknown division is a note, never a reason to reject a row: nearly a third of the real codes name a division that today's
table lacks. `covers` needs no table; whoever must know that a code exists asks `division` for the day in question. This room must
not read a residence out of a code: the division inside a USCC is that of the registration authority.
"""

import unicodedata
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.resources import files

from msgspec import Struct

PSEUDO_NAMES = frozenset({"市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划"})
"""Names of codes that only group others; no part of an address."""
_HEAD = 60
"""Characters of an address in which its division is looked for."""


class Division(Struct, frozen=True, kw_only=True):
    """One row of the table: a code, its name and the days between which both were valid (None: before the table, still)."""

    code: str
    name: str
    from_: date | None = None
    until: date | None = None

    def valid_on(self, day: date) -> bool:
        """The code was, or may have been, in force on that day."""
        return (self.from_ is None or self.from_ <= day) and (self.until is None or day <= self.until)


@cache
def _table() -> dict[str, tuple[Division, ...]]:
    """Code → its rows, the latest first; read once."""
    table: dict[str, tuple[Division, ...]] = {}
    text = files("gateway.core.records").joinpath("divisions.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        code, name, since, until = line.split("\t")
        row = Division(
            code=code, name=name, from_=date.fromisoformat(since) if since else None, until=date.fromisoformat(until) if until else None
        )
        table[code] = (row, *table.get(code, ()))
    return table


def division(code: str, on: date | None = None) -> Division | None:
    """The division that bore this code on that day; without a day the latest that ever bore it."""
    rows = _table().get(code, ())
    if on is None:
        return rows[0] if rows else None
    return next((row for row in rows if row.valid_on(on)), None)


def _six_digits(code: str) -> bool:
    return len(code) == 6 and code.isascii() and code.isdigit() and code[:2] != "00"


def covers(scope: str, code: str) -> bool:
    """Whether a scope takes a division in: `XX0000` its province, `XXYY00` its city, anything else only itself (exchange.md §3)."""
    if not (_six_digits(scope) and _six_digits(code)):
        return False
    if scope.endswith("0000"):
        return scope[:2] == code[:2]
    if scope.endswith("00"):
        return scope[:4] == code[:4]
    return scope == code


def short_name(code: str, on: date | None = None) -> str | None:
    """The division's own name, 东昌区; None when the code is unknown."""
    found = division(code, on)
    return found.name if found else None


def full_name(code: str, on: date | None = None) -> str | None:
    """The name with those above it, 吉林省通化市东昌区; None when the code is unknown."""
    if division(code, on) is None:
        return None
    codes = dict.fromkeys((code[:2] + "0000", code[:4] + "00", code))
    names = (division(each, on) or division(each) for each in codes)
    return "".join(each.name for each in names if each is not None and each.name not in PSEUDO_NAMES)


@cache
def regions() -> Mapping[str, frozenset[str]]:
    """What a name may begin with to say where it is → the divisions that are meant: provinces and cities also without their suffix."""
    found: dict[str, set[str]] = {}
    for code, rows in _table().items():
        for row in rows:
            if row.name in PSEUDO_NAMES:
                continue
            found.setdefault(row.name, set()).add(code)
            if code.endswith("00"):
                short = row.name
                for suffix in ("特别行政区", "壮族自治区", "回族自治区", "维吾尔自治区", "自治区", "自治州", "地区", "省", "市", "盟"):
                    short = short.removesuffix(suffix)
                if len(short) >= 2:
                    found.setdefault(short, set()).add(code)
    return {name: frozenset(codes) for name, codes in found.items()}


def region_names() -> frozenset[str]:
    """The names of all of them."""
    return frozenset(regions())


@cache
def _written() -> dict[str, str]:
    """How divisions are written at the head of an address → code: with and without their province; what would mean two is left out."""
    found: dict[str, str | None] = {}
    for code, rows in _table().items():
        whole, province = full_name(code), short_name(code[:2] + "0000")
        if not whole or rows[0].name in PSEUDO_NAMES:
            continue
        for text in dict.fromkeys((whole, whole.removeprefix(province or "") or whole)):
            found[text] = code if found.get(text, code) == code else None
    return {text: code for text, code in found.items() if code is not None}


def leading_division(address: str) -> str | None:
    """The code of the smallest division with which an address begins, 吉林省通化市东昌区… or 通化市东昌区…; None if with none."""
    written = _written()
    plain = "".join(unicodedata.normalize("NFKC", address[:_HEAD]).split())
    return next((written[plain[:length]] for length in range(len(plain), 1, -1) if plain[:length] in written), None)
