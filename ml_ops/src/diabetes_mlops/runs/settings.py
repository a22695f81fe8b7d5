"""What a job is told through its widgets, checked before anything else happens.

An empty widget means the default that its settings declare here; one without a default has to be filled in.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

from diabetes.tabular.drift import DriftThresholds, find_smallest_p_value
from diabetes.tabular.metrics import Evaluation
from diabetes.tabular.parameters import ParameterError, Value, read_values
from diabetes.tabular.problem import Problem

FILE_FORMATS = ("csv", "parquet", "delta")
_FILE_ENDINGS = (".csv", ".csv.gz", ".parquet")
_TABLE_NAME = re.compile(r"[\w-]+(\.[\w-]+){1,2}")
_MODEL_NAME = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
_VERSION_OR_ALIAS = re.compile(r"(\d+|[A-Za-z][\w-]*)?")
# A folder of a container, as `abfss://` names it, and the first folder below /mnt.
_CONTAINER = re.compile(r"abfss://[a-z0-9$-]+@([a-z0-9]+\.dfs\.core\.windows\.net)(/.*)?")
_MOUNT = re.compile(r"(?:dbfs:)?(/mnt/[^/]+)(/.*)?")
_BATCH_ID = re.compile(r"[\w.:=+-]{0,200}")
_THRESHOLD = re.compile(r"([\w-]+)\s*(<=|>=)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
# A hundred years.
_MOST_DAYS = 36_500
Credential = Literal["", "account-key", "service-principal"]
_Word = TypeVar("_Word", bound=str)


class SettingsError(ValueError):
    """A widget holds a value that the job cannot work with."""


class Widgets(Protocol):
    """The part of `dbutils.widgets` that the settings read; a dict of strings has it too."""

    def get(self, name: str, /) -> str | None:
        """Give the value of one widget."""


# How the value of one widget is read.
Reader = Callable[[Widgets, str], Any]


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
    With `promotion` "manual" a version that passes the gate stays challenger until a person promotes it.
    """

    training_data: str
    experiment_name: str
    model_name: str
    thresholds: Thresholds
    model_params: Mapping[str, Value] = field(default_factory=dict)
    search_trials: int = 0
    search_on: Literal["driver", "workers"] = "driver"
    seed: int = 0
    promotion: Literal["automatic", "manual"] = "automatic"
    git_commit: str = ""

    @classmethod
    def from_widgets(cls, widgets: Widgets, problem: Problem) -> Self:
        """Read and check the widgets of the training notebook; raises SettingsError."""
        given = _filled_in(
            cls,
            widgets,
            training_data=_data,
            experiment_name=_text,
            model_name=_model_name,
            model_params=_model_params(problem),
            search_trials=_whole_number,
            search_on=_choice("driver", "workers"),
            seed=_whole_number,
            promotion=_choice("automatic", "manual"),
            git_commit=_text,
        )
        return cls(**given, thresholds=_thresholds(widgets, problem.evaluation))


@dataclass(frozen=True)
class ScoringSettings:
    """What a scoring run needs to know.

    An empty `model_version` means the champion, an empty `batch_id` one that is derived from the input, an
    empty `input_format` what the name or the folder tells. `carry_columns` go into the output as they are.
    Where a larger share of the rows than `max_rejected_share` cannot be scored, the run fails.
    """

    input_data: str
    output_table: str
    experiment_name: str
    model_name: str
    model_version: str = ""
    batch_id: str = ""
    input_format: str = ""
    carry_columns: tuple[str, ...] = ()
    max_rejected_share: float = 0.1
    drift: DriftThresholds = field(default_factory=DriftThresholds)
    git_commit: str = ""

    @classmethod
    def from_widgets(cls, widgets: Widgets, problem: Problem) -> Self:
        """Read and check the widgets of the scoring notebook; raises SettingsError."""
        version = "empty, a version number or an alias"
        batch = "empty, or letters, digits and . _ : = + -"
        given = _filled_in(
            cls,
            widgets,
            input_data=_data,
            output_table=_table_name,
            experiment_name=_text,
            model_name=_model_name,
            model_version=_matching(_VERSION_OR_ALIAS, version),
            batch_id=_matching(_BATCH_ID, batch),
            input_format=_choice(*FILE_FORMATS),
            carry_columns=_names,
            max_rejected_share=_share,
            git_commit=_text,
        )
        return cls(**given, drift=_drift_thresholds(widgets, len(problem.schema.features) + 1))


