"""Kafka and Cassandra that want a login over TLS: the servers of ``readerflow up`` with more in their configuration."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from readerflow.common.settings import Settings
from readerflow.pipeline import servers
from readerflow.pipeline.servers import control, ready
from readerflow.pipeline.servers.catalogue import folder
from readerflow.pipeline.servers.machine import find_java
from readerflow.storage.cassandra_session import Cassandra, CassandraAddress, ViewsUnavailable
from tests.own_servers import on_free_ports

STORE_PASSWORD = "keep-it-safe"  # noqa: S105
USER, PASSWORD = "flow", 'pass"word\\'
#: Whom a new Cassandra with logins knows.
CASSANDRA_USER = CASSANDRA_PASSWORD = "cassandra"  # noqa: S105


@contextmanager
def secured_servers(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Run both; gives the settings by which clients reach them."""
    plain = on_free_ports(home)
    port = plain.hdfs_data_port  # no HDFS runs here
    authority = _certificate(home)
    keys = home / "keys.p12"

    def render(settings: Settings, name: str) -> None:
        servers_render(settings, name)
        _ADD[name](folder(settings, name) / "conf", keys, port)

    servers_render: Callable[[Settings, str], None] = control.render
    monkeypatch.setattr(control, "render", render)
    own = {
        "kafka_bootstrap": f"127.0.0.1:{port}",
        "kafka_security": "SASL_SSL",
        "kafka_username": USER,
        "kafka_password": PASSWORD,
        "kafka_ca_file": authority,
        "cassandra_port": plain.cassandra_port,
        "cassandra_username": CASSANDRA_USER,
        "cassandra_password": CASSANDRA_PASSWORD,
        "cassandra_ca_file": authority,
    }
    monkeypatch.setitem(ready._PROBES, "cassandra", lambda _: _lets_in(Settings.model_validate(own)))
    try:
        servers.up(plain, ("kafka", "cassandra"))
        with closing(KafkaAdminClient(bootstrap_servers=plain.kafka_bootstrap)) as admin:
            login = UserScramCredentialUpsertion(USER, ScramMechanism.SCRAM_SHA_512, PASSWORD)
            assert admin.alter_user_scram_credentials([login]) == {USER: None}
        yield own
    finally:
        servers.down(plain)


def _certificate(folder: Path) -> Path:
    """Make a key for 127.0.0.1 (keys.p12); gives its certificate, which is its own authority."""
    keytool = find_java()[0].with_name("keytool")
    store = ["-alias", "server", "-keystore", str(folder / "keys.p12"), "-storepass", STORE_PASSWORD]
    made = ["-genkeypair", "-keyalg", "EC", "-dname", "CN=servers of a test", "-validity", "2"]
    names = ["-ext", "san=ip:127.0.0.1", "-ext", "bc:critical=ca:true", "-storetype", "PKCS12"]
    subprocess.run([keytool, *made, *names, *store], check=True, capture_output=True)
    text = subprocess.run([keytool, "-exportcert", "-rfc", *store], check=True, capture_output=True, text=True).stdout
    certificate = folder / "authority.pem"
    certificate.write_text(text)
    return certificate


def _secure_kafka(conf: Path, keys: Path, port: int) -> None:
    """Another listener beside the open one, by which the test gives the broker its user."""
    path = conf / "server.properties"
    listener = f"SECURE://127.0.0.1:{port}"
    text = re.sub(r"(?m)^((?:advertised\.)?listeners=.*)$", rf"\1,{listener}", path.read_text())
    text = re.sub(r"(?m)^(listener\.security\.protocol\.map=.*)$", r"\1,SECURE:SASL_SSL", text)
    path.write_text(
        text + "sasl.enabled.mechanisms=SCRAM-SHA-512\n"
        "listener.name.secure.scram-sha-512.sasl.jaas.config="
        "org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
        f"ssl.keystore.type=PKCS12\nssl.keystore.location={keys}\nssl.keystore.password={STORE_PASSWORD}\n"
        f"ssl.key.password={STORE_PASSWORD}\n"
    )


def _secure_cassandra(conf: Path, keys: Path, port: int) -> None:
    with (conf / "cassandra.yaml").open("a") as file:
        file.write(
            "\nauthenticator: PasswordAuthenticator\n"
            "client_encryption_options:\n"
            "  enabled: true\n  optional: false\n  store_type: PKCS12\n"
            f"  keystore: {keys}\n  keystore_password: {STORE_PASSWORD}\n"
        )


_ADD = {"kafka": _secure_kafka, "cassandra": _secure_cassandra}


def _lets_in(settings: Settings) -> bool:
    with closing(Cassandra(CassandraAddress.of(settings))) as cassandra:
        try:
            return bool(cassandra.rows("select release_version from system.local"))
        except ViewsUnavailable:
            return False
