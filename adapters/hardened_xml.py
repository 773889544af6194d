"""XML as strangers send it, and XML as we write it: what lines that speak XML share.

Reading: bounded bytes, UTF-8 only, no DTD, no entity of its own, no external reference, no XInclude, bounded depth and number of elements;
each of these refuses the whole document. Writing: characters that XML 1.0 cannot carry are refused, never dropped; line ends and tabs are
written as references, so that no parser normalises them.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from gateway.adapter_contract import AdapterError

__all__ = ["element", "escape", "illegal", "local", "plain", "read_xml"]

MAX_BYTES: Final = 2**20
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 20_000
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
"""Names of elements that we write: no prefix, nothing that needs escaping."""

_ILLEGAL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_DECLARED: Final = re.compile(rb"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_ESCAPED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
_TO_ESCAPE: Final = re.compile("[&<>\r\n\t]")
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
_XINCLUDE: Final = "{http://www.w3.org/2001/XInclude}"


class _Bounded(TreeBuilder):
    """Builds a tree that is neither deep nor large."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._count = 0

    def start(self, tag: str, attrs: Mapping[Any, Any], /) -> Element:
        """One element more."""
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_ELEMENTS or tag.startswith(_XINCLUDE):
            raise _Refused
        return super().start(tag, dict(attrs))

    def end(self, tag: str, /) -> Element:
        """One level back."""
        self._depth -= 1
        return super().end(tag)

    def pi(self, target: str, text: str | None = None, /) -> Element:
        """A processing instruction: none has a meaning here."""
        raise _Refused


class _Refused(Exception):
    """The document is not of the kind that we read."""


def read_xml(data: bytes, *, limit: int = MAX_BYTES) -> Element:
    """The root of a stranger's document.

    Raises AdapterError SIZE_BYTES, and SCHEMA_LINE for everything that is no plain, shallow document in UTF-8.
    """
    if len(data) > limit:
        raise AdapterError("SIZE_BYTES", "对方的 XML 过大", transient=False)
    declared = _DECLARED.match(data.removeprefix(b"\xef\xbb\xbf"))
    try:
        if declared is not None and declared[1].lower() not in (b"utf-8", b"utf8"):
            raise _Refused
        text = data.decode()
        if _ILLEGAL.search(text):
            raise _Refused
        parser = DefusedXMLParser(target=_Bounded(), encoding="utf-8", forbid_dtd=True, forbid_entities=True, forbid_external=True)
        parser.feed(data)
        root: Element = parser.close()
    except (ParseError, DefusedXmlException, UnicodeDecodeError, _Refused, ValueError, LookupError, RecursionError, AssertionError):
        # the cause names lines and entities of the document: nothing of it goes further
        raise AdapterError("SCHEMA_LINE", "对方的内容不是可接受的 XML", transient=False) from None
    return root


def local(tag: str) -> str:
    """The name of an element without its namespace."""
    return tag.rpartition("}")[2]


def illegal(text: str) -> bool:
    """Whether a text has a character that XML 1.0 cannot carry."""
    return _ILLEGAL.search(text) is not None


def escape(text: str) -> str:
    """A text as the content of an element.

    Raises ValueError for a character that XML 1.0 cannot carry.
    """
    if illegal(text):
        raise ValueError("not a character of XML 1.0")
    return _TO_ESCAPE.sub(lambda found: _ESCAPED[found[0]], text)


def element(name: str, text: str) -> str:
    """One element with a text; the name is one of the settings.

    Raises ValueError for such a character.
    """
    return f"<{name}>{escape(text)}</{name}>"


def plain(text: str, longest: int = 500) -> str:
    """A stranger's words for a person to read: one line, no control or direction marks, not longer than that."""
    return _UNPRINTABLE.sub("\ufffd", text.strip())[:longest]