@dataclass(frozen=True)
class MonitoringSettings:
    """What a monitoring run needs to know.

    `output_table` is the table that scoring writes; `labels_data` has the true labels by ID, and is empty
    where there are none. Judged are the batches and the failed scoring runs of the last `lookback_days`,
    counted back from the newest of them. A batch of which more than `rejected_share_warn` was set aside is a
    warning, a true error above `max_error_ratio` times that on the holdout an alert. The job fails when
    things are at least as bad as `fail_on`; empty: it never does for that.
    """

    output_table: str
    experiment_name: str
    max_error_ratio: float
    labels_data: str = ""
    lookback_days: float = 7.0
    rejected_share_warn: float = 0.05
    fail_on: Literal["", "warn", "alert"] = ""
    git_commit: str = ""

    @classmethod
    def from_widgets(cls, widgets: Widgets, problem: Problem) -> Self:
        """Read and check the widgets of the monitoring notebook; raises SettingsError."""
        given = _filled_in(
            cls,
            widgets,
            output_table=_table_name,
            experiment_name=_text,
            labels_data=_data,
            lookback_days=_days,
            rejected_share_warn=_share,
            fail_on=_choice("warn", "alert"),
            git_commit=_text,
        )
        name = "max_error_ratio"
        given[name] = (
            _positive_number(widgets, name) if _text(widgets, name) else problem.evaluation.max_error_ratio
        )
        return cls(**given)


@dataclass(frozen=True)
class AccessSettings:
    """How a job gets at the data below `data_root`.

    With a `credential` its secrets are read from `secret_scope`: for the `abfss://` folder that `data_root`
    is, or for the mount that `data_root` lies in, whose source is `mount_source`.
    """

    data_root: str = ""
    credential: Credential = ""
    mount_source: str = ""
    secret_scope: str = ""

    @classmethod
    def from_widgets(cls, widgets: Widgets) -> Self:
        """Read and check the widgets that each notebook has; raises SettingsError."""
        credentials = [credential for credential in get_args(Credential) if credential]
        filled = _text(widgets, "data_credential")
        credential: Credential = (
            _choice(*credentials)(widgets, "data_credential") if filled else cls.credential
        )
        mount_source = _text(widgets, "mount_source").rstrip("/")
        container = "abfss://<container>@<account>.dfs.core.windows.net[/<folder>]"
        if mount_source:
            _matching(_CONTAINER, container)(widgets, "mount_source")
            _matching(_MOUNT, "/mnt/<name>[/<folder>], because mount_source is given")(widgets, "data_root")
            if credential == "account-key":
                raise SettingsError("a mount takes data_credential service-principal; got 'account-key'")
        elif credential:
            _matching(_CONTAINER, f"{container}, because data_credential is given")(widgets, "data_root")
        return cls(
            data_root=_text(widgets, "data_root"),
            credential=credential,
            mount_source=mount_source,
            secret_scope=_filled(widgets, "secret_scope") if credential else "",
        )

    @property
    def account_host(self) -> str:
        """The storage account that `data_root` lies in."""
        return _CONTAINER.sub(r"\1", self.data_root)

    @property
    def mount_point(self) -> str:
        """Where `mount_source` is to be mounted."""
        return _MOUNT.sub(r"\1", self.data_root)


def is_path(source: str) -> bool:
    """Tell the path of a file or a folder from a table name."""
    return source.lower().endswith(_FILE_ENDINGS) or not _TABLE_NAME.fullmatch(source)


def _text(widgets: Widgets, name: str) -> str:
    return (widgets.get(name) or "").strip()


