"""Owners and grants of Unity Catalog decide, for the official clients of several users."""

import io
from collections.abc import Callable, Iterator

import mlflow
import pytest
from databricks.sdk.errors import BadRequest, NotFound, PermissionDenied, ResourceAlreadyExists
from databricks.sdk.service.catalog import VolumeType
from people import ROWS, People, people_of, refusal, saved_model


@pytest.fixture(scope="module")
def people(real_workspace, tmp_path_factory) -> Iterator[People]:
    with people_of(real_workspace, tmp_path_factory.mktemp("people")) as everybody:
        everybody.admin.catalogs.create("ml", comment="of the tests")
        everybody.admin.schemas.create("models", "ml")
        yield everybody


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Callable[[], str]:
    """The address of a model; MLflow removes what was registered."""
    return lambda: saved_model(tmp_path_factory.mktemp("saved") / "model")


def test_clients_find_the_metastore_and_its_catalogs(people):
    assignment = people.admin.metastores.current()
    summary = people.admin.metastores.summary()
    catalogs = {catalog.name: catalog.owner for catalog in people.admin.catalogs.list()}

    assert assignment.default_catalog_name == "spark_catalog"
    assert (summary.metastore_id, summary.owner) == (assignment.metastore_id, "local.user@localhost")
    assert catalogs["spark_catalog"] == catalogs["ml"] == "local.user@localhost"
    with pytest.raises(ResourceAlreadyExists, match="'ml' already exists"):
        people.admin.catalogs.create("ml")
    with pytest.raises(NotFound, match="Catalog 'none' does not exist"):
        people.admin.catalogs.get("none")


def test_schemas_and_tables_are_those_of_spark(people):
    people.admin.schemas.create("shelf", "spark_catalog", comment="it's ours")
    names = {schema.name for schema in people.admin.schemas.list("spark_catalog")}
    tables = list(people.admin.tables.list("spark_catalog", "shelf"))
    missing = people.admin.tables.exists("spark_catalog.shelf.none").table_exists
    people.admin.schemas.delete("spark_catalog.shelf")

    assert {"default", "shelf"} <= names
    assert (tables, missing) == ([], False)
    with pytest.raises(NotFound):
        people.admin.schemas.get("spark_catalog.shelf")


def test_who_has_no_right_sees_nothing_and_is_told_what_is_missing(people):
    stranger = people.user("stranger@example.com")

    assert list(stranger.client.catalogs.list()) == []
    with pytest.raises(PermissionDenied) as told:
        stranger.client.catalogs.get("ml")
    assert told.value.error_code == "PERMISSION_DENIED"
    reason = "User does not have USE CATALOG on Catalog 'ml'. The user is stranger@example.com."
    assert str(told.value).startswith(reason)
    with pytest.raises(PermissionDenied, match="CREATE CATALOG on Metastore"):
        stranger.client.catalogs.create("mine")
    with pytest.raises(PermissionDenied, match="MANAGE on Catalog 'ml'"):
        stranger.client.grants.get("catalog", "ml")
    with pytest.raises(
        PermissionDenied, match=r"stranger@example\.com may not use /api/2\.0/mlflow/registered"
    ):
        stranger.client.api_client.do("GET", "/api/2.0/mlflow/registered-models/search")


