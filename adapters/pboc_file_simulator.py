"""The other side of `pboc_file` for tests and rehearsals: takes files out of the folder, reads them strictly, and leaves feedback.

It opens sealed files by the published form alone (AES-256-GCM over gzip, the name as associated data), checks names, headers, counts and
documents, refuses what it is told to refuse, and can leave feedback that is cut off, miscounted, misnamed, about rows of nobody, doubled,
contradictory or sealed under another key. The real interface is not public: this is no implementation of it.
"""

import gzip
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from adapters.hardened_xml import element, local, read_xml
from adapters.pboc_file_format import Encoding, FileName, Header, encode_header, read_lines, read_name
from gateway.adapter_contract import AdapterError

__all__ = ["Bank", "Document", "Misbehaviour", "Taken"]

Misbehaviour = Literal[
    "truncated", "wrong_count", "wrong_name", "unknown_rows", "wrong_record", "duplicated", "contradictory", "undecryptable", "garbage"
]
DONE: Final = "0000"
NONCE: Final = 12


class Document(Struct, frozen=True, kw_only=True):
    """One document as the bank reads it."""

    type: str
    rid: str
    version: int
    fields: dict[str, str]


class Taken(Struct, frozen=True, kw_only=True):
    """One file as the bank took it."""

    name: FileName
    header: Header | None
    documents: tuple[Document, ...]
    fault: str | None
    """Code with which the file as a whole is refused."""


class Bank:
    """A front-end program and what stands behind it."""

    def __init__(self, root: Path, *, key: bytes | None = None, encoding: Encoding = "utf-8") -> None:
        self._root = root
        self._key = key
        self._encoding = encoding
        self.taken: list[Taken] = []
        self.faults: Mapping[str, tuple[str, str]] = {}
        """A text that a document contains → code and text with which its record is refused."""
        self.misbehaves: Misbehaviour | None = None

    @property
    def stock(self) -> dict[str, Document]:
        """What the bank holds: record → its last document, without those that were deleted or refused."""
        held: dict[str, Document] = {}
        deleting = {"4"}
        for file in self.taken:
            for document in file.documents if file.fault is None else ():
                if self._fault(document) is not None:
                    continue
                if document.type[-1] in deleting:
                    held.pop(document.rid, None)
                else:
                    held[document.rid] = document
        return held

    def collect(self) -> list[Taken]:
        """Take every file out of `submit`, oldest name first, and read it."""
        folder = self._root / "submit"
        found = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            data = path.read_bytes()
            path.unlink()
            found.append(self._read(path.name, data))
        self.taken += found
        return found

    def answer(self, files: Sequence[Taken]) -> None:
        """Leave feedback about files in `feedback`."""
        for file in files:
            self._leave(file)

    def work(self) -> list[Taken]:
        """Collect and answer."""
        found = self.collect()
        self.answer(found)
        return found

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, text: str, data: bytes) -> Taken:
        name = read_name(text)
        if name is None or name.feedback:
            raise ValueError("a file of another name")
        try:
            header, lines = read_lines(data if name.form == "txt" else self._opened(text, data))
            documents = tuple(self._document(line) for line in lines)
        except AdapterError as error:
            return Taken(name=name, header=None, documents=(), fault=error.code)
        right = (header.type, header.institution) == (name.type, name.institution) and all(each.type == name.type for each in documents)
        return Taken(name=name, header=header, documents=documents, fault=None if right else "SCHEMA_LINE")

    def _opened(self, name: str, data: bytes) -> bytes:
        try:
            packed = AESGCM(self._key or b"").decrypt(data[:NONCE], data[NONCE:], name.encode())
            return gzip.decompress(packed)
        except (InvalidTag, ValueError, OSError, EOFError, zlib.error) as error:
            raise AdapterError("FILE_SEALED", "文件无法打开", transient=False) from error

    def _document(self, line: bytes) -> Document:
        root = read_xml(line.decode(self._encoding).encode())
        head, body = root
        said = {local(each.tag): each.text or "" for each in head}
        return Document(
            type=said["InfRecType"],
            rid=said["RecId"],
            version=int(said["RecVer"]),
            fields={local(each.tag): each.text or "" for each in body},
        )

    def _fault(self, document: Document) -> tuple[str, str] | None:
        return next((fault for text, fault in self.faults.items() if any(text in value for value in document.fields.values())), None)

    # --- answering ----------------------------------------------------------------------------------------------------

    def _leave(self, file: Taken) -> None:
        lines = [(0, "", file.fault or DONE, "")]
        for number, document in enumerate(file.documents, 1):
            fault = self._fault(document)
            if fault is not None:
                lines.append((number, document.rid, *fault))
        match self.misbehaves:
            case "unknown_rows":
                lines += [(len(file.documents) + 7, "rec_unbekannt", "E001", "x"), (1, "rec_fremd", "E001", "x")]
            case "wrong_record" if len(file.documents) > 1:
                lines.append((1, file.documents[1].rid, "E001", "x"))
            case "duplicated":
                lines += lines[1:]
            case "contradictory":
                lines += [(1, file.documents[0].rid, "E001", "x"), (1, file.documents[0].rid, "E002", "y")]
            case _:
                pass
        self._put(file, lines)

    def _put(self, file: Taken, lines: Sequence[tuple[int, str, str, str]]) -> None:
        name = msgspec.structs.replace(file.name, feedback=True)
        count = len(lines) + (1 if self.misbehaves == "wrong_count" else 0)
        at = file.header.at if file.header is not None else "20260601103000"
        head = Header(type=name.type, basic=False, institution=name.institution, at=at, count=count)
        data = encode_header(head) + b"".join(map(self._line, lines))
        if self.misbehaves == "truncated":
            data = data[:-20]
        if self.misbehaves == "garbage":
            data = b"\x00\xff<!DOCTYPE a>"
        text = name.text if self.misbehaves != "wrong_name" else name.text.replace(name.institution, "X" * 14)
        if name.form == "enc":
            key = self._key or b""
            nonce = os.urandom(NONCE)
            sealing = AESGCM(key[::-1] if self.misbehaves == "undecryptable" else key)
            data = nonce + sealing.encrypt(nonce, gzip.compress(data), text.encode())
        folder = self._root / "feedback"
        folder.mkdir(exist_ok=True)
        draft = self._root / f".{text}.draft"
        draft.write_bytes(data)
        draft.replace(folder / text)

    def _line(self, said: tuple[int, str, str, str]) -> bytes:
        number, rid, code, text = said
        inner = (("LineNo", str(number)), ("RecId", rid), ("ErrCode", code), ("ErrMsg", text))
        cells = "".join(element(name, value) for name, value in inner)
        return f"<Document><FdbkInf>{cells}</FdbkInf></Document>\n".encode(self._encoding)
