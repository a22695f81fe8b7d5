"""What a notebook finds: every kind of `dbutils` call and magic, run once on a real server and a real Spark.

`docs/notebook_fidelity.md` has a row for each of them.
"""

import base64
import json
import re
from pathlib import Path

import pytest
from real_workspace import FOLDER, KEY, PASSWORD, RealWorkspace

DOCS = Path(__file__).parents[2] / "docs" / "notebook_fidelity.md"


@pytest.fixture(scope="session")
def first(fidelity_run) -> dict[str, str]:
    """What the cells of the notebook `fidelity` put out, by their titles."""
    return fidelity_run.executed("first")


@pytest.fixture(scope="session")
def second(fidelity_run) -> dict[str, str]:
    """What the cells of the task behind it put out."""
    return fidelity_run.executed("second")


def rows_of(output: str) -> list[str]:
    """The cells of a table that was displayed."""
    return re.findall(r"<td>(.*?)</td>", output)


def test_text_widget_takes_the_jobs_parameter_over_its_default(first):
    assert first["widgets text"] == "0.7 0.2\n"


def test_dropdown_refuses_what_is_not_among_its_choices(first):
    value, refusal = first["widgets dropdown"].splitlines()

    assert value == "blue"
    assert refusal == "widget 'shape' takes one of ['square', 'round']; got 'ring'"


def test_combobox_takes_any_text(first):
    assert first["widgets combobox"] == "any\n"


def test_multiselect_joins_its_values_and_refuses_others(first):
    value, refusal = first["widgets multiselect"].splitlines()

    assert value == "east,west"
    assert refusal == "widget 'floors' takes some of ['1', '2']; got ['9']"


def test_get_of_an_unknown_widget_names_those_there_are(first):
    assert first["widgets get"].startswith("InputWidgetNotDefined no input widget named 'gamma' is defined;")


def test_get_argument_gives_the_alternative_for_an_unknown_widget(first):
    assert first["widgets getArgument"] == "0.7 no such widget\n"


def test_get_all_gives_every_value_and_no_refused_widget(first):
    names = dict(eval(first["widgets getAll"]))

    assert names == {"alpha": "0.7", "beta": "0.2", "colour": "blue", "size": "any", "wards": "east,west"}


def test_remove_takes_one_widget_away(first):
    assert first["widgets remove"] == "False True\n"


def test_remove_all_takes_all_widgets_away_and_keeps_the_jobs_parameters(first):
    assert first["widgets removeAll"] == "{}\n0.7\n"


def test_put_writes_text_and_head_reads_its_beginning(first):
    lines = first["fs put and head"].splitlines()

    assert "Wrote 13 bytes." in lines
    assert lines[-3:-1] == ["second", " first"]
    assert lines[-1].startswith("FileExistsError /fidelity/a.txt already exists")


def test_ls_shows_paths_names_sizes_and_kinds(first):
    assert first["fs ls"].splitlines() == [
        "dbfs:/fidelity/a.txt a.txt 13 False",
        "dbfs:/fidelity/sub/ sub/ 0 True",
        "dbfs:/fidelity/a.txt",
    ]


def test_cp_copies_files_and_trees_between_file_systems(first):
    text = first["fs cp"]

    assert text.count("first\nsecond\n") == 2
    assert "IsADirectoryError /fidelity/sub is a folder; pass recurse=True" in text


def test_mv_moves_a_file(first):
    assert first["fs mv"] == "['b.txt', 'sub/']\n"


def test_rm_removes_and_tells_whether_there_was_anything(first):
    lines = first["fs rm"].splitlines()

    assert (lines[0], lines[2]) == ("True False", "True []")
    assert lines[1].startswith("OSError /fidelity/sub is a folder with something in it")


def test_mkdirs_makes_parents_and_does_not_mind_a_folder_that_exists(first):
    assert first["fs mkdirs"] == "True True dbfs:/fidelity/x/y/\n"


def test_mount_takes_what_spark_writes_and_is_listed(first):
    mounts, refusal = first["fs mount"].splitlines()

    assert "mountPoint='/mnt/wards', source='abfss://wards@account.dfs.core.windows.net/'" in mounts
    assert refusal.startswith("FileExistsError Directory already mounted: /mnt/wards")


