"""A job tells which widget is wrong before it does anything."""

import ast
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from diabetes.tabular import Parameter, Problem
from diabetes.tabular.drift import DriftThresholds
from diabetes_mlops.runs.settings import (
    OF_THE_RUN,
    AccessSettings,
    DeploymentSettings,
    MonitoringSettings,
    ScoringSettings,
    Thresholds,
    TrainingSettings,
)
from diabetes_mlops.runs.widgets import SettingsError, Widget, declared
from problems import PATIENTS, TUMOURS

TRAINING = {
    "data_root": "dbfs:/project/data/",
    "training_data": "data_raw.csv",
    "experiment_name": "/Shared/project",
    "model_name": "main.diabetes.diabetes",
}
SCORING = {
    "data_root": "/Volumes/main/diabetes/data",
    "input_data": "data_batch_input.csv",
    "output_table": "main.diabetes.scored",
    "experiment_name": "/Shared/project",
    "model_name": "main.diabetes.diabetes",
}


MONITORING = {
    "data_root": "dbfs:/project/data",
    "output_table": "main.diabetes.scored",
    "experiment_name": "/Shared/project",
}
DEPLOYMENT = {
    "experiment_name": "/Shared/project",
    "model_name": "main.diabetes.diabetes",
    "model_version": "3",
}
# Each job by the end of its notebook's name: its settings, and what stands in for those that are needed.
ORCHESTRATOR = Path(__file__).parents[1] / "orchestrator"
JOBS: dict[str, tuple[type, dict[str, str]]] = {
    "train": (TrainingSettings, TRAINING),
    "batch_score": (ScoringSettings, SCORING),
    "monitor": (MonitoringSettings, MONITORING),
    "deploy": (DeploymentSettings, DEPLOYMENT),
}


def shown_in(job: str) -> dict[str, tuple[str, ...]]:
    """What a job's notebook shows of each widget: the value at first, the choices of a list, the text."""
    (notebook,) = ORCHESTRATOR.glob(f"*_orchestrator_{job}.py")
    calls = re.findall(r"^dbutils\.widgets\.\w+(\(.+\))$", notebook.read_text(), re.MULTILINE)
    return {name: tuple(rest) for name, *rest in map(ast.literal_eval, calls)}


def widgets_of(job: str) -> dict[str, str]:
    """The widgets of a job's notebook, with their defaults."""
    return {name: default for name, (default, *_) in shown_in(job).items()}


@pytest.mark.parametrize("job", JOBS)
def test_a_notebook_has_the_widgets_that_the_settings_declare(job: str):
    wanted = declared(JOBS[job][0]) | declared(AccessSettings) | OF_THE_RUN
    shown = {
        name: (widget.default, *([choices(widget)] if widget.kind.choices else []), widget.text)
        for name, widget in wanted.items()
    }

    assert shown_in(job) == shown


def choices(widget: Widget) -> list[str]:
    """What a list offers: the empty one too where that is the default."""
    return [*([] if widget.default else [""]), *widget.kind.choices]


def told(job: str, widgets: dict[str, str]) -> Any:
    """All that a job makes of its widgets: its settings, or what it says is wrong."""
    try:
        return JOBS[job][0].from_widgets(widgets, PATIENTS), AccessSettings.from_widgets(widgets)
    except SettingsError as error:
        return str(error)


WIDGETS = [(job, widget) for job in JOBS for widget in widgets_of(job)]


@pytest.mark.parametrize("empty", ["", " \t"])
@pytest.mark.parametrize(("job", "widget"), WIDGETS)
def test_an_empty_widget_is_one_that_is_left_out(job: str, widget: str, empty: str):
    others = {name: value for name, value in JOBS[job][1].items() if name != widget}

    assert told(job, others | {widget: empty}) == told(job, others)


@pytest.mark.parametrize(("job", "widget"), WIDGETS)
def test_what_a_notebook_shows_first_is_the_default(job: str, widget: str):
    others = {name: value for name, value in JOBS[job][1].items() if name != widget}

    assert told(job, others | {widget: widgets_of(job)[widget]}) == told(job, others)


@pytest.mark.parametrize("job", JOBS)
def test_what_has_no_default_is_asked_for_by_name(job: str):
    settings, needed = JOBS[job]
    names = [each.name for each in fields(settings) if each.name in needed]

    assert names
    for name in names:
        assert told(job, needed | {name: " "}) == f"{name} must not be empty"


