"""Settings of local servers on free ports, so that tests meet nobody else's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from readerflow.common.settings import Settings

#: Below the ports that the kernel gives to clients: there a client that calls a dead server in vain may get its port,
#: connect to itself, and keep the server from starting again.
FIRST, LAST = 20_000, 32_000


def free_ports() -> Iterator[int]:
    """Ports on which nobody listens; each process begins elsewhere."""
    for step in range(LAST - FIRST):
        port = FIRST + (os.getpid() * 37 + step) % (LAST - FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def on_free_ports(home: Path, **settings: Any) -> Settings:
    """Settings of the ``cluster`` profile whose servers would be this home's own."""
    port = free_ports()
    fields = (
        "kafka_controller_port", "hdfs_data_port", "hdfs_data_web_port", "hdfs_data_ipc_port", "cassandra_port",
        "cassandra_storage_port", "spark_master_port", "spark_master_web_port", "spark_worker_port",
        "spark_worker_web_port",
    )  # fmt: skip
    addresses = {
        "profile": "cluster",
        "kafka_bootstrap": f"127.0.0.1:{next(port)}",
        "hdfs_rpc": f"hdfs://127.0.0.1:{next(port)}",
        "hdfs_web": f"http://127.0.0.1:{next(port)}",
        **{field: next(port) for field in fields},
    }
    return Settings(home=home, **{**addresses, **settings})


def as_variables(settings: Settings) -> dict[str, str]:
    """The same settings as environment variables, for commands."""
    given = settings.model_dump(mode="json", exclude_unset=True)
    return {f"READERFLOW_{name.upper()}": str(value) for name, value in given.items()}
