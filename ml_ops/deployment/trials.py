"""A trial: a target deployed under names of its own, beside the target itself; all of it is removed again."""

import json
import posixpath
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import quote

from deployment.errors import DeploymentError
from deployment.jobs import find_job_in
from deployment.runs import poll_seconds
from deployment.settings import DEFINITION, read_yaml
from deployment.targets import Target
from deployment.unity_catalog import API, COLLECTIONS
from deployment.workspace import RestError, Workspace

# What has to be the trial's own, so that nothing of the target itself can be meant.
OWN = ("name_prefix", "schema", "workspace_folder")
# What scoring puts beside its output: the rows that were rejected, those of every run, and the runs; and
# beside a plain table those of a run that has not published.
BESIDE = r"_rejected|_rows|_runs|_staged_\d{8}_[0-9a-f]+"
LEVELS = 3
ENDING_SECONDS = 300


def every_target(workspace: Workspace, trial: Target) -> list[Target]:
    """Every target of databricks.yml as it stands there, without what the trial overrides.

    Where the workspace has no catalog of its own, a target that names none is in whichever one the trial is.
    """
    own = workspace.own_catalog() or trial.text("catalog")
    names = read_yaml(trial.root / DEFINITION)["targets"]
    return [Target(name, workspace.user, root=trial.root, own_catalog=lambda: own) for name in names]


def check_names(trial: Target, targets: Sequence[Target]) -> None:
    """Refuses a trial of which a name is that of a target, or whose folder overlaps with that of one."""
    itself = next(target for target in targets if target.name == trial.name)
    words = " ".join(f"{name.upper()}=..." for name in OWN)
    way_out = f"Name a trial as it was deployed: make destroy-trial TARGET={itself.name} {words}"
    if shared := [name for name in OWN if _is_shared(trial.text(name), itself.text(name))]:
        said = f"{shared} are those of target '{itself.name}' itself, which is not destroyed"
        raise DeploymentError(f"{said}. {way_out}")
    folder = _folder(trial)
    if len(folder.strip("/").split("/")) < LEVELS:
        raise DeploymentError(
            f"workspace_folder {folder} is not one of a trial, which is {LEVELS} levels deep at least, "
            f"such as /Users/<me>/try. {way_out}"
        )
    for target in targets:
        if clash := next(chain(_names_of(trial, target), _folders_of(folder, target, targets)), ""):
            raise DeploymentError(f"{clash} of target '{target.name}', which is not destroyed. {way_out}")


def _is_shared(name: str, other: str) -> bool:
    return not name or name.lower() == other.lower()


def _names_of(trial: Target, target: Target) -> Iterator[str]:
    """What of the trial is called as a target's; Unity Catalog makes no difference between a and A."""
    pairs = {"schema": (_schema(trial), _schema(target))}
    pairs |= {name: (trial.text(name), target.text(name)) for name in ("name_prefix", "model_name")}
    for name, (own, other) in pairs.items():
        if _is_shared(own, other):
            yield f"{name} '{own}' is that"
    own, other = trial.text("output_table"), target.text("output_table")
    if _is_table_of(own, other) or _is_table_of(other, own):
        yield f"output_table '{own}' is one"


def _folders_of(folder: str, target: Target, targets: Sequence[Target]) -> Iterator[str]:
    """Where a trial's folder overlaps with what is a target's, around it or in it.

    A folder that has folders of other targets in it has room for a trial beside these.
    """
    whole = _folder(target)
    parts = [_normal(target.text(name)) for name in ("root_path", "experiment")]
    has_others = any(_is_in(_folder(other), whole) for other in targets if _folder(other) != whole)
    for place in (whole, *parts):
        is_inside = _is_in(folder, place) and not (place == whole and has_others)
        if is_inside or _is_in(place, folder):
            yield f"workspace_folder {folder} overlaps with {place}"


def _schema(target: Target) -> str:
    return f"{target.text('catalog')}.{target.text('schema')}"


def _folder(target: Target) -> str:
    return _normal(target.text("workspace_folder"))


def _normal(path: str) -> str:
    """A path of the workspace in one spelling: /Workspace/Shared is /Shared."""
    plain = posixpath.normpath(f"/{path.strip('/')}")
    return re.sub(r"^/Workspace(?=/|$)", "", plain, flags=re.IGNORECASE) or "/"


def _is_in(path: str, folder: str) -> bool:
    """Whether a path is a folder, or is in it."""
    return f"{path.lower()}/".startswith(f"{folder.lower()}/")


def _is_table_of(table: str, output_table: str) -> bool:
    """Whether a table is the one that scoring writes, or one that it puts beside it."""
    return re.fullmatch(rf"{re.escape(output_table)}(?:{BESIDE})?", table, re.IGNORECASE) is not None


