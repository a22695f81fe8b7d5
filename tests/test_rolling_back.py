"""A model and the code that scores with it go back together, and neither leaves the other behind."""

import io
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from databricks.sdk.service.workspace import ImportFormat
from science import ALWAYS, BATCH, FEATURE, count_rows, read_rows
from test_deployments import Team, make_checkout
from workspace_under_test import ROOT

FOLDER, MODEL = "/Shared/rolling_back", "spark_catalog.rolling_back.diabetes"
DATA_ROOT = "dbfs:/rolling_back/data"
HERE = (
    *("CATALOG=spark_catalog", "SCHEMA=rolling_back", "SECRET_SCOPE=rolling_back"),
    *(f"WORKSPACE_FOLDER={FOLDER}", f"EXPERIMENT={FOLDER}/experiment", f"DATA_ROOT={DATA_ROOT}"),
)
# What a team that reads one more column has at the end of its schema.py.
ONE_MORE = """
from dataclasses import replace
from diabetes.tabular import Column

SCHEMA = replace(SCHEMA, features=(Column("ONE_MORE", "number", "one more", "", 1, 7), *SCHEMA.features))
"""
TRAIN, SCORE = "run-diabetes-model-training", "run-diabetes-batch-scoring"

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass
class Story:
    """What each command printed, by a name for the moment."""

    team: Team
    codes: list[str] = field(default_factory=list)
    printed: dict[str, str] = field(default_factory=dict)
    listed_at_the_end: list[str] = field(default_factory=list)

    def make(self, moment: str, *arguments: str, ok: bool = True) -> None:
        self.printed[moment] = self.team.make(*arguments, *HERE, ok=ok)

    def deploy(self, moment: str, mark: str) -> None:
        self.codes.append(self.team.deploy(mark, *HERE, "KEEP_DEPLOYMENTS=1"))
        self.printed[moment] = self.team.printed

    def bring_input(self, without: list[str]) -> None:
        """Puts the rows to score where the job reads them, without some columns."""
        table = read_rows(BATCH).drop(columns=without)
        content = io.BytesIO(table.to_csv(index=False).encode())
        client = self.team.workspace.client
        client.dbfs.upload(f"{DATA_ROOT}/data_batch_input.csv", content, overwrite=True)

    def forget_schemas(self) -> None:
        """Makes of both versions of the model what they were before versions carried their schema."""
        client = self.team.workspace.client
        for number in ("1", "2"):
            version = client.api_client.do(
                "GET", "/api/2.0/mlflow/model-versions/get", query={"name": MODEL, "version": number}
            )["model_version"]
            contract = json.loads(next(tag["value"] for tag in version["tags"] if tag["key"] == "contract"))
            assert contract.pop("schema") == "own"
            tag = {"name": MODEL, "version": number, "key": "contract", "value": json.dumps(contract)}
            client.api_client.do("POST", "/api/2.0/mlflow/model-versions/set-tag", body=tag)
            model_id = version["source"].rpartition("/")[2]
            (file,) = self.team.workspace.state.rglob(f"{model_id}/artifacts/MLmodel")
            logged = yaml.safe_load(file.read_text())
            assert logged["metadata"].pop("schema")
            file.write_text(yaml.safe_dump(logged))

    def forget_contracts(self) -> None:
        """Makes of both versions of the model, and of the deployed code, what they were before contracts."""
        client = self.team.workspace.client
        for number in ("1", "2"):
            tag = {"name": MODEL, "version": number, "key": "contract"}
            client.api_client.do("DELETE", "/api/2.0/mlflow/model-versions/delete-tag", body=tag)
        path = f"{FOLDER}/code/deployments/{self.codes[-1]}/deployment.json"
        record = json.loads(client.workspace.download(path).read())
        assert record.pop("contract")["features"]
        content = io.BytesIO(json.dumps(record).encode())
        client.workspace.upload(path, content, format=ImportFormat.AUTO, overwrite=True)


def add_column(checkout: Path) -> None:
    """Gives the schema and the data one more number."""
    schema = checkout / "ml_source" / "src" / "diabetes" / "schema.py"
    schema.write_text(schema.read_text() + ONE_MORE)
    for name in ("data_raw.csv", "data_batch_input.csv"):
        table = read_rows(checkout / "ml_data" / name)
        table = table.assign(ONE_MORE=[row % 7 + 1 for row in range(len(table))])
        table.to_csv(checkout / "ml_data" / name, index=False)