def test_a_model_goes_through_its_life_with_the_rights_for_each_step(people, source):
    maker, promoter, reader = (people.user(f"{role}@example.com") for role in ("maker", "promoter", "reader"))
    name = "ml.models.life"
    for person in (maker, promoter, reader):
        people.grant(person.name, "catalog", "ml", "USE_CATALOG")
        people.grant(person.name, "schema", "ml.models", "USE_SCHEMA")

    no_model = refusal(lambda: maker.registry.create_registered_model(name))
    people.grant(maker.name, "schema", "ml.models", "CREATE_MODEL")
    maker.registry.create_registered_model(name)
    version = maker.registry.create_model_version(name, source()).version

    assert "User does not have CREATE MODEL on Schema 'ml.models'" in no_model
    assert maker.client.registered_models.get(name).owner == "maker@example.com"
    people.grant(promoter.name, "function", name, "EXECUTE")
    alias = refusal(lambda: promoter.registry.set_registered_model_alias(name, "champion", version))
    assert "User does not have MANAGE on Registered Model 'ml.models.life'. The user is promoter@" in alias
    assert "CREATE MODEL VERSION" in refusal(lambda: promoter.registry.create_model_version(name, source()))
    unread = refusal(lambda: reader.registry.get_registered_model(name))
    assert "EXECUTE on Registered Model" in unread

    people.grant(promoter.name, "function", name, "CREATE_MODEL_VERSION")
    second = promoter.registry.create_model_version(name, source()).version
    assert "MANAGE" in refusal(lambda: promoter.registry.set_registered_model_alias(name, "champion", second))
    assert "APPLY TAG" in refusal(lambda: promoter.registry.set_registered_model_tag(name, "team", "ml"))
    people.grant(promoter.name, "function", name, "MANAGE", "APPLY_TAG")
    promoter.registry.set_registered_model_alias(name, "champion", second)
    promoter.registry.set_registered_model_tag(name, "team", "ml")

    people.grant(reader.name, "function", name, "EXECUTE")
    found = reader.registry.get_model_version_by_alias(name, "champion")
    assert (found.version, found.user_id) == (second, "promoter@example.com")
    assert "MANAGE" in refusal(lambda: reader.registry.delete_registered_model(name))


def test_a_loader_needs_execute(people, source, tmp_path):
    loader, name = people.user("loader@example.com"), "ml.models.loaded"
    people.grant(loader.name, "catalog", "ml", "USE_CATALOG")
    people.grant(loader.name, "schema", "ml.models", "USE_SCHEMA")
    people.first.registry.create_registered_model(name)
    version = people.first.registry.create_model_version(name, source()).version
    people.grant(loader.name, "function", name, "CREATE_MODEL_VERSION")
    path = f"/Models/{name.replace('.', '/')}/{version}/MLmodel"
    assert "EXECUTE on Registered Model 'ml.models.loaded'" in refusal(
        lambda: loader.client.files.download(path)
    )

    people.grant(loader.name, "function", name, "EXECUTE")
    mlflow.set_registry_uri(f"databricks-uc://{loader.profile}")
    try:
        model = mlflow.pyfunc.load_model(f"models:/{name}/{version}")
    finally:
        mlflow.set_registry_uri(None)

    assert list(model.predict(ROWS)) == [2.0, 4.0]


def test_a_group_owns_and_its_members_may(people, source):
    pipeline = people.service_principal("pipeline")
    owner, other = people.user("owner@example.com"), people.user("other@example.com")
    group, name = people.group("promoters", owner), "ml.models.of_group"
    for who in (pipeline.name, other.name, group):
        people.grant(who, "catalog", "ml", "USE_CATALOG")
        people.grant(who, "schema", "ml.models", "USE_SCHEMA", "CREATE_MODEL", "EXECUTE")
    pipeline.registry.create_registered_model(name)
    version = pipeline.registry.create_model_version(name, source()).version
    assert "MANAGE" in refusal(lambda: owner.registry.set_registered_model_alias(name, "champion", version))

    pipeline.client.registered_models.update(name, owner=group)

    owner.registry.set_registered_model_alias(name, "champion", version)
    assert owner.client.registered_models.get(name).owner == "promoters"
    for person in (pipeline, other):
        told = refusal(lambda person=person: person.client.registered_models.delete_alias(name, "champion"))
        assert f"MANAGE on Registered Model '{name}'. The user is {person.name}" in told
    with pytest.raises(BadRequest, match="principal with name nobody"):
        people.admin.registered_models.update(name, owner="nobody")


