"""Files held in memory: as they stand on disk, few, and not for long."""

import asyncio
from pathlib import Path

import pytest

from gateway.web import held_files
from gateway.web.held_files import HeldFiles, given

BODY = bytes(range(256)) * 3000


def written(folder: Path, body: bytes = BODY) -> Path:
    """A file of more than one piece."""
    path = folder / "file"
    path.write_bytes(body)
    return path


async def asked(held: HeldFiles, path: Path) -> bytes | None:
    """The file as it is given out of memory; None where it is not."""
    file = path.open("rb")
    pieces = await held.pieces(file)
    if pieces is None:
        file.close()
        return None
    return b"".join([piece async for piece in given(file, pieces, path.stat().st_size)])


async def test_what_is_asked_for_again_is_held(tmp_path: Path) -> None:
    """Once asked for nothing is kept; again, and it is given whole from memory, also to many at once."""
    held, path = HeldFiles(), written(tmp_path)
    assert (await asked(held, path), held.size) == (None, 0)
    assert await asked(held, path) == BODY
    assert held.size == len(BODY)
    assert await asyncio.gather(*(asked(held, path) for _ in range(5))) == [BODY] * 5


async def test_another_file_in_its_place_is_another(tmp_path: Path) -> None:
    """What was put in its place, or written over it, is what is given."""
    held, path = HeldFiles(), written(tmp_path)
    for _ in range(2):
        await asked(held, path)
    beside = tmp_path / "beside"
    beside.write_bytes(BODY[::-1])
    beside.replace(path)
    assert await asked(held, path) is None
    assert await asked(held, path) == BODY[::-1]


async def test_a_file_that_is_cut_breaks_off(tmp_path: Path) -> None:
    """A file that is cut to nothing while it is given ends with an error, whatever memory holds, and is given to nobody after it."""
    held, path = HeldFiles(), written(tmp_path)
    await asked(held, path)
    file = path.open("rb")
    pieces = await held.pieces(file)
    assert pieces is not None
    parts = given(file, pieces, len(BODY))
    first = await anext(parts)
    path.write_bytes(b"")
    with pytest.raises(OSError, match="shorter"):
        await anext(parts)
    assert len(first) < len(BODY)
    assert await asked(held, path) is None


async def test_little_is_held_and_not_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound nothing more is held, a long file never, and what nobody asks for any more is let go."""
    monkeypatch.setattr(held_files, "MOST", len(BODY) + 10)
    held, path = HeldFiles(), written(tmp_path)
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other")
    for _ in range(2):
        await asked(held, path)
    for _ in range(3):
        assert await asked(held, other) is None
    assert held.size == len(BODY)
    held._sweep()
    assert await asked(held, path) == BODY  # it was asked for since
    held._sweep()
    held._sweep()
    assert held.size == 0
    monkeypatch.setattr(held_files, "LARGEST", len(BODY) - 1)
    for _ in range(3):
        assert await asked(held, path) is None
