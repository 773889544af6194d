"""What every command shares: where the settings are, who acts, and the open house for one story.

Rules: the house is opened for one story and closed after it; a command without settings says how to give them. This room must not
know any command.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import rich_click as click

from gateway import settings
from gateway.core.errors import GatewayError, SettingsError
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.core.callers.administrators import Administrator
    from gateway.services import Services

T = TypeVar("T")

DEFAULT_SETTINGS = Path("chengxin.toml")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OUT = click.Path(dir_okay=False, path_type=Path)


class Words(click.ParamType[str]):
    """A text that somebody reads later: not blank, at most 500 characters."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text without white space around it."""
        text = str(value).strip()
        if not text or len(text) > 500:
            self.fail("say why, in at most 500 characters", param, ctx)
        return text


WORDS = Words()
as_json = click.option("--json", "as_json", is_flag=True, help="The result as JSON.")


class Hand(NamedTuple):
    """Who signs an act, and with which key file."""

    name: str
    key: Path


class Office:
    """What every command needs: where the settings are and who acts."""

    def __init__(self, path: Path | None, actor: str) -> None:
        self.path = path if path is not None or not DEFAULT_SETTINGS.is_file() else DEFAULT_SETTINGS
        self.actor = actor

    def settings(self) -> settings.Settings:
        """The settings of this gateway.

        Raises SettingsError.
        """
        if self.path is None and not any(name.startswith(settings.ENVIRONMENT_PREFIX) for name in os.environ):
            raise SettingsError(
                "no settings are given", place="--settings", hint=f"write {DEFAULT_SETTINGS}, or give --settings FILE; README.md shows one"
            )
        return settings.load(self.path)

    def given_settings(self) -> Settings | None:
        """The settings where some are given; None for commands that do without.

        Raises SettingsError when what is given does not hold.
        """
        given = self.path is not None or any(name.startswith(settings.ENVIRONMENT_PREFIX) for name in os.environ)
        return self.settings() if given else None

    @asynccontextmanager
    async def services(self) -> "AsyncIterator[Services]":
        """The open house. What was done in it is under a signed checkpoint when it closes: no server may run for days."""
        from gateway.operations.keep_audit import checkpoint
        from gateway.services import open_services

        async with open_services(self.settings()) as services:
            try:
                yield services
            finally:
                if services.sealer.owes:
                    with suppress(GatewayError):  # an alarm tells
                        await checkpoint(services)

    def run(self, story: "Callable[[Services], Awaitable[T]]") -> T:
        """Open the house, tell one story, close the house."""

        async def told() -> T:
            async with self.services() as services:
                return await story(services)

        return asyncio.run(told())

    def act(self, hand: Hand, act: str, arguments: Mapping[str, object], story: "Callable[[Services, Administrator], Awaitable[T]]") -> T:
        """Open the house, prove who acts by a signature over act and arguments, tell one story, close the house."""
        from gateway.operations import act_as

        async def told() -> T:
            async with self.services() as services:
                signer = act_as.read_key_file(hand.key, act_as.key_name(services.settings.party, hand.name))
                signed = act_as.sign_act(services, signer, act=act, arguments=arguments, by=hand.name)
                return await story(services, await act_as.by_statement(services, signed, act=act, arguments=arguments))

        return asyncio.run(told())


    def by_hand(
        self,
        hand: Hand | None,
        act: str,
        arguments: Mapping[str, object],
        story: "Callable[[Services, Administrator | str], Awaitable[T]]",
    ) -> T:
        """Tell one story as the administrator who signs, or as whoever holds the data directory; which acts need a signature they say."""
        if hand is None:
            return self.run(lambda services: story(services, self.actor))
        return self.act(hand, act, arguments, story)


office = click.make_pass_decorator(Office)


def signed(command: Callable[..., T]) -> Callable[..., T]:
    """Adds `--as ADMIN --key FILE`; the command gets both as `hand: Hand`, to be given to `Office.act`."""

    @click.option("--as", "admin", required=True, metavar="ADMIN", help="The administrator who acts.")
    @click.option("--key", "key_file", required=True, type=OUT, metavar="FILE", help="The administrator's own private key.")
    @wraps(command)
    def taken(*arguments: Any, admin: str, key_file: Path, **words: Any) -> T:
        return command(*arguments, hand=Hand(admin, key_file), **words)

    return taken


def signable(command: Callable[..., T]) -> Callable[..., T]:
    """Adds `--as ADMIN --key FILE`, both or neither; the command gets them as `hand: Hand | None`, to be given to `Office.by_hand`."""

    @click.option("--as", "admin", metavar="ADMIN", help="The administrator who acts, where administrators are enrolled.")
    @click.option("--key", "key_file", type=OUT, metavar="FILE", help="The administrator's own private key.")
    @wraps(command)
    def taken(*arguments: Any, admin: str | None, key_file: Path | None, **words: Any) -> T:
        if admin is None or key_file is None:
            if admin is not None or key_file is not None:
                raise click.UsageError("--as and --key belong together")
            return command(*arguments, hand=None, **words)
        return command(*arguments, hand=Hand(admin, key_file), **words)

    return taken


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(data)
    draft.replace(path)
