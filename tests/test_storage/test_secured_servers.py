"""Logins and TLS against servers that insist on them: from the log through the stream into the realtime views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa
import pytest

from readerflow.common.settings import Settings
from readerflow.storage.cassandra_session import Cassandra, CassandraAddress, ViewsUnavailable
from readerflow.storage.kafka_log import KafkaLog
from readerflow.storage.log import LogRefused, LogUnavailable
from tests.log_entries import SOURCE, entries, heartbeat, record
from tests.secured_servers import secured_servers
from tests.spark_home import open_spark_home, own_settings

RECORDS = [record(number, hour=number) for number in range(6)]


@pytest.fixture(scope="module")
def secured(cluster: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    home = tmp_path_factory.mktemp("secured")
    with pytest.MonkeyPatch.context() as monkeypatch, secured_servers(home, monkeypatch) as own:
        given = own_settings(cluster, home).model_dump(exclude_unset=True)
        yield Settings.model_validate(given | own)


def written(settings: Settings, client: str) -> pa.Table:
    """What a topic of a client's own holds after a record was appended by it."""
    own = settings.model_copy(update={"kafka_client": client})
    with KafkaLog(own, f"{settings.kafka_topic}-{client}", 1) as log:
        log.append(0, entries(*RECORDS))
        log.flush()
        return log.read(0, 0, 100).records


@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
def test_both_clients_of_kafka_log_in_over_tls(secured: Settings, client: str) -> None:
    assert written(secured, client)["article"].to_pylist() == [row["article"] for row in RECORDS]


@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
@pytest.mark.parametrize(
    "wrong", [{"kafka_password": "guessed"}, {"kafka_ca_file": None}, {"kafka_security": "PLAINTEXT"}]
)
def test_who_can_not_prove_who_he_is_is_told_where_to_look(
    secured: Settings, client: str, wrong: dict[str, object]
) -> None:
    given = secured.model_dump(exclude_unset=True) | {"kafka_timeout": 5.0} | wrong
    with pytest.raises((LogRefused, LogUnavailable), match="kafka_"):
        written(Settings.model_validate(given), client)


def test_a_spark_stream_brings_records_from_a_secured_log_into_secured_views(secured: Settings) -> None:
    with open_spark_home(secured) as home:
        home.append(0, entries(*RECORDS, heartbeat(6, hour=6)))
        result = home.stream()
        assert result.records == len(RECORDS)
        clicks = sum(row[0] for row in home.rows(SOURCE)["live_pairs"].values())
        assert clicks == sum(row["clicks"] for row in RECORDS)


@pytest.mark.parametrize("wrong", [{"cassandra_password": "guessed"}, {"cassandra_ca_file": None}])
def test_cassandra_refuses_a_wrong_password_and_an_open_line(secured: Settings, wrong: dict[str, object]) -> None:
    given = secured.model_dump(exclude_unset=True) | {"cassandra_timeout": 5.0} | wrong
    with (
        closing(Cassandra(CassandraAddress.of(Settings.model_validate(given)))) as cassandra,
        pytest.raises(ViewsUnavailable, match="cassandra_"),
    ):
        cassandra.rows("select release_version from system.local")
