"""Each role of the table in docs/azure.md does its work with exactly its rights, and not with one less."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service.catalog import VolumeType
from databricks.sdk.service.jobs import NotebookTask, SubmitTask
from mlflow.exceptions import MlflowException
from people import People, Person, people_of, saved_model
from real_workspace import FOLDER

DOCUMENT = Path(__file__).parents[2] / "docs" / "azure.md"
SCHEMA = "spark_catalog.roles"
MODEL, PREDICTIONS = f"{SCHEMA}.kept", f"{SCHEMA}.predictions"
DATA = "/Volumes/spark_catalog/roles/data"
ROWS, RUNS = f"{PREDICTIONS}_rows", f"{PREDICTIONS}_runs"
# By the heading of a column: how the address of grants calls it, and a sentence.
PLACES = {
    "catalog": ("catalog", ["spark_catalog"], "Catalog"),
    "schema": ("schema", [SCHEMA], "Schema"),
    "volume": ("volume", [f"{SCHEMA}.data"], "Volume"),
    "model": ("function", [MODEL], "Registered Model"),
    "predictions": ("table", [PREDICTIONS], "Table"),
    "their rows and runs": ("table", [ROWS, RUNS], "Table"),
}
NOTEBOOK = """# Databricks notebook source
for statement in dbutils.widgets.get("statements").split(";"):
    spark.sql(statement).collect()
"""


@dataclass(frozen=True)
class Right:
    """One row of the table."""

    role: str
    privilege: str
    place: str

    @property
    def sentence(self) -> str:
        """What somebody without it is told."""
        _, names, title = PLACES[self.place]
        return f"User does not have {self.privilege} on {title} '{names[0]}'"


def table() -> list[Right]:
    """The rights in the table of the document: a role is a row, each place a column."""
    heading = f"| who | {' | '.join(PLACES)} |\n{'|---' * (len(PLACES) + 1)}|\n"
    rows = DOCUMENT.read_text().partition(heading)[2].partition("\n\n")[0].splitlines()
    found = []
    for row in rows:
        who, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        role = who.partition(":")[0]
        for place, cell in zip(PLACES, cells, strict=True):
            found += [Right(role, privilege, place) for privilege in cell.split(", ") if privilege]
    assert found, "there is no such table"
    return found


RIGHTS = table()
ROLES = list(dict.fromkeys(right.role for right in RIGHTS))


class Work:
    """What the roles do, each step with the official clients of one person."""

    def __init__(self, people: People, person: Person, folder: Path) -> None:
        self.people = people
        self.person = person
        self.folder = folder
        self.own = f"of_{person.profile.replace('-', '_')}"

    def spark(self, *statements: str) -> None:
        """Runs statements in a notebook of the person's."""
        parameters = {"statements": ";".join(statements)}
        task = SubmitTask(
            "main",
            existing_cluster_id=self.people.workspace.cluster_id(),
            notebook_task=NotebookTask(f"{FOLDER}/statements", base_parameters=parameters),
        )
        jobs = self.person.client.jobs
        run_id = jobs.submit(tasks=[task]).response.run_id
        run = self.people.workspace.finished(run_id)
        output = jobs.get_run_output(run["tasks"][0]["run_id"])
        if output.error:
            raise DatabricksError(output.error)

    def read_data(self) -> None:
        self.person.client.files.download(f"{DATA}/rows.csv").contents.read()

    def upload_data(self) -> None:
        self.person.client.files.upload(f"{DATA}/{self.own}.csv", io.BytesIO(b"x\n1\n"))

    def register_own_model(self) -> None:
        name = f"{SCHEMA}.{self.own}"
        self.person.registry.create_registered_model(name)
        version = self.person.registry.create_model_version(name, saved_model(self.folder)).version
        self.person.registry.set_registered_model_alias(name, "champion", version)

    def load(self) -> None:
        self.person.client.files.download(f"/Models/{MODEL.replace('.', '/')}/1/MLmodel").contents.read()

    def add_version(self) -> None:
        self.person.registry.create_model_version(MODEL, saved_model(self.folder))

    def promote(self) -> None:
        self.person.registry.set_registered_model_alias(MODEL, self.own, "1")
        self.person.registry.delete_registered_model_alias(MODEL, self.own)

    def set_up_own_schema(self) -> None:
        """What `make databricks-init` and the jobs make in `dev`, all of it one's own."""
        schema = f"spark_catalog.{self.own}"
        client = self.person.client
        client.schemas.create(self.own, "spark_catalog")
        client.volumes.create("spark_catalog", self.own, "data", VolumeType.MANAGED)
        client.files.upload(f"/Volumes/spark_catalog/{self.own}/data/rows.csv", io.BytesIO(b"x\n1\n"))
        self.person.registry.create_registered_model(f"{schema}.own")
        self.person.registry.create_model_version(f"{schema}.own", saved_model(self.folder))
        self.person.registry.set_registered_model_alias(f"{schema}.own", "champion", "1")
        self.spark(f"CREATE TABLE {schema}.scored AS SELECT 1L AS id", f"SELECT * FROM {schema}.scored")

    def do(self, role: str) -> None:
        """The whole work of a role."""
        for step in WORK[role]:
            step(self)


