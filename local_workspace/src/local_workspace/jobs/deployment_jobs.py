"""Which job each registered model starts when it gets a new version: MLflow 3 deployment jobs."""

import logging
from collections.abc import Callable

from flask import Flask, Response, request

from local_workspace.errors import ApiError, InvalidParameter
from local_workspace.jobs.job_starts import create_job_run
from local_workspace.store.database import Database, Document

KIND = "deployment_job"
# The parameters that such a job has to have.
PARAMETERS = ("model_name", "model_version")
# What MLflow's own registry does that matters here.
CREATE_VERSION, DELETE_MODEL = "/mlflow/model-versions/create", "/mlflow/registered-models/delete"


class DeploymentJobs:
    """Keeps the job of each model; `submit` starts a run that was created."""

    def __init__(self, database: Database, submit: Callable[[int], None]) -> None:
        self._database = database
        self._submit = submit

    def job_of(self, model: str) -> str:
        """The id of a model's job; empty where it has none."""
        return str((self._database.get(KIND, model) or {}).get("job_id", ""))

    def state_of(self, model: str) -> str:
        """How the connection stands, in MLflow's words."""
        job_id = self.job_of(model)
        if not job_id:
            return "NOT_SET_UP"
        job = self._database.get("job", job_id)
        if job is None:
            return "NOT_FOUND"
        return "REQUIRED_PARAMETERS_CHANGED" if _lacking(job) else "CONNECTED"

    def check(self, job_id: str) -> None:
        """Raise InvalidParameter for what is not the id of a job with the parameters."""
        job = self._database.get("job", job_id)
        if job is None:
            raise InvalidParameter(f"Job {job_id} does not exist.")
        if lacking := _lacking(job):
            raise InvalidParameter(f"job {job_id} lacks the parameters {lacking}, which a deployment job has")

    def connect(self, model: str, job_id: str) -> None:
        """Let each new version of a model start a job."""
        self.check(job_id)
        self._database.put(KIND, model, {"model": model, "job_id": job_id})

    def disconnect(self, model: str) -> None:
        """Let a new version of a model start nothing."""
        self._database.delete(KIND, model)

    def start(self, model: str, version: str) -> None:
        """Start the job of a model for a new version; one that cannot be started is told in the log."""
        if self.state_of(model) != "CONNECTED":
            return
        values = dict(zip(PARAMETERS, (model, version), strict=True))
        job = self._database.get("job", self.job_of(model))
        if job is None:  # deleted since its state was looked at
            return
        try:
            self._submit(create_job_run(self._database, job, values, trigger="MODEL")["run_id"])
        except ApiError:
            # The version is registered all the same.
            logging.getLogger(__name__).exception("the deployment job of %s has not started", model)


def watch(site: Flask, jobs: DeploymentJobs) -> None:
    """Start the jobs also of what is registered over MLflow's own registry."""

    @site.after_request
    def look(answer: Response) -> Response:
        if answer.status_code == 200 and request.path.endswith(CREATE_VERSION):
            made = answer.get_json()["model_version"]
            jobs.start(made["name"], str(made["version"]))
        if answer.status_code == 200 and request.path.endswith(DELETE_MODEL):
            jobs.disconnect(str((request.get_json(force=True, silent=True) or {}).get("name", "")))
        return answer


def models_of(database: Database, job_id: int) -> list[str]:
    """The models whose new versions start a job."""
    return sorted(each["model"] for each in database.all(KIND) if each["job_id"] == str(job_id))


def version_of(run: Document) -> tuple[str, str] | None:
    """The model and the version that a run deploys; None for any other run."""
    given = {each["name"]: str(each["value"]) for each in run.get("job_parameters", [])}
    model, version = (given.get(name, "") for name in PARAMETERS)
    return (model, version) if model and version else None


def _lacking(job: Document) -> list[str]:
    names = [parameter["name"] for parameter in job["settings"].get("parameters", [])]
    return [name for name in PARAMETERS if name not in names]
