"""A small policy folder that can be bent: one dataset of notices, four rules, everything else as shipped."""

from collections.abc import Mapping
from pathlib import Path

from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.policy import compile_policies
from tests.core.disclosure.making import TODAY, shipped_files

NOTICES = "datasets/notices.toml"
REDLINES = "redlines.toml"

FOLDER = Path(__file__).resolve().parent / "small"


def small_files() -> dict[str, bytes]:
    """The files of the small folder."""
    kept = {path: shipped_files()[path] for path in ("tiers.toml", "purposes.toml", "periods.toml", "catalogue.toml")}
    cases = {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in sorted((FOLDER / "tests").rglob("*.toml"))}
    return kept | cases | {NOTICES: (FOLDER / "notices.toml").read_bytes(), REDLINES: (FOLDER / "redlines.toml").read_bytes()}


def small(*changes: tuple[str, str], path: str = NOTICES, files: Mapping[str, bytes] | None = None) -> Policies:
    """The small folder compiled, some text of one file replaced; the text must be there."""
    held = dict(files) if files is not None else small_files()
    text = held[path].decode()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    held[path] = text.encode()
    return compile_policies(held, version=1, today=TODAY)
