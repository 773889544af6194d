"""The key-encryption key as a file: made once, read strictly, exchanged whole (policy.md §11).

Rules: 32 random bytes, mode 0400, never overwritten: without it nothing personal can be read. While a new one takes its place both
stand beside each other, the new one under the name with `.next`; whichever the database was written under counts. This room must not
know what a key is for.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from gateway.core.errors import SettingsError
from gateway.store.suites import KEY_BYTES as KEK_BYTES


def create_kek(path: Path) -> bytes:
    """Make a key-encryption key in a new file of mode 0400.

    Raises SettingsError when the file exists: overwriting it would make everything personal unreadable.
    """
    key = os.urandom(KEK_BYTES)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    except FileExistsError:
        raise SettingsError("there is a key-encryption key already; it is never overwritten", code="key-exists", place=str(path)) from None
    except OSError as error:
        raise SettingsError(f"cannot write the key-encryption key: {error.strerror}", code="key-invalid", place=str(path)) from error
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # a database without its key is worthless: the name must survive a power failure too
    finally:
        os.close(folder)
    return key


def load_kek(path: Path) -> bytes:
    """The key-encryption key: 32 raw bytes in a regular file of mode 0400 or 0600.

    Raises SettingsError that says how to mend it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # never waits for a pipe that somebody put there
    except FileNotFoundError:
        raise SettingsError(
            "there is no key-encryption key",
            code="key-missing",
            place=str(path),
            hint="`chengxin init` makes one; for an existing database put back its own",
        ) from None
    except OSError as error:
        raise SettingsError(f"cannot read the key-encryption key: {error.strerror}", code="key-invalid", place=str(path)) from error
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or stat.S_IMODE(about.st_mode) not in (0o400, 0o600):
            raise SettingsError(
                "the key-encryption key must be a file of mode 0400 or 0600", code="key-mode", place=str(path), hint=f"chmod 0400 {path}"
            )
        key = os.read(handle, KEK_BYTES + 1)
    finally:
        os.close(handle)
    if len(key) != KEK_BYTES:
        raise SettingsError(
            "the key-encryption key must have exactly 32 bytes",
            code="key-invalid",
            place=str(path),
            hint="put back the file that `chengxin init` made",
        )
    return key


def next_path(path: Path) -> Path:
    """Where a new key-encryption key stands until it has taken the old one's place."""
    return path.with_name(path.name + ".next")


def old_path(path: Path, version: int) -> Path:
    """Where a key-encryption key stands that was replaced."""
    return path.with_name(f"{path.name}.old-{version}")


def load_keks(path: Path) -> tuple[bytes, bytes | None]:
    """The key-encryption key, and the one that is about to follow it, if there is one.

    The one to follow is looked for first: if it takes the other's place meanwhile, it is found there. The other way round it would be
    missed in both places, and the database, written under it already, be refused. Raises SettingsError as `load_kek` does.
    """
    coming: bytes | None = None
    try:
        coming = load_kek(next_path(path))
    except SettingsError as error:
        if error.code != "key-missing":
            raise
    return load_kek(path), coming


def take_next(path: Path, *, keep: Path) -> None:
    """The new key takes the old one's place; the old one stays under another name, for whoever must destroy it."""
    with suppress(FileNotFoundError):
        os.link(path, keep)
    next_path(path).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
