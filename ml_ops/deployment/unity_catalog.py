"""What the jobs need in Unity Catalog: made where it is missing, and granted to whom a target names.

By REST also where the Databricks CLI is: `databricks bundle destroy` would delete a schema of a bundle, and
every table and model in it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from diabetes_mlops.models.approval import DEPLOYMENT_JOB

from deployment import azure
from deployment.errors import DeploymentError
from deployment.targets import Target
from deployment.workspace import NotAllowedError, RestError, Workspace

API = "/api/2.1/unity-catalog"
# Where each kind is kept, and how it is called in the address of its grants.
COLLECTIONS = {
    "storage credential": "storage-credentials",
    "external location": "external-locations",
    "catalog": "catalogs",
    "schema": "schemas",
    "volume": "volumes",
    "model": "models",
}
GRANTED_AS = {"model": "function"}
# What lets somebody make one, and on what.
TO_MAKE = {
    "storage credential": "CREATE STORAGE CREDENTIAL on the metastore",
    "external location": "CREATE EXTERNAL LOCATION on the metastore and on the storage credential",
    "catalog": "CREATE CATALOG on the metastore",
    "schema": "USE CATALOG and CREATE SCHEMA on catalog '{catalog}'",
    "volume": "USE SCHEMA and CREATE VOLUME on schema '{schema}', with USE CATALOG on catalog '{catalog}'",
    "model": "USE SCHEMA and CREATE MODEL on schema '{schema}', with USE CATALOG on catalog '{catalog}'",
}
# What lets somebody see one that they might have to make.
TO_SEE = {
    "catalog": "USE CATALOG and CREATE SCHEMA on catalog '{catalog}'",
    "schema": "USE SCHEMA on schema '{schema}', with USE CATALOG on catalog '{catalog}'",
    "volume": "READ VOLUME on volume '{name}', with USE SCHEMA on schema '{schema}'",
    "model": "EXECUTE on model '{name}', with USE SCHEMA on schema '{schema}'",
}
# What each may do, by the kind of what it is granted on. What the jobs make belongs to them.
OF_THE_JOBS = {
    "schema": ("CREATE_TABLE", "SELECT", "MODIFY"),
    "volume": ("READ_VOLUME",),
    "model": ("EXECUTE", "CREATE_MODEL_VERSION"),
}
# Besides: to make the model, where nobody has; to move the champion, where a job does it.
TO_MAKE_A_MODEL, TO_PROMOTE = {"schema": ("CREATE_MODEL",)}, {"model": ("MANAGE",)}
# Of databricks.yml.
VARIABLES = (
    "catalog",
    "schema",
    "data_root",
    "model_name",
    "model_owner",
    "promotion",
    "catalog_location",
    "access_connector",
)


class MissingRightError(DeploymentError):
    """The signed-in user lacks a right, which the message names."""


def ensure_unity_catalog(workspace: Workspace, target: Target) -> None:
    """Ensures the target's catalog, schema, volume and what is granted on them.

    The model too, where it is to have an owner, or is to be linked to its deployment job.

    What is there stays as it is, but for grants that are added, and for the owner of the model. Raises
    DeploymentError, which names what is missing, for what the user may not make or grant.
    """
    try:
        _ensure_all(workspace, target)
    except MissingRightError as error:
        if target.is_the_users_own(*VARIABLES):  # somebody else would make their own
            raise
        raise DeploymentError(
            f"{error}. Or let whoever has that run `make databricks-init` for this target once"
        ) from error


def _ensure_all(workspace: Workspace, target: Target) -> None:
    catalog, schema = target.text("catalog"), f"{target.text('catalog')}.{target.text('schema')}"
    _ensure_catalog(workspace, target, catalog)
    there = {"schema": schema}
    _ensure(workspace, "schema", schema, {})
    if volume := _volume_of(target.text("data_root")):
        _ensure(workspace, "volume", volume, {"volume_type": "MANAGED"})
        there["volume"] = volume
    model = target.text("model_name")
    if is_made := bool(target.text("model_owner")) or target.text("promotion") == DEPLOYMENT_JOB:
        _ensure(workspace, "model", model, {})
    if is_made or (target.runs_as and _find(workspace, "model", model)):
        there["model"] = model
    _grant_to_the_jobs(workspace, target, there)
    _give_the_model(workspace, target, there)


def _ensure_catalog(workspace: Workspace, target: Target, name: str) -> None:
    """The workspace's own stands in the error where another cannot be made."""
    location = target.text("catalog_location")
    if location and _find(workspace, "catalog", name) is None:
        _ensure_location(workspace, name, location, _connector_of(target))
    try:
        _ensure(workspace, "catalog", name, {"storage_root": location} if location else {})
    except DeploymentError as error:
        own = workspace.own_catalog()
        if own in ("", name):
            raise
        hint = f"; this workspace's own catalog is '{own}': take it with CATALOG={own}"
        kind = MissingRightError if isinstance(error, MissingRightError) else DeploymentError
        raise kind(f"{error}{hint}") from error


def _connector_of(target: Target) -> str:
    """The resource id of the access connector; `outputs` is the one of the target's Azure deployment."""
    given = target.text("access_connector")
    return azure.read_outputs(target.name).access_connector_id if given == "outputs" else given


