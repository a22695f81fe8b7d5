"""The MLflow experiment that the runs go to; the `databricks` program has no command for it."""

from deployment.workspace import RestError, Workspace

API = "/api/2.0/mlflow/experiments"
# MLflow's page then opens on training runs, not on the traces of language models.
TRAINING_KIND = {"key": "mlflow.experimentKind", "value": "custom_model_development"}


def ensure_experiment(workspace: Workspace, name: str) -> str:
    """Finds, restores or creates the experiment of this name; returns its id."""
    try:
        found = workspace.call("GET", f"{API}/get-by-name", params={"experiment_name": name})["experiment"]
    except RestError as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        wanted = {"name": name, "tags": [TRAINING_KIND]}
        experiment_id = str(workspace.call("POST", f"{API}/create", json=wanted)["experiment_id"])
    else:
        experiment_id = str(found["experiment_id"])
        if found.get("lifecycle_stage") == "deleted":
            workspace.call("POST", f"{API}/restore", json={"experiment_id": experiment_id})
    print(f"Experiment '{name}' has id {experiment_id}")
    return experiment_id
