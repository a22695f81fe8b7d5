"""What the variables that override those of databricks.yml bring about: at a deployment, and at a run."""

import json
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from deployment.clusters import find_cluster, name_policies, obey
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.jobs import find_job, parameters_of
from deployment.settings import DEFINITION, FOUND_OUT
from deployment.targets import VARIABLE, Target

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


def show_undone(cli: DatabricksCli, target: Target, given: Collection[str]) -> None:
    """Prints what the jobs were deployed with that this deployment, with the overrides `given`, undoes.

    The workspace does not keep where a value came from: one that databricks.yml had then is told as well.
    """
    before: dict[str, Any] = {}
    for key in target.job_keys():
        if job := find_job(cli, target.job_name(key)):
            before |= _deployed_otherwise(cli, target, key, job)
    before = {name: value for name, value in before.items() if not target.behind_variables(name) & set(given)}
    if before:
        now = {name: target.variable(name) for name in before}
        print(
            f"Note: the jobs were deployed with {_list(before)}; this deployment gives them {_list(now)}, as "
            f"{DEFINITION} has it for target '{target.name}'",
            flush=True,
        )


def _deployed_otherwise(
    cli: DatabricksCli, target: Target, key: str, job: Mapping[str, Any]
) -> dict[str, Any]:
    """The variables that a job was deployed with another value of; empty ones are no overrides."""
    deployed, definition = parameters_of(job), target.definition(key)
    values = [(raw, _at(job["settings"], path)) for path, raw in _fixed(definition)]
    values += [(raw, deployed.get(name)) for name, raw in _widgets(definition)]
    found: dict[str, Any] = _compute_otherwise(cli, target, job)
    for raw, value in values:
        variable = VARIABLE.fullmatch(str(raw))
        if variable and value and value != target.fill(raw) and not target.behind(raw) & set(FOUND_OUT):
            found[variable[1]] = value
    path = str(_at(job["settings"], ("tasks", 0, "notebook_task", "notebook_path")) or "")
    root, is_below, _ = path.partition("/deployments/")
    if is_below and not _is_below(target.deployments_folder, job["settings"]["tasks"][0]):
        found["root_path"] = root
    return found


def _compute_otherwise(cli: DatabricksCli, target: Target, job: Mapping[str, Any]) -> dict[str, Any]:
    """What names the compute of a deployed job, where this deployment gives it another one."""
    compute = _compute_of(job)
    if compute != target.text("compute"):
        return {"compute": compute}
    if compute == "existing":
        cluster_id = job["settings"]["tasks"][0]["existing_cluster_id"]
        if cluster_id != target.text("cluster_id"):
            names = {each["cluster_id"]: each["cluster_name"] for each in cli.clusters()}
            return {"cluster_name": names.get(cluster_id, cluster_id)}
    if compute == "job":
        policy = _policy_of(job["settings"]["job_clusters"])
        if policy and policy != _policy_of(target.variable("job_clusters")):
            return {"cluster_policy": name_policies(cli.workspace).get(policy, policy)}
    return {}


def _policy_of(job_clusters: Any) -> str:
    """The id of the policy that the cluster of a job obeys; empty without one."""
    return str(_at(job_clusters, (0, "new_cluster", "policy_id")) or "")


def _widgets(definition: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The widgets of a job's notebooks, and what its definition says of them."""
    for task in definition["tasks"]:
        yield from task["notebook_task"].get("base_parameters", {}).items()


def params_of_run(
    cli: DatabricksCli, target: Target, key: str, job: Mapping[str, Any], params: Mapping[str, str]
) -> dict[str, str]:
    """The widgets of a run: `params`, and what the overrides say otherwise than the deployed job.

    An override that a run cannot heed is refused, unless the job was deployed with it. Prints what is in
    effect.
    """
    widgets = {
        name: raw
        for name, raw in _widgets(target.definition(key))
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
