"""The whole loop as a user runs it: `make demo`, what it leaves behind, and what breaks it."""

import io
import re
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import requests
import science
from databricks.sdk.service.jobs import NotebookTask, SubmitTask
from databricks.sdk.service.workspace import ImportFormat, Language
from diabetes import PROBLEM
from diabetes.tabular.measuring import evaluate
from diabetes.tabular.parameters import fill_in
from mlflow import MlflowClient
from workspace_under_test import (
    DATA_ROOT,
    FOLDER,
    MODEL,
    ROOT,
    SCORED,
    WorkspaceUnderTest,
    command_lines,
)

pytestmark = pytest.mark.filterwarnings("ignore")

READ_SCORED = f"""
import json
rows = spark.table("{SCORED}").toPandas()
dbutils.notebook.exit(rows.to_json(orient="records", double_precision=15))
"""


@pytest.fixture
def workspace(demo) -> WorkspaceUnderTest:
    return demo.workspace


@pytest.fixture
def registry(workspace, monkeypatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", workspace.profile["token"])
    for set_uri in (mlflow.set_tracking_uri, mlflow.set_registry_uri):
        set_uri(workspace.profile["host"])
    return MlflowClient()


@pytest.fixture(scope="module")
def scored(demo) -> pd.DataFrame:
    """The rows that the demo has scored."""
    return pd.DataFrame(demo.workspace.run_cells(READ_SCORED)).sort_values(science.KEY)


def test_the_demo_ends_with_metrics_model_rows_and_addresses(demo):
    report = demo.finished.stdout.partition("Metrics on the holdout")[2]
    header, *rows = report.partition("\nRows of ")[2].partition("\n\n")[0].splitlines()[1:]
    batch = science.read_batch()

    assert all(re.search(rf"^ *{name} +-?\d", report, re.MULTILINE) for name in science.METRICS)
    assert re.search(rf"{re.escape(MODEL)}, version 1, alias champion", report)
    assert header.startswith(f"{science.KEY} ") and len(rows) == min(10, len(batch))
    assert all(row.startswith(tuple(f"{key} " for key in batch.index)) for row in rows)
    assert f"{demo.workspace.profile['host']}/#/experiments/" in report
    assert len(re.findall(r"/jobs/\d+/runs/\d+", report)) == 2


def test_every_step_of_the_demo_names_its_workspace(demo):
    lines = [line for line in demo.finished.stdout.splitlines() if line.startswith("Workspace")]

    assert len(lines) >= 7
    assert all("local" in line and demo.workspace.profile["host"] in line for line in lines)


def test_the_scored_table_holds_the_models_own_predictions(scored, registry):
    batch = science.read_batch()
    model = mlflow.sklearn.load_model(f"models:/{MODEL}@champion")

    assert scored[science.KEY].tolist() == batch.index.tolist()
    for name, values in science.score(model, batch).items():
        assert scored[name].tolist() == pytest.approx(values, rel=1e-9, abs=1e-9)
    assert set(scored["model_version"]) == {"1"}


def test_an_override_is_for_the_run_that_it_is_given_to(workspace):
    trial = SCORED.replace("_scored", "_trial")
    read = f"""
import json
tables = [spark.table(name) for name in ("{SCORED}", "{trial}")]
dbutils.notebook.exit(json.dumps([sorted({{row.run_id for row in table.collect()}}) for table in tables]))
"""

    finished = workspace.make("run-diabetes-batch-scoring", OUTPUT_TABLE=trial)

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert f"Overrides: OUTPUT_TABLE={trial}\n" in finished.stdout
    run_id = re.search(r"run_id +([0-9a-f]{32})", finished.stdout)[1]
    real, tried = workspace.run_cells(read)
    assert tried == [run_id] and run_id not in real


def test_the_training_run_holds_what_a_reader_looks_for(registry):
    version = registry.get_model_version_by_alias(MODEL, "champion")
    run = registry.get_run(version.run_id)
    artifacts = {item.path for item in registry.list_artifacts(version.run_id)}
    plots = {Path(item.path).name for item in registry.list_artifacts(version.run_id, "plots")}

    assert run.info.status == "FINISHED"
    assert run.data.metrics.keys() >= science.METRICS.keys()
    defaults = {name: str(value) for name, value in fill_in(PROBLEM.parameters, {}).items()}
    assert run.data.params.items() >= defaults.items()
    assert "feature_statistics.json" in artifacts
    assert plots > {"features.png", "importance.png"}
    assert {"report.html", "gate.json"} <= artifacts
    assert {dataset.dataset.name for dataset in run.inputs.dataset_inputs} == {
        "diabetes_training",
        "diabetes_holdout",
    }
    assert re.fullmatch(r"0\.1\.0\+g[0-9a-f]+.*", run.data.tags["diabetes_version"])
    assert run.data.tags["git_commit"]
    assert mlflow.models.get_model_info(f"models:/{MODEL}@champion").signature is not None


def test_the_page_of_a_run_shows_its_notebook(workspace):
    run_id = workspace.last_run_id()
    run = workspace.client.jobs.get_run(run_id)

    page = requests.get(run.run_page_url, headers=bearer(workspace), timeout=30)

    assert page.status_code == 200
    assert run.tasks[0].notebook_task.notebook_path in page.text
    assert "Notebook exited" in page.text
    assert "warning: telemetry" not in page.text  # the secret scope has no connection string


@pytest.mark.parametrize("serverless", [False, True], ids=["classic", "connect"])
def test_a_run_finds_the_usual_imports_done_and_warming_up_leaves_nothing_behind(workspace, serverless):
    warm, ended, left = workspace.run_cells(
        "import json, os, signal, subprocess, sys, time\nwarm = 'sklearn' in sys.modules",
        "folder = os.path.join(os.environ['TMPDIR'], 'warm-up')\n"
        "command = [sys.executable, '-m', 'local_workspace.spark.warm_up', folder]\n"
        "before = [table.name for table in spark.catalog.listTables('default')]\n"
        "whole = subprocess.run(command, capture_output=True, text=True)\n"
        "stopped = subprocess.Popen(command)\n"
        "while not os.path.exists(folder) and stopped.poll() is None: time.sleep(0.05)\n"
        "stopped.terminate()\n"
        "ended = [whole.returncode, whole.stderr[-500:], stopped.wait(60)]",
        "after = [table.name for table in spark.catalog.listTables('default')]\n"
        "left = os.path.exists(folder) or after != before\n"
        "dbutils.notebook.exit(json.dumps([warm, ended, left]))",
        serverless=serverless,  # the warm-up goes both ways
    )

    assert warm is (sys.platform == "linux")
    assert ended[0] == ended[2] == 0, ended
    assert not left


def test_pages_and_api_ask_who_is_there(workspace):
    host = workspace.profile["host"]

    page = requests.get(f"{host}/jobs", headers={"Accept": "text/html"}, allow_redirects=False, timeout=10)
    mlflow_page = requests.get(f"{host}/", headers={"Accept": "text/html"}, allow_redirects=False, timeout=10)
    api = requests.get(f"{host}/api/2.1/jobs/list", timeout=10)
    mlflow_api = requests.post(
        f"{host}/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 1}, timeout=10
    )

    assert page.headers["location"] == "/login?next=/jobs"
    assert mlflow_page.headers["location"].startswith("/login")
    assert (api.status_code, api.json()["error_code"]) == (401, "UNAUTHENTICATED")
    assert mlflow_api.status_code == 401


def test_the_link_of_status_signs_a_browser_in_once(workspace):
    link = re.search(r"http\S+/login\?code=\S+", workspace.make("local-workspace-status").stdout)[0]
    browser = requests.Session()

    first = browser.get(link, headers={"Accept": "text/html"}, timeout=10)
    again = requests.get(link, headers={"Accept": "text/html"}, allow_redirects=False, timeout=10)

    assert first.status_code == 200
    assert first.url.endswith("/jobs")
    assert "<title>MLflow</title>" in browser.get(f"{workspace.profile['host']}/mlflow", timeout=10).text
    assert "used already" in again.text


def test_the_demo_writes_nothing_into_home_or_the_temporary_folder(workspace):
    # pip asks `rustc`, where there is one, for its version, and that makes a folder of its own.
    assert {path.name for path in workspace.home.iterdir()} <= {".cache", ".rustup"}
    assert list(workspace.temporary.iterdir()) == []


def test_the_demo_again_without_its_runs_adds_nothing(workspace):
    """That a training and a scoring add a run each and a version is a test of the run in staging."""
    recipe = (ROOT / "Makefile").read_text().partition("\ndemo: ")[2].partition("\n\n")[0]
    targets = re.findall(r"\$\(MAKE\) (\S+)", recipe)
    without_runs = [target for target in targets if not target.startswith("run-")]
    before = census(workspace)

    finished = workspace.make(*without_runs)

    assert len(targets) == len(without_runs) + 2
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert census(workspace) == before


def test_monitoring_reads_the_demos_batch_and_labels_that_arrived_since(workspace, registry):
    batch = science.label(science.read_batch())
    model = mlflow.sklearn.load_model(f"models:/{MODEL}@champion")
    measured = {f"true_{name}": value for name, value in evaluate(PROBLEM, model, batch).items()}
    labels = batch[[science.KEY, science.LABEL]].to_csv(index=False)
    workspace.client.dbfs.upload(f"{DATA_ROOT}/labels.csv", io.BytesIO(labels.encode()), overwrite=True)

    finished = workspace.make("run-diabetes-monitoring", "PARAMS=labels_data=labels.csv")

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.search(rf"rows_labelled +{len(batch)}\n", finished.stdout)
    run = newest_mlflow_run(registry)
    assert {name: run.data.metrics[name] for name in measured} == pytest.approx(measured)
    assert re.search(rf"status +{run.data.tags['monitoring']}\n", finished.stdout)
    assert "monitoring.html" in {item.path for item in registry.list_artifacts(run.info.run_id)}


def test_a_failed_job_fails_the_command_with_the_notebooks_own_error(workspace, registry):
    finished = workspace.make("run-diabetes-model-training", "PARAMS=training_data=absent.csv")

    assert finished.returncode != 0
    assert f"{DATA_ROOT}/absent.csv" in finished.stderr
    assert "SourceNotFoundError" in finished.stderr
    assert newest_mlflow_run(registry).info.status == "FAILED"


def test_training_data_without_a_column_fails_with_its_name(workspace, registry):
    text = science.read_rows(science.TRAINING).drop(columns=science.FEATURE).to_csv(index=False)
    workspace.client.dbfs.upload(f"{DATA_ROOT}/narrow.csv", io.BytesIO(text.encode()), overwrite=True)

    finished = workspace.make("run-diabetes-model-training", "PARAMS=training_data=narrow.csv")

    assert finished.returncode != 0
    assert f"missing columns {[science.FEATURE]}" in finished.stderr
    assert newest_mlflow_run(registry).info.status == "FAILED"


def test_an_unknown_parameter_is_refused_before_anything_runs(workspace):
    last = workspace.last_run_id()

    finished = workspace.make("run-diabetes-model-training", "PARAMS=no_such_thing=0.3")

    assert finished.returncode != 0
    assert "no_such_thing" in finished.stderr and "'search_trials'" in finished.stderr
    assert all(f"{each.name}: {each.form}" in finished.stderr for each in PROBLEM.parameters)
    assert workspace.last_run_id() == last


def test_without_wait_the_command_only_triggers(workspace):
    finished = workspace.make("run-diabetes-batch-scoring", "WAIT=0")

    assert finished.returncode == 0
    run = workspace.client.jobs.get_run(workspace.last_run_id())
    assert run.state.result_state is None
    workspace.client.jobs.cancel_run_and_wait(run.run_id)


def test_cancelling_ends_the_processes_of_a_run_and_its_mlflow_run_has_failed(workspace, registry):
    client = workspace.client
    source = f"""# Databricks notebook source
import mlflow, subprocess
mlflow.set_experiment("{FOLDER}/azure-databricks-mlops-mlflow")
with mlflow.start_run(run_name="sleeper"):
    subprocess.run(["sleep", "4321"])
"""
    client.workspace.upload(
        f"{FOLDER}/sleeper",
        source.encode(),
        format=ImportFormat.SOURCE,
        language=Language.PYTHON,
        overwrite=True,
    )
    cluster_id = next(iter(client.clusters.list())).cluster_id
    task = SubmitTask("s", existing_cluster_id=cluster_id, notebook_task=NotebookTask(f"{FOLDER}/sleeper"))
    run_id = client.jobs.submit(run_name="sleeper", tasks=[task]).run_id
    wait_for(lambda: "sleep 4321" in command_lines())

    run = client.jobs.cancel_run(run_id).result()

    assert run.state.result_state.value == "CANCELED"
    wait_for(lambda: "sleep 4321" not in command_lines())
    cancelled = newest_mlflow_run(registry)
    assert (cancelled.info.run_name, cancelled.info.status) == ("sleeper", "FAILED")


def test_a_wrong_token_is_one_clear_message(workspace, tmp_path):
    stranger = WorkspaceUnderTest(tmp_path, workspace.port)
    stranger.state.mkdir(parents=True)
    sign_in = f"[local]\nhost = {workspace.profile['host']}\ntoken = wrong\n"
    (stranger.state / "databrickscfg").write_text(sign_in)

    finished = stranger.make("databricks-init")

    assert finished.returncode != 0
    assert "token" in (finished.stdout + finished.stderr).lower()
    assert "Traceback" not in finished.stdout + finished.stderr


def test_a_taken_port_is_named(workspace, tmp_path):
    other = WorkspaceUnderTest(tmp_path, workspace.port)

    finished = other.make("local-workspace-start")

    assert finished.returncode != 0
    assert f"port {workspace.port} of 127.0.0.1 is taken" in finished.stderr


def test_no_java_is_one_clear_message(tmp_path):
    without_java = WorkspaceUnderTest(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("make", "bash", "env", "test", "sed", "awk", "touch", "grep"):
        (tools / tool).symlink_to(next(p for p in (Path("/usr/bin", tool), Path("/bin", tool)) if p.exists()))

    finished = without_java.make("local-workspace-start", PATH=str(tools), JAVA_HOME=str(tmp_path))

    assert finished.returncode != 0
    assert "Spark needs Java 17 or 21" in finished.stderr


def test_a_workspace_that_does_not_run_is_one_clear_message(tmp_path):
    dead = WorkspaceUnderTest(tmp_path)

    finished = dead.make("databricks-init")

    assert finished.returncode != 0
    assert "local-workspace-start" in finished.stderr
    assert "Traceback" not in finished.stderr


def bearer(workspace: WorkspaceUnderTest) -> dict[str, str]:
    return {"Authorization": f"Bearer {workspace.profile['token']}"}


def newest_mlflow_run(registry: MlflowClient):
    experiment = registry.get_experiment_by_name(f"{FOLDER}/azure-databricks-mlops-mlflow")
    return registry.search_runs([experiment.experiment_id], max_results=1)[0]


def census(workspace: WorkspaceUnderTest) -> Counter[str]:
    """How many of each kind of thing the workspace holds."""
    client = workspace.client
    headers, host = bearer(workspace), workspace.profile["host"]
    experiments = list(client.experiments.search_experiments(max_results=100))
    runs = client.experiments.search_runs(experiment_ids=[e.experiment_id for e in experiments])
    versions = requests.get(f"{host}/api/2.0/mlflow/model-versions/search", headers=headers, timeout=10)
    return Counter(
        {
            "clusters": len(list(client.clusters.list())),
            "jobs": len(list(client.jobs.list())),
            "scopes": len(list(client.secrets.list_scopes())),
            "experiments": len(experiments),
            "runs": len([run for run in client.jobs.list_runs() if run.run_name != "probe"]),
            "mlflow runs": len(list(runs)),
            "model versions": len(versions.json()["model_versions"]),
        }
    )


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def test_a_port_that_does_not_exist_is_refused_and_not_kept(tmp_path):
    workspace = WorkspaceUnderTest(tmp_path, port=99999)

    finished = workspace.make("local-workspace-start")

    assert "from 1 to 65535" in finished.stderr
    assert not (workspace.state / "databrickscfg").exists()
