"""Writes a fitted pipeline as SQL of Spark: what it predicts, from the features by their names.

Of the features a number is a DOUBLE, a category a STRING, a date the DOUBLE of its days since the first one;
NULL is missing. What is written is what scikit-learn's own steps do, in their order; the sum of a linear
model may be added up in another order, so that a prediction can differ in its last digits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn import linear_model
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)

from diabetes.tabular.columns import Schema

_LINEAR = (
    linear_model.ARDRegression,
    linear_model.BayesianRidge,
    linear_model.ElasticNet,
    linear_model.ElasticNetCV,
    linear_model.HuberRegressor,
    linear_model.Lars,
    linear_model.LarsCV,
    linear_model.Lasso,
    linear_model.LassoCV,
    linear_model.LassoLars,
    linear_model.LassoLarsCV,
    linear_model.LassoLarsIC,
    linear_model.LinearRegression,
    linear_model.Ridge,
    linear_model.RidgeCV,
    linear_model.SGDRegressor,
    linear_model.TheilSenRegressor,
)
_OF_A_LOGARITHM = (linear_model.PoissonRegressor, linear_model.GammaRegressor)
_LOGISTIC = (linear_model.LogisticRegression, linear_model.LogisticRegressionCV)
# Of a pipeline with more columns the statement is long, and Java compiles it no more.
_MOST_TERMS = 2_000
# What a linear sum is called in the expressions that are made of it.
SCORE = "_score_{}"


class NoSqlError(ValueError):
    """A pipeline has something that is not written as SQL; batch scoring runs its `predict` then."""


@dataclass(frozen=True)
class SqlModel:
    """A pipeline as expressions of SQL, in two steps.

    `scores` are sums over the features; `outputs` are made of them, by the names that `SCORE` gives: one
    prediction, or of a label that has classes the probability of each. `is_total` says that they are never
    NULL for values that the schema takes, missing ones among them.
    """

    scores: tuple[str, ...]
    outputs: tuple[str, ...]
    is_total: bool

    def as_json(self) -> dict[str, Any]:
        """Give the expressions as values that JSON has."""
        return {"scores": list(self.scores), "outputs": list(self.outputs), "is_total": self.is_total}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `as_json` gave."""
        return cls(tuple(values["scores"]), tuple(values["outputs"]), values["is_total"])

    def select(self, schema: Schema, table: str) -> str:
        """Write a statement that predicts for each row of a table with the schema's columns."""
        names = [f"{quote(f'probability of {name}')}" for name in schema.classes] or ["prediction"]
        outputs = [f"  {sql} AS {name}" for sql, name in zip(self.outputs, names, strict=True)]
        scores = [f"    {sql} AS {SCORE.format(place)}" for place, sql in enumerate(self.scores)]
        key = quote(schema.key.name)
        inner = f"  SELECT\n    {key},\n{_lines(scores)}\n  FROM {table}"
        return f"SELECT\n  {key},\n{_lines(outputs)}\nFROM (\n{inner}\n)\n"


def write_sql(schema: Schema, model: Pipeline) -> SqlModel:
    """Write what `scoring.predict` gives of a pipeline; raises NoSqlError for what is not written so."""
    if odd := [name for name in schema.feature_names if "${" in name]:
        raise NoSqlError(f"columns {odd} are not written as SQL, where ${{}} is a variable")
    values: list[_Value] = [
        _Text(quote(column.name), column.categories)
        if column.kind == "category"
        else _Number(quote(column.name))
        for column in schema.features
    ]
    for _, step in model.steps[:-1]:
        values = _apply(step, values)
    last = model.steps[-1][1]
    if isinstance(last, Pipeline):
        raise NoSqlError("a pipeline whose last step is a pipeline is not written as SQL")
    return _predict(last, values, schema)


def quote(name: str) -> str:
    """Quote the name of a column, or one part of a table's."""
    return f"`{name.replace('`', '``')}`"


@dataclass(frozen=True)
class _Number:
    """A number, as an expression; `is_there` says that it is never NULL."""

    sql: str
    is_there: bool = False


@dataclass(frozen=True)
class _Text:
    """A text, as an expression of which the values are known; `is_there` says that it is never NULL."""

    sql: str
    values: tuple[str, ...]
    is_there: bool = False


