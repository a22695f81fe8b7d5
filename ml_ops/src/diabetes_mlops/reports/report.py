"""Writes what a run found as one HTML page that needs no other file and no network."""

from base64 import b64encode
from collections.abc import Hashable, Mapping, Sequence
from io import BytesIO
from typing import Any

import pandas as pd
from diabetes.tabular.metrics import Evaluation
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from mlflow.entities.model_registry import ModelVersion

from diabetes_mlops.models.assessment import Assessment
from diabetes_mlops.models.promotion import Verdict
from diabetes_mlops.monitoring.health import Health, History, name_holdout, name_share, with_noun

DOTS_PER_INCH = 160
CAPTIONS = {
    "predicted_vs_actual": "Each point is a holdout row; on the dashed line the prediction is right.",
    "residuals": "What each prediction missed. A slope or a funnel is something the model has not learned.",
    "calibration": "On the dashed line, what is predicted is how often it happens; below, for how many rows.",
    "confusion": "Each line is what rows are, each column what was predicted; on the diagonal it is right.",
    "calibration_by_class": "On the dashed line, what is predicted of a class is how often it happens.",
    "roc_by_class": "Each point is a cut-off of one class against the rest; an area of 0.5 is a guess.",
    "roc": "Each point is a cut-off: which share of the labels 1 and of the labels 0 lies above it.",
    "importance": "How much higher the {primary} gets when a feature's values are shuffled among the rows.",
    "monitoring": "Small batches have a large psi by chance; drift is where a test says so as well.",
}
TONES = {"ok": "good", "warn": "wait", "alert": "bad", None: "soft"}
LATEST = 30
# How many classes of a batch are told.
TOLD_CLASSES = 3


def render(
    evaluation: Evaluation,
    version: ModelVersion,
    verdict: Verdict,
    assessment: Assessment,
    figures: Mapping[str, Figure],
    origin: Mapping[str, str],
) -> str:
    """Return the page: the verdict of the gate, metrics, checks, figures, slices, and where it comes from."""
    return _render(
        "report.html",
        evaluation,
        figures,
        version=version,
        verdict=verdict,
        decision=verdict.decision,
        assessment=assessment,
        slices=assessment.slices.reset_index().to_dict("records"),
        origin=origin,
    )


def render_monitoring(
    evaluation: Evaluation,
    table: str,
    health: Health,
    labels: str,
    history: History,
    figure: Figure,
    origin: Mapping[str, str],
    classes: Sequence[str] = (),
) -> str:
    """Return the page of a scored table: its health, the figure, versions, and the latest runs first.

    `labels` says what is known of labels; `classes` are those of a label that has some.
    """
    latest = _latest(history.batches, "scored_at")
    return _render(
        "monitoring.html",
        evaluation,
        {"monitoring": figure},
        table=table,
        health=health,
        labels=labels,
        rows=int(history.batches["rows"].sum()),
        total_batches=len(history.batches),
        batches=latest,
        shares=[_tell_shares(batch, classes) for batch in latest] if classes else [],
        total_failures=len(history.failures),
        failures=_latest(history.failures, "ended_at"),
        versions=history.versions.to_dict("records"),
        tiles=_tiles(history),
        tones=TONES,
        origin=origin,
    )


def _tiles(history: History) -> list[tuple[str, str, str]]:
    """Give the numbers that come first, each with its name and with what it is to be seen against."""
    batches, used = history.batches, history.version_in_use
    runs = len(batches) + len(history.failures)
    rows, rejected = int(batches["rows"].sum()), int(batches["rejected"].sum())
    primary = history.primary
    known = pd.notna(used[primary])
    return [
        ("Rows scored", f"{rows:,}", f"in {with_noun(len(batches), 'batch')}"),
        ("Rejected rows", f"{rejected:,}", f"{rejected / max(rows + rejected, 1):.2%} of all"),
        ("Failed runs", f"{len(history.failed):,}", f"of {with_noun(runs, 'scoring run')}"),
        (
            f"True {primary}, version {used['model_version']}",
            show_short(used[primary]),
            f"{with_noun(used['labelled'], 'ID')}, holdout {show_short(used[history.holdout])}"
            if known
            else "no labels yet",
        ),
    ]


def _tell_shares(batch: Mapping[Hashable, Any], classes: Sequence[str]) -> str:
    """Say which classes are predicted for which share of a batch, the largest first."""
    shares = {name: float(batch[name_share(name)]) for name in classes}
    largest = sorted(shares, key=lambda name: -shares[name])
    told = [f"{name} {shares[name]:.1%}" for name in largest[:TOLD_CLASSES]]
    left = len(largest) - len(told)
    return ", ".join(told) + (f" and {left} more" if left else "")


def _latest(table: pd.DataFrame, moment: str) -> list[dict[Hashable, Any]]:
    latest = table.tail(LATEST).iloc[::-1]
    return latest.assign(**{moment: latest[moment].dt.strftime("%Y-%m-%d %H:%M")}).to_dict("records")


def _render(template: str, evaluation: Evaluation, figures: Mapping[str, Figure], **values: Any) -> str:
    pages = Environment(
        loader=PackageLoader("diabetes_mlops.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    pages.filters |= {
        "count": with_noun,
        "number": show_number,
        "short": show_short,
        "share": show_share,
    }
    embedded = {name: embed(figure) for name, figure in figures.items()}
    primary = evaluation.primary
    names = {"metrics": list(evaluation.metrics), "primary": primary, "holdout": name_holdout(primary)}
    captions = {name: text.format(primary=primary) for name, text in CAPTIONS.items()}
    return pages.get_template(template).render(figures=embedded, captions=captions, **names, **values)


def embed(figure: Figure) -> str:
    """Return a figure as a data URI, a PNG that stays sharp on a dense screen and shows the page below it."""
    image = BytesIO()
    figure.savefig(image, format="png", dpi=DOTS_PER_INCH, transparent=True)
    return f"data:image/png;base64,{b64encode(image.getvalue()).decode()}"


def show_number(value: float, decimals: int = 3) -> str:
    """Write a number with so many decimals, that a column's points stand below each other; NaN as a dash."""
    return "–" if value != value else f"{value:.{decimals}f}".replace("-", "−")


def show_short(value: float) -> str:
    """Write a number with one decimal, a small one with three; NaN as a dash."""
    return show_number(value, 1 if abs(value) >= 10 else 3)


def show_share(value: float) -> str:
    """Write a share in percent; NaN as a dash."""
    return "–" if value != value else f"{value:.2%}"
