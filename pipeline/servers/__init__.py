"""The local servers of the ``cluster`` profile: Kafka, HDFS, Cassandra and Spark as processes on 127.0.0.1.

They outlive the command that starts them. The list of processes is the only record of what runs: each server carries
its folder as an argument (see :mod:`.processes`), so there are no pid files to go stale.
"""

from __future__ import annotations

from .catalogue import ALIASES, SERVERS, NotLocal, Port, folder, ports_of, servers_home
from .control import ServerDied, ServerNotReady, State, down, is_ready, pid_of, start, states, stop, up

__all__ = [
    "ALIASES",
    "SERVERS",
    "NotLocal",
    "Port",
    "ServerDied",
    "ServerNotReady",
    "State",
    "down",
    "folder",
    "is_ready",
    "pid_of",
    "ports_of",
    "servers_home",
    "start",
    "states",
    "stop",
    "up",
]
