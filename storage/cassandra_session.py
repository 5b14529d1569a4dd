"""A Cassandra keyspace as its adapters use it: sessions, prepared statements, patience, errors.

Statements are texts in which ``{ks}`` stands for the keyspace, since prepared statements must name it. They are
prepared once a session and count as idempotent. A session is made on first use and again after a fork; what is pickled
is the address only, and who unpickles it in an executor shares one session a process.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cassandra import ConsistencyLevel, DriverException, InvalidRequest, ProtocolVersion
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    ResponseFuture,
    Session,
)
from cassandra.connection import ConnectionException
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.query import BatchStatement, BatchType, PreparedStatement, tuple_factory

from readerflow.common.cluster_settings import ClusterSettings
from readerflow.common.errors import Unavailable
from readerflow.common.patience import LIMIT, patiently

from .cassandra_schema import ensure_schema

#: Requests of one writer that are under way: more only wait within Cassandra.
IN_FLIGHT = 32
SERIAL = "serial"

Row = tuple[Any, ...]
T = TypeVar("T")


class ViewsUnavailable(Unavailable):
    """The view store is out of reach, or refuses."""


@dataclass(frozen=True)
class CassandraAddress:
    """Where a keyspace is and how a client proves who it is. Goes to executors with the writers."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9042
    keyspace: str = "readerflow"
    datacenter: str = "datacenter1"
    replication: str = "datacenter1:1"
    consistency: str = "LOCAL_QUORUM"
    timeout: float = 10.0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    @classmethod
    def of(cls, settings: ClusterSettings) -> CassandraAddress:
        """Take what concerns Cassandra from the settings."""
        password = settings.cassandra_password
        return cls(
            hosts=tuple(host.strip() for host in settings.cassandra_hosts.split(",")),
            port=settings.cassandra_port,
            keyspace=settings.cassandra_keyspace,
            datacenter=settings.cassandra_datacenter,
            replication=settings.cassandra_replication,
            consistency=settings.cassandra_consistency,
            timeout=settings.cassandra_timeout,
            username=settings.cassandra_username,
            password=password.get_secret_value() if password else None,
            ca_file=str(settings.cassandra_ca_file) if settings.cassandra_ca_file else None,
        )

    def __str__(self) -> str:
        return f"{','.join(self.hosts)}:{self.port}"


