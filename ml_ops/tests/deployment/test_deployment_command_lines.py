"""The `databricks` program that DATABRICKS_CLI names."""

from pathlib import Path

import pytest
from deployment.command_lines import open_cli
from deployment.errors import CliError
from rest_server import workspace_at


def test_a_program_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="DATABRICKS_CLI names no program: /nowhere"):
        open_cli(workspace_at("http://127.0.0.1:9", tmp_path), "/nowhere")
