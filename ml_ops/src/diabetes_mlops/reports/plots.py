"""Draws the figures of a run; without pyplot, whose global state outlives a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from diabetes.tabular.columns import Column, Schema, show_day
from diabetes.tabular.drift import Counts, DriftThresholds, Profile
from diabetes.tabular.features import select_features
from diabetes.tabular.metrics import Evaluation, find_classes
from diabetes.tabular.problem import Problem
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import auc, roc_curve

from diabetes_mlops.models.assessment import Assessment
from diabetes_mlops.monitoring.drift import Drift
from diabetes_mlops.monitoring.health import History, name_share, with_noun

BLUE, ORANGE, RED, GREY = "#1f6fb4", "#d9731a", "#b42318", "#8a8f98"
LINES = (BLUE, ORANGE, "#3a9d5d", "#8456b8", "#b5487a")
STATUS_COLOURS: dict[str, str] = {"ok": BLUE, "warn": ORANGE, "alert": RED}
LINE: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.5}
LEVEL: dict[str, Any] = {"linestyle": "--", "linewidth": 1}
BINS = 30
# Of an axis in a small panel. More are hard to read, and take a quarter to a half of a figure's time.
FEW_TICKS = 5
BANDS = 10
# Of classes: the characters of a name, how many have a panel each, and how many have numbers in their cells.
LONGEST_NAME, MOST_PANELS, MOST_WITH_NUMBERS = 24, 20, 15
CLASS_COLOURS = (*LINES, "#c9a227", "#2a9db0", "#7a4a2b")
SMALLEST_SHARE = 1e-9
BOX = {
    "boxprops": {"facecolor": BLUE, "alpha": 0.35, "edgecolor": BLUE},
    "medianprops": {"color": ORANGE, "linewidth": 2},
    "flierprops": {"marker": ".", "markeredgecolor": GREY, "markersize": 4},
}


def draw_assessment(problem: Problem, assessment: Assessment) -> dict[str, Figure]:
    """Draw the assessment's figures, each under the name of its file; the first two belong side by side."""
    actual, predicted, label = assessment.actual, assessment.predicted, problem.schema.label
    importance = draw_importance(assessment.importance, problem.evaluation)
    if classes := problem.schema.classes:
        return {
            "confusion": draw_confusion(actual, predicted, classes),
            "importance": importance,
            "calibration_by_class": draw_calibration_by_class(actual, predicted, classes),
            "roc_by_class": draw_roc_by_class(actual, predicted, classes),
        }
    if assessment.is_of_classifier:
        return {
            "calibration": draw_calibration(actual, predicted, label),
            "roc": draw_roc(actual, predicted),
            "importance": importance,
        }
    return {
        "predicted_vs_actual": draw_predicted_vs_actual(actual, predicted, label),
        "importance": importance,
        "residuals": draw_residuals(actual, predicted, label),
    }