def test_unmount_hides_the_data_and_the_next_mount_shows_it_again(first):
    lines = first["fs unmount"].splitlines()

    assert lines[1:4] == [
        "[]",
        "FileNotFoundError java.io.FileNotFoundException: No such file or directory: /mnt/wards",
        "3",
    ]


def test_a_secret_can_be_used_but_is_not_shown(first, fidelity_run):
    notebook = fidelity_run.notebook_file("first").read_text()

    assert first["secrets get"] == f"[REDACTED] {len(PASSWORD)}\n"
    assert PASSWORD not in notebook


def test_a_binary_secret_comes_back_byte_by_byte(first, fidelity_run):
    assert first["secrets getBytes"] == f"bytes {len(KEY)} {KEY[0]}\n"
    assert base64.b64encode(KEY).decode() not in fidelity_run.notebook_file("first").read_text()


def test_secrets_are_listed_by_key(first):
    assert first["secrets list"] == "['password', 'key']\n"


def test_scopes_are_listed(first):
    assert first["secrets listScopes"] == "True\n"


def test_notebook_run_passes_arguments_and_gives_the_exit_value(first):
    assert "hello parent\n" in first["notebook run"]
    assert re.search(
        r"Runs /Shared/fidelity/helpers/child: http://127.0.0.1:\d+/runs/\d+", first["notebook run"]
    )


def test_notebook_run_raises_what_the_other_notebook_ended_with(first):
    expected = "WorkflowException ./helpers/child ended FAILED: LookupError: nobody is there\n"

    assert expected in first["notebook run that fails"]


def test_notebook_run_ends_at_its_time_limit(first):
    text = first["notebook run that takes too long"]

    assert "WorkflowException helpers/child ended TIMEDOUT: Run timed out after 1 seconds." in text


def test_notebooks_that_wait_for_one_another_do_not_wait_for_ever(first):
    assert "hello hello parent in between\n" in first["notebook run inside notebook run"]


def test_exit_ends_the_notebook_with_a_value(first, fidelity_run):
    output = fidelity_run.workspace.client.jobs.get_run_output(fidelity_run.task("first")["run_id"])

    value = json.loads(output.notebook_output.result)
    assert value == {"rows": 3, "status": "warn", "errors": {"rmse": 12.3, "mae": None}}
    assert first["after the exit"] == ""


def test_task_values_refuse_what_is_too_long(first):
    assert first["taskValues set"].startswith("task value 'long' takes 50002 bytes as JSON")


def test_task_values_reach_the_next_task_and_have_defaults(second):
    value, default, no_key, no_task = second["taskValues get"].splitlines()

    assert eval(value) == {"kept": 3, "names": ["a", "b"]}
    assert default == "7"
    assert "'absent'" in no_key
    assert "'nobody'" in no_task


def test_pip_installs_for_the_run_and_restart_python_loses_its_state(first, fidelity_run):
    assert first["library restartPython"] == "The Python process was restarted.\n"
    assert first["after the restart"] == "1.2 False 0.7\n"
    left = fidelity_run.notebook_file("first").parent
    assert not (left / "python").exists(), "what the run installed is gone with it"


def test_restart_python_is_a_magic_too(first):
    assert first["%restart_python"] == "The Python process was restarted.\n"


def test_run_magic_takes_arguments_and_paths_relative_to_the_nested_notebook(first):
    assert first["%run"] == ""
    assert first["after %run"] == "good day, you three folders down 0.7\n"


def test_shell_magic_shows_output_and_goes_on_after_an_error(first):
    assert first["%sh"] == "one from the shell\nTWO\n"


def test_shell_magic_with_e_fails_the_cell(second):
    assert second["%sh -e"] == "before\n%sh -e ended with exit code 1; its output is above"


def test_sql_magic_runs_every_statement_with_widgets_and_shows_the_last(first):
    assert rows_of(first["%sql"]) == ["0", "0", "a;b", "1", "1", "a;b", "2", "4", "a;b"]
    assert first["_sqldf"] == "3 ['id', 'square', 'text']\n"


