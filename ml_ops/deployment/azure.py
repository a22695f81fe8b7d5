"""The Azure resources of a target: deployed by the program `az`, and read from what they put out."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from deployment.errors import DeploymentError
from deployment.settings import ROOT

TEMPLATES = ROOT / "ml_ops" / "deployment" / "arm_templates"
# One file a target; not kept in git.
OUTPUTS = ROOT / ".azure"
# The application "AzureDatabricks", the same in every tenant: whom a token for a workspace is for.
DATABRICKS_APPLICATION = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
# Stands in the sample parameters for what only a person knows.
PLACEHOLDER = "00000000-0000-0000-0000-000000000000"
KEY_VAULT_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.KeyVault/vaults/([a-z0-9-]{3,24})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Outputs:
    """What the template puts out: addresses and names, never a secret."""

    workspace_url: str
    workspace_id: str
    storage_account_name: str
    container_name: str
    data_root: str
    access_connector_id: str
    key_vault_id: str
    key_vault_uri: str
    application_insights_id: str


@dataclass(frozen=True)
class KeyVault:
    """A Key Vault as a secret scope names it."""

    id: str
    dns_name: str

    @property
    def name(self) -> str:
        """The vault's own name, the last part of its resource id."""
        return self.id.rpartition("/")[2]


def deploy(target: str, resource_group: str, folder: Path = OUTPUTS) -> None:
    """Shows what would change, asks a person at a terminal, deploys, and keeps the outputs."""
    if not resource_group:
        raise DeploymentError("name the resource group: make azure-deploy RESOURCE_GROUP=<name> TARGET=dev")
    what = (
        *("--resource-group", resource_group, "--template-file", str(TEMPLATES / "main.json")),
        *("--parameters", f"@{_parameters(target)}"),
    )
    print(f"What would change in resource group '{resource_group}' for target '{target}':", flush=True)
    _az("deployment", "group", "what-if", *what, show=True)
    if sys.stdin.isatty() and input("Deploy this? [y/N] ").strip().lower() not in ("y", "yes"):
        raise DeploymentError("not deployed")
    outputs_alone = ("--query", "properties.outputs", "--output", "json")
    created = _az("deployment", "group", "create", "--name", f"mlops-{target}", *what, *outputs_alone)
    folder.mkdir(exist_ok=True)
    (folder / f"{target}.json").write_text(created)
    outputs = read_outputs(target, folder)
    for field in fields(outputs):
        print(f"  {field.name:<24} {getattr(outputs, field.name)}")


def read_outputs(target: str, folder: Path = OUTPUTS) -> Outputs:
    """What `make azure-deploy` kept for the target."""
    file = folder / f"{target}.json"
    again = f"run `make azure-deploy TARGET={target} RESOURCE_GROUP=<name>`"
    if not file.exists():
        raise DeploymentError(f"there is no {file}; {again}")
    try:
        values = {name: output["value"] for name, output in json.loads(file.read_text()).items()}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise DeploymentError(f"{file} does not hold the outputs of a deployment; {again}") from error
    names = {field.name: output_name(field.name) for field in fields(Outputs)}
    if missing := [name for name in names.values() if not values.get(name)]:
        raise DeploymentError(f"{file} has no {', '.join(missing)}; {again}")
    return Outputs(**{field: values[name] for field, name in names.items()})


def output_name(field: str) -> str:
    """What the template calls a field of Outputs: workspaceUrl for workspace_url."""
    return re.sub("_(.)", lambda found: found[1].upper(), field)


def find_key_vault(key_vault_id: str, target: str, folder: Path = OUTPUTS) -> KeyVault:
    """The Key Vault of this resource id; `outputs` is the one that the target's deployment made."""
    if key_vault_id == "outputs":
        outputs = read_outputs(target, folder)
        return KeyVault(outputs.key_vault_id, outputs.key_vault_uri)
    found = KEY_VAULT_ID.fullmatch(key_vault_id)
    if not found:
        raise DeploymentError(
            f"KEY_VAULT_ID={key_vault_id} is no resource id of a Key Vault (/subscriptions/…/resourceGroups/…"
            "/providers/Microsoft.KeyVault/vaults/<name>); `outputs` takes the one of `make azure-deploy`"
        )
    return KeyVault(key_vault_id, f"https://{found[1].lower()}.vault.azure.net/")


def set_secret(vault_name: str, key: str, value: str) -> None:
    """Writes one secret into a Key Vault, through a pipe: arguments are open to every user of the machine."""
    where = ("--vault-name", vault_name, "--name", key)
    content = ("--file", "/dev/stdin", "--encoding", "utf-8")
    _az("keyvault", "secret", "set", *where, *content, "--output", "none", stdin=value)


def databricks_token() -> str:
    """A token of Microsoft Entra for a Databricks workspace, for whom `az login` signed in."""
    what = ("--resource", DATABRICKS_APPLICATION, "--query", "accessToken", "--output", "tsv")
    return _az("account", "get-access-token", *what).strip()


def _parameters(target: str) -> Path:
    file = TEMPLATES / f"{target}.parameters.json"
    if not file.exists():
        there = sorted(other.name for other in TEMPLATES.glob("*.parameters.json"))
        raise DeploymentError(
            f"no {file.relative_to(ROOT)} for target '{target}'; there are {there}: copy one"
        )
    parameters = json.loads(file.read_text())["parameters"]
    if unfilled := [name for name, given in parameters.items() if PLACEHOLDER in json.dumps(given)]:
        raise DeploymentError(
            f"{file.relative_to(ROOT)} still has the sample's {', '.join(unfilled)}; give your own"
        )
    return file


def _az(*arguments: str, stdin: str = "", show: bool = False) -> str:
    """Runs the Azure CLI; returns what it prints, or shows it. Its messages go to the terminal."""
    program = shutil.which("az")
    if program is None:
        raise DeploymentError("the Azure CLI `az` is not on the PATH; install it, then `az login`")
    finished = subprocess.run(
        [program, *arguments],
        input=stdin,
        stdout=None if show else subprocess.PIPE,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        command = " ".join(argument for argument in arguments[:3] if not argument.startswith("-"))
        raise DeploymentError(
            f"`az {command}` ended with exit code {finished.returncode}; its own message is above"
        )
    return finished.stdout or ""
