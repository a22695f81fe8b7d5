"""What the Azure CLI is called with, by a stand-in that answers in its shape."""

import json
from pathlib import Path

import pytest
from azure_cli import OUTPUTS, VALUES, VAULT_ID, Az, Terminal, az
from deployment import azure
from deployment.azure import Outputs
from deployment.errors import DeploymentError

__all__ = ["az"]


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
