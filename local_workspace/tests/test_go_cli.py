"""The Go program `databricks`: driven for real where it is found, and its recorded requests everywhere.

Where it is found, `RENEW_RECORDINGS=1 pytest local_workspace/tests/test_go_cli.py` records them anew.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from recordings import FOLDER, Replay, Writer

pytest.register_assert_rewrite("go_cli_flows")
from go_cli_flows import FLOWS, GoCli  # noqa: E402


def version_of(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def program() -> str:
    """The Go program; the pip program has the same name and says `Version 0.18.0`."""
    named = os.environ.get("DATABRICKS_GO_CLI")
    found = named or shutil.which("databricks")
    if found and version_of(found).startswith("Databricks CLI v"):
        return found
    if named:
        pytest.fail(f"DATABRICKS_GO_CLI names {named}, which is no Databricks CLI: {version_of(named)!r}")
    pytest.skip(
        "no Go program `databricks` on the PATH, and DATABRICKS_GO_CLI names none: "
        "its recorded requests are replayed instead"
    )


@pytest.mark.parametrize("flow", FLOWS)
def test_the_go_program_does_its_work(flow: str, local, program: str, tmp_path: Path):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    with local.recorder.listen() as exchanges:
        FLOWS[flow](GoCli(program, local.host, home, work))

    refused = [f"{e.method} {e.path}" for e in exchanges if e.status == 501]
    assert refused == []
    if os.environ.get("RENEW_RECORDINGS"):
        Writer(local.host, str(tmp_path)).write(flow, version_of(program), exchanges)


@pytest.mark.parametrize("flow", FLOWS)
def test_the_go_program_would_read_the_same(flow: str, local):
    assert Replay(local.host, "x").run(flow) > 5


def test_every_recording_says_what_it_was_recorded_from():
    recordings = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}

    assert recordings.keys() == FLOWS.keys()
    assert all(r["recorded_from"].startswith("Databricks CLI v") for r in recordings.values())
    assert not any("/tmp/" in path.read_text() for path in FOLDER.glob("*.json"))
