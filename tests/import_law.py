"""The law of the house, read from the source: who may import whom, and what may stand where.

Each check takes the root of a tree and returns its violations as `file:line: sentence`; the tests run them on this project and
on small planted trees, so that a check which has gone blind is noticed. Nothing is imported while looking.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

ENTRY = frozenset(
    {"gateway.app", "gateway.background", "gateway.cli", "gateway.commands", "gateway.console", "gateway.__main__", "gateway.demo"}
)
"""Those who may know everybody, and whom nobody imports but each other."""

OURS: dict[str, tuple[str, ...]] = {
    # room → what of ours it may import; the longest matching room counts
    "adapters": ("adapters", "gateway.adapter_contract"),
    "gateway": (),  # gateway/__init__.py: the version, nothing else
    "gateway.adapter_contract": (),
    "gateway.reference_client": (),
    "gateway.witness": (),
    "gateway.garbage": (),
    "gateway.in_a_row": (),
    "gateway.late": (),
    "gateway.quiet": (),
    "gateway.core": ("gateway.core", "gateway.adapter_contract"),
    "gateway.store": ("gateway.store", "gateway.core", "gateway.late"),
    "gateway.settings": ("gateway.core.errors", "gateway.core.toml"),
    "gateway.adapter_loading": ("gateway.adapter_contract", "gateway.core.errors"),
    "gateway.services": (
        "gateway.store",
        "gateway.core",
        "gateway.settings",
        "gateway.adapter_loading",
        "gateway.quiet",
        "gateway.in_a_row",
    ),
    "gateway.operations": (
        "gateway.operations",
        "gateway.services",
        "gateway.store",
        "gateway.core",
        "gateway.settings",
        "gateway.adapter_contract",
    ),
    "gateway.sample": ("gateway.sample", "gateway.core"),
    "gateway.web": ("gateway.web", "gateway.operations", "gateway.services", "gateway.settings", "gateway.core"),
    "gateway.app": ("gateway",),
    "gateway.background": ("gateway",),
    "gateway.cli": ("gateway",),
    "gateway.commands": ("gateway",),
    "gateway.log_client": ("gateway.operations", "gateway.core"),
    "gateway.console": ("gateway.core.errors",),
    "gateway.__main__": ("gateway",),
    "gateway.demo": ("gateway",),
}

NEVER: dict[str, tuple[str, ...]] = {
    # room → what it may not import although the line above would let it
    "gateway.web": ("gateway.core.records.model",),
}

LIBRARIES: dict[str, tuple[str, ...]] = {
    # library → the only rooms or files that may import it; a library that is not here is refused inside gateway/
    "msgspec": ("gateway",),
    "rapidfuzz": ("gateway.core",),
    "pypinyin": ("gateway.core",),
    "opencc": ("gateway.core",),
    "chinese_calendar": ("gateway.core.records",),
    "cryptography": (
        "gateway.core.signing",
        "gateway.store.keyring",
        "gateway.store.suites",
        "gateway.store.vault",
        "gateway.web.cursors",
        "gateway.reference_client",
        "gateway.witness",
    ),
    "joserfc": ("gateway.core.signing",),
    "http_message_signatures": ("gateway.core.message_signing",),
    "gmssl_pyx": ("gateway.core.signing",),
    "sqlalchemy": ("gateway.store",),
    "alembic": ("gateway.store",),
    "aiosqlite": ("gateway.store",),
    "asyncpg": ("gateway.store",),
    "sqlite3": ("gateway.store",),
    "litestar": ("gateway.web",),
    "authlib": ("gateway.web",),
    "valkey": ("gateway.web.shared_buckets", "gateway.store"),
    "jinja2": ("gateway.web",),
    "segno": ("gateway.web",),
    "prometheus_client": ("gateway.web",),
    "structlog": ("gateway",),
    "tenacity": ("gateway.operations.backing_off",),
    "stamina": ("gateway.operations", "adapters"),
    "rdflib": ("gateway.operations.spell_graphs",),
    "granian": ("gateway.commands",),
    "rich_click": ("gateway.cli", "gateway.commands", "gateway.console"),
    "rich": ("gateway.console", "gateway.demo"),
    "httpx": ("gateway.demo", "gateway.reference_client", "gateway.log_client"),
    "openpyxl": (),
    "xlsxwriter": ("gateway.sample",),
    "pyarrow": ("gateway.operations.table_files",),
    "zstandard": ("gateway.web.replies",),
    "isal": ("gateway.core.exchange.sealing",),
}

IMPURE = frozenset(
    {
        "os",
        "io",
        "pathlib",
        "shutil",
        "tempfile",
        "glob",
        "socket",
        "ssl",
        "select",
        "selectors",
        "subprocess",
        "threading",
        "multiprocessing",
        "asyncio",
        "concurrent",
        "time",
        "random",
        "secrets",
        "uuid",
        "sqlite3",
        "urllib.request",
        "http",
        "logging",
        "signal",
        "sys",
        "fcntl",
        "mmap",
        "getpass",
        "platform",
        "zipfile",
        "tarfile",
        "ctypes",
    }
)
"""Modules of the standard library that read the world: not in `core`."""

CLOCKS = frozenset({"now", "utcnow", "today", "time", "monotonic", "perf_counter", "urandom", "uuid4", "token_bytes"})
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"})

OPENERS = frozenset({"gateway/core/disclosure/views.py", "gateway/core/publication/listings.py", "gateway/store/records.py"})
"""The only files that may open an `Unpublished`."""

BANNED_LIBRARIES = ("gmssl", "niquests")
"""gmssl: its signing nonce is no secret. niquests: swaps urllib3 and breaks the API fuzzer. Neither may stand in a lock."""


@dataclass(frozen=True)
class Import:
    """One import statement, resolved to what it names."""

    module: str
    """Dotted name of the importing module."""
    target: str
    file: str
    line: int
    types_only: bool = False
    """Behind TYPE_CHECKING: bound by the law like any other, but never executed, so no part of a circle."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.module} imports {self.target}"


