"""The libraries of a task, which are installed for its run before the first cell."""

from typing import Any

from local_workspace.errors import InvalidParameter, NotSupported


def pip_arguments(task_key: str, libraries: Any) -> list[str]:
    """What pip is told to install for a task; other libraries than Python's are a NotSupported."""
    if not isinstance(libraries or [], list):
        raise InvalidParameter(f"Task '{task_key}': libraries must be a list")
    arguments: list[str] = []
    for library in libraries or []:
        match library:
            case {"whl": str(path)}:
                arguments.append(path)
            case {"requirements": str(path)}:
                arguments += ["-r", path]
            case {"pypi": {"package": str(package), "repo": str(index)}}:
                arguments += [package, "--extra-index-url", index]
            case {"pypi": {"package": str(package)}}:
                arguments.append(package)
            case _:
                reason = "of all libraries whl, pypi and requirements work here"
                raise NotSupported(f"Task '{task_key}' has the library {str(library)[:200]}; {reason}")
    return arguments
