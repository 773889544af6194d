"""What every adapter must pass, whichever way its records go."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar
from unittest import SkipTest

import msgspec
from msgspec import Struct

from adapters.conformance.checks import Checks, check, checks_of, search_path
from adapters.conformance.lines import Line
from adapters.conformance.watching import PATIENCE_S, held_open, revealing, told
from gateway.adapter_contract import CAPABILITY_METHODS, CONTRACT_VERSION

_WORDS_FOR_SECRETS = re.compile(r"(^|_)(password|passwd|secret|token)$")

USES = 6
"""How often a line is used to see whether anything stays open."""

_LOADS_NO_ROOM = """
import importlib, sys
importlib.import_module(sys.argv[1])
bad = sorted(name for name in sys.modules if name.startswith("gateway.") and name != "gateway.adapter_contract")
sys.exit(", ".join(bad) or 0)
"""


class EveryAdapter(Checks):
    """Checks of what both kinds share."""

    required: ClassVar[tuple[str, ...]] = ()
    """Methods that an adapter of this kind has whatever its capabilities."""

    @check()
    def test_skips_name_checks(self) -> None:
        """What the author leaves out is a check that there is, with a reason."""
        assert set(self.skips) <= set(checks_of(type(self))), "a check of this name there is not"
        assert all(len(reason.strip()) > 3 for reason in self.skips.values()), "a check is left out without a reason"

    @check()
    def test_contract_version(self) -> None:
        """The adapter keeps this version of the contract."""
        assert type(self._adapter()).contract_version == CONTRACT_VERSION

    @check()
    def test_capabilities_match_methods(self) -> None:
        """Every capability is one of the contract's and has its method; the methods that all have are there."""
        adapter = self._adapter()
        unknown = adapter.capabilities - CAPABILITY_METHODS.keys()
        assert not unknown, f"unknown capabilities {sorted(unknown)}"
        for name in (*self.required, *(method for each in sorted(adapter.capabilities) for method in CAPABILITY_METHODS[each])):
            assert callable(getattr(adapter, name, None)), f"no method {name}"

    @check()
    def test_settings_are_strict(self) -> None:
        """Valid settings are taken and frozen, an unknown key is refused, and so is a setting that is needed and missing."""
        line = self._line()
        config = type(line.connect()).Config
        taken = msgspec.convert(dict(line.config), config, dec_hook=_secret)
        assert type(taken) is config
        assert config.__struct_config__.frozen, "settings are frozen"
        assert _refuses({**line.config, "no_such_setting": 1}, config), "an unknown key is taken"
        for name in line.needs:
            assert _refuses({key: value for key, value in line.config.items() if key != name}, config), f"{name} may be missing"

    @check()
    def test_secrets_are_hidden(self) -> None:
        """A setting that is a password or a token is a `Secret`, which has no repr."""
        config = type(self._adapter()).Config
        bare = [field.name for field in msgspec.structs.fields(config) if _WORDS_FOR_SECRETS.search(field.name) and field.type is str]
        assert not bare, f"a plain text: {', '.join(bare)}"

    @check()
    def test_import_loads_no_room(self) -> None:
        """Importing the adapter loads the contract and no other room of the gateway."""
        said = _imported(type(self._adapter()).__module__)
        assert not said, said

    @check()
    def test_close_twice(self) -> None:
        """Closing twice is harmless."""

        async def twice() -> None:
            adapter = self._adapter()
            await adapter.close()
            await adapter.close()

        asyncio.run(twice())

    async def _used(self, line: Any, adapter: Any, number: int) -> None:
        """Use an adapter as the core does, for the n-th time; nothing is said of how well it went."""
        del line, number
        await adapter.check()

    def _prepared(self) -> Line:
        """A line that can be used."""
        line: Line = self._line()
        return line

    @check()
    def test_what_was_opened_is_closed(self) -> None:
        """However often a line is used, after `close` no file, connection or task of it is left."""
        line = self._prepared()
        kept = []  # an adapter that is held is not closed by being forgotten

        async def use(number: int) -> None:
            adapter = line.connect()
            kept.append(adapter)
            await self._used(line, adapter, number)
            await adapter.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            left = (await asyncio.wait(others, timeout=PATIENCE_S))[1] if others else set()
            assert not left, "a task goes on after close"

        asyncio.run(use(1))
        before = held_open()
        if before is None:
            raise SkipTest("this system does not say what is open")
        for number in range(2, USES + 2):
            asyncio.run(use(number))
        until = time.monotonic() + PATIENCE_S
        while (held_open() or 0) - before >= USES and time.monotonic() < until:
            time.sleep(0.01)
        assert (held_open() or 0) - before < USES, "each use leaves something open"

    @check()
    def test_no_secret_is_told(self) -> None:
        """No secret that the adapter asks for stands in logs, errors, findings of `check` or its repr, when all is well or nothing."""
        line = self._prepared()
        said: list[str] = []

        def story() -> None:
            async def use(number: int) -> None:
                adapter = line.connect()
                try:
                    said.extend(f"{each.message} {each.remedy}" for each in await adapter.check())
                    await self._used(line, adapter, number)
                finally:
                    said.append(repr(adapter))
                    await adapter.close()

            asyncio.run(use(1))
            line.cut()
            asyncio.run(use(2))

        with revealing() as secrets:
            found = told(story, None, secrets)
        assert not found, "a secret is told"
        assert not [secret for secret in secrets if any(secret in text for text in said)], "a secret is told by check or repr"

    @check()
    def test_check_never_raises(self) -> None:
        """`check` tells what is wrong in words and what to do, also when the other side is gone."""

        async def look() -> None:
            line = self._line()
            adapter = line.connect()
            for diagnostic in await adapter.check():
                assert diagnostic.message
            line.cut()
            await adapter.close()
            adapter = line.connect()
            found = await adapter.check()
            assert any(not each.ok for each in found), "nothing is wrong although the other side is gone"
            assert all(each.remedy for each in found if not each.ok), "what is wrong comes without what to do"
            await adapter.close()

        asyncio.run(look())


def _secret(kind: type[Any], said: object) -> object:
    """Any setting of a type of our own is a secret; where it stands is the core's to read."""
    return kind(str(said))


def _refuses(settings: Mapping[str, object], config: type[Struct]) -> bool:
    try:
        msgspec.convert(dict(settings), config, dec_hook=_secret)
    except msgspec.ValidationError:
        return True
    return False


@cache
def _imported(module: str) -> str:
    """The rooms that come with a module, imported by an interpreter of its own; empty when there are none."""
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", _LOADS_NO_ROOM, module], capture_output=True, text=True, check=False, env={**os.environ, **search_path()}
    )
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2] or f"exit {done.returncode}"
