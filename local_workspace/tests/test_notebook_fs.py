"""`dbutils.fs` and `%fs`: nothing is lost, and nothing that is not understood is passed over."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from databricks.sdk.errors import DatabricksError
from local_workspace.kernel import fs_magic
from local_workspace.kernel.file_system import FileSystem
from local_workspace.store.state import StateFolder

WARDS = "abfss://wards@account.dfs.core.windows.net"
OTHER = "abfss://other@account.dfs.core.windows.net"


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


@pytest.fixture
def wards(state: StateFolder) -> Path:
    """The place of a mount with a file in it, and a link to it."""
    FileSystem().mount(WARDS, "/mnt/wards")
    FileSystem().put("/mnt/wards/rows.csv", "mounted")
    (state.dbfs / "mounts").symlink_to(state.dbfs / "mnt")
    return state.dbfs / "mnt" / "wards"


@pytest.fixture
def nothing_can_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check that is tested these calls would remove the machine that runs the test."""
    for module, names in {
        "shutil": ("rmtree", "copytree", "copyfile", "move"),
        "os": ("unlink", "rmdir", "remove", "rename", "replace"),
        "pathlib.Path": ("unlink", "rmdir", "rename", "replace"),
    }.items():
        for name in names:
            monkeypatch.setattr(f"{module}.{name}", lambda *_, **__: pytest.fail("it was not refused"))


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


@pytest.mark.parametrize("command", ["rm", "mv"])
@pytest.mark.parametrize(
    "root",
    [
        *(
            "dbfs:/",
            "/",
            "",
            ".",
            "/.",
            "dbfs:/./",
            "//",
            "/Volumes",
            "/Volumes/.",
            "/./Volumes",
            "/Workspace/",
        ),
        *(
            "dbfs:/Volumes",
            "/dbfs",
            "file:/",
            "file:///",
            "file:{state}/dbfs",
            "file:{state}/dbfs/in/..",
            "file:/tmp/..",
        ),
        *(
            "file:{state}",
            "file:{state}/",
            "file:{state}/..",
            "file:{state}/../..",
            "file:{linked}/state/dbfs",
        ),
        *("file:{state}/mounts", "file:{state}/workspace.db", "file:{linked}/state", "file:{linked}/.."),
    ],
)
def test_what_holds_the_workspace_is_neither_removed_nor_moved(
    state, command, root, nothing_can_go, tmp_path
):
    (tmp_path / "linked").symlink_to(tmp_path)
    state.mounts.mkdir(exist_ok=True)
    state.database.touch()
    path = root.format(state=state.root, linked=tmp_path / "linked")

    with pytest.raises(OSError, match="root of a file system"):
        getattr(FileSystem(), command)(path, *["/elsewhere"] * (command == "mv"), recurse=True)


def test_a_folder_beside_the_workspace_and_a_temporary_one_can_be_removed(state, tmp_path):
    for folder in (tmp_path / "beside", state.tmp / "of-a-run"):
        folder.mkdir()

        assert FileSystem().rm(f"file:{folder}", True) is True
        assert not folder.exists()


@pytest.mark.parametrize("command", ["rm", "mv"])
@pytest.mark.parametrize(
    "path",
    [
        *("/mnt/wards", "/mnt/wards/", "dbfs:/mnt", "/mnt/.", "//mnt//wards", "/dbfs/mnt/wards"),
        *("/mounts/wards", "file:{dbfs}/mnt", "file:{dbfs}/mnt/wards/../wards"),
    ],
)
def test_a_mount_and_a_folder_with_one_are_neither_removed_nor_moved(
    state, wards, command, path, nothing_can_go
):
    place = path.format(dbfs=state.dbfs)

    with pytest.raises(OSError, match="the mount /mnt/wards; unmount it first"):
        getattr(FileSystem(), command)(place, *["/elsewhere"] * (command == "mv"), recurse=True)

    assert (wards / "rows.csv").read_text() == "mounted"
    assert not (state.dbfs / "elsewhere").exists()


def test_what_is_in_a_mount_can_be_removed_and_a_link_to_it_too(state, wards):
    assert FileSystem().rm("/mnt/wards/rows.csv") is True
    assert FileSystem().rm("/mounts", True) is True
    assert FileSystem().unmount("/mnt/wards") is True
    assert FileSystem().rm("/mnt", True) is True


