"""Take in a file that a department or a district sends over HTTP: the same story as at the command line, under the caller's own word.

Rules: only a bound caller of tier department whose organisation stands among `authorities` may send, and only as itself: its region
and whom it may speak for are what the settings say. The file lies in the data directory, readable by nobody else, for as long as it is
read, bounded while it arrives, and is gone afterwards, whatever happens. The same file again gives the same receipt. Who sent it by
which app is in the audit. This story must not read a record.
"""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from gateway.core.callers.caller import Caller
from gateway.core.errors import BodyInvalid, BodyTooLarge, ErrorItem, FileRefused, FileUnfit, NotPermitted
from gateway.operations.ingest import ingest
from gateway.operations.ingest_receipt import IngestReceipt
from gateway.services import Services
from gateway.store import audit

MAX_BYTES: Final = 32 * 2**20
"""Larger files come in at the command line."""
SUFFIXES: Final = {
    "text/csv": ".csv",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
ENCODINGS: Final = ("utf-8", "gb18030")
_OFFICER: Final = re.compile(r"[^\x00-\x1f\x7f]{1,32}")


async def take_upload(
    services: Services,
    caller: Caller,
    *,
    dataset: str,
    officer: str,
    media_type: str,
    encoding: str | None,
    body: AsyncIterator[bytes],
) -> IngestReceipt:
    """The receipt of a file, row by row: places and codes, never values.

    Raises NotPermitted for who may not send, BodyInvalid, BodyTooLarge, FileUnfit when the file is refused as a whole, NoActivePolicy,
    StoreError.
    """
    if caller.tier != "department" or caller.org not in {each.uscc for each in services.settings.authorities}:
        raise NotPermitted("此机构不是本市登记的报送机关。")
    if _OFFICER.fullmatch(officer) is None:
        raise BodyInvalid("请用 Officer 请求头写明经办人。", errors=(ErrorItem("required", "Officer 为 1–32 个字符", parameter="Officer"),))
    path = _draft(services, SUFFIXES[media_type])
    try:
        await _receive(path, body)
        receipt = await ingest(
            services, dataset=dataset, path=path, authority=caller.org, officer=officer, encoding=encoding, progress=None, follow=False
        )
    except FileRefused as error:
        item = ErrorItem(error.code, error.detail, pointer=_place(error.place))
        raise FileUnfit("文件未被接收。", errors=(item,)) from error
    finally:
        path.unlink(missing_ok=True)
    async with services.store.transaction() as tx:
        counts = {"accepted": receipt.accepted, "held": receipt.held, "rejected": sum(receipt.rejected.values())}
        await audit.write(tx, f"app/{caller.app}", "upload.take", f"dataset/{receipt.dataset}", {"sha256": receipt.file_sha256, **counts})
    return receipt


def _draft(services: Services, suffix: str) -> Path:
    folder = services.settings.data_path / "uploads"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{services.random(16).hex()}{suffix}"


async def _receive(path: Path, body: AsyncIterator[bytes]) -> None:
    """The body as a file that nobody else can read.

    Raises BodyTooLarge while it arrives, BodyInvalid when nothing came.
    """
    size = 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        async for chunk in body:
            size += len(chunk)
            if size > MAX_BYTES:
                raise BodyTooLarge(f"文件不得超过 {MAX_BYTES >> 20} MiB；更大的文件请在命令行导入。")
            file.write(chunk)
    if not size:
        raise BodyInvalid("没有收到文件。")


def _place(place: str | None) -> str | None:
    """Where in the file, without its path here."""
    return None if place is None or "/" in place else place
