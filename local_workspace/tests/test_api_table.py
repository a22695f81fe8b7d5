"""The page that lists what is served."""

from pathlib import Path

from local_workspace.api_table import page

PAGE = Path(__file__).parents[2] / "docs" / "local_workspace_api.md"


def test_the_page_of_what_is_served_is_current():
    assert PAGE.read_text() == page(), "the routes have changed: run `make docs`"


def test_every_route_says_what_it_does():
    assert [line for line in page().splitlines() if line.endswith("|  |")] == []