def _ensure_location(workspace: Workspace, name: str, url: str, connector: str) -> None:
    """Ensures that an access connector opens a folder, with a credential and a location of this name."""
    if _find(workspace, "external location", name):
        return
    if not connector:
        raise DeploymentError(
            f"there is no external location '{name}' for {url}; give the resource id of the access connector "
            "that opens it with ACCESS_CONNECTOR=<id>; `outputs` is that of `make azure-deploy`"
        )
    identity = {"azure_managed_identity": {"access_connector_id": connector}}
    _ensure(workspace, "storage credential", name, identity)
    _ensure(workspace, "external location", name, {"url": url, "credential_name": name})


def _volume_of(data_root: str) -> str:
    """The full name of the volume that a path is in; empty for another path."""
    found = re.match(r"/Volumes/([^/]+)/([^/]+)/([^/]+)", data_root)
    return ".".join(found.groups()) if found else ""


def _grant_to_the_jobs(workspace: Workspace, target: Target, there: Mapping[str, str]) -> None:
    """Where the jobs run as somebody else than who deploys them, they get what they need."""
    if not (jobs := target.runs_as):
        return
    by_a_job = TO_PROMOTE if target.text("promotion") in ("automatic", DEPLOYMENT_JOB) else {}
    more = {**({} if "model" in there else TO_MAKE_A_MODEL), **by_a_job}
    for schema in dict.fromkeys(map(_schema_of, there.values())):
        _let_in(workspace, schema, jobs)
    for kind, name in there.items():
        _grant(workspace, kind, name, jobs, (*OF_THE_JOBS[kind], *more.get(kind, ())))


def _give_the_model(workspace: Workspace, target: Target, there: Mapping[str, str]) -> None:
    """The model goes to its owners last: who gives it away may grant nothing on it any more."""
    if not (owner := target.text("model_owner")):
        return
    model = there["model"]
    _let_in(workspace, _schema_of(model), owner)
    found = _find(workspace, "model", model) or {}
    if found.get("owner") != owner:
        aim, needed = f"give model '{model}' to '{owner}'", f"MANAGE on model '{model}'"
        _call(workspace, "PATCH", _path("model", model), {"owner": owner}, aim, needed)
    print(f"Model '{model}' belongs to '{owner}'")


def _ensure(workspace: Workspace, kind: str, name: str, more: Mapping[str, Any]) -> None:
    if found := _find(workspace, kind, name):
        print(f"{kind.capitalize()} '{name}' is there, of {found.get('owner', 'nobody')}")
        return
    *parents, last = name.split(".")
    above = dict(zip(("catalog_name", "schema_name"), parents, strict=False))
    body = {"name": last, **above, **more}
    aim = f"make {kind} '{name}', which is not there"
    try:
        _call(workspace, "POST", f"{API}/{COLLECTIONS[kind]}", body, aim, _needed(TO_MAKE, kind, name))
    except RestError as error:
        if not error.error_code.endswith("ALREADY_EXISTS"):
            raise
    print(f"{kind.capitalize()} '{name}' is created")


def _schema_of(name: str) -> str:
    """The full name of the schema that something is in, or is."""
    return ".".join(name.split(".")[:2])


def _let_in(workspace: Workspace, schema: str, to: str) -> None:
    """Grants the use of a schema and of its catalog."""
    _grant(workspace, "catalog", schema.partition(".")[0], to, ("USE_CATALOG",))
    _grant(workspace, "schema", schema, to, ("USE_SCHEMA",))


def _grant(workspace: Workspace, kind: str, name: str, to: str, privileges: Sequence[str]) -> None:
    """Adds what is not granted yet; says what is needed where the user may not see what is."""
    path = f"{API}/permissions/{GRANTED_AS.get(kind, kind).replace(' ', '_')}/{quote(name, safe='')}"
    try:
        listed = workspace.call("GET", path, repeats=True).get("privilege_assignments", [])
    except NotAllowedError:
        print(f"You may not see who has what on {kind} '{name}': '{to}' needs {', '.join(privileges)} there")
        return
    has = {each for one in listed if one["principal"] == to for each in one["privileges"]}
    if missing := [privilege for privilege in privileges if privilege not in has]:
        aim = f"grant {', '.join(missing)} on {kind} '{name}' to '{to}'"
        changes = {"changes": [{"principal": to, "add": missing}]}
        _call(workspace, "PATCH", path, changes, aim, f"MANAGE on {kind} '{name}'")
        print(f"'{to}' has {', '.join(missing)} on {kind} '{name}'")


def _find(workspace: Workspace, kind: str, name: str) -> dict[str, Any] | None:
    try:
        needed = _needed(TO_SEE, kind, name)
        return _call(workspace, "GET", _path(kind, name), None, f"see {kind} '{name}'", needed)
    except RestError as error:
        if error.status == 404:
            return None
        raise


def _needed(rights: Mapping[str, str], kind: str, name: str) -> str:
    """The right on something of this kind, with the names of what it is on."""
    right = rights.get(kind, f"BROWSE on {kind} '{{name}}'")
    return right.format(name=name, catalog=name.partition(".")[0], schema=_schema_of(name))


def _path(kind: str, name: str) -> str:
    return f"{API}/{COLLECTIONS[kind]}/{quote(name, safe='')}"


def _call(
    workspace: Workspace, method: str, path: str, body: Mapping[str, Any] | None, aim: str, needed: str
) -> dict[str, Any]:
    """One call that ends the same each time it is sent; `aim` says what it is for, `needed` what lets one."""
    content = {} if body is None else {"json": body}
    try:
        return workspace.call(method, path, repeats=True, **content)
    except NotAllowedError as error:
        raise MissingRightError(
            f"you may not {aim}: {error.said}. Ask for {needed} for '{workspace.user_name()}'"
        ) from error
