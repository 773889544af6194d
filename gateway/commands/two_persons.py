"""What one person proposes as a file, another approves by its digest, and one ends: the commands of grants and of lines, told once.

Rules: each act is signed; the statement of a proposal names the file's digest, that of an approval what is approved. This file must not
know what stands in the file.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import rich_click as click

from gateway.commands.office import FILE, Hand, Office, as_json, office, signed
from gateway.console import show

if TYPE_CHECKING:
    from gateway.core.callers.administrators import Administrator
    from gateway.services import Services


class Stories(NamedTuple):
    """What is told; imported when a command runs."""

    read: Callable[[Path], bytes]
    propose: Callable[..., Awaitable[Any]]
    """(services, text, by)."""
    approve: Callable[..., Awaitable[Any]]
    """(services, id, digest, by)."""
    end: Callable[..., Awaitable[Any]]
    """(services, id, by)."""


class Words(NamedTuple):
    """What the commands are called and say of themselves."""

    noun: str
    metavar: str
    ends: str
    """Name of the command that ends one."""
    propose: str
    approve: str
    end: str


def told(line: Any, about: str) -> list[str]:
    """The digest that a second person names, and how it stands."""
    waits = ": a second person must approve it" if line.state == "proposed" else ""
    return [line.digest, f"{about}, {line.state}{waits}"]


def two_persons(group: click.Group, words: Words, stories: Callable[[], Stories], about: Callable[[Any], str]) -> None:
    """Add the three commands to a group; `about` says in words what one is."""

    def shown(done: Any, as_json: bool) -> None:
        show(done, as_json=as_json, text=lambda: told(done, about(done)))

    @group.command("propose", help=words.propose)
    @click.argument("file", type=FILE)
    @signed
    @as_json
    @office
    def propose(office: Office, file: Path, hand: Hand, as_json: bool) -> None:
        from gateway.core.callers.administrators import digest_of

        found = stories()
        text = found.read(file)

        async def story(services: "Services", by: "Administrator") -> Any:
            return await found.propose(services, text, by=by)

        shown(office.act(hand, f"{words.noun}.propose", {words.noun: digest_of(text.hex())}, story), as_json)

    @group.command("approve", help=words.approve)
    @click.argument("named", metavar=words.metavar)
    @click.option("--digest", required=True, metavar="SHA256", help=f"Of the text that is approved, as `{words.noun} list` shows it.")
    @signed
    @as_json
    @office
    def approve(office: Office, named: str, digest: str, hand: Hand, as_json: bool) -> None:
        async def story(services: "Services", by: "Administrator") -> Any:
            return await stories().approve(services, named, digest=digest, by=by)

        shown(office.act(hand, f"{words.noun}.approve", {words.noun: named, "digest": digest}, story), as_json)

    @group.command(words.ends, help=words.end)
    @click.argument("named", metavar=words.metavar)
    @signed
    @as_json
    @office
    def end(office: Office, named: str, hand: Hand, as_json: bool) -> None:
        async def story(services: "Services", by: "Administrator") -> Any:
            return await stories().end(services, named, by=by)

        shown(office.act(hand, f"{words.noun}.{words.ends}", {words.noun: named}, story), as_json)
