"""A stand-in for the Azure CLI, which answers in its shape and keeps what it was called with."""

import io
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from deployment import azure
from deployment.azure import Outputs

VAULT_ID = "/subscriptions/1234/resourceGroups/ml/providers/Microsoft.KeyVault/vaults/mlopsdev1"
VALUES = {field.name: f"the-{field.name}" for field in fields(Outputs)} | {
    "key_vault_id": VAULT_ID,
    "key_vault_uri": "https://mlopsdev1.vault.azure.net/",
}
OUTPUTS = {azure.output_name(name): {"type": "String", "value": value} for name, value in VALUES.items()}
# Keeps the command lines of itself and its parents' other children, and what came through the pipe.
STAND_IN = """#!/bin/sh
echo "$*" >>{record}
cat >>{record}.stdin
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >>{record}.processes
case "$1 $2 $3" in
"deployment group what-if") echo 'Resource changes: 18 to create.' ;;
"deployment group create") echo 'WARNING: a new version of az is there' >&2; cat {outputs} ;;
"account get-access-token"*) echo entra-token ;;
esac
"""


@dataclass
class Az:
    """A program `az` on the PATH, and what it was called with."""

    program: Path
    record: Path

    @property
    def calls(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []

    @property
    def piped(self) -> str:
        return Path(f"{self.record}.stdin").read_text()

    @property
    def command_lines(self) -> str:
        return Path(f"{self.record}.processes").read_text(errors="replace")


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Az:
    record, outputs = tmp_path / "az.calls", tmp_path / "outputs.json"
    outputs.write_text(json.dumps(OUTPUTS))
    program = tmp_path / "az-bin" / "az"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(record=record, outputs=outputs))
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return Az(program, record)
