"""Makes the tables of this science from scikit-learn's wine data.

`python make_data.py FOLDER` writes them. The last bottles are to be scored and not to be trained on; two of
them cannot be scored.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine

BATCH_ROWS = 38
MISSING_SHARE = 0.02
NAMES = {
    "ALCOHOL": "alcohol",
    "MALIC_ACID": "malic_acid",
    "MAGNESIUM": "magnesium",
    "PHENOLS": "total_phenols",
    "FLAVANOIDS": "flavanoids",
    "INTENSITY": "color_intensity",
    "PROLINE": "proline",
}


def make_tables() -> dict[str, pd.DataFrame]:
    """Return the table of each file by its name."""
    source = load_wine(as_frame=True).frame.sample(frac=1, random_state=1, ignore_index=True)
    random = np.random.default_rng(1)
    features = pd.DataFrame({name: source[old] for name, old in NAMES.items()})
    features["HUE"] = np.where(source["hue"] > 1, "high", "low").astype(object)
    features = features.mask(random.random(features.shape) < MISSING_SHARE)
    names = np.array(["Barolo", "Grignolino", "Barbera"], dtype=object)[source["target"]]
    table = features.assign(BOTTLE=range(1, len(source) + 1), CULTIVAR=names)
    train, batch = table.iloc[:-BATCH_ROWS], table.iloc[-BATCH_ROWS:].reset_index(drop=True)
    labels = batch[["BOTTLE", "CULTIVAR"]]
    batch = batch.drop(columns="CULTIVAR")
    batch.loc[0, "HUE"], batch.loc[1, "ALCOHOL"] = "violet", -1.0
    return {"data_raw.csv": train, "data_batch_input.csv": batch, "labels.csv": labels}


if __name__ == "__main__":
    for name, table in make_tables().items():
        table.to_csv(Path(sys.argv[1]) / name, index=False)