def test_a_mount_that_a_shell_command_removed_can_be_unmounted(state, wards):
    shutil.rmtree(wards)

    assert FileSystem().unmount("/mnt/wards") is True
    assert FileSystem().mounts() == []
    assert FileSystem().mount(WARDS, "/mnt/wards") is True


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "is not a name behind"),
        ("abfss://", "is not a name behind"),
        ("/mnt/other", "is not a name behind"),
        ("https://account.blob.core.windows.net/other", "is not a name behind"),
        ("ABFSS://other@account.dfs.core.windows.net", "is not a name behind"),
        (OTHER, "already mounted: /mnt/other"),
        (f"{OTHER}/", "already mounted: /mnt/other"),
        ("abfss://" + "x" * 300, "too long"),
    ],
)
def test_a_mount_stays_where_its_new_source_cannot_be_mounted(state, wards, source, said):
    FileSystem().mount(OTHER, "/mnt/other")
    mounts, before = FileSystem().mounts(), contents(state)

    with pytest.raises((ValueError, FileExistsError), match=said):
        FileSystem().updateMount(source, "/mnt/wards")

    assert FileSystem().mounts() == mounts
    assert contents(state) == before


def test_a_mount_gets_another_source_and_each_keeps_its_data(state, wards):
    fs = FileSystem()

    assert fs.updateMount(OTHER, "dbfs:/mnt/wards/") is True
    assert fs.ls("/mnt/wards") == []
    assert fs.updateMount(WARDS, "/mounts/wards") is True
    assert fs.updateMount(WARDS + "/", "/mnt/wards") is True
    assert fs.head("/mnt/wards/rows.csv") == "mounted"
    assert fs.updateMount(OTHER, "/mnt/new") is True
    assert [tuple(mount)[:2] for mount in fs.mounts()] == [("/mnt/wards", WARDS + "/"), ("/mnt/new", OTHER)]


def test_runs_that_mount_at_the_same_time_lose_no_mount(state):
    code = """
import sys
from local_workspace.kernel.file_system import FileSystem
for number in range(20):
    FileSystem().mount(f"abfss://{sys.argv[1]}{number}@account", f"/mnt/{sys.argv[1]}{number}")
"""
    runs = [subprocess.Popen([sys.executable, "-c", code, name]) for name in ("a", "b", "c")]

    assert [run.wait(60) for run in runs] == [0, 0, 0]
    assert len(FileSystem().mounts()) == 60


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/in", "dbfs:/in/a.csv"),
        ("//in/./", "dbfs:/in/a.csv"),
        ("in", "dbfs:/in/a.csv"),
        ("/in/a.csv", "dbfs:/in/a.csv"),
        ("file:{dbfs}/in/", "file:{dbfs}/in/a.csv"),
        ("/x/y:/z", "dbfs:/x/y:/z/a.csv"),
        ("/", "dbfs:/file.csv"),
    ],
)
def test_a_listed_path_can_be_read(state, path, shown):
    FileSystem().put("/x/y:/z/a.csv", "1")
    path, shown = path.format(dbfs=state.dbfs), shown.format(dbfs=state.dbfs)

    assert shown in [info.path for info in FileSystem().ls(path)]
    assert FileSystem().head(shown) in ("1", "3")


@pytest.mark.parametrize(
    ("source", "point", "said"),
    [
        (OTHER, "/mnt/wards", "already mounted: /mnt/wards"),
        (OTHER, "dbfs:/mnt/wards/", "already mounted: /mnt/wards"),
        (OTHER, "/mnt/./wards", "already mounted: /mnt/wards"),
        (OTHER, "/dbfs/mnt/wards", "already mounted: /mnt/wards"),
        (OTHER, "/mounts/wards", "already mounted: /mnt/wards"),
        (OTHER, "/mnt/wards/below", "already mounted: /mnt/wards"),
        (OTHER, "/mnt", "already mounted: /mnt/wards"),
        (WARDS, "/mnt/again", "already mounted: /mnt/wards"),
        (WARDS + "/", "/mnt/again", "already mounted: /mnt/wards"),
        (OTHER, "/in", "not an empty folder"),
        (OTHER, "/file.csv", "not an empty folder"),
        (OTHER, "/file.csv/x", "a file is in the way"),
        (OTHER, "/", "mount point"),
        (OTHER, "", "path is empty"),
        (OTHER, "dbfs:mnt/x", "not absolute"),
        (OTHER, "file:/mnt/x", "mount point"),
        (OTHER, "/Volumes/x", "mount point"),
        (OTHER, "/Workspace/x", "mount point"),
        (OTHER, "/mnt/../x", "not allowed"),
    ],
)
def test_a_mount_lies_neither_in_another_nor_over_files(state, wards, source, point, said):
    mounts, before = FileSystem().mounts(), contents(state)

    with pytest.raises(Exception, match=said) as raised:
        FileSystem().mount(source, point)

    assert str(state.root) not in str(raised.value)
    assert FileSystem().mounts() == mounts
    assert contents(state) == before


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


