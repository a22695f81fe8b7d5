"""Who may do what with a job, and whom its failures call."""

from typing import Any

import pytest
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.job_access import check_access, ensure_permissions, with_owner
from deployment.workspace import User
from rest_server import Server

READERS = {"group_name": "readers", "level": "CAN_VIEW"}
OWNER = {"user_name": "ada@example.com", "level": "IS_OWNER"}
PATH = "/api/2.0/permissions/jobs/3"


def as_told(*entries: dict[str, str]) -> dict[str, Any]:
    """What the workspace answers: what was given, and what administrators have from above."""
    above = {
        "group_name": "admins",
        "all_permissions": [{"permission_level": "CAN_MANAGE", "inherited": True}],
    }
    given = [
        {name: value for name, value in each.items() if name != "level"}
        | {"all_permissions": [{"permission_level": each["level"], "inherited": False}]}
        for each in entries
    ]
    return {"access_control_list": [*given, above]}


@pytest.mark.parametrize(
    ("permissions", "message"),
    [
        ("readers", "job_permissions is a list, not 'readers'"),
        (["readers"], "job_permissions has 'readers'; each of it names one of"),
        ([{"level": "CAN_VIEW"}], "names one of"),
        ([READERS | {"user_name": "jo"}], "names one of"),
        (
            [READERS | {"level": "CAN_READ"}],
            r"as `level` one of \['CAN_VIEW', 'CAN_MANAGE_RUN', 'CAN_MANAGE'\]",
        ),
        ([READERS | {"level": "IS_OWNER"}], "as `level` one of"),
        ([READERS | {"group_name": ""}], "names one of"),
    ],
)
def test_permissions_that_no_job_can_have_are_refused_by_what_they_say(
    permissions: Any, message: str
) -> None:
    with pytest.raises(DeploymentError, match=message):
        check_access(permissions, [])


@pytest.mark.parametrize(
    ("webhooks", "message"),
    [
        (
            [{"url": "https://x"}],
            r"notify_webhooks has \{'url': 'https://x'\}; each of it names a notification",
        ),
        ([{"id": "https://x"}], "names a notification destination"),
        ([{"id": str(number)} for number in range(4)], "has 4 entries; a job calls 3 at most"),
    ],
)
def test_webhooks_that_no_job_can_call_are_refused(webhooks: Any, message: str) -> None:
    check_access([READERS], [{"id": "0481e838-0a59-4eff-9541-a4ca6f149574"}])

    with pytest.raises(DeploymentError, match=message):
        check_access([], webhooks)


def test_a_job_belongs_to_who_deploys_it_as_soon_as_others_have_rights() -> None:
    ada, robot = User("ada@example.com"), User("11111111-2222-3333-4444-555555555555")
    also_ada = {"user_name": "ada@example.com", "level": "CAN_MANAGE"}

    assert with_owner([], ada) == []
    assert with_owner([also_ada, READERS], ada) == [READERS, OWNER]
    assert with_owner([READERS], robot)[1] == {"service_principal_name": robot.name, "level": "IS_OWNER"}


def test_what_a_job_has_already_is_not_given_again(server: Server, cli: DatabricksCli) -> None:
    server.replies[PATH] = as_told(OWNER, READERS)

    assert not ensure_permissions(cli.workspace, 3, [READERS, OWNER])
    assert not ensure_permissions(cli.workspace, 3, [])
    assert server.received == [(PATH, {})]


def test_who_is_not_named_any_more_loses_what_they_had(server: Server, cli: DatabricksCli) -> None:
    server.replies[PATH] = as_told(OWNER, READERS, {"group_name": "left", "level": "CAN_MANAGE"})

    assert ensure_permissions(cli.workspace, 3, [READERS, OWNER])

    sent = server.received[-1][1]["access_control_list"]
    assert sent == [
        {"group_name": "readers", "permission_level": "CAN_VIEW"},
        {"user_name": "ada@example.com", "permission_level": "IS_OWNER"},
    ]
