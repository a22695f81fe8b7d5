"""The model is linked to its deployment job by one setting, and an approved version lets that job go on."""

from typing import Any

import pytest
from deployment.databricks_cli import DatabricksCli
from deployment.deployment_job import MODELS, find_linked_job, go_on, require_model_to_link, settle_link
from deployment.errors import DeploymentError, RunFailedError
from deployment.targets import Target
from deployment.workspace import User
from rest_server import Server, listed_job

NAME, TITLE = "prod.diabetes.diabetes", "diabetes_model_deployment"
UPDATE, PERMISSIONS = f"{MODELS}/update", "/api/2.0/permissions/jobs/3"
LIST, GET, REPAIR = (f"/api/2.2/jobs/runs/{name}" for name in ("list", "get", "repair"))
RUN_NOW = "/api/2.2/jobs/run-now"


def target_of(promotion: str, **more: str) -> Target:
    return Target("prod", lambda: User("ada@example.com"), {"promotion": promotion} | more)


def linked_to(server: Server, job_id: str) -> None:
    """A workspace with the job and a model that is linked to a job."""
    server.replies |= {
        "/api/2.1/jobs/list": {"jobs": [listed_job(3, TITLE)]},
        f"{MODELS}/get": {"registered_model": {"name": NAME, "deployment_job_id": job_id}},
        UPDATE: {},
        PERMISSIONS: {},
    }


def sent_to(server: Server, path: str) -> list[dict[str, Any]]:
    return [body for called, body in server.received if called == path]


def forbid() -> None:
    raise PermissionError


def test_the_model_is_linked_once(server: Server, cli: DatabricksCli, capsys) -> None:
    linked_to(server, "")
    settle_link(cli.workspace, target_of("deployment-job"))
    linked_to(server, "3")
    settle_link(cli.workspace, target_of("deployment-job"))

    assert sent_to(server, UPDATE) == [{"name": NAME, "deployment_job_id": "3"}]
    said = f"Model '{NAME}' is linked to job '{TITLE}': each new version starts it"
    assert capsys.readouterr().out.splitlines() == [said] * 2
    assert sent_to(server, PERMISSIONS) == []  # whoever deploys owns both


def test_the_owner_of_the_model_may_run_the_job(server: Server, cli: DatabricksCli) -> None:
    linked_to(server, "")
    as_principal = target_of("deployment-job")
    as_principal.run_as = {"service_principal_name": "1-2-3"}

    settle_link(cli.workspace, target_of("deployment-job", model_owner="promoters"))
    settle_link(cli.workspace, as_principal)

    granted = [body["access_control_list"] for body in sent_to(server, PERMISSIONS) if body]
    assert granted == [
        [{"group_name": "promoters", "permission_level": "CAN_MANAGE_RUN"}],
        [{"service_principal_name": "1-2-3", "permission_level": "CAN_MANAGE_RUN"}],
    ]


@pytest.mark.parametrize("level", ["IS_OWNER", "CAN_MANAGE", "CAN_MANAGE_RUN"])
def test_who_may_run_it_already_keeps_that_level(server: Server, cli: DatabricksCli, level: str) -> None:
    linked_to(server, "")
    entry = {"group_name": "promoters", "all_permissions": [{"permission_level": level}]}
    server.replies[PERMISSIONS] = {"access_control_list": [entry]}

    settle_link(cli.workspace, target_of("deployment-job", model_owner="promoters"))

    assert [body for body in sent_to(server, PERMISSIONS) if body] == []


@pytest.mark.parametrize(("linked", "updates"), [("3", [{"name": NAME, "deployment_job_id": ""}]), ("4", [])])
def test_another_value_unlinks_the_own_job_and_no_other(
    server: Server, cli: DatabricksCli, linked: str, updates: list[dict[str, str]]
) -> None:
    linked_to(server, linked)

    settle_link(cli.workspace, target_of("manual"))

    assert sent_to(server, UPDATE) == updates


def test_who_does_not_use_it_needs_no_model_and_no_right(server: Server, cli: DatabricksCli, capsys) -> None:
    settle_link(cli.workspace, target_of("automatic"))
    silent = capsys.readouterr().out
    server.replies[f"{MODELS}/get"] = forbid
    settle_link(cli.workspace, target_of("automatic"))

    assert silent == ""
    assert f"Note: it was not looked whether {NAME} is linked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (UPDATE, rf"you may not link model '{NAME}' to job 3: no USE SCHEMA\. It takes MANAGE on the model"),
        (
            PERMISSIONS,
            r"you may not give 'promoters', the owner of the model, CAN_MANAGE_RUN on job 3: no USE",
        ),
    ],
)
def test_a_missing_right_is_named(server: Server, cli: DatabricksCli, path: str, said: str) -> None:
    linked_to(server, "")
    server.replies[path] = forbid

    with pytest.raises(DeploymentError, match=said):
        settle_link(cli.workspace, target_of("deployment-job", model_owner="promoters"))


