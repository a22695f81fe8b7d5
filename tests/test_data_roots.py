"""Data in a volume and behind a mount, on a local workspace: uploaded by make, read by the real notebooks."""

import os
import subprocess

import pytest
from science import BATCH, read_rows
from workspace_under_test import DATA_ROOT, ROOT, WorkspaceUnderTest

SCOPE = "azure-databricks-mlops-mlflow"
SOURCE = "abfss://data@mlopsdata.dfs.core.windows.net"
PRINCIPAL = {
    "service-principal-id": "the-id",
    "service-principal-secret": "the-secret-of-the-principal",
    "service-principal-tenant": "the-tenant",
}
# What a job says of each, one line a case: the mount is made by the first, used by the second.
MOUNTS = f"""
import json
from diabetes_mlops.data.access import open_data_root
from diabetes_mlops.runs.settings import AccessSettings
from diabetes_mlops.data.reading import read_as_found

def said(**widgets):
    given = {{"data_root": "/mnt/wards/day", "secret_scope": "{SCOPE}", "mount_source": "{SOURCE}"}} | widgets
    try:
        open_data_root(spark, dbutils, AccessSettings.from_widgets(given))
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
    return "ok"

principal = "service-principal"
answers = {{
    "without a credential": said(),
    "absent": said(data_credential=principal),
    "mounted": said(),
    "with a slash": said(mount_source="{SOURCE}/"),
    "another source": said(mount_source="{SOURCE}/other"),
    "another scope": said(data_root="/mnt/other", secret_scope="no-scope", data_credential=principal),
}}
dbutils.fs.cp("{DATA_ROOT}/data_batch_input.csv", "/mnt/wards/day/data_batch_input.csv")
rows = read_as_found(spark, "/mnt/wards/day/data_batch_input.csv").count()
mounts = [[mount.mountPoint, mount.source] for mount in dbutils.fs.mounts()]
dbutils.notebook.exit(json.dumps([answers, rows, mounts]))
"""


@pytest.fixture
def workspace(demo) -> WorkspaceUnderTest:
    return demo.workspace


@pytest.fixture(scope="module")
def mounted(demo) -> tuple[dict[str, str], int, list[list[str]]]:
    """What jobs said about a mount one after another, the rows read through it, and what is mounted then."""
    for key, value in PRINCIPAL.items():
        demo.workspace.client.secrets.put_secret(SCOPE, key, string_value=value)
    (job,) = demo.workspace.client.jobs.list(name="diabetes_batch_scoring", expand_tasks=True)
    wheels = job.settings.tasks[0].notebook_task.base_parameters["wheel_dir"]
    install = (
        f"# MAGIC %pip install --quiet --no-index --upgrade --find-links {wheels} diabetes diabetes_mlops"
    )
    answers, rows, mounts = demo.workspace.run_cells(install, "dbutils.library.restartPython()", MOUNTS)
    return answers, rows, mounts


def test_a_mount_is_made_when_it_is_absent_and_used_when_it_is_there(mounted) -> None:
    answers, rows, mounts = mounted

    assert [answers[case] for case in ("absent", "mounted", "with a slash")] == ["ok", "ok", "ok"]
    assert rows == len(read_rows(BATCH))
    assert mounts == [["/mnt/wards", SOURCE]]


def test_a_mount_needs_a_service_principal_to_be_made(mounted) -> None:
    said = mounted[0]["without a credential"]

    assert said.startswith("DataAccessError: nothing is mounted at /mnt/wards, and a mount of abfss://data@")
    assert "data_credential service-principal" in said


def test_a_mount_of_another_source_is_refused_and_stays(mounted) -> None:
    answers, _, mounts = mounted

    assert answers["another source"].startswith(
        f"DataAccessError: at /mnt/wards {SOURCE} is mounted, not {SOURCE}/other"
    )
    assert mounts == [["/mnt/wards", SOURCE]]


def test_a_scope_that_is_missing_is_named(mounted) -> None:
    said = mounted[0]["another scope"]

    assert said.startswith(
        "DataAccessError: data_credential is service-principal, but secret scope 'no-scope'"
    )
    assert "no key 'service-principal-tenant': " in said


def test_the_job_opens_the_way_to_its_data_first_and_says_what_bars_it(workspace, mounted) -> None:
    params = f"data_root=/mnt/wards/day mount_source={SOURCE}/other data_credential=service-principal"

    finished = workspace.make("run-diabetes-batch-scoring", f"PARAMS={params}")

    assert finished.returncode != 0
    assert f"at /mnt/wards {SOURCE} is mounted, not {SOURCE}/other; choose another" in finished.stderr


def test_a_teams_files_are_written_over_only_when_that_is_said(workspace) -> None:
    there = [f"{DATA_ROOT}/{name}" for name in ("data_raw.csv", "data_batch_input.csv")]
    upload = ("databricks-upload-data", "TARGET=prod", "WORKSPACE=local", f"DATA_ROOT={DATA_ROOT}")

    refused = workspace.make(*upload, OVERWRITE="1")  # in the environment it may mean something else

    assert refused.returncode != 0
    assert f"Error: the upload would go over {', '.join(there)}; nothing" in refused.stderr
    assert workspace.make(*upload, "OVERWRITE=1").returncode == 0