@pytest.mark.parametrize("recurse", [True, False])
@pytest.mark.parametrize("end", ["in", "file.csv", "nowhere", "link", "..", "../.."])
@pytest.mark.parametrize("path", ["/link", "dbfs:/link/", "file:{dbfs}/link"])
def test_a_link_is_removed_and_never_what_it_leads_to(state, recurse, end, path):
    before = contents(state)
    (state.dbfs / "link").symlink_to(end)

    assert FileSystem().rm(path.format(dbfs=state.dbfs), recurse) is True

    assert not (state.dbfs / "link").is_symlink()
    assert contents(state) == before


def test_a_folder_with_links_is_removed_without_what_they_lead_to(state):
    before = contents(state)
    (state.dbfs / "links").mkdir()
    for name, end in {"folder": "../in", "nowhere": "none", "circle": "circle", "up": ".."}.items():
        (state.dbfs / "links" / name).symlink_to(end)

    assert FileSystem().rm("/links", True) is True
    assert contents(state) == before


@pytest.mark.parametrize("target", ["/moved", "/new/deep/moved", "/Volumes/a/moved", "file:{dbfs}/moved"])
@pytest.mark.parametrize(("end", "name"), [("in", "a.csv"), ("file.csv", "")])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_moved_link_leads_to_what_it_led_to(state, target, end, name, absolute):
    (state.dbfs / "link").symlink_to(state.dbfs / end if absolute else end)
    before = FileSystem().head(f"/link/{name}")

    assert FileSystem().mv("/link", target.format(dbfs=state.dbfs), True) is True

    assert FileSystem().head(f"{target.format(dbfs=state.dbfs)}/{name}") == before
    assert not (state.dbfs / "link").is_symlink()
    assert (state.dbfs / end).exists()


def test_a_listing_is_silent_about_links_that_lead_nowhere(state):
    for name, end in {"nowhere": "none", "circle": "circle", "good": "../file.csv"}.items():
        (state.dbfs / "in" / name).symlink_to(end)

    for path in ("/in", f"file:{state.dbfs}/in"):
        assert [info.name for info in FileSystem().ls(path)] == ["a.csv", "deep er/", "good"]


@pytest.mark.parametrize("command", ["cp", "mv"])
@pytest.mark.parametrize(
    ("links", "said"),
    [
        ({"in/z": "z"}, "its z is a link to nowhere"),
        ({"in/z": "none"}, "its z is a link to nowhere"),
        ({"in/deep er/z": ".."}, "its deep er/z is a link that leads back"),
        ({"in/deep er/z": "."}, "its deep er/z is a link that leads back"),
        ({"in/z": ".."}, "to its subdirectory"),
        ({"in/z": "../x", "x/y": "../in"}, "its z/y is a link that leads back"),
        ({"in/z": "../out"}, "to its subdirectory"),
        ({"out/new/a.csv": "../../in/a.csv"}, "its a.csv would be put over it"),
        ({"out/new/deep er": "../../in"}, "its deep er would be put over it"),
        ({"in/z": "../file.csv", "out/new/z": "../../file.csv"}, "its z would be put over it"),
        ({"out/new/deep er": "none"}, "is a link to nowhere"),
        ({"out/new/a.csv": ".."}, "which is a folder"),
        ({"out/new/deep er": "../../file.csv"}, "which is a file"),
    ],
)
@pytest.mark.parametrize("scheme", ["dbfs:", "file:{dbfs}"])
def test_a_folder_whose_links_cannot_be_followed_is_not_copied_by_half(state, command, links, said, scheme):
    for name, end in ({"out/new/old": "../../file.csv"} | links).items():
        (state.dbfs / name).parent.mkdir(parents=True, exist_ok=True)
        (state.dbfs / name).symlink_to(end)
    before, root = sorted(state.dbfs.rglob("*")), scheme.format(dbfs=state.dbfs)

    with pytest.raises(OSError, match=said):
        getattr(FileSystem(), command)(f"{root}/in", f"{root}/out/new", True)

    assert sorted(state.dbfs.rglob("*")) == before
    assert (state.dbfs / "in" / "a.csv").read_text() == "1"