def _filled(widgets: Widgets, name: str) -> str:
    value = _text(widgets, name)
    if not value:
        raise SettingsError(f"{name} must not be empty")
    return value


def _filled_in(settings: type, widgets: Widgets, **readers: Reader) -> dict[str, Any]:
    """Read the widgets that are filled in, by field; the others keep their defaults, where they have one."""
    for needed in fields(settings):
        if needed.name in readers and needed.default is needed.default_factory is MISSING:
            _filled(widgets, needed.name)
    return {name: read(widgets, name) for name, read in readers.items() if _text(widgets, name)}


def _matching(pattern: re.Pattern[str], form: str) -> Callable[[Widgets, str], str]:
    def read(widgets: Widgets, name: str) -> str:
        value = _text(widgets, name)
        if not pattern.fullmatch(value):
            raise SettingsError(f"{name} must be {form}; got {value!r}")
        return value

    return read


_table_name = _matching(_TABLE_NAME, "[catalog.]schema.table")
_model_name = _matching(_MODEL_NAME, "catalog.schema.model")


def _positive_number(widgets: Widgets, name: str) -> float:
    return _number(widgets, name, "a positive number", above=0)


def _number(
    widgets: Widgets, name: str, form: str = "a number", above: float = -math.inf, most: float = math.inf
) -> float:
    value = _text(widgets, name)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (above < number <= most and math.isfinite(number)):
        raise SettingsError(f"{name} must be {form}; got {value!r}")
    return number


def _days(widgets: Widgets, name: str) -> float:
    return _number(widgets, name, f"days, above 0 and at most {_MOST_DAYS}", above=0, most=_MOST_DAYS)


def _whole_number(widgets: Widgets, name: str) -> int:
    value = _text(widgets, name)
    # NumPy's and Optuna's generators take 32 bits of seed.
    if not (re.fullmatch(r"[0-9]{1,10}", value) and int(value) < 2**32):
        raise SettingsError(f"{name} must be a whole number from 0 to {2**32 - 1}; got {value!r}")
    return int(value)


def _model_params(problem: Problem) -> Reader:
    def read(widgets: Widgets, name: str) -> dict[str, Value]:
        try:
            return read_values(problem.parameters, _text(widgets, name))
        except ParameterError as error:
            raise SettingsError(f"{name}: {error}") from error

    return read


def _thresholds(widgets: Widgets, evaluation: Evaluation) -> Thresholds:
    """Read the thresholds of the gate; those of the problem where none are given."""
    given: dict[str, Any] = {
        name: _number(widgets, name) for name in ("margin", "max_slice_ratio") if _text(widgets, name)
    }
    if texts := _names(widgets, "thresholds"):
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
    if thresholds.significance <= (smallest := find_smallest_p_value(columns)):
        raise SettingsError(
            f"drift_significance must be above {smallest:g}, the smallest p-value there is, "
            f"or drift is never found; got {thresholds.significance}"
        )
    return thresholds


def _choice(*choices: _Word) -> Callable[[Widgets, str], _Word]:
    def read(widgets: Widgets, name: str) -> _Word:
        value = _text(widgets, name)
        for choice in choices:
            if value == choice:
                return choice
        raise SettingsError(f"{name} must be {' or '.join(choices)}; got {value!r}")

    return read


def _names(widgets: Widgets, name: str) -> tuple[str, ...]:
    """Read names between commas."""
    return tuple(filter(None, (part.strip() for part in _text(widgets, name).split(","))))


def _share(widgets: Widgets, name: str) -> float:
    """Read a share from 0 to 1; 1 is no limit."""
    share = _number(widgets, name)
    if not 0 <= share <= 1:
        raise SettingsError(f"{name} must be a share from 0 to 1; got {share:g}")
    return share


def _data(widgets: Widgets, name: str) -> str:
    """Give a table name as it is, and a path with `data_root` before it when it is relative."""
    value = _filled(widgets, name).rstrip("/")
    if not is_path(value) or value.startswith("/") or ":" in value:
        return value
    return f"{_filled(widgets, 'data_root').rstrip('/')}/{value}"
