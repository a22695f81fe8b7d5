"""What a trial may be called, and that nothing else than the trial is removed."""

from typing import Any

import pytest
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.targets import Target
from deployment.trials import check_names, destroy
from deployment.workspace import User
from rest_server import Server, listed_job

NAMES = {"name_prefix": "[pr 7] ", "schema": "pr_7", "workspace_folder": "/Shared/pull_requests/7"}
CATALOG = "/api/2.1/unity-catalog"


def named(**given: Any) -> Target:
    return Target("staging", lambda: User("ada@example.com"), given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"\['name_prefix', 'schema', 'workspace_folder'\] are those of target 'staging' itself"),
        (
            NAMES | {"schema": ""},
            r"\['schema'\] are those of .* make destroy-trial TARGET=staging NAME_PREFIX=",
        ),
        (NAMES | {"name_prefix": "[staging] "}, r"\['name_prefix'\] are those of"),
        (NAMES | {"workspace_folder": "/Shared"}, "/Shared has the folder of target 'staging' in it"),
        (
            NAMES | {"output_table": named().text("output_table")},
            "output_table .* is that of target 'staging'",
        ),
        (
            NAMES | {"model_name": named().text("model_name")},
            "model_name .* is that of target 'staging' itself",
        ),
    ],
)
def test_a_target_itself_is_never_taken_for_a_trial(given: dict[str, str], message: str) -> None:
    check_names(named(**NAMES), named())

    with pytest.raises(DeploymentError, match=message):
        check_names(named(**given), named())


def test_tables_and_jobs_of_others_in_the_same_places_stay(server: Server, cli: DatabricksCli) -> None:
    table = named(**NAMES).text("output_table").rpartition(".")[2]
    tables = [f"{table}", f"{table}_rejected", "of_somebody_else"]
    server.replies |= {
        "/api/2.1/jobs/list": {"jobs": [listed_job(3, "[pr 71] train")]},
        f"{CATALOG}/tables": {"tables": [{"name": name} for name in tables]},
        **{f"{CATALOG}/tables/staging.pr_7.{name}": {} for name in tables},
    }

    destroy(cli.workspace, named(**NAMES))

    called = [path for path, _ in server.received]
    assert [path for path in called if path.startswith(f"{CATALOG}/tables/")] == [
        f"{CATALOG}/tables/staging.pr_7.{name}" for name in tables[:2]
    ]
    assert "/api/2.1/jobs/delete" not in called and "/api/2.0/workspace/delete" not in called
