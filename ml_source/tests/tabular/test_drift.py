"""A batch is counted in the bins of the training rows, and drift is told from chance."""

import json
from time import perf_counter

import numpy as np
import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.drift import (
    PREDICTION,
    Counts,
    DriftThresholds,
    Profile,
    classify,
    compare,
    find_smallest_p_value,
    homogeneity_p_value,
    population_stability_index,
    to_arrays,
    worst,
)
from diabetes.tabular.scoring import predict
from diabetes.tabular.splitting import split_by_key
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from problems import PATIENTS
from scipy.stats import chi2, fisher_exact
from sklearn.pipeline import Pipeline

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
SCHEMA = PATIENTS.schema
THRESHOLDS = DriftThresholds()
# A machine that is busy with other tests is not a failure.
settings.register_profile("unhurried", deadline=None, max_examples=60)
settings.load_profile("unhurried")


def rows_strategy(smallest: int = 0) -> st.SearchStrategy[Rows]:
    """Rows of any numbers, infinities and gaps, of any categories, in any number."""
    anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
    repeated = st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf])

    def of_length(n: int) -> st.SearchStrategy[Rows]:
        return st.tuples(
            hnp.arrays(np.float64, (n, len(SCHEMA.numeric_names)), elements=anything | repeated),
            hnp.arrays(np.int64, (n, len(SCHEMA.category_names)), elements=st.integers(-1, 1)),
            hnp.arrays(np.float64, n, elements=anything | repeated),
        )

    return st.integers(smallest, 25).flatmap(of_length)


def make_rows(
    count: int, *, seed: int, missing: float = 0.0, shift: float = 0.0, name: str = PREDICTION
) -> Rows:
    """Standard normal numbers and fair categories; `name` is shifted by standard deviations."""
    random = np.random.default_rng(seed)
    table = random.normal(size=(count, len(SCHEMA.numeric_names) + 1))
    table[:, [*SCHEMA.numeric_names, PREDICTION].index(name)] += shift
    table[random.random(table.shape) < missing] = np.nan
    codes = random.integers(0, 2, size=(count, len(SCHEMA.category_names)))
    return table[:, :-1], codes, table[:, -1]


def concatenate(first: Rows, second: Rows) -> Rows:
    one, two, three = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    return one, two, three


@pytest.fixture(scope="module")
def normal() -> Profile:
    return Profile.describe(SCHEMA, *make_rows(353, seed=1))


# Profile and counts


def test_bins_of_a_number_are_tenths_of_the_training_rows() -> None:
    profile = Profile.describe(SCHEMA, *make_rows(1000, seed=0))

    for name in (*SCHEMA.numeric_names, PREDICTION):
        assert profile.baseline.bins[name] == (100,) * 10 + (0,)
    assert list(profile.baseline.bins) == [*SCHEMA.feature_names, PREDICTION]


@given(training=rows_strategy(smallest=1), batch=rows_strategy())
def test_each_row_is_in_the_bin_that_a_search_finds(training: Rows, batch: Rows) -> None:
    profile = Profile.describe(SCHEMA, *training)

    counts = profile.count(SCHEMA, *batch)

    columns = dict(zip(SCHEMA.numeric_names, batch[0].T, strict=True)) | {PREDICTION: batch[2]}
    for name, values in columns.items():
        edges, present = np.array(profile.edges[name]), values[~np.isnan(values)]
        expected = np.bincount(np.searchsorted(edges, present), minlength=len(edges) + 1)
        assert counts.bins[name] == (*expected, len(values) - len(present))
    for name, codes in zip(SCHEMA.category_names, batch[1].T, strict=True):
        assert counts.bins[name] == tuple(np.sum(codes == code) for code in (0, 1, -1))
    assert {sum(bins) for bins in counts.bins.values()} == {counts.rows} == {len(batch[2])}


@given(training=rows_strategy(smallest=1), first=rows_strategy(), second=rows_strategy())
def test_parts_of_a_batch_add_up_to_the_whole(training: Rows, first: Rows, second: Rows) -> None:
    profile = Profile.describe(SCHEMA, *training)

    together = profile.count(SCHEMA, *concatenate(first, second))

    assert profile.empty_counts() + profile.count(SCHEMA, *second) + profile.count(SCHEMA, *first) == together


@given(training=rows_strategy(smallest=1), batch=rows_strategy())
def test_profile_and_counts_survive_json(training: Rows, batch: Rows) -> None:
    profile = Profile.describe(SCHEMA, *training)
    counts = profile.count(SCHEMA, *batch)

    assert Profile.from_json(json.loads(json.dumps(profile.as_json(), allow_nan=False))) == profile
    assert Counts.from_json(json.loads(json.dumps(counts.as_json()))) == counts


