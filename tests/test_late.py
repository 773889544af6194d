"""A late module is there by name, is loaded at its first use and once, and is an ordinary one afterwards."""

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from gateway.late import late, load

BODY = """
import time
from late_pack import log
log.ran.append(__name__)
time.sleep(0.02)
if log.broken:
    raise ImportError("broken")
from late_pack.slow import deeper
value = deeper.value
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package whose module `slow`, itself a package, notes that it was run."""
    package = tmp_path / "late_pack"
    (package / "slow").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "log.py").write_text("ran = []\nbroken = False\n", encoding="utf-8")
    (package / "slow" / "__init__.py").write_text(BODY, encoding="utf-8")
    (package / "slow" / "deeper.py").write_text("value = 7\n", encoding="utf-8")
    (package / "slow" / "beside.py").write_text("value = 8\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    late("late_pack.slow")
    yield import_module("late_pack.log")
    for name in [name for name in sys.modules if name.partition(".")[0] == "late_pack"]:
        del sys.modules[name]


def test_who_only_names_it_does_not_load_it(ran: ModuleType) -> None:
    """Neither an import statement nor one of its own modules runs its body; the first attribute does, and the second does not again."""
    package = import_module("late_pack")
    __import__("late_pack.slow")
    assert import_module("late_pack.slow.beside").value == 8
    assert ran.ran == []
    assert package.slow.value == 7
    late("late_pack.slow")
    load("late_pack.slow")
    assert (ran.ran, type(package.slow), package.slow is sys.modules["late_pack.slow"]) == (["late_pack.slow"], ModuleType, True)
    with pytest.raises(AttributeError, match=r"late_pack\.slow.*'nothing'"):
        _ = package.slow.nothing


def test_it_is_loaded_on_demand_and_what_is_not_there_is_left_alone(ran: ModuleType) -> None:
    """`load` gives the whole; a module that nobody has installed stays absent."""
    load("late_pack.slow")
    assert ran.ran == ["late_pack.slow"]
    late("no_such_library")
    assert "no_such_library" not in sys.modules


def test_threads_find_it_whole(ran: ModuleType) -> None:
    """While one thread loads it, others wait for what they ask."""
    slow, found = sys.modules["late_pack.slow"], list[int]()
    threads = [threading.Thread(target=lambda: found.append(slow.value)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (found, ran.ran) == ([7] * 4, ["late_pack.slow"])


def test_two_that_wait_for_one_another_do_not_wait_for_ever(ran: ModuleType, tmp_path: Path) -> None:
    """A body that imports what another thread is importing, which asks for that very body: Python finds out, and both end."""
    meet = threading.Barrier(2)
    ran.meet = lambda: meet.wait(5)
    package = tmp_path / "late_pack"
    body = "from late_pack import log\nlog.meet()\nimport late_pack.asks\nvalue = 7\n"
    (package / "slow" / "__init__.py").write_text(body, encoding="utf-8")
    (package / "asks.py").write_text("from late_pack import log, slow\nlog.meet()\nseen = slow.value\n", encoding="utf-8")
    slow, ended = sys.modules["late_pack.slow"], list[str]()

    def run(name: str) -> None:
        with suppress(RuntimeError):  # the one that finds out
            load(name)
        ended.append(name)

    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in ("late_pack.slow", "late_pack.asks")]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert len(ended) == 2
    assert slow.value == 7


def test_a_fault_of_its_own_is_met_by_everyone(ran: ModuleType) -> None:
    """A body that fails is run again at the next use, as an import would."""
    slow = sys.modules["late_pack.slow"]
    ran.broken = True
    for _ in range(2):
        with pytest.raises(ImportError, match="broken"):
            _ = slow.value
    ran.broken = False
    assert slow.value == 7
