"""Tags of catalogs, schemas, tables, columns and volumes: `/api/2.1/unity-catalog/entity-tag-assignments`."""

from typing import Any

from fastapi import APIRouter

from local_workspace.errors import AlreadyExists, DoesNotExist, InvalidParameter
from local_workspace.rest.catalogs import PREFIX, Inventory
from local_workspace.rest.fields import RequestFields
from local_workspace.rest.paging import part
from local_workspace.rest.securables import CATALOG, SCHEMA, TABLE, VOLUME, securable
from local_workspace.store.database import Document

# By the word in an address; a column is named by its table and its own name.
KINDS = {"catalogs": CATALOG, "schemas": SCHEMA, "tables": TABLE, "columns": TABLE, "volumes": VOLUME}
CHANGING = ("APPLY_TAG", "MANAGE")
# As long as on Databricks.
LONGEST_KEY, LONGEST_VALUE, MOST_TAGS = 255, 1000, 50
LISTED_AT_ONCE = 100


def router(inventory: Inventory) -> APIRouter:
    """Tags, which who owns something may set, and who has APPLY TAG on it."""
    routes = APIRouter(prefix=f"{PREFIX}/entity-tag-assignments")
    of_entity = "/{entity_type}/{entity_name}/tags"
    of_tag = f"{of_entity}/{{tag_key:path}}"

    @routes.post("")
    def create_tag(fields: RequestFields) -> dict[str, Any]:
        """Set a tag that is not there yet."""
        entity = Entity(inventory, fields.text("entity_type"), fields.text("entity_name"))
        key = fields.text("tag_key")
        if key in entity.tags():
            raise AlreadyExists(f"Tag {key!r} of {entity} already exists.")
        return entity.put(key, fields.text("tag_value", ""))

    @routes.get(of_entity)
    def list_tags(entity_type: str, entity_name: str, fields: RequestFields) -> dict[str, Any]:
        """The tags of one thing, page by page."""
        entity = Entity(inventory, entity_type, entity_name)
        keys, more = part(entity.tags(), fields, LISTED_AT_ONCE)
        return {"tag_assignments": [entity.shown(key) for key in keys]} | more

    @routes.get(of_tag)
    def get_tag(entity_type: str, entity_name: str, tag_key: str) -> dict[str, Any]:
        """One tag."""
        return Entity(inventory, entity_type, entity_name).shown(tag_key)

    @routes.patch(of_tag)
    def change_tag(entity_type: str, entity_name: str, tag_key: str, fields: RequestFields) -> dict[str, Any]:
        """Give a tag another value."""
        entity = Entity(inventory, entity_type, entity_name)
        entity.shown(tag_key)
        return entity.put(tag_key, fields.text("tag_value", ""))

    @routes.delete(of_tag)
    def delete_tag(entity_type: str, entity_name: str, tag_key: str) -> dict[str, Any]:
        """Remove a tag."""
        entity = Entity(inventory, entity_type, entity_name)
        entity.shown(tag_key)
        entity.remove(tag_key)
        return {}

    return routes


class Entity:
    """What has tags: a securable that is there, or a column of a table."""

    def __init__(self, inventory: Inventory, kind: str, name: str) -> None:
        if kind not in KINDS:
            raise InvalidParameter(f"entity_type {kind!r:.100} is not one of {list(KINDS)}")
        self._kind, self._name = kind, name
        of, _, column = name.rpartition(".") if kind == "columns" else (name, "", "")
        self._one = inventory.require(securable(KINDS[kind], of))
        self._column = column
        self._rights = inventory.rights
        if kind == "columns":
            self._check_column(inventory)

    def __str__(self) -> str:
        return f"column {self._column!r} of {self._one}" if self._column else str(self._one)

    def tags(self) -> dict[str, str]:
        """The tags, for who may know what has them."""
        if not self._rights.may_see(self._one):
            raise DoesNotExist(f"{self._one} does not exist.")
        return tags_of(self._rights.record(self._one), self._column)

    def shown(self, key: str) -> Document:
        """A tag in the official form, or DoesNotExist."""
        if key not in (tags := self.tags()):
            raise DoesNotExist(f"Tag {key!r:.300} of {self} does not exist.")
        named = {"entity_type": self._kind, "entity_name": self._name}
        return named | {"tag_key": key, "tag_value": tags[key]}

    def put(self, key: str, value: str) -> Document:
        """Sets a tag."""
        if not 0 < len(key) <= LONGEST_KEY or len(value) > LONGEST_VALUE or not key.isprintable():
            raise InvalidParameter(
                f"tag {key[:300]!r}: a key has 1 to {LONGEST_KEY} characters that can be printed, a value at "
                f"most {LONGEST_VALUE}; the value has {len(value)}"
            )
        if len(self.tags() | {key: value}) > MOST_TAGS:
            raise InvalidParameter(f"{self} has {MOST_TAGS} tags, the most that there can be")
        self._change({key: value})
        return self.shown(key)

    def remove(self, key: str) -> None:
        """Removes a tag."""
        self._change({key: None})

    def _change(self, tags: dict[str, str | None]) -> None:
        self._rights.require(self._one, *CHANGING)
        self._rights.tag(self._one, self._column, tags)

    def _check_column(self, inventory: Inventory) -> None:
        fields = inventory.warehouse.table(*self._one.name.split("."))["fields"]
        if self._column not in (names := [field.name for field in fields]):
            raise DoesNotExist(f"{self._one} has no column {self._column!r:.300}; there are {names}")


def tags_of(record: Document, column: str = "") -> dict[str, str]:
    """The tags in the record of a securable, or of one of its columns."""
    tags: dict[str, str] = record.get("tags", {}).get(column, {})
    return tags