def test_a_model_that_is_not_there_is_made_by_init(server: Server, cli: DatabricksCli) -> None:
    assert find_linked_job(cli.workspace, NAME) is None
    with pytest.raises(DeploymentError, match=rf"no model '{NAME}' to link .*`make databricks-init`"):
        require_model_to_link(cli.workspace, target_of("deployment-job"))
    require_model_to_link(cli.workspace, target_of("manual"))


def run_of(
    version: str, run_id: int, life_cycle: str = "TERMINATED", result: str = "FAILED"
) -> dict[str, Any]:
    parameters = {"model_name": NAME, "model_version": version}
    return {
        "run_id": run_id,
        "run_page_url": f"http://page/{run_id}",
        "state": {"life_cycle_state": life_cycle, "result_state": result},
        "job_parameters": [{"name": name, "value": value} for name, value in parameters.items()],
        "tasks": [
            {"run_id": run_id + 1, "task_key": "approval", "state": {"result_state": result}},
            {"run_id": run_id + 2, "task_key": "deploy", "state": {"result_state": "UPSTREAM_FAILED"}},
        ],
    }


def test_a_version_that_met_another_champion_meets_the_gate_again(server: Server, cli: DatabricksCli) -> None:
    run = run_of("2", 20)
    run["tasks"] = [
        {"run_id": 21, "task_key": "deploy", "state": {"result_state": "UPSTREAM_FAILED"}},
        {"run_id": 22, "task_key": "deploy", "state": {"result_state": "FAILED"}},
    ]
    server.replies |= {LIST: {"runs": [run]}, GET: run, REPAIR: {"repair_id": 71}}

    go_on(cli, "3", NAME, "2", wait=False)

    assert sent_to(server, REPAIR) == [
        {"run_id": 20, "rerun_tasks": ["evaluate"], "rerun_dependent_tasks": True}
    ]


def test_the_newest_run_of_the_version_is_repaired_and_followed(
    server: Server, cli: DatabricksCli, capsys
) -> None:
    history = [{"type": "ORIGINAL"}, {"type": "REPAIR", "id": 70}]
    server.replies |= {
        LIST: [
            {"runs": [run_of("3", 30)], "next_page_token": "more"},
            {"runs": [run_of("2", 20), run_of("2", 10)]},
        ],
        GET: [{"repair_history": history}, run_of("2", 20), run_of("2", 20, result="SUCCESS")],
        REPAIR: {"repair_id": 71},
    }

    go_on(cli, "3", NAME, "2", wait=True)

    wanted = {"rerun_all_failed_tasks": True, "rerun_dependent_tasks": True, "latest_repair_id": 70}
    assert sent_to(server, REPAIR) == [{"run_id": 20} | wanted]
    said = capsys.readouterr().out
    assert "Run 20 of its deployment job goes on: http://page/20" in said and "SUCCESS" in said


def test_a_version_without_a_run_or_with_a_good_one_gets_a_new_run(
    server: Server, cli: DatabricksCli
) -> None:
    server.replies |= {RUN_NOW: {"run_id": 40}, GET: run_of("2", 40)}
    for runs in ([run_of("1", 10)], [run_of("2", 20, result="SUCCESS")]):
        server.replies[LIST] = [{"runs": runs, "next_page_token": ""}]  # some workspaces end a list so
        go_on(cli, "3", NAME, "2", wait=False)

    parameters = {"model_name": NAME, "model_version": "2"}
    assert sent_to(server, RUN_NOW) == [{"job_id": 3, "job_parameters": parameters}] * 2


def test_a_run_that_is_under_way_finds_the_approval_itself(
    server: Server, cli: DatabricksCli, capsys
) -> None:
    running = run_of("2", 20, "RUNNING", "")
    server.replies |= {LIST: {"runs": [running]}, GET: running}

    go_on(cli, "3", NAME, "2", wait=False)

    said = capsys.readouterr().out
    assert "is under way" in said and said.endswith("if it fails, give this command again\n")


def test_a_run_that_fails_says_so_with_the_error_of_its_task(server: Server, cli: DatabricksCli) -> None:
    server.replies |= {
        LIST: {"runs": [run_of("2", 20)]},
        GET: run_of("2", 20),
        REPAIR: {"repair_id": 71},
        "/api/2.1/jobs/runs/get-output": {"error": "ChampionChangedError: of another"},
    }

    with pytest.raises(RunFailedError, match="ChampionChangedError: of another"):
        go_on(cli, "3", NAME, "2", wait=True)


def test_who_may_not_repair_is_told_that_it_is_approved(server: Server, cli: DatabricksCli) -> None:
    server.replies |= {LIST: {"runs": [run_of("2", 20)]}, GET: run_of("2", 20), REPAIR: forbid}

    with pytest.raises(
        DeploymentError, match=r"version 2 is approved, but you may not .* CAN_MANAGE_RUN on the job"
    ):
        go_on(cli, "3", NAME, "2", wait=True)
