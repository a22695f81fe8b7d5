"""`make databricks-init` makes what the jobs need in Unity Catalog, and gives each role its rights there."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied
from databricks.sdk.service.iam import ComplexValue
from deployment.data import upload_data
from deployment.errors import DeploymentError
from deployment.settings import DEFINITION, ROOT
from deployment.targets import Target
from deployment.unity_catalog import ensure_unity_catalog
from deployment.workspace import User, Workspace
from programs import any_cli
from workspace_under_test import WorkspaceUnderTest

ADMIN = "local.user@localhost"
OWNERS = "promoters"


class Team:
    """An administrator, a service principal that the jobs run as, and a person of the promoters."""

    def __init__(self, workspace: WorkspaceUnderTest, folder: Path) -> None:
        self.host, self._folder = workspace.profile["host"], folder
        self._tokens = {ADMIN: workspace.profile["token"]}
        admin = workspace.client
        principal = admin.service_principals.create(display_name="pipeline")
        self.jobs = str(principal.application_id)
        token = admin.token_management.create_obo_token(self.jobs, lifetime_seconds=3600)
        self._tokens[self.jobs] = str(token.token_value)
        self.promoter, self.outsider = "ida@example.com", "ivo@example.com"
        for person in (self.promoter, self.outsider):
            self._tokens[person] = workspace.make_user(person)
        member = ComplexValue(value=self.client(self.promoter).current_user.me().id)
        admin.groups.create(display_name=OWNERS, members=[member])

    def client(self, who: str) -> WorkspaceClient:
        return WorkspaceClient(host=self.host, token=self._tokens[who], auth_type="pat")

    def init(self, who: str, given: Mapping[str, str]) -> None:
        """What `make databricks-init` does in Unity Catalog for the target prod, by one of them."""
        definition = yaml.safe_load((ROOT / DEFINITION).read_text())
        definition["targets"]["prod"]["run_as"] = {"service_principal_name": self.jobs}
        (self._folder / DEFINITION).write_text(yaml.safe_dump(definition))
        target = Target("prod", lambda: User(who), given, self._folder)
        ensure_unity_catalog(self.workspace(who), target)

    def workspace(self, who: str) -> Workspace:
        return Workspace(who, None, self.host, lambda: self._tokens[who])


@pytest.fixture(scope="module")
def team(demo, tmp_path_factory: pytest.TempPathFactory) -> Team:
    return Team(demo.workspace, tmp_path_factory.mktemp("team"))


def given(catalog: str, **more: str) -> dict[str, str]:
    return {
        "catalog": catalog,
        "data_root": f"/Volumes/{catalog}/diabetes/data/day",
        "model_owner": OWNERS,
    } | more


def test_what_is_missing_is_made_and_what_is_there_stays(team: Team, capsys):
    location = "abfss://tables@mlopsdata.dfs.core.windows.net/prod"
    settings = given("made", catalog_location=location, access_connector="/subscriptions/1/connector")
    team.init(ADMIN, settings)
    first = capsys.readouterr().out
    team.init(ADMIN, settings)

    assert [line.removesuffix(" is created") for line in first.splitlines() if line.endswith("created")] == [
        "Storage credential 'made'",
        "External location 'made'",
        "Catalog 'made'",
        "Schema 'made.diabetes'",
        "Volume 'made.diabetes.data'",
        "Model 'made.diabetes.diabetes'",
    ]
    assert "created" not in (again := capsys.readouterr().out) and "' has " not in again
    admin = team.client(ADMIN)
    assert admin.catalogs.get("made").storage_root == location
    assert admin.external_locations.get("made").credential_name == "made"
    assert admin.registered_models.get("made.diabetes.diabetes").owner == OWNERS


@pytest.mark.parametrize("promotion", ["automatic", "manual", "deployment-job"])
def test_the_owners_promote_and_the_jobs_only_where_a_job_does(team: Team, promotion: str):
    catalog, by_a_job = f"by_{promotion}", promotion != "manual"
    team.init(ADMIN, given(catalog, promotion=promotion))
    model = f"{catalog}.diabetes.diabetes"

    def set_alias(who: str) -> None:
        team.client(who).registered_models.set_alias(model, "champion", 1)

    for who in (team.promoter, *([team.jobs] if by_a_job else [])):
        with pytest.raises((NotFound, InvalidParameterValue)):  # it may, and there is no version yet
            set_alias(who)
    for who in (team.outsider, *([] if by_a_job else [team.jobs])):
        with pytest.raises(PermissionDenied):
            set_alias(who)


def test_whoever_may_not_make_it_is_told_what_is_missing(team: Team, capsys):
    with pytest.raises(DeploymentError) as error:
        team.init(team.outsider, given("of_nobody"))

    said = str(error.value)
    assert said.startswith("you may not make catalog 'of_nobody', which is not there: ")
    assert "this workspace's own catalog is 'spark_catalog': take it with CATALOG=spark_catalog." in said
    assert "CREATE_CATALOG" in said.upper().replace(" ", "_") and said.endswith(
        "Or let whoever has that run `make databricks-init` for this target once"
    )
    assert f"Ask for CREATE CATALOG on the metastore for '{team.outsider}'" in said
    assert "is created" not in capsys.readouterr().out


def test_whoever_makes_their_own_is_told_what_to_ask_for_and_not_to_let_somebody_else_make_it(team: Team):
    own = Target("dev", lambda: User(team.outsider), {"catalog": "spark_catalog"})

    with pytest.raises(DeploymentError) as error:
        ensure_unity_catalog(team.workspace(team.outsider), own)

    said = str(error.value)
    assert said.endswith(
        f". Ask for USE CATALOG and CREATE SCHEMA on catalog 'spark_catalog' for '{team.outsider}'"
    )
    assert "CATALOG=" not in said and "databricks-init" not in said


def test_an_upload_before_the_schema_is_there_says_that_it_may_not_be(team: Team, tmp_path: Path):
    cli, folder = any_cli(team.workspace(team.outsider)), "/Volumes/spark_catalog/not_there/data"

    with pytest.raises(DeploymentError) as error:
        upload_data(cli, folder, files=[ROOT / "ml_data" / "data_raw.csv"])

    said = str(error.value)
    assert said.endswith("or it is not there yet: run `make databricks-init`") and ".." not in said


def test_a_location_without_a_connector_is_asked_for(team: Team):
    location = "abfss://tables@mlopsdata.dfs.core.windows.net/other"

    with pytest.raises(DeploymentError, match=r"external location 'unopened'.*ACCESS_CONNECTOR=<id>"):
        team.init(ADMIN, given("unopened", catalog_location=location))


def test_a_missing_cluster_leaves_the_rest_made(demo):
    workspace: WorkspaceUnderTest = demo.workspace
    given = ("SCHEMA=before_the_cluster", "SECRET_SCOPE=before-the-cluster", "CREATE_CLUSTER=0")

    refused = workspace.make(
        "databricks-init", "CLUSTER_NAME=absent", *given, "TARGET=dev", "WORKSPACE=local"
    )

    assert refused.returncode and "no cluster is called 'absent'" in refused.stderr
    assert workspace.client.schemas.get("spark_catalog.before_the_cluster").owner == ADMIN
    assert "Secret scope 'before-the-cluster' is created" in refused.stdout