@settings(max_examples=10)
@given(training=rows_strategy(smallest=1))
def test_training_rows_have_not_drifted_from_themselves(training: Rows) -> None:
    profile = Profile.describe(SCHEMA, *training)

    comparison = compare(profile, profile.count(SCHEMA, *training))

    assert comparison["psi"].tolist() == [0.0] * len(comparison)
    assert worst(classify(comparison, THRESHOLDS).values()) == "ok"


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_layout_in_memory_does_not_matter(normal: Profile, order: str) -> None:
    numbers, codes, predictions = make_rows(500, seed=2)

    laid_out = normal.count(SCHEMA, np.asarray(numbers, order=order), codes, predictions)

    assert laid_out == normal.count(SCHEMA, numbers[::-1], codes[::-1], predictions[::-1])


def test_a_value_that_many_rows_share_has_a_bin_of_its_own() -> None:
    numbers, codes, predictions = make_rows(100, seed=0)
    numbers[:, 0] = 5.0
    profile = Profile.describe(SCHEMA, numbers, codes, predictions)
    numbers[:4, 0] = [4.9, 5.1, np.nan, -np.inf]

    counts = profile.count(SCHEMA, numbers, codes, predictions)

    assert profile.labels("AGE") == ["< 5", "≤ 5", "> 5", "missing"]
    assert profile.baseline.bins["AGE"] == (0, 100, 0, 0)
    assert counts.bins["AGE"] == (2, 96, 1, 1)


def test_a_column_without_values_has_one_bin_beside_the_missing() -> None:
    numbers, codes, predictions = make_rows(10, seed=0)
    numbers[:, 0] = np.nan
    profile = Profile.describe(SCHEMA, numbers, codes, predictions)

    assert profile.labels("AGE") == ["any", "missing"]
    assert profile.count(SCHEMA, *make_rows(3, seed=0)).bins["AGE"] == (3, 0)


def test_each_bin_has_a_name(normal: Profile) -> None:
    for name, counts in normal.baseline.bins.items():
        assert len(normal.labels(name)) == len(counts)
    assert normal.labels("SEX") == ["Female", "Male", "missing"]
    assert normal.labels("BMI")[-2].startswith("> ")


def test_no_rows_have_no_profile() -> None:
    with pytest.raises(SchemaError, match="0 rows have no distribution"):
        Profile.describe(SCHEMA, *make_rows(0, seed=0))


def test_a_profile_of_the_same_columns_and_categories_fits(normal: Profile) -> None:
    normal.check(SCHEMA)
    Profile.from_json(normal.as_json()).check(SCHEMA)


@pytest.mark.parametrize(
    ("part", "column", "value"),
    [
        ("edges", "HEIGHT", [1.0]),
        ("edges", "BMI", None),
        ("edges", PREDICTION, None),
        ("categories", "SEX", ["F", "M"]),
        ("categories", "SEX", ["Male", "Female"]),
        ("categories", "SEX", None),
        ("categories", "TOWN", ["A", "B"]),
    ],
)
def test_a_profile_of_other_columns_or_categories_is_refused(
    normal: Profile, part: str, column: str, value: list[object] | None
) -> None:
    values = normal.as_json()
    if value is None:
        del values[part][column]
    else:
        values[part][column] = value

    with pytest.raises(SchemaError, match=r"the profile describes .*; the schema has \['AGE'"):
        Profile.from_json(values).check(SCHEMA)


def test_counts_of_other_bins_do_not_add(normal: Profile) -> None:
    numbers, codes, predictions = make_rows(5, seed=0)
    other = Profile.describe(SCHEMA, np.zeros_like(numbers), codes, predictions)

    with pytest.raises(ValueError, match="counts of other bins"):
        normal.empty_counts() + other.empty_counts()


def test_numbers_of_another_width_are_refused(normal: Profile) -> None:
    numbers, codes, predictions = make_rows(5, seed=0)

    with pytest.raises(ValueError, match=r"shorter|longer"):
        normal.count(SCHEMA, numbers[:, 1:], codes, predictions)


def test_a_table_becomes_numbers_and_codes(patients: pd.DataFrame) -> None:
    table = patients.head(4).assign(SEX=["Male", None, "Female", "Male"], BMI=[30.0, None, 20.0, 25.0])

    numbers, codes = to_arrays(SCHEMA, table)

    assert (numbers.dtype, codes.dtype) == (np.float64, np.int64)
    assert numbers[:, SCHEMA.numeric_names.index("BMI")].tolist() == pytest.approx(
        [30, np.nan, 20, 25], nan_ok=True
    )
    assert codes.tolist() == [[1], [-1], [0], [1]]