def test_a_cluster_that_is_made_here_is_for_whom_that_is_said(workspace) -> None:
    given = ("CREATE_CLUSTER=1", "CLUSTER_NAME=of-jo", "SINGLE_USER_NAME=jo@example.com")

    made = workspace.make("databricks-init", *given)

    assert made.returncode == 0, made.stdout + made.stderr
    assert "is running, for jobs that run as jo@example.com" in made.stdout
    client = workspace.client
    (cluster,) = [each for each in client.clusters.list() if each.cluster_name == "of-jo"]
    allowed = client.permissions.get("clusters", cluster.cluster_id).access_control_list
    assert "jo@example.com" in {entry.user_name for entry in allowed}
    client.clusters.permanent_delete(cluster.cluster_id)


def test_an_upload_to_a_volume_replaces_what_is_there(workspace) -> None:
    folder = "/Volumes/main/diabetes/uploads/a folder"
    for _ in range(2):
        finished = workspace.make("databricks-upload-data", f"DATA_ROOT=dbfs:{folder}/")
        assert finished.returncode == 0, finished.stdout + finished.stderr

    for name in ("data_raw.csv", "data_batch_input.csv"):
        content = workspace.client.files.download(f"{folder}/{name}").contents.read()
        assert content == (ROOT / "ml_data" / name).read_bytes()
        assert f"to {folder}/{name}" in finished.stdout


def test_a_file_of_ones_own_goes_where_the_jobs_read(workspace, tmp_path) -> None:
    file = tmp_path / "night.csv"
    file.write_bytes(b"ID,AGE\n1,50\n")

    finished = workspace.make("upload", f"FILE={file}", "TO=uploaded/")
    renamed = workspace.make("upload", f"FILE={file}", "TO=uploaded/labels of a night.csv")

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert f"Uploaded night.csv (12 bytes) to {DATA_ROOT}/uploaded/night.csv" in finished.stdout
    assert "As input_data=uploaded/night.csv a job scores it" in finished.stdout
    assert renamed.returncode == 0, renamed.stdout + renamed.stderr
    for name in ("night.csv", "labels of a night.csv"):
        content = workspace.client.dbfs.download(f"{DATA_ROOT.removeprefix('dbfs:')}/uploaded/{name}").read()
        assert content == file.read_bytes()


def test_a_file_for_a_teams_volume_is_written_over_only_when_that_is_said(workspace, tmp_path) -> None:
    file = tmp_path / "night.csv"
    file.write_bytes(b"x" * 9 * 2**20)
    upload = (
        "upload",
        f"FILE={file}",
        "TARGET=prod",
        "WORKSPACE=local",
        "DATA_ROOT=/Volumes/main/diabetes/own",
    )

    first, again = workspace.make(*upload), workspace.make(*upload)
    meant = workspace.make(*upload, "OVERWRITE=1")

    assert first.returncode == meant.returncode == 0, first.stderr + meant.stderr
    assert "  night.csv: 9 of 9 MB\nUploaded night.csv (9,437,184 bytes) to /Volumes/" in first.stdout
    assert "the upload would go over /Volumes/main/diabetes/own/night.csv; nothing" in again.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("FILE=not there.csv",), "Error: there is no file 'not there.csv'; FILE is a path from "),
        ((), "Error: make upload needs FILE=<path>"),
        (("FILE=ml_data",), "Error: FILE=ml_data is not a file; upload its files one by one"),
        (
            ("FILE=README.md", "TO=../README.md"),
            "Error: TO is a path below data_root, such as night/README.md",
        ),
        (("FILE=README.md", "TO=/mnt/x"), "TO=/mnt/x leads elsewhere"),
    ],
)
def test_an_upload_of_nothing_or_to_elsewhere_is_one_message(workspace, given, said) -> None:
    finished = workspace.make("upload", *given)

    assert finished.returncode != 0
    assert said in finished.stderr and "Traceback" not in finished.stderr


def test_a_command_that_is_printed_works_when_it_is_pasted(workspace, tmp_path) -> None:
    file = tmp_path / "pasted.csv"
    file.write_bytes(b"ID\n1\n")
    printed = workspace.make("upload", f"FILE={file}").stdout.splitlines()
    [make_folder] = [line for line in printed if " fs mkdirs " in line]
    shell = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    pasted = subprocess.run(
        ["bash", "-c", f"{make_folder}/pasted"],
        cwd=ROOT,
        env=shell,
        capture_output=True,
        text=True,
        check=False,
    )

    assert pasted.returncode == 0, make_folder + pasted.stdout + pasted.stderr
    assert workspace.client.dbfs.get_status(f"{DATA_ROOT.removeprefix('dbfs:')}/pasted").is_dir
