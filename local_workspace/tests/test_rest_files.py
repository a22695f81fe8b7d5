"""Workspace objects, DBFS and volumes through the two real clients."""

import io
import json
from pathlib import Path

import pytest
from databricks.sdk.errors import (
    BadRequest,
    DatabricksError,
    InvalidParameterValue,
    NotFound,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from databricks.sdk.errors import NotImplemented as NotImplementedHere
from databricks.sdk.service.workspace import ExportFormat, ImportFormat, Language, ObjectType

HEADER = b"# Databricks notebook source\n"
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "text"]},
        {"cell_type": "code", "metadata": {}, "source": "x = 1", "outputs": [], "execution_count": None},
    ],
    "metadata": {"language_info": {"name": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def test_the_pip_cli_deploys_a_folder_and_gets_it_back(local, tmp_path: Path):
    source = tmp_path / "orchestrator" / "deep"
    source.mkdir(parents=True)
    (source.parent / "train.py").write_bytes(HEADER + b"print('train')\n")
    (source / "score.py").write_bytes(HEADER + b"print('score')\n")

    for _ in range(2):
        local.cli("workspace", "import_dir", "-o", str(source.parent), "/Shared/project/orchestrator")
    listing = local.cli("workspace", "ls", "--id", "-l", "/Shared/project/orchestrator")
    local.cli("workspace", "export_dir", "/Shared/project/orchestrator", str(tmp_path / "back"))

    assert [line.split()[:2] for line in listing.splitlines()] == [
        ["DIRECTORY", "deep"],
        ["NOTEBOOK", "train"],
    ]
    assert (tmp_path / "back" / "train.py").read_bytes() == HEADER + b"print('train')\n"
    assert (tmp_path / "back" / "deep" / "score.py").read_bytes() == HEADER + b"print('score')\n"


def test_an_object_keeps_its_id_when_it_is_overwritten(local):
    local.client.workspace.upload("/Shared/ids.py", HEADER, language=Language.PYTHON)
    first = local.client.workspace.get_status("/Shared/ids")
    local.client.workspace.upload("/Shared/ids.py", HEADER + b"2", language=Language.PYTHON, overwrite=True)
    second = local.client.workspace.get_status("/Workspace/Shared/ids/")

    assert (first.object_type, first.language) == (ObjectType.NOTEBOOK, Language.PYTHON)
    assert second == first


def test_auto_makes_a_notebook_only_of_source_with_the_header(local):
    upload = local.client.workspace.upload
    upload("/Shared/auto_notebook.py", HEADER + b"1", format=ImportFormat.AUTO)
    upload("/Shared/auto_module.py", b"x = 1\n", format=ImportFormat.AUTO)

    module = local.client.workspace.get_status("/Shared/auto_module.py")
    assert local.client.workspace.get_status("/Shared/auto_notebook").object_type == ObjectType.NOTEBOOK
    assert (module.object_type, module.size) == (ObjectType.FILE, 6)
    assert local.client.workspace.download("/Shared/auto_module.py").read() == b"x = 1\n"


def test_source_without_the_header_gets_it(local):
    local.client.workspace.upload("/Shared/plain.py", b"x = 1\n")

    assert local.client.workspace.download("/Shared/plain").read() == HEADER + b"x = 1\n"


def test_a_jupyter_notebook_comes_back_as_itself_and_as_source(local):
    content = json.dumps(NOTEBOOK).encode()
    local.client.workspace.upload("/Shared/jupyter.ipynb", content, format=ImportFormat.JUPYTER)

    download = local.client.workspace.download
    source = download("/Shared/jupyter").read().decode()
    assert download("/Shared/jupyter", format=ExportFormat.JUPYTER).read() == content
    assert source == (
        HEADER.decode() + "# MAGIC %md\n# MAGIC # Title\n# MAGIC text\n\n# COMMAND ----------\n\nx = 1\n"
    )


def test_source_comes_back_as_a_jupyter_notebook(local):
    source = HEADER + b"x = 1\n\n# COMMAND ----------\n\n# MAGIC %md\n# MAGIC hello\n"
    local.client.workspace.upload("/Shared/to_jupyter.py", source)

    content = local.client.workspace.download("/Shared/to_jupyter", format=ExportFormat.JUPYTER).read()
    cells = json.loads(content)["cells"]
    assert [(cell["cell_type"], cell["source"]) for cell in cells] == [
        ("code", "x = 1"),
        ("markdown", "hello"),
    ]


def test_workspace_files_follow_the_rules_of_the_newer_cli(local):
    path = "/api/2.0/workspace-files/import-file/%2FShared%2Fwheels%2Fx.whl"
    with pytest.raises(NotFound, match="parent folder"):
        local.request("POST", path, data=b"wheel")
    local.client.workspace.mkdirs("/Shared/wheels")
    local.request("POST", path, data=b"wheel")
    with pytest.raises(ResourceAlreadyExists):
        local.request("POST", path, data=b"other")
    local.request("POST", path, query={"overwrite": "true"}, data=b"newer")

    assert (local.state.workspace_files / "Shared/wheels/x.whl").read_bytes() == b"newer"


def test_a_folder_with_something_in_it_needs_recursive(local):
    local.client.workspace.mkdirs("/Shared/full/inner")
    with pytest.raises(BadRequest, match="not empty"):
        local.client.workspace.delete("/Shared/full")
    local.cli("workspace", "rm", "-r", "/Shared/full")

    with pytest.raises(ResourceDoesNotExist, match="/Shared/full"):
        local.client.workspace.get_status("/Shared/full")


def test_clashes_in_the_workspace_are_refused(local):
    client = local.client.workspace
    client.upload("/Shared/taken.py", HEADER)

    with pytest.raises(ResourceAlreadyExists, match="already exists"):
        client.upload("/Shared/taken.py", HEADER)
    with pytest.raises(DatabricksError, match="type mismatch"):
        client.upload("/Shared", b"x", format=ImportFormat.RAW, overwrite=True)
    with pytest.raises(ResourceAlreadyExists, match="a file is in the way"):
        client.mkdirs("/Shared/taken/below")
    with pytest.raises(InvalidParameterValue, match="not allowed"):
        client.get_status("/Shared/../../secret")
    with pytest.raises(InvalidParameterValue, match="missing required field: path"):
        local.request("GET", "/api/2.0/workspace/get-status")


def test_the_pip_cli_copies_folders_to_dbfs_and_back(local, tmp_path: Path):
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "a.csv").write_bytes(b"ID\n1\n")
    (data / "deep" / "big.bin").write_bytes(bytes(range(256)) * 10_000)

    for _ in range(2):
        local.cli("fs", "cp", "--overwrite", "--recursive", str(data), "dbfs:/project/data")
    local.cli("fs", "cp", "--recursive", "dbfs:/project/data", str(tmp_path / "back"))

    assert (local.state.dbfs / "project/data/a.csv").read_bytes() == b"ID\n1\n"
    assert (tmp_path / "back/deep/big.bin").read_bytes() == (data / "deep/big.bin").read_bytes()
    assert local.cli("fs", "ls", "dbfs:/project/data").split() == ["a.csv", "deep"]
    local.cli("fs", "rm", "-r", "dbfs:/project/data")
    assert not (local.state.dbfs / "project/data").exists()


def test_the_sdk_streams_to_dbfs_and_a_taken_name_stays(local):
    content = b"x" * 2_500_000
    local.client.dbfs.upload("/stream.bin", io.BytesIO(content))

    with pytest.raises(ResourceAlreadyExists):
        local.client.dbfs.upload("/stream.bin", io.BytesIO(b"other"))
    local.client.dbfs.move("/stream.bin", "/streamed/stream.bin")
    assert local.client.dbfs.download("/streamed/stream.bin").read() == content
    assert local.client.dbfs.get_status("/streamed/stream.bin").file_size == len(content)
    assert not local.client.dbfs.exists("/stream.bin")


def test_dbfs_keeps_to_its_limits(local):
    local.request("POST", "/api/2.0/dbfs/put", body={"path": "/small", "contents": "YWJj"})

    part = local.request("GET", "/api/2.0/dbfs/read", query={"path": "/small", "offset": 1, "length": 1})
    assert part == {"bytes_read": 1, "data": "Yg=="}
    with pytest.raises(BadRequest, match="at most"):
        local.request("GET", "/api/2.0/dbfs/read", query={"path": "/small", "length": 2**20 + 1})
    with pytest.raises(InvalidParameterValue, match="base64"):
        local.request("POST", "/api/2.0/dbfs/put", body={"path": "/bad", "contents": "%%"})
    with pytest.raises(ResourceDoesNotExist, match="handle 99"):
        local.request("POST", "/api/2.0/dbfs/close", body={"handle": 99})
    with pytest.raises(InvalidParameterValue, match="not allowed"):
        local.request("POST", "/api/2.0/dbfs/mkdirs", body={"path": "dbfs:/../outside"})


def test_volumes_keep_files(local):
    files = local.client.files
    files.create_directory("/Volumes/main/default/data/in")
    files.upload("/Volumes/main/default/data/in/a b.csv", io.BytesIO(b"ID\n"), overwrite=True)

    with pytest.raises(ResourceAlreadyExists):
        files.upload("/Volumes/main/default/data/in/a b.csv", io.BytesIO(b"other"), overwrite=False)
    entries = list(files.list_directory_contents("/Volumes/main/default/data/in"))
    assert [(entry.name, entry.path, entry.file_size) for entry in entries] == [
        ("a b.csv", "/Volumes/main/default/data/in/a b.csv", 3)
    ]
    assert files.download("/Volumes/main/default/data/in/a b.csv").contents.read() == b"ID\n"
    assert files.get_metadata("/Volumes/main/default/data/in/a b.csv").content_length == 3
    files.delete("/Volumes/main/default/data/in/a b.csv")
    files.delete_directory("/Volumes/main/default/data/in")
    with pytest.raises(NotFound):
        files.get_directory_metadata("/Volumes/main/default/data/in")


def test_what_is_not_here_says_so_and_mlflow_is_not_shadowed(local):
    with pytest.raises(NotImplementedHere, match=r"GET /api/2\.0/pipelines is not part"):
        local.request("GET", "/api/2.0/pipelines")

    assert local.request("GET", "/api/2.0/mlflow/experiments/get") == {"answered_by": "mlflow"}


def test_a_broken_body_is_refused_with_its_reason(local):
    with pytest.raises(BadRequest, match="not JSON"):
        local.request("POST", "/api/2.0/workspace/mkdirs", data="{broken")


def test_clients_learn_who_and_where_they_are(local):
    assert local.client.current_user.me().user_name == "local.user@localhost"
    assert local.client.get_workspace_id() == 1


def test_files_arrive_also_when_somebody_removed_the_folder_in_which_they_do(own_workspace):
    own_workspace.state.arriving.rmdir()
    handle = own_workspace.request("POST", "/api/2.0/dbfs/create", body={"path": "/arrived/block"})["handle"]
    own_workspace.request("POST", "/api/2.0/dbfs/close", body={"handle": handle})
    own_workspace.state.arriving.rmdir()
    own_workspace.client.files.upload("/Volumes/c/s/v/arrived", io.BytesIO(b"whole"))

    assert (own_workspace.state.dbfs / "arrived/block").read_bytes() == b""
    assert (own_workspace.state.volumes / "c/s/v/arrived").read_bytes() == b"whole"
