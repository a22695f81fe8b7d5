"""Workspace objects, DBFS and volumes through the two real clients."""

import base64
import io
import json
from dataclasses import replace
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
    local.client.workspace.upload("/Shared/ids", HEADER, language=Language.PYTHON)
    first = local.client.workspace.get_status("/Shared/ids")
    local.client.workspace.upload("/Shared/ids", HEADER + b"2", language=Language.PYTHON, overwrite=True)
    second = local.client.workspace.get_status("/Workspace/Shared/ids/")

    assert (first.object_type, first.language) == (ObjectType.NOTEBOOK, Language.PYTHON)
    assert second.modified_at >= first.modified_at >= first.created_at - 1000
    assert replace(second, modified_at=first.modified_at) == first
    assert first.resource_id == str(first.object_id)


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

    assert local.client.workspace.download("/Shared/plain.py").read() == HEADER + b"x = 1\n"
    assert local.client.workspace.get_status("/Shared/plain.py").object_type == ObjectType.NOTEBOOK


@pytest.mark.parametrize("form", [ImportFormat.SOURCE, ImportFormat.JUPYTER, ImportFormat.RAW])
def test_only_auto_takes_the_suffix_from_a_name(local, form: ImportFormat):
    name = f"named_{form.value}.{'ipynb' if form is ImportFormat.JUPYTER else 'py'}"
    content = json.dumps(NOTEBOOK).encode() if form is ImportFormat.JUPYTER else HEADER + b"x = 1"
    local.client.workspace.mkdirs("/Shared/named")
    local.client.workspace.upload(f"/Shared/named/{name}", content, format=form)

    kept = [found.path for found in local.client.workspace.list("/Shared/named")]
    assert f"/Shared/named/{name}" in kept
    assert local.client.workspace.download(f"/Shared/named/{name}", format=ExportFormat.RAW).read() == content


def test_a_list_goes_down_and_leaves_older_notebooks_out(local):
    local.client.workspace.mkdirs("/Shared/listed/deep")
    for name in ("one.py", "deep/two.py"):
        local.client.workspace.upload(f"/Shared/listed/{name}", b"print(1)")
    local.client.workspace.upload("/Shared/listed/file", b"x", format=ImportFormat.AUTO)

    def paths(**chosen: int) -> list[str]:
        found = local.client.workspace.list("/Shared/listed", recursive=True, **chosen)
        return [each.path.removeprefix("/Shared/listed/") for each in found]

    later = local.client.workspace.get_status("/Shared/listed/deep/two.py").modified_at
    assert paths() == ["file", "one.py", "deep/two.py"]
    assert paths(notebooks_modified_after=later) == ["file"]


def test_a_file_is_read_as_it_is_kept(local):
    local.client.workspace.upload("/Shared/read_whole.py", b"x = 1\n", format=ImportFormat.AUTO)

    read = local.client.api_client.do("GET", "/api/2.0/workspace-files/%2FShared%2Fread_whole.py", raw=True)
    assert read["contents"].read() == b"x = 1\n"
    with pytest.raises(ResourceDoesNotExist, match="/Shared/none"):
        local.request("GET", "/api/2.0/workspace-files/Shared/none")


def test_a_jupyter_notebook_comes_back_as_itself_and_as_source(local):
    content = json.dumps(NOTEBOOK).encode()
    local.client.workspace.upload("/Shared/jupyter", content, format=ImportFormat.JUPYTER)

    download = local.client.workspace.download
    source = download("/Shared/jupyter").read().decode()
    assert download("/Shared/jupyter", format=ExportFormat.JUPYTER).read() == content
    assert source == (
        HEADER.decode() + "# MAGIC %md\n# MAGIC # Title\n# MAGIC text\n\n# COMMAND ----------\n\nx = 1\n"
    )