def test_whoever_wants_no_limit_says_so():
    scoring = ScoringSettings.from_widgets(SCORING | {"max_rejected_share": "1"}, PATIENTS)
    monitoring = MonitoringSettings.from_widgets(MONITORING | {"rejected_share_warn": "1"}, PATIENTS)

    assert (scoring.max_rejected_share, monitoring.rejected_share_warn) == (1.0, 1.0)
    assert ScoringSettings.from_widgets(SCORING, PATIENTS).max_rejected_share == 0.1
    assert MonitoringSettings.from_widgets(MONITORING, PATIENTS).rejected_share_warn == 0.05


def test_relative_data_is_taken_under_the_data_root():
    settings = TrainingSettings.from_widgets(TRAINING, PATIENTS)

    assert settings.training_data == "dbfs:/project/data/data_raw.csv"


def of_many_parameters() -> Problem:
    """A problem with a parameter of each type."""
    parameters = (
        Parameter("rate", 0.1, low=0.0, high=1.0),
        Parameter("depth", 3, low=1),
        Parameter("shuffle", False),
        Parameter("loss", "squared", choices=("squared", "absolute")),
    )
    return replace(PATIENTS, parameters=parameters)


def test_the_parameters_that_are_given_are_read_by_their_types():
    given = TRAINING | {"model_params": " loss = absolute,depth=7, shuffle=True , rate=1e-1,"}

    params = TrainingSettings.from_widgets(given, of_many_parameters()).model_params

    assert params == {"loss": "absolute", "depth": 7, "shuffle": True, "rate": 0.1}
    assert [type(params[name]) for name in ("depth", "shuffle", "rate")] == [int, bool, float]


def test_the_parameters_that_are_not_given_are_left_to_the_problem():
    given = TRAINING | {"model_params": "depth=7"}

    assert TrainingSettings.from_widgets(given, of_many_parameters()).model_params == {"depth": 7}
    assert TrainingSettings.from_widgets(TRAINING, of_many_parameters()).model_params == {}


@pytest.mark.parametrize("given", ["max_depth=4", "depth=2, max_depth=4"])
def test_a_parameter_that_is_not_there_is_refused_with_a_list_of_those_that_are(given: str):
    with pytest.raises(SettingsError) as error:
        TrainingSettings.from_widgets(TRAINING | {"model_params": given}, of_many_parameters())

    unknown = given.rpartition(", ")[2].partition("=")[0]
    assert str(error.value) == (
        f"model_params: there is no parameter {unknown}; there is rate: a number from 0 to 1, 0.1 if not "
        "given; depth: a whole number from 1 on, 3 if not given; shuffle: true or false, false if not given; "
        "loss: one of squared, absolute, squared if not given"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rate=2", "rate must be a number from 0 to 1; got '2'"),
        ("depth=0", "depth must be a whole number from 1 on; got '0'"),
        ("depth=2.5", "depth must be a whole number from 1 on; got '2.5'"),
        ("depth=", "depth must be a whole number from 1 on; got ''"),
        ("shuffle=1", "shuffle must be true or false; got '1'"),
        ("loss=cubic", "loss must be one of squared, absolute; got 'cubic'"),
        ("depth=2, depth=3", "depth is there twice in 'depth=2, depth=3'"),
    ],
)
def test_a_value_that_a_parameter_cannot_take_is_refused(given: str, message: str):
    with pytest.raises(SettingsError) as error:
        TrainingSettings.from_widgets(TRAINING | {"model_params": given}, of_many_parameters())

    assert str(error.value) == f"model_params: {message}"


def test_thresholds_and_limits_that_are_not_given_are_those_of_the_problem():
    training = TrainingSettings.from_widgets(TRAINING, TUMOURS)
    evaluation = replace(TUMOURS.evaluation, max_error_ratio=1.25)
    monitoring = MonitoringSettings.from_widgets(MONITORING, replace(TUMOURS, evaluation=evaluation))

    assert training.thresholds == Thresholds({"brier": 0.2}, margin=0.02, max_slice_ratio=1.5)
    assert monitoring.max_error_ratio == 1.25
    with pytest.raises(SettingsError, match="must be some of brier<=<number>, accuracy>=<number>, with"):
        TrainingSettings.from_widgets(TRAINING | {"thresholds": "rmse<=70"}, TUMOURS)