def test_counting_takes_nanoseconds_a_row(normal: Profile) -> None:
    numbers, codes, predictions = make_rows(65_536, seed=0, missing=0.02)
    by_column = np.asfortranarray(numbers)

    seconds = []
    for _ in range(5):
        start = perf_counter()
        normal.count(SCHEMA, by_column, codes, predictions)
        seconds.append(perf_counter() - start)

    # About 10 on the machine that this was written on; a search for each value takes 150.
    assert min(seconds) / len(predictions) * 1e9 < 80


# The index and the test


@given(hnp.arrays(np.int64, (2, 8), elements=st.integers(0, 1000)))
def test_the_index_is_symmetric_and_never_negative(table: np.ndarray) -> None:
    index = population_stability_index(table[0], table[1])

    assert index >= 0
    assert index == pytest.approx(population_stability_index(table[1], table[0]))


def test_the_index_follows_its_formula() -> None:
    baseline, batch = np.array([5000, 3000, 2000]), np.array([4000, 3000, 3000])

    index = population_stability_index(baseline, batch)

    assert index == pytest.approx(0.1 * np.log(5 / 4) + 0.1 * np.log(3 / 2), rel=1e-3)


def test_bins_empty_in_both_do_not_change_anything() -> None:
    baseline, batch = np.array([50, 30, 20]), np.array([10, 80, 0])
    padded = np.append(baseline, [0, 0]), np.append(batch, [0, 0])

    for measure in (population_stability_index, homogeneity_p_value):
        assert measure(*padded) == measure(baseline, batch)


def test_the_p_value_of_full_bins_is_pearsons() -> None:
    baseline, batch = np.array([50, 30, 20]), np.array([90, 80, 30])
    pooled = (baseline + batch) / 300
    statistic = sum(
        np.sum((row - row.sum() * pooled) ** 2 / (row.sum() * pooled)) for row in (baseline, batch)
    )

    assert homogeneity_p_value(baseline, batch) == pytest.approx(chi2.sf(statistic, df=2))


@pytest.mark.parametrize("table", [[[353, 0], [0, 1]], [[350, 3], [8, 2]], [[20, 4], [3, 3]]])
def test_the_p_value_of_nearly_empty_bins_is_the_exact_one(table: list[list[int]]) -> None:
    # One row with a missing value is no evidence, though the chi-squared distribution takes it for one.
    assert homogeneity_p_value(*np.array(table)) == pytest.approx(fisher_exact(table).pvalue, abs=0.01)


def test_a_significance_below_the_smallest_p_value_would_never_be_reached() -> None:
    nothing_alike = np.array([[10_000, 0, 0], [0, 60_000, 4]])
    columns = 11
    p_values = [homogeneity_p_value(*nothing_alike), *[1.0] * (columns - 1)]
    comparison = pd.DataFrame({"psi": 9.0, "p_value": p_values})

    smallest = find_smallest_p_value(columns)

    assert smallest == pytest.approx(columns / 20_000)
    for significance, status in ((smallest, "ok"), (smallest * 1.001, "alert")):
        assert classify(comparison, DriftThresholds(significance=significance))["0"] == status