def test_a_table_is_one_of_delta_unless_it_says_otherwise(first):
    assert first["Delta"] == "['delta', 'delta']\n"


def test_python_magic_runs_python(first):
    assert first["%python"] == "42\n"


def test_fs_magic_shows_a_listing_as_a_table(first):
    assert rows_of(first["%fs"])[:2] == ["dbfs:/fidelity/x/", "x/"]


def test_md_magic_is_a_cell_of_text(fidelity_run):
    cell = json.loads(fidelity_run.notebook_file("first").read_text())["cells"][0]

    assert cell["cell_type"] == "markdown"
    assert "".join(cell["source"]).startswith("# What a notebook can rely on")


def test_cells_of_other_languages_are_refused_by_name(real_workspace: RealWorkspace):
    run = real_workspace.finished(real_workspace.submit(real_workspace.task("other_language")))
    output = real_workspace.client.jobs.get_run_output(run["tasks"][0]["run_id"])

    assert output.error.startswith("NotImplementedError: cells of %scala, %r do not run here")


def test_display_of_a_spark_table_is_bounded_and_says_so(first):
    output = first["display of Spark"]

    assert len(rows_of(output)) == 3 * 1000
    assert rows_of(output)[1] == "&lt;b&gt;0&lt;/b&gt;"
    assert output.endswith("First 1,000 rows of more · id: bigint, name: string, share: double</p>")


def test_display_of_a_pandas_table_counts_its_rows(first):
    output = first["display of pandas"]

    assert rows_of(output) == ["Aachen", "249070.0", "Bern", "null"]
    assert "2 rows · city: str, people: float64" in output


def test_display_of_a_list_of_records_is_a_table(first):
    assert rows_of(first["display of a list"])[:2] == ["dbfs:/fidelity/x/", "x/"]


def test_display_of_a_matplotlib_figure_shows_it_once(first):
    assert first["display of matplotlib"].count("[image/png]") == 1
    assert first["a figure that nobody displays"].count("[image/png]") == 1


def test_a_plotly_figure_is_kept_as_what_it_shows(first):
    for title, kind in (("display of plotly", "scatter"), ("a bare plotly figure", "bar")):
        assert first[title].startswith("[application/vnd.plotly.v1+json]{")
        assert f"'type': '{kind}'" in first[title]


def test_display_html_keeps_the_html(first):
    assert first["displayHTML"].startswith('[text/html]<h3 id="made">')


def test_carriage_returns_leave_the_last_line(first):
    assert first["colours and progress"].splitlines()[-1] == "100%"


def test_help_lists_what_there_is(first):
    text = first["help"]

    for name in ("fs", "jobs", "library", "notebook", "secrets", "widgets"):
        assert f"dbutils.{name}: " in text
    assert text.count("  cp(from_: str, to: str, recurse: bool = False): Copies a file") == 2
    assert text.count("  ls(dir: str): Lists a folder") == 1


def test_a_table_survives_the_run_and_a_temporary_view_does_not(first, second):
    assert first["a table is saved"] == "2\n"
    assert second["a table survives"].startswith("['a', 'b']\nthe temporary view is gone: True")


def test_an_mlflow_run_names_the_job_run_that_made_it(fidelity_run):
    body = {"experiment_name": FOLDER}
    experiment = fidelity_run.workspace.request("GET", "/api/2.0/mlflow/experiments/get-by-name", query=body)
    ids = [experiment["experiment"]["experiment_id"]]
    found = fidelity_run.workspace.request(
        "POST", "/api/2.0/mlflow/runs/search", body={"experiment_ids": ids}
    )
    tags = {tag["key"]: tag["value"] for tag in found["runs"][0]["data"]["tags"]}

    assert tags["mlflow.databricks.jobRunID"] == str(fidelity_run.task("first")["run_id"])
    assert tags["mlflow.databricks.notebookPath"] == f"{FOLDER}/fidelity"


def test_every_row_of_the_table_in_docs_has_its_test_and_every_test_its_row():
    named = re.findall(r"`(test_\w+)`", DOCS.read_text())
    defined = [name for name in globals() if name.startswith("test_") and "table_in_docs" not in name]

    assert sorted(named) == sorted(defined)
