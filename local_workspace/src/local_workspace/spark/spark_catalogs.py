"""The catalogs beside Spark's own, and their schemas: a folder for each catalog, a file for each schema.

Spark's extension reads and writes the same folder. A catalog's tables lie in schemas of Spark's own catalog,
whose names tell both; nobody sees those.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

SPARKS_OWN = "spark_catalog"
MAIN, OF_THE_WORKSPACE = "main", "workspace"
# Those that cannot be written to, with their schemas: `samples` has a made-up table, and `system` only the
# `information_schema` that every catalog has.
READ_ONLY = {"samples": ["nyctaxi"], "system": []}
PLUG_IN = "local_workspace.Catalog"
FOLDER = "LOCAL_WORKSPACE_CATALOGS"
_COMMENT = "-comment"  # the file with the comment of a catalog: no schema can be called that
_NAME = re.compile(r"[a-z0-9_]+")
_DATABASE = re.compile(r"uc(\d{1,3})_(.+)")


class SparkCatalogs:
    """The catalogs that are kept in a folder; without the folder, those that every workspace begins with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """The catalogs that tables can be made in, beside Spark's own."""
        if not self.folder.is_dir():
            return [MAIN, OF_THE_WORKSPACE]
        return sorted(child.name for child in self.folder.iterdir() if child.is_dir())

    def schemas(self, catalog: str) -> list[str]:
        """The schemas of one of them; none where there is no such catalog."""
        if catalog in READ_ONLY:
            return READ_ONLY[catalog]
        folder = self.folder / catalog
        if not is_name(catalog) or not folder.is_dir():
            return []
        return sorted(child.name for child in folder.iterdir() if child.name != _COMMENT)

    def begin(self, catalogs: Iterable[str] = (), schemas: Iterable[str] = ()) -> None:
        """Makes the first catalogs of a workspace, and what it had of them before Spark knew any."""
        if self.folder.is_dir():
            return
        for name in (MAIN, OF_THE_WORKSPACE, *catalogs):
            if name not in (SPARKS_OWN, *READ_ONLY):
                self.make(name)
        for full_name in schemas:
            self.make_schema(*full_name.split("."))

    def make(self, catalog: str, comment: str = "") -> None:
        """Makes a catalog with its schema `default`; nothing where Spark has no such names."""
        if is_name(catalog):
            self._write(catalog, _COMMENT, comment)
            self._write(catalog, "default", "")

    def make_schema(self, catalog: str, schema: str, comment: str = "") -> None:
        """Makes a schema of a catalog; nothing where Spark has no such names."""
        if is_name(catalog) and is_name(schema) and (self.folder / catalog).is_dir():
            self._write(catalog, schema, comment)

    def remove(self, catalog: str) -> None:
        """Forgets a catalog; what is in it has to be gone."""
        if is_name(catalog):
            shutil.rmtree(self.folder / catalog, ignore_errors=True)

    def settings(self) -> dict[str, str]:
        """By which Spark knows the catalogs when it starts."""
        return {f"spark.sql.catalog.{name}": PLUG_IN for name in [*self.names(), *READ_ONLY]}

    def environment(self) -> dict[str, str]:
        """By which Spark's extension finds the folder."""
        return {FOLDER: str(self.folder)}

    def _write(self, catalog: str, file: str, comment: str) -> None:
        (self.folder / catalog).mkdir(parents=True, exist_ok=True)
        (self.folder / catalog / file).write_text(comment)


def levels_of(database: str) -> tuple[str, str] | None:
    """The catalog and the schema for which a schema of Spark's own stands; None where it is itself."""
    match = _DATABASE.fullmatch(database)
    if not match:
        return None
    length, names = int(match[1]), match[2]
    is_one = names[length : length + 1] == "_" and len(names) > length + 1
    return (names[:length], names[length + 1 :]) if is_one else None


def is_name(name: str) -> bool:
    """Whether Spark can have such a catalog or schema."""
    return _NAME.fullmatch(name) is not None
