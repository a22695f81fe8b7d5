"""Writes down what each job may be told: `python -m deployment.job_settings`, with ml_ops on the path.

The page goes to standard output; `make docs` keeps it in docs/job_settings.md.
"""

from collections.abc import Iterator, Mapping

from diabetes_mlops.runs.settings import (
    OF_THE_RUN,
    AccessSettings,
    DeploymentSettings,
    MonitoringSettings,
    ScoringSettings,
    TrainingSettings,
)
from diabetes_mlops.runs.widgets import Widget, declared

from deployment.settings import DEFINITION, FOUND_OUT, ROOT, read_yaml
from deployment.targets import VARIABLE

JOBS: dict[str, type] = {
    "diabetes_model_training": TrainingSettings,
    "diabetes_model_deployment": DeploymentSettings,
    "diabetes_batch_scoring": ScoringSettings,
    "diabetes_monitoring": MonitoringSettings,
}
OF_EVERY_JOB = declared(AccessSettings) | OF_THE_RUN
TITLES = "| setting | | what it may be | default | the job gives |"
HEADING = f"""# What a job may be told

Written by `make docs` from the settings that the wheel declares; a test keeps it current, and the notebooks
and the definitions of the jobs with it.

Each is a widget of the notebook and a parameter of the job, and `PARAMS='name=value'` sets it for one run. An
empty one means its default, or what its line says. What a job gives by itself stands in its definition below
`ml_ops/deployment/databricks/jobs`; a name in capitals is a variable of [{DEFINITION}](../{DEFINITION}),
which `make` takes.
"""


def page() -> str:
    """The page."""
    lines = [HEADING]
    for job, settings in JOBS.items():
        own = {name: widget for name, widget in declared(settings).items() if name not in OF_EVERY_JOB}
        lines += _section(job, own, parameters_of(job))
    return "\n".join([*lines, *_section("Every job", OF_EVERY_JOB, parameters_of(next(iter(JOBS))))])


def widgets_of(job: str) -> dict[str, Widget]:
    """All widgets that a job's notebook has to have."""
    return declared(JOBS[job]) | OF_EVERY_JOB


def parameters_of(job: str) -> dict[str, str]:
    """What the definition of a job gives each widget, with the names of variables in it."""
    definition = read_yaml(ROOT / "ml_ops/deployment/databricks/jobs" / f"{job}.yml")
    settings = definition["resources"]["jobs"][job]
    given: dict[str, str] = {each["name"]: each["default"] for each in settings.get("parameters", [])}
    for task in settings["tasks"]:
        given |= task["notebook_task"]["base_parameters"]
    return given


def _section(title: str, widgets: Mapping[str, Widget], given: Mapping[str, str]) -> Iterator[str]:
    yield from (f"## {title}", "", TITLES, "|---" * 5 + "|")
    for name, widget in widgets.items():
        cells = (f"`{name}`", widget.text, widget.kind.form, _code(widget.default), _told(given[name]))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _told(value: str) -> str:
    variable = VARIABLE.fullmatch(value)
    if variable and variable[1] in FOUND_OUT:
        return "found out by `make deploy`"
    return _code(variable[1].upper() if variable else value)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    print(page(), end="")
