"""Another user of this machine gets nowhere: files, processes and ports of a workspace and of its run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from real_workspace import FOLDER, RealWorkspace

NOTEBOOK = """# Databricks notebook source
from pyspark.sql import functions as F

spark.range(4).select(F.udf(lambda value: value + 1, "long")("id")).collect()

# COMMAND ----------

import time

time.sleep(600)
"""
ATTACKER = Path(__file__).with_name("another_user.py")
# By how each refuses who has no credential: to which question, and with what in the answer.
REFUSALS = {
    "the workspace": ("HTTP", "401 Unauthorized"),
    "Spark's RPC and block manager": ("Spark", "Expected SaslMessage"),
    "Spark Connect, which asks for a token": ("HTTP", "Unexpected HTTP/1.x request"),
    "Java's gateways, which ask for a secret": ("Py4J", "!x"),
    "Spark's Python daemon": ("Spark's worker", "err"),
    "the kernel, which asks for a key": ("ZeroMQ with a key", "CURVE"),
    "the kernel's way for forked processes, which nobody can read": ("ZeroMQ", "PULL"),
    "PySpark's accumulators, which hang up": ("a wrong secret", "hung up"),
}


@pytest.fixture(scope="module")
def tried(real_workspace: RealWorkspace) -> dict[str, Any]:
    """What another user can read, and what each port answers, while a notebook runs that has used Spark."""
    if os.getuid() != 0:
        pytest.skip("only root can act as another user")
    real_workspace.upload(f"{FOLDER}/waits", NOTEBOOK)
    run_id = real_workspace.submit(real_workspace.task("waits"))
    task = real_workspace.client.jobs.get_run(run_id).tasks[0].run_id
    notebook = real_workspace.state / "runs" / str(task) / "notebook.ipynb"
    deadline = time.monotonic() + 120
    while not (notebook.exists() and '"done"' in notebook.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    server = psutil.Process(int((real_workspace.state / "workspace.pid").read_text().split()[0]))
    processes = {str(one.pid) for one in (server, *server.children(recursive=True))}
    ports = [
        connection.laddr.port
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and str(connection.pid) in processes
    ]
    command = [sys.executable, str(ATTACKER), str(real_workspace.state), *processes]
    done = subprocess.run(command, input=json.dumps(ports), capture_output=True, text=True, check=False)
    real_workspace.client.jobs.cancel_run_and_wait(run_id)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_another_user_reads_no_file_and_no_process(tried):
    assert (tried["files"], tried["processes"]) == ([], [])


def test_every_port_is_known_and_refuses_who_has_no_credential(tried):
    kinds = {port: kind_of(answers) for port, answers in tried["answers"].items()}

    assert set(kinds.values()) == set(REFUSALS), tried["answers"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_another_user_on_the_port_of_the_workspace_is_sent_no_token(real_workspace):
    command, config = [sys.executable, str(ATTACKER), "listen"], real_workspace.state / "databrickscfg"
    kept = config.read_text()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            host = f"http://127.0.0.1:{int(other.stdout.readline())}"
            config.write_text(kept.replace(real_workspace.profile["host"], host))
            words = ["status", "--state", str(real_workspace.state)]
            told = subprocess.run(
                [sys.executable, "-m", "local_workspace", *words], capture_output=True, text=True, check=False
            )
        finally:
            config.write_text(kept)
            other.kill()
        heard = other.stdout.read()

    assert (told.returncode, "another program listens there" in told.stderr) == (1, True)
    assert "GET /.well-known/local-workspace" in heard
    assert real_workspace.profile["token"] not in heard and "authorization" not in heard.lower()


def kind_of(answers: dict[str, str]) -> str:
    """What listens, by how it refuses: the first that fits, because others hang up too."""
    fitting = (kind for kind, (question, refusal) in REFUSALS.items() if refusal in answers[question])
    return next(fitting, "")
