"""Writes what a training run found as one HTML page that needs no other file and no network."""

from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from mlflow.entities.model_registry import ModelVersion

from diabetes_mlops.assessment import Assessment
from diabetes_mlops.promotion import Verdict

DOTS_PER_INCH = 160
CAPTIONS = {
    "predicted_vs_actual": "Each point is a holdout row; on the dashed line the prediction is right.",
    "residuals": "What each prediction missed. A slope or a funnel is something the model has not learned.",
    "importance": "How much worse the rmse gets when a feature's values are shuffled among the rows.",
}


def render(
    version: ModelVersion,
    verdict: Verdict,
    assessment: Assessment,
    figures: Mapping[str, Figure],
    origin: Mapping[str, str],
) -> str:
    """Return the page: the verdict of the gate, metrics, checks, figures, slices, and where it comes from."""
    pages = Environment(
        loader=PackageLoader("diabetes_mlops"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters["number"] = show_number
    return pages.get_template("report.html").render(
        version=version,
        verdict=verdict,
        decision=verdict.decision,
        assessment=assessment,
        slices=assessment.slices.reset_index().to_dict("records"),
        figures={name: embed(figure) for name, figure in figures.items()},
        captions=CAPTIONS,
        origin=origin,
    )


def embed(figure: Figure) -> str:
    """Return a figure as a data URI, a PNG that stays sharp on a dense screen."""
    image = BytesIO()
    figure.savefig(image, format="png", dpi=DOTS_PER_INCH)
    return f"data:image/png;base64,{b64encode(image.getvalue()).decode()}"


def show_number(value: float) -> str:
    """Write a number with three decimals, so that a column's points stand below each other; NaN as a dash."""
    return "–" if value != value else f"{value:.3f}".replace("-", "−")