def draw_features(schema: Schema, table: pd.DataFrame) -> Figure:
    """Draw each feature of `table`: a number as a box plot in its own unit, a category as rows by name."""
    figure = _figure(11, 6)
    figure.suptitle(f"Features of {len(table)} rows")
    features = select_features(schema, table)
    grid = figure.subplots(2, -(-len(schema.features) // 2)).flat
    for column, axes in zip(schema.features, grid, strict=False):
        if column.kind == "category":
            _draw_categories(axes, column, features[column.name])
        else:
            values = features[column.name].dropna().to_numpy()
            axes.boxplot(values, widths=0.5, patch_artist=True, **BOX)
            axes.set(ylabel=column.unit, xticks=[])
        axes.set_title(column.name)
        axes.locator_params(axis="y", nbins=FEW_TICKS)
        if first := schema.first_days.get(column.name):
            axes.yaxis.set_major_formatter(lambda days, _, first=first: show_day(first, days))
        _tidy(axes)
    for unused in list(grid):
        unused.remove()
    return _laid_out(figure)


def _draw_categories(axes: Axes, column: Column, values: pd.Series) -> None:
    places = range(len(column.categories))
    axes.bar(places, [(values == name).sum() for name in column.categories], color=BLUE, alpha=0.35)
    axes.set_xticks(places, column.categories, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    axes.set_ylabel("rows")


def draw_predicted_vs_actual(actual: np.ndarray, predicted: np.ndarray, label: Column) -> Figure:
    """Draw each holdout row as a point, with the line of a perfect prediction; both have shape (n,)."""
    figure = _figure(6, 6)
    axes = figure.subplots()
    both = np.concatenate([actual, predicted])
    ends = [float(both.min()), float(both.max())]
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="perfect prediction")
    axes.scatter(actual, predicted, s=22, alpha=0.6, color=BLUE, edgecolors="none")
    axes.set(title=f"Predicted against actual, {len(actual)} holdout rows", aspect="equal")
    axes.set(xlabel=f"actual {_label(label)}", ylabel=f"predicted {_label(label)}")
    axes.legend(frameon=False)
    _tidy(axes)
    return _laid_out(figure)


def draw_residuals(actual: np.ndarray, predicted: np.ndarray, label: Column) -> Figure:
    """Draw what each prediction missed, over the prediction and as a histogram; both have shape (n,)."""
    residuals = actual - predicted
    figure = _figure(10, 4.5)
    figure.suptitle(f"Residuals of {len(actual)} holdout rows")
    over, histogram = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    over.scatter(predicted, residuals, s=22, alpha=0.6, color=BLUE, edgecolors="none")
    over.set(xlabel=f"predicted {_label(label)}", ylabel="actual minus predicted")
    histogram.hist(residuals, bins=BINS, orientation="horizontal", color=BLUE, alpha=0.6)
    histogram.set(xlabel="rows")
    for axes in (over, histogram):
        axes.axhline(0, color=ORANGE, linewidth=1)
        _tidy(axes)
    return _laid_out(figure)


def draw_calibration(actual: np.ndarray, predicted: np.ndarray, label: Column) -> Figure:
    """Draw how often a label is 1 where so much is predicted, and how often that is; shape (n,) both.

    The rows are cut into BANDS groups of about equal size by their predicted probability.
    """
    figure = _figure(6, 6)
    over, histogram = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    over.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect calibration")
    said, found = _calibrate(actual, predicted)
    over.plot(said, found, color=BLUE, label=f"{len(said)} groups of rows", **LINE)
    over.set(title=f"Calibration on {len(actual)} holdout rows", ylabel="share of rows with label 1")
    over.legend(frameon=False)
    histogram.hist(predicted, bins=np.linspace(0, 1, BINS + 1), color=BLUE, alpha=0.6)
    histogram.set(xlabel=f"predicted probability of {label.description}", ylabel="rows")
    for axes in (over, histogram):
        _tidy(axes)
    return _laid_out(figure)


def draw_roc(actual: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw which share of the labels 1 is found at which share of false alarms; both have shape (n,)."""
    figure = _figure(6, 6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="guessing")
    if len(np.unique(actual)) == 2:  # with one class alone there is nothing to tell apart
        false, true, _ = roc_curve(actual, predicted)
        axes.plot(false, true, color=BLUE, linewidth=2, label="the model, at every cut-off")
    axes.set(title=f"Receiver operating characteristic, {len(actual)} holdout rows", aspect="equal")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(frameon=False, loc="lower right")
    _tidy(axes)
    return _laid_out(figure)


def draw_confusion(actual: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw how many rows of each class are predicted as which, and which share of the class that is.

    Labels as places, shape (n,), and probabilities, shape (n, k).
    """
    size = len(classes)
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (actual.astype(int), find_classes(predicted)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(4.5, 1.5 + 0.65 * size), 14)
    figure = _figure(side + 1.5, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [_shorten(name) for name in classes]
    axes.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), names)
    axes.set(title=f"Classes of {len(actual)} holdout rows", xlabel="predicted", ylabel="actual")
    axes.spines[:].set_visible(False)
    if size <= MOST_WITH_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                text = f"{count}\n{shares[row, column]:.0%}"
                axes.text(column, row, text, color=colour, ha="center", va="center", fontsize=9)
    bar = figure.colorbar(image, ax=axes, use_gridspec=False, label="share of the actual class")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    return _laid_out(figure)


def draw_calibration_by_class(actual: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw for each class how often it is the label where so much is predicted; as `draw_confusion`."""
    title = f"Calibration by class, {len(actual)} holdout rows"
    figure, panels = _panels(title, actual, classes)
    for place, axes in panels.items():
        said, found = _calibrate(actual == place, predicted[:, place])
        axes.plot(said, found, color=BLUE, **LINE)
    figure.supxlabel("predicted probability of the class")
    figure.supylabel("share of rows with the class")
    return _laid_out(figure)


def draw_roc_by_class(actual: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw what `draw_roc` draws for each class against the rest; as `draw_confusion`."""
    title = f"Receiver operating characteristic, one class against the rest, {len(actual)} holdout rows"
    figure, panels = _panels(title, actual, classes)
    for place, axes in panels.items():
        is_it = actual == place
        if is_it.any() and not is_it.all():
            false, true, _ = roc_curve(is_it, predicted[:, place])
            axes.plot(false, true, color=BLUE, linewidth=2)
            axes.text(0.97, 0.05, f"area {auc(false, true):.3f}", ha="right", transform=axes.transAxes)
    figure.supxlabel("false positive rate")
    figure.supylabel("true positive rate")
    return _laid_out(figure)


def _panels(title: str, actual: np.ndarray, classes: Sequence[str]) -> tuple[Figure, dict[int, Axes]]:
    """Make a square panel with a diagonal for each class, of many classes for the most frequent ones."""
    rows = np.bincount(actual.astype(int), minlength=len(classes))
    shown = sorted(np.argsort(-rows, kind="stable")[:MOST_PANELS].tolist())
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure = _figure(2.7 * columns + 0.6, 2.9 * lines + 0.8)
    some = f", the {len(shown)} most frequent of {len(classes)}" if len(shown) < len(classes) else ""
    figure.suptitle(title + some, wrap=True)
    grid = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
    for unused in grid[len(shown) :]:
        unused.remove()
    panels = dict(zip(shown, grid, strict=False))
    for place, axes in panels.items():
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
        axes.set(aspect="equal", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.set_title(f"{_shorten(classes[place])}\n{with_noun(int(rows[place]), 'row')}", fontsize=9)
        _tidy(axes)
    # Where the last row has no panel, the one above it shows the numbers.
    for axes in grid[: len(shown)][-columns:]:
        axes.tick_params(labelbottom=True)
    return figure, panels


def _calibrate(actual: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the rows into BANDS groups of about equal size by their prediction; give the means of both."""
    groups = np.array_split(np.argsort(predicted, kind="stable"), min(BANDS, len(predicted)))
    said, found = (np.array([values[rows].mean() for rows in groups]) for values in (predicted, actual))
    return said, found


def _shorten(name: str) -> str:
    """Give a name its place in a figure: its begin and its end, and no sign that would mean mathematics."""
    text = " ".join(name.split())
    half = LONGEST_NAME // 2
    text = text if len(text) <= LONGEST_NAME else f"{text[:half].rstrip()}…{text[-half:].lstrip()}"
    # A legend leaves out what begins with an underscore.
    return f" {text}" if text.startswith("_") else text.replace("$", r"\$")


def draw_importance(importance: pd.DataFrame, evaluation: Evaluation) -> Figure:
    """Draw how much the error grows when a feature's values are shuffled: columns mean and std."""
    ordered = importance.sort_values("mean")
    figure = _figure(7, 4.5)
    axes = figure.subplots()
    error = {"ecolor": GREY, "elinewidth": 1.2}
    axes.barh(ordered.index, ordered["mean"], xerr=ordered["std"], color=BLUE, alpha=0.75, error_kw=error)
    axes.set(title="Permutation importance on the holdout", xlabel=f"growth of the {_error(evaluation)}")
    axes.axvline(0, color=GREY, linewidth=1)
    _tidy(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", alpha=0.25)
    return _laid_out(figure)


def draw_drift(profile: Profile, counts: Counts, found: Drift) -> Figure:
    """Draw each column's shares of training rows and of a batch's rows in the same bins."""
    comparison, statuses = found.comparison, found.statuses
    longest = max(len(_shorten(label)) for name in statuses for label in profile.labels(name))
    figure, grid = _make_grid(len(statuses) + 1, longest)
    figure.suptitle(f"Drift of {counts.rows} rows against {profile.baseline.rows} training rows")
    for axes, (name, status) in zip(grid, statuses.items(), strict=False):
        _draw_shares(axes, profile, name, counts, STATUS_COLOURS[status])
        emphasis: dict[str, Any] = (
            {} if status == "ok" else {"color": STATUS_COLOURS[status], "weight": "bold"}
        )
        axes.set_title(f"{name}: psi {comparison['psi'][name]:.3f}, {status}", fontsize=10, **emphasis)
    for unused in grid[len(statuses) :]:
        unused.set_axis_off()
    kinds = {"training rows": GREY, **{f"batch, {status}": c for status, c in STATUS_COLOURS.items()}}
    handles = [Patch(color=colour, label=kind) for kind, colour in kinds.items()]
    grid[len(statuses)].legend(handles=handles, loc="center", frameon=False)
    return figure


def _make_grid(panels: int, longest: int) -> tuple[Figure, list[Axes]]:
    """Make panels, four in a row, with room below each for slanted labels of so many characters.

    To have the room measured takes as long as all the rest of the figure, for which a batch waits.
    """
    rows, panel, labels = -(-panels // 4), 1.8, 0.2 + 0.055 * longest
    title, gap = 0.75, 0.35
    height = title + rows * (panel + labels) + (rows - 1) * gap
    figure = _figure(13, height)
    room = {"left": 0.045, "right": 0.99, "top": 1 - title / height, "bottom": labels / height}
    spaces = {"hspace": (labels + gap) / panel, "wspace": 0.22}
    return figure, list(figure.subplots(rows, 4, gridspec_kw=room | spaces).flat)


def _draw_shares(axes: Axes, profile: Profile, name: str, counts: Counts, colour: str) -> None:
    labels = [_shorten(label) for label in profile.labels(name)]
    places = np.arange(len(labels), dtype=float)
    places[-1] += 0.5  # Missing values are no neighbours of the largest ones.
    pairs = ((profile.baseline, GREY, -0.2), (counts, colour, 0.2))
    for counted, fill, offset in pairs:
        shares = np.array(counted.bins[name]) / max(counted.rows, 1)
        # One shape for all bars takes a third of the time of one each.
        left, right, zero = places + offset - 0.2, places + offset + 0.2, np.zeros_like(shares)
        corners = [(left, zero), (left, shares), (right, shares), (right, zero)]
        bars = np.array(corners).transpose(2, 0, 1)
        axes.add_collection(PolyCollection(list(bars), facecolor=fill, alpha=0.85))
    axes.autoscale_view()
    axes.set_ylim(bottom=0)
    axes.set_xticks(places, labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.locator_params(axis="y", nbins=FEW_TICKS)
    axes.tick_params(axis="y", labelsize=8)
    _tidy(axes)


def draw_monitoring(
    problem: Problem, history: History, thresholds: DriftThresholds, start: pd.Timestamp
) -> Figure:
    """Draw rows, rejected rows, drift, predictions and, where there are labels, true errors over time.

    A dotted line marks `start`, from which on batches are judged.
    """
    batches = history.batches
    panels = 5 if batches["labelled"].any() else 4
    figure = _figure(11, 2.5 * panels)
    every = figure.subplots(panels, sharex=True)
    _draw_rows(every[0], batches)
    _draw_rejected(every[1], batches, history.failed)
    _draw_psi(every[2], batches, thresholds)
    if classes := problem.schema.classes:
        _draw_classes(every[3], batches, classes)
    else:
        _draw_spread(every[3], batches, problem.schema.label)
    if panels == 5:
        _draw_errors(every[4], history, problem.evaluation)
    for axes in every:
        if start > history.moments.min():
            label = "judged from here on" if axes is every[0] else None
            axes.axvline(start, color=GREY, linestyle=":", linewidth=1.5, label=label)
        _tidy(axes)
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    _show_time(every[-1], history.moments)
    return _laid_out(figure)


def _draw_rows(axes: Axes, batches: pd.DataFrame) -> None:
    statuses = batches["drift"].fillna("not measured")
    for status, colour in (STATUS_COLOURS | {"not measured": GREY}).items():
        some = batches[statuses == status]
        if len(some):
            label = f"drift: {status}" if status in STATUS_COLOURS else f"drift {status}"
            axes.vlines(some["scored_at"], 0, some["rows"], color=colour, linewidth=2)
            axes.plot(some["scored_at"], some["rows"], "o", color=colour, markersize=5, label=label)
    _title(axes, "Rows of each batch, and whether it has drifted", "rows")


def _draw_rejected(axes: Axes, batches: pd.DataFrame, failures: pd.DataFrame) -> None:
    known = batches.dropna(subset="rejected_share")
    axes.vlines(known["scored_at"], 0, known["rejected_share"], color=BLUE, linewidth=2)
    axes.plot(known["scored_at"], known["rejected_share"], "o", color=BLUE, markersize=5, label="rejected")
    if len(failures):
        # A run that failed before it had read its rows stands on the axis.
        shares = failures["rejected_share"].fillna(0)
        axes.vlines(failures["ended_at"], 0, shares, color=RED, linewidth=2)
        cross: dict[str, Any] = {"color": RED, "markersize": 8, "markeredgewidth": 2, "clip_on": False}
        axes.plot(failures["ended_at"], shares, "x", label="run failed", **cross)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _title(axes, "Rejected rows, and scoring runs that failed", "share of rows", least=0.1)


def _draw_psi(axes: Axes, batches: pd.DataFrame, thresholds: DriftThresholds) -> None:
    psi = batches.filter(regex="^psi_").rename(columns=lambda name: name.removeprefix("psi_"))
    largest = psi.max().sort_values(ascending=False).dropna().index[: len(LINES)]
    for name, colour in zip(largest, LINES, strict=False):
        axes.plot(batches["scored_at"], psi[name], color=colour, label=name, **LINE)
    levels = {"warn": (thresholds.psi_warn, ORANGE), "alert": (thresholds.psi_alert, RED)}
    for name, (level, colour) in levels.items():
        axes.axhline(level, color=colour, label=f"{name} from {level:g} on", **LEVEL)
    what = "the columns that moved most" if len(largest) else "not measured"
    _title(axes, f"Drift from the training rows: {what}", "psi")


def _draw_spread(axes: Axes, batches: pd.DataFrame, label: Column) -> None:
    moments = batches["scored_at"]
    for low, high, alpha in (("p5", "p95", 0.15), ("p25", "p75", 0.3)):
        ends, share = (moments, batches[low], batches[high]), f"{low[1:]}% to {high[1:]}%"
        axes.fill_between(*ends, color=BLUE, alpha=alpha, linewidth=0, label=share)
        # A batch that stands alone in time has no area.
        axes.vlines(*ends, color=BLUE, alpha=alpha, linewidth=2)
    axes.plot(moments, batches["p50"], color=BLUE, label="median", **LINE)
    _title(axes, "Predictions", _with_unit("predicted", label.unit), from_zero=False)


def _draw_classes(axes: Axes, batches: pd.DataFrame, classes: Sequence[str]) -> None:
    """Draw the share of each class among the predictions, one upon the other; rare ones are one."""
    shares = batches[[name_share(name) for name in classes]].set_axis(list(classes), axis=1)
    frequent = shares.mean().nlargest(len(CLASS_COLOURS)).index
    drawn = [(_shorten(name), shares[name]) for name in classes if name in frequent]
    rest = 1 - shares[frequent].sum(axis=1)
    if rest.max() > SMALLEST_SHARE:
        drawn.append(("other classes", rest))
    above = pd.Series(1.0, index=batches.index)
    for (name, share), colour in zip(drawn, (*CLASS_COLOURS[: len(frequent)], GREY), strict=False):
        ends = (batches["scored_at"], above - share, above)
        axes.fill_between(*ends, color=colour, alpha=0.55, linewidth=0, label=name)
        # A batch that stands alone in time has no area.
        axes.vlines(*ends, color=colour, linewidth=2)
        above = above - share
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _title(axes, "Predicted classes", "share of rows", from_zero=False)
    axes.set_ylim(0, 1)


def _draw_errors(axes: Axes, history: History, evaluation: Evaluation) -> None:
    batches, versions = history.batches, history.versions
    latest = versions[versions["labelled"] > 0].tail(len(LINES))
    columns = (latest["model_name"], latest["model_version"], latest[history.holdout], LINES)
    for name, number, holdout, colour in zip(*columns, strict=False):
        own = (batches["model_name"] == name) & (batches["model_version"] == number)
        some = batches[own & (batches["labelled"] > 0)]
        axes.plot(some["scored_at"], some[history.primary], color=colour, label=f"version {number}", **LINE)
        if pd.notna(holdout):
            axes.axhline(holdout, color=colour, label=f"its holdout: {holdout:.3g}", **LEVEL)
    _title(axes, "True error where labels have arrived", _error(evaluation))


def _title(axes: Axes, title: str, ylabel: str, *, from_zero: bool = True, least: float = 1e-9) -> None:
    axes.set_title(title, loc="left", fontsize=11, weight="bold")
    axes.set_ylabel(ylabel)
    if from_zero:
        axes.set_ylim(0, max(axes.dataLim.y1 * 1.1, least))


def _show_time(axes: Axes, moments: pd.Series) -> None:
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    first, last = moments.min(), moments.max()
    margin = (last - first) / 40 or pd.Timedelta(minutes=30)
    axes.set(xlim=(first - margin, last + margin), xlabel="scored at (UTC)")


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=110)


def _laid_out(figure: Figure) -> Figure:
    """Make room for all labels, once; a figure that keeps an engine for it does so each time it is saved."""
    ConstrainedLayoutEngine().execute(figure)
    return figure


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)


def _error(evaluation: Evaluation) -> str:
    return _with_unit(evaluation.primary, evaluation.error.unit)


def _with_unit(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _label(column: Column) -> str:
    return _with_unit(column.description, column.unit)
