"""Jobs that run at the same moment do not take each other's version."""

from concurrent.futures import ThreadPoolExecutor

import mlflow
import pandas as pd
import pytest
from diabetes_mlops import batch_score
from diabetes_mlops.models import registry
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from test_batch_score import BATCH, expected, found


def test_two_trainings_at_once_keep_their_versions_and_leave_one_champion(jobs):
    client = MlflowClient()
    widgets = [{"model_params": "alpha=0.5", "search_trials": "2"}, {"model_params": "alpha=300"}]

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda widget: jobs.train(**widget), widgets))

    assert {result["model_version"] for result in results} == {"1", "2"}
    for result in results:
        version = client.get_model_version(jobs.model_name, result["model_version"])
        model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/{version.version}")
        assert version.run_id == result["run_id"]
        assert model["predict"].alpha == result["model_params"]["alpha"]
    champion = registry.resolve_version(client, jobs.model_name, "")
    assert str(champion.version) in {r["model_version"] for r in results if r["alias"] == "champion"}
    assert "challenger" not in client.get_registered_model(jobs.model_name).aliases


def test_scoring_keeps_its_version_while_another_one_is_promoted(jobs, monkeypatch):
    client = MlflowClient()
    jobs.train(model_params="alpha=900")
    waiting = jobs.train(promotion="manual")
    publish = batch_score.publish

    def promote_and_publish(*arguments):
        challenger = registry.resolve_version(client, jobs.model_name, "challenger")
        registry.promote(client, challenger, by="ann", expected_champion="1")
        return publish(*arguments)

    monkeypatch.setattr(batch_score, "publish", promote_and_publish)
    result = jobs.score()

    assert (waiting["alias"], waiting["model_version"]) == ("challenger", "2")
    assert str(registry.resolve_version(client, jobs.model_name, "").version) == "2"
    assert result["model_version"] == "1"
    assert found(jobs, result) == expected(jobs, "1", pd.read_csv(BATCH))
    assert {row.model_version for row in jobs.rows(result["batch_id"]).collect()} == {"1"}


def test_scoring_ends_well_while_its_version_is_deleted(jobs, monkeypatch):
    client = MlflowClient()
    jobs.train()
    publish, answers = batch_score.publish, expected(jobs, "1", pd.read_csv(BATCH))

    def delete_and_publish(*arguments):
        client.delete_model_version(jobs.model_name, "1")
        return publish(*arguments)

    monkeypatch.setattr(batch_score, "publish", delete_and_publish)
    result = jobs.score()

    assert (result["model_version"], found(jobs, result)) == ("1", answers)
    with pytest.raises(registry.ModelNotFoundError):
        jobs.score()


class Disturbed(MlflowClient):
    """A client whose first alias meets another run, as MLflow's SQL store tells it."""

    met = False

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        if not self.met:
            self.met = True
            raise MlflowException(
                "UPDATE expected to update 1 row(s); 0 were matched.", error_code=BAD_REQUEST
            )
        super().set_registered_model_alias(name, alias, version)


def test_an_alias_that_another_run_touches_at_the_same_moment_is_set(tracking):
    client = Disturbed()
    client.create_registered_model("touched")
    version = client.create_model_version("touched", f"{tracking}/touched")

    registry.set_challenger(client, version)

    assert client.met
    assert str(client.get_model_version_by_alias("touched", "challenger").version) == "1"