def test_a_batch_of_many_rows_is_compared_in_a_moment() -> None:
    baseline = np.array([35] * 10 + [3])

    for rows in (50_000_000, 5_000_000_000):
        assert homogeneity_p_value(baseline, baseline * (rows // 353)) > 0.9


# Drift


def statuses(profile: Profile, rows: Rows) -> dict[str, str]:
    return dict(classify(compare(profile, profile.count(SCHEMA, *rows)), THRESHOLDS))


def test_small_batches_of_the_same_distribution_are_seldom_called_drifted(normal: Profile) -> None:
    found = [statuses(normal, make_rows(100, seed=seed)) for seed in range(1000, 1300)]

    alarms = sum(any(status != "ok" for status in batch.values()) for batch in found)
    # About one in a hundred is promised: ten of 300 come by chance once in a thousand times.
    assert alarms < 10


def test_small_batches_with_gaps_are_seldom_called_drifted() -> None:
    profile = Profile.describe(SCHEMA, *make_rows(353, seed=1, missing=0.02))

    found = [statuses(profile, make_rows(rows, seed=rows, missing=0.02)) for rows in range(1, 60, 6)]

    assert sum(any(status != "ok" for status in batch.values()) for batch in found) <= 1


def test_the_index_alone_would_call_most_small_batches_drifted(normal: Profile) -> None:
    baseline = np.array(normal.baseline.bins[PREDICTION])
    batches = [normal.count(SCHEMA, *make_rows(50, seed=seed)).bins[PREDICTION] for seed in range(300)]

    indices = [population_stability_index(baseline, np.array(batch)) for batch in batches]

    # About (bins - 1) (1/n + 1/m), and less by what smoothing takes from it.
    assert np.mean(indices) == pytest.approx(9 * (1 / 353 + 1 / 50), rel=0.2)
    assert np.mean(np.array(indices) > THRESHOLDS.psi_warn) > 0.5


@pytest.mark.parametrize("name", ["BMI", PREDICTION])
def test_a_shift_of_one_standard_deviation_alerts_on_its_column_alone(normal: Profile, name: str) -> None:
    for seed in range(20):
        found = statuses(normal, make_rows(100, seed=seed, shift=1.0, name=name))

        assert {column for column, status in found.items() if status != "ok"} == {name}
        assert found[name] == "alert"


def test_a_smaller_shift_of_many_rows_warns(normal: Profile) -> None:
    found = statuses(normal, make_rows(20_000, seed=0, shift=0.4, name="BP"))

    assert {column: status for column, status in found.items() if status != "ok"} == {"BP": "warn"}


def test_a_shift_that_is_sure_but_tiny_is_ok(normal: Profile) -> None:
    profile = Profile.describe(SCHEMA, *make_rows(200_000, seed=0))

    comparison = compare(profile, profile.count(SCHEMA, *make_rows(200_000, seed=1, shift=0.05, name="BP")))

    assert comparison.loc["BP", "p_value"] < 1e-6
    assert classify(comparison, THRESHOLDS)["BP"] == "ok"


def test_values_that_stop_arriving_alert(normal: Profile) -> None:
    numbers, codes, predictions = make_rows(200, seed=0)
    numbers[:60, SCHEMA.numeric_names.index("S3")] = np.nan

    comparison = compare(normal, normal.count(SCHEMA, numbers, codes, predictions))

    assert comparison.loc["S3", ["missing_baseline", "missing_batch"]].tolist() == [0, 0.3]
    assert classify(comparison, THRESHOLDS)["S3"] == "alert"


def test_a_batch_of_one_sex_alerts(normal: Profile) -> None:
    numbers, codes, predictions = make_rows(100, seed=0)

    assert statuses(normal, (numbers, np.zeros_like(codes), predictions))["SEX"] == "alert"


@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_of_no_row_or_of_one_is_ok(normal: Profile, rows: int) -> None:
    numbers, codes, predictions = make_rows(rows, seed=0)
    comparison = compare(normal, normal.count(SCHEMA, numbers + 100, codes, predictions * np.nan))

    assert worst(classify(comparison, THRESHOLDS).values()) == "ok"
    assert comparison["rows"].tolist() == [rows] * len(comparison)
    assert comparison.notna().all(axis=None)


def test_significance_is_shared_among_the_columns() -> None:
    comparison = pd.DataFrame({"psi": [1.0] * 4, "p_value": [0.004, 0.002, 0.2, 0.0035]}, index=list("abcd"))

    # Holm: the smallest against 0.01 / 4, the next one against 0.01 / 3, and no further after one fails.
    assert classify(comparison, THRESHOLDS) == {"a": "ok", "b": "alert", "c": "ok", "d": "ok"}


def test_thresholds_are_reached_by_equal_numbers() -> None:
    comparison = pd.DataFrame({"psi": [0.0999, 0.1, 0.25], "p_value": [0.0] * 3}, index=list("abc"))

    assert classify(comparison, THRESHOLDS) == {"a": "ok", "b": "warn", "c": "alert"}


def test_the_worst_status_counts() -> None:
    assert worst(["ok", "alert", "warn"]) == "alert"
    assert worst([]) == "ok"


def test_holdout_rows_have_not_drifted_and_older_patients_have(
    model: Pipeline, patients: pd.DataFrame
) -> None:
    train, holdout = split_by_key(SCHEMA, patients)
    profile = Profile.describe(SCHEMA, *to_arrays(SCHEMA, train), predict(SCHEMA, model, train))
    older = holdout[holdout["AGE"] >= 55]

    same, drifted = (
        statuses(profile, (*to_arrays(SCHEMA, table), predict(SCHEMA, model, table)))
        for table in (holdout, older)
    )

    assert worst(same.values()) == "ok"  # type: ignore[arg-type]
    assert drifted["AGE"] == "alert"
