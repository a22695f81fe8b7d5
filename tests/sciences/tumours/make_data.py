"""Makes the tables of this science from scikit-learn's breast cancer data.

`python make_data.py FOLDER` writes them. The last cases are to be scored and not to be trained on; two of
them cannot be scored.
"""

import sys
from pathlib import Path
from random import Random

import pandas as pd
from sklearn.datasets import load_breast_cancer

BATCH_ROWS = 169
MISSING_SHARE = 0.02
NAMES = {
    "TEXTURE": "mean texture",
    "SMOOTHNESS": "mean smoothness",
    "CONCAVITY": "mean concavity",
    "SYMMETRY": "mean symmetry",
    "FRACTAL": "mean fractal dimension",
    "AREA_ERROR": "area error",
    "WORST_AREA": "worst area",
    "WORST_TEXTURE": "worst texture",
}


def make_tables() -> dict[str, pd.DataFrame]:
    """Return each table by the name of its file: to train on, to score, and the labels of the latter."""
    source = load_breast_cancer(as_frame=True).frame
    sizes = pd.cut(source["mean perimeter"], [0, 80, 100, 1000], labels=["small", "medium", "large"])
    features = pd.DataFrame(
        {"SIZE": sizes.astype(object)} | {name: source[old] for name, old in NAMES.items()}
    )
    features["WORST_AREA"] = features["WORST_AREA"].round()
    rng = Random(0)
    gaps = [[rng.random() < MISSING_SHARE for _ in features] for _ in range(len(features))]
    features = features.mask(pd.DataFrame(gaps, columns=features.columns))
    table = features.assign(CASE=range(1, len(source) + 1), MALIGNANT=1 - source["target"])
    train, batch = table.iloc[:-BATCH_ROWS], table.iloc[-BATCH_ROWS:].reset_index(drop=True)
    labels = batch[["CASE", "MALIGNANT"]]
    batch = batch.drop(columns="MALIGNANT")
    batch.loc[0, "SIZE"], batch.loc[1, "SMOOTHNESS"] = "tiny", -1.0
    return {"data_raw.csv": train, "data_batch_input.csv": batch, "labels.csv": labels}


if __name__ == "__main__":
    for name, table in make_tables().items():
        table.to_csv(Path(sys.argv[1]) / name, index=False)