def destroy(workspace: Workspace, trial: Target) -> None:
    """Removes jobs, tables, model, schema and folder, each where it is there; what is of others stays.

    What cannot be removed keeps nothing else; DeploymentError says at the end what it is.
    """
    jobs = [partial(_delete_job, workspace, trial.job_name(key)) for key in trial.job_keys()]
    rest = [
        partial(_delete_tables, workspace, trial.text("output_table")),
        partial(_delete, workspace, "model", trial.text("model_name")),
        partial(_delete_schema, workspace, _schema(trial)),
        partial(_delete_folder, workspace, _folder(trial)),
        partial(_forget, trial),
    ]
    try:
        _take_all([*jobs, *rest])
    except DeploymentError as error:
        raise DeploymentError(
            f"not all of the trial could be removed: {error}. The rest is; once this is mended, "
            "`make destroy-trial` removes what is left"
        ) from error


def _take_all(steps: Iterable[Callable[[], None]]) -> None:
    """Takes every step, also after one that fails; raises DeploymentError with what all of these say."""
    said = []
    for step in steps:
        try:
            step()
        except DeploymentError as error:
            said.append(str(error))
    if said:
        raise DeploymentError("; ".join(dict.fromkeys(said)))


def _forget(trial: Target) -> None:
    """Removes what the Databricks CLI keeps of its last deployment here, where that was the trial's."""
    kept = trial.root / ".databricks" / "bundle" / trial.name
    variables = kept / "variable-overrides.json"
    given = json.loads(variables.read_text()) if variables.is_file() else {}
    if _normal(given.get("workspace_folder", "")) == _folder(trial):
        shutil.rmtree(kept)


def _delete_job(workspace: Workspace, name: str) -> None:
    """Ends the runs of a job, since they might write again, and deletes it."""
    if (job := find_job_in(workspace, name)) is None:
        return
    which = {"job_id": job["job_id"]}
    workspace.call("POST", "/api/2.1/jobs/runs/cancel-all", repeats=True, json=which)
    _wait_for_runs(workspace, name, which)
    workspace.call("POST", "/api/2.1/jobs/delete", json=which)
    print(f"Job '{name}' ({job['job_id']}) is deleted", flush=True)


def _wait_for_runs(workspace: Workspace, name: str, which: Mapping[str, Any]) -> None:
    start = time.monotonic()
    params = {**which, "active_only": "true"}
    while workspace.call("GET", "/api/2.1/jobs/runs/list", params=params).get("runs"):
        elapsed = time.monotonic() - start
        if elapsed > ENDING_SECONDS:
            raise DeploymentError(f"job '{name}' still has runs {ENDING_SECONDS} s after they were canceled")
        time.sleep(poll_seconds(elapsed))


def _delete_tables(workspace: Workspace, output_table: str) -> None:
    """Deletes the table that scoring writes, and those that it puts beside it."""
    schema, _, _ = output_table.rpartition(".")
    names = [f"{schema}.{name}" for name in _list_tables(workspace, schema)]
    of_it = [name for name in names if _is_table_of(name, output_table)]
    _take_all(partial(_delete, workspace, "table", name) for name in of_it)


def _list_tables(workspace: Workspace, schema: str) -> Iterator[str]:
    """The names of a schema's tables, without it; none where the schema is not there."""
    catalog, _, name = schema.partition(".")
    try:
        for page in workspace.pages(f"{API}/tables", catalog_name=catalog, schema_name=name):
            yield from (table["name"] for table in page.get("tables", []))
    except RestError as error:
        if error.status != 404:
            raise


def _delete_schema(workspace: Workspace, name: str) -> None:
    """Deletes a schema that nothing is in any more; another one stays, and is named."""
    try:
        _delete(workspace, "schema", name)
    except RestError as error:
        if error.status not in (400, 409):
            raise
        print(f"Schema '{name}' stays, since other things are in it: {error}", flush=True)


def _delete_folder(workspace: Workspace, folder: str) -> None:
    """Deletes the folder with the code, what the bundle keeps and, on Databricks, the experiment."""
    if workspace.find("/api/2.0/workspace/get-status", path=folder) is None:
        return
    workspace.call("POST", "/api/2.0/workspace/delete", json={"path": folder, "recursive": True})
    print(f"{folder} is deleted", flush=True)


def _delete(workspace: Workspace, kind: str, name: str) -> None:
    path = f"{API}/{COLLECTIONS.get(kind, f'{kind}s')}/{quote(name, safe='')}"
    try:
        workspace.call("DELETE", path, repeats=True)
    except RestError as error:
        if error.status != 404:
            raise
        return
    print(f"{kind.capitalize()} '{name}' is deleted", flush=True)