def test_a_right_on_a_catalog_or_schema_is_one_on_what_is_in_it(people):
    heir, name = people.user("heir@example.com"), "ml.models.inherited"
    people.first.registry.create_registered_model(name)
    people.grant(heir.name, "catalog", "ml", "USE_CATALOG", "USE_SCHEMA", "EXECUTE")

    heir.registry.get_registered_model(name)
    effective = heir.client.grants.get_effective("function", name, principal=heir.name)

    told = {
        (each.privilege.value, each.inherited_from_name)
        for entry in effective.privilege_assignments
        for each in entry.privileges
    }
    assert told == {("USE_CATALOG", "ml"), ("USE_SCHEMA", "ml"), ("EXECUTE", "ml")}
    people.revoke(heir.name, "catalog", "ml", "EXECUTE")
    assert "EXECUTE" in refusal(lambda: heir.registry.get_registered_model(name))
    with pytest.raises(BadRequest, match=r"SELECT.*cannot be granted on a Registered Model"):
        people.grant(heir.name, "function", name, "SELECT")


def test_what_was_granted_on_a_model_is_gone_with_it(people):
    guest, name = people.user("guest@example.com"), "ml.models.again"
    people.grant(guest.name, "catalog", "ml", "USE_CATALOG", "USE_SCHEMA")
    people.first.registry.create_registered_model(name)
    people.grant(guest.name, "function", name, "EXECUTE")
    people.first.registry.delete_registered_model(name)
    people.first.registry.create_registered_model(name)

    assert "EXECUTE" in refusal(lambda: guest.registry.get_registered_model(name))


def test_files_of_a_volume_are_read_and_written_with_its_rights(people):
    user, path = people.user("filer@example.com"), "/Volumes/ml/models/files/a.txt"
    people.admin.volumes.create("ml", "models", "files", VolumeType.MANAGED)
    people.grant(user.name, "catalog", "ml", "USE_CATALOG", "USE_SCHEMA")

    def write() -> None:
        user.client.files.upload(path, io.BytesIO(b"a"), overwrite=True)

    assert "WRITE VOLUME on Volume 'ml.models.files'. The user is filer@" in refusal(write)
    people.grant(user.name, "volume", "ml.models.files", "WRITE_VOLUME")
    write()
    assert "READ VOLUME on Volume" in refusal(lambda: user.client.files.download(path))
    people.grant(user.name, "volume", "ml.models.files", "READ_VOLUME")
    assert user.client.files.download(path).contents.read() == b"a"
    for way in (f"dbfs:{path}", "/user/hive/warehouse", "/"):
        with pytest.raises(PermissionDenied, match=r"filer@example\.com may not use"):
            user.client.api_client.do("GET", "/api/2.0/dbfs/list", query={"path": way})
    with pytest.raises(PermissionDenied, match="a volume is made with CREATE VOLUME"):
        user.client.files.create_directory("/Volumes/ml")


def test_credentials_and_locations_are_kept_and_have_owners(people):
    made = people.admin.storage_credentials.create("lake", comment="kept")
    people.admin.external_locations.create("raw", "abfss://raw@lake.dfs.core.windows.net/", "lake")
    user = people.user("cloud@example.com")

    shown = people.admin.external_locations.get("raw")

    assert (made.name, made.owner) == ("lake", "local.user@localhost")
    assert (shown.url, shown.credential_name) == ("abfss://raw@lake.dfs.core.windows.net/", "lake")
    assert "READ FILES on External Location 'raw'" in refusal(
        lambda: user.client.external_locations.get("raw")
    )
    people.admin.external_locations.update("raw", owner=user.name)
    assert user.client.external_locations.get("raw").owner == user.name
    user.client.external_locations.delete("raw")
    assert list(people.admin.external_locations.list()) == []


def test_the_owner_of_the_metastore_may_be_a_group(people):
    user = people.user("steward@example.com")
    with pytest.raises(PermissionDenied):
        user.client.catalogs.create("stewards")
    metastore = people.admin.metastores.current().metastore_id
    people.admin.metastores.update(metastore, owner=people.group("stewards", user))
    try:
        assert user.client.catalogs.create("stewards").owner == user.name
        assert people.admin.catalogs.get("stewards").owner == user.name
    finally:
        people.admin.metastores.update(metastore, owner="local.user@localhost")
    user.client.catalogs.delete("stewards")