def test_source_comes_back_as_a_jupyter_notebook(local):
    source = HEADER + b"x = 1\n\n# COMMAND ----------\n\n# MAGIC %md\n# MAGIC hello\n"
    local.client.workspace.upload("/Shared/to_jupyter", source, language=Language.PYTHON)

    content = local.client.workspace.download("/Shared/to_jupyter", format=ExportFormat.JUPYTER).read()
    cells = json.loads(content)["cells"]
    assert [(cell["cell_type"], cell["source"]) for cell in cells] == [
        ("code", "x = 1"),
        ("markdown", "hello"),
    ]


def import_plainly(local, path: str, content: bytes, form: ImportFormat) -> None:
    """An import as the command lines ask for it: the SDK would add words of its own to a refusal."""
    encoded = base64.b64encode(content).decode()
    body = {"path": path, "format": form.value, "language": "PYTHON", "content": encoded}
    local.request("POST", "/api/2.0/workspace/import", body=body)


CODE = {"cell_type": "code", "metadata": {}, "source": "x = 1", "outputs": [], "execution_count": None}


def cell(**changes: object) -> dict[str, object]:
    """A notebook with one cell that is not as nbformat has it."""
    return NOTEBOOK | {"cells": [CODE | changes]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "Expecting value: line 1"),
        ("{", "line 1 column 2"),
        pytest.param("[" * 100_000, "nested too deeply", id="nested deeply"),
        ([], "its JSON is not an object"),
        (None, "its JSON is not an object"),
        ({}, "its nbformat is None"),
        ({"cells": []}, "its nbformat is None"),
        ({"nbformat": 2, "worksheets": []}, "its nbformat is 2"),
        (NOTEBOOK | {"nbformat": "4"}, "its nbformat is '4'"),
        ({"nbformat": 3}, "'worksheets' is a required property"),
        ({"nbformat": 3, "worksheets": [1]}, "nbformat cannot read it"),
        ({"nbformat": 4}, "'cells' is a required property"),
        (NOTEBOOK | {"cells": None}, "in cells, None is not of type 'array'"),
        (NOTEBOOK | {"cells": [None]}, r"in cells\[0\], None is not of type 'object'"),
        (NOTEBOOK | {"metadata": None}, "in metadata, None is not of type 'object'"),
        (NOTEBOOK | {"metadata": {"language_info": None}}, "in metadata.language_info, None is not"),
        (NOTEBOOK | {"metadata": {"language_info": {"name": "julia"}}}, "JULIA; there are .'PYTHON'"),
        (NOTEBOOK | {"cells": [{"cell_type": "code"}]}, r"in cells\[0\], 'source' is a required property"),
        (cell(source=1), r"in cells\[0\].source, 1 is not valid"),
        (cell(source=[1]), r"in cells\[0\].source"),
        (cell(source="\ud800"), "surrogates not allowed"),
        (cell(outputs=None), r"in cells\[0\].outputs, None is not of type 'array'"),
        (cell(cell_type=None), "nbformat cannot read it"),
        (cell(cell_type="prose"), r"in cells\[0\].*'prose'"),
    ],
)
def test_what_is_no_jupyter_notebook_is_refused_with_the_reason(local, document, said):
    content = (document if isinstance(document, str) else json.dumps(document)).encode()

    for form in (ImportFormat.JUPYTER, ImportFormat.AUTO):
        with pytest.raises(InvalidParameterValue, match=f"^/Shared/broken.ipynb is .*{said}") as refused:
            import_plainly(local, "/Shared/broken.ipynb", content, form)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "document",
    [
        {"cells": [{"cell_type": "code", "source": ["x = 1\n", "y = 2"]}], "nbformat": 4},
        NOTEBOOK | {"cells": [CODE | {"source": "x = 1\ny = 2", "of_another_tool": 1}]},
        NOTEBOOK | {"cells": [{"cell_type": "code", "source": ["x = 1\n", "y = 2"], "id": "a b"}]},
        {
            "metadata": {"name": "old"},
            "nbformat": 3,
            "nbformat_minor": 0,
            "worksheets": [
                {
                    "cells": [
                        {
                            "cell_type": "code",
                            "language": "python",
                            "input": ["x = 1\n", "y = 2"],
                            "outputs": [],
                        }
                    ]
                }
            ],
        },
    ],
    ids=["without what may be absent", "with more than the format has", "an odd id", "format 3"],
)
def test_a_jupyter_notebook_is_read_whatever_its_age(local, document):
    name = "/Shared/of_any_age"
    content = json.dumps(document).encode()
    local.client.workspace.upload(name, content, format=ImportFormat.JUPYTER, overwrite=True)

    exported = json.loads(local.client.workspace.download(name, format=ExportFormat.JUPYTER).read())
    assert exported["nbformat"] == 4
    assert local.client.workspace.download(name).read() == HEADER + b"x = 1\ny = 2\n"


