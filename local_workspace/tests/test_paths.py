"""No path leads out of its root, through whatever API and however it is spelled."""

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from local_workspace.store.mounts import Mounts

SECRET = b"content of a file outside"
TOKEN = {"Authorization": "Bearer x"}
# What is put behind a root; `outside` is a file beside the state folder's own folders.
HOSTILE = {
    "dots": "../outside",
    "dots in the middle": "a/../../outside",
    "many dots": "a/" + "../" * 40 + "etc/passwd",
    "dots at the end": "a/..",
    "encoded dots": "%2e%2e/outside",
    "encoded slash": "..%2foutside",
    "encoded all": "%2e%2e%2foutside",
    "encoded twice": "%252e%252e%252foutside",
    "overlong dots": "%c0%ae%c0%ae/outside",
    "backslashes": "..\\outside",
    "slashes in front": "////../outside",
    "a link to a file": "link-to-file",
    "a link to a folder": "link-to-folder/outside",
    "a new file behind a link": "link-to-folder/new",
    "a circle of links": "circle/x",
    "a link to nowhere": "broken",
    "nul": "a\0b",
    "encoded nul": "a%00b",
    "new line": "a\nb",
    "half a pair": "a\ud800",
    "long name": "n" * 256,
    "long name of few letters": "ü" * 128,
    "long path": "/".join(["n" * 200] * 25),
    "dots with spaces": ".. /outside",
    "a scheme": "file:///etc/passwd",
}
ROOTS = {"dbfs": "/", "dbfs volumes": "/Volumes/", "volumes": "/Volumes/", "workspace": "/Workspace/"}


@pytest.fixture(scope="module")
def outside(local: Any) -> Iterator[Path]:
    """A file beside the roots, and links in each root that lead to it."""
    file = local.state.root / "outside"
    file.write_bytes(SECRET)
    roots = (local.state.dbfs, local.state.volumes, local.state.workspace_files)
    links = {
        "link-to-file": file,
        "link-to-folder": local.state.root,
        "circle": Path("circle"),
        "broken": Path("no"),
    }
    for root in roots:
        for name, target in links.items():
            (root / name).symlink_to(target)
    yield file
    for root in roots:
        for name in links:
            (root / name).unlink(missing_ok=True)


