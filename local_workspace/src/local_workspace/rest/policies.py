"""Cluster policies: what a cluster must, may and does have by default: `/api/2.0/policies/clusters`."""

import json
import re
import secrets
from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.clock import now
from local_workspace.errors import AlreadyExists, DoesNotExist, InvalidParameter
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.store.database import Database, Document

KIND = "cluster_policy"
# How an element of a policy's definition limits the attribute that it is named after.
TYPES = ("fixed", "allowlist", "blocklist", "range", "regex", "unlimited", "forbidden")


def router(database: Database) -> APIRouter:
    """Create, read, list, edit and delete policies."""
    routes = APIRouter(prefix="/api/2.0/policies/clusters")

    @routes.post("/create")
    def create_policy(fields: RequestFields) -> dict[str, Any]:
        """Make a policy of a name that no other has."""
        with database.transaction():
            policy_id = secrets.token_hex(8).upper()
            fixed = {"policy_id": policy_id, "creator_user_name": caller(), "created_at_timestamp": now()}
            database.put(KIND, policy_id, _settings(database, fields, policy_id) | fixed)
            return {"policy_id": policy_id}

    @routes.get("/get")
    def get_policy(fields: RequestFields) -> dict[str, Any]:
        """One policy."""
        return find_policy(database, fields.text("policy_id"))

    @routes.get("/list")
    def list_policies() -> dict[str, Any]:
        """Every policy."""
        return {"policies": database.all(KIND)}

    @routes.post("/edit")
    def edit_policy(fields: RequestFields) -> dict[str, Any]:
        """Replace name and definition; clusters that are there stay as they are."""
        with database.transaction():
            policy = find_policy(database, fields.text("policy_id"))
            change = _settings(database, fields, policy["policy_id"])
            database.put(KIND, policy["policy_id"], policy | change)
        return {}

    @routes.post("/delete")
    def delete_policy(fields: RequestFields) -> dict[str, Any]:
        """Remove a policy; clusters that obey it stay."""
        with database.transaction():
            database.delete(KIND, find_policy(database, fields.text("policy_id"))["policy_id"])
        return {}

    return routes


def obeyed(database: Database, cluster: Document) -> Document:
    """A cluster's settings with the values of its policy; InvalidParameter for what the policy forbids."""
    if not cluster.get("policy_id"):
        return cluster
    rules = json.loads(find_policy(database, str(cluster["policy_id"]))["definition"])
    if cluster.get("apply_policy_default_values"):
        for name, rule in rules.items():
            default = rule.get("value", rule.get("defaultValue"))
            if default is not None and _attribute(cluster, name) is None:
                cluster = _with_attribute(cluster, name, default)
    for name, rule in rules.items():
        value = _attribute(cluster, name)
        if value is not None and not _allows(rule, value):
            raise InvalidParameter(
                f"Validation failed for {name}, the value {value!r} is not allowed by the policy: {rule}"
            )
    return cluster


def find_policy(database: Database, policy_id: str) -> Document:
    """One policy's document."""
    policy = database.get(KIND, policy_id)
    if policy is None:
        raise DoesNotExist(f"Cluster policy {policy_id} does not exist.")
    return policy


def _settings(database: Database, fields: Fields, policy_id: str) -> Document:
    name, definition = fields.text("name"), fields.text("definition")
    if any(other["name"] == name and other["policy_id"] != policy_id for other in database.all(KIND)):
        raise AlreadyExists(f"A cluster policy named {name} exists already.")
    try:
        rules = json.loads(definition)
    except ValueError as error:
        raise InvalidParameter(f"the definition of a policy is JSON in a text: {error}") from error
    if not isinstance(rules, dict) or not all(
        isinstance(rule, dict) and rule.get("type") in TYPES for rule in rules.values()
    ):
        raise InvalidParameter(
            f"a policy's definition has an object with a type of {TYPES} for each attribute"
        )
    return {"name": name, "definition": definition, "description": fields.text("description", "")}


def _attribute(cluster: Document, name: str) -> Any:
    """The value of an attribute; `custom_tags.team` is the tag `team`."""
    first, _, rest = name.partition(".")
    value = cluster.get(first)
    return value if not rest or value is None else value.get(rest) if isinstance(value, dict) else None


def _with_attribute(cluster: Document, name: str, value: Any) -> Document:
    first, _, rest = name.partition(".")
    return cluster | {first: {**cluster.get(first, {}), rest: value} if rest else value}


def _allows(rule: Document, value: Any) -> bool:
    match rule["type"]:
        case "fixed":
            return bool(value == rule.get("value"))
        case "allowlist":
            return value in rule.get("values", [])
        case "blocklist":
            return value not in rule.get("values", [])
        case "range":
            lowest, largest = rule.get("minValue"), rule.get("maxValue")
            return isinstance(value, int | float) and (
                (lowest is None or value >= lowest) and (largest is None or value <= largest)
            )
        case "regex":
            return re.fullmatch(str(rule.get("pattern", "")), str(value)) is not None
        case "forbidden":
            return False
    return True
