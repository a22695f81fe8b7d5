"""What the variables that override those of databricks.yml bring about at a run."""

import json
import shlex
from typing import Any

import pytest
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.overrides import params_of_run
from deployment.settings import DEFINITION, FOUND_OUT, ROOT, read_yaml
from deployment.targets import Target
from deployment.workspace import User
from rest_server import Server

KEYS = ("diabetes_model_training", "diabetes_batch_scoring", "diabetes_monitoring")
FOUND: dict[str, Any] = {"version": "0.1.0", "wheels": "0.1.0", "git_commit": "1a2b3c4"}
CLUSTERS = [
    {"cluster_id": "7", "cluster_name": "azure-databricks-mlops-mlflow-ada"},
    {"cluster_id": "8", "cluster_name": "trial"},
]
NO_JOB_CLUSTER: dict[str, Any] = {"job_cluster_key": "", "job_clusters": []}
VARIABLES = read_yaml(ROOT / DEFINITION)["variables"]
# Another value for each variable, by its name.
OTHERS: dict[str, Any] = {name: "trial" for name in VARIABLES if name not in FOUND_OUT} | {
    "compute": "serverless",
    "notify_on_failure": ["a@example.com", "b@example.com"],
    "notify_webhooks": [{"id": "0481"}],
    "job_permissions": [{"group_name": "ml", "level": "CAN_VIEW"}],
}


@pytest.fixture
def compute(server: Server) -> Server:
    """A workspace that has two clusters."""
    server.replies["/api/2.0/clusters/list"] = {"clusters": CLUSTERS}
    return server


def overridden(**overrides: Any) -> Target:
    return Target("dev", lambda: User("ada@example.com"), overrides, own_catalog=lambda: "main")


def deployed(key: str, **overrides: Any) -> dict[str, Any]:
    """A job as a deployment with these overrides leaves it."""
    ids = {each["cluster_name"]: each["cluster_id"] for each in CLUSTERS}
    target = overridden(**overrides)
    existing = target.text("compute") == "existing"
    compute = {"cluster_id": ids[target.text("cluster_name")] if existing else "", **NO_JOB_CLUSTER}
    return {"job_id": 3, "settings": overridden(**overrides, **compute, **FOUND).jobs()[key]}


def test_an_override_acts_at_the_run_by_the_widgets_that_it_reaches(
    compute: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    job = deployed("diabetes_batch_scoring")
    target = overridden(catalog="trial", output_table="a.b.c", thresholds="r2>=0")

    params = params_of_run(cli, target, "diabetes_batch_scoring", job, {"batch_id": "day"})

    assert params == {
        "data_root": "/Volumes/trial/diabetes_ada/data",
        "model_name": "trial.diabetes_ada.diabetes",
        "output_table": "a.b.c",
        "batch_id": "day",
    }
    said = "Overrides: CATALOG=trial, OUTPUT_TABLE=a.b.c; Overrides without effect here: THRESHOLDS=r2>=0"
    assert capsys.readouterr().out.splitlines() == [said]


def test_params_win_over_an_override(
    compute: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    job = deployed("diabetes_batch_scoring")

    target = overridden(output_table="a.b.c")
    params = params_of_run(cli, target, "diabetes_batch_scoring", job, {"output_table": "d.e.f"})

    assert params == {"output_table": "d.e.f"}
    assert capsys.readouterr().out == "Overrides without effect here: OUTPUT_TABLE=a.b.c\n"


@pytest.mark.parametrize("key", KEYS)
def test_an_override_that_the_job_was_deployed_with_changes_nothing(
    compute: Server, cli: DatabricksCli, key: str
) -> None:
    for name, value in OTHERS.items():
        job = deployed(key, **{name: value})

        assert params_of_run(cli, overridden(**{name: value}), key, job, {}) == {}, name


def shown(value: Any) -> str:
    """A value as make takes it."""
    if not isinstance(value, list):
        return str(value)
    return ",".join(value) if isinstance(value[0], str) else json.dumps(value)


@pytest.mark.parametrize("key", KEYS)
def test_an_override_that_the_job_was_deployed_without_acts_or_is_named(
    compute: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    for name, other in OTHERS.items():
        given = f"{name.upper()}={shown(other)}"
        try:
            params = params_of_run(cli, overridden(**{name: other}), key, deployed(key), {})
        except DeploymentError as error:
            assert str(error).startswith(f"{given} cannot act at a run")
            typed = f"{name.upper()}={shlex.quote(shown(other))}"
            assert str(error).endswith(f"make deploy TARGET=dev {typed}")
        else:
            acts = bool(params) or name == "name_prefix"
            assert capsys.readouterr().out == (
                f"Overrides: {given}\n" if acts else f"Overrides without effect here: {given}\n"
            )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("compute", "diabetes_batch_scoring"),
        ("cluster_name", "diabetes_batch_scoring"),
        ("training_schedule", "diabetes_model_training"),
        ("schedule_status", "diabetes_monitoring"),
        ("notify_on_failure", "diabetes_monitoring"),
        ("notify_webhooks", "diabetes_model_training"),
        ("workspace_folder", "diabetes_monitoring"),
    ],
)
def test_an_override_that_only_a_deployment_can_heed_is_refused_at_a_run(
    compute: Server, cli: DatabricksCli, name: str, key: str
) -> None:
    with pytest.raises(DeploymentError, match=f"^{name.upper()}=.* cannot act at a run"):
        params_of_run(cli, overridden(**{name: OTHERS[name]}), key, deployed(key), {})