def sources(root: Path) -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found: dict[str, Path] = {}
    for top in ("gateway", "adapters"):
        for path in sorted((root / top).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def trees(root: Path, rooms: tuple[str, ...] = ("gateway", "adapters")) -> Iterator[tuple[str, str, ast.Module]]:
    """(module, file, syntax tree) of every module of ours in these rooms."""
    for module, path in sources(root).items():
        if within(module, rooms):
            yield module, path.relative_to(root).as_posix(), ast.parse(path.read_bytes(), filename=str(path))


def imports(root: Path) -> list[Import]:
    """All import statements, also those inside functions and behind TYPE_CHECKING."""
    known = sources(root)
    found: list[Import] = []
    for module, path in known.items():
        file = path.relative_to(root).as_posix()
        for base, names, line, types_only in _statements(path.read_bytes()):
            targets = [deeper if (deeper := f"{base}.{name}") in known else base for name in names] if names else [base]
            found += [Import(module, target, file, line, types_only) for target in targets]
    return found


@cache
def _statements(source: bytes) -> tuple[tuple[str, tuple[str, ...], int, bool], ...]:
    """The import statements of a text: what is imported, names out of it, line, whether for types only; read once for all checks."""
    found: list[tuple[str, tuple[str, ...], int, bool]] = []
    tree = ast.parse(source)
    types_only = {id(inner) for node in ast.walk(tree) if _is_type_checking(node) for one in node.body for inner in ast.walk(one)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, (), node.lineno, id(node) in types_only) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:  # a relative import hides where it goes
            found.append(("." * node.level + (node.module or ""), (), node.lineno, id(node) in types_only))
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", tuple(alias.name for alias in node.names), node.lineno, id(node) in types_only))
    return tuple(found)


def _is_type_checking(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def within(name: str, rooms: tuple[str, ...] | frozenset[str]) -> bool:
    """Whether a module is one of these rooms or stands inside one."""
    return any(name == room or name.startswith(room + ".") for room in rooms)


def _room(module: str) -> str:
    return max((room for room in OURS if within(module, (room,))), key=len, default="")


def import_law(root: Path) -> list[str]:
    """Imports that architecture.md §4 forbids."""
    broken: list[str] = []
    for one in imports(root):
        room = _room(one.module)
        if one.target.startswith("."):
            broken.append(f"{one}: imports are absolute")
        elif within(one.target, ("gateway", "adapters")):
            if within(one.target, ENTRY) and not within(one.module, ENTRY):
                broken.append(f"{one}: nobody imports the entrances")
            elif within(one.target, ("adapters",)) and not within(one.module, ("adapters",)):
                broken.append(f"{one}: adapters are found by entry point, never imported")
            elif one.target == "gateway" and room != "gateway":
                continue  # the version, `from gateway import __version__`
            elif not within(one.target, OURS[room]) or within(one.target, NEVER.get(room, ())):
                broken.append(
                    f"{one}: {room} may import {', '.join(OURS[room]) or 'nothing of ours'}"
                    + "".join(f", never {name}" for name in NEVER.get(room, ()))
                )
        elif not within(one.module, ("adapters",)):
            library = one.target.partition(".")[0]
            if library in LIBRARIES:
                if not within(one.module, LIBRARIES[library]):
                    broken.append(f"{one}: {library} belongs to {', '.join(LIBRARIES[library]) or 'adapters'}")
            elif library not in sys.stdlib_module_names:
                broken.append(f"{one}: no room has taken in {library}; add it to LIBRARIES with its room")
    return broken


def import_cycles(root: Path) -> list[str]:
    """Circles of imports among our modules, each once."""
    graph: dict[str, set[str]] = {module: set() for module in sources(root)}
    for one in imports(root):
        if one.target in graph and one.target != one.module and not one.types_only:
            graph[one.module].add(one.target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[str] = []

    def visit(module: str) -> None:  # Tarjan's strongly connected components
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            start = stack.index(module)
            if len(stack) - start > 1:
                circles.append(" ↔ ".join(sorted(stack[start:])))
            del stack[start:]

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return circles


def purity(root: Path) -> list[str]:
    """What in `core` would read a file, a clock, randomness or the network."""
    broken = [f"{one}: core is pure" for one in imports(root) if within(one.module, ("gateway.core",)) and within(one.target, IMPURE)]
    for _, file, tree in trees(root, ("gateway.core",)):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
                broken.append(f"{file}:{node.lineno}: core calls {called.id}()")
            elif isinstance(called, ast.Attribute) and called.attr in CLOCKS:
                broken.append(f"{file}:{node.lineno}: core asks .{called.attr}(); `now` and randomness are arguments")
    return broken


HOLDERS = frozenset({"raw", "values", "unpublished", "Unpublished"})
"""Names under which an `Unpublished` stands in our Structs (Record.raw, Admitted.values), and the class itself."""


def _reflects(node: ast.AST) -> TypeGuard[ast.Call]:
    """`getattr(raw, "open")` and its relatives."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"getattr", "attrgetter", "methodcaller"}
        and any(isinstance(argument, ast.Constant) and argument.value in {"open", "_values"} for argument in node.args)
    )


def _base_name(node: ast.Attribute) -> str | None:
    """What the attribute is taken from: `raw` of `record.raw.open`."""
    return node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id if isinstance(node.value, ast.Name) else None


def opened_values(root: Path) -> list[str]:
    """Places outside the three files that could take raw values out of an `Unpublished`."""
    broken: list[str] = []
    for _, file, tree in trees(root):
        if file in OPENERS:
            continue
        bare_calls = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and not node.args and not node.keywords}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "open" and (id(node) in bare_calls or _base_name(node) in HOLDERS):
                broken.append(f"{file}:{node.lineno}: .open() of raw values (a file is opened with its mode, or by read_bytes)")
            elif isinstance(node, ast.Attribute) and node.attr == "_values" and _base_name(node) != "self":
                broken.append(f"{file}:{node.lineno}: ._values reaches past the wrapper")
            elif isinstance(node, ast.ClassDef) and any(isinstance(base, ast.Name) and base.id == "Unpublished" for base in node.bases):
                broken.append(f"{file}:{node.lineno}: a class of its own would open the wrapper")
            elif _reflects(node):
                broken.append(f"{file}:{node.lineno}: reflection reaches past the wrapper")
    return broken


def empty_packages(root: Path) -> list[str]:
    """`__init__.py` files that do more than document, and a `gateway/__init__.py` that holds more than the version."""
    broken: list[str] = []
    for path in sorted(root.glob("gateway/**/__init__.py")):
        if path == root / "gateway/store/migrations/__init__.py":
            continue  # alembic's script folder: what it holds runs when a migration does
        tree = ast.parse(path.read_bytes())
        for node in tree.body:
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            version = isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == ["__version__"]
            if not text and not (version and path.parent == root / "gateway"):
                broken.append(f"{path.relative_to(root).as_posix()}:{node.lineno}: importing a package must not start the house")
    return broken


def foreign_words(root: Path, files: list[Path]) -> list[str]:
    """Registry hosts and mirrors, locks that would record them, packages that are banned, and paths of one machine."""
    hosts = [
        "pypi" + ".org",
        "python" + "hosted",
        "npm" + "js.",
        "tuna" + ".tsinghua",
        "mirrors" + ".aliyun",
        "jsdelivr" + ".net",
        "unpkg" + ".com",
        "cdnjs" + ".",
    ]
    places = ["/ho" + "me/", "/ro" + "ot/", "/wo" + "rk/", "bash_" + "jobs"]
    broken: list[str] = []
    for path in files:
        name = path.relative_to(root).as_posix()
        if path.name in {"uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock"}:
            broken.append(f"{name}: this lock records the address every file came from")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            low = line.lower()
            broken += [f"{name}:{number}: a registry host" for word in hosts if word in low]
            broken += [f"{name}:{number}: a path of one machine" for word in places if word in low]
            if path.name.startswith("requirements"):
                broken += [f"{name}:{number}: {banned} is banned" for banned in BANNED_LIBRARIES if low.startswith(f"{banned}==")]
                if low.startswith(("--index-url", "--extra-index-url", "--find-links", "-i ", "-f ")):
                    broken.append(f"{name}:{number}: an address in a lock")
    return broken
