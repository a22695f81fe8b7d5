"""What the overrides of databricks.yml bring about at a run, and at the next deployment."""

import json
import shlex
from typing import Any

import pytest
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.overrides import params_of_run, show_undone
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


def deploying(**overrides: Any) -> Target:
    """The target of a deployment with these overrides, which has found out the rest."""
    ids = {each["cluster_name"]: each["cluster_id"] for each in CLUSTERS}
    target = overridden(**overrides)
    compute: dict[str, Any] = {"cluster_id": "", **NO_JOB_CLUSTER}
    if target.text("compute") == "existing":
        compute["cluster_id"] = ids[target.text("cluster_name")]
    if target.text("compute") == "job":
        own = {"policy_id": f"of {target.text('cluster_policy')}"} if target.text("cluster_policy") else {}
        compute |= {"job_cluster_key": "main"}
        compute |= {"job_clusters": [{"job_cluster_key": "main", "new_cluster": own}]}
    return overridden(**overrides, **compute, **FOUND)


def deployed(key: str, **overrides: Any) -> dict[str, Any]:
    """A job as a deployment with these overrides leaves it."""
    return {"job_id": 3, "settings": deploying(**overrides).jobs()[key]}


def undone(
    server: Server, cli: DatabricksCli, before: dict[str, Any], now: dict[str, Any] | None = None
) -> None:
    """A deployment with the overrides of `now` looks at the jobs that one with those of `before` has left."""
    server.replies["/api/2.1/jobs/list"] = {
        "jobs": [deployed(key, **before) for key in deploying(**before).job_keys()]
    }
    show_undone(cli, deploying(**(now or {})), now or {})


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


UNDONE = [
    ({"compute": "serverless"}, "COMPUTE=serverless", "COMPUTE=existing"),
    ({"compute": "job"}, "COMPUTE=job", "COMPUTE=existing"),
    ({"cluster_name": "trial"}, "CLUSTER_NAME=trial", "CLUSTER_NAME=azure-databricks-mlops-mlflow-ada"),
    ({"promotion": "manual", "thresholds": "r2>=0"}, "THRESHOLDS=r2>=0, PROMOTION=manual", "THRESHOLDS="),
    ({"notify_on_failure": ["a@b.c", "d@b.c"]}, "NOTIFY_ON_FAILURE=a@b.c,d@b.c", "NOTIFY_ON_FAILURE=,"),
    ({"schedule_status": "UNPAUSED"}, "SCHEDULE_STATUS=UNPAUSED", "SCHEDULE_STATUS=PAUSED"),
    ({"root_path": "/Workspace/trial"}, "ROOT_PATH=/Workspace/trial", "ROOT_PATH=/Workspace/Users/ada@"),
    ({"catalog": "trial"}, "MODEL_NAME=trial.diabetes_ada.diabetes", "MODEL_NAME=main.diabetes_ada.diabetes"),
]


@pytest.mark.parametrize(("overrides", "was", "now"), UNDONE)
def test_a_deployment_tells_of_the_overrides_of_the_last_one_that_it_undoes(
    compute: Server,
    cli: DatabricksCli,
    capsys: pytest.CaptureFixture[str],
    overrides: dict[str, Any],
    was: str,
    now: str,
) -> None:
    undone(compute, cli, overrides)

    (line,) = capsys.readouterr().out.splitlines()
    before, _, after = line.partition("; ")
    assert before.startswith("Note: the jobs were deployed with ") and was in before
    assert after.startswith("this deployment gives them ") and now in f"{after},"
    assert "databricks.yml has it for target 'dev'" in line

    undone(compute, cli, overrides, overrides)
    assert capsys.readouterr().out == ""


def test_a_policy_of_job_clusters_that_the_next_deployment_leaves_out_is_told_by_its_name(
    compute: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    policies = [{"policy_id": "of small", "name": "small"}]
    compute.replies["/api/2.0/policies/clusters/list"] = {"policies": policies}

    undone(compute, cli, {"compute": "job", "cluster_policy": "small"}, {"compute": "job"})

    assert (
        "with CLUSTER_POLICY=small; this deployment gives them CLUSTER_POLICY=, " in capsys.readouterr().out
    )


def test_a_deployment_like_the_last_one_or_with_more_overrides_tells_of_nothing(
    compute: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    undone(compute, cli, {})
    for name, other in OTHERS.items():
        undone(compute, cli, {}, {name: other})

    assert capsys.readouterr().out == ""
