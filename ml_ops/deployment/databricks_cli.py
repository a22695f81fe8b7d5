"""Calls the `databricks` program as a child process."""

import ast
import json
import os
import re
import shutil
import subprocess
from typing import Any

from deployment.errors import CliError
from deployment.workspace import Workspace


class DatabricksCli:
    """The `databricks` program, signed in to one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def run(self, *arguments: str, stdin: str | None = None) -> dict[str, Any]:
        """Runs one command and returns the JSON that it prints, {} when it prints nothing."""
        text = self.text(*arguments, stdin=stdin)
        return dict(json.loads(text)) if text.strip() else {}

    def text(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs one command and returns what it prints; a failure raises a CliError with its text."""
        program = shutil.which("databricks")
        if program is None:
            raise CliError("the program `databricks` is not on the PATH; run `make install`")
        finished = subprocess.run(
            [program, "--profile", self.workspace.profile, *arguments],
            input=stdin or "",
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            command = " ".join(arguments[:2])
            raise CliError(f"`databricks {command}`: {error_text(finished.stdout or finished.stderr)}")
        return finished.stdout

    def _environment(self) -> dict[str, str]:
        environment = os.environ | {
            "DATABRICKS_CONFIG_FILE": str(self.workspace.config_file),
            "DATABRICKS_CLI_DO_NOT_EXECUTE_NEWER_VERSION": "1",
        }
        if self.workspace.has_port:
            # The program drops the port of the host; a proxy at that very port brings the calls there.
            environment["http_proxy"] = self.workspace.host
            environment.pop("no_proxy", None)
            environment.pop("NO_PROXY", None)
        return environment


def error_text(output: str) -> str:
    """The message in what a failed `databricks` printed, as `CODE: message` when it is a reply."""
    found = re.search(r"^Error: (.*)", output.strip(), re.DOTALL | re.MULTILINE)
    text = found[1] if found else output.strip()
    if text.startswith(("b'", 'b"')):
        text = ast.literal_eval(text).decode()  # it prints the bytes of the reply
    try:
        reply = json.loads(text)
        return f"{reply['error_code']}: {reply['message']}"
    except (ValueError, TypeError, KeyError):
        return text
