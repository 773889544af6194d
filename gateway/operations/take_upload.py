"""Take in a file that a department or a district sends over HTTP: the same story as at the command line, under the caller's own word.

Rules: only a bound caller of tier department whose organisation stands among `authorities` may send, and only as itself: its region
and whom it may speak for are what the settings say. The file is bounded while it arrives and never has a name: it lies on the disk of the
data directory for as long as this process holds it open, so that a power cut or a kill leaves nothing to be found. The same file again
gives the same receipt, and, where it is asked for, its error file. It is the authority's own statement (signed) only when the officer
named has confirmed this very file by its digest; a file that came without one is vouched. Who sent it by which app is written down before
its first row is. This story must not read a record.
"""

import binascii
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from time import time
from typing import IO, Final

from gateway.core.callers.caller import Caller
from gateway.core.errors import BodyInvalid, BodyTooLarge, Conflict, ErrorItem, FileRefused, FileUnfit, NotPermitted, StoreError
from gateway.operations.ingest import ErrorFile, ingest
from gateway.operations.ingest_receipt import IngestReceipt
from gateway.services import Services
from gateway.store import apps

MAX_BYTES: Final = 32 * 2**20
"""Larger files come in at the command line."""
SUFFIXES: Final = {
    "text/csv": ".csv",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
OPEN_FILES: Final = Path("/proc/self/fd" if Path("/proc/self/fd").is_dir() else "/dev/fd")
"""Where a process finds the files that it holds open."""
ENCODINGS: Final = ("utf-8", "gb18030")
_LONGEST_OFFICER: Final = 32


async def take_upload(
    services: Services,
    caller: Caller,
    *,
    dataset: str,
    officer: str,
    media_type: str,
    encoding: str | None,
    body: AsyncIterator[bytes],
    digest: str = "",
    errors: ErrorFile | None = None,
) -> IngestReceipt:
    """The receipt of a file, row by row: places and codes, never values; `errors` takes the error file, in the sender's own cells.

    `digest` is the `Content-Digest` (RFC 9530) by which the officer confirms the file.

    Raises NotPermitted for who may not send, BodyInvalid, BodyTooLarge, FileUnfit when the file is refused as a whole, Conflict while the
    same file comes in by another request, NoActivePolicy, StoreError.
    """
    authority = await authority_of(services, caller)
    if not officer.strip() or len(officer) > _LONGEST_OFFICER or not officer.isprintable():
        raise BodyInvalid("请用 Officer 请求头写明经办人。", errors=(ErrorItem("required", "Officer 为 1–32 个字符", parameter="Officer"),))
    stated = _stated_digest(digest)
    name = f"{services.random(16).hex()}{SUFFIXES[media_type]}"
    with tempfile.TemporaryFile(dir=_folder(services)) as file:
        found = await _receive(file, body)
        if stated is not None and not compare_digest(stated, found):
            raise _wrong_digest("digest-mismatch", "收到的文件与经办人确认的摘要不符，未接收")
        try:
            return await ingest(
                services,
                dataset=dataset,
                path=OPEN_FILES / str(file.fileno()),
                name=name,
                sender=f"app/{caller.app}",
                authority=authority,
                officer=officer,
                encoding=encoding,
                progress=None,
                follow=False,
                confirmed=stated is not None,
                errors=errors,
            )
        except FileRefused as error:
            asked = {"parameter": "dataset"} if error.place == "DATASET" else {"pointer": _pointer(error.place)}
            item = ErrorItem(error.code, error.detail, **asked)
            raise FileUnfit("文件未被接收。", errors=(item,)) from error
        except StoreError as error:
            if error.code != "ingest-moved":
                raise
            raise Conflict("同一文件正由另一请求接收，请稍后再发一次，即得其回执。") from None


async def authority_of(services: Services, caller: Caller) -> str:
    """The authority of ours as whose word this caller may send.

    Raises NotPermitted.
    """
    if caller.tier != "department" or caller.org is None or caller.org not in {each.uscc for each in services.settings.authorities}:
        raise NotPermitted("此机构不是本市登记的报送机关。")
    if not await _sends(services, caller):
        raise NotPermitted("此应用只登记用于查询，未登记用于报送。")
    return caller.org


async def _sends(services: Services, caller: Caller) -> bool:
    """Whether this app was registered to send records; in test mode a token may be of an app that nobody registered."""
    app = await apps.find(services.store.reads, caller.app)
    return app.uploads if app is not None else services.settings.demo


def _folder(services: Services) -> Path:
    """Where files without a name lie; one with a name was left by a version that gave names."""
    folder = services.settings.data_path / "uploads"
    folder.mkdir(mode=0o700, exist_ok=True)
    for left in folder.iterdir():
        if left.stat().st_mtime < time() - 3600:
            left.unlink(missing_ok=True)
    return folder


def _stated_digest(field: str) -> bytes | None:
    """The SHA-256 of a `Content-Digest` field, whose lines are joined by commas; None when there is no field.

    Raises BodyInvalid for a field without one that can be read, and for one with two: an officer confirms one file.
    """
    if not field.strip():
        return None
    members = (member.strip().partition("=") for member in field.split(","))
    stated = [value for name, _, value in members if name == "sha-256"]
    if len(stated) == 1 and len(stated[0]) > 2 and stated[0][0] == stated[0][-1] == ":":
        with suppress(binascii.Error, ValueError):
            digest = b64decode(stated[0][1:-1], validate=True)
            if len(digest) == sha256().digest_size:
                return digest
    raise _wrong_digest("format", "须为且仅为一个 sha-256=:base64:（RFC 9530）")


def _wrong_digest(code: str, text: str) -> BodyInvalid:
    return BodyInvalid("Content-Digest 请求头不符。", errors=(ErrorItem(code, text, parameter="Content-Digest"),))


async def _receive(file: IO[bytes], body: AsyncIterator[bytes]) -> bytes:
    """The body as a file, and its SHA-256.

    Raises BodyTooLarge while it arrives, BodyInvalid when nothing came.
    """
    size, digest = 0, sha256()
    async for chunk in body:
        size += len(chunk)
        digest.update(chunk)
        if size > MAX_BYTES:
            raise BodyTooLarge(f"文件不得超过 {MAX_BYTES >> 20} MiB；更大的文件请在命令行导入。")
        file.write(chunk)
    file.flush()
    if not size:
        raise BodyInvalid("没有收到文件。")
    return digest.digest()


def _pointer(place: str | None) -> str | None:
    """Where in the file, without its path here."""
    return None if place is None or "/" in place else place
