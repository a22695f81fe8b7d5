"""The MLflow experiment that the runs go to; the `databricks` program has no command for it."""

from deployment.workspace import Workspace

API = "/api/2.0/mlflow/experiments"
# MLflow's page then opens on training runs, not on the traces of language models.
TRAINING_KIND = {"key": "mlflow.experimentKind", "value": "custom_model_development"}


def ensure_experiment(workspace: Workspace, name: str) -> str:
    """Finds, restores or creates the experiment of this name; returns its id."""
    found = workspace.find(f"{API}/get-by-name", experiment_name=name)
    if found is None:
        wanted = {"name": name, "tags": [TRAINING_KIND]}
        experiment_id = str(workspace.call("POST", f"{API}/create", json=wanted)["experiment_id"])
    else:
        experiment_id = str(found["experiment"]["experiment_id"])
        if found["experiment"].get("lifecycle_stage") == "deleted":
            workspace.call("POST", f"{API}/restore", json={"experiment_id": experiment_id})
    print(f"Experiment '{name}' has id {experiment_id}")
    return experiment_id
