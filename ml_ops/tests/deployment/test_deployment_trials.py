"""What a trial may be called, and that nothing else than the trial is removed."""

import json
from pathlib import Path
from typing import Any

import pytest
from deployment import __main__
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.settings import ROOT
from deployment.targets import Target
from deployment.trials import check_names, destroy, every_target
from deployment.workspace import User
from diabetes_mlops.data.delta_tables import STAGED
from diabetes_mlops.data.scored_tables import ROWS, RUNS
from rest_server import Server, listed_job

NAMES = {"name_prefix": "[pr 7] ", "schema": "pr_7", "workspace_folder": "/Shared/pull_requests/7"}
CATALOG = "/api/2.1/unity-catalog"
METASTORE = f"{CATALOG}/current-metastore-assignment"
ME = "/api/2.0/preview/scim/v2/Me"
SHARED = "/Shared/azure-databricks-mlops-mlflow"


def named(target: str = "staging", **given: Any) -> Target:
    return Target(target, lambda: User("ada@example.com"), given, own_catalog=lambda: "main")


SCHEMA = named().text("schema")


def targets(server: Server, cli: DatabricksCli, trial: Target) -> list[Target]:
    """All of databricks.yml, as the workspace of ada has them."""
    server.replies |= {METASTORE: {"default_catalog_name": "main"}, ME: {"userName": "ada@example.com"}}
    return every_target(cli.workspace, trial)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            dict.fromkeys(NAMES),
            r"\['name_prefix', 'schema', 'workspace_folder'\] are those of target 'staging'",
        ),
        ({"schema": ""}, r"\['schema'\] are those of .* make destroy-trial TARGET=staging NAME_PREFIX="),
        ({"schema": SCHEMA.upper()}, r"\['schema'\] are those of target 'staging' itself"),
        ({"catalog": "Prod", "schema": SCHEMA.title()}, r"\['schema'\] are those of target 'staging' itself"),
        (
            {"target": "dev", "catalog": "Prod", "schema": SCHEMA.upper()},
            f"schema 'Prod.{SCHEMA.upper()}' is that of target 'prod'",
        ),
        (
            {"catalog": "MAIN", "schema": f"{SCHEMA}_Ada"},
            f"schema 'MAIN.{SCHEMA}_Ada' is that of target 'dev'",
        ),
        ({"name_prefix": "[staging] "}, r"\['name_prefix'\] are those of"),
        ({"name_prefix": "[dev ada] "}, r"name_prefix '\[dev ada\] ' is that of target 'dev'"),
        (
            {"output_table": named().text("output_table").upper()},
            "output_table 'STAGING.* of target 'staging'",
        ),
        (
            {"output_table": f"{named('prod').text('output_table')}_rejected"},
            "output_table .* of target 'prod'",
        ),
        (
            {"model_name": named("prod").text("model_name").title()},
            "model_name '.*' is that of target 'prod'",
        ),
    ],
)
def test_a_name_of_a_target_is_never_taken_for_that_of_a_trial(
    server: Server, cli: DatabricksCli, given: dict[str, Any], message: str
) -> None:
    wanted = {name: value for name, value in (NAMES | given).items() if value is not None}
    every = targets(server, cli, named())
    check_names(named(**NAMES), every)

    with pytest.raises(DeploymentError, match=message):
        check_names(named(**wanted), every)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (f"{SHARED}/staging/", rf"{SHARED}/staging overlaps with {SHARED}/staging of target 'staging'"),
        (
            f"{SHARED}/staging/code",
            rf"{SHARED}/staging/code overlaps with {SHARED}/staging of target",
        ),
        (
            f"{SHARED}/staging/try",
            rf"{SHARED}/staging/try overlaps with {SHARED}/staging of target 'staging'",
        ),
        (f"/Workspace{SHARED}/staging", rf" {SHARED}/staging overlaps with"),
        (f"/{SHARED}/x/../Staging", rf"{SHARED}/Staging overlaps with"),
        (f"{SHARED}/prod", rf"{SHARED}/prod overlaps with {SHARED}/prod of target 'prod'"),
        (f"{SHARED}/prod/code/deployments", rf"deployments overlaps with {SHARED}/prod of target 'prod'"),
        (f"/Users/ada@example.com{SHARED[7:]}/try", "overlaps with /Users/ada@example.com.* of target 'dev'"),
        ("/Users/ada@example.com", "/Users/ada@example.com is not one of a trial, which is 3 levels"),
        ("/Users", "/Users is not one of a trial"),
        ("/Workspace", "workspace_folder / is not one of a trial"),
        (SHARED, f"{SHARED} is not one of a trial"),
    ],
)
def test_a_folder_that_overlaps_with_that_of_a_target_is_refused(
    server: Server, cli: DatabricksCli, folder: str, message: str
) -> None:
    trial = named(**NAMES | {"workspace_folder": folder})

    with pytest.raises(DeploymentError, match=message):
        check_names(trial, targets(server, cli, trial))


