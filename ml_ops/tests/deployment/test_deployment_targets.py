"""A target of databricks.yml is the same whichever command line deploys it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment.errors import DeploymentError
from deployment.targets import Target
from deployment.workspace import User
from diabetes import PROBLEM
from diabetes_mlops.runs.settings import (
    DeploymentSettings,
    MonitoringSettings,
    ScoringSettings,
    TrainingSettings,
)

ROOT = Path(__file__).resolve().parents[3]
# What `databricks bundle validate` made of this databricks.yml, with the version of that program.
RECORDING = Path(__file__).with_name("recordings") / "bundle_validate.json"
USER = "local.user@localhost"
EXISTING: dict[str, Any] = {
    "version": "0.1.0+g1a2b3c4",
    "wheels": "0.1.0[+]g1a2b3c4",
    "git_commit": "1a2b3c4d",
    "cluster_id": "1125-000000-abcdefgh",
    "job_cluster_key": "",
    "job_clusters": [],
}
CLUSTER = {"spark_version": "18.x-cpu-ml-scala2.13", "node_type_id": "Standard_D4ds_v5", "num_workers": 0}
JOB = EXISTING | {
    "cluster_id": "",
    "job_cluster_key": "main",
    "job_clusters": [{"job_cluster_key": "main", "new_cluster": CLUSTER}],
    "notify_on_failure": ["team@example.com"],
    "notify_webhooks": [{"id": "0481e838-0a59-4eff-9541-a4ca6f149574"}],
    "job_permissions": [
        {"group_name": "ml-readers", "level": "CAN_VIEW"},
        {"group_name": "ml-engineers", "level": "CAN_MANAGE_RUN"},
        {"service_principal_name": "11111111-2222-3333-4444-555555555555", "level": "CAN_MANAGE"},
    ],
}
SERVERLESS = EXISTING | {"cluster_id": "", "catalog": "trial"}
CASES = [
    (target, name, given)
    for target in yaml.safe_load((ROOT / "databricks.yml").read_text())["targets"]
    for name, given in (("existing", EXISTING), ("job", JOB), ("serverless", SERVERLESS))
]


def rendered(target: str, given: Mapping[str, Any], root: Path = ROOT, own_catalog: str = "main") -> Target:
    return Target(target, lambda: User(USER), given, root, lambda: own_catalog)


@pytest.mark.parametrize(("target", "compute", "given"), CASES, ids=[f"{t}-{n}" for t, n, _ in CASES])
def test_a_targets_jobs_are_those_that_the_bundle_makes(
    target: str, compute: str, given: Mapping[str, Any]
) -> None:
    recorded = json.loads(RECORDING.read_text())["targets"][f"{target}-{compute}"]

    assert {key: in_order(job) for key, job in rendered(target, given).jobs().items()} == recorded


def in_order(job: dict[str, Any]) -> dict[str, Any]:
    """A job with its tasks in the order of their keys, as the bundle puts them."""
    return job | {"tasks": sorted(job["tasks"], key=lambda task: str(task["task_key"]))}


def test_two_people_in_one_workspace_share_nothing() -> None:
    ada, bob = (
        Target("dev", lambda name=name: User(f"{name}@example.com"), EXISTING | {"catalog": "main"})
        for name in ("ada.lovelace", "bob")
    )

    for name in ("workspace_folder", "model_name", "output_table", "experiment", "cluster_name"):
        assert ada.text(name) != bob.text(name)
    names = {job["name"] for target in (ada, bob) for job in target.jobs().values()}
    assert len(names) == 2 * len(ada.job_keys())
    assert "[dev ada_lovelace] diabetes_model_training" in names


def test_a_catalog_that_nobody_names_is_the_workspaces_own() -> None:
    own = rendered("dev", EXISTING, own_catalog="adb_1234")

    assert own.text("model_name").startswith("adb_1234.")
    assert rendered("prod", EXISTING, own_catalog="adb_1234").text("catalog") == "prod"
    assert rendered("dev", EXISTING | {"catalog": "trial"}, own_catalog="").text("catalog") == "trial"
    with pytest.raises(DeploymentError, match="no catalog of its own; name one with CATALOG="):
        rendered("dev", EXISTING, own_catalog="").text("output_table")


def test_targets_differ_where_they_must() -> None:
    staging, prod = (rendered(name, EXISTING) for name in ("staging", "prod"))

    for name in ("workspace_folder", "catalog", "data_root", "name_prefix"):
        assert staging.text(name) != prod.text(name)
    for target, status in ((staging, "PAUSED"), (prod, "UNPAUSED")):
        schedules = [job["schedule"] for job in target.jobs().values() if "schedule" in job]
        assert {schedule["pause_status"] for schedule in schedules} == {status}


def test_every_job_runs_its_notebook_from_the_folder_of_the_version() -> None:
    jobs = rendered("staging", EXISTING).jobs()

    folder = "/Workspace/Shared/azure-databricks-mlops-mlflow/staging/code/deployments/0.1.0+g1a2b3c4"
    assert {key: job["tasks"][0]["notebook_task"]["notebook_path"] for key, job in jobs.items()} == {
        "diabetes_batch_scoring": f"{folder}/ml_ops/orchestrator/diabetes_orchestrator_batch_score",
        "diabetes_monitoring": f"{folder}/ml_ops/orchestrator/diabetes_orchestrator_monitor",
        "diabetes_model_deployment": f"{folder}/ml_ops/orchestrator/diabetes_orchestrator_deploy",
        "diabetes_model_training": f"{folder}/ml_ops/orchestrator/diabetes_orchestrator_train",
    }
    assert "${" not in json.dumps(jobs)


def test_parameters_of_a_job_are_the_widgets_of_its_notebook() -> None:
    for job in rendered("staging", EXISTING).jobs().values():
        of_the_job = [parameter["name"] for parameter in job.get("parameters", [])]
        for task in (each["notebook_task"] for each in job["tasks"]):
            name = Path(task["notebook_path"]).name
            source = (ROOT / "ml_ops" / "orchestrator" / f"{name}.py").read_text()
            widgets = re.findall(r'dbutils\.widgets\.\w+\(\s*"(\w+)",', source)

            assert sorted([*task["base_parameters"], *of_the_job]) == sorted(widgets)


# Where a target's own variables differ from the defaults of the jobs, and what has none.
OF_THE_TARGET = ("data_root", "secret_scope", "experiment_name", "model_name", "output_table", "git_commit")
# What the job of a model is told of its version, and what only a run knows.
OF_THE_VERSION = {"model_name": "a.b.c", "model_version": "3"}
OF_THE_RUN = ("task", "job_run_id")
JOBS: dict[str, tuple[type, tuple[str, ...]]] = {
    "diabetes_model_training": (TrainingSettings, ("training_data", *OF_THE_TARGET)),
    "diabetes_batch_scoring": (ScoringSettings, ("input_data", *OF_THE_TARGET)),
    "diabetes_monitoring": (MonitoringSettings, OF_THE_TARGET),
    "diabetes_model_deployment": (DeploymentSettings, (*OF_THE_TARGET, *OF_THE_RUN)),
}


@pytest.mark.parametrize("key", JOBS)
def test_what_a_job_hands_over_is_the_default_of_its_settings(key: str) -> None:
    settings, of_the_target = JOBS[key]
    given = rendered("staging", EXISTING).jobs()[key]["tasks"][0]["notebook_task"]["base_parameters"]
    needed = {name: value for name, value in given.items() if name in of_the_target}
    needed = {name: value for name, value in needed.items() if name != "task"}
    needed |= {name: value for name, value in OF_THE_VERSION.items() if name not in given}

    assert set(of_the_target) & given.keys() and given.keys() - set(of_the_target)
    for name, value in ((name, value) for name, value in given.items() if name not in OF_THE_RUN):
        assert settings.from_widgets(needed | {name: value}, PROBLEM) == settings.from_widgets(
            needed, PROBLEM
        ), name


def test_whom_a_target_lets_run_its_jobs_is_in_each(tmp_path: Path) -> None:
    definition = sample()
    definition["targets"]["dev"]["run_as"] = {"service_principal_name": "1-2-3"}

    jobs = rendered("dev", {}, write(tmp_path, definition)).jobs()

    assert jobs["train"]["run_as"] == {"service_principal_name": "1-2-3"}


@pytest.mark.parametrize(
    ("run_as", "given", "user"),
    [
        (None, "", ""),
        ({"service_principal_name": "1-2-3"}, "", "1-2-3"),
        ({"user_name": "jo@example.com"}, "", "jo@example.com"),
        ({"service_principal_name": "1-2-3"}, "4-5-6", "4-5-6"),
    ],
)
def test_a_cluster_is_for_whom_the_target_names(
    tmp_path: Path, run_as: dict[str, str] | None, given: str, user: str
) -> None:
    definition = sample()
    definition["variables"]["single_user_name"] = {"default": given}
    definition["targets"]["dev"] |= {"run_as": run_as} if run_as else {}

    assert rendered("dev", {}, write(tmp_path, definition)).cluster_user == user


def sample() -> dict[str, Any]:
    """A small databricks.yml."""
    return {
        "bundle": {"name": "project"},
        "include": ["jobs/*.yml"],
        "workspace": {"file_path": "/Workspace/x"},
        "variables": {"name_prefix": {"default": ""}, "catalog": {"default": "main"}},
        "targets": {"dev": {"variables": {}}},
    }


def write(folder: Path, definition: Mapping[str, Any], notebook: str = "../train.py") -> Path:
    """A folder with this databricks.yml and one job."""
    (folder / "jobs").mkdir()
    (folder / "train.py").touch()
    (folder / "databricks.yml").write_text(yaml.safe_dump(dict(definition)))
    task = {"task_key": "a", "notebook_task": {"notebook_path": notebook}}
    job = {"name": "${var.name_prefix}train", "tasks": [task]}
    (folder / "jobs" / "a.yml").write_text(yaml.safe_dump({"resources": {"jobs": {"train": job}}}))
    return folder


def test_an_unknown_target_is_named_with_those_that_exist() -> None:
    with pytest.raises(DeploymentError, match=r"no target 'test' .*'dev', 'staging', 'prod'\]"):
        rendered("test", {})


def test_a_variable_without_a_value_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, sample())

    with pytest.raises(DeploymentError, match=r"\$\{var.schema\} has no value; known are \['catalog'"):
        rendered("dev", {"catalog": "${var.schema}"}, root).text("catalog")


def test_variables_that_refer_to_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, sample())

    with pytest.raises(DeploymentError, match=r"var.catalog -> var.name_prefix -> var.catalog goes round"):
        rendered("dev", {"catalog": "${var.name_prefix}", "name_prefix": "${var.catalog}x"}, root).text(
            "catalog"
        )


def test_a_job_that_names_no_notebook_of_the_project_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, sample(), notebook="../gone.py")

    with pytest.raises(DeploymentError, match=r"a\.yml: there is no notebook \.\./gone\.py"):
        rendered("dev", {}, root).jobs()


def test_a_definition_that_is_no_yaml_ends_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "databricks.yml").write_text("targets: [")

    with pytest.raises(DeploymentError, match=r"databricks\.yml is no YAML"):
        rendered("dev", {}, tmp_path)


def test_short_names_are_those_of_the_program() -> None:
    assert User("Ada.M-Lovelace+x@example.com").short_name == "ada_m_lovelace_x"
    assert User("bob").short_name == "bob"


@pytest.mark.parametrize(
    ("user", "prefix"),
    [
        (User("11111111-2222-3333-4444-555555555555", "ML Ops (dev)"), "[dev ml_ops_dev] "),
        (User("11111111-2222-3333-4444-555555555555"), "[dev 11111111_2222_3333_4444_555555555555] "),
        (User("jo.public@example.com", "Jo Q. Public"), "[dev jo_public] "),
    ],
)
def test_a_service_principal_has_the_short_name_that_the_program_gives_it(user: User, prefix: str) -> None:
    assert Target("dev", lambda: user).text("name_prefix") == prefix
