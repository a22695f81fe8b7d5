"""The page of what jobs may be told, and the definitions of the jobs, say what the settings declare."""

import pytest
from deployment.job_settings import JOBS, page, parameters_of, widgets_of
from deployment.settings import DEFINITION, ROOT, read_yaml

# What a run of any project needs to know and cannot have a default.
NEEDED = ("training_data", "input_data")


def test_the_page_is_the_one_that_make_docs_writes():
    assert (ROOT / "docs" / "job_settings.md").read_text() == page()


@pytest.mark.parametrize("job", JOBS)
def test_a_job_gives_each_widget_its_default_a_variable_or_what_only_the_run_knows(job: str):
    variables = {f"${{var.{name}}}" for name in read_yaml(ROOT / DEFINITION)["variables"]}
    given, widgets = parameters_of(job), widgets_of(job)

    assert given.keys() == widgets.keys()
    other = {name: value for name, value in given.items() if value not in (widgets[name].default, *variables)}
    assert {name for name, value in other.items() if not value.startswith("{{")} <= set(NEEDED)