def test_a_trial_may_stand_beside_the_folders_of_the_targets(server: Server, cli: DatabricksCli) -> None:
    trial = named(**NAMES | {"workspace_folder": f"{SHARED}/pull_requests/7"})

    check_names(trial, targets(server, cli, trial))


def test_a_workspace_without_a_catalog_of_its_own_has_trials_of_staging_too(
    server: Server, cli: DatabricksCli
) -> None:
    server.replies[ME] = {"userName": "ada@example.com"}
    trial = named(**NAMES)
    check_names(trial, every_target(cli.workspace, trial))

    with pytest.raises(DeploymentError, match=f"schema 'staging.{SCHEMA}_ada' is that of target 'dev'"):
        check_names(named(**NAMES | {"schema": f"{SCHEMA}_ada"}), every_target(cli.workspace, trial))


def test_a_trial_of_a_target_in_the_workspaces_own_catalog_is_destroyed(
    server: Server, cli: DatabricksCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies |= {
        METASTORE: {"default_catalog_name": "main"},
        ME: {"userName": "ada@example.com"},
        "/api/2.1/jobs/list": {},
        f"{CATALOG}/schemas/main.pr_7": {},
    }
    monkeypatch.setattr(__main__, "_workspace", lambda: cli.workspace)
    given = {name.upper(): value for name, value in NAMES.items()}
    for name, value in (given | {"WORKSPACE": "local", "TARGET": "dev"}).items():
        monkeypatch.setenv(name, value)

    assert __main__.main(["destroy-trial"]) == 0
    assert f"{CATALOG}/schemas/main.pr_7" in [path for path, _ in server.received]


TABLE = named(**NAMES).text("output_table").rpartition(".")[2]


def test_tables_and_jobs_of_others_in_the_same_places_stay(server: Server, cli: DatabricksCli) -> None:
    own = [TABLE, *(f"{TABLE}{end}" for end in ("_rejected", ROWS, RUNS, f"{STAGED}20261125_0a1b"))]
    others = ["of_somebody_else", f"{TABLE}_by_bo", f"{TABLE}_rejected_by_bo", f"{TABLE}_staged_by_bo"]
    server.replies |= {
        "/api/2.1/jobs/list": {"jobs": [listed_job(3, "[pr 71] train")]},
        f"{CATALOG}/tables": [
            {"tables": [{"name": name} for name in (*others, *own[:1])], "next_page_token": "more"},
            {"next_page_token": "and more"},
            {"tables": [{"name": name} for name in own[1:]]},
        ],
        **{f"{CATALOG}/tables/staging.pr_7.{name}": {} for name in (*own, *others)},
    }

    destroy(cli.workspace, named(**NAMES))

    called = [path for path, _ in server.received]
    assert [path for path in called if path.startswith(f"{CATALOG}/tables/")] == [
        f"{CATALOG}/tables/staging.pr_7.{name}" for name in own
    ]
    assert "/api/2.1/jobs/delete" not in called and "/api/2.0/workspace/delete" not in called


def forbid() -> None:
    raise PermissionError


def test_what_may_not_be_deleted_keeps_nothing_else_and_is_named(server: Server, cli: DatabricksCli) -> None:
    trial = named(**NAMES)
    held = {f"{CATALOG}/models/{trial.text('model_name')}": forbid, f"{CATALOG}/schemas/staging.pr_7": forbid}
    table = f"{CATALOG}/tables/staging.pr_7.{TABLE}_rejected"
    server.replies |= held | {
        "/api/2.1/jobs/list": {},
        f"{CATALOG}/tables": {"tables": [{"name": TABLE}, {"name": f"{TABLE}_rejected"}]},
        f"{CATALOG}/tables/staging.pr_7.{TABLE}": forbid,
        table: {},
        "/api/2.0/workspace/get-status": {"object_type": "DIRECTORY"},
        "/api/2.0/workspace/delete": {},
    }

    with pytest.raises(DeploymentError, match="not all of the trial could be removed") as refused:
        destroy(cli.workspace, trial)

    assert all(path in str(refused.value) for path in (*held, f"{TABLE}: HTTP 403"))
    assert table in [path for path, _ in server.received]
    deleted = {"path": NAMES["workspace_folder"], "recursive": True}
    assert server.body_sent_to("/api/2.0/workspace/delete") == deleted


@pytest.mark.parametrize(("last", "is_gone"), [(NAMES, True), ({}, False)])
def test_what_the_program_keeps_here_goes_when_its_last_deployment_was_the_trials(
    server: Server, cli: DatabricksCli, tmp_path: Path, last: dict[str, str], is_gone: bool
) -> None:
    for name in ("databricks.yml", "ml_ops/deployment/databricks"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    kept = tmp_path / ".databricks" / "bundle" / "staging"
    kept.mkdir(parents=True)
    (kept / "variable-overrides.json").write_text(json.dumps({"version": "0.1.0"} | last))
    server.replies["/api/2.1/jobs/list"] = {}

    destroy(cli.workspace, Target("staging", lambda: User("ada@example.com"), NAMES, tmp_path))

    assert kept.exists() != is_gone