def test_an_empty_threshold_means_the_default_and_a_filled_one_moves_the_gate():
    settings = TrainingSettings.from_widgets(
        TRAINING | {"thresholds": " r2 >= -0.5, mae<=4e1", "margin": "0"}, PATIENTS
    )
    unset = TrainingSettings.from_widgets(TRAINING | {"thresholds": "", "margin": ""}, PATIENTS)

    assert settings.thresholds == Thresholds({"r2": -0.5, "mae": 40.0}, margin=0.0, max_slice_ratio=1.5)
    assert unset.thresholds == Thresholds({"rmse": 70.0, "r2": 0.2}, margin=2.0, max_slice_ratio=1.5)


def test_training_neither_searches_nor_waits_for_a_person_unless_told():
    settings = TrainingSettings.from_widgets(TRAINING | {"search_trials": "", "promotion": ""}, PATIENTS)

    assert (settings.search_trials, settings.seed, settings.promotion) == (0, 0, "automatic")
    assert settings.search_on == "driver"


@pytest.mark.parametrize(
    "data",
    ["/Volumes/a/b/c.csv", "abfss://box@account.dfs.core.windows.net/c.parquet", "main.diabetes.raw", "a.b"],
)
def test_full_paths_and_table_names_need_no_data_root(data: str):
    settings = TrainingSettings.from_widgets(TRAINING | {"data_root": "", "training_data": data}, PATIENTS)

    assert settings.training_data == data


def test_empty_widgets_of_scoring_mean_champion_and_derived_batch():
    settings = ScoringSettings.from_widgets(SCORING | {"model_version": "", "batch_id": " "}, PATIENTS)

    assert (settings.model_version, settings.batch_id, settings.git_commit) == ("", "", "")
    assert (settings.input_format, settings.carry_columns, settings.max_rejected_share) == ("", (), 0.1)


@pytest.mark.parametrize(
    ("data", "read"),
    [
        ("night/*.csv", "/Volumes/main/diabetes/data/night/*.csv"),
        ("night", "/Volumes/main/diabetes/data/night"),
        ("night/2026-11-24/", "/Volumes/main/diabetes/data/night/2026-11-24"),
        ("dbfs:/night.2026", "dbfs:/night.2026"),
        ("main.diabetes.night", "main.diabetes.night"),
    ],
)
def test_a_batch_may_be_files_a_folder_or_a_table(data: str, read: str):
    assert ScoringSettings.from_widgets(SCORING | {"input_data": data}, PATIENTS).input_data == read


def test_columns_to_carry_stand_between_commas():
    settings = ScoringSettings.from_widgets(SCORING | {"carry_columns": " WARD,SEEN AT,, "}, PATIENTS)

    assert settings.carry_columns == ("WARD", "SEEN AT")


def test_a_share_is_at_most_one():
    with pytest.raises(SettingsError, match="max_rejected_share must be a share from 0 to 1; got '2'"):
        ScoringSettings.from_widgets(SCORING | {"max_rejected_share": "2"}, PATIENTS)


ALPHA = "a number from 1e-06 to 1e+09"
FORMS = "rmse<=<number>, mae<=<number>, r2>=<number>"
THRESHOLDS = f"thresholds must be some of {FORMS}, with commas between"


def test_monitoring_needs_no_labels_and_fails_on_nothing_unless_told():
    settings = MonitoringSettings.from_widgets(MONITORING | {"labels_data": "", "fail_on": ""}, PATIENTS)

    assert (settings.labels_data, settings.fail_on) == ("", "")


@pytest.mark.parametrize(("given", "limit"), [("", 1.5), ("1.2", 1.2)])
def test_an_empty_limit_of_the_true_error_means_the_default(given: str, limit: float):
    assert (
        MonitoringSettings.from_widgets(MONITORING | {"max_error_ratio": given}, PATIENTS).max_error_ratio
        == limit
    )


def test_relative_labels_are_taken_under_the_data_root():
    settings = MonitoringSettings.from_widgets(
        MONITORING | {"labels_data": "labels.csv", "fail_on": "warn"}, PATIENTS
    )

    assert (settings.labels_data, settings.fail_on) == ("dbfs:/project/data/labels.csv", "warn")