@pytest.fixture(scope="module")
def story(demo, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A column is added and a model trained on it; both go back, also where versions carry no schema."""
    checkout = make_checkout(tmp_path_factory.mktemp("rolling_back") / "checkout")
    shutil.copytree(ROOT / "ml_data", checkout / "ml_data")
    team = Team(demo.workspace, checkout, "staging")
    demo.workspace.delete_jobs("[staging] ")
    story = Story(team)
    story.make("report before anything", "report", ok=False)
    story.make("init", "databricks-init")
    story.make("upload", "databricks-upload-data")
    story.deploy("first code", "one")
    story.make("first model", TRAIN)
    story.make("first scoring", SCORE)
    add_column(checkout)
    story.make("upload again", "databricks-upload-data", "OVERWRITE=1")
    story.deploy("second code", "two")
    story.make("scoring between", SCORE)
    story.make("second model", TRAIN, f"PARAMS={ALWAYS}")
    story.make("promote again", "promote", "VERSION=2")
    story.make("second scoring", SCORE)
    story.make("rollback at once", "rollback")
    story.make("scoring after it", SCORE)
    story.make("promote", "promote", "VERSION=2")
    story.forget_schemas()
    story.make("scoring with other columns", SCORE, "PARAMS=model_version=1", ok=False)
    story.make("rollback too early", "rollback", ok=False)
    story.make("promote too early", "promote", "VERSION=1", ok=False)
    story.forget_contracts()
    story.make("rollback without contracts", "rollback", ok=False)
    story.deploy("third code", "three")
    story.make("rollback of the code", "rollback-code", f"VERSION={story.codes[0]}")
    story.make("rollback of the code again", "rollback-code", f"VERSION={story.codes[0]}")
    story.bring_input(without=[FEATURE])
    story.make("rollback without a column in the input", "rollback", ok=False)
    story.bring_input(without=[])
    story.make("rollback", "rollback")
    story.make("third scoring", SCORE)
    story.make("rollback once more", "rollback", ok=False)
    story.listed_at_the_end = list(team.listed(*HERE))
    return story


@dataclass
class ByModel:
    """A roll-back of the code by a version of the model: the codes, oldest first, and what was printed."""

    codes: list[str]
    printed: dict[str, str]
    deployed: list[str]


@pytest.fixture(scope="module")
def by_model(story: Story) -> ByModel:
    """The code goes forth and back with the model; then the code is pruned that version 2 is of."""
    first, second, _ = story.codes
    team, printed = story.team, {}
    client = team.workspace.client.api_client
    printed["second"] = team.make("rollback-code", "MODEL_VERSION=2", *HERE)
    printed["champion"] = team.make("rollback-code", "MODEL_VERSION=champion", *HERE)
    printed["again"] = team.make("rollback-code", "MODEL_VERSION=1", *HERE)
    for wanted in ("9", "02", "nobody"):
        printed[wanted] = team.make("rollback-code", f"MODEL_VERSION={wanted}", *HERE, ok=False)
    both = ("rollback-code", f"VERSION={first}", "MODEL_VERSION=2")
    printed["both"] = team.make(*both, *HERE, ok=False)
    printed["neither"] = team.make("rollback-code", *HERE, ok=False)
    fourth = team.deploy("four", *HERE, "KEEP_DEPLOYMENTS=1")
    printed["pruned"] = team.make("rollback-code", "MODEL_VERSION=2", *HERE, ok=False)
    tag = {"name": MODEL, "version": "1", "key": "diabetes_version"}
    client.do("DELETE", "/api/2.0/mlflow/model-versions/delete-tag", body=tag)
    printed["not recorded"] = team.make("rollback-code", "MODEL_VERSION=1", *HERE, ok=False)
    return ByModel([first, second, fourth], printed, list(team.listed(*HERE)))


DIFFERENCE = "the model does not know columns ['ONE_MORE']"


def test_a_rollback_of_the_model_alone_is_refused_with_the_columns_and_the_command(story: Story) -> None:
    first, second, _ = story.codes

    for moment, then in (
        ("rollback too early", "make rollback"),
        ("promote too early", "make promote VERSION=1"),
        ("rollback without contracts", "make rollback"),
    ):
        assert f"scoring runs the code of {second}, which cannot use version 1" in story.printed[moment]
        assert f"{DIFFERENCE}. Nothing was changed" in story.printed[moment]
        assert f"first with `make rollback-code VERSION={first}`, then `{then}`\n" in story.printed[moment]


def test_code_and_model_go_back_one_after_the_other_and_score(story: Story) -> None:
    told = story.printed["rollback of the code"]

    assert "cannot use version 2, the champion of" in told and "the code lacks columns ['ONE_MORE']" in told
    assert "`make rollback` goes to version 1, which it can use" in told
    assert f"Version 1 is the champion of {MODEL} again" in story.printed["rollback"]
    assert re.search(count_rows(), story.printed["third scoring"])


def test_a_rollback_is_refused_while_the_input_lacks_a_column(story: Story) -> None:
    told = story.printed["rollback without a column in the input"]

    assert (
        f"the input of scoring, data_batch_input.csv, lacks columns {[FEATURE]}, which version 1 reads"
        in told
    )


def test_code_stays_that_trained_the_champion_or_the_version_before_it(story: Story) -> None:
    first, second, _ = story.codes

    assert f"{first} stays, because it trained version 1 of {MODEL}" in story.printed["third code"]
    assert f"{second} stays, because it trained version 2 of {MODEL}" in story.printed["third code"]
    assert set(story.codes) <= set(story.listed_at_the_end)


def test_code_of_one_more_column_scores_with_the_champion_and_judges_it(story: Story) -> None:
    assert "Note: " not in "".join(story.printed[f"{which} code"] for which in ("first", "second", "third"))
    between = story.printed["scoring between"]
    assert re.search(r"^ *model_version +1$", between, re.MULTILINE) and re.search(count_rows(), between)
    assert re.search(r"^ *alias +champion$", story.printed["second model"], re.MULTILINE)
    assert re.search(r"^ *decision\.champion +1$", story.printed["second model"], re.MULTILINE)


def test_the_model_goes_back_at_once_and_the_code_need_not(story: Story) -> None:
    assert f"Version 1 is the champion of {MODEL} again" in story.printed["rollback at once"]
    assert re.search(count_rows(), story.printed["scoring after it"])
    assert re.search(r"^ *model_version +1$", story.printed["scoring after it"], re.MULTILINE)


def test_code_that_goes_back_says_that_it_cannot_score_with_the_champion(story: Story) -> None:
    told = story.printed["rollback of the code"]
    assert "scoring fails from now on" in told and "version 2, the champion of" in told


def test_scoring_with_a_model_of_other_columns_says_which_and_what_to_do(story: Story) -> None:
    told = story.printed["scoring with other columns"]

    assert f"{DIFFERENCE}. It was trained by the code of {story.codes[0]}: `make promote`" in told


def test_what_is_so_already_is_said_and_is_no_error(story: Story) -> None:
    assert f"Version 2 is the champion of {MODEL} already" in story.printed["promote again"]
    again = story.printed["rollback of the code again"]
    assert again.count(f"runs the code of {story.codes[0]} already") == JOBS


def test_what_has_nothing_to_go_back_to_or_to_show_says_what_is_missing(story: Story) -> None:
    assert "deploy it with `make deploy`" in story.printed["report before anything"]
    assert (
        "version 1 was the first champion; `make promote VERSION=<number>` goes"
        in story.printed["rollback once more"]
    )


JOBS = 4


@pytest.mark.parametrize(("moment", "number", "code"), [("second", 2, 1), ("champion", 1, 0)])
def test_the_code_goes_back_to_what_trained_a_version_by_number_or_alias(
    by_model: ByModel, moment: str, number: int, code: int
) -> None:
    told, version = by_model.printed[moment], by_model.codes[code]

    assert f"Version {number} of {MODEL} was trained by the code of {version}\n" in told
    assert len(re.findall(rf"^Job .* runs the code of {re.escape(version)}$", told, re.MULTILINE)) == JOBS


def test_the_code_of_a_model_that_is_in_effect_is_said_to_be_so(by_model: ByModel) -> None:
    assert by_model.printed["again"].count(f"runs the code of {by_model.codes[0]} already") == JOBS


@pytest.mark.parametrize("wanted", ["9", "02", "nobody"])
def test_a_version_of_the_model_that_is_not_there_is_refused_with_those_that_are(
    by_model: ByModel, wanted: str
) -> None:
    has = f"{MODEL} has versions ['1', '2'] and aliases {{'champion': '1'"
    assert f"Error: no version or alias '{wanted}'; {has}" in by_model.printed[wanted]


def test_code_that_was_pruned_is_named_with_what_is_kept_and_how_to_bring_it_back(by_model: ByModel) -> None:
    first, second, fourth = by_model.codes

    assert set(by_model.deployed) == {first, fourth}
    was = f"version 2 of {MODEL} was trained by the code of {second}, which is not deployed any more"
    back = f"To bring it back, check out {second[-7:]} and `make deploy`"
    assert f"Error: {was}; kept are ['{fourth}', '{first}']. {back}\n" in by_model.printed["pruned"]


def test_a_version_that_does_not_tell_its_code_is_refused_with_its_commit(by_model: ByModel) -> None:
    told, commit = by_model.printed["not recorded"], by_model.codes[0][-7:]

    assert f"version 1 of {MODEL} was registered before versions of the code were recorded" in told
    assert f"Name the code itself, with VERSION={commit}, its commit; kept are [" in told


def test_the_code_and_the_model_are_not_both_named_and_one_of_them_is(by_model: ByModel) -> None:
    both = f"got VERSION='{by_model.codes[0]}' and MODEL_VERSION='2'. Give one of them"
    assert (
        "Error: rollback-code takes VERSION, of the code, or MODEL_VERSION, of the model"
        in (by_model.printed["both"])
    )
    assert both in by_model.printed["both"]
    assert "Error: which version? VERSION=<one of [" in by_model.printed["neither"]
    assert "or MODEL_VERSION=<of the model that it trained>" in by_model.printed["neither"]
