"""About the science of this wheel - its table, its model, its metrics - and replaced together with it."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from diabetes import PROBLEM
from diabetes.evaluation import slice_rows
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.drift import DriftThresholds, Profile, classify, compare, to_arrays, worst
from diabetes.tabular.features import select_features
from diabetes.tabular.fitting import fit, fit_baseline
from diabetes.tabular.measuring import cross_validate, evaluate, evaluate_slices, feature_importance
from diabetes.tabular.parameters import ParameterError
from diabetes.tabular.scoring import predict
from diabetes.tabular.splitting import split_by_key
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.pipeline import Pipeline

DATA = Path(__file__).parents[2] / "ml_data"
SCHEMA = PROBLEM.schema
PARAMS = {"alpha": 1.0}


@pytest.fixture
def raw() -> pd.DataFrame:
    return pd.read_csv(DATA / "data_raw.csv")


@pytest.fixture
def batch() -> pd.DataFrame:
    return pd.read_csv(DATA / "data_batch_input.csv")


@pytest.fixture
def holdout(raw: pd.DataFrame) -> pd.DataFrame:
    return split_by_key(SCHEMA, raw)[1]


@pytest.fixture(scope="module")
def model() -> Pipeline:
    train, _ = split_by_key(SCHEMA, pd.read_csv(DATA / "data_raw.csv"))
    return fit(PROBLEM, train, PARAMS)


# The columns


def test_features_hold_neither_the_id_nor_the_label() -> None:
    assert (SCHEMA.key.name, SCHEMA.label.name) == ("ID", "Y")
    assert SCHEMA.feature_names == ["AGE", "SEX", "BMI", "BP", "S1", "S2", "S3", "S4", "S5", "S6"]
    assert SCHEMA.category_names == ["SEX"]


# The model


def effect_of(model: Pipeline, column: str) -> float:
    """Return the coefficient of a column behind the preprocessing."""
    names = list(model[:-1].get_feature_names_out())
    return float(model[-1].coef_[names.index(column)])


def test_sex_columns_carry_the_effect_of_their_own_sex(raw: pd.DataFrame) -> None:
    table = raw.dropna()
    table = table.assign(Y=np.where(table["SEX"] == "Male", 200.0, 100.0))

    model = fit(PROBLEM, table, {"alpha": 1e-6})

    assert effect_of(model, "SEX_Male") == pytest.approx(50, abs=0.01)
    assert effect_of(model, "SEX_Female") == pytest.approx(-50, abs=0.01)
    assert predict(SCHEMA, model, table.assign(SEX="Male")) == pytest.approx(200, abs=0.01)
    assert predict(SCHEMA, model, table.assign(SEX="Female")) == pytest.approx(100, abs=0.01)


def test_sex_effect_agrees_with_plain_least_squares(raw: pd.DataFrame) -> None:
    table = raw.dropna()
    male = (table["SEX"] == "Male").astype(float)
    plain = LinearRegression().fit(table[SCHEMA.numeric_names].assign(male=male), table["Y"])

    model = fit(PROBLEM, table, {"alpha": 1e-6})

    expected = plain.coef_[-1]
    assert expected < -10
    assert effect_of(model, "SEX_Male") - effect_of(model, "SEX_Female") == pytest.approx(expected, rel=1e-4)


def test_gaps_are_filled_from_the_training_rows_only(raw: pd.DataFrame) -> None:
    train, holdout = split_by_key(SCHEMA, raw)
    shifted = pd.concat([train, holdout.assign(BMI=75.0, SEX="Female")])
    train_again, _ = split_by_key(SCHEMA, shifted)

    fitted = fit(PROBLEM, train_again, PARAMS)

    numbers, categories = fitted["preprocess"].named_transformers_.values()
    assert numbers["fill"].statistics_.tolist() == train[SCHEMA.numeric_names].median().tolist()
    assert numbers["scale"].mean_[SCHEMA.numeric_names.index("BMI")] == pytest.approx(
        train["BMI"].fillna(train["BMI"].median()).mean()
    )
    assert categories["fill"].statistics_.tolist() == train[SCHEMA.category_names].mode().loc[0].tolist()


def test_neither_label_nor_id_nor_other_columns_are_read_as_features(raw: pd.DataFrame) -> None:
    model = fit(PROBLEM, raw.assign(Y_COPY=raw["Y"]), PARAMS)

    read = set(model[:-1].get_feature_names_out())
    assert read == {*SCHEMA.numeric_names, "SEX_Female", "SEX_Male"}
    assert set(model.feature_names_in_) == {*SCHEMA.numeric_names, *SCHEMA.category_names}


def test_a_table_with_one_sex_gives_the_same_columns(raw: pd.DataFrame) -> None:
    one_sex, both = (fit(PROBLEM, table, PARAMS) for table in (raw[raw["SEX"] == "Male"], raw))

    assert list(one_sex[:-1].get_feature_names_out()) == list(both[:-1].get_feature_names_out())


def test_a_larger_alpha_shrinks_the_coefficients(raw: pd.DataFrame) -> None:
    weak, strong = (fit(PROBLEM, raw, {"alpha": alpha})[-1].coef_ for alpha in (0.1, 1000.0))

    assert np.linalg.norm(strong) < np.linalg.norm(weak)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf")])
def test_a_wrong_alpha_is_refused_with_its_value(raw: pd.DataFrame, alpha: float) -> None:
    with pytest.raises(ParameterError, match=f"alpha must be a number from .* to .*; got {alpha}"):
        fit(PROBLEM, raw, {"alpha": alpha})


def test_the_best_alpha_lies_inside_the_search_space(raw: pd.DataFrame) -> None:
    train, _ = split_by_key(SCHEMA, raw)
    (alpha,) = PROBLEM.parameters

    ends = [cross_validate(PROBLEM, train, {"alpha": end}, seed=0) for end in alpha.search]

    assert alpha.name == "alpha"
    assert cross_validate(PROBLEM, train, {"alpha": 10.0}, seed=0) < min(ends)


def test_the_model_is_better_than_the_mean_on_rows_it_has_not_seen(
    model: Pipeline, raw: pd.DataFrame
) -> None:
    train, holdout = split_by_key(SCHEMA, raw)

    metrics, baseline = (evaluate(PROBLEM, each, holdout) for each in (model, fit_baseline(PROBLEM, train)))

    assert metrics["r2"] > 0.4
    assert 0 < metrics["mae"] < metrics["rmse"] < holdout["Y"].std()
    assert metrics["rmse"] < baseline["rmse"] - PROBLEM.evaluation.margin


def test_a_model_of_shuffled_labels_knows_nothing_about_the_holdout(raw: pd.DataFrame) -> None:
    # With the label among the features, or rows of the holdout in training, r2 would be well above 0.
    train, holdout = split_by_key(SCHEMA, raw)
    train["Y"] = train["Y"].sample(frac=1, random_state=0).to_numpy()

    metrics = evaluate(PROBLEM, fit(PROBLEM, train, PARAMS), holdout)

    assert metrics["r2"] < 0.05


def test_body_mass_and_triglycerides_matter_most(model: Pipeline, holdout: pd.DataFrame) -> None:
    importance = feature_importance(PROBLEM, model, holdout, seed=0)

    assert importance.index[:2].tolist() == ["S5", "BMI"]
    assert (importance["mean"] > 2 * importance["std"])[["S5", "BMI"]].all()


@pytest.mark.parametrize("sex", ["Female", "Male"])
def test_a_batch_with_one_sex_scores_like_the_same_rows_in_the_full_batch(
    model: Pipeline, batch: pd.DataFrame, sex: str
) -> None:
    chosen = (batch["SEX"] == sex).to_numpy()

    alone = predict(SCHEMA, model, batch[chosen])

    assert len(alone) == chosen.sum() > 0
    assert alone == pytest.approx(predict(SCHEMA, model, batch)[chosen], rel=1e-12)


def test_every_row_of_the_batch_gets_a_finite_prediction(model: Pipeline, batch: pd.DataFrame) -> None:
    predictions = predict(SCHEMA, model, batch)

    assert batch[SCHEMA.feature_names].isna().to_numpy().any()
    assert predictions.shape == (100,)
    assert np.isfinite(predictions).all()


def test_the_model_loads_and_predicts_without_this_package(
    model: Pipeline, batch: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    batch.to_pickle(tmp_path / "batch.pkl")
    script = (
        "import pickle, sys, pandas\n"
        "sys.modules['diabetes'] = None\n"
        "model = pickle.load(open('model.pkl', 'rb'))\n"
        "print(*model.predict(pandas.read_pickle('batch.pkl')).tolist())\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    expected = predict(SCHEMA, model, batch)
    assert np.array(done.stdout.split(), dtype=float) == pytest.approx(expected, rel=1e-12)


# What a good model is


def test_metrics_are_those_of_scikit_learn(model: Pipeline, holdout: pd.DataFrame) -> None:
    rows = holdout["Y"].to_numpy(), predict(SCHEMA, model, holdout)

    metrics = evaluate(PROBLEM, model, holdout)

    own = {"rmse": root_mean_squared_error, "mae": mean_absolute_error, "r2": r2_score}
    assert metrics == pytest.approx({name: function(*rows) for name, function in own.items()}, rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_equal_labels_have_no_r2(model: Pipeline, holdout: pd.DataFrame) -> None:
    metrics = evaluate(PROBLEM, model, holdout.assign(Y=100.0))

    assert np.isnan(metrics["r2"])
    assert np.isfinite([metrics["rmse"], metrics["mae"]]).all()


def test_the_gate_asks_for_less_than_the_model_reaches(model: Pipeline, holdout: pd.DataFrame) -> None:
    evaluation = PROBLEM.evaluation

    metrics = evaluate(PROBLEM, model, holdout)

    assert evaluation.primary == "rmse"
    for name, threshold in evaluation.thresholds.items():
        assert evaluation.metrics[name].reaches(metrics[name], threshold)


def test_each_row_is_in_one_slice_of_each_column(raw: pd.DataFrame) -> None:
    slices = slice_rows(select_features(SCHEMA, raw))

    assert list(slices) == [
        *("SEX=Female", "SEX=Male", "AGE<40", "AGE 40-59", "AGE>=60"),
        *("SEX missing", "AGE missing"),
    ]
    for column in ("SEX", "AGE"):
        masks = [mask for name, mask in slices.items() if name.startswith(column)]
        assert np.sum(masks, axis=0).tolist() == [1] * len(raw)
    assert slices["SEX missing"].sum() == raw["SEX"].isna().sum() > 0


def test_slices_hold_their_own_rows(raw: pd.DataFrame) -> None:
    ages = [39, 40, 59, 60, None]
    table = raw.head(5).assign(AGE=ages, SEX=["Male", "Female", "Male", "Male", "Female"])

    slices = slice_rows(select_features(SCHEMA, table.set_index(pd.Index([9] * 5))))

    assert {name: np.flatnonzero(mask).tolist() for name, mask in slices.items()} == {
        "SEX=Female": [1, 4],
        "SEX=Male": [0, 2, 3],
        "AGE<40": [0],
        "AGE 40-59": [1, 2],
        "AGE>=60": [3],
        "AGE missing": [4],
    }


@pytest.mark.filterwarnings("error")
def test_a_slice_with_too_few_rows_has_no_metric(raw: pd.DataFrame) -> None:
    table = raw.head(3).assign(SEX="Male", AGE=[30, 70, 71])

    slices = evaluate_slices(PROBLEM, np.array([1.0, 2.0, 3.0]), np.array([4.0, 2.0, 3.0]), table)

    assert slices["rows"].tolist() == [0, 3, 1, 0, 2]
    assert slices.loc[["SEX=Female", "AGE 40-59"], ["rmse", "mae", "r2"]].isna().all(axis=None)
    assert slices.loc["AGE<40", ["rmse", "mae"]].tolist() == [3, 3]
    assert slices.loc["AGE>=60", ["rmse", "mae", "r2"]].tolist() == [0, 0, 1]


# The values that a row may hold


@pytest.mark.parametrize("sex", ["M", "male", "F", 1.0])
def test_a_sex_that_the_schema_does_not_name_is_refused(raw: pd.DataFrame, sex: object) -> None:
    with pytest.raises(SchemaError, match=r"SEX: 442 not one of \['Female', 'Male'\]"):
        fit(PROBLEM, raw.assign(SEX=sex), PARAMS)


def test_holdout_rows_have_not_drifted_and_older_patients_have(model: Pipeline, raw: pd.DataFrame) -> None:
    train, holdout = split_by_key(SCHEMA, raw)
    profile = Profile.describe(SCHEMA, *to_arrays(SCHEMA, train), predict(SCHEMA, model, train))

    same, older = (
        profile.count(SCHEMA, *to_arrays(SCHEMA, table), predict(SCHEMA, model, table))
        for table in (holdout, holdout[holdout["AGE"] >= 55])
    )

    assert worst(classify(compare(profile, same), DriftThresholds()).values()) == "ok"
    assert classify(compare(profile, older), DriftThresholds())["AGE"] == "alert"