@dataclass(frozen=True)
class _Encoded:
    """A text as one of the columns of an encoder: 1 for its category, 0 for each other one that it knows.

    `takes_unknown` says that other texts are 0 as well; else there is nothing to predict for them. `is_there`
    says that no other one comes.
    """

    text: str
    categories: tuple[str, ...]
    category: str
    takes_unknown: bool
    is_there: bool

    @property
    def sql(self) -> str:
        """The number, as an expression."""
        return self.weigh({self.category: 1.0})

    def weigh(self, weights: dict[str, float]) -> str:
        """Give the weight of the text's category."""
        cases = [f"WHEN {_string(name)} THEN {_double(weights.get(name, 0.0))}" for name in self.categories]
        return " ".join(["CASE", self.text, *cases, *(["ELSE 0.0D"] if self.takes_unknown else []), "END"])


_Value = _Number | _Text | _Encoded
_Apply = Callable[[Any, list[_Value]], list[_Value]]


def _apply(step: Any, values: list[_Value]) -> list[_Value]:
    """Give what a fitted step makes of some columns."""
    if step is None or step == "passthrough":
        return values
    write = _STEPS.get(type(step))
    if write is None:
        raise NoSqlError(f"{type(step).__name__} is not written as SQL")
    made = write(step, values)
    if len(made) > _MOST_TERMS:
        raise NoSqlError(f"{len(made)} columns are too many for SQL, which takes up to {_MOST_TERMS}")
    return made


def _pass_on(step: Pipeline, values: list[_Value]) -> list[_Value]:
    for _, each in step.steps:
        values = _apply(each, values)
    return values


def _leave(step: FunctionTransformer, values: list[_Value]) -> list[_Value]:
    """Leave the columns as they are, as a ColumnTransformer does with what it passes through."""
    if step.func is not None or step.validate:
        raise NoSqlError("a FunctionTransformer with a function is not written as SQL")
    return values


def _take_apart(step: ColumnTransformer, values: list[_Value]) -> list[_Value]:
    if step.transformer_weights:
        raise NoSqlError("transformer_weights are not written as SQL")
    names = list(getattr(step, "feature_names_in_", []))
    made: list[_Value] = []
    for _, part, columns in step.transformers_:
        if isinstance(part, str) and part == "drop":
            continue
        taken = [values[_find_place(column, names)] for column in _list_columns(columns)]
        made += _apply(part, taken) if taken else []
    return made


def _list_columns(columns: Any) -> list[Any]:
    if isinstance(columns, slice) or callable(columns):
        raise NoSqlError("columns that are chosen by a slice or a function are not written as SQL")
    chosen: list[Any] = [columns] if isinstance(columns, str | int) else list(columns)
    if any(isinstance(column, bool | np.bool_) for column in chosen):
        raise NoSqlError("columns that are chosen by a mask are not written as SQL")
    return chosen


def _find_place(column: Any, names: list[str]) -> int:
    return names.index(column) if isinstance(column, str) else int(column)


def _fill(step: SimpleImputer, values: list[_Value]) -> list[_Value]:
    fillers = list(step.statistics_)
    if step.add_indicator or not _is_missing(step.missing_values) or any(map(_is_missing, fillers)):
        raise NoSqlError("a SimpleImputer that adds columns, drops some or fills other values than NaN")
    made: list[_Value] = []
    for value, filler in zip(values, fillers, strict=True):
        if isinstance(value, _Text):
            known = (*value.values, str(filler))
            made.append(_Text(f"coalesce({value.sql}, {_string(filler)})", known, is_there=True))
        else:
            made.append(_Number(f"coalesce({value.sql}, {_double(filler)})", is_there=True))
    return made


def _standardize(step: StandardScaler, values: list[_Value]) -> list[_Value]:
    return _shift(values, step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None)


def _shift_robustly(step: RobustScaler, values: list[_Value]) -> list[_Value]:
    center = step.center_ if step.with_centering else None
    return _shift(values, center, step.scale_ if step.with_scaling else None)


def _divide(step: MaxAbsScaler, values: list[_Value]) -> list[_Value]:
    _check_not_clipped(step)
    return _shift(values, None, step.scale_)


def _stretch(step: MinMaxScaler, values: list[_Value]) -> list[_Value]:
    _check_not_clipped(step)
    return [*_reckon(_reckon(_numbers(values), "*", step.scale_), "+", step.min_)]


def _check_not_clipped(step: BaseEstimator) -> None:
    if getattr(step, "clip", False):
        raise NoSqlError(f"{type(step).__name__} with clip is not written as SQL")


def _shift(
    values: list[_Value], center: Sequence[float] | None, scale: Sequence[float] | None
) -> list[_Value]:
    made = _numbers(values)
    made = made if center is None else _reckon(made, "-", center)
    return [*(made if scale is None else _reckon(made, "/", scale))]


def _reckon(values: list[_Number], sign: str, numbers: Sequence[float]) -> list[_Number]:
    """Reckon each value with a number of its own."""
    return [
        _Number(f"({value.sql} {sign} {_double(number)})", value.is_there)
        for value, number in zip(values, numbers, strict=True)
    ]