class _Connected:
    """A process's session and the statements prepared in it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.cluster: Cluster | None = None
        self.session: Session | None = None
        self.statements: dict[str, PreparedStatement] = {}


class Cassandra:
    """A keyspace, whose tables are created where they are missing. Threads may share it."""

    def __init__(self, address: CassandraAddress) -> None:
        self.address = address
        self._connected = _Connected()

    def __reduce__(self) -> tuple[Callable[[CassandraAddress], Cassandra], tuple[CassandraAddress]]:
        return shared, (self.address,)

    def close(self) -> None:
        """Close the session; the next use opens another one."""
        connected, self._connected = self._connected, _Connected()
        if connected.cluster is not None and connected.pid == os.getpid():
            connected.cluster.shutdown()

    def rows(self, cql: str, values: Sequence[Any] = (), *, serial: bool = False) -> list[Row]:
        """Run a statement and take all rows.

        :param serial: read with SERIAL consistency, as the decision of a compare-and-set needs it.
        :raises ViewsUnavailable: when Cassandra does not answer.
        """
        return self._told(lambda: list(self._start(cql, values, SERIAL if serial else EXEC_PROFILE_DEFAULT).result()))

    def start(self, cql: str, values: Sequence[Any] = ()) -> ResponseFuture:
        """Send a statement; :meth:`finish` takes the rows of its first page."""
        return self._told(lambda: self._start(cql, values, EXEC_PROFILE_DEFAULT))

    def start_batch(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> ResponseFuture:
        """Send idempotent writes as one request: an unlogged batch, which is atomic within a partition only."""

        def send() -> ResponseFuture:
            batch = BatchStatement(batch_type=BatchType.UNLOGGED)
            for cql, values in statements:
                batch.add(self._prepared(cql), values)
            batch.is_idempotent = True
            return self._session().execute_async(batch)

        return self._told(send)

    def finish(self, future: ResponseFuture) -> list[Row]:
        """Wait for what :meth:`start` sent.

        :raises ViewsUnavailable: when Cassandra does not answer.
        """
        return self._told(lambda: list(future.result()))

    def patiently(self, cql: str, values: Sequence[Any] = (), patience: float = LIMIT) -> list[Row]:
        """Run an idempotent statement, again and again while Cassandra is away.

        :raises ViewsUnavailable: when it is away for longer than ``patience`` seconds.
        """
        return self.persist(lambda: self.rows(cql, values), patience)

    def persist(self, work: Callable[[], T], patience: float = LIMIT) -> T:
        """Do idempotent work, again and again while Cassandra is away for up to ``patience`` seconds."""
        return patiently(work, limit=patience)

    def compare_and_set(self, *statements: tuple[str, Sequence[Any]]) -> bool:
        """Run conditional statements on one partition, all or none; say whether they were applied.

        :raises ViewsUnavailable: also when nobody knows whether they were: read again and see.
        """

        def apply() -> bool:
            batch = BatchStatement(serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL)
            for cql, values in statements:
                batch.add(self._prepared(cql), values)
            return bool(self._session().execute(batch).was_applied)

        return self._told(apply)

    def writes(self, patience: float = LIMIT) -> Writes:
        """A window of writes that are under way."""
        return Writes(self, patience)

    def _start(self, cql: str, values: Sequence[Any], profile: object) -> ResponseFuture:
        statement = self._prepared(cql)
        return self._session().execute_async(statement.bind(values), execution_profile=profile)

    def _prepared(self, cql: str) -> PreparedStatement:
        session, known = self._session(), self._connected.statements
        statement = known.get(cql)
        if statement is None:
            statement = session.prepare(cql.replace("{ks}", self.address.keyspace))
            statement.is_idempotent = True
            known[cql] = statement
        return statement

    def _session(self) -> Session:
        if self._connected.pid != os.getpid():
            # The parent's threads and sockets are not ours to close.
            self._connected = _Connected()
        connected = self._connected
        with connected.lock:
            if connected.session is None:
                cluster = _cluster(self.address)
                try:
                    session = cluster.connect()
                    ensure_schema(session, self.address.keyspace, self.address.replication)
                except BaseException:
                    cluster.shutdown()
                    raise
                connected.cluster, connected.session = cluster, session
            return connected.session

    def _told(self, work: Callable[[], T]) -> T:
        """Do something with Cassandra; what goes wrong there is told in one line."""
        try:
            return work()
        except InvalidRequest:
            raise
        except (NoHostAvailable, ConnectionException, DriverException, OSError) as error:
            raise ViewsUnavailable(
                f"Cassandra at {self.address} does not answer ({_reason(error)}); start it ('readerflow up') or mend "
                "the cassandra_* settings"
            ) from error


class Writes:
    """Idempotent writes, many under way at a time; leaving the block waits for the last one.

    A write that fails is done again until Cassandra is back; adding more waits meanwhile.
    """

    def __init__(self, cassandra: Cassandra, patience: float) -> None:
        self._cassandra = cassandra
        self._patience = patience
        self._under_way: deque[tuple[Callable[[], ResponseFuture], ResponseFuture | None]] = deque()

    def __enter__(self) -> Writes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        while kind is None and self._under_way:
            self._finish_one()

    def add(self, cql: str, values: Sequence[Any]) -> None:
        """Send a write, once there is room for it.

        :raises ViewsUnavailable: when an earlier one could not be done in time.
        """
        self._add(lambda: self._cassandra.start(cql, values))

    def add_batch(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        """Send several writes as one request (see :meth:`Cassandra.start_batch`), once there is room for it.

        :raises ViewsUnavailable: when an earlier one could not be done in time.
        """
        self._add(lambda: self._cassandra.start_batch(statements))

    def _add(self, start: Callable[[], ResponseFuture]) -> None:
        if len(self._under_way) >= IN_FLIGHT:
            self._finish_one()
        try:
            future = start()
        except ViewsUnavailable:
            future = None
        self._under_way.append((start, future))

    def _finish_one(self) -> None:
        start, future = self._under_way.popleft()
        try:
            if future is not None:
                self._cassandra.finish(future)
                return
        except ViewsUnavailable:
            pass
        self._cassandra.persist(lambda: self._cassandra.finish(start()), self._patience)


_shared: dict[CassandraAddress, Cassandra] = {}


def shared(address: CassandraAddress) -> Cassandra:
    """The process's own connection to a keyspace; it is closed when the process ends."""
    return _shared.setdefault(address, Cassandra(address))


def _cluster(address: CassandraAddress) -> Cluster:
    balancing = TokenAwarePolicy(DCAwareRoundRobinPolicy(address.datacenter))
    level = ConsistencyLevel.name_to_value[address.consistency]

    def profile(consistency: int) -> ExecutionProfile:
        return ExecutionProfile(
            load_balancing_policy=balancing,
            consistency_level=consistency,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=address.timeout,
            row_factory=tuple_factory,
        )

    return Cluster(
        contact_points=list(address.hosts),
        port=address.port,
        protocol_version=ProtocolVersion.V5,
        execution_profiles={
            EXEC_PROFILE_DEFAULT: profile(level),
            SERIAL: profile(ConsistencyLevel.LOCAL_SERIAL),
        },
        auth_provider=PlainTextAuthProvider(address.username, address.password or "") if address.username else None,
        ssl_context=ssl.create_default_context(cafile=address.ca_file) if address.ca_file else None,
        # The driver's own would wait up to ten minutes before it looks again.
        reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None),
        connect_timeout=address.timeout,
        control_connection_timeout=address.timeout,
        compression=False,  # what is large is compressed already
        monitor_reporting_enabled=False,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, NoHostAvailable) and error.errors:
        error = next(iter(error.errors.values())) if isinstance(error.errors, dict) else error
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
