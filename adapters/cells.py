"""What a cell of a spreadsheet may hold beside text: apart from its reader, whose libraries a CSV file needs not."""

from typing import NamedTuple


class Number(NamedTuple):
    """A number cell: the text a person typed, without an exponent; None when it is no number."""

    text: str | None


class Moment(NamedTuple):
    """A date cell as ISO text; None when the serial is no day."""

    text: str | None


class Faulty(NamedTuple):
    """A cell in which the spreadsheet itself shows an error (`#N/A`)."""

    text: None = None


Cell = str | bool | Number | Moment | Faulty | None