def _encode(step: OneHotEncoder, values: list[_Value]) -> list[_Value]:
    takes_unknown = step.handle_unknown in ("ignore", "warn")
    if step.handle_unknown not in ("error", "ignore", "warn") or step.min_frequency or step.max_categories:
        raise NoSqlError("a OneHotEncoder that puts rare categories together is not written as SQL")
    dropped = step.drop_idx_ if step.drop_idx_ is not None else [None] * len(values)
    made: list[_Value] = []
    for value, found, without in zip(values, step.categories_, dropped, strict=True):
        categories = tuple(found)
        if not isinstance(value, _Text) or not all(isinstance(name, str) for name in categories):
            raise NoSqlError(
                "a OneHotEncoder of anything but texts, none of them missing, is not written as SQL"
            )
        is_there = takes_unknown or (value.is_there and {*value.values} <= {*categories})
        made += [
            _Encoded(value.sql, categories, name, takes_unknown, is_there)
            for place, name in enumerate(categories)
            if place != without
        ]
    return made


_STEPS: dict[type, _Apply] = {
    Pipeline: _pass_on,
    ColumnTransformer: _take_apart,
    FunctionTransformer: _leave,
    SimpleImputer: _fill,
    StandardScaler: _standardize,
    RobustScaler: _shift_robustly,
    MaxAbsScaler: _divide,
    MinMaxScaler: _stretch,
    OneHotEncoder: _encode,
}


def _predict(last: Any, values: list[_Value], schema: Schema) -> SqlModel:
    """Write the last step, which predicts."""
    if type(last) in _LOGISTIC:
        return _predict_classes(last, values, schema)
    if schema.classes or type(last) not in (*_LINEAR, *_OF_A_LOGARITHM):
        raise NoSqlError(f"{type(last).__name__} is not written as SQL")
    score = _add_up(values, np.ravel(last.coef_), np.ravel(last.intercept_)[0])
    name = SCORE.format(0)
    output = f"exp({name})" if type(last) in _OF_A_LOGARITHM else name
    return SqlModel((score,), (output,), _are_there(values))


def _predict_classes(last: Any, values: list[_Value], schema: Schema) -> SqlModel:
    intercepts = np.broadcast_to(np.ravel(last.intercept_), len(last.coef_))
    scores = tuple(_add_up(values, row, start) for row, start in zip(last.coef_, intercepts, strict=True))
    names = [SCORE.format(place) for place in range(len(scores))]
    learned = [int(name) for name in last.classes_]
    if len(names) == 1:
        probabilities = [f"1.0D / (1.0D + exp({sign}{names[0]}))" for sign in ("", "-")]
    else:
        largest = f"greatest({', '.join(names)})"
        parts = [f"exp({name} - {largest})" for name in names]
        probabilities = [f"{part} / ({' + '.join(parts)})" for part in parts]
    of_class = dict(zip(learned, probabilities, strict=True))
    if not schema.classes:
        return SqlModel(scores, (of_class[1],), _are_there(values))
    outputs = tuple(of_class.get(place, "0.0D") for place in range(len(schema.classes)))
    return SqlModel(scores, outputs, _are_there(values))


def _add_up(values: list[_Value], weights: np.ndarray, start: float) -> str:
    """Write a weighted sum; the categories of one text are looked up at once."""
    terms, of_text = [_double(start)], dict[str, tuple[_Encoded, dict[str, float]]]()
    for value, weight in zip(values, weights, strict=True):
        if isinstance(value, _Encoded):
            of_text.setdefault(value.text, (value, {}))[1][value.category] = float(weight)
        elif isinstance(value, _Number):
            terms.append(f"{value.sql} * {_double(weight)}")
        else:
            raise NoSqlError("a model of texts is not written as SQL")
    return " + ".join([*terms, *(encoded.weigh(weighed) for encoded, weighed in of_text.values())])


def _numbers(values: list[_Value]) -> list[_Number]:
    if any(isinstance(value, _Text) for value in values):
        raise NoSqlError("a scaler of texts is not written as SQL")
    return [_Number(value.sql, value.is_there) for value in values]


def _are_there(values: list[_Value]) -> bool:
    return all(value.is_there for value in values)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and bool(np.isnan(value)))


def _double(value: float) -> str:
    if not np.isfinite(value):
        raise NoSqlError(f"{value} is no number that SQL can write")
    return f"{float(value)!r}D"


def _string(text: str) -> str:
    # What is in ${} Spark replaces by a variable, also inside quotes.
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\u0024{")
    return f"'{escaped}'"


def _lines(parts: Sequence[str]) -> str:
    return ",\n".join(parts)
