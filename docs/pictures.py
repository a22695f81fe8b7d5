"""Takes the pictures of README.md from a demo of its own: a training's run page, the model's report, drift.

Run it with `make pictures`; it needs Chromium or Chrome on the PATH.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from browser import MISSING, SignedIn, find_program, signed_in
from PIL import Image
from real_workspace import RealWorkspace, free_port

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
LABELLED = ROOT / "ml_data" / "data_raw.csv"
DATA_ROOT = "dbfs:/azure-databricks-mlops-mlflow/data"
SCALE, COLOURS, LARGEST = 1.5, 128, 250_000
ROWS = 300
# In each batch the body mass index is this many times that of the sample.
HEAVIER = (1.0, 1.03, 1.08, 1.15)


class Demo:
    """A demo on a workspace of its own, and what its targets printed."""

    def __init__(self, state: Path) -> None:
        """Choose a free port."""
        self.workspace = RealWorkspace(state)
        self._settings = [f"LOCAL_WORKSPACE_STATE={state}", f"LOCAL_WORKSPACE_PORT={free_port()}"]

    def make(self, *goals: str) -> str:
        """Run Make targets as a user does, and give what they printed."""
        print("make", *goals, flush=True)
        command = ["make", *goals, *self._settings]
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def score(self, batches: Sequence[pd.DataFrame]) -> None:
        """Upload each batch and score it, and upload all labels."""
        for number, batch in enumerate(batches, start=1):
            self._upload(f"batch-{number}.csv", batch.drop(columns="Y"))
            self.make("run-diabetes-batch-scoring", f"PARAMS=input_data=batch-{number}.csv")
        self._upload("labels.csv", pd.concat(batches)[["ID", "Y"]])

    def _upload(self, name: str, table: pd.DataFrame) -> None:
        content = BytesIO(table.to_csv(index=False).encode())
        self.workspace.client.dbfs.upload(f"{DATA_ROOT}/{name}", content, overwrite=True)


@contextmanager
def open_demo() -> Iterator[Demo]:
    """Give a demo that is stopped and removed on the way out."""
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(Path(folder) / "state")
        try:
            yield demo
        finally:
            demo.make("local-workspace-stop")


def draw_batches() -> list[pd.DataFrame]:
    """Draw batches with labels from the sample; in each the people weigh as HEAVIER says.

    A few rows have a sex that the schema does not know: they cannot be scored.
    """
    table = pd.read_csv(LABELLED)
    batches = []
    for number, factor in enumerate(HEAVIER, start=2):
        batch = table.sample(ROWS, random_state=number).reset_index(drop=True)
        batch["ID"] = 1000 * number + batch.index
        batch["BMI"] = (batch["BMI"] * factor).round(1)
        batch.loc[: 2 * number, "SEX"] = "unknown"
        batches.append(batch)
    return batches


def take_pictures(demo: Demo, program: str) -> dict[str, bytes]:
    """Run the demo and what drifts after it, and give the name and PNG of each picture."""
    shown = demo.make("demo")
    training_run = _found(r"training run +(\S+)", shown)
    report = _artifact(_found(r"run_id +(\w+)", shown), "report.html")
    demo.score(draw_batches())
    shown = demo.make("run-diabetes-monitoring", "PARAMS=labels_data=labels.csv")
    monitoring = _artifact(_found(r"run_id +(\w+)", shown), "monitoring.html")
    with signed_in(demo.workspace, program) as browser:
        return {
            "training_run.png": _picture(browser, training_run, 1280, ".code:has-text('train.run(')"),
            "model_report.png": _picture(browser, report, 1040, ".pair"),
            "monitoring.png": _picture(browser, monitoring, 1040, "figure"),
        }


def _artifact(run_id: str, path: str) -> str:
    return f"/get-artifact?path={path}&run_uuid={run_id}"


def _picture(browser: SignedIn, address: str, width: int, last: str) -> bytes:
    """Give the page from its top to the end of the element `last`, as a PNG of few colours."""
    context = browser.browser.new_context(
        viewport={"width": width, "height": 1000},
        device_scale_factor=SCALE,
        color_scheme="light",
        storage_state=browser.cookies,
        base_url=browser.host,
    )
    page = context.new_page()
    if address.startswith("/get-artifact"):  # MLflow offers it as a download
        page.set_content(context.request.get(address).text())
    else:
        page.goto(address)
    box = page.locator(last).bounding_box()
    assert box is not None, f"{address} shows no {last}"
    height = box["y"] + box["height"] + 10
    shot = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    context.close()
    # The median cut would keep the many greys of a page, and mix the colours of a figure's lines.
    few: Any = {"colors": COLOURS, "method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}
    written = BytesIO()
    Image.open(BytesIO(shot)).convert("RGB").quantize(**few).save(written, "PNG", optimize=True)
    return written.getvalue()


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"no {pattern} in:\n{text}"
    return match[1]


def main() -> None:
    """Write all pictures, or none."""
    program = find_program()
    if program is None:
        raise SystemExit(MISSING)
    os.environ |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    with open_demo() as demo:
        pictures = take_pictures(demo, program)
    for name, picture in pictures.items():
        print(f"docs/images/{name}: {len(picture):,} bytes")
        assert len(picture) < LARGEST, f"{name} is too large for a page that people open"
        (IMAGES / name).write_bytes(picture)


if __name__ == "__main__":
    main()