class Api:
    """Sends one request exactly as it is given: no client tidies the path up."""

    def __init__(self, host: str) -> None:
        self.address = host.removeprefix("http://")

    def send(self, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=20)
        connection._validate_path = lambda url: None  # type: ignore[attr-defined]
        connection.request(method, target, body, TOKEN | headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def get(self, target: str, /, **query: str) -> tuple[int, bytes]:
        return self.send("GET", f"{target}?{urlencode(query, errors='surrogatepass')}")

    def post(self, target: str, /, **body: Any) -> tuple[int, bytes]:
        return self.send("POST", target, json.dumps(body).encode())


def in_url(path: str) -> str:
    """What a careless client would put into an address: only what cannot stand there is escaped."""
    return quote(path, safe="/%\\.:", errors="surrogatepass")


CONTENT = base64.b64encode(b"# Databricks notebook source\n").decode()
Call = Callable[[Api, str], tuple[int, bytes]]
DBFS: dict[str, Call] = {
    "dbfs get-status": lambda api, path: api.get("/api/2.0/dbfs/get-status", path=path),
    "dbfs list": lambda api, path: api.get("/api/2.0/dbfs/list", path=path),
    "dbfs read": lambda api, path: api.get("/api/2.0/dbfs/read", path=f"dbfs:{path}"),
    "dbfs put": lambda api, path: api.post("/api/2.0/dbfs/put", path=path, contents="YQ==", overwrite=True),
    "dbfs create": lambda api, path: api.post("/api/2.0/dbfs/create", path=path, overwrite=True),
    "dbfs mkdirs": lambda api, path: api.post("/api/2.0/dbfs/mkdirs", path=path),
    "dbfs delete": lambda api, path: api.post("/api/2.0/dbfs/delete", path=path, recursive=True),
    "dbfs move from": lambda api, path: api.post(
        "/api/2.0/dbfs/move", source_path=path, destination_path="/moved"
    ),
    "dbfs move to": lambda api, path: api.post(
        "/api/2.0/dbfs/move", source_path="/a-file", destination_path=path
    ),
}
WORKSPACE: dict[str, Call] = {
    "workspace get-status": lambda api, path: api.get("/api/2.0/workspace/get-status", path=path),
    "workspace list": lambda api, path: api.get("/api/2.0/workspace/list", path=path),
    "workspace export": lambda api, path: api.get("/api/2.0/workspace/export", path=path),
    "workspace download": lambda api, path: api.get(
        "/api/2.0/workspace/export", path=path, direct_download="true"
    ),
    "workspace mkdirs": lambda api, path: api.post("/api/2.0/workspace/mkdirs", path=path),
    "workspace delete": lambda api, path: api.post("/api/2.0/workspace/delete", path=path, recursive=True),
    "workspace import": lambda api, path: api.post(
        "/api/2.0/workspace/import", path=path, content=CONTENT, language="PYTHON", overwrite=True
    ),
    "workspace import of a file": lambda api, path: api.post(
        "/api/2.0/workspace/import", path=path, content=CONTENT, format="RAW", overwrite=True
    ),
}
VOLUMES: dict[str, Call] = {
    f"{kind} {method}": lambda api, path, kind=kind, method=method: api.send(  # type: ignore[misc]
        method, f"/api/2.0/fs/{kind}{in_url(path)}?overwrite=true", b"x" if kind == "files" else b""
    )
    for kind in ("files", "directories")
    for method in ("GET", "HEAD", "PUT", "DELETE")
}
OTHERS: dict[str, Call] = {
    "workspace-files": lambda api, path: api.send(
        "POST", f"/api/2.0/workspace-files/import-file{in_url(path)}?overwrite=true", b"x"
    ),
    "static": lambda api, path: api.send("GET", f"/local-static{in_url(path)}"),
    "page of a run": lambda api, path: api.send("GET", f"/jobs/1/runs{in_url(path)}"),
}
CALLS = (
    [(name, call, root) for name, call in DBFS.items() for root in ("/", "/Volumes/")]
    + [(name, call, root) for name, call in WORKSPACE.items() for root in ("/", "/Workspace/")]
    + [(name, call, "/Volumes/") for name, call in VOLUMES.items()]
    + [(name, call, "/") for name, call in OTHERS.items()]
)


@pytest.mark.parametrize(("name", "call", "root"), CALLS, ids=[f"{name} {root}" for name, _, root in CALLS])
def test_no_api_leads_out_of_its_root(local, outside, name, call, root):
    (local.state.dbfs / "a-file").write_bytes(b"x")
    api, before = Api(local.host), census(local.state.root)

    for spelling, hostile in HOSTILE.items():
        status, content = call(api, root + hostile)

        assert status < 500, (spelling, content)
        assert SECRET not in content, spelling
        assert base64.b64encode(SECRET) not in content, spelling
        assert b"root:" not in content, spelling
        assert census(local.state.root) == before, spelling
    assert outside.read_bytes() == SECRET


def test_a_list_is_silent_about_links_that_lead_out(local, outside):
    for root in (local.state.dbfs, local.state.volumes, local.state.workspace_files):
        folder = root / "with-links"
        folder.mkdir()
        (folder / "real").write_bytes(b"x")
        for name, target in {
            "out": outside,
            "up": outside.parent,
            "nowhere": "none",
            "circle": "circle",
        }.items():
            (folder / name).symlink_to(target)
    api = Api(local.host)

    shown = [
        DBFS["dbfs list"](api, "/with-links"),
        VOLUMES["directories GET"](api, "/Volumes/with-links"),
        WORKSPACE["workspace list"](api, "/with-links"),
    ]

    names = [[Path(entry["path"]).name for entry in next(iter(json.loads(c).values()))] for _, c in shown]
    assert names == [["real"]] * 3


def test_a_folder_with_such_links_is_deleted_without_what_they_lead_to(local, outside):
    folder = local.state.dbfs / "to-be-deleted"
    folder.mkdir()
    (folder / "out").symlink_to(local.state.root)

    assert DBFS["dbfs delete"](Api(local.host), "/to-be-deleted") == (200, b"{}")
    assert not folder.exists()
    assert outside.read_bytes() == SECRET


@pytest.mark.parametrize(
    "root",
    ["/", "/.", "/Volumes", "/Volumes/", "/Volumes/.", "/./Volumes", "dbfs:/", "dbfs:/./", "//", "dbfs:"],
)
def test_the_roots_stay_where_they_are(local, root):
    api = Api(local.host)
    answers = [DBFS["dbfs delete"](api, root), DBFS["dbfs move from"](api, root)]

    assert [status for status, _ in answers] == [400, 400]
    assert local.state.dbfs.is_dir()
    assert local.state.volumes.is_dir()


@pytest.mark.parametrize(
    "path", ["", "/", ".", "./", "/.", "//", "%2e", "./.", "x/..", "%2e%2e", "../volumes"]
)
def test_the_root_of_the_volumes_is_not_deleted_as_a_folder(own_workspace, path):
    status, answer = VOLUMES["directories DELETE"](Api(own_workspace.host), f"/Volumes/{path}")

    assert status in (400, 404), answer
    assert own_workspace.state.volumes.is_dir()


@pytest.mark.parametrize("root", ["", "/Volumes"])
def test_a_folder_is_not_moved_into_itself_by_whatever_way(local, root):
    folder = local.state.local_path(f"dbfs:{root}/tree")
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder.parent / "way").symlink_to("tree")
    (folder.parent / "up").symlink_to(folder.parent)
    api = Api(local.host)

    for source in ("tree", "tree/", "up/tree", "./tree"):
        for target in (
            "tree/x",
            "tree/./x",
            "tree/deep/../x",
            "way/x",
            "up/tree/x",
            "up/up/way/deep/x",
            "way/",
        ):
            body = {"source_path": f"{root}/{source}", "destination_path": f"{root}/{target}"}
            status, answer = api.post("/api/2.0/dbfs/move", **body)
            assert status == 400, (body, answer)
            assert json.loads(answer)["error_code"] != "IO_ERROR", (body, answer)

    assert [child.name for child in folder.iterdir()] == ["deep"]
    for name in ("way", "up"):
        (folder.parent / name).unlink()


