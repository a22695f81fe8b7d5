"""The Azure template, with its expressions worked out as Azure works them out."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment.azure import TEMPLATES, Outputs, output_name

ROOT = Path(__file__).resolve().parents[3]
SOURCE = (TEMPLATES / "main.json").read_text()
TEMPLATE = json.loads(SOURCE)
GROUP = "/subscriptions/1234/resourceGroups/ml"
# The roles that the template gives; their ids are the same everywhere.
ROLES = {
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
}
GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STORAGE = "Microsoft.Storage/storageAccounts"
VAULT = "Microsoft.KeyVault/vaults"
WORKSPACE = "Microsoft.Databricks/workspaces"
PERIMETER = "Microsoft.Network/networkSecurityPerimeters"


class Properties(dict[str, Any]):
    """An object whose properties an expression reads with a dot."""

    __getattr__ = dict.__getitem__


class Unknown(str):
    """A value that Azure alone knows; whatever is read of it is unknown too."""

    def __getattr__(self, name: str) -> "Unknown":
        return Unknown(f"{self}.{name}")

    def __getitem__(self, _: Any) -> "Unknown":
        return self


@dataclass
class Rendered:
    """The template with the values of a parameter file."""

    given: dict[str, Any]
    asked: set[str] = field(default_factory=set)

    def parameter(self, name: str) -> Any:
        declared = TEMPLATE["parameters"][name]
        return self.given[name] if name in self.given else self.value(declared["defaultValue"])

    def value(self, node: Any) -> Any:
        """`node` with every expression in it worked out."""
        if isinstance(node, dict):
            return Properties({key: self.value(item) for key, item in node.items()})
        if isinstance(node, list):
            return [self.value(item) for item in node]
        if not (isinstance(node, str) and node.startswith("[")):
            return node
        expression = re.sub(r"\b(if|not)\(", r"\1_(", node[1:-1])
        expression = re.sub(r"lambda\('(\w+)',", r"(lambda \1:", expression)
        expression = re.sub(r"lambdaVariables\('(\w+)'\)", r"\1", expression)
        return eval(expression, {"__builtins__": {}} | self._functions)

    @property
    def _functions(self) -> dict[str, Callable[..., Any]]:
        return {
            "parameters": self.parameter,
            "variables": lambda name: self.value(TEMPLATE["variables"][name]),
            "reference": lambda of, *_: Unknown(self._ask(of)),
            "listKeys": lambda of, _: Unknown(self._ask(of)),
            "resourceId": resource_id,
            "subscriptionResourceId": lambda type_, name: f"/subscriptions/1234/providers/{type_}/{name}",
            "resourceGroup": lambda: Properties(id=GROUP, location="westeurope"),
            "subscription": lambda: Properties(tenantId="12345678-1234-1234-1234-123456789abc"),
            "environment": lambda: Properties(suffixes=Properties(storage="core.windows.net")),
            "uniqueString": lambda *parts: hashlib.sha256("".join(parts).encode()).hexdigest()[:13],
            "guid": lambda *parts: hashlib.sha256("".join(parts).encode()).hexdigest(),
            "concat": lambda *parts: "".join(parts),
            "replace": str.replace,
            "take": lambda text, count: text[:count],
            "if_": lambda condition, yes, no: yes if condition else no,
            "not_": lambda value: not value,
            "empty": lambda value: not value,
            "union": lambda one, other: one | other,
            "map": lambda items, function: [function(item) for item in items],
            "createArray": lambda *items: list(items),
            "createObject": lambda *parts: dict(zip(parts[::2], parts[1::2], strict=True)),
            "true": lambda: True,
        }

    def _ask(self, resource: str) -> str:
        self.asked.add(resource)
        return resource

    @property
    def resources(self) -> list[Properties]:
        """The resources that would be deployed."""
        found = [self.value(resource) for resource in TEMPLATE["resources"]]
        return [resource for resource in found if resource.get("condition", True)]

    def one(self, type_: str) -> Properties:
        [found] = [resource for resource in self.resources if resource["type"] == type_]
        return found

    def secrets(self) -> set[str]:
        found = (resource for resource in self.resources if resource["type"] == f"{VAULT}/secrets")
        return {resource["name"].partition("/")[2] for resource in found}


def resource_id(type_: str, *names: str) -> str:
    provider, *types = type_.split("/")
    path = "/".join(f"{kind}/{name}" for kind, name in zip(types, names, strict=True))
    return f"{GROUP}/providers/{provider}/{path}"


def id_of(resource: Properties) -> str:
    own = resource_id(resource["type"], *resource["name"].split("/"))
    return f"{resource['scope']}{own.removeprefix(GROUP)}" if "scope" in resource else own


def rendered(**given: Any) -> Rendered:
    return Rendered({"name": "mlops-trial"} | given)


def rendered_by(file: str) -> Rendered:
    parameters = json.loads((TEMPLATES / file).read_text())["parameters"]
    return Rendered({name: value["value"] for name, value in parameters.items()})


EVERYTHING = {
    "virtualNetworkId": f"{GROUP}/providers/Microsoft.Network/virtualNetworks/ml",
    "publicSubnetName": "host",
    "privateSubnetName": "container",
    "serverlessServiceTag": "AzureDatabricksServerless.WestEurope",
    "allowedIpRanges": ["203.0.113.0/24"],
    "allowSharedKeyAccess": True,
    "operatorsGroupId": "operators",
    "databricksPrincipalId": "databricks",
}
SAMPLES = sorted(file.name for file in TEMPLATES.glob("*.parameters.json"))


@pytest.mark.parametrize("kind", ["parameters", "variables"])
def test_every_name_that_is_declared_is_used_and_the_other_way_round(kind: str) -> None:
    used = set(re.findall(rf"{kind}\('(\w+)'\)", SOURCE))

    assert used == TEMPLATE[kind].keys()


@pytest.mark.parametrize("given", [{}, EVERYTHING], ids=["least", "most"])
def test_whatever_a_resource_names_is_made_before_it(given: dict[str, Any]) -> None:
    template = rendered(**given)
    ids = [id_of(resource) for resource in template.resources]
    everything = {id_of(template.value(raw)) for raw in TEMPLATE["resources"]}

    assert len(ids) == len(set(ids))
    for raw in TEMPLATE["resources"]:
        template.asked.clear()
        resource = template.value(raw)
        own, before = id_of(resource), resource.pop("dependsOn", [])
        named = template.asked | {id_ for id_ in everything if f'"{id_}"' in json.dumps(resource)}
        above = {own.rpartition("/")[0].rpartition("/")[0]} if resource["type"].count("/") > 1 else set()
        assert own not in ids or set(before) <= set(ids), own
        assert named | above == set(before), own


def test_outputs_are_what_the_deployment_reads_and_hold_no_secret() -> None:
    template = rendered(**EVERYTHING)
    ids = {id_of(resource) for resource in template.resources}
    outputs = template.value(TEMPLATE["outputs"])

    assert set(outputs) == {output_name(field.name) for field in fields(Outputs)}
    assert {output["type"] for output in outputs.values()} == {"string"}
    assert template.asked <= ids
    assert not re.search("listKeys|ConnectionString|Key'", json.dumps(TEMPLATE["outputs"]))
    assert re.fullmatch(r"abfss://data@\w+\.dfs\.core\.windows\.net", outputs["dataRoot"]["value"])


@pytest.mark.parametrize("name", ["abc", "mlops-dev", "a-very-long-name-of-a-project-of-ours-xy"])
def test_names_keep_the_rules_of_azure(name: str) -> None:
    template = rendered(name=name)
    limits = TEMPLATE["parameters"]["name"]

    assert limits["minLength"] <= len(name) <= limits["maxLength"]
    for type_ in (STORAGE, VAULT):
        assert re.fullmatch(r"[a-z][a-z0-9]{2,23}", template.one(type_)["name"])
    for type_ in (WORKSPACE, "Microsoft.Databricks/accessConnectors"):
        assert len(template.one(type_)["name"]) <= 64
    assert len(template.one(WORKSPACE)["properties"]["managedResourceGroupId"].rpartition("/")[2]) <= 90


def test_nothing_of_one_subscription_stands_in_the_template() -> None:
    names = {resource["name"] for resource in TEMPLATE["resources"]} - {"to-log-analytics"}

    assert set(GUID.findall(SOURCE)) == ROLES.keys()
    assert all(name.startswith("[") for name in names)
    assert not [word for word in ("westeurope", "core.windows.net", "vault.azure.net") if word in SOURCE]


def test_checkov_can_see_every_finding() -> None:
    # It passes over the failures of resources whose name it finds one of these functions in.
    hidden = ("toLower(", "trim(", "join(", "split(", "substring(")

    assert not [function for function in hidden if function in SOURCE]


def test_every_finding_of_the_scan_that_stays_has_its_reason() -> None:
    lines = (ROOT / ".checkov.yaml").read_text().splitlines()
    skipped = yaml.safe_load("\n".join(lines))["skip-check"]
    reasoned = [line for before, line in pairwise(lines) if before.startswith("  # ")]

    assert [f"  - {check}" for check in skipped] == [line for line in reasoned if line.startswith("  - ")]


def test_storage_is_closed_and_opens_without_a_key() -> None:
    template = rendered()
    account = template.one(STORAGE)["properties"]

    assert account["isHnsEnabled"] is True
    assert account["minimumTlsVersion"] == "TLS1_2"
    assert account["supportsHttpsTrafficOnly"] is True
    assert account["allowBlobPublicAccess"] is False
    assert account["allowSharedKeyAccess"] is False
    assert account["networkAcls"]["defaultAction"] == "Deny"
    assert account["networkAcls"]["resourceAccessRules"][0]["resourceId"].endswith(
        "mlops-trial-access-connector"
    )
    assert template.one(f"{STORAGE}/blobServices/containers")["properties"]["publicAccess"] == "None"
    assert template.one("Microsoft.Databricks/accessConnectors")["identity"] == {"type": "SystemAssigned"}


def test_vault_goes_by_roles_and_loses_nothing() -> None:
    vault = rendered().one(VAULT)["properties"]

    assert vault["enableRbacAuthorization"] is True
    assert vault["enableSoftDelete"] is True
    assert vault["enablePurgeProtection"] is True
    assert vault["networkAcls"]["defaultAction"] == "Deny"


def test_workspace_is_premium_and_its_clusters_have_no_public_address() -> None:
    workspace = rendered().one(WORKSPACE)

    assert workspace["sku"]["name"] == "premium"
    assert workspace["properties"]["parameters"] == {"enableNoPublicIp": {"value": True}}


def test_a_virtual_network_of_ones_own_takes_the_clusters_in_and_reaches_the_storage() -> None:
    template = rendered(**EVERYTHING)
    parameters = template.one(WORKSPACE)["properties"]["parameters"]
    network = template.one(STORAGE)["properties"]["networkAcls"]

    assert {name: given["value"] for name, given in parameters.items()} == {
        "enableNoPublicIp": True,
        "customVirtualNetworkId": EVERYTHING["virtualNetworkId"],
        "customPublicSubnetName": "host",
        "customPrivateSubnetName": "container",
    }
    assert [rule["id"].rpartition("/virtualNetworks/")[2] for rule in network["virtualNetworkRules"]] == [
        "ml/subnets/host",
        "ml/subnets/container",
    ]
    assert network["ipRules"] == [{"value": "203.0.113.0/24", "action": "Allow"}]


def test_serverless_compute_reaches_the_storage_through_a_perimeter_and_others_as_before() -> None:
    template = rendered(**EVERYTHING)
    account, rule = template.one(STORAGE), template.one(f"{PERIMETER}/profiles/accessRules")
    association = template.one(f"{PERIMETER}/resourceAssociations")["properties"]

    assert rule["properties"] == {
        "direction": "Inbound",
        "serviceTags": ["AzureDatabricksServerless.WestEurope"],
    }
    assert association["privateLinkResource"]["id"] == id_of(account)
    assert association["profile"]["id"] == id_of(template.one(f"{PERIMETER}/profiles"))
    # With this mode, what no rule of the perimeter lets in is asked of the account's own firewall.
    assert association["accessMode"] == "Learning"
    assert account["properties"]["networkAcls"]["virtualNetworkRules"]


def test_there_is_no_perimeter_where_nobody_names_a_tag() -> None:
    template = rendered(**EVERYTHING)
    without = rendered(
        **{name: value for name, value in EVERYTHING.items() if name != "serverlessServiceTag"}
    )

    assert any(resource["type"].startswith(PERIMETER) for resource in template.resources)
    assert not any(resource["type"].startswith(PERIMETER) for resource in without.resources)


def test_the_vault_gets_the_account_key_only_where_keys_open_the_storage() -> None:
    always = {"appinsights-connection-string"}

    assert rendered().secrets() == always
    assert rendered(allowSharedKeyAccess=True).secrets() == {*always, "storage-account-key"}


def test_each_principal_gets_the_least_role_and_on_one_resource() -> None:
    def given(template: Rendered) -> set[tuple[str, str, str]]:
        assignments = (
            r for r in template.resources if r["type"] == "Microsoft.Authorization/roleAssignments"
        )
        return {
            (
                str(assignment["properties"]["principalId"]).rpartition("/")[2],
                ROLES[assignment["properties"]["roleDefinitionId"].rpartition("/")[2]],
                assignment["scope"].split("/")[-2],
            )
            for assignment in assignments
        }

    connector = (
        "mlops-trial-access-connector.identity.principalId",
        "Storage Blob Data Contributor",
        "storageAccounts",
    )
    assert given(rendered()) == {connector}
    assert given(rendered(**EVERYTHING)) == {
        connector,
        ("operators", "Storage Blob Data Contributor", "storageAccounts"),
        ("operators", "Key Vault Secrets Officer", "vaults"),
        ("databricks", "Key Vault Secrets User", "vaults"),
    }


def test_what_happens_is_logged_to_one_place() -> None:
    template = rendered()
    logs = id_of(template.one("Microsoft.OperationalInsights/workspaces"))
    settings = [r for r in template.resources if r["type"] == "Microsoft.Insights/diagnosticSettings"]

    assert {setting["properties"]["workspaceId"] for setting in settings} == {logs}
    assert {setting["scope"] for setting in settings} == {
        id_of(template.one(type_)) for type_ in (WORKSPACE, VAULT, f"{STORAGE}/blobServices")
    }
    assert template.one("Microsoft.Insights/components")["properties"]["WorkspaceResourceId"] == logs


def test_no_resource_uses_a_preview_where_there_is_something_stable() -> None:
    previews = {r["type"] for r in TEMPLATE["resources"] if "preview" in r["apiVersion"]}

    assert previews == {"Microsoft.Insights/diagnosticSettings"}


@pytest.mark.parametrize("file", SAMPLES)
def test_samples_give_parameters_that_there_are_and_those_that_are_required(file: str) -> None:
    template = rendered_by(file)
    required = {name for name, declared in TEMPLATE["parameters"].items() if "defaultValue" not in declared}

    assert SAMPLES == ["dev.parameters.json", "prod.parameters.json"]
    assert required <= template.given.keys() <= TEMPLATE["parameters"].keys()
    for name, value in template.given.items():
        assert value in TEMPLATE["parameters"][name].get("allowedValues", [value])
    assert template.one(STORAGE)["sku"]["name"] == {"dev": "Standard_LRS", "prod": "Standard_GRS"}[file[:-16]]
