"""Tells whether a batch of rows is distributed like the rows that a model was trained on.

The training rows are described once, as counts of rows in bins (`Profile`); a batch is counted in the same
bins, part by part (`Counts`), and the two are compared. Numbers come as float64 of shape (n, numbers) in the
order of the schema's numeric names, NaN where missing; categories as int64 codes of shape (n, categories) in
the order of its category names, each the place in the column's list, -1 where missing; predictions as float64
of shape (n,), or of k classes as their probabilities, (n, k), of which the most probable class is counted.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency

from diabetes.tabular.columns import PREDICTION as PREDICTION
from diabetes.tabular.columns import Schema, SchemaError, show_day
from diabetes.tabular.features import select_features
from diabetes.tabular.metrics import find_classes

DECILES = np.arange(1, 10) / 10

Status = Literal["ok", "warn", "alert"]
STATUSES: tuple[Status, ...] = ("ok", "warn", "alert")

# Below this expected count the chi-squared distribution is a bad guess (Cochran, "Some methods for
# strengthening the common chi-squared tests", 1954), and the p-value comes from drawn tables instead.
_SMALLEST_EXPECTED = 5
_DRAWN_TABLES = 19_999
# What NumPy's sampler takes; the chi-squared distribution has to do for more rows.
_MOST_ROWS_TO_DRAW_FROM = 10**9 - 1


@dataclass(frozen=True)
class DriftThresholds:
    """How far a column may move before it is told.

    A population stability index below 0.1 is no change to speak of, one from 0.25 on is a shift (Siddiqi,
    "Credit Risk Scorecards", 2006). `significance` is about the chance, shared among all columns, that a
    batch of the same distribution is called drifted.
    """

    psi_warn: float = 0.1
    psi_alert: float = 0.25
    significance: float = 0.01


@dataclass(frozen=True)
class Counts:
    """How many rows fall into each bin of each column; the last bin of a column is for missing values."""

    bins: dict[str, tuple[int, ...]]

    @property
    def rows(self) -> int:
        """How many rows were counted; each is in one bin of every column."""
        return sum(next(iter(self.bins.values())))

    def __add__(self, other: "Counts") -> "Counts":
        """Give the counts of both together; raises ValueError where the bins are not the same."""
        if _sizes(self) != _sizes(other):
            raise ValueError(f"counts of other bins: {_sizes(self)} and {_sizes(other)}")
        return Counts(
            {
                name: tuple(a + b for a, b in zip(own, other.bins[name], strict=True))
                for name, own in self.bins.items()
            }
        )

    def as_json(self) -> dict[str, list[int]]:
        """Give the counts as values that JSON has."""
        return {name: list(counts) for name, counts in self.bins.items()}

    @classmethod
    def from_json(cls, values: dict[str, list[int]]) -> Self:
        """Read what `as_json` gave."""
        return cls({name: tuple(counts) for name, counts in values.items()})


@dataclass(frozen=True)
class Profile:
    """The bins of every feature and of the prediction, and how many training rows were in each.

    A number falls into the first bin whose upper edge is not below it, and beyond the last edge into one
    more, so that infinities and values that training never saw are counted too. A category has a bin for
    each of its names, and so has a prediction of classes for each class. A date is a number of days; `dates`
    has the day that each is counted from.
    """

    edges: dict[str, tuple[float, ...]]
    categories: dict[str, tuple[str, ...]]
    baseline: Counts
    dates: dict[str, str] = field(default_factory=dict)

    @classmethod
    def describe(
        cls, schema: Schema, numbers: np.ndarray, codes: np.ndarray, predictions: np.ndarray
    ) -> Self:
        """Describe training rows; raises SchemaError where there are none.

        The edges of a number are its deciles. Deciles that many rows share are one edge.
        """
        if not len(predictions):
            raise SchemaError("0 rows have no distribution to describe")
        columns = _name_columns(schema, numbers, predictions)
        bins = cls(
            edges={name: _find_edges(values) for name, values in columns.items()},
            categories=_name_categories(schema),
            baseline=Counts({}),
            dates=schema.first_days,
        )
        return replace(bins, baseline=bins.count(schema, numbers, codes, predictions))

    def count(
        self, schema: Schema, numbers: np.ndarray, codes: np.ndarray, predictions: np.ndarray
    ) -> Counts:
        """Count a batch of rows in the bins of this profile."""
        columns = _name_columns(schema, numbers, predictions)
        found = {name: _count_numbers(values, self.edges[name]) for name, values in columns.items()}
        for name, column in zip(schema.category_names, codes.T, strict=True):
            found[name] = _count_codes(column, len(self.categories[name]))
        if PREDICTION in self.categories:
            found[PREDICTION] = _count_codes(find_classes(predictions), len(self.categories[PREDICTION]))
        return Counts({name: found[name] for name in (*schema.feature_names, PREDICTION)})

    def empty_counts(self) -> Counts:
        """Give the counts of no rows, to add others to."""
        return Counts({name: (0,) * len(counts) for name, counts in self.baseline.bins.items()})

    def labels(self, name: str) -> list[str]:
        """Name the bins of a column, in the order of its counts."""
        if name in self.categories:
            return [*self.categories[name], "missing"]
        edges = self.edges[name]
        told = [show_day(self.dates[name], edge) if name in self.dates else f"{edge:.4g}" for edge in edges]
        last = f"> {told[-1]}" if edges else "any"
        shown = [f"≤ {edge}" for edge in told]
        if len(edges) > 1 and edges[0] == _just_below(edges[1]):
            shown[0] = f"< {told[1]}"
        return [*shown, last, "missing"]

    def as_json(self) -> dict[str, Any]:
        """Give the profile as values that JSON has."""
        return {
            "edges": {name: list(edges) for name, edges in self.edges.items()},
            "categories": {name: list(names) for name, names in self.categories.items()},
            "baseline": self.baseline.as_json(),
            "dates": self.dates,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `as_json` gave."""
        return cls(
            edges={name: tuple(edges) for name, edges in values["edges"].items()},
            categories={name: tuple(names) for name, names in values["categories"].items()},
            baseline=Counts.from_json(values["baseline"]),
            dates=values.get("dates", {}),
        )

    def check(self, schema: Schema) -> None:
        """Raise SchemaError where the profile describes other columns or categories than the schema has."""
        known, numbers = _name_categories(schema), [*schema.numeric_names, PREDICTION]
        if {*self.edges} != {*numbers} - {*known} or self.categories != known:
            described = [*self.edges, *self.categories.items()]
            raise SchemaError(
                f"the profile describes {described}; the schema has {schema.numeric_names} and {known}"
            )
        if self.dates != schema.first_days:
            raise SchemaError(
                f"the profile has dates counted from {self.dates}; this wheel has {schema.first_days}"
            )