WORK: dict[str, list[Callable[[Work], None]]] = {
    "you, in `dev`": [Work.set_up_own_schema],
    "data scientist": [
        Work.read_data,
        Work.register_own_model,
        lambda work: work.spark(
            f"CREATE TABLE {SCHEMA}.{work.own} (id BIGINT)",
            f"INSERT INTO {SCHEMA}.{work.own} VALUES (1)",
            f"DROP TABLE {SCHEMA}.{work.own}",
        ),
    ],
    "pipeline": [
        Work.read_data,
        Work.load,
        Work.add_version,
        Work.promote,
        lambda work: work.spark(
            f"CREATE TABLE {SCHEMA}.{work.own} AS SELECT 'a run' AS run_id, 1L AS id, 2.0D AS prediction",
            f"INSERT INTO {ROWS} SELECT * FROM {SCHEMA}.{work.own}",
            f"SELECT count(*) FROM {ROWS} WHERE run_id = 'a run'",
            f"INSERT INTO {RUNS} SELECT run_id FROM {SCHEMA}.{work.own}",
            f"SELECT count(*) FROM {PREDICTIONS}",
            f"DELETE FROM {ROWS} WHERE run_id = 'replaced'",
            f"DROP TABLE {SCHEMA}.{work.own}",
        ),
    ],
    "promoter": [Work.load, Work.promote],
    "reader of predictions": [lambda work: work.spark(f"SELECT * FROM {PREDICTIONS}")],
    "who uploads the data": [Work.upload_data, Work.read_data],
}


@pytest.fixture(scope="module")
def people(real_workspace, tmp_path_factory) -> Iterator[People]:
    with people_of(real_workspace, tmp_path_factory.mktemp("people")) as everybody:
        real_workspace.upload(f"{FOLDER}/statements", NOTEBOOK)
        everybody.admin.schemas.create("roles", "spark_catalog")
        everybody.admin.files.upload(f"{DATA}/rows.csv", io.BytesIO(b"x\n1\n"))
        registry = everybody.first.registry
        registry.create_registered_model(MODEL)
        registry.create_model_version(MODEL, saved_model(tmp_path_factory.mktemp("saved") / "model"))
        Work(everybody, everybody.first, tmp_path_factory.mktemp("first")).spark(
            f"CREATE TABLE {ROWS} (run_id STRING, id BIGINT, prediction DOUBLE)",
            f"CREATE TABLE {RUNS} (run_id STRING)",
            f"CREATE VIEW {PREDICTIONS} AS SELECT * FROM {ROWS} JOIN {RUNS} USING (run_id)",
        )
        yield everybody


@pytest.fixture
def work(people, tmp_path, request) -> Callable[[list[Right]], Work]:
    """What is to be done by somebody new, who has these rights and no other."""

    def of_new_person(rights: list[Right]) -> Work:
        name = re.sub(r"\W+", "-", request.node.name.lower()).strip("-")
        person = people.user(f"{name}@example.com")
        members = people.group(f"group-{name}", person)
        for right in rights:
            kind, names, _ = PLACES[right.place]
            for name in names:
                people.grant(members, kind, name, right.privilege.replace(" ", "_"))
        return Work(people, person, tmp_path / "model")

    return of_new_person


def test_every_role_of_the_document_has_its_work_here():
    assert list(WORK) == ROLES


@pytest.mark.parametrize("role", ROLES)
def test_a_role_does_its_work_with_exactly_its_rights(role, work):
    work([right for right in RIGHTS if right.role == role]).do(role)


@pytest.mark.parametrize("missing", RIGHTS, ids=lambda right: f"{right.role}-{right.privilege}")
def test_a_role_without_one_of_its_rights_is_told_which(missing, work):
    rights = [right for right in RIGHTS if right.role == missing.role and right != missing]

    with pytest.raises((DatabricksError, MlflowException)) as refused:
        work(rights).do(missing.role)

    assert missing.sentence in str(refused.value)
