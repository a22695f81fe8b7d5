"""Documents survive, counters never repeat, and files stay inside their root."""

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_workspace.errors import AlreadyExists, DoesNotExist, InvalidParameter
from local_workspace.jobs.run_searches import search_states
from local_workspace.store.database import Database
from local_workspace.store.document_index import Search
from local_workspace.store.state import StateFolder, described, resolve


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "workspace.db")


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def test_documents_come_back_in_the_order_in_which_they_were_first_put(database: Database):
    for key in ("b", "a", "c"):
        database.put("job", key, {"key": key})
    database.put("job", "b", {"key": "b", "changed": True})

    assert database.all("job") == [{"key": "b", "changed": True}, {"key": "a"}, {"key": "c"}]
    assert database.get("run", "b") is None


def test_concurrent_changes_and_numbers_are_never_lost(database: Database):
    database.put("job", "1", {"count": 0})

    def change(_: int) -> int:
        database.update("job", "1", lambda job: job.update(count=job["count"] + 1))
        return database.next_id("run")

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(change, range(200)))

    assert database.get("job", "1") == {"count": 200}
    assert sorted(numbers) == list(range(1, 201))


def test_a_transaction_happens_as_a_whole_also_with_others_inside(database: Database):
    with pytest.raises(RuntimeError), database.transaction():
        database.put("run", "1", {})
        with database.transaction():
            database.put("token", "1", {})
        raise RuntimeError("killed before the end")

    assert database.get("run", "1") is None
    assert database.get("token", "1") is None


def put_runs(database: Database) -> None:
    for number, state in enumerate(["QUEUED", "RUNNING", "QUEUED", "TERMINATED"], start=1):
        ended = {"result_state": "FAILED"} if state == "TERMINATED" else {}
        run = {"run_id": number, "job_id": number % 3, "run_type": "JOB_RUN", "start_time": number}
        database.put("run", str(number), run | {"state": {"life_cycle_state": state, **ended}})


def test_documents_are_found_counted_and_walked_by_values_inside(database: Database):
    put_runs(database)
    database.put("job", "1", {"job_id": 1, "state": {"life_cycle_state": "QUEUED"}})

    def found(conditions: dict[str, int] | None = None, **one_of: list[str | int]) -> list[int]:
        search = Search("run", one_of, conditions or {})
        listed = [run["run_id"] for _, run in database.find(search)]
        assert [run["run_id"] for run in database.walk(search)] == listed
        assert [run["run_id"] for _, run in database.find(search, newest_first=True)] == listed[::-1]
        assert database.count(search) == len(listed)
        return listed

    assert found(run_state=["QUEUED", "RUNNING"]) == [1, 2, 3]
    assert found(run_state=["QUEUED"], run_job=[0]) == [3]
    assert found(run_has_ended=[1], run_type=["JOB_RUN", "SUBMIT_RUN"]) == [4]
    assert found({"run_start >= ?": 2, "run_start <= ?": 3}) == [2, 3]
    assert found(run_state=[]) == []
    assert database.counts(Search("run"), "run_state") == {"QUEUED": 2, "RUNNING": 1, "FAILED": 1}


def test_a_walk_through_documents_goes_on_behind_those_that_have_changed(database: Database):
    for number in range(100):
        database.put("run", str(number), {"number": number, "state": {"life_cycle_state": "QUEUED"}})
    walked = []
    for run in database.walk(search_states(["QUEUED"])):
        walked.append(run["number"])
        database.put("run", str(run["number"]), {"state": {"life_cycle_state": "PENDING"}})

    assert walked == list(range(100))


def test_a_database_that_is_put_back_is_searched_as_before(database: Database, tmp_path: Path):
    put_runs(database)
    (tmp_path / "workspace.db").unlink()
    database.put("run", "5", {"run_id": 5, "state": {"life_cycle_state": "QUEUED"}})

    assert [run["run_id"] for run in database.walk(search_states(["QUEUED"]))] == [1, 3, 5]


def test_a_failed_change_leaves_the_document_as_it_was(database: Database):
    database.put("job", "1", {"name": "train"})

    def change(job: dict[str, str]) -> None:
        job["name"] = "half"
        raise RuntimeError("stopped halfway")

    with pytest.raises(RuntimeError):
        database.update("job", "1", change)

    assert database.get("job", "1") == {"name": "train"}


def test_changing_a_missing_document_names_it(database: Database):
    with pytest.raises(DoesNotExist, match="job '7' does not exist"):
        database.update("job", "7", dict.clear)


def test_what_was_put_survives_kill_9(tmp_path: Path):
    path = tmp_path / "workspace.db"
    script = (
        "import os, sys; from pathlib import Path; from local_workspace.store.database import Database\n"
        "database = Database(Path(sys.argv[1])); database.put('job', '1', {'n': database.next_id('job')})\n"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path)])
    reopened = Database(path)

    assert killed.returncode == -9
    assert reopened.get("job", "1") == {"n": 1}
    assert reopened.next_id("job") == 2


def test_only_the_owner_reads_the_state(state: StateFolder):
    database = Database(state.database)
    database.put("secret", "scope/key", {"value": "hidden"})

    assert state.root.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in state.root.glob("workspace.db*")} == {0o600}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("dbfs:/a/b.csv", "dbfs/a/b.csv"),
        ("/dbfs/a/b.csv", "dbfs/a/b.csv"),
        ("dbfs:/", "dbfs"),
        ("dbfs:/Volumes/c/s/v/x", "volumes/c/s/v/x"),
        ("/dbfs/Volumes/c", "volumes/c"),
        ("/Volumes/c/s/v/x", "volumes/c/s/v/x"),
        ("/Workspace/Shared/nb", "workspace_files/Shared/nb"),
    ],
)
def test_a_databricks_path_has_one_place_on_disk(state: StateFolder, path: str, place: str):
    assert state.local_path(path) == state.root / place


@pytest.mark.parametrize("path", ["../x", "/a/../../x", "/a\0b", "/link/x", "/" + "n" * 256, "/a\nb"])
def test_no_path_leaves_its_root(state: StateFolder, path: str):
    (state.dbfs / "link").symlink_to("/etc")

    with pytest.raises(InvalidParameter):
        resolve(state.dbfs, path)


def test_paths_of_no_known_kind_are_refused(state: StateFolder):
    with pytest.raises(InvalidParameter, match="/etc/passwd"):
        state.local_path("/etc/passwd")


def test_a_file_does_not_replace_a_folder(state: StateFolder):
    (state.dbfs / "data").mkdir()

    with pytest.raises(AlreadyExists, match="'data'"):
        state.write(state.dbfs / "data", io.BytesIO(b"x"))

    assert list(state.tmp.iterdir()) == []


def test_what_vanishes_while_a_folder_is_listed_is_left_out(tmp_path: Path):
    (tmp_path / "there").touch()
    names = described([tmp_path / "gone", tmp_path / "there"], lambda path: {path.name: path.stat().st_size})

    assert names == [{"there": 0}]
