"""How a person lets a version through: the tag of a version that its deployment job waits for.

It is called as the task of the job that looks for it, as the page of a version on Databricks expects. Imports
no MLflow, because a deployment reads it too.
"""

from collections.abc import Mapping
from typing import Final

# The value of `promotion` that leaves the champion to the deployment job.
DEPLOYMENT_JOB: Final = "deployment-job"
# The tasks of the job; Databricks knows the second one by the beginning of its name.
EVALUATE, APPROVAL, DEPLOY = "evaluate", "approval", "deploy"
APPROVED = "Approved"
# The tag that names the MLflow run with the report of the gate: of the training, or of the deployment job.
GATE_RUN = "gate_run"


def is_approved(tags: Mapping[str, str]) -> bool:
    """Whether the tags of a version say that a person has approved it."""
    return tags.get(APPROVAL, "").lower() == APPROVED.lower()
