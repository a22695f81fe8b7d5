"""The libraries of a task, and the environments of serverless compute: installed before the first cell."""

import re
import shlex
from typing import Any

from local_workspace.errors import InvalidParameter, NotSupported
from local_workspace.jobs.compute import compute_of
from local_workspace.store.database import Document

# What an environment may say on Databricks and nobody does here.
REFUSED_OF_ENVIRONMENTS = ("base_environment", "java_dependencies", "project_environment")
# `client` is its older name.
VERSIONS = ("environment_version", "client")


def pip_arguments(task: Document, settings: Document) -> list[str]:
    """What pip is told to install for a task of the job; other libraries than Python's are a NotSupported."""
    libraries, key = task.get("libraries") or [], task["task_key"]
    if not isinstance(libraries, list):
        raise InvalidParameter(f"Task '{key}': libraries must be a list")
    if libraries and not compute_of(task, settings):
        raise InvalidParameter(
            f"Task '{key}': Libraries field is not supported for serverless task, please specify libraries "
            "in environment."
        )
    arguments = [word for library in libraries for word in _of_library(library, key)]
    return [*arguments, *words_of(environment_of(task, settings).get("dependencies") or [])]


def environment_of(task: Document, settings: Document) -> Document:
    """What the environment of a task says; nothing where it names none.

    Raises InvalidParameter for one that the job does not have, and where the task does not run serverless.
    """
    key, environments = task.get("environment_key"), environments_of(settings)
    if not key:
        return {}
    where = f"Task '{task['task_key']}': environment_key {key!r}"
    if compute := compute_of(task, settings):
        raise InvalidParameter(f"{where} is for serverless compute, and the task has {next(iter(compute))}")
    if key not in environments:
        raise InvalidParameter(f"{where} is not one of the job's environments {sorted(environments)}")
    return environments[key]


def environments_of(settings: Document) -> dict[str, Document]:
    """What each environment of a job says, by its key; raises InvalidParameter or NotSupported."""
    environments = settings.get("environments") or []
    if not isinstance(environments, list) or not all(isinstance(each, dict) for each in environments):
        raise InvalidParameter(f"environments must be a list of objects, not {environments!r}")
    keys = [each.get("environment_key") for each in environments]
    if not all(isinstance(key, str) and re.fullmatch(r"[\w\-]{1,100}", key) for key in keys):
        raise InvalidParameter(f"environment_key must be letters, digits, _ and -; there are {keys}")
    if len(set(keys)) < len(keys):
        raise InvalidParameter(f"every environment needs an environment_key of its own; there are {keys}")
    return {each["environment_key"]: _checked(each) for each in environments}


def version_of(environment: Document) -> str:
    """The version of an environment, such as `5`."""
    return next((environment[name] for name in VERSIONS if environment.get(name)), "")


def described(task: Document, settings: Document) -> str:
    """The environment of a task for people, with what it installs; empty where the task names none."""
    environment = environment_of(task, settings)
    if not environment:
        return ""
    installed = ", ".join(environment.get("dependencies") or [])
    return f"environment {task['environment_key']}, version {version_of(environment)}" + (
        f": {installed}" if installed else ""
    )


def words_of(dependencies: list[str]) -> list[str]:
    """The words of dependencies, each of which is a line of a requirements file."""
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in dependencies]
    return [
        word for line in lines if line for word in (shlex.split(line) if line.startswith("-") else [line])
    ]


def _checked(environment: Document) -> Document:
    where, spec = f"Environment '{environment['environment_key']}'", environment.get("spec")
    if not isinstance(spec, dict):
        raise InvalidParameter(f"{where} needs a spec with an environment_version, not {spec!r}")
    for name in REFUSED_OF_ENVIRONMENTS:
        if spec.get(name):
            raise NotSupported(f"{where}: {name} is not part of the local workspace; it is {spec[name]!r}")
    version, lines = version_of(spec), spec.get("dependencies") or []
    if not isinstance(version, str) or not re.fullmatch(r"[1-9]\d*", version):
        raise InvalidParameter(f"{where} needs an environment_version such as '5', not {version!r}")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InvalidParameter(f"{where}: dependencies must be a list of requirements, not {lines!r}")
    return spec


def _of_library(library: Any, task_key: str) -> list[str]:
    match library:
        case {"whl": str(path)}:
            return [path]
        case {"requirements": str(path)}:
            return ["-r", path]
        case {"pypi": {"package": str(package), "repo": str(index)}}:
            return [package, "--extra-index-url", index]
        case {"pypi": {"package": str(package)}}:
            return [package]
    reason = "of all libraries whl, pypi and requirements work here"
    raise NotSupported(f"Task '{task_key}' has the library {str(library)[:200]}; {reason}")