@pytest.mark.parametrize(
    ("widget", "value", "message"),
    [
        ("fail_on", "ok", "fail_on must be warn or alert; got 'ok'"),
        ("lookback_days", "0", "lookback_days must be days, above 0 and at most 36500; got '0'"),
        ("lookback_days", "1e9", "lookback_days must be days, above 0 and at most 36500; got '1e9'"),
        ("rejected_share_warn", "5", "rejected_share_warn must be a share from 0 to 1; got '5'"),
        ("max_error_ratio", "0", "max_error_ratio must be a positive number; got '0'"),
        ("output_table", "scored", "output_table must be [catalog.]schema.table; got 'scored'"),
    ],
)
def test_a_wrong_monitoring_widget_is_named_with_its_value(widget: str, value: str, message: str):
    with pytest.raises(SettingsError) as error:
        MonitoringSettings.from_widgets(MONITORING | {widget: value}, PATIENTS)

    assert str(error.value) == message


def test_an_empty_threshold_of_drift_means_the_default():
    settings = ScoringSettings.from_widgets(
        SCORING | {"psi_warn": "", "drift_significance": "0.05"}, PATIENTS
    )

    assert settings.drift == DriftThresholds(psi_warn=0.1, psi_alert=0.25, significance=0.05)


@pytest.mark.parametrize(
    ("widget", "value", "message"),
    [
        ("psi_warn", "0", "psi_warn must be a positive number; got '0'"),
        ("psi_warn", "0.3", "psi_alert must not be below psi_warn; got 0.25 and 0.3"),
        ("psi_alert", "much", "psi_alert must be a positive number; got 'much'"),
        ("drift_significance", "1", "drift_significance must be below 1; got 1.0"),
        (
            "drift_significance",
            "0.0005",
            "drift_significance must be above 0.00055, the smallest p-value there is, "
            "or drift is never found; got 0.0005",
        ),
    ],
)
def test_a_wrong_threshold_of_drift_is_named_with_its_value(widget: str, value: str, message: str):
    with pytest.raises(SettingsError) as error:
        ScoringSettings.from_widgets(SCORING | {widget: value}, PATIENTS)

    assert str(error.value) == message


@pytest.mark.parametrize(
    ("widget", "value", "message"),
    [
        *[
            ("model_params", f"alpha={value}", f"model_params: alpha must be {ALPHA}; got '{value}'")
            for value in ("abc", "0", "nan", "inf", "")
        ],
        ("search_trials", "-1", "search_trials must be a whole number from 0 to 4294967295; got '-1'"),
        ("search_on", "spark", "search_on must be driver or workers; got 'spark'"),
        ("seed", "4294967296", "seed must be a whole number from 0 to 4294967295; got '4294967296'"),
        ("seed", "1.5", "seed must be a whole number from 0 to 4294967295; got '1.5'"),
        ("thresholds", "rmse<=70, rmsle<=1", f"{THRESHOLDS}; got 'rmsle<=1'"),
        ("thresholds", "rmse>=70", f"{THRESHOLDS}; got 'rmse>=70'"),
        ("thresholds", "r2>=nan", f"{THRESHOLDS}; got 'r2>=nan'"),
        ("thresholds", "r2", f"{THRESHOLDS}; got 'r2'"),
        ("margin", "low", "margin must be a number; got 'low'"),
        ("promotion", "later", "promotion must be automatic or manual or deployment-job; got 'later'"),
        ("model_name", "diabetes", "model_name must be catalog.schema.model; got 'diabetes'"),
        ("experiment_name", " ", "experiment_name must not be empty"),
        ("data_root", "", "data_root must not be empty"),
    ],
)
def test_a_wrong_training_widget_is_named_with_its_value(widget: str, value: str, message: str):
    with pytest.raises(SettingsError) as error:
        TrainingSettings.from_widgets(TRAINING | {widget: value}, PATIENTS)

    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("widget", "value"),
    [
        ("output_table", "scored"),
        ("output_table", "main.diabetes.scored; DROP TABLE x"),
        ("model_version", "the best"),
        ("batch_id", "x' OR '1' = '1"),
        ("input_format", "excel"),
        ("max_rejected_share", "lots"),
    ],
)
def test_a_wrong_scoring_widget_is_named_with_its_value(widget: str, value: str):
    with pytest.raises(SettingsError) as error:
        ScoringSettings.from_widgets(SCORING | {widget: value}, PATIENTS)

    assert str(error.value).startswith(f"{widget} must be ")
    assert repr(value) in str(error.value)
