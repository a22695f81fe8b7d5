"""Who beside its owner sees, starts or changes a job, and whom its failures call."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from deployment.errors import DeploymentError
from deployment.workspace import User, Workspace, is_service_principal

OWNER = "IS_OWNER"
LEVELS = ("CAN_VIEW", "CAN_MANAGE_RUN", "CAN_MANAGE")
PRINCIPALS = ("group_name", "user_name", "service_principal_name")
MOST_WEBHOOKS = 3
_ID = re.compile(r"[\w-]+")

Entry = Mapping[str, str]


def check_access(permissions: Any, webhooks: Any) -> None:
    """Refuses what the workspace would refuse after the code is there: before anything is sent."""
    for entry in _list("job_permissions", permissions):
        if not _is_entry(entry):
            raise DeploymentError(
                f"job_permissions has {entry!r}; each of it names one of {list(PRINCIPALS)} and as `level` "
                f'one of {list(LEVELS)}, as in {{group_name: "ml-engineers", level: "CAN_VIEW"}}'
            )
    for webhook in _list("notify_webhooks", webhooks):
        if not (isinstance(webhook, dict) and set(webhook) == {"id"} and _ID.fullmatch(str(webhook["id"]))):
            raise DeploymentError(
                f"notify_webhooks has {webhook!r}; each of it names a notification destination, as in "
                '{id: "0481e838-0a59-4eff-9541-a4ca6f149574"}'
            )
    if len(webhooks) > MOST_WEBHOOKS:
        raise DeploymentError(
            f"notify_webhooks has {len(webhooks)} entries; a job calls {MOST_WEBHOOKS} at most"
        )


def with_owner(entries: Sequence[Entry], user: User) -> list[Entry]:
    """The entries, and that a job belongs to who deploys it, as a bundle has it; none stays none."""
    kind = "service_principal_name" if is_service_principal(user.name) else "user_name"
    others = [entry for entry in entries if entry.get(kind) != user.name]
    return [*others, {"level": OWNER, kind: user.name}] if entries else []


def ensure_permissions(workspace: Workspace, job_id: int, entries: Sequence[Entry]) -> bool:
    """Gives a job these permissions and no others; whether it had others. None leaves it as it is."""
    path = f"/api/2.0/permissions/jobs/{job_id}"
    if not entries or _in_effect(workspace.call("GET", path)) == {
        _key(each, each["level"]) for each in entries
    }:
        return False
    wanted = [
        {name: value for name, value in each.items() if name != "level"} | {"permission_level": each["level"]}
        for each in entries
    ]
    workspace.call("PUT", path, repeats=True, json={"access_control_list": wanted})
    return True


def describe(entries: Sequence[Entry]) -> str:
    """Who has which level, for people."""
    return ", ".join(f"{_key(each, '')[1]} {each['level']}" for each in entries)


def _list(name: str, given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise DeploymentError(f"{name} is a list, not {given!r}")
    return given


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not all(isinstance(value, str) and value for value in entry.values()):
        return False
    named: Collection[str] = entry.keys() - {"level"}
    return len(named) == 1 and set(named) <= set(PRINCIPALS) and entry.get("level") in LEVELS


def _in_effect(permissions: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    """What was given to a job itself: that of administrators comes from above it."""
    return {
        _key(each, level["permission_level"])
        for each in permissions.get("access_control_list", [])
        for level in each.get("all_permissions", [])
        if not level.get("inherited")
    }


def _key(entry: Mapping[str, Any], level: str) -> tuple[str, str, str]:
    kind = next((kind for kind in PRINCIPALS if entry.get(kind)), "")
    return kind, str(entry.get(kind, "")), level
