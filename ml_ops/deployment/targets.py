"""The targets of databricks.yml, with their variables and jobs, as `databricks bundle` makes them of it."""

import json
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from deployment.errors import DeploymentError
from deployment.job_access import with_owner
from deployment.settings import DEFINITION, ROOT, read_yaml
from deployment.workspace import User

REFERENCE = re.compile(r"\$\{([^}]*)\}")
VARIABLE = re.compile(r"\$\{var\.(\w+)\}")


class UnknownTargetError(DeploymentError):
    """databricks.yml has no such target."""


class Target:
    """One target: `variable("catalog")`, `root_path`, and `jobs()`.

    `user` is asked who is signed in, and `own_catalog` for the workspace's own catalog, each once and only
    where the definition depends on it. `given` are values that override those of the definition.
    """

    def __init__(
        self,
        name: str,
        user: Callable[[], User],
        given: Mapping[str, Any] | None = None,
        root: Path = ROOT,
        own_catalog: Callable[[], str] = str,
    ) -> None:
        self.root = root
        definition = read_yaml(root / DEFINITION)
        targets = _require_target(definition, name)
        self.name = name
        self.run_as = (targets[name] or {}).get("run_as")
        self._bundle = definition["bundle"]["name"]
        self._include = definition.get("include", [])
        self._workspace = definition["workspace"] | ((targets[name] or {}).get("workspace") or {})
        self._ask_user, self._ask_catalog = user, own_catalog
        self.given = dict(given or {})
        self._raw = _defaults(definition) | ((targets[name] or {}).get("variables") or {}) | self.given

    def variable(self, name: str) -> Any:
        """The value of a variable, with all that it refers to filled in."""
        return self._fill(f"${{var.{name}}}", DEFINITION, ())

    def text(self, name: str) -> str:
        """The value of a variable that is a text."""
        return str(self.variable(name))

    def fill(self, node: Any) -> Any:
        """A part of a definition with the values of all that it refers to."""
        return self._fill(node, DEFINITION, ())

    def behind(self, *nodes: Any) -> set[str]:
        """The variables that parts of a definition take their values from, directly or through others."""
        return {name.removeprefix("var.") for name in self._references(nodes) if name.startswith("var.")}

    def _references(self, nodes: Any) -> set[str]:
        known = {"var": self._raw, "workspace": self._workspace}
        found: set[str] = set()
        waiting = [json.dumps(nodes)]
        while waiting:
            for reference in set(REFERENCE.findall(waiting.pop())) - found:
                found.add(reference)
                kind, _, name = reference.rpartition(".")
                waiting.append(json.dumps(known.get(kind, {}).get(name)))
        return found

    def behind_variables(self, *names: str) -> set[str]:
        """These variables, and those that they take their values from."""
        return self.behind(*(f"${{var.{name}}}" for name in names))

    def is_the_users_own(self, *names: str) -> bool:
        """Whether one of these variables has another value for somebody else."""
        found = self._references([f"${{var.{name}}}" for name in names])
        return any(reference.startswith("workspace.current_user.") for reference in found)

    @property
    def cluster_user(self) -> str:
        """Whom a cluster that is made for the target is for; empty: who makes it."""
        return self.text("single_user_name") or self.runs_as

    @property
    def runs_as(self) -> str:
        """Whom the jobs run as; empty: who deploys them."""
        return str(next(iter((self.run_as or {}).values()), ""))

    @property
    def deployments_folder(self) -> str:
        """The folder of the workspace that has a folder for each version."""
        return self.text("root_path").removeprefix("/Workspace").rstrip("/") + "/deployments"

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The settings of every job by its key: variables filled in, notebooks by their workspace path."""
        return {key: self._render(job, file) for key, (job, file) in self._definitions.items()}

    def definition(self, key: str) -> dict[str, Any]:
        """What the definition of a job says, with its references as they are."""
        return self._definitions[key][0]

    def job_keys(self) -> list[str]:
        """The keys of the jobs, by which the definitions know them."""
        return list(self._definitions)

    def job_name(self, key: str) -> str:
        """What the job of this key is called in the workspace."""
        if key not in self._definitions:
            raise DeploymentError(f"no job '{key}' in {DEFINITION}; it has {self.job_keys()}")
        return str(self._fill(self._definitions[key][0]["name"], DEFINITION, ()))

    @cached_property
    def _definitions(self) -> dict[str, tuple[dict[str, Any], Path]]:
        files = sorted(file for pattern in self._include for file in self.root.glob(pattern))
        return {
            key: (job, file) for file in files for key, job in read_yaml(file)["resources"]["jobs"].items()
        }

    @cached_property
    def _user(self) -> User:
        return self._ask_user()

    @cached_property
    def _own_catalog(self) -> str:
        if name := self._ask_catalog():
            return name
        raise DeploymentError("the workspace has no catalog of its own; name one with CATALOG=<catalog>")

    def _render(self, job: Mapping[str, Any], file: Path) -> dict[str, Any]:
        settings = dict(_without_empty(self._fill(job, file.name, ())))
        for task in settings["tasks"]:
            path = task["notebook_task"]["notebook_path"]
            notebook = (file.parent / path).resolve()
            if not notebook.is_relative_to(self.root) or not notebook.is_file():
                raise DeploymentError(f"{file.name}: there is no notebook {path}")
            relative = notebook.relative_to(self.root).with_suffix("").as_posix()
            file_path = self._fill(self._workspace["file_path"], DEFINITION, ())
            task["notebook_task"]["notebook_path"] = f"{file_path}/{relative}"
        permissions = settings.pop("permissions", [])
        if permissions:  # who owns the job is asked where others have rights, and nowhere else
            settings["permissions"] = with_owner(permissions, self._user)
        return settings | ({"run_as": self.run_as} if self.run_as else {})

    def _fill(self, node: Any, where: str, seen: tuple[str, ...]) -> Any:
        """`node` with every ${...} replaced, however deep it stands."""
        if isinstance(node, Mapping):
            return {key: self._fill(value, where, seen) for key, value in node.items()}
        if isinstance(node, list):
            return [self._fill(value, where, seen) for value in node]
        if not isinstance(node, str):
            return node
        if whole := REFERENCE.fullmatch(node):
            return self._value_of(whole[1], where, seen)
        return REFERENCE.sub(lambda found: str(self._value_of(found[1], where, seen)), node)

    def _value_of(self, reference: str, where: str, seen: tuple[str, ...]) -> Any:
        if reference in seen:
            raise DeploymentError(f"{where}: {' -> '.join([*seen, reference])} goes round in a circle")
        kind, _, name = reference.rpartition(".")
        known: Mapping[str, Any] = {
            "var": self._raw,
            "workspace": self._workspace,
            "bundle": {"name": self._bundle, "target": self.name},
            "workspace.current_user": {"userName": None, "short_name": None},
        }.get(kind, {})
        if name not in known:
            raise DeploymentError(f"{where}: ${{{reference}}} has no value; known are {sorted(self._raw)}")
        if kind == "workspace.current_user":
            return self._user.name if name == "userName" else self._user.short_name
        value = self._fill(known[name], where, (*seen, reference))
        return self._own_catalog if reference == "var.catalog" and not value else value


def require_target(name: str, root: Path = ROOT) -> None:
    """Refuses a target that databricks.yml does not have; asks nobody else."""
    _require_target(read_yaml(root / DEFINITION), name)


def _require_target(definition: Mapping[str, Any], name: str) -> dict[str, Any]:
    targets: dict[str, Any] = definition.get("targets", {})
    if name not in targets:
        close = get_close_matches(name.strip().lower(), targets, n=1)
        hint = f"; did you mean TARGET={close[0]}?" if close else ". Name one with TARGET=<target>"
        raise UnknownTargetError(f"no target '{name}' in {DEFINITION}; it has {list(targets)}{hint}")
    return targets


def _defaults(definition: Mapping[str, Any]) -> dict[str, Any]:
    variables = definition.get("variables", {})
    return {name: variable["default"] for name, variable in variables.items() if "default" in variable}


def _without_empty(node: Any) -> Any:
    """`node` without its empty texts, but for the values of widgets and of a job's parameters."""
    if isinstance(node, list):
        return [_without_empty(value) for value in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value if key in ("base_parameters", "parameters") else _without_empty(value)
        for key, value in node.items()
        if value != ""
    }
