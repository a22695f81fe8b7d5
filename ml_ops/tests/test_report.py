"""The monitoring page fits where it is read: MLflow's artifact pane is narrow, and so is a telephone."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from diabetes_mlops.monitoring.health import History, judge
from diabetes_mlops.monitoring.history import FAILURE, LOST
from diabetes_mlops.reports import report
from matplotlib.figure import Figure
from playwright.sync_api import sync_playwright
from problems import PATIENTS

PROGRAMS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
NIGHT = pd.Timestamp("2026-03-01 02:00")
ERRORS = {"labelled": 100, "rmse": 58.1, "mae": 40.0, "r2": 0.3}
MODEL = {"model_name": "spark_catalog.diabetes.diabetes_model", "model_version": "12"}
DRIFTED = "BMI psi 0.4 (alert from 0.25), prediction psi 0.31 (alert from 0.25)"


@pytest.fixture(scope="module")
def page() -> str:
    """A page with a long batch id, a drifted batch, and a lost, a cancelled and a replaced run."""
    quantiles = dict(
        zip(("p5", "p25", "mean", "p75", "p95"), (80.1, 120.0, 152.3, 180.0, 240.3), strict=True)
    )
    batch = {"batch_id": f"the_input_of_the_clinic-{'0123456789ab' * 4}", "run_id": "a" * 32, "rows": 12_345}
    rejected = {"rejected": 10, "rejected_share": 0.001, "drift": "alert", "drifted": DRIFTED}
    batches = pd.DataFrame([MODEL | batch | rejected | quantiles | ERRORS | {"scored_at": NIGHT}])
    version = MODEL | ERRORS | {"batches": 1, "rows": 12_345, "holdout_rmse": 55.2, "ratio": 1.05}
    source = f"/Volumes/main/diabetes/{'long_' * 20}.csv"
    failures = [
        (NIGHT, "", source, np.nan, LOST, "b" * 32, False, False),
        (NIGHT, "", source, np.nan, "KeyboardInterrupt", "c" * 32, True, False),
        (NIGHT, "", source, 0.4, "SchemaError: missing columns ['BMI']", "d" * 32, False, True),
    ]
    history = History(batches, pd.DataFrame([version]), pd.DataFrame(failures, columns=FAILURE), "rmse")
    health = judge(history, lookback_days=7, rejected_share_warn=0.05, max_error_ratio=1.5)
    origin = {"run": "a" * 32, "git_commit": "b" * 40}
    return report.render_monitoring(
        PATIENTS.evaluation, "main.diabetes.scored", health, "", history, Figure(), origin
    )


def test_failed_and_cancelled_runs_stand_in_the_table_and_only_the_failed_are_counted(page: str):
    assert page.count('class="badge wait">cancelled<') == 1
    assert page.count('class="badge good">published since<') == 1
    assert page.count(LOST) == 2
    assert "Failed runs</span><strong>2</strong>" in page


def test_the_page_fits_a_narrow_frame_and_its_wide_tables_scroll(page: str, tmp_path: Path):
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(
            f"no browser on the PATH, none of {', '.join(PROGRAMS)}: apt-get install chromium-headless-shell"
        )
    (tmp_path / "page.html").write_text(page)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--disable-gpu"])
        window = browser.new_page(viewport={"width": 390, "height": 800})
        window.goto((tmp_path / "page.html").as_uri())
        width = window.evaluate("document.documentElement.scrollWidth")
        boxes = window.evaluate(
            "[...document.querySelectorAll('.scroll')].map(b => b.scrollWidth - b.clientWidth)"
        )
        cell = window.evaluate("document.querySelector('tr.noted td.long').clientWidth")
        browser.close()

    assert width == 390
    assert max(boxes) > 0
    assert 100 < cell < 200
