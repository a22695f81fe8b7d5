"""`dbutils.fs` and `%fs`: nothing is lost, and nothing that is not understood is passed over."""

from pathlib import Path

import pytest
from local_workspace.notebook import fs_magic
from local_workspace.notebook.file_system import FileSystem
from local_workspace.state import StateFolder


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    state = StateFolder(tmp_path / "state")
    state.create()
    monkeypatch.setenv("LOCAL_WORKSPACE_STATE", str(state.root))
    (state.dbfs / "in" / "deep er").mkdir(parents=True)
    (state.dbfs / "in" / "a.csv").write_text("1")
    (state.dbfs / "in" / "deep er" / "b.csv").write_text("2")
    (state.dbfs / "file.csv").write_text("3")
    return state


def contents(state: StateFolder) -> dict[str, str]:
    return {
        str(path.relative_to(state.dbfs)): path.read_text()
        for path in state.dbfs.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("command", ["cp", "mv"])
def test_a_folder_does_not_go_up_over_itself(state, command):
    (state.dbfs / "a" / "b" / "b").mkdir(parents=True)
    (state.dbfs / "a" / "b" / "b" / "keep.txt").write_text("kept")
    before = contents(state)

    with pytest.raises(OSError, match="its b would be put over it"):
        getattr(FileSystem(), command)("/a/b", "/a", True)

    assert contents(state) == before


def test_a_folder_may_go_up_where_nothing_of_it_is_in_its_own_way(state):
    assert FileSystem().mv("/in/deep er", "/in", True) is True
    assert (state.dbfs / "in" / "b.csv").read_text() == "2"


@pytest.mark.parametrize("command", ["cp", "mv"])
@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("dbfs:/in", "dbfs:/in/archive", "to its subdirectory"),
        ("dbfs:/in/", "/in/deep er/x", "to its subdirectory"),
        ("/in", "dbfs:/in", "onto itself"),
        ("/in/", "file:{dbfs}/in", "onto itself"),
        ("/in", "/dbfs/in/new", "to its subdirectory"),
        ("/file.csv", "dbfs:/file.csv", "onto itself"),
        ("/link", "/in/x", "to its subdirectory"),
        ("/in", "/link/x", "to its subdirectory"),
        ("/in", "/file.csv", "which is a file"),
        ("/in", "/../out", "not allowed"),
    ],
)
def test_a_folder_goes_neither_into_itself_nor_over_itself(state, command, source, target, said):
    (state.dbfs / "link").symlink_to(state.dbfs / "in")
    before = contents(state)

    with pytest.raises(Exception, match=said):
        getattr(FileSystem(), command)(source, target.format(dbfs=state.dbfs), True)

    assert contents(state) == before


def test_a_move_that_breaks_off_keeps_what_was_to_be_moved(state, monkeypatch):
    def fail(source: Path, target: Path) -> None:
        Path(target).write_text("half")
        raise OSError("no space left")

    monkeypatch.setattr("shutil.copyfile", fail)
    (state.dbfs / "kept.csv").write_text("before")
    before = contents(state)

    with pytest.raises(OSError, match="no space left"):
        FileSystem().mv("/file.csv", "/kept.csv")

    assert contents(state) == before


@pytest.mark.parametrize("root", ["dbfs:/", "/", "", "/Volumes", "/Workspace/", "dbfs:/Volumes", "file:/"])
def test_the_root_of_a_file_system_is_neither_removed_nor_moved(state, root, monkeypatch):
    # Without the check this would remove the machine that runs the test.
    for dangerous in ("rmtree", "copytree", "copyfile"):
        monkeypatch.setattr(f"shutil.{dangerous}", lambda *_, **__: pytest.fail("it was not refused"))

    for call in (lambda: FileSystem().rm(root, True), lambda: FileSystem().mv(root, "/elsewhere", True)):
        with pytest.raises(OSError, match="root of a file system"):
            call()


@pytest.mark.parametrize("flag", ["false", "true", "", 0, None])
def test_a_flag_that_is_not_true_or_false_removes_nothing(state, flag):
    with pytest.raises(TypeError, match="recurse is True or False"):
        FileSystem().rm("/in", flag)

    assert (state.dbfs / "in" / "a.csv").exists()


@pytest.mark.parametrize(
    "line",
    [
        "rm -r /in",
        "rm --recurse=true dbfs:/in",
        "rm /in true",
        "rm -r '/in'",
        "rm /in --recurse",
        "rm /in TRUE",
    ],
)
def test_fs_removes_a_folder_where_it_is_told_to(state, line):
    assert fs_magic.call(FileSystem(), line) is True
    assert not (state.dbfs / "in").exists()


@pytest.mark.parametrize(
    "line",
    [
        "rm /in",
        "rm /in false",
        "rm --recurse=false /in",
        "rm -f /in",
        "rm -rf /in",
        "rm /in yes",
        "rm -r /in /file.csv true",
        "rm --unknown=1 /in",
        "delete -r /in",
        "_read /in",
        "name",
        "cp /in /out",
        "mv /in /out",
        "rm",
        "head /file.csv many",
        "head /file.csv -1",
        "mount abfss://a@b /mnt/c x y z",
    ],
)
def test_fs_refuses_what_it_does_not_understand(state, line):
    before = contents(state)

    with pytest.raises((ValueError, OSError)):
        fs_magic.call(FileSystem(), line)

    assert contents(state) == before


def test_fs_copies_moves_lists_and_shows(state, capsys):
    fs = FileSystem()

    assert fs_magic.call(fs, 'cp -r "/in/deep er" /copy') is True
    assert fs_magic.call(fs, "mv /file.csv /moved.csv") is True
    assert fs_magic.call(fs, "head --max-bytes=1 /moved.csv") == "3"
    assert fs_magic.call(fs, "put /new.csv 'a b' --overwrite") is True
    assert [info.name for info in fs_magic.call(fs, "ls dbfs:/copy")] == ["b.csv"]
    assert fs_magic.call(fs, "rm /absent") is False
    assert contents(state) == {
        "in/a.csv": "1",
        "in/deep er/b.csv": "2",
        "copy/b.csv": "2",
        "moved.csv": "3",
        "new.csv": "a b",
    }