def to_arrays(schema: Schema, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers and the codes of a table's features; raises SchemaError as `select_features`."""
    features = select_features(schema, table)
    codes = np.empty((len(features), len(schema.category_names)), dtype=np.int64)
    for place, name in enumerate(schema.category_names):
        codes[:, place] = pd.Categorical(features[name], categories=schema.columns[name].categories).codes
    return features[schema.numeric_names].to_numpy(dtype=np.float64), codes


def find_smallest_p_value(columns: int) -> float:
    """Return the p-value that drawn tables, adjusted for so many columns, are never below."""
    return columns / (_DRAWN_TABLES + 1)


def compare(profile: Profile, counts: Counts) -> pd.DataFrame:
    """Return one row a column: psi, p_value, missing_baseline, missing_batch (shares), rows_baseline, rows.

    `p_value` is the chance that two samples of one distribution differ as much as these (chi-squared test
    of homogeneity). Without rows there is no drift: psi is 0 and the p-value 1.
    """
    compared = {
        name: _compare(np.array(profile.baseline.bins[name]), np.array(counts.bins[name]))
        for name in profile.baseline.bins
    }
    table = pd.DataFrame.from_dict(compared, orient="index").rename_axis("column")
    return table.astype({"rows_baseline": "int64", "rows": "int64"})


def classify(comparison: pd.DataFrame, thresholds: DriftThresholds) -> dict[str, Status]:
    """Return the status of each column of what `compare` returned.

    A small batch has a large psi by chance alone: about (bins - 1)(1/n + 1/m) for n and m rows (Yurdakul,
    "Statistical Properties of Population Stability Index", 2018). So a column warns or alerts where its psi
    is at the threshold or above it and its p-value, adjusted for the number of columns (Holm, "A simple
    sequentially rejective multiple test procedure", 1979), is below the significance.

    The bins are deciles of the very rows that a batch is compared with, which makes p-values a little small:
    of batches of 1,000 rows of the same distribution, held against 353 training rows at a significance of
    0.01, 1.5 in 100 were called drifted (simulated), of batches of 100 or 100,000 rows fewer than one.
    """
    significant = _adjust(comparison["p_value"].to_numpy()) < thresholds.significance
    return {
        str(name): _judge(psi, thresholds) if real else "ok"
        for name, psi, real in zip(comparison.index, comparison["psi"], significant, strict=True)
    }


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of some statuses; ok where there are none."""
    return max(statuses, key=STATUSES.index, default="ok")


def population_stability_index(baseline: np.ndarray, batch: np.ndarray) -> float:
    """Return the index of two arrays of counts in the same bins, shape (k,): 0 for equal shares.

    The sum over the bins of (q - p) ln(q / p), where p and q are the shares of baseline and batch, which is
    the divergence of Jeffreys (Kullback and Leibler, "On information and sufficiency", 1951). So that an
    empty bin has a finite logarithm, half a row is added to each bin that is not empty in both (Krichevsky
    and Trofimov, "The performance of universal encoding", 1981).
    """
    used = (baseline + batch) > 0
    p, q = (counts[used] + 0.5 for counts in (baseline, batch))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def homogeneity_p_value(baseline: np.ndarray, batch: np.ndarray) -> float:
    """Return the p-value of the chi-squared test of homogeneity of two arrays of counts, shape (k,).

    The test is Pearson's on the 2 × k table without the bins that are empty in both (Agresti, "Categorical
    Data Analysis", 2013, section 3.2). Where a bin is expected to hold fewer than 5 rows, the statistic is
    held against those of tables with the same margins, drawn at random from a fixed seed; such a p-value is
    never below 1/20000 (Phipson and Smyth, "Permutation p-values should never be zero", 2010).
    """
    table = np.stack([baseline, batch])[:, (baseline + batch) > 0]
    # One used bin, or an empty sample: nothing to compare.
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 1.0
    test = chi2_contingency(table, correction=False)
    if test.expected_freq.min() >= _SMALLEST_EXPECTED or table.sum() > _MOST_ROWS_TO_DRAW_FROM:
        return float(test.pvalue)
    drawn = _draw_statistics(table, test.expected_freq)
    # A table that differs by rounding alone counts as equally far.
    return float((1 + np.sum(drawn >= test.statistic * (1 - 1e-9))) / (1 + _DRAWN_TABLES))


def _draw_statistics(table: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Draw 2 × k tables with the margins of `table`, and return Pearson's statistic of each."""
    random = np.random.default_rng(0)
    rows = table[0].sum()
    first = random.multivariate_hypergeometric(
        table.sum(axis=0), rows, size=_DRAWN_TABLES, method="marginals"
    )
    # With both margins fixed, the second row deviates by as much as the first one.
    return np.asarray((first - expected[0]) ** 2 @ (1 / expected).sum(axis=0))


def _compare(baseline: np.ndarray, batch: np.ndarray) -> dict[str, float]:
    rows_baseline, rows = int(baseline.sum()), int(batch.sum())
    return {
        "psi": population_stability_index(baseline, batch) if rows else 0.0,
        "p_value": homogeneity_p_value(baseline, batch),
        "missing_baseline": float(baseline[-1]) / max(rows_baseline, 1),
        "missing_batch": float(batch[-1]) / max(rows, 1),
        "rows_baseline": rows_baseline,
        "rows": rows,
    }


def _judge(psi: float, thresholds: DriftThresholds) -> Status:
    if psi >= thresholds.psi_alert:
        return "alert"
    return "warn" if psi >= thresholds.psi_warn else "ok"


def _adjust(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p-values, in the order of the given ones."""
    order = np.argsort(p_values)
    stepped = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def _find_edges(values: np.ndarray) -> tuple[float, ...]:
    present = values[~np.isnan(values)]
    if not len(present):
        return ()
    # A decile is one of the values, so that no mean of two infinities is ever taken.
    edges = np.unique(np.quantile(present, DECILES, method="inverted_cdf"))
    if edges[0] == present.min():
        # A value that many rows share has a bin below it too, as it has one above.
        edges = np.append(_just_below(edges[0]), edges)
    return tuple(edges[np.isfinite(edges)].tolist())


def _just_below(value: float) -> float:
    return math.nextafter(value, -math.inf)


def _count_numbers(values: np.ndarray, edges: tuple[float, ...]) -> tuple[int, ...]:
    # One comparison of a whole column an edge is many times faster than a search for each value.
    column = np.ascontiguousarray(values)
    missing = _count_true(np.isnan(column))
    above = [len(column) - missing, *(_count_true(column > edge) for edge in edges), 0]
    return (*(more - fewer for more, fewer in pairwise(above)), missing)


def _count_codes(codes: np.ndarray, categories: int) -> tuple[int, ...]:
    column = np.ascontiguousarray(codes)
    known = [_count_true(column == code) for code in range(categories)]
    return (*known, len(column) - sum(known))


def _count_true(rows: np.ndarray) -> int:
    return int(np.count_nonzero(rows))


def _name_columns(schema: Schema, numbers: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
    columns = dict(zip(schema.numeric_names, numbers.T, strict=True))
    return columns if schema.classes else columns | {PREDICTION: predictions}


def _name_categories(schema: Schema) -> dict[str, tuple[str, ...]]:
    known = {name: schema.columns[name].categories for name in schema.category_names}
    return known | ({PREDICTION: schema.classes} if schema.classes else {})


def _sizes(counts: Counts) -> dict[str, int]:
    return {name: len(bins) for name, bins in counts.bins.items()}
