"""An XLSX workbook of one sheet, written from front to back: what is ready leaves, nothing is kept (api.md §1.3).

Rules: an archive tells its parts at its end, so a workbook that breaks off opens nowhere; texts stand in their cells, for a table of
shared ones would come after the rows that need it. There is no clock in it: equal rows are equal bytes. This room must not choose rows, nor
decide what a cell holds.
"""

import io
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from html import escape
from typing import IO, Any, Final, cast
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from gateway.core.errors import TooManyRowsForFormat

Value = str | int | bool | date | datetime | Decimal | None

LEVEL: Final = 6
MOST: Final = 2_000_000_000
"""Bytes that a sheet may unpack to without being told as large: an archive counts them in 31 bits."""
MOST_LARGE: Final = 1 << 40
_DAY_ZERO: Final = date(1899, 12, 30).toordinal()
_DAY_SECONDS: Final = 86_400
_LIKE_A_FORMULA: Final = tuple("=+-@\t\r＝＋－＠")
_TEXT, _GUARDED, _DATE, _INSTANT = 1, 2, 3, 4
"""Places of the styles below."""
_BARE: Final = re.compile(r"[^<>&_\x00-\x20\x7f\ud800-\udfff\ufffe\uffff][^<>&\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]*(?<! )\Z")
"""Texts that stand in XML as they are."""
_LIKE_AN_ESCAPE: Final = re.compile(r"_(?=x[0-9a-fA-F]{4}_)")
_NO_XML: Final = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
_in_xml: Final = partial(escape, quote=False)

_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_SHEET: Final = "xl/worksheets/sheet1.xml"
_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS: Final = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/docProps/core.xml" ContentType="application/vnd.openxmlformats-package.core-properties+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/>'
    f'<Override PartName="/{_SHEET}" ContentType="{_TYPE}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/relationships/officeDocument" Target="xl/workbook.xml"/>'
    f'<Relationship Id="rId2" Type="{_PACKAGE}/relationships/metadata/core-properties" Target="docProps/core.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}/relationships">'
    '<sheets><sheet name="data" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/relationships/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/relationships/styles" Target="styles.xml"/></Relationships>',
    "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
    '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
    '<fonts count="1"><font><sz val="11"/><name val="Calibri"/><family val="2"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="5">'
    '<xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
    '<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" quotePrefix="1" applyNumberFormat="1"/>'
    '<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
    '<xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
}
_BEGIN: Final = (
    f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView tabSelected="1" workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/><selection pane="bottomLeft"/></sheetView></sheetViews>'
    '<sheetFormatPr defaultRowHeight="15"/><sheetData>'
)
_END: Final = "</sheetData></worksheet>"


class Workbook:
    """One sheet, whose rows are written in their order; `place` is only written to. Blocking."""

    def __init__(self, place: IO[bytes], names: Sequence[str], *, title: str, comments: str, made_at: datetime, large: bool) -> None:
        """`large`: the sheet may unpack to more than two gigabytes, which is told ahead and is read by newer programs only."""
        self._tap = _Tap(place)
        self._archive = ZipFile(cast(IO[bytes], self._tap), "w", ZIP_DEFLATED, compresslevel=LEVEL)
        for name, text in {**_PARTS, "docProps/core.xml": _properties(title, comments, made_at)}.items():
            self._archive.writestr(_member(name), _HEAD + text, compresslevel=LEVEL)
        self._sheet = self._archive.open(_member(_SHEET), "w", force_zip64=large)
        self._letters = [letters(place) for place in range(len(names))]
        self._wide = f'<c r="{self._letters[-1]}' if names else ""
        """A cell without a value at the end of a row: from it readers learn how wide a row is, for no dimension is told ahead."""
        self._row = 0
        self._left = MOST_LARGE if large else MOST
        self._sheet.write(_BEGIN.encode())
        self.add([names])

    def add(self, rows: Sequence[Sequence[Value]]) -> None:
        """More rows, a value a column; None is an absent cell.

        Raises TooManyRowsForFormat for more bytes than were told ahead.
        """
        texts: list[str] = []
        for row in rows:
            self._row += 1
            number = str(self._row)
            texts.append(f'<row r="{number}">')
            texts += [_cell(letter + number, value) for letter, value in zip(self._letters, row, strict=True) if value is not None]
            texts.append(self._wide + number + '"/></row>' if row and row[-1] is None else "</row>")
        lines = "".join(texts).encode()
        self._left -= len(lines)
        if self._left < 0:
            raise TooManyRowsForFormat
        self._sheet.write(lines)

    def finish(self) -> None:
        """The end of the sheet, and what the archive says of its parts."""
        self._sheet.write(_END.encode())
        self._sheet.close()
        self._archive.close()

    def abandon(self) -> None:
        """Let go of it without its end: what has left so far opens nowhere."""
        self._tap.shut = True
        self._sheet.close()
        self._archive.close()


class _Tap(io.RawIOBase):
    """A place that takes bytes from front to back, until it is shut."""

    def __init__(self, place: IO[bytes]) -> None:
        self._place = place
        self.shut = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data) if self.shut else self._place.write(data)


def _member(name: str) -> ZipInfo:
    member = ZipInfo(name)
    member.compress_type, member.create_system = ZIP_DEFLATED, 3
    return member


def _properties(title: str, comments: str, made_at: datetime) -> str:
    at = made_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f'<cp:coreProperties xmlns:cp="{_PACKAGE}/metadata/core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:dcterms="http://purl.org/dc/terms/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<dc:title>{_in_xml(title)}</dc:title><dc:description>{_in_xml(comments)}</dc:description>"
        f'<dcterms:created xsi:type="dcterms:W3CDTF">{at}</dcterms:created>'
        f'<dcterms:modified xsi:type="dcterms:W3CDTF">{at}</dcterms:modified></cp:coreProperties>'
    )


def letters(place: int) -> str:
    """The name of a column."""
    name = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(65 + rest) + name
    return name


def _cell(at: str, value: Value) -> str:
    if isinstance(value, str):
        style = _GUARDED if value.startswith(_LIKE_A_FORMULA) else _TEXT
        if _BARE.match(value):
            return f'<c r="{at}" s="{style}" t="inlineStr"><is><t>{value}</t></is></c>'
        return f'<c r="{at}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{_escaped(value)}</t></is></c>'
    if isinstance(value, bool):
        return f'<c r="{at}" t="b"><v>{value:d}</v></c>'
    if isinstance(value, datetime):
        seconds = value.hour * 3600 + value.minute * 60 + value.second
        return f'<c r="{at}" s="{_INSTANT}"><v>{value.toordinal() - _DAY_ZERO + seconds / _DAY_SECONDS:.16G}</v></c>'
    if isinstance(value, date):
        return f'<c r="{at}" s="{_DATE}"><v>{value.toordinal() - _DAY_ZERO}</v></c>'
    return f'<c r="{at}"><v>{value:.16G}</v></c>'


def _escaped(text: str) -> str:
    """As XML has it, and what XML has not as Excel spells it."""
    return _NO_XML.sub(lambda found: f"_x{ord(found[0]):04X}_", _LIKE_AN_ESCAPE.sub("_x005F_", _in_xml(text)))
