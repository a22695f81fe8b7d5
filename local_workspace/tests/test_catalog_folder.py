"""Which catalogs and schemas there are stands in a folder that needs no Spark."""

from pathlib import Path

import pytest
from local_workspace.spark.spark_catalogs import SparkCatalogs, levels_of


@pytest.fixture
def catalogs(tmp_path: Path) -> SparkCatalogs:
    return SparkCatalogs(tmp_path / "catalogs")


def test_a_workspace_begins_with_two_catalogs_that_spark_is_told_of(catalogs: SparkCatalogs):
    before = catalogs.names()
    catalogs.begin()

    assert before == catalogs.names() == ["main", "workspace"]
    assert catalogs.schemas("main") == ["default"]
    assert {"spark.sql.catalog.main", "spark.sql.catalog.samples"} < set(catalogs.settings())


def test_a_workspace_from_before_keeps_its_catalogs_and_schemas(catalogs: SparkCatalogs):
    catalogs.begin(["ml", "spark_catalog", "my-models"], ["ml.models", "spark_catalog.day", "my-models.x"])

    assert catalogs.names() == ["main", "ml", "workspace"]
    assert catalogs.schemas("ml") == ["default", "models"]


def test_what_was_removed_does_not_come_back(catalogs: SparkCatalogs):
    catalogs.begin()
    catalogs.remove("main")
    catalogs.begin(["ml"])

    assert catalogs.names() == ["workspace"]


@pytest.mark.parametrize("name", ["../outside", "-comment", "a b", "", "a-b", "A"])
def test_a_name_that_spark_cannot_have_leads_to_no_file(catalogs: SparkCatalogs, name: str):
    catalogs.begin()
    before = sorted(catalogs.folder.parent.rglob("*"))
    catalogs.make(name)
    catalogs.make_schema("main", name)
    catalogs.remove(name)

    assert sorted(catalogs.folder.parent.rglob("*")) == before
    assert catalogs.schemas(name) == []


@pytest.mark.parametrize(
    ("database", "levels"),
    [
        ("uc4_main_sales", ("main", "sales")),
        ("uc4_a__b_c", ("a__b", "c")),
        ("uc1_a__b_c", ("a", "_b_c")),
        ("uc4_main", None),
        ("uc9_main_sales", None),
        ("sales", None),
        ("uc_sales", None),
    ],
)
def test_the_hidden_schema_tells_catalog_and_schema(database: str, levels: tuple[str, str] | None):
    assert levels_of(database) == levels
