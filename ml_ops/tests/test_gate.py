"""The gate lets a version pass for good reasons only, and names each reason against it."""

import json
from dataclasses import replace

import pytest
from diabetes.tabular.measuring import Interval
from diabetes_mlops.models.gate import Champion, Evidence, Slice, decide
from diabetes_mlops.runs.settings import Thresholds
from problems import PATIENTS, TUMOURS

NAN = float("nan")
LIMITS = Thresholds({"rmse": 70.0, "r2": 0.2}, margin=2.0, max_slice_ratio=1.5)
BETTER = Champion("4", error=54.0, difference=Interval(-4.0, -6.0, -2.0))
EQUAL = Champion("4", error=50.0, difference=Interval(0.0, 0.0, 0.0))
LITTLE_WORSE = Champion("4", error=49.5, difference=Interval(0.5, -1.0, 2.0))
MAYBE_WORSE = Champion("4", error=50.5, difference=Interval(-0.5, -3.0, 2.001))
WORSE = Champion("4", error=45.0, difference=Interval(5.0, 3.0, 7.0))
OTHER_COLUMNS = Champion("4", problem="cannot be scored on this holdout: it expects columns ['BMI']")
GOOD = Evidence(
    PATIENTS.evaluation,
    metrics={"rmse": 50.0, "mae": 40.0, "r2": 0.5},
    baseline=70.0,
    slices={"SEX=Female": Slice(40, 48.0), "AGE>=60": Slice(10, 75.0), "AGE missing": Slice(9, 500.0)},
)


def good(baseline: float = 70.0, **metrics: float) -> Evidence:
    return replace(GOOD, metrics={**GOOD.metrics, **metrics}, baseline=baseline)


@pytest.mark.parametrize(
    "evidence",
    [
        GOOD,
        good(rmse=70.0, baseline=70.1),
        good(r2=0.2),
        replace(GOOD, slices={}),
        replace(GOOD, slices={"AGE<40": Slice(0, NAN)}),
        replace(GOOD, champion=BETTER),
        replace(GOOD, champion=EQUAL),
        replace(GOOD, champion=LITTLE_WORSE),
    ],
    ids=[
        "first version",
        "rmse at the threshold",
        "r2 at the threshold",
        "no slices",
        "empty slice",
        "better than the champion",
        "equal to the champion",
        "worse by the margin at most",
    ],
)
def test_a_good_version_passes_without_a_reason(evidence: Evidence):
    decision = decide(evidence, LIMITS)

    assert decision.reasons == []
    assert decision.promote


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (good(baseline=50.0), "rmse 50 is not below the baseline's 50"),
        (good(rmse=70.01, baseline=90.0), "rmse 70.01 is above the threshold of 70"),
        (good(r2=0.199), "r2 0.199 is below the threshold of 0.2"),
        (good(r2=NAN), "r2 nan is below the threshold of 0.2"),
        (
            replace(GOOD, slices={"AGE>=60": Slice(10, 75.1)}),
            "rmse 75.1 of the 10 rows of AGE>=60 is above 75, 1.5 times the rmse of all rows",
        ),
        (
            replace(GOOD, champion=WORSE),
            "rmse is +5 against champion version 4; its interval, from +3 to +7, ends above the margin of 2",
        ),
        (
            replace(GOOD, champion=MAYBE_WORSE),
            "rmse is -0.5 against champion version 4; "
            "its interval, from -3 to +2.001, ends above the margin of 2",
        ),
        (
            replace(GOOD, champion=replace(EQUAL, difference=Interval(NAN, NAN, NAN))),
            "rmse is +nan against champion version 4; "
            "its interval, from +nan to +nan, ends above the margin of 2",
        ),
        (
            replace(GOOD, champion=OTHER_COLUMNS),
            "champion version 4 cannot be scored on this holdout: it expects columns ['BMI']",
        ),
    ],
)
def test_one_flaw_is_enough_to_refuse_and_is_the_only_reason(evidence: Evidence, reason: str):
    decision = decide(evidence, LIMITS)

    assert decision.reasons == [reason]
    assert not decision.promote


def test_all_reasons_are_named_at_once():
    bad = Evidence(
        PATIENTS.evaluation, {"rmse": 90.0, "r2": -0.1}, 80.0, {"SEX=Male": Slice(30, 140.0)}, WORSE
    )

    assert len(decide(bad, LIMITS).reasons) == 5


def test_thresholds_move_the_gate():
    evidence = replace(GOOD, champion=LITTLE_WORSE)
    strict = Thresholds({"rmse": 49.0, "r2": 0.6}, margin=0.0, max_slice_ratio=1.2)

    assert decide(evidence, LIMITS).promote
    assert len(decide(evidence, strict).reasons) == 4


def test_a_model_that_is_never_wrong_passes():
    perfect = replace(good(rmse=0.0, r2=1.0), slices={"SEX=Male": Slice(30, 0.0)})

    assert decide(perfect, LIMITS).promote


def test_every_number_of_the_decision_is_there_and_fits_into_json():
    numbers = decide(replace(GOOD, champion=BETTER), LIMITS).numbers

    assert json.loads(json.dumps(numbers)) == {
        "rmse": 50.0,
        "r2": 0.5,
        "baseline_rmse": 70.0,
        "max_rmse": 70.0,
        "min_r2": 0.2,
        "margin": 2.0,
        "max_slice_ratio": 1.5,
        "worst_slice_rmse": 75.0,
        "champion_rmse": 54.0,
        "difference": -4.0,
        "difference_low": -6.0,
        "difference_high": -2.0,
    }


def test_the_metrics_and_what_they_are_called_come_from_the_problem():
    evidence = Evidence(
        TUMOURS.evaluation, {"brier": 0.1, "accuracy": 0.9}, 0.24, {"old": Slice(20, 0.2)}, champion=None
    )
    strict = Thresholds({"brier": 0.05, "accuracy": 0.95}, margin=0.02, max_slice_ratio=1.5)

    decision = decide(evidence, strict)

    assert decide(evidence, Thresholds.of(TUMOURS.evaluation)).reasons == [
        "brier 0.2 of the 20 rows of old is above 0.15, 1.5 times the brier of all rows"
    ]
    assert decision.reasons[:2] == [
        "brier 0.1 is above the threshold of 0.05",
        "accuracy 0.9 is below the threshold of 0.95",
    ]
    assert (decision.numbers["max_brier"], decision.numbers["min_accuracy"]) == (0.05, 0.95)
    assert {"baseline_brier", "worst_slice_brier"} <= decision.numbers.keys()