@pytest.mark.parametrize("command", ["cp", "mv"])
def test_a_folder_goes_along_with_what_its_links_lead_to(state, command):
    (state.dbfs / "in" / "link").symlink_to("../file.csv")
    (state.dbfs / "in" / "folder").symlink_to("deep er")

    assert getattr(FileSystem(), command)("/in", "/Volumes/a/b", True) is True

    assert FileSystem().head("/Volumes/a/b/link") == "3"
    assert FileSystem().head("/Volumes/a/b/folder/b.csv") == "2"
    assert (state.dbfs / "in").exists() is (command == "cp")


@pytest.mark.parametrize(
    "path", ["dbfs:x", "dbfs:", "dbfs:./x", "file:x", "file:", "DBFS:/x", "s3:/x", "x:y", ""]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda fs, path: fs.put(path, "1", True),
        lambda fs, path: fs.mkdirs(path),
        lambda fs, path: fs.ls(path),
        lambda fs, path: fs.rm(path, True),
        lambda fs, path: fs.cp("/file.csv", path),
        lambda fs, path: fs.mv(path, "/y", True),
        lambda fs, path: fs.mount(WARDS, path),
    ],
)
def test_a_path_that_is_not_absolute_behind_its_scheme_is_refused(state, path, call):
    before = contents(state)

    with pytest.raises((ValueError, FileNotFoundError), match=r"is not absolute|has the scheme|is empty"):
        call(FileSystem(), path)

    assert contents(state) == before
    assert FileSystem().mounts() == []


@pytest.mark.parametrize("path", ["x/y:z", "/x/y:/z", "dbfs:/x/y:z", "dbfs:///x:y", "x"])
def test_a_path_without_a_scheme_is_one_of_dbfs_and_a_name_may_hold_a_colon(state, path):
    FileSystem().put(path, "text")

    assert contents(state)[path.removeprefix("dbfs:").strip("/")] == "text"


@pytest.mark.parametrize("size", [-1, -65536, "5", 1.5, None])
def test_head_takes_a_number_of_bytes(state, size):
    with pytest.raises(ValueError, match="maxBytes is a whole number from 0 on"):
        FileSystem().head("/file.csv", size)

    assert FileSystem().head("/file.csv", 0) == ""


@pytest.mark.parametrize(
    "call",
    [
        lambda fs: fs.head("/in"),
        lambda fs: fs.put("/in", "x", True),
        lambda fs: fs.put("/", "x", True),
        lambda fs: fs.put("/file.csv/x", "x"),
        lambda fs: fs.mkdirs("/file.csv"),
        lambda fs: fs.mkdirs("/file.csv/x"),
        lambda fs: fs.cp("/file.csv", "/in/a.csv/x"),
        lambda fs: fs.unmount("/mnt/none"),
    ],
)
def test_an_error_names_no_path_of_the_machine(state, call):
    before = contents(state)

    with pytest.raises(Exception, match=r"folder|not mounted") as raised:
        call(FileSystem())

    assert str(state.root) not in str(raised.value)
    assert contents(state) == before


def test_the_api_moves_no_folder_into_itself(local):
    local.client.dbfs.upload("/moves/a.csv", io.BytesIO(b"1"))

    with pytest.raises(DatabricksError, match="to its subdirectory /moves/archive"):
        local.request(
            "POST",
            "/api/2.0/dbfs/move",
            body={"source_path": "/moves", "destination_path": "/moves/archive"},
        )

    assert [file.path for file in local.client.dbfs.list("/moves")] == ["/moves/a.csv"]
