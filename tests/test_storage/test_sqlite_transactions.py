"""Transactions: whatever ends one, the next begins."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from readerflow.storage.sqlite import connect, reading, transaction


def test_after_a_commit_that_fails_nothing_is_written_and_the_next_transaction_begins(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "some.db")) as connection:
        connection.execute("create table parents (id integer primary key)")
        connection.execute("create table children (id integer references parents deferrable initially deferred)")
        with pytest.raises(sqlite3.IntegrityError), transaction(connection):
            connection.execute("insert into children values (1)")
        with transaction(connection):
            connection.execute("insert into parents values (1)")
        assert connection.execute("select count(*) from children").fetchone() == (0,)


@pytest.mark.parametrize("block", [transaction, reading])
def test_an_error_of_a_transaction_that_has_ended_already_is_not_hidden(tmp_path: Path, block: type) -> None:
    with closing(connect(tmp_path / "some.db")) as connection, pytest.raises(LookupError), block(connection):
        connection.execute("rollback")
        raise LookupError