def test_a_mount_is_neither_deleted_nor_moved(local):
    place = local.state.dbfs / "mnt" / "wards"
    mounts, api = Mounts(local.state), Api(local.host)
    mounts.mount("abfss://wards@account.dfs.core.windows.net", place)
    (place / "rows.csv").write_bytes(b"1")

    for path in ("/mnt", "/mnt/wards", "dbfs:/mnt/./wards/"):
        for answer in (DBFS["dbfs delete"](api, path), DBFS["dbfs move from"](api, path)):
            assert answer[0] == 400
            assert b"the mount /mnt/wards; unmount it first" in answer[1]

    assert (place / "rows.csv").read_bytes() == b"1"
    assert DBFS["dbfs delete"](api, "/mnt/wards/rows.csv") == (200, b"{}")
    mounts.unmount(place)
    assert DBFS["dbfs delete"](api, "/mnt") == (200, b"{}")


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("end", ["full", "empty"])
def test_a_link_to_a_folder_is_deleted_and_never_the_folder(local, end, recursive):
    roots = (local.state.dbfs, local.state.volumes, local.state.workspace_files)
    for root in roots:
        (root / "full" / "below").mkdir(parents=True, exist_ok=True)
        (root / "empty").mkdir(exist_ok=True)
        (root / "a-link").symlink_to(end)
    api = Api(local.host)

    assert api.post("/api/2.0/dbfs/delete", path="/a-link", recursive=recursive) == (200, b"{}")
    assert VOLUMES["directories DELETE"](api, "/Volumes/a-link") == (204, b"")
    assert api.post("/api/2.0/workspace/delete", path="/a-link", recursive=recursive) == (200, b"{}")
    for root in roots:
        assert not (root / "a-link").is_symlink()
        assert (root / end).is_dir()
        assert (root / "full" / "below").is_dir()


def test_a_link_to_nowhere_is_not_overwritten_by_a_move(local):
    (local.state.dbfs / "a-file").write_bytes(b"x")
    (local.state.dbfs / "dangling").symlink_to("none")

    assert DBFS["dbfs move to"](Api(local.host), "/dangling")[0] == 400
    assert (local.state.dbfs / "dangling").is_symlink()
    assert (local.state.dbfs / "a-file").read_bytes() == b"x"


def census(root: Path) -> list[str]:
    """Every name in the state folder that is in none of the roots."""
    inside = {"dbfs", "volumes", "workspace_files", "tmp", "arriving"}
    folders = [path for path in root.iterdir() if path.name not in inside]
    return sorted(str(path) for folder in folders for path in (folder, *folder.rglob("*")))
