"""What a pipeline predicts as SQL of Spark is what it predicts by itself."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import flowers
import numpy as np
import pandas as pd
import problems
import pytest
from diabetes.tabular import Column, Schema
from diabetes.tabular import sql as writer
from diabetes.tabular.features import select_features, select_label
from diabetes.tabular.scoring import predict_features
from diabetes.tabular.sql import SCORE, SqlModel, quote, write_sql
from diabetes_mlops.models import as_sql
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler

PATIENTS, TUMOURS, FLOWERS = problems.PATIENTS.schema, problems.TUMOURS.schema, flowers.FLOWERS.schema
# Names of columns and of categories that SQL would take for something else.
ODD_COLUMNS = (
    "grey (sd), 1%",
    "var. of `radius`",
    "sym'metry\\",
    'is "bad".{0}',
    "ID",
    "`",
    "SELECT",
    "größe",
)
ODD_CATEGORIES = (
    "it's",
    "a\\b",
    "\\",
    "'",
    '"',
    "Zürich 🏠",
    "a\nb",
    "-- no",
    "%s",
    "${env:HOME}",
    "\\'",
    "\\u0041",
)
ODD = Schema(
    key=Column("KEY", "integer", "", low=1, high=100_000),
    features=(
        *(Column(name, "number", "", low=0, high=1000) for name in ODD_COLUMNS),
        Column("what's `it`?", "category", "", categories=ODD_CATEGORIES),
    ),
    label=Column("Y", "number", ""),
)


@dataclass(frozen=True)
class Example:
    """A fitted pipeline, with rows to predict: features as a model takes them."""

    schema: Schema
    model: Pipeline
    rows: pd.DataFrame


def fill() -> SimpleImputer:
    return SimpleImputer(strategy="median")


def learn(schema: Schema, table: pd.DataFrame, *steps: Any, rows: pd.DataFrame | None = None) -> Example:
    model = make_pipeline(*steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of models that have not converged
        model.fit(select_features(schema, table), select_label(schema, table))
    return Example(schema, model, select_features(schema, table if rows is None else rows).head(120))


def learn_patients(*steps: Any, table: pd.DataFrame | None = None) -> Example:
    """Learn from a table; rows with gaps are predicted."""
    every = problems.make_patients()
    return learn(PATIENTS, every if table is None else table, *steps, rows=every)


def numbers(*steps: Any) -> ColumnTransformer:
    return ColumnTransformer([("numbers", make_pipeline(*steps), PATIENTS.numeric_names)])


def sexes(*steps: Any, **options: Any) -> ColumnTransformer:
    return ColumnTransformer([("sexes", make_pipeline(*steps), ["SEX"])], **options)


def encode(**options: Any) -> OneHotEncoder:
    return OneHotEncoder(sparse_output=False, **options)


def usual(*more: Any) -> ColumnTransformer:
    parts = [("numbers", make_pipeline(fill(), *more), PATIENTS.numeric_names)]
    sex = make_pipeline(SimpleImputer(strategy="most_frequent"), encode())
    return ColumnTransformer([*parts, ("sexes", sex, ["SEX"])])


def make_steps() -> dict[str, Example]:
    known = problems.make_patients().dropna(subset=["SEX"])
    common = SimpleImputer(strategy="most_frequent")
    passed = ColumnTransformer([("sexes", make_pipeline(common, encode()), ["SEX"])], remainder="passthrough")
    scaled = ColumnTransformer([("some", StandardScaler(), [3, 1])], remainder="passthrough")
    named = ColumnTransformer([("a", fill(), ["BMI", "AGE"]), ("gone", "drop", ["S1"])])
    inner = make_pipeline(
        numbers(fill()), make_pipeline(ColumnTransformer([("b", StandardScaler(), [2, 0])]))
    )
    imputers = {
        strategy: learn_patients(numbers(SimpleImputer(strategy=strategy)), Ridge())
        for strategy in ("mean", "median", "most_frequent")
    }
    scalers: dict[str, Any] = {
        "standard": StandardScaler(),
        "standard, mean alone": StandardScaler(with_std=False),
        "standard, scale alone": StandardScaler(with_mean=False),
        "standard, nothing": StandardScaler(with_mean=False, with_std=False),
        "min and max": MinMaxScaler((-2, 3)),
        "largest": MaxAbsScaler(),
        "robust": RobustScaler(),
        "robust, center alone": RobustScaler(with_scaling=False),
        "robust, scale alone": RobustScaler(with_centering=False),
    }
    return {
        **imputers,
        "constant": learn_patients(numbers(SimpleImputer(strategy="constant", fill_value=-7.5)), Ridge()),
        **{name: learn_patients(numbers(fill(), scaler), Ridge()) for name, scaler in scalers.items()},
        "scaled, then filled": learn_patients(numbers(StandardScaler(), fill()), Ridge()),
        "drop first": learn_patients(sexes(common, encode(drop="first")), Ridge()),
        "drop if two": learn_patients(sexes(common, encode(drop="if_binary")), Ridge()),
        "drop one": learn_patients(sexes(common, encode(drop=["Male"])), Ridge()),
        "sparse": learn_patients(sexes(common, OneHotEncoder()), Ridge()),
        "filled by a new one": learn_patients(
            sexes(SimpleImputer(strategy="constant", fill_value="it's \\ none"), encode()), Ridge()
        ),
        "ignore": learn_patients(sexes(encode(handle_unknown="ignore")), Ridge(), table=known),
        "ignore and drop": learn_patients(
            sexes(encode(handle_unknown="ignore", drop="first")), Ridge(), table=known
        ),
        "warn": learn_patients(sexes(encode(handle_unknown="warn")), Ridge(), table=known),
        "scaled categories": learn_patients(sexes(common, encode(), StandardScaler()), Ridge()),
        "filled categories": learn_patients(sexes(common, encode(), fill()), Ridge()),
        "passed through": learn_patients(passed, fill(), scaled, Ridge()),
        "dropped": learn_patients(named, Ridge()),
        "nested": learn_patients(inner, Ridge()),
        "none": learn_patients(usual(), "passthrough", None, Ridge()),
        "no intercept": learn_patients(usual(), Ridge(fit_intercept=False)),
    }


def make_models() -> dict[str, Example]:
    regressors = {model.__name__: model for model in writer._LINEAR}
    found = {name: learn_patients(usual(StandardScaler()), make()) for name, make in regressors.items()}
    of_a_logarithm = {"poisson": PoissonRegressor(), "gamma": GammaRegressor()}
    found |= {name: learn_patients(usual(StandardScaler()), model) for name, model in of_a_logarithm.items()}
    found["poisson of much"] = replace(
        found["poisson"], rows=found["poisson"].rows.assign(BMI=80.0, BP=200.0, S5=8.0, S3=5.0)
    )
    tumours = problems.make_tumours()
    found["two classes, as numbers"] = learn(TUMOURS, tumours, fill(), StandardScaler(), LogisticRegression())
    classes = replace(TUMOURS.label, kind="category", low=-np.inf, high=np.inf, categories=("be'nign", "bad"))
    named = replace(TUMOURS, label=classes)
    label = np.array(classes.categories, dtype=object)[tumours["MALIGNANT"]]
    told = tumours.assign(MALIGNANT=label)
    found["two classes, by name"] = learn(named, told, fill(), StandardScaler(), LogisticRegression())
    found["two classes, sure"] = learn(named, told, fill(), LogisticRegression(C=1e12, max_iter=10_000))
    petals = ColumnTransformer([("numbers", make_pipeline(fill(), StandardScaler()), FLOWERS.numeric_names)])
    of_flowers = flowers.make_flowers()
    found["three classes"] = learn(FLOWERS, of_flowers, petals, LogisticRegression())
    without = of_flowers[of_flowers["KIND"] != flowers.CLASSES[1]]
    found["a class that no row had"] = learn(FLOWERS, without, petals, LogisticRegression())
    found["a class of four that no row had"] = learn(
        flowers.with_classes(flowers.FLOWERS, ("other", *flowers.CLASSES)).schema,
        of_flowers,
        petals,
        LogisticRegression(),
    )
    return found


def make_odd() -> dict[str, Example]:
    random, rows = np.random.default_rng(5), 240
    table = pd.DataFrame({name: random.uniform(0, 1000, rows) for name in ODD_COLUMNS})
    table["what's `it`?"] = np.array(ODD_CATEGORIES, dtype=object)[np.arange(rows) % len(ODD_CATEGORIES)]
    # Each category is worth another number.
    table["Y"] = table[ODD_COLUMNS[0]] + 100.0 * (np.arange(rows) % len(ODD_CATEGORIES))
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), encode())
    numbers = make_pipeline(fill(), StandardScaler())
    parts = [("numbers", numbers, list(ODD_COLUMNS)), ("texts", texts, ["what's `it`?"])]
    return {"odd names": learn(ODD, table, ColumnTransformer(parts), Ridge(alpha=1e-3))}


EXAMPLES = {**make_steps(), **make_models(), **make_odd()}


@pytest.fixture(scope="module")
def predicted(spark: SparkSession) -> dict[str, np.ndarray]:
    """What SQL predicts of the rows of each example, shape (n, outputs): one query for each table."""
    tables: dict[int, list[str]] = {}
    for name, example in EXAMPLES.items():
        tables.setdefault(hash(example.rows.to_csv()), []).append(name)
    found: dict[str, np.ndarray] = {}
    for names in tables.values():
        examples = {name: write_sql(EXAMPLES[name].schema, EXAMPLES[name].model) for name in names}
        rows = EXAMPLES[names[0]].rows
        values = rows.astype(object).where(rows.notna(), None)
        kinds = {name: "string" if values[name].map(type).eq(str).any() else "double" for name in values}
        ddl = ", ".join(f"{quote(name)} {kind}" for name, kind in ({"_row": "int"} | kinds).items())
        data = [[row, *each] for row, each in enumerate(values.to_numpy().tolist())]
        wanted = [F.expr(each) for sql in examples.values() for each in _put_together(sql)]
        told = spark.createDataFrame(data, ddl).select("_row", *wanted).toPandas().sort_values("_row")
        outputs, start = told.to_numpy(dtype=float), 1
        for name, sql in examples.items():
            found[name] = outputs[:, start : start + len(sql.outputs)]
            start += len(sql.outputs)
    return found


def _put_together(sql: SqlModel) -> list[str]:
    outputs = list(sql.outputs)
    for place in reversed(range(len(sql.scores))):
        outputs = [each.replace(SCORE.format(place), f"({sql.scores[place]})") for each in outputs]
    return outputs


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_pipeline_as_sql_predicts_what_it_predicts(predicted, name: str):
    example = EXAMPLES[name]

    expected = predict_features(example.model, example.rows, example.schema.classes)

    assert np.isfinite(expected).all()
    assert predicted[name] == pytest.approx(expected.reshape(len(expected), -1), rel=1e-9, abs=1e-9)
    assert write_sql(example.schema, example.model).is_total


def test_an_encoder_that_refuses_what_it_does_not_know_gives_nothing_for_it(spark: SparkSession):
    table = problems.make_patients()
    known = table.dropna(subset=["SEX"])
    example = learn(PATIENTS, known, sexes(encode()), Ridge())
    sql = write_sql(PATIENTS, example.model)
    rows = spark.createDataFrame([["Male"], ["Female"], ["male"], [None], [""]], "SEX string")

    found = {row[0]: row[1] for row in rows.select("SEX", F.expr(sql.scores[0])).collect()}

    assert not sql.is_total
    assert {name for name, value in found.items() if value is not None} == {"Male", "Female"}


@pytest.mark.parametrize("name", ["robust", "ignore", "poisson", "three classes", "two classes, as numbers"])
def test_the_check_at_training_finds_a_coefficient_that_was_changed(spark: SparkSession, name: str):
    schema, model = EXAMPLES[name].schema, EXAMPLES[name].model
    rows, last = EXAMPLES[name].rows, model.steps[-1][1]
    sql, kept = write_sql(schema, model), last.coef_.copy()
    same = as_sql.measure_difference(spark, schema, model, sql, rows)
    try:
        last.coef_ = kept * (1 + 1e-5)

        changed = as_sql.measure_difference(spark, schema, model, sql, rows)
    finally:
        last.coef_ = kept

    assert same <= as_sql.TOLERANCE < 1e-7 < changed


def test_a_model_whose_sql_is_not_the_same_is_scored_in_python(spark: SparkSession, monkeypatch, capsys):
    example = EXAMPLES["robust"]
    wrong = replace(write_sql(PATIENTS, example.model), outputs=(f"{SCORE.format(0)} * 1.000001D",))
    monkeypatch.setattr(as_sql, "write_sql", lambda *_: wrong)

    assert as_sql.find_sql(spark, PATIENTS, example.model, example.rows) is None
    assert "runs this model in Python: as SQL its predictions differ by 1e-06" in capsys.readouterr().out
