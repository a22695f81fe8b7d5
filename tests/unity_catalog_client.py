"""What a data scientist's script does with MLflow at `databricks` and `databricks-uc`; prints what it saw.

Run by test_unity_catalog.py in a process of its own: MLflow remembers where it tracks.
"""

import json
import logging
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.pyfunc import PythonModel, load_model, log_model

logging.getLogger("mlflow").setLevel(logging.ERROR)
ROWS = pd.DataFrame({"x": [1.0, 2.0]})


class Twice(PythonModel):
    """Doubles its column."""

    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> pd.Series:
        return model_input["x"] * 2


def refused(call: str, *arguments: str) -> str:
    """The code of the error that a call of the client ends in."""
    try:
        getattr(MlflowClient(), call)(*arguments)
    except MlflowException as error:
        return str(error.error_code)
    return "not refused"


def register_what_was_tracked_over_http(name: str) -> bool:
    """Whether a model can be registered twice: registering it, MLflow removes the folder of its files."""
    mlflow.set_tracking_uri(os.environ["DATABRICKS_HOST"])
    with mlflow.start_run() as run:
        logged = log_model(
            name="model",
            python_model=Twice(),
            signature=infer_signature(ROWS, ROWS["x"]),
            pip_requirements=[],
        )
    folder = Path(urlsplit(mlflow.get_logged_model(logged.model_id).artifact_location).path)
    before = sorted(file.name for file in folder.rglob("*"))
    mlflow.register_model(logged.model_uri, name)
    mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
    mlflow.get_logged_model(logged.model_id)
    return before == sorted(file.name for file in folder.rglob("*"))


def main(name: str, other_model: str) -> None:
    """Registers a model twice, and goes through all that the registry can do with it."""
    client = MlflowClient()
    mlflow.set_experiment("/Shared/unity_catalog")
    with mlflow.start_run() as run:
        mlflow.log_text("kept", "notes/note.txt")
        signature = infer_signature(ROWS, ROWS["x"])
        log_model(
            name="model",
            python_model=Twice(),
            signature=signature,
            pip_requirements=[],
            registered_model_name=name,
        )
    mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
    first, second = client.get_model_version(name, "1"), client.get_model_version(name, "2")

    client.set_registered_model_alias(name, "champion", "2")
    client.set_model_version_tag(name, "2", "gate", "passed")
    client.update_model_version(name, "2", description="the second")
    client.set_registered_model_tag(name, "team", "ml")
    champion = client.get_model_version_by_alias(name, "champion")
    seen = {
        "artifact_uri": run.info.artifact_uri,
        "note": mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/note.txt"),
        "statuses": [first.status, second.status],
        "same_run": {first.run_id, second.run_id} == {run.info.run_id},
        "model_id": second.model_id,
        "champion": [champion.version, champion.aliases, champion.tags, champion.description],
        "aliases": client.get_registered_model(name).aliases,
        "tags": client.get_registered_model(name).tags,
        "versions": sorted(version.version for version in client.search_model_versions(f"name='{name}'")),
        "listed": name in [model.name for model in client.search_registered_models()],
        "predictions": list(load_model(f"models:/{name}@champion").predict(ROWS)),
        "predictions_of_the_first": list(load_model(f"models:/{name}/1").predict(ROWS)),
        "other_flavors": sorted(mlflow.models.get_model_info(f"models:/{other_model}@champion").flavors),
    }
    client.delete_registered_model_alias(name, "champion")
    client.delete_model_version_tag(name, "2", "gate")
    client.delete_registered_model_tag(name, "team")
    client.delete_model_version(name, "1")
    seen |= {
        "after": [client.get_model_version(name, "2").tags, client.get_registered_model(name).tags],
        "no_alias": refused("get_model_version_by_alias", name, "champion"),
        "no_version": refused("get_model_version", name, "1"),
        "taken": refused("create_registered_model", name),
        "two_levels": refused("create_registered_model", "two.levels"),
    }
    client.delete_registered_model(name)
    seen["kept_files"] = register_what_was_tracked_over_http(f"{name}_over_http")
    print(json.dumps(seen | {"gone": refused("get_registered_model", name)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
