"""What a job is told through its widgets, checked before anything else happens.

An empty widget means the default that its settings declare here; one without a default has to be filled in.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

from diabetes.tabular.drift import DriftThresholds, find_smallest_p_value
from diabetes.tabular.metrics import Evaluation
from diabetes.tabular.parameters import ParameterError, Value, read_values
from diabetes.tabular.problem import Problem

from diabetes_mlops.runs.widgets import (
    BATCH_ID,
    DATA,
    DAYS,
    FORMAT,
    MODEL,
    NAMES,
    NUMBER,
    POSITIVE,
    SHARE,
    TABLE,
    TEXT,
    VERSION,
    WHOLE_NUMBER,
    Kind,
    SettingsError,
    Widget,
    Widgets,
    filled,
    matching,
    one_of,
    read_declared,
    text_of,
    widget,
    widgets_of,
)

# A folder of a container, as `abfss://` names it, and the first folder below /mnt.
_CONTAINER = re.compile(r"abfss://[a-z0-9$-]+@([a-z0-9]+\.dfs\.core\.windows\.net)(/.*)?")
_MOUNT = re.compile(r"(?:dbfs:)?(/mnt/[^/]+)(/.*)?")
_CONTAINER_FORM = "abfss://<container>@<account>.dfs.core.windows.net[/<folder>]"
_THRESHOLD = re.compile(r"([\w-]+)\s*(<=|>=)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
Credential = Literal["", "account-key", "service-principal"]
Promotion = Literal["automatic", "manual", "deployment-job"]

# What every notebook has beside its settings, for itself and for telemetry.
OF_THE_RUN = {
    "wheel_dir": Widget("Folder of the wheels", TEXT),
    "git_commit": Widget("Commit of the deployed code", TEXT),
    "job_id": Widget("Ids that telemetry carries: the job", TEXT),
    "job_run_id": Widget("Its run", TEXT),
    "task_run_id": Widget("The run of its task", TEXT),
}
_EXPERIMENT = "MLflow experiment"
_GIT_COMMIT = OF_THE_RUN["git_commit"].text
_PARAMETERS = Widget(
    "Parameters: name=value, ...; empty: training.py's defaults", Kind("name=value, with commas between", str)
)
_GATE = {
    "thresholds": Widget(
        "Gate: metric<=number, metric>=number, ...; empty: evaluation.py's",
        Kind("metric<=number or metric>=number, with commas between", NAMES.parse),
    ),
    "margin": Widget("Gate: how much above the champion's the error may be; empty: evaluation.py's", NUMBER),
    "max_slice_ratio": Widget(
        "Gate: largest error of a slice, in errors of all rows; empty: likewise", NUMBER
    ),
}
_DRIFT = {
    "psi_warn": Widget("Drift: smallest PSI that warns", POSITIVE, f"{DriftThresholds.psi_warn:g}"),
    "psi_alert": Widget("Drift: smallest PSI that alerts", POSITIVE, f"{DriftThresholds.psi_alert:g}"),
    "drift_significance": Widget(
        "Drift: chance of a false warning, all columns together",
        POSITIVE,
        f"{DriftThresholds.significance:g}",
    ),
}


@dataclass(frozen=True)
class Thresholds:
    """What a version must reach: each of `metrics`, and three bounds on its error, the primary metric.

    `margin` bounds how much worse than the champion a version may be: the upper end of the interval of
    error(version) - error(champion), by paired bootstrap on the same holdout rows, must not be above it. So
    an equal model passes, and one that may well be worse by more than the margin does not. A slice's error
    may be `max_slice_ratio` times that of all rows.
    """

    metrics: Mapping[str, float]
    margin: float
    max_slice_ratio: float

    @classmethod
    def of(cls, evaluation: Evaluation) -> Self:
        """Give what the problem asks for."""
        return cls(evaluation.thresholds, evaluation.margin, evaluation.max_slice_ratio)


@dataclass(frozen=True)
class TrainingSettings:
    """What a training run needs to know; `training_data` is a full path or a table name.

    `model_params` are those that are given; the others have the defaults of the problem. With `search_trials`
    above 0 that many sets of them are tried, and the given one is the first; one after another on the driver,
    or side by side on the Spark workers, with the same outcome.
    With `promotion` "manual" a version that passes the gate stays challenger until a person promotes it. With
    "deployment-job" the version is registered alone, and meets the gate in the deployment job of its model.
    """

    training_data: str = field(metadata=widget("Labelled data: file or table", DATA))
    experiment_name: str = field(metadata=widget(_EXPERIMENT, TEXT))
    model_name: str = field(metadata=widget("Model: catalog.schema.name", MODEL))
    thresholds: Thresholds = field(metadata=widgets_of(_GATE))
    model_params: Mapping[str, Value] = field(
        default_factory=dict, metadata=widgets_of({"model_params": _PARAMETERS})
    )
    search_trials: int = field(
        default=0, metadata=widget("Sets of parameters to try; 0: only the ones above", WHOLE_NUMBER)
    )
    search_on: Literal["driver", "workers"] = field(
        default="driver", metadata=widget("Where they are tried", one_of("driver", "workers"))
    )
    seed: int = field(default=0, metadata=widget("Seed of everything random", WHOLE_NUMBER))
    promotion: Promotion = field(
        default="automatic", metadata=widget("What passes the gate", one_of(*get_args(Promotion)))
    )
    git_commit: str = field(default="", metadata=widget(_GIT_COMMIT, TEXT))

    @classmethod
    def from_widgets(cls, widgets: Widgets, problem: Problem) -> Self:
        """Read and check the widgets of the training notebook; raises SettingsError."""
        return cls(
            **read_declared(cls, widgets),
            model_params=_model_params(widgets, problem),
            thresholds=_thresholds(widgets, problem.evaluation),
        )


@dataclass(frozen=True)
class DeploymentSettings:
    """What a task of the deployment job needs to know; `task` is its name."""

    model_name: str = field(metadata=widget("Model: catalog.schema.name", MODEL))
    model_version: str = field(metadata=widget("Version to deploy", VERSION))
    experiment_name: str = field(metadata=widget(_EXPERIMENT, TEXT))
    thresholds: Thresholds = field(metadata=widgets_of(_GATE))
    task: Literal["evaluate", "approval", "deploy"] = field(
        default="evaluate", metadata=widget("Task of the job", one_of("evaluate", "approval", "deploy"))
    )
    seed: int = field(default=0, metadata=widget("Seed of everything random", WHOLE_NUMBER))
    git_commit: str = field(default="", metadata=widget(_GIT_COMMIT, TEXT))
    job_run_id: str = field(default="", metadata=widget(OF_THE_RUN["job_run_id"].text, TEXT))

    @classmethod
    def from_widgets(cls, widgets: Widgets, problem: Problem) -> Self:
        """Read and check the widgets of the deployment notebook; raises SettingsError."""
        return cls(**read_declared(cls, widgets), thresholds=_thresholds(widgets, problem.evaluation))


@dataclass(frozen=True)
class ScoringSettings:
    """What a scoring run needs to know.

    An empty `model_version` means the champion, an empty `batch_id` one that is derived from the input, an
    empty `input_format` what the name or the folder tells. `carry_columns` go into the output as they are.
    Where a larger share of the rows than `max_rejected_share` cannot be scored, the run fails.
    """

    input_data: str = field(metadata=widget("Rows to score: files, folder or table", DATA))
    output_table: str = field(metadata=widget("Name of the scored rows: catalog.schema.table", TABLE))
    experiment_name: str = field(metadata=widget(_EXPERIMENT, TEXT))
    model_name: str = field(metadata=widget("Model: catalog.schema.name", MODEL))
    model_version: str = field(default="", metadata=widget("Version or alias; empty: the champion", VERSION))
    batch_id: str = field(default="", metadata=widget("Batch id; empty: derived from the rows", BATCH_ID))
    input_format: str = field(default="", metadata=widget("Format; empty: told by name or folder", FORMAT))
    carry_columns: tuple[str, ...] = field(
        default=(), metadata=widget("Columns to carry into the output, between commas", NAMES)
    )
    max_rejected_share: float = field(default=0.1, metadata=widget("Largest share of rejected rows", SHARE))
    drift: DriftThresholds = field(default_factory=DriftThresholds, metadata=widgets_of(_DRIFT))
    git_commit: str = field(default="", metadata=widget(_GIT_COMMIT, TEXT))

    @classmethod
    def from_widgets(cls, widgets: Widgets, problem: Problem) -> Self:
        """Read and check the widgets of the scoring notebook; raises SettingsError."""
        drift = _drift_thresholds(widgets, len(problem.schema.features) + 1)
        return cls(**read_declared(cls, widgets), drift=drift)


@dataclass(frozen=True)
class MonitoringSettings:
    """What a monitoring run needs to know.

    `output_table` is the table that scoring writes; `labels_data` has the true labels by ID, and is empty
    where there are none. Judged are the batches and the failed scoring runs of the last `lookback_days`,
    counted back from the newest of them. A batch of which more than `rejected_share_warn` was rejected is a
    warning, a true error above `max_error_ratio` times that on the holdout an alert. The job fails when
    things are at least as bad as `fail_on`; with an empty value it never fails for that.
    """

    output_table: str = field(metadata=widget("Name of the scored rows: catalog.schema.table", TABLE))
    experiment_name: str = field(metadata=widget("MLflow experiment of the scoring runs", TEXT))
    max_error_ratio: float = field(
        metadata=widgets_of(
            {
                "max_error_ratio": Widget(
                    "Alert: largest true error, in the holdout's; empty: evaluation.py's", POSITIVE
                )
            }
        )
    )
    labels_data: str = field(
        default="", metadata=widget("True labels, by ID: file or table; empty: there are none", DATA)
    )
    lookback_days: float = field(
        default=7.0, metadata=widget("Days judged, counted back from the newest scoring run", DAYS)
    )
    rejected_share_warn: float = field(
        default=0.05, metadata=widget("Warn: share of a batch's rows that is rejected, if larger", SHARE)
    )
    fail_on: Literal["", "warn", "alert"] = field(
        default="", metadata=widget("Status at which the job fails; empty: at none", one_of("warn", "alert"))
    )
    git_commit: str = field(default="", metadata=widget(_GIT_COMMIT, TEXT))

    @classmethod
    def from_widgets(cls, widgets: Widgets, problem: Problem) -> Self:
        """Read and check the widgets of the monitoring notebook; raises SettingsError."""
        name, limit = "max_error_ratio", problem.evaluation.max_error_ratio
        limit = POSITIVE.read(widgets, name) if text_of(widgets, name) else limit
        return cls(**read_declared(cls, widgets), max_error_ratio=limit)


@dataclass(frozen=True)
class AccessSettings:
    """How a job gets at the data below `data_root`.

    With a `data_credential` its secrets are read from `secret_scope`: for the `abfss://` folder that
    `data_root` is, or for the mount that `data_root` lies in, whose source is `mount_source`.
    """

    data_root: str = field(default="", metadata=widget("Folder of the data", TEXT))
    data_credential: Credential = field(
        default="", metadata=widget("Credential of data_root", one_of(*get_args(Credential)[1:]))
    )
    mount_source: str = field(
        default="", metadata=widget("Mount below /mnt: abfss://container@account...; empty: none", TEXT)
    )
    secret_scope: str = field(default="", metadata=widget("Secret scope of credentials and telemetry", TEXT))

    @classmethod
    def from_widgets(cls, widgets: Widgets) -> Self:
        """Read and check the widgets that each notebook has; raises SettingsError."""
        given = cls(**read_declared(cls, widgets))
        if given.mount_source:
            matching(_CONTAINER, _CONTAINER_FORM).read(widgets, "mount_source")
            form = "/mnt/<name>[/<folder>], because mount_source is given"
            matching(_MOUNT, form).read(widgets, "data_root")
            if given.data_credential == "account-key":
                raise SettingsError("a mount takes data_credential service-principal; got 'account-key'")
        elif given.data_credential:
            form = f"{_CONTAINER_FORM}, because data_credential is given"
            matching(_CONTAINER, form).read(widgets, "data_root")
        return replace(
            given,
            mount_source=given.mount_source.rstrip("/"),
            secret_scope=filled(widgets, "secret_scope") if given.data_credential else "",
        )

    @property
    def account_host(self) -> str:
        """The storage account that `data_root` lies in."""
        return _CONTAINER.sub(r"\1", self.data_root)

    @property
    def mount_point(self) -> str:
        """Where `mount_source` is to be mounted."""
        return _MOUNT.sub(r"\1", self.data_root)


def _model_params(widgets: Widgets, problem: Problem) -> dict[str, Value]:
    name = "model_params"
    try:
        return read_values(problem.parameters, text_of(widgets, name))
    except ParameterError as error:
        raise SettingsError(f"{name}: {error}") from error


def _thresholds(widgets: Widgets, evaluation: Evaluation) -> Thresholds:
    """Read the thresholds of the gate; those of the problem where none are given."""
    given: dict[str, Any] = {
        name: NUMBER.read(widgets, name) for name in ("margin", "max_slice_ratio") if text_of(widgets, name)
    }
    if texts := NAMES.read(widgets, "thresholds"):
        given["metrics"] = dict(_threshold(text, evaluation) for text in texts)
    return replace(Thresholds.of(evaluation), **given)


def _threshold(text: str, evaluation: Evaluation) -> tuple[str, float]:
    """Read a metric and what it must reach, such as `rmse<=70`."""
    signs = {name: "<=" if metric.better == "lower" else ">=" for name, metric in evaluation.metrics.items()}
    found = _THRESHOLD.fullmatch(text)
    if not found or signs.get(found[1]) != found[2]:
        forms = ", ".join(f"{name}{sign}<number>" for name, sign in signs.items())
        raise SettingsError(f"thresholds must be some of {forms}, with commas between; got {text!r}")
    return found[1], float(found[3])


def _drift_thresholds(widgets: Widgets, columns: int) -> DriftThresholds:
    """Read the thresholds of drift."""
    names = dict(zip(_DRIFT, ("psi_warn", "psi_alert", "significance"), strict=True))
    given = {
        name: POSITIVE.read(widgets, widget) for widget, name in names.items() if text_of(widgets, widget)
    }
    thresholds = DriftThresholds(**given)
    if thresholds.psi_alert < thresholds.psi_warn:
        raise SettingsError(
            f"psi_alert must not be below psi_warn; got {thresholds.psi_alert} and {thresholds.psi_warn}"
        )
    if thresholds.significance >= 1:
        raise SettingsError(f"drift_significance must be below 1; got {thresholds.significance}")
    if thresholds.significance <= (smallest := find_smallest_p_value(columns)):
        raise SettingsError(
            f"drift_significance must be above {smallest:g}, the smallest p-value there is, "
            f"or drift is never found; got {thresholds.significance}"
        )
    return thresholds
