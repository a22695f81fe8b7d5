"""MLflow's sqlite file as the workspace creates it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from local_workspace.mlflow_server import mlflow_file
from local_workspace.store.sqlite_file import SqliteFile, UnreadableDatabase
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore


def tables(file: Path) -> dict[str, list[str]]:
    """The lines of each definition, sorted: MLflow's migrations give the constraints in any order."""
    with closing(sqlite3.connect(file)) as database:
        found = dict(database.execute("SELECT name, sql FROM sqlite_master"))
    return {
        name: sorted(line.strip(" \t,") for line in (sql or "").splitlines()) for name, sql in found.items()
    }


def version(file: Path) -> str:
    with closing(sqlite3.connect(file)) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchall())


def test_it_has_the_tables_that_mlflow_makes_and_only_its_owner_reads_it(tmp_path: Path):
    file, mlflows_own = tmp_path / "mlflow.db", tmp_path / "own.db"
    (tmp_path / "mlflow.db.partial").write_text("what a killed server has left")
    mlflow_file.create(file)
    left = sorted(path.name for path in tmp_path.iterdir())
    SqlAlchemyStore(f"sqlite:///{mlflows_own}", (tmp_path / "artifacts").as_uri())

    assert left == ["mlflow.db"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert tables(file) == tables(mlflows_own)
    assert version(file) == version(mlflows_own)


def test_what_a_killed_server_wrote_to_an_earlier_file_does_not_get_into_the_new_one(tmp_path: Path):
    file, log = tmp_path / "mlflow.db", tmp_path / "mlflow.db-wal"
    with closing(sqlite3.connect(file)) as earlier:
        earlier.execute("PRAGMA journal_mode=WAL")
        earlier.execute("CREATE TABLE earlier (value)")
        left = log.read_bytes()
    file.unlink()
    log.write_bytes(left)
    mlflow_file.create(file)
    SqliteFile(file).close()

    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert "experiments" in tables(file)
    assert "earlier" not in tables(file)


def test_one_that_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_room(_descriptor: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="no room"):
        mlflow_file.create(tmp_path / "mlflow.db")

    assert not (tmp_path / "mlflow.db").exists()


def test_a_database_of_another_program_is_named(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("CREATE TABLE other (name)")

    with pytest.raises(UnreadableDatabase, match=r"mlflow\.db is not a database of MLflow .*; move it away"):
        mlflow_file.take_along(tmp_path / "mlflow.db", tmp_path)
