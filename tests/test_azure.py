"""What the Azure CLI is called with, by a stand-in that answers in its shape."""

import io
import json
import os
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from deployment import azure
from deployment.azure import Outputs
from deployment.errors import DeploymentError
from test_makefile import checkout, make

__all__ = ["checkout"]

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


def test_make_azure_deploy_shows_what_would_change_deploys_and_keeps_the_outputs(
    checkout: Path, az: Az
) -> None:
    deployed = make(checkout, "azure-deploy", "RESOURCE_GROUP=ml", "TARGET=dev")

    assert deployed.returncode == 0, deployed.stderr
    folder = checkout / "ml_ops" / "deployment" / "arm_templates"
    what = (
        f"--resource-group ml --template-file {folder}/main.json --parameters @{folder}/dev.parameters.json"
    )
    assert az.calls == [
        f"deployment group what-if {what}",
        f"deployment group create --name mlops-dev {what} --query properties.outputs --output json",
    ]
    assert "18 to create" in deployed.stdout
    assert "a new version of az" in deployed.stderr
    assert "workspace_url            the-workspace_url" in deployed.stdout
    assert json.loads((checkout / ".azure" / "dev.json").read_text()) == OUTPUTS
    ignored = subprocess.run(["git", "check-ignore", "--no-index", ".azure/dev.json"], cwd=azure.ROOT)
    assert ignored.returncode == 0


def test_target_that_is_not_named_is_the_workspace(checkout: Path, az: Az) -> None:
    refused = make(checkout, "azure-deploy", "RESOURCE_GROUP=ml", "WORKSPACE=qa")

    assert refused.returncode != 0
    assert "no target 'qa' in databricks.yml" in refused.stderr
    assert az.calls == []


def test_resource_group_has_to_be_named(az: Az, tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="name the resource group: make azure-deploy RESOURCE_GROUP="):
        azure.deploy("dev", "", tmp_path)


def test_sample_parameters_are_not_deployed_as_they_are(az: Az, tmp_path: Path) -> None:
    left = "virtualNetworkId, operatorsGroupId, databricksPrincipalId"
    with pytest.raises(DeploymentError, match=f"prod.parameters.json still has the sample's {left}"):
        azure.deploy("prod", "ml", tmp_path)

    assert az.calls == []


def test_a_person_who_says_no_deploys_nothing(
    az: Az, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))

    with pytest.raises(DeploymentError, match="not deployed"):
        azure.deploy("dev", "ml", tmp_path)

    assert [call.split()[2] for call in az.calls] == ["what-if"]


def test_failed_deployment_keeps_nothing(az: Az, tmp_path: Path) -> None:
    az.program.write_text('#!/bin/sh\ncase "$*" in *create*) echo "ERROR: no quota" >&2; exit 1;; esac\n')

    with pytest.raises(DeploymentError, match="`az deployment group create` ended with exit code 1"):
        azure.deploy("dev", "ml", tmp_path / "kept")

    assert not (tmp_path / "kept").exists()


def test_missing_azure_cli_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DeploymentError, match="`az` is not on the PATH; install it, then `az login`"):
        azure.deploy("dev", "ml", tmp_path)


def test_outputs_are_read_by_target(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(json.dumps(OUTPUTS))

    assert azure.read_outputs("dev", tmp_path) == Outputs(**VALUES)
    with pytest.raises(
        DeploymentError, match=r"there is no .*prod\.json; run `make azure-deploy TARGET=prod"
    ):
        azure.read_outputs("prod", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not JSON", "does not hold the outputs of a deployment"),
        ("null", "does not hold the outputs of a deployment"),
        (json.dumps(OUTPUTS | {"dataRoot": {"type": "String", "value": ""}}), "has no dataRoot; run"),
    ],
)
def test_outputs_that_cannot_be_used_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "dev.json").write_text(content)

    with pytest.raises(DeploymentError, match=message):
        azure.read_outputs("dev", tmp_path)


def test_key_vault_is_found_by_its_id_or_in_the_outputs(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(json.dumps(OUTPUTS))

    for wanted in (VAULT_ID, "outputs"):
        vault = azure.find_key_vault(wanted, "dev", tmp_path)
        assert (vault.id, vault.dns_name) == (VAULT_ID, "https://mlopsdev1.vault.azure.net/")
        assert vault.name == "mlopsdev1"
    with pytest.raises(DeploymentError, match="KEY_VAULT_ID=mlopsdev1 is no resource id of a Key Vault"):
        azure.find_key_vault("mlopsdev1", "dev", tmp_path)


def test_secret_of_a_key_vault_travels_through_a_pipe_alone(az: Az) -> None:
    azure.set_secret("mlopsdev1", "storage-account-key", "very=secret\n+value")

    assert az.calls == [
        "keyvault secret set --vault-name mlopsdev1 --name storage-account-key "
        "--file /dev/stdin --encoding utf-8 --output none"
    ]
    assert az.piped == "very=secret\n+value"
    assert "keyvault secret set" in az.command_lines
    assert "very=secret" not in az.command_lines
