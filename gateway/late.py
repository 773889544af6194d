"""Modules of libraries that others import and a start has no use for: there by name at once, read when something of them is asked for.

`importlib.util.LazyLoader` is meant for this, but in Python 3.11 the mere statement `import x` asks a module for its `__spec__`, and so
loads it. This file must not know which modules these are.
"""

import sys
from importlib import import_module
from importlib._bootstrap import _ModuleLockManager  # type: ignore[attr-defined]  # typeshed does not know it
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import cast


class _Late(ModuleType):
    """Knows what the import system asks for; whoever asks for more waits until it is whole, and has an ordinary module from then on."""

    def __getattr__(self, name: str) -> object:
        self.whole()
        return ModuleType.__getattribute__(self, name)

    def whole(self) -> None:
        """Run its body, unless another thread has done so meanwhile, or it is the body itself that asks.

        Its lock is the one that an import of it would hold, so threads that wait for one another in a circle are found out: where an import
        would go on with half a module, this raises RuntimeError.
        """
        spec = cast("ModuleSpec", self.__spec__)
        with _ModuleLockManager(spec.name):
            if type(self) is _Late and spec.loader is not None:
                self.__class__ = _Begun
                try:
                    spec.loader.exec_module(self)
                except BaseException:
                    self.__class__ = _Late  # whoever asks next meets the same fault
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]  # wider than its own, which is meant: it is an ordinary one now


class _Begun(_Late):
    """One whose body runs."""


def late(name: str) -> None:
    """Let this module, one written in Python, be loaded when it is first used, if ever; the packages above it are loaded now."""
    if name in sys.modules or (spec := find_spec(name)) is None:
        return
    module = sys.modules[name] = module_from_spec(spec)
    module.__class__ = _Late
    package, _, own = name.rpartition(".")
    if package:
        setattr(sys.modules[package], own, module)


def load(name: str) -> None:
    """Import a module as a whole, a late one too."""
    module = import_module(name)
    if isinstance(module, _Late):
        module.whole()
