"""A problem with texts for a key and with dates, and its table: houses and what they were sold for."""

import numpy as np
import pandas as pd
from diabetes.tabular import Column, Metric, Problem, Schema
from problems import make_problem, make_ridge, r2, rmse

ROWS = 300
# What people put into keys; each is another one.
ODD_KEYS = (
    "0",
    "12",
    "00012",
    "12.0",
    "Zürich, Bahnhofstraße 1",
    'the "old" mill',
    "'",
    "NULL",
    "nan",
    "None",
    "true",
    "%d 100 %",
    "a\\b",
    "x" * 5_000,
    "Ж中🏠",
    "2024-02-29",
    "1e3",
)


def slice_houses(features: pd.DataFrame) -> dict[str, np.ndarray]:
    return {f"KIND={kind}": (features["KIND"] == kind).to_numpy(dtype=bool) for kind in ("house", "flat")}


def make_houses_problem(schema: Schema) -> Problem:
    return make_problem(
        schema,
        make_ridge,
        metrics={"rmse": Metric(rmse, "lower", "k€"), "r2": Metric(r2, "higher")},
        primary="rmse",
        margin=5.0,
        slice_rows=slice_houses,
    )


SCHEMA = Schema(
    key=Column("HOUSE", "text", "code of the house"),
    features=(
        Column("AREA", "number", "area of all floors", "m²", 10, 2000),
        Column("KIND", "category", "kind of the house", categories=("house", "flat")),
        Column("SOLD", "date", "day of the sale", first="2000-01-01", last="2030-12-31"),
    ),
    label=Column("PRICE", "number", "price", "k€", 0, 100_000),
    others=(Column("HOUSEHOLD", "text", "family that sold it"),),
)
HOUSES = make_houses_problem(SCHEMA)


def make_houses(rows: int = ROWS) -> pd.DataFrame:
    """Labelled rows, drawn: a house has a code such as H-0007, and each household has sold a few."""
    random = np.random.default_rng(rows)
    table = pd.DataFrame(
        {
            "HOUSE": [f"H-{number:04}" for number in range(rows)],
            "AREA": random.normal(120, 30, rows).clip(30, 300).round(1),
            "KIND": random.choice(np.array(["house", "flat"], dtype=object), rows),
            "SOLD": pd.Timestamp("2015-01-01") + pd.to_timedelta(random.integers(0, 3000, rows), unit="D"),
            "HOUSEHOLD": [f"family {number}" for number in random.integers(0, 1 + rows // 4, rows)],
        }
    )
    days = (table["SOLD"] - pd.Timestamp("2015-01-01")).dt.days
    price = 50 + 2.5 * table["AREA"] + 0.05 * days + 40 * (table["KIND"] == "house")
    return table.assign(PRICE=(price + random.normal(0, 20, rows)).round(1).clip(lower=1))
