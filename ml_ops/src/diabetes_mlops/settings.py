"""What a job is told through its widgets, checked before anything else happens."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

from diabetes.drift import DriftThresholds, Status

from diabetes_mlops.gate import Thresholds

FILE_ENDINGS = (".csv", ".csv.gz", ".parquet")
_TABLE_NAME = re.compile(r"[\w-]+(\.[\w-]+){1,2}")
_MODEL_NAME = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
_VERSION_OR_ALIAS = re.compile(r"(\d+|[A-Za-z][\w-]*)?")
_BATCH_ID = re.compile(r"[\w.:=+-]{0,200}")


class SettingsError(ValueError):
    """A widget holds a value that the job cannot work with."""


class Widgets(Protocol):
    """The part of `dbutils.widgets` that the settings read; a dict of strings has it too."""

    def get(self, name: str, /) -> str | None:
        """Give the value of one widget."""


@dataclass(frozen=True)
class TrainingSettings:
    """What a training run needs to know; `training_data` is a full path or a table name.

    With `search_trials` above 0 that many values of alpha are tried, and `alpha` is the first of them.
    With `promotion` "manual" a version that passes the gate stays challenger until a person promotes it.
    """

    training_data: str
    experiment_name: str
    model_name: str
    alpha: float
    search_trials: int = 0
    seed: int = 0
    thresholds: Thresholds = field(default_factory=Thresholds)
    promotion: Literal["automatic", "manual"] = "automatic"
    git_commit: str = ""

    @classmethod
    def from_widgets(cls, widgets: Widgets) -> Self:
        """Read and check the widgets of the training notebook; raises SettingsError."""
        return cls(
            training_data=_data(widgets, "training_data"),
            experiment_name=_filled(widgets, "experiment_name"),
            model_name=_matching(widgets, "model_name", _MODEL_NAME, "catalog.schema.model"),
            alpha=_positive_number(widgets, "alpha"),
            search_trials=_whole_number(widgets, "search_trials"),
            seed=_whole_number(widgets, "seed"),
            thresholds=_thresholds(widgets),
            promotion=_promotion(widgets),
            git_commit=_text(widgets, "git_commit"),
        )


@dataclass(frozen=True)
class ScoringSettings:
    """What a scoring run needs to know.

    An empty `model_version` means the champion, an empty `batch_id` one that is derived from the input.
    """

    input_data: str
    output_table: str
    experiment_name: str
    model_name: str
    model_version: str = ""
    batch_id: str = ""
    drift: DriftThresholds = field(default_factory=DriftThresholds)
    git_commit: str = ""

    @classmethod
    def from_widgets(cls, widgets: Widgets) -> Self:
        """Read and check the widgets of the scoring notebook; raises SettingsError."""
        version = "empty, a version number or an alias"
        batch = "empty, or letters, digits and . _ : = + -"
        return cls(
            input_data=_data(widgets, "input_data"),
            output_table=_matching(widgets, "output_table", _TABLE_NAME, "[catalog.]schema.table"),
            experiment_name=_filled(widgets, "experiment_name"),
            model_name=_matching(widgets, "model_name", _MODEL_NAME, "catalog.schema.model"),
            model_version=_matching(widgets, "model_version", _VERSION_OR_ALIAS, version),
            batch_id=_matching(widgets, "batch_id", _BATCH_ID, batch),
            drift=_drift_thresholds(widgets),
            git_commit=_text(widgets, "git_commit"),
        )


@dataclass(frozen=True)
class MonitoringSettings:
    """What a monitoring run needs to know.

    `output_table` is the table that scoring writes; `labels_data` has the true labels by ID, and is empty
    where there are none. A true rmse above `max_rmse_ratio` times the rmse on the holdout is an alert. The
    job fails when things are at least as bad as `fail_on`; None: it never does for that.
    """

    output_table: str
    experiment_name: str
    labels_data: str = ""
    max_rmse_ratio: float = 1.5
    fail_on: Status | None = None
    git_commit: str = ""

    @classmethod
    def from_widgets(cls, widgets: Widgets) -> Self:
        """Read and check the widgets of the monitoring notebook; raises SettingsError."""
        return cls(
            output_table=_matching(widgets, "output_table", _TABLE_NAME, "[catalog.]schema.table"),
            experiment_name=_filled(widgets, "experiment_name"),
            labels_data=_data(widgets, "labels_data") if _text(widgets, "labels_data") else "",
            max_rmse_ratio=_positive_number(widgets, "max_rmse_ratio"),
            fail_on=_fail_on(widgets),
            git_commit=_text(widgets, "git_commit"),
        )


def is_file(source: str) -> bool:
    """Tell a path to a file from a table name, by its ending."""
    return source.endswith(FILE_ENDINGS)


def _text(widgets: Widgets, name: str) -> str:
    return (widgets.get(name) or "").strip()


def _filled(widgets: Widgets, name: str) -> str:
    value = _text(widgets, name)
    if not value:
        raise SettingsError(f"{name} must not be empty")
    return value


def _matching(widgets: Widgets, name: str, pattern: re.Pattern[str], form: str) -> str:
    value = _text(widgets, name)
    if not pattern.fullmatch(value):
        raise SettingsError(f"{name} must be {form}; got {value!r}")
    return value


def _positive_number(widgets: Widgets, name: str) -> float:
    return _number(widgets, name, "a positive number", above=0)


def _number(widgets: Widgets, name: str, form: str = "a number", above: float = -math.inf) -> float:
    value = _text(widgets, name)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (number > above and math.isfinite(number)):
        raise SettingsError(f"{name} must be {form}; got {value!r}")
    return number


def _whole_number(widgets: Widgets, name: str) -> int:
    """Give a count; empty means 0."""
    value = _text(widgets, name) or "0"
    # NumPy's and Optuna's generators take 32 bits of seed.
    if not (re.fullmatch(r"[0-9]{1,10}", value) and int(value) < 2**32):
        raise SettingsError(f"{name} must be a whole number from 0 to {2**32 - 1}; got {value!r}")
    return int(value)


def _thresholds(widgets: Widgets) -> Thresholds:
    """Read the thresholds of the gate; an empty widget means the default."""
    names = ("max_rmse", "min_r2", "margin", "max_slice_ratio")
    return Thresholds(**{name: _number(widgets, name) for name in names if _text(widgets, name)})


def _drift_thresholds(widgets: Widgets) -> DriftThresholds:
    """Read the thresholds of drift; an empty widget means the default."""
    names = {"psi_warn": "psi_warn", "psi_alert": "psi_alert", "drift_significance": "significance"}
    given = {
        field: _positive_number(widgets, widget) for widget, field in names.items() if _text(widgets, widget)
    }
    thresholds = DriftThresholds(**given)
    if thresholds.psi_alert < thresholds.psi_warn:
        raise SettingsError(
            f"psi_alert must not be below psi_warn; got {thresholds.psi_alert} and {thresholds.psi_warn}"
        )
    if thresholds.significance >= 1:
        raise SettingsError(f"drift_significance must be below 1; got {thresholds.significance}")
    return thresholds


def _fail_on(widgets: Widgets) -> Status | None:
    match _text(widgets, "fail_on"):
        case "":
            return None
        case "warn":
            return "warn"
        case "alert":
            return "alert"
        case other:
            raise SettingsError(f"fail_on must be empty, warn or alert; got {other!r}")


def _promotion(widgets: Widgets) -> Literal["automatic", "manual"]:
    match _text(widgets, "promotion"):
        case "" | "automatic":
            return "automatic"
        case "manual":
            return "manual"
        case other:
            raise SettingsError(f"promotion must be automatic or manual; got {other!r}")


def _data(widgets: Widgets, name: str) -> str:
    """Give a table name as it is, and a file's path with `data_root` before it when it is relative."""
    value = _filled(widgets, name).rstrip("/")
    if not is_file(value):
        if _TABLE_NAME.fullmatch(value):
            return value
        form = f"a path that ends in {', '.join(FILE_ENDINGS)}, or [catalog.]schema.table"
        raise SettingsError(f"{name} must be {form}; got {value!r}")
    if value.startswith("/") or ":" in value:
        return value
    return f"{_filled(widgets, 'data_root').rstrip('/')}/{value}"
