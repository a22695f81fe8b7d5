"""Nothing that a notebook shows acts for the person who looks at it, in a real browser that is signed in."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import SignedIn
from playwright.sync_api import Page
from real_workspace import FOLDER, NOTEBOOKS

SETTLE_MILLISECONDS = 3000


@pytest.fixture(scope="module")
def hostile(signed_in_browser: SignedIn) -> dict[str, Any]:
    """A run whose outputs try to act: its page, and the MLflow run that it logged scripts to."""
    workspace = signed_in_browser.workspace
    workspace.upload(f"{FOLDER}/hostile", (NOTEBOOKS / "hostile.py").read_text())
    run = workspace.finished(workspace.submit(workspace.task("hostile")))
    shown = workspace.executed(run["tasks"][0]["run_id"])
    return {
        "page": run["run_page_url"],
        "cells": shown,
        "mlflow": re.search(r"logged by (\w+)", shown["an artifact"])[1],
    }


@pytest.fixture
def page(signed_in_browser: SignedIn) -> Iterator[Page]:
    with signed_in_browser.page(scripts_may_fail=True) as page:
        yield page


def scopes(browser: SignedIn) -> set[str]:
    """The secret scopes that a script of an output has made."""
    return {str(scope.name) for scope in browser.workspace.client.secrets.list_scopes()} - {"fidelity"}


def test_no_output_of_any_type_reaches_the_api(page, signed_in_browser, hostile):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.goto(hostile["page"])
    for frame in page.locator("iframe").all():  # they are loaded when they come into sight
        frame.scroll_into_view_if_needed()
    page.wait_for_timeout(SETTLE_MILLISECONDS)

    assert "ValueError" in page.content()
    assert set(hostile["cells"]) >= {"every type", "streams", "tables", "an error"}
    assert scopes(signed_in_browser) == set()
    handlers = (
        "element => [...element.attributes].some(({name, value}) => /^on|javascript:/i.test(name + value))"
    )
    found = page.locator("main *").evaluate_all(f"all => all.filter({handlers}).map(one => one.outerHTML)")
    assert found == []


def test_a_link_in_an_output_runs_no_script(page, signed_in_browser, hostile):
    page.goto(hostile["page"])
    for link in page.locator("a:text-is('click')").all():
        link.click(timeout=5000)
    page.wait_for_timeout(500)

    assert scopes(signed_in_browser) == set()


@pytest.mark.parametrize("name", ["evil.js", "evil.html", "evil.svg"])
def test_a_file_that_a_run_logged_is_no_script_of_a_page_and_acts_for_nobody(
    page, signed_in_browser, hostile, name
):
    address = f"/get-artifact?run_uuid={hostile['mlflow']}&path={name}"
    page.goto("/jobs")
    loaded = page.evaluate(
        """address => new Promise((done) => {
          const script = document.createElement("script");
          script.onload = () => done(true);
          script.onerror = () => done(false);
          script.src = address;
          document.head.append(script);
        })""",
        address,
    )
    page.evaluate(
        "address => { const f = document.createElement('iframe'); f.src = address; document.body.append(f) }",
        address,
    )
    page.wait_for_timeout(1000)
    answer = page.request.get(address)

    assert loaded is False
    assert scopes(signed_in_browser) == set()
    assert answer.headers["content-security-policy"].startswith("sandbox;")
