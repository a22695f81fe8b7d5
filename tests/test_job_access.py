"""Groups that may see or run the jobs, and destinations that their failures call, by either command line."""

import json

import pytest
import requests
from databricks.sdk.service.jobs import Job
from deployment.command_lines import COMMAND_LINES
from test_deployments import Team, make_team

READERS = {"group_name": "readers", "level": "CAN_VIEW"}
RUNNERS = {"group_name": "runners", "level": "CAN_MANAGE_RUN"}
JOBS = 4
WEBHOOK = "0481e838-0a59-4eff-9541-a4ca6f149574"


@pytest.fixture(scope="module", params=COMMAND_LINES)
def team(request: pytest.FixtureRequest, demo, tmp_path_factory: pytest.TempPathFactory) -> Team:
    return make_team(request, demo, tmp_path_factory, "access")


def jobs(team: Team) -> list[Job]:
    listed = team.workspace.client.jobs.list(expand_tasks=True)
    return [job for job in listed if job.settings.name.startswith(f"[access {team.target}] ")]


def rights(team: Team) -> list[dict[str, str]]:
    """Who has which level on each of the jobs."""
    permissions = team.workspace.client.permissions
    return [
        {
            entry.group_name or entry.user_name: entry.all_permissions[0].permission_level.value
            for entry in permissions.get("jobs", str(job.job_id)).access_control_list
        }
        for job in jobs(team)
    ]


def permit(*entries: dict[str, str]) -> str:
    return f"JOB_PERMISSIONS={json.dumps(entries)}"


def test_groups_get_their_level_on_every_job_and_lose_it_again(team: Team) -> None:
    owner = {"local.user@localhost": "IS_OWNER"}

    version = team.deploy("permitted", permit(READERS, RUNNERS))
    assert rights(team) == [owner | {"readers": "CAN_VIEW", "runners": "CAN_MANAGE_RUN"}] * JOBS
    if team.cli.notebooks_alone:
        assert "permissions now: readers CAN_VIEW, runners CAN_MANAGE_RUN, local.user@" in team.printed

    team.make("deploy", permit(READERS, RUNNERS))
    assert "permissions now" not in team.printed

    team.make("rollback-code", f"VERSION={version}")
    assert rights(team) == [owner | {"readers": "CAN_VIEW", "runners": "CAN_MANAGE_RUN"}] * JOBS

    team.make("deploy", permit(READERS))
    assert rights(team) == [owner | {"readers": "CAN_VIEW"}] * JOBS

    team.make("deploy")
    assert rights(team) == [owner | {"readers": "CAN_VIEW"}] * JOBS  # the variable is not there


def test_a_failure_of_every_job_calls_the_destinations(team: Team) -> None:
    team.deploy("told", f"NOTIFY_WEBHOOKS={WEBHOOK}")

    deployed = jobs(team)
    assert [[each.id for each in job.settings.webhook_notifications.on_failure] for job in deployed] == [
        [WEBHOOK]
    ] * JOBS
    profile = team.workspace.profile
    page = requests.get(
        f"{profile['host']}/jobs/{deployed[0].job_id}",
        headers={"Authorization": f"Bearer {profile['token']}"},
        timeout=10,
    )
    assert f"Notifications, not sent here</dt><dd>on failure: {WEBHOOK}</dd>" in page.text

    team.make("deploy")
    undone = f'Note: the jobs were deployed with NOTIFY_WEBHOOKS=[{{"id": "{WEBHOOK}"}}]; this deployment'
    assert f"{undone} gives them NOTIFY_WEBHOOKS=, as databricks.yml has it" in team.printed
    assert not any(job.settings.webhook_notifications.on_failure for job in jobs(team))


def test_a_level_that_jobs_do_not_have_is_told_before_anything_is_there(team: Team) -> None:
    told = team.make("deploy", permit(READERS | {"level": "CAN_READ"}), ok=False)

    assert (
        "Error: job_permissions has {'group_name': 'readers', 'level': 'CAN_READ'}; each of it names" in told
    )
    assert "Deploying" not in told