def test_a_jupyter_notebook_without_cells_is_an_empty_one(local):
    content = json.dumps(NOTEBOOK | {"cells": []}).encode()
    local.client.workspace.upload("/Shared/no_cells", content, format=ImportFormat.JUPYTER)

    assert local.client.workspace.download("/Shared/no_cells").read() == HEADER + b"\n"


TEXT = HEADER.decode() + "# Übung\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (TEXT.encode("latin-1"), "byte 3 of line 2 is 0xdc"),
        (TEXT.encode("utf-16-le"), "byte 2 of line 1 is 0x00"),
        (TEXT.encode("utf-16-be"), "byte 1 of line 1 is 0x00"),
        (TEXT.encode("utf-16"), "UTF-16"),
        (TEXT.encode("utf-32-le"), "byte 2 of line 1 is 0x00"),
        (HEADER + b"x = 1\ny = '\0'\n", "byte 6 of line 3 is 0x00"),
        (HEADER + b"x = '\xe2\x82", "byte 6 of line 2 is 0xe2"),
    ],
    ids=["Latin-1", "UTF-16-LE", "UTF-16-BE", "UTF-16", "UTF-32", "a NUL byte", "half a character"],
)
def test_a_notebook_that_is_not_utf_8_is_refused_with_the_place(local, content, said):
    for form in (ImportFormat.SOURCE, ImportFormat.AUTO):
        with pytest.raises(InvalidParameterValue, match=f"^/Shared/odd.py is .*{said}"):
            import_plainly(local, "/Shared/odd.py", content, form)


def test_a_coding_line_makes_latin_1_no_utf_8(local):
    content = b"# -*- coding: latin-1 -*-\n# " + "é".encode("latin-1")

    with pytest.raises(InvalidParameterValue, match="byte 3 of line 2 is 0xe9"):
        import_plainly(local, "/Shared/coded.py", content, ImportFormat.SOURCE)


def test_a_jupyter_notebook_that_is_not_utf_8_is_refused_with_the_place(local):
    content = json.dumps(NOTEBOOK).replace("Title", "Übung").encode("latin-1")

    with pytest.raises(InvalidParameterValue, match=r"odd.ipynb is not text in UTF-8: byte \d+ of line 1"):
        import_plainly(local, "/Shared/odd.ipynb", content, ImportFormat.JUPYTER)


def test_what_is_on_disk_and_not_utf_8_is_no_notebook(local):
    (local.state.workspace_files / "Shared" / "put_there").write_bytes(TEXT.encode("latin-1"))

    assert local.client.workspace.get_status("/Shared/put_there").object_type == ObjectType.FILE


def test_a_plain_file_may_hold_any_bytes(local):
    content = "# é\0".encode("latin-1")
    local.client.workspace.upload("/Shared/any_bytes.py", content, format=ImportFormat.AUTO)

    assert local.client.workspace.download("/Shared/any_bytes.py").read() == content


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
    client.upload("/Shared/taken", HEADER, language=Language.PYTHON)

    with pytest.raises(ResourceAlreadyExists, match="already exists"):
        client.upload("/Shared/taken", HEADER, language=Language.PYTHON)
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
    with pytest.raises(NotImplementedHere, match=r"GET /api/2\.0/git-credentials is not part"):
        local.request("GET", "/api/2.0/git-credentials")

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
