"""`make azure-deploy`, with a stand-in for the Azure CLI."""

import json
import subprocess
from pathlib import Path

from azure_cli import OUTPUTS, Az, az
from deployment import azure
from test_makefile import checkout, make

__all__ = ["az", "checkout"]


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
