"""What every adapter must pass, whichever way its records go."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from adapters.conformance.checks import Checks, check, checks_of, search_path
from gateway.adapter_contract import CAPABILITY_METHODS, CONTRACT_VERSION

_WORDS_FOR_SECRETS = re.compile(r"(^|_)(password|passwd|secret|token)$")

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
