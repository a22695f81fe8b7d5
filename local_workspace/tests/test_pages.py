"""The pages in a real browser: what they show, how they stay up to date, what they must not let happen."""

import base64
import json
import re
import tracemalloc
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
import pytest
import requests
from browser import SignedIn
from databricks.sdk.errors import InvalidParameterValue
from local_workspace.mlflow_server.tracking import most_telling
from local_workspace.spark.server_settings import delta_is_here
from local_workspace.web import notebook_page
from playwright.sync_api import Page, expect
from real_workspace import PASSWORD, FidelityRun, RealWorkspace

PAGES = ("/", "/jobs", "/runs", "/workspace/Shared", "/data", "/clusters", "/secrets", "/nothing/here")
WIDTHS = (390, 1440)
SCHEMES = ("light", "dark")
SLOW = 30_000

# How far the text of each visible element stands out from what is behind it (WCAG's contrast ratio).
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (colour) => [...colour].slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const element of document.querySelectorAll("main *, header *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.matches(":disabled")) continue;
    const [one, other] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) found[element.tagName + "." + element.className] = ratio.toFixed(2);
  }
  return found;
}"""

# Boxes whose content is wider than they are.
CUT = """() => [...document.querySelectorAll("header, header nav, .scroll")]
  .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.textContent)"""


@pytest.fixture
def page(signed_in_browser: SignedIn) -> Iterator[Page]:
    with signed_in_browser.page() as page:
        yield page


@pytest.fixture(scope="session")
def ticker(fidelity_run: FidelityRun) -> int:
    """A job whose notebook waits for files to appear."""
    workspace = fidelity_run.workspace
    settings = {"name": "ticker", "tasks": [workspace.task("ticker", folder="/nowhere", note="")]}
    return int(workspace.request("POST", "/api/2.2/jobs/create", body=settings)["job_id"])


def run_address(run: FidelityRun) -> str:
    return f"/jobs/{run.run['job_id']}/runs/{run.run['run_id']}"


def colour_of(element: Any) -> str:
    return str(element.evaluate("element => getComputedStyle(element).color"))


def cell(page: Page, title: str) -> Any:
    """The cell of a notebook that has this title."""
    return page.locator(".code", has=page.locator(f".title:text-is('{title}')"))


def test_the_front_page_leads_to_everything(page, fidelity_run):
    page.goto("/")
    for title, heading in (
        ("Jobs", "Jobs"),
        ("Runs", "Runs"),
        ("Notebooks", "Workspace"),
        ("Clusters", "Clusters"),
        ("Secrets", "Secrets"),
    ):
        page.locator(".tiles a", has_text=title).click()
        expect(page.locator("h1")).to_have_text(heading)
        page.get_by_role("link", name="Local workspace").click()
    page.locator(".tiles a", has_text="MLflow").click()

    expect(page).to_have_title(re.compile("MLflow$"))  # "Home - MLflow" as soon as its script has run
    expect(page.get_by_text("/Shared/fidelity").first).to_be_visible(timeout=SLOW)


def test_an_address_of_mlflow_that_was_printed_still_leads_to_its_run(page, fidelity_run):
    text = fidelity_run.executed("first")["an MLflow run"]
    address = re.search(r"http\S+/#/experiments/\d+/runs/\w+", text)[0]
    page.goto(address)

    expect(page).to_have_url(re.compile(r"/mlflow#/experiments/\d+/runs/\w+"))
    expect(page.get_by_text("logged by the notebook").first).to_be_visible(timeout=SLOW)


def test_an_address_as_databricks_writes_it_leads_to_mlflow(fidelity_run):
    address = fidelity_run.workspace.profile["host"] + "/ml/experiments/1/runs/abc"
    answer = requests.get(address, headers=token(fidelity_run), allow_redirects=False, timeout=10)

    assert answer.headers["Location"] == "/mlflow#/experiments/1/runs/abc"


def test_the_page_of_a_run_shows_its_state_parameters_and_outputs(page, fidelity_run):
    page.goto(run_address(fidelity_run))
    page.locator("summary").first.click()

    expect(page.locator("#head h1")).to_have_text("fidelity")
    expect(page.get_by_role("status")).to_have_text("failed")
    expect(page.get_by_role("row", name="alpha 0.7")).to_be_visible()
    expect(cell(page, "widgets text").locator("pre.stdout")).to_have_text("0.7 0.2")
    expect(page.locator(".markdown h1")).to_have_text("What a notebook can rely on")
    expect(cell(page, "%sh -e")).to_have_class(re.compile("failed"))
    expect(cell(page, "%sh -e").locator("pre.error")).to_contain_text("ended with exit code 1")


def test_the_page_of_a_run_shows_tables_figures_and_colours(page, fidelity_run):
    page.goto(run_address(fidelity_run))
    table = cell(page, "display of Spark").locator(".html")
    red = page.locator(".ansi-red-fg", has_text="red").first

    expect(table.locator("tbody tr")).to_have_count(1000)
    expect(table).to_contain_text("First 1,000 rows of more")
    assert table.bounding_box()["height"] < 600
    assert cell(page, "display of matplotlib").locator("img").evaluate("image => image.naturalWidth") > 300
    assert red.evaluate("e => getComputedStyle(e).color") != page.evaluate(
        "getComputedStyle(document.body).color"
    )


def test_a_run_leads_to_what_it_logged_to_mlflow(page, fidelity_run):
    page.goto(run_address(fidelity_run))
    expect(page.locator("#mlflow")).to_contain_text("rmse 12.35")
    page.get_by_role("link", name="logged by the notebook").click()

    expect(page).to_have_title("MLflow")
    expect(page.get_by_text("12.34").first).to_be_visible(timeout=SLOW)


def test_a_run_leads_to_the_reports_that_it_logged_to_mlflow(page, fidelity_run):
    page.goto(run_address(fidelity_run))
    page.locator("#mlflow").get_by_role("link", name="report.html").click()

    expect(page.frame_locator("iframe").locator("h1")).to_have_text("What was found", timeout=SLOW)


def test_a_run_shows_its_exit_value_as_a_table_and_its_verdict_beside_its_state(page, fidelity_run):
    page.goto(run_address(fidelity_run))

    expect(page.locator("#head .state.warn")).to_have_text("warn")
    for row in ("rows 3", "errors.rmse 12.3", "errors.mae null"):
        expect(page.get_by_role("row", name=row, exact=True)).to_be_visible()


def test_mlflow_opens_on_machine_learning_until_somebody_chooses_otherwise(
    signed_in_browser: SignedIn, fidelity_run
):
    with signed_in_browser.page(width=1281) as page:
        page.goto("/mlflow")
        expect(page.get_by_role("link", name="Model registry")).to_be_visible(timeout=SLOW)
        page.evaluate("localStorage.setItem('mlflow.workflowType_v1', '\"genai\"')")
        page.goto("/mlflow")
        expect(page.get_by_text("/Shared/fidelity").first).to_be_visible(timeout=SLOW)
        assert "genai" in page.evaluate("localStorage.getItem('mlflow.workflowType_v1')")


def test_html_of_a_notebook_runs_in_a_frame_that_cannot_act_for_the_reader(page, fidelity_run):
    page.goto(run_address(fidelity_run))
    frame = cell(page, "displayHTML").locator("iframe")
    frame.scroll_into_view_if_needed()
    inside = frame.content_frame.locator("#made")
    expect(inside).to_have_text("Made by the notebook and its script")

    asked = "fetch('/api/2.1/jobs/list').then(() => 'answered', () => 'refused')"
    assert inside.evaluate(f"() => {asked}") == "refused"
    assert (
        inside.evaluate("() => { try { return parent.document.title } catch { return 'refused' } }")
        == "refused"
    )
    assert page.title().startswith("Failed: fidelity")
    alone = requests.get(
        fidelity_run.workspace.profile["host"] + frame.get_attribute("src"),
        headers=token(fidelity_run),
        timeout=10,
    )
    assert alone.headers["Content-Security-Policy"].startswith("sandbox")


def test_an_interactive_figure_is_as_high_as_it_wants_to_be(page, fidelity_run):
    page.goto(run_address(fidelity_run))
    frame = cell(page, "display of plotly").locator("iframe")
    frame.scroll_into_view_if_needed()

    expect(frame.content_frame.locator(".plotly .scatterlayer path").first).to_be_attached(timeout=SLOW)
    expect(frame).to_have_attribute("style", re.compile(r"height: (29|3[0-4])\d?px|height: 3\d\dpx"))


def test_a_figure_on_the_last_line_is_drawn_without_network_and_large_enough(page, fidelity_run):
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto(run_address(fidelity_run))
    frame = cell(page, "a bare plotly figure").locator("iframe")
    frame.scroll_into_view_if_needed()

    expect(frame.content_frame.locator(".plotly .barlayer path").first).to_be_attached(timeout=SLOW)
    expect(frame).to_have_attribute("style", re.compile(r"height: 4[5-9]\dpx"))
    host = fidelity_run.workspace.profile["host"]
    assert {url for url in asked if not url.startswith((host, "data:"))} == set()


def test_html_of_a_notebook_has_a_light_ground_in_a_dark_page_too(signed_in_browser: SignedIn, fidelity_run):
    with signed_in_browser.page(scheme="dark") as page:
        page.goto(run_address(fidelity_run))
        frame = cell(page, "displayHTML").locator("iframe")
        frame.scroll_into_view_if_needed()
        root = frame.content_frame.locator(":root")
        expect(frame.content_frame.locator("#made")).to_be_visible()

        style = root.evaluate(
            "root => [getComputedStyle(root).backgroundColor, getComputedStyle(root).color]"
        )
        assert style == ["rgb(255, 255, 255)", "rgb(23, 32, 43)"]


def test_the_page_of_a_failed_run_says_at_once_what_went_wrong(page, fidelity_run):
    page.goto(run_address(fidelity_run))
    said = "ShellError: %sh -e ended with exit code 1; its output is above"
    task = page.locator(f"#task-{fidelity_run.task('second')['run_id']}")

    expect(page.locator("#head .message")).to_have_text(f"second: {said}")
    expect(task.locator(".message")).to_have_text(said)
    expect(cell(page, "%sh -e").locator("pre.said")).to_have_text(said)


def test_the_page_of_a_run_of_many_tasks_begins_with_them(page, fidelity_run):
    page.goto(run_address(fidelity_run))
    second = page.locator("#tasks").get_by_role("row", name=re.compile("second failed \\d+ s"))
    second.get_by_role("link").click()

    expect(page.locator("#tasks tbody tr")).to_have_count(2)
    expect(page.get_by_role("heading", name="second")).to_be_in_viewport()


def test_the_executed_notebook_can_be_taken_home(page, fidelity_run):
    page.goto(run_address(fidelity_run))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download notebook").first.click()

    notebook = nbformat.read(download.value.path(), as_version=4)
    assert download.value.suggested_filename == "first.ipynb"
    assert notebook.cells[0].source.startswith("# What a notebook can rely on")


def test_a_run_is_shown_while_it_executes_without_a_jump(page, ticker: int, tmp_path: Path):
    page.goto(f"/jobs/{ticker}")
    page.get_by_text("Run with other parameters").click()
    page.get_by_label("folder").fill(str(tmp_path))
    page.get_by_label("note").fill("for <i>you</i>")
    page.get_by_role("button", name="Run", exact=True).click()
    waits = cell(page, "waits")
    expect(waits.locator("pre.stdout")).to_have_text("waiting for <i>you</i>", timeout=SLOW)
    expect(waits).to_have_class(re.compile("running"))
    page.evaluate("document.body.dataset.mark = 'same page'")
    page.locator("summary").click()
    waits.locator("pre.source").evaluate("e => { e.dataset.mark = 'kept' }")
    page.evaluate("scrollTo(0, 400)")
    (tmp_path / "first").touch()
    expect(waits.locator("pre.stdout")).to_contain_text("went on")
    expect(page.get_by_role("row", name="note")).to_be_visible()
    scrolled = page.evaluate("scrollY")
    (tmp_path / "second").touch()

    expect(page.get_by_role("status")).to_have_text("success", timeout=SLOW)
    expect(page.locator("#live")).to_contain_text("the end")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert (scrolled, page.evaluate("scrollY")) == (400, 400)
    assert page.evaluate("document.body.dataset.mark") == "same page"
    assert page.title().startswith("Success: ticker")
    expect(page.locator("#main")).to_have_attribute("data-refresh", "")


def test_a_run_is_started_and_cancelled_with_its_buttons(page, ticker: int):
    page.goto(f"/jobs/{ticker}")
    page.get_by_role("button", name="Run now").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("running", timeout=SLOW)
    page.get_by_role("button", name="Cancel").click()

    expect(page.get_by_role("status")).to_have_text("canceled", timeout=SLOW)
    expect(page.locator(".message")).to_contain_text("cancelled")


def test_a_refused_button_says_why(page, real_workspace: RealWorkspace, ticker: int):
    page.goto(f"/jobs/{ticker}")
    page.locator("button[data-call]").evaluate("button => { button.dataset.body = '{\"job_id\": 987654}' }")
    page.get_by_role("button", name="Run now").click()

    expect(page.get_by_role("alert")).to_have_text("Job 987654 does not exist.")


def test_a_page_says_when_the_workspace_is_gone_and_goes_on_when_it_is_back(page, fidelity_run):
    page.goto("/runs")
    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_have_text("The workspace does not answer. Trying again.")
    page.context.set_offline(False)

    expect(page.get_by_role("alert")).to_be_hidden(timeout=10_000)


def test_a_list_of_runs_takes_up_a_new_run_by_itself(page, real_workspace: RealWorkspace, fidelity_run):
    page.goto("/runs")
    expect(page.locator("#runs tr").first).to_be_visible()
    run_id = real_workspace.submit(real_workspace.task("missing"), name="no such notebook")

    row = page.locator(f"#run-{run_id}")
    expect(row).to_contain_text("no such notebook")
    expect(row).to_contain_text("internal error")


def test_runs_are_filtered_by_state(page, fidelity_run):
    page.goto("/runs")
    page.locator(".filter").get_by_role("link", name="failed").click()

    expect(page.locator("#runs .state").first).to_be_visible()
    assert set(page.locator("#runs .state").all_inner_texts()) == {"failed"}
    expect(page.locator(f"#run-{fidelity_run.run['run_id']}")).to_be_visible()


def test_a_job_shows_its_tasks_schedule_and_runs(page, fidelity_run):
    page.goto(f"/jobs/{fidelity_run.run['job_id']}")

    expect(page.locator(".facts")).to_contain_text("0 0 6 * * ? Europe/Berlin (paused)")
    second = re.compile("second .+ SINGLE_USER ?Dedicated · Spark Classic first")
    expect(page.get_by_role("row", name=second)).to_be_visible()
    expect(page.locator(f"#run-{fidelity_run.run['run_id']}")).to_contain_text("failed")


def test_notebooks_are_found_by_browsing_and_shown_with_their_source(page, fidelity_run):
    page.goto("/workspace")
    for name in ("Shared", "fidelity", "helpers", "shared"):
        page.locator(".tree").get_by_role("link", name=re.compile(f"^{name}")).click()

    expect(page.locator("h1")).to_have_text("shared")
    expect(page.locator(".source").first).to_contain_text("def greet():")
    assert page.locator(".source .k").first.inner_text() == "def"
    page.get_by_role("navigation", name="Path").get_by_role("link", name="fidelity").click()
    expect(page.locator("h1")).to_have_text("fidelity")


def test_clusters_show_sparks_state_version_and_memory(page, fidelity_run):
    page.goto("/clusters")

    assert delta_is_here()
    expect(page.locator("#spark .state")).to_have_text("running")
    expect(page.locator("#spark")).to_contain_text("4.1.4 with Delta")
    assert int(re.search(r"([\d,]+) MB", page.locator("#spark").inner_text())[1].replace(",", "")) > 300
    expect(page.get_by_role("row", name="SINGLE_USER")).to_contain_text("Dedicated · Spark Classic")


def test_secrets_are_shown_by_name_alone(page, fidelity_run):
    page.goto("/secrets")

    scope = page.locator("h2:text-is('fidelity') + div")  # of several: others have a password too
    expect(scope.get_by_role("row", name="password")).to_be_visible()
    assert PASSWORD not in page.content()


@pytest.mark.parametrize(
    "address", ["/nothing/here", "/jobs/987654", "/jobs/x/runs/y", "/workspace/Shared/none"]
)
def test_what_is_not_there_is_a_page_for_a_person(page, address):
    answer = page.goto(address)

    assert answer.status == 404
    expect(page.locator("h1")).to_have_text("Not found")
    expect(page.get_by_role("navigation", name="Workspace")).to_be_visible()


def test_what_is_not_there_is_json_for_a_program(fidelity_run):
    host = fidelity_run.workspace.profile["host"]
    answer = requests.get(f"{host}/jobs/987654", headers=token(fidelity_run), timeout=10)

    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_are_legible_and_load_nothing_from_elsewhere(
    signed_in_browser: SignedIn, fidelity_run, ticker: int, width: int, scheme: str
):
    asked: set[str] = set()
    with signed_in_browser.page(width, scheme) as page:
        page.on("request", lambda request: asked.add(request.url))
        for address in (*PAGES, f"/jobs/{ticker}", run_address(fidelity_run)):
            page.goto(address)

            wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wider <= 0, f"{address} is {wider} px wider than a window of {width} px"
            assert page.evaluate(CUT) == [], address
            assert page.evaluate(CONTRASTS) == {}, address
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert {url for url in asked if not url.startswith((signed_in_browser.host, "data:"))} == set()
    assert (dark == "rgb(15, 19, 24)") == (scheme == "dark")


def test_a_keyboard_reaches_the_content_and_the_buttons(page, ticker: int):
    page.goto("/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.text")
        )

    assert {
        "Jobs",
        "Runs",
        "Notebooks",
        "Clusters",
        "Secrets",
        "MLflow",
        "ticker",
        "Run ticker now",
    } <= reached


def token(run: FidelityRun) -> dict[str, str]:
    return {"Authorization": f"Bearer {run.workspace.profile['token']}"}


def shown(*outputs: dict[str, Any]) -> str:
    """The HTML of a cell with these outputs."""
    code = nbformat.v4.new_code_cell("1", outputs=[nbformat.from_dict(output) for output in outputs])
    return notebook_page.cell_parts([code], "cell", "/frames")[0].html


def html_output(html: str) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": {"text/html": html}}


@pytest.mark.parametrize(
    "html",
    ["<b onmouseover='steal()'>x</b>", "<a href='javascript:steal()'>x</a>", "<img src=x onerror=steal()>"],
)
def test_handlers_in_html_output_do_not_reach_the_page(html):
    page = shown(html_output(html))

    assert "steal" not in page
    assert "<iframe" not in page


def test_a_page_that_is_left_open_before_a_growing_cell_keeps_no_memory_of_its_states():
    def look(text: str, state: str) -> None:
        output = {"output_type": "stream", "name": "stdout", "text": text}
        metadata = {"state": state, "title": "", "execution": {}}
        code = {"cell_type": "code", "source": "", "metadata": metadata, "outputs": [output]}
        notebook_page.cell_parts([code], "cell", "/frames")

    look("warm", "done")
    tracemalloc.start()
    for lines in range(0, 6_000, 50):
        look("a line of text that has some length\n" * lines, "running")
    grown, _ = tracemalloc.get_traced_memory()
    for lines in range(0, 6_000, 50):
        look("a line of text that has some length\n" * lines, "done")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert grown < 2 << 20
    assert kept < 20 << 20


@pytest.mark.parametrize("html", ["<script>steal()</script>", "<svg/onload=steal()>", "<b style='x'>x</b>"])
def test_html_output_that_wants_more_is_put_into_a_frame(html):
    page = shown(html_output(html))

    assert 'sandbox="allow-scripts allow-popups"' in page
    assert "steal" not in page


def test_text_output_is_text():
    page = shown({"output_type": "stream", "name": "stdout", "text": "<script>steal()</script>"})

    assert "&lt;script&gt;" in page


def test_markdown_loses_what_could_do_harm():
    markdown = nbformat.v4.new_markdown_cell(
        "# Title\n<script>steal()</script><img src=x onerror=steal()>\n\n|a|b|\n|-|-|\n|1|2|"
    )
    page = notebook_page.cell_parts([markdown], "cell", "")[0].html

    assert "<h1>Title</h1>" in page
    assert "<td>1</td>" in page
    assert not re.search(r"<script|onerror", page)


def test_of_a_very_long_output_the_end_is_shown_and_the_rest_counted():
    text = "x" * notebook_page.LONGEST_TEXT + "the end"
    page = shown({"output_type": "stream", "name": "stdout", "text": text})

    assert "The first 7 characters are not shown here." in page
    assert "the end</pre>" in page
    assert len(page) < notebook_page.LONGEST_TEXT + 1000


def test_output_of_a_kind_that_no_page_shows_is_named():
    strange = {"output_type": "display_data", "metadata": {}, "data": {"application/x-<b>": "1"}}
    described = {**strange, "data": {"application/x-b": "1", "text/plain": "in words"}}

    assert "An output of type application/x-&lt;b&gt; is not shown here." in shown(strange)
    assert "in words" in shown(described)


def test_an_error_is_said_before_its_trace_and_without_colours():
    error = {"output_type": "error", "ename": "ValueError", "evalue": "\x1b[31mno <BMI>\x1b[0m"}
    page = shown(error | {"traceback": ["Traceback", "last line"]})

    assert page.index("ValueError: no &lt;BMI&gt;</pre>") < page.index("Traceback")


def test_plain_metrics_are_shown_before_those_that_prefix_them():
    names = ("baseline_rmse", "gate_rmse", "baseline_r2", "rmse", "r2", "system/memory_used", "rows")

    assert list(most_telling(dict.fromkeys(names, 1.0))) == [
        *("r2", "rmse", "rows", "system/memory_used"),
        *("baseline_r2", "baseline_rmse", "gate_rmse"),
    ]
    assert len(most_telling({f"m{number}": 1.0 for number in range(20)})) == 8


def test_attempts_of_a_task_stand_beside_one_another_and_a_skipped_task_did_not_run(
    local, cluster_id: str, notebook: str
):
    def task(key: str, **settings: Any) -> dict[str, Any]:
        notebook_task = {"notebook_path": notebook, "base_parameters": {"do": "fail"}}
        return {"task_key": key, "existing_cluster_id": cluster_id, "notebook_task": notebook_task} | settings

    tasks = [
        task("flaky", max_retries=1),
        task("other"),
        task("behind", depends_on=[{"task_key": "flaky"}]),
    ]
    run_id = local.request("POST", "/api/2.2/jobs/runs/submit", body={"tasks": tasks})["run_id"]
    local.client.jobs.wait_get_run_job_terminated_or_skipped(run_id)
    page = requests.get(f"{local.host}/runs/{run_id}", headers={"Authorization": "Bearer x"}, timeout=10).text

    headings = re.findall(r"<h2>(\w+)(?: <span class=\"soft\">(attempt 2)</span>)?</h2>", page)
    assert headings[1:] == [("flaky", ""), ("flaky", "attempt 2"), ("other", ""), ("behind", "")]
    assert "flaky: ValueError: no BMI\nother: ValueError: no BMI</pre>" in page
    assert page.count("ValueError: no BMI") == 5
    assert page.count("This task did not run.") == 1


def test_a_run_is_not_found_below_another_job(fidelity_run, ticker: int):
    workspace, run_id = fidelity_run.workspace, fidelity_run.run["run_id"]
    task_run_id = fidelity_run.task("first")["run_id"]
    for below in ("", f"/notebooks/{task_run_id}.ipynb", f"/frames/{task_run_id}/0/0"):
        address = f"{workspace.profile['host']}/jobs/{ticker}/runs/{run_id}{below}"
        answer = requests.get(address, headers=token(fidelity_run), timeout=10)
        assert (answer.status_code, answer.json()["message"]) == (
            404,
            f"Run {run_id} is not one of job {ticker}.",
        )


def test_times_are_shown_with_their_zone(page, fidelity_run):
    zone = datetime.now().astimezone().strftime("%Z")
    page.goto(run_address(fidelity_run))
    expect(page.locator("#facts")).to_contain_text(re.compile(rf"\d\d:\d\d:\d\d {re.escape(zone)}"))
    page.goto("/runs")
    expect(page.locator("#runs")).to_contain_text(re.compile(rf", \d\d:\d\d {re.escape(zone)}"))


def test_a_browser_signs_out(signed_in_browser: SignedIn):
    with signed_in_browser.page() as page:
        page.goto("/jobs")
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("h1")).to_have_text("Sign in")
        expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
        page.goto("/jobs")
        expect(page.locator("h1")).to_have_text("Sign in")


@pytest.mark.parametrize("wanted", ["/runs?state=FAILED", "/mlflow#/models", "/ml/models"])
def test_whoever_signs_in_gets_to_the_page_that_was_asked_for(
    signed_in_browser: SignedIn, real_workspace: RealWorkspace, wanted
):
    with signed_in_browser.page() as page:
        page.context.clear_cookies()
        page.goto(wanted)
        for token_given in ("wrong", real_workspace.profile["token"]):
            page.get_by_label("Token").fill(token_given)
            page.get_by_role("button", name="Sign in").click()

        expect(page).to_have_url(f"{signed_in_browser.host}{wanted.replace('/ml/', '/mlflow#/')}")


def test_a_link_that_is_used_twice_leads_on_in_a_browser_that_it_signed_in(
    signed_in_browser: SignedIn, real_workspace: RealWorkspace
):
    link = real_workspace.sign_in_link()
    with signed_in_browser.page() as page:
        page.context.clear_cookies()
        for _ in range(2):
            page.goto(link)
            expect(page.locator("h1")).to_have_text("Jobs")
        page.context.clear_cookies()
        page.goto(link)
        expect(page.get_by_text("This link was used already")).to_be_visible()


def test_only_what_a_browser_has_not_yet_is_sent(fidelity_run):
    host, headers = fidelity_run.workspace.profile["host"], token(fidelity_run)
    address = host + run_address(fidelity_run)
    whole = requests.get(address, headers=headers, timeout=30).text
    have = re.findall(r'data-version="(\w+)"', whole)
    rest = requests.get(address, headers=headers | {"Have": ",".join(have)}, timeout=30).text

    assert re.findall(r'data-version="(\w+)"', rest) == have
    assert len(rest) < 20_000 < len(whole)


def test_an_executed_notebook_is_exported_with_what_it_put_out(fidelity_run):
    jobs = fidelity_run.workspace.client.jobs
    for key in ("first", "second"):
        (view,) = jobs.export_run(fidelity_run.task(key)["run_id"]).views
        found = re.search(r"var __DATABRICKS_NOTEBOOK_MODEL = '(.*)';", view.content)
        model = json.loads(unquote(base64.b64decode(found[1]).decode()))
        data = [each for command in model["commands"] for each in command["results"]["data"]]
        if key == "first":
            assert view.name == model["name"] == "fidelity"
            assert "['password', 'key']\n" in [each["data"] for each in data if each["type"] == "ansi"]
            assert any("<table" in each["data"] for each in data if each["type"] == "html")
        else:
            assert "ShellError" in data[-1]["data"]
    with pytest.raises(InvalidParameterValue, match="views_to_export 'SOME' is not one of"):
        jobs._api.do("GET", "/api/2.2/jobs/runs/export", query={"run_id": "1", "views_to_export": "SOME"})
