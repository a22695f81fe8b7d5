"""What the variables that override those of databricks.yml bring about: at a deployment, and at a run."""

import json
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from deployment.clusters import find_cluster, obey
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.jobs import parameters_of
from deployment.settings import FOUND_OUT
from deployment.targets import Target

# What the jobs run on is not in their definitions by name: a deployment looks it up.
CLUSTER_SETTINGS = {"existing": "cluster_name", "job": "cluster_policy"}


# Of a job's definition, by the way to them: a run cannot be told them, or does not care.
NOT_FIXED = (("name",), ("permissions",))


def show_overrides(target: Target, used: Collection[str]) -> None:
    """Prints, where there are overrides, which of them this command uses and which not."""
    in_effect = {name: value for name, value in target.given.items() if name in used}
    others = {name: value for name, value in target.given.items() if name not in used}
    shown = [f"Overrides: {_list(in_effect)}"] if in_effect else []
    shown += [f"Overrides without effect here: {_list(others)}"] if others else []
    if shown:
        print("; ".join(shown), flush=True)


def of_deployment(target: Target) -> set[str]:
    """The variables that a deployment of the jobs uses."""
    cluster = CLUSTER_SETTINGS.get(target.text("compute"))
    named = ["root_path", "compute", *([cluster] if cluster else [])]
    definitions = [target.definition(key) for key in target.job_keys()]
    return target.behind(definitions) | target.behind_variables(*named)


def params_of_run(
    cli: DatabricksCli, target: Target, key: str, job: Mapping[str, Any], params: Mapping[str, str]
) -> dict[str, str]:
    """The widgets of a run: `params`, and what the overrides say otherwise than the deployed job.

    An override that a run cannot heed is refused, unless the job was deployed with it. Prints what is in
    effect.
    """
    widgets = {
        name: raw
        for task in target.definition(key)["tasks"]
        for name, raw in task["notebook_task"].get("base_parameters", {}).items()
        if name not in params and _overrides_behind(target, raw)
    }
    used = target.behind(target.definition(key)["name"], *widgets.values())
    if refused := set(_only_by_deployment(cli, target, key, job)):
        raise DeploymentError(_refusal(target, refused))
    show_overrides(target, used | _kept(target, key, job))
    deployed = parameters_of(job)
    wanted = {name: str(target.fill(raw)) for name, raw in widgets.items()}
    return {name: value for name, value in wanted.items() if deployed.get(name) != value} | dict(params)


def _kept(target: Target, key: str, job: Mapping[str, Any]) -> set[str]:
    """The variables that the job was deployed with, beside its widgets."""
    cluster = CLUSTER_SETTINGS.get(_compute_of(job), "compute")
    found = target.behind(*(raw for _, raw in _fixed(target.definition(key))))
    return found | target.behind_variables("root_path", "compute", cluster)


def _only_by_deployment(
    cli: DatabricksCli, target: Target, key: str, job: Mapping[str, Any]
) -> Iterator[str]:
    """The overrides that say otherwise than the deployed job where a run has no say."""
    for path, raw in _fixed(target.definition(key)):
        names = _overrides_behind(target, raw)
        if names and (target.fill(raw) or "") != (_at(job["settings"], path) or ""):
            yield from names
    if not all(_is_below(target.deployments_folder, task) for task in job["settings"]["tasks"]):
        yield from target.behind_variables("root_path") & target.given.keys()
    yield from _other_compute(cli, target, job)


def _other_compute(cli: DatabricksCli, target: Target, job: Mapping[str, Any]) -> Iterator[str]:
    """Those of the overrides that name another compute than that of the deployed job."""
    compute, task = _compute_of(job), job["settings"]["tasks"][0]
    if "compute" in target.given and target.text("compute") != compute:
        yield "compute"
    if "cluster_name" in target.given and compute == "existing":
        named = find_cluster(cli, target.text("cluster_name")) or {}
        if named.get("cluster_id") != task["existing_cluster_id"]:
            yield "cluster_name"
    if "cluster_policy" in target.given and compute == "job":
        wanted = obey(cli.workspace, target.text("cluster_policy"))["policy_id"]
        if any(each["new_cluster"].get("policy_id") != wanted for each in job["settings"]["job_clusters"]):
            yield "cluster_policy"


def _compute_of(job: Mapping[str, Any]) -> str:
    """What a deployed job runs on."""
    task = job["settings"]["tasks"][0]
    if task.get("existing_cluster_id"):
        return "existing"
    return "job" if task.get("job_cluster_key") else "serverless"


def _is_below(folder: str, task: Mapping[str, Any]) -> bool:
    """Whether the notebook of a deployed task lies in a folder."""
    path = str(task.get("notebook_task", {}).get("notebook_path", ""))
    return path.removeprefix("/Workspace").startswith(f"{folder}/")


def _overrides_behind(target: Target, raw: Any) -> set[str]:
    """The overrides that a value is made of, none where a deployment finds out a part of it."""
    names = target.behind(raw)
    return set() if names & set(FOUND_OUT) else names & target.given.keys()


def _fixed(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """What a job's settings say beside its name and its widgets, each value with the way to it.

    Its permissions are not among its settings.
    """
    if isinstance(node, Mapping | list):
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for name, value in items:
            if (*path, name) not in NOT_FIXED and name != "base_parameters":
                yield from _fixed(value, (*path, name))
    else:
        yield path, node


def _at(node: Any, path: tuple[Any, ...]) -> Any:
    """What stands at the end of a way, None where it leads nowhere."""
    for name in path:
        try:
            node = node[name]
        except (KeyError, IndexError, TypeError):
            return None
    return node


def _refusal(target: Target, names: Collection[str]) -> str:
    refused = {name: value for name, value in target.given.items() if name in names}
    words = " ".join(f"{name.upper()}={shlex.quote(_text(value))}" for name, value in refused.items())
    return (
        f"{_list(refused)} cannot act at a run, and the job was deployed otherwise. "
        f"Deploy with it: make deploy TARGET={shlex.quote(target.name)} {words}"
    )


def _list(overrides: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.upper()}={_text(value)}" for name, value in overrides.items())


def _text(value: Any) -> str:
    """A value as make takes it."""
    if not isinstance(value, list):
        return str(value)
    return ",".join(value) if all(isinstance(each, str) for each in value) else json.dumps(value)
