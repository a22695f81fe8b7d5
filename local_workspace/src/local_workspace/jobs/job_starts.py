"""Makes the run of a job: by hand or by its schedule, with the values of its parameters."""

from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.jobs import value_references
from local_workspace.jobs.run_documents import new_run
from local_workspace.store.database import Database, Document


def create_job_run(
    database: Database, job: Document, values: Document | None = None, **details: Any
) -> Document:
    """Create a QUEUED run of a job; `values` are those of its parameters that differ from their defaults.

    `details` are further fields of the run; `settings` among them replace the job's own.
    """
    settings = details.pop("settings", job["settings"])
    chosen = _parameters(settings, values or {})
    with database.transaction():
        run = new_run(database, job["job_id"], "JOB_RUN", settings, job["creator_user_name"], **details)

        def resolve(document: Document) -> None:
            document["job_parameters"] = [
                {**parameter, "value": value_references.resolve(parameter["value"], run)}
                for parameter in chosen
            ]

        return database.update("run", str(run["run_id"]), resolve)


def create_scheduled_run(database: Database, job: Document) -> Document:
    """Create a QUEUED run of a job whose schedule says so."""
    return create_job_run(database, job, trigger="PERIODIC", schedule=job["settings"]["schedule"])


def _parameters(settings: Document, values: Document) -> list[Document]:
    declared = {parameter["name"]: parameter for parameter in settings.get("parameters", [])}
    unknown = sorted(set(values).difference(declared))
    if unknown:
        raise InvalidParameter(f"job_parameters {unknown} are not parameters of the job: {sorted(declared)}")
    for value in values.values():
        value_references.check(value)
    return [{**declared[name], "value": values.get(name, declared[name]["default"])} for name in declared]
