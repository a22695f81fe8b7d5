"""Writes what a run found as one HTML page that needs no other file and no network."""

from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from mlflow.entities.model_registry import ModelVersion

from diabetes_mlops.assessment import Assessment
from diabetes_mlops.health import Health
from diabetes_mlops.promotion import Verdict

DOTS_PER_INCH = 160
CAPTIONS = {
    "predicted_vs_actual": "Each point is a holdout row; on the dashed line the prediction is right.",
    "residuals": "What each prediction missed. A slope or a funnel is something the model has not learned.",
    "importance": "How much worse the rmse gets when a feature's values are shuffled among the rows.",
    "monitoring": "Small batches have a large psi by chance; drift is where a test says so as well.",
}
TONES = {"ok": "good", "warn": "wait", "alert": "bad", None: "soft"}
LATEST_BATCHES = 30


def render(
    version: ModelVersion,
    verdict: Verdict,
    assessment: Assessment,
    figures: Mapping[str, Figure],
    origin: Mapping[str, str],
) -> str:
    """Return the page: the verdict of the gate, metrics, checks, figures, slices, and where it comes from."""
    return _render(
        "report.html",
        figures,
        version=version,
        verdict=verdict,
        decision=verdict.decision,
        assessment=assessment,
        slices=assessment.slices.reset_index().to_dict("records"),
        origin=origin,
    )


def render_monitoring(
    table: str,
    health: Health,
    labels: str,
    batches: pd.DataFrame,
    versions: pd.DataFrame,
    figure: Figure,
    origin: Mapping[str, str],
) -> str:
    """Return the page of a scored table: its health, the figure, versions, and the latest batches first.

    `batches` and `versions` are those of `diabetes_mlops.history`, `labels` says what is known of labels.
    """
    latest = batches.tail(LATEST_BATCHES).iloc[::-1]
    shown = latest.assign(scored_at=latest["scored_at"].dt.strftime("%Y-%m-%d %H:%M"))
    return _render(
        "monitoring.html",
        {"monitoring": figure},
        table=table,
        health=health,
        labels=labels,
        rows=int(batches["rows"].sum()),
        total_batches=len(batches),
        batches=shown.to_dict("records"),
        versions=versions.to_dict("records"),
        tones=TONES,
        origin=origin,
    )


def _render(template: str, figures: Mapping[str, Figure], **values: Any) -> str:
    pages = Environment(
        loader=PackageLoader("diabetes_mlops"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters["number"] = show_number
    embedded = {name: embed(figure) for name, figure in figures.items()}
    return pages.get_template(template).render(figures=embedded, captions=CAPTIONS, **values)


def embed(figure: Figure) -> str:
    """Return a figure as a data URI, a PNG that stays sharp on a dense screen."""
    image = BytesIO()
    figure.savefig(image, format="png", dpi=DOTS_PER_INCH)
    return f"data:image/png;base64,{b64encode(image.getvalue()).decode()}"


def show_number(value: float) -> str:
    """Write a number with three decimals, so that a column's points stand below each other; NaN as a dash."""
    return "–" if value != value else f"{value:.3f}".replace("-", "−")
