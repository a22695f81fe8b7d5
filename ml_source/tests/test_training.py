"""Everything learned is learned in `fit`, from the training rows, into one pipeline."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from diabetes.columns import SchemaError
from diabetes.measuring import cross_validate
from diabetes.schema import CATEGORY_NAMES, NUMERIC_NAMES, TARGET
from diabetes.scoring import predict
from diabetes.splitting import assign_folds, split_by_id
from diabetes.training import SEARCH_SPACE, fit, fit_baseline, make_pipeline
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import Pipeline


def effect_of(model: Pipeline, column: str) -> float:
    """Return the coefficient of a column behind the preprocessing."""
    names = list(model[:-1].get_feature_names_out())
    return float(model[-1].coef_[names.index(column)])


def test_sex_columns_carry_the_effect_of_their_own_sex(raw: pd.DataFrame) -> None:
    table = raw.dropna()
    table = table.assign(Y=np.where(table["SEX"] == "Male", 200.0, 100.0))

    model = fit(table, alpha=1e-6)

    assert effect_of(model, "SEX_Male") == pytest.approx(50, abs=0.01)
    assert effect_of(model, "SEX_Female") == pytest.approx(-50, abs=0.01)
    assert predict(model, table.assign(SEX="Male")) == pytest.approx(200, abs=0.01)
    assert predict(model, table.assign(SEX="Female")) == pytest.approx(100, abs=0.01)


def test_sex_effect_agrees_with_plain_least_squares(raw: pd.DataFrame) -> None:
    table = raw.dropna()
    male = (table["SEX"] == "Male").astype(float)
    plain = LinearRegression().fit(table[NUMERIC_NAMES].assign(male=male), table[TARGET])

    model = fit(table, alpha=1e-6)

    expected = plain.coef_[-1]
    assert expected < -10
    assert effect_of(model, "SEX_Male") - effect_of(model, "SEX_Female") == pytest.approx(expected, rel=1e-4)


def test_gaps_are_filled_from_the_training_rows_only(raw: pd.DataFrame) -> None:
    train, holdout = split_by_id(raw)
    shifted = pd.concat([train, holdout.assign(BMI=75.0, SEX="Female")])
    train_again, _ = split_by_id(shifted)

    numbers, categories = fit(train_again, alpha=1.0)["preprocess"].named_transformers_.values()

    assert numbers["fill"].statistics_.tolist() == train[NUMERIC_NAMES].median().tolist()
    assert numbers["scale"].mean_[NUMERIC_NAMES.index("BMI")] == pytest.approx(
        train["BMI"].fillna(train["BMI"].median()).mean()
    )
    assert categories["fill"].statistics_.tolist() == train[CATEGORY_NAMES].mode().loc[0].tolist()


def test_neither_label_nor_id_nor_other_columns_are_read_as_features(raw: pd.DataFrame) -> None:
    model = fit(raw.assign(Y_COPY=raw[TARGET]), alpha=1.0)

    read = set(model[:-1].get_feature_names_out())
    assert read == {*NUMERIC_NAMES, "SEX_Female", "SEX_Male"}
    assert set(model.feature_names_in_) == {*NUMERIC_NAMES, *CATEGORY_NAMES}


def test_a_table_with_one_sex_gives_the_same_columns(raw: pd.DataFrame) -> None:
    one_sex = fit(raw[raw["SEX"] == "Male"], alpha=1.0)

    assert list(one_sex[:-1].get_feature_names_out()) == list(
        fit(raw, alpha=1.0)[:-1].get_feature_names_out()
    )


def test_column_order_and_index_do_not_change_the_fit(raw: pd.DataFrame) -> None:
    turned = raw[raw.columns[::-1]].set_index(pd.Index(np.arange(len(raw)) % 7))

    assert fit(turned, alpha=1.0)[-1].coef_.tolist() == fit(raw, alpha=1.0)[-1].coef_.tolist()


def test_fitting_leaves_the_table_as_it_was(raw: pd.DataFrame) -> None:
    before = raw.copy(deep=True)

    fit(raw, alpha=1.0)

    pd.testing.assert_frame_equal(raw, before)


def test_a_larger_alpha_shrinks_the_coefficients(raw: pd.DataFrame) -> None:
    weak, strong = (fit(raw, alpha=alpha)[-1].coef_ for alpha in (0.1, 1000.0))

    assert np.linalg.norm(strong) < np.linalg.norm(weak)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf")])
def test_a_wrong_alpha_is_refused_with_its_value(raw: pd.DataFrame, alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha must be a positive, finite number; got {alpha}"):
        fit(raw, alpha=alpha)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"BMI": np.nan}, r"columns \['BMI'\] have no value in 442 rows: nothing to learn from"),
        ({"SEX": "M"}, r"SEX: 442 not one of \['Female', 'Male'\], such as \['M', 'M', 'M'\]"),
        ({"Y": np.nan}, "Y: 442 of 442 rows have no label"),
    ],
)
def test_a_table_that_cannot_teach_is_refused(
    raw: pd.DataFrame, change: dict[str, object], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        fit(raw.assign(**change), alpha=1.0)


def test_an_empty_table_is_refused(raw: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match="have no value in 0 rows"):
        fit(raw.iloc[:0], alpha=1.0)


def test_the_baseline_predicts_the_mean_label_of_its_training_rows(raw: pd.DataFrame) -> None:
    train, holdout = split_by_id(raw)

    predictions = predict(fit_baseline(train), holdout)

    assert predictions == pytest.approx(np.full(len(holdout), train[TARGET].mean()))


def test_a_baseline_needs_labels(raw: pd.DataFrame, batch: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match=r"missing columns \['Y'\]"):
        fit_baseline(batch)
    with pytest.raises(SchemaError, match="the table has 0 rows: no label to take the mean of"):
        fit_baseline(raw.iloc[:0])


def rmse_over_folds(model: Pipeline | Ridge, features: object, table: pd.DataFrame) -> float:
    """Return scikit-learn's own cross-validation, on the folds of seed 0."""
    folds = PredefinedSplit(assign_folds(table, folds=5, seed=0))
    scores = cross_val_score(model, features, table[TARGET], cv=folds, scoring="neg_root_mean_squared_error")
    return float(-scores.mean())


