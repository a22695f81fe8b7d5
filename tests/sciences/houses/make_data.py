"""Makes the tables of this science, which are drawn.

`python make_data.py FOLDER` writes them. The last houses are to be scored and not to be trained on; two of
them cannot be scored.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROWS, BATCH_ROWS = 600, 100
MISSING_SHARE = 0.02
DISTRICTS = {"centre": 1.5, "north": 1.0, "south": 0.9, "river": 1.2}


def make_tables() -> dict[str, pd.DataFrame]:
    """Return the table of each file by its name."""
    random = np.random.default_rng(7)
    districts = random.choice(np.array(list(DISTRICTS), dtype=object), ROWS)
    days = np.sort(random.integers(0, 3_000, ROWS))
    features = pd.DataFrame(
        {
            "SOLD": (np.datetime64("2016-01-01") + days).astype(str).astype(object),
            "AREA": random.gamma(9, 14, ROWS).clip(25, 600).round(1),
            "ROOMS": random.integers(1, 9, ROWS).astype(float),
            "DISTRICT": districts,
            "BUILT": random.integers(1900, 2016, ROWS).astype(float),
        }
    )
    price = 3.2 * features["AREA"] * np.array([DISTRICTS[name] for name in districts]) * (1 + days / 12_000)
    price *= np.exp(random.normal(0, 0.08, ROWS))
    features = features.mask(random.random(features.shape) < MISSING_SHARE)
    features[["ROOMS", "BUILT"]] = features[["ROOMS", "BUILT"]].astype("Int64")
    parcels = [f"{district[:2].upper()}-{number:05}" for number, district in enumerate(districts, start=1)]
    table = features.assign(PARCEL=parcels, PRICE=price.round(1))
    train, batch = table.iloc[:-BATCH_ROWS], table.iloc[-BATCH_ROWS:].reset_index(drop=True)
    labels = batch[["PARCEL", "PRICE"]]
    batch = batch.drop(columns="PRICE")
    batch.loc[0, "SOLD"], batch.loc[1, "DISTRICT"] = "2024-02-30", "moon"
    return {"data_raw.csv": train, "data_batch_input.csv": batch, "labels.csv": labels}


if __name__ == "__main__":
    for name, table in make_tables().items():
        table.to_csv(Path(sys.argv[1]) / name, index=False)