def with_many_gaps(table: pd.DataFrame) -> pd.DataFrame:
    empty = np.random.default_rng(0).random((len(table), len(NUMERIC_NAMES))) < 0.4
    return table.assign(**table[NUMERIC_NAMES].mask(empty))


def test_each_fold_is_filled_scaled_and_fitted_from_the_other_folds_only(raw: pd.DataFrame) -> None:
    table = with_many_gaps(raw)
    prepared_from_all = fit(table, alpha=1.0)[:-1].transform(table)
    filled_from_all = table.fillna(table[NUMERIC_NAMES].median())

    rmse = cross_validate(table, alpha=1.0, seed=0)

    assert rmse == pytest.approx(rmse_over_folds(make_pipeline(1.0), table, table), rel=1e-12)
    assert rmse != pytest.approx(rmse_over_folds(Ridge(alpha=1.0), prepared_from_all, table), rel=1e-6)
    assert rmse != pytest.approx(cross_validate(filled_from_all, alpha=1.0, seed=0), rel=1e-6)


def test_cross_validation_does_not_measure_on_the_rows_it_learned_from(raw: pd.DataFrame) -> None:
    # Features say nothing about shuffled labels, so only rows seen in training can be predicted well.
    table = raw.head(60)
    table = table.assign(Y=table[TARGET].sample(frac=1, random_state=0).to_numpy())
    seen = table[TARGET] - predict(fit(table, alpha=0.01), table)

    rmse = cross_validate(table, alpha=0.01, seed=0)

    assert np.sqrt(np.mean(seen**2)) < table[TARGET].std() < rmse


def test_the_same_rows_and_seed_give_the_same_rmse_in_any_order(raw: pd.DataFrame) -> None:
    rmse = cross_validate(raw, alpha=1.0, seed=0)

    assert cross_validate(raw, alpha=1.0, seed=0) == rmse
    assert cross_validate(raw.sample(frac=1, random_state=7), alpha=1.0, seed=0) == pytest.approx(
        rmse, rel=1e-9
    )
    assert cross_validate(raw, alpha=1.0, seed=1) != pytest.approx(rmse, rel=1e-6)


def test_the_best_alpha_lies_inside_the_search_space(raw: pd.DataFrame) -> None:
    train, _ = split_by_id(raw)
    low, high = SEARCH_SPACE["alpha"]

    ends = [cross_validate(train, alpha=alpha, seed=0) for alpha in (low, high)]

    assert list(SEARCH_SPACE) == ["alpha"]
    assert cross_validate(train, alpha=10.0, seed=0) < min(ends)


def test_cross_validation_leaves_the_table_as_it_was(raw: pd.DataFrame) -> None:
    before = raw.copy(deep=True)

    cross_validate(raw, alpha=1.0, seed=0)

    pd.testing.assert_frame_equal(raw, before)


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

    assert np.array(done.stdout.split(), dtype=float) == pytest.approx(predict(model, batch), rel=1e-12)
