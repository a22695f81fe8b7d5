"""`dbutils.fs` of a notebook that runs on the local workspace: files by their Databricks paths."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from local_workspace.notebook.utility import Utility
from local_workspace.state import StateFolder
from local_workspace.whole_files import write_whole

OBJECT_STORES = ("abfss://", "abfs://", "wasbs://", "wasb://", "adl://", "s3a://", "s3://", "gs://")
_ROOTS = ("/Volumes", "/Workspace", "/dbfs")


class FileInfo(NamedTuple):
    """One file or folder; the name and path of a folder end in a slash."""

    path: str
    name: str
    size: int
    modificationTime: int

    def isDir(self) -> bool:
        """Whether it is a folder."""
        return self.name.endswith("/")

    def isFile(self) -> bool:
        """Whether it is a file."""
        return not self.isDir()


class MountInfo(NamedTuple):
    """A mount point and the storage that is mounted there."""

    mountPoint: str
    source: str
    encryptionType: str


class FileSystem(Utility):
    """Works on `dbfs:/`, `/Volumes/`, `/Workspace/` and, with `file:/`, on the machine's own files."""

    name = "dbutils.fs"

    def ls(self, dir: str) -> list[FileInfo]:
        """Lists a folder, or one file."""
        path = _existing(dir)
        children = sorted(path.iterdir()) if path.is_dir() else [path]
        folder = _shown(dir) if path.is_dir() else _shown(dir).rpartition("/")[0]
        return [_info(folder.rstrip("/"), child) for child in children]

    def head(self, file: str, maxBytes: int = 65536) -> str:
        """The first bytes of a file as text; says so where that is not all."""
        path = _existing(file)
        with path.open("rb") as content:
            text = content.read(maxBytes).decode("utf-8", errors="ignore")
        if path.stat().st_size > maxBytes:
            print(f"[Truncated to first {maxBytes} bytes]")
        return text

    def put(self, file: str, contents: str, overwrite: bool = False) -> bool:
        """Writes text to a file."""
        _check_flag("overwrite", overwrite)
        path, content = local_path(file), contents.encode()
        if path.exists() and not overwrite:
            raise FileExistsError(f"{file} already exists; pass overwrite=True to replace it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"Wrote {len(content)} bytes.")
        return True

    def mkdirs(self, dir: str) -> bool:
        """Makes a folder and its parents."""
        local_path(dir).mkdir(parents=True, exist_ok=True)
        return True

    def cp(self, from_: str, to: str, recurse: bool = False) -> bool:
        """Copies a file, or with `recurse` a folder; what is at the target is overwritten."""
        _check_flag("recurse", recurse)
        source, target = _existing(from_), _target(from_, to)
        if source.is_dir() and not recurse:
            raise IsADirectoryError(f"{from_} is a folder; pass recurse=True to copy it with what is in it")
        _check_apart(from_, source, to, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            _copy_file(source, target)
        return True

    def mv(self, from_: str, to: str, recurse: bool = False) -> bool:
        """Moves a file, or with `recurse` a folder: a copy, and where that is whole a removal."""
        _check_root(from_)
        self.cp(from_, to, recurse)
        return self.rm(from_, recurse)

    def rm(self, dir: str, recurse: bool = False) -> bool:
        """Removes a file, or with `recurse` a folder; False when there is nothing at the path."""
        _check_flag("recurse", recurse)
        _check_root(dir)
        path = local_path(dir)
        if not path.exists():
            return False
        if path.is_dir() and recurse:
            shutil.rmtree(path)
        elif path.is_dir():
            if any(path.iterdir()):
                raise OSError(f"{dir} is a folder with something in it; pass recurse=True to remove it")
            path.rmdir()
        else:
            path.unlink()
        return True

    def mount(
        self,
        source: str,
        mount_point: str,
        encryption_type: str = "",
        owner: str | None = None,
        extra_configs: Mapping[str, str] | None = None,
    ) -> bool:
        """Mounts storage. No cloud is asked: a folder of this machine takes the place of the container.

        What is written to it is kept by the name of the source, and is there again at the next mount.
        """
        mounts = _read_mounts()
        point = _mount_point(mount_point)
        if not source.startswith(OBJECT_STORES):
            raise ValueError(f"source {source!r} cannot be mounted; it starts with one of {OBJECT_STORES}")
        if point in mounts or source in mounts.values():
            at = point if point in mounts else next(key for key in mounts if mounts[key] == source)
            raise FileExistsError(f"Directory already mounted: {at} is {mounts[at]}")
        container = _container(source)
        container.mkdir(parents=True, exist_ok=True)
        target = local_path(point)
        target.parent.mkdir(parents=True, exist_ok=True)
        container.replace(target)
        _write_mounts(mounts | {point: source})
        return True

    def unmount(self, mount_point: str) -> bool:
        """Takes a mount away; what is in the storage stays there."""
        mounts = _read_mounts()
        point = _mount_point(mount_point)
        if point not in mounts:
            raise FileNotFoundError(f"Directory not mounted: {point}; there are {sorted(mounts)}")
        container = _container(mounts.pop(point))
        local_path(point).replace(container)
        _write_mounts(mounts)
        print(f"{point} has been unmounted.")
        return True

    def updateMount(
        self,
        source: str,
        mount_point: str,
        encryption_type: str = "",
        owner: str | None = None,
        extra_configs: Mapping[str, str] | None = None,
    ) -> bool:
        """Mounts storage, also where something is mounted already."""
        if _mount_point(mount_point) in _read_mounts():
            self.unmount(mount_point)
        return self.mount(source, mount_point)

    def mounts(self) -> list[MountInfo]:
        """Lists what is mounted."""
        return [MountInfo(point, source, "") for point, source in _read_mounts().items()]

    def refreshMounts(self) -> bool:
        """Nothing to do: every run sees every mount at once."""
        return True


def own_state() -> StateFolder:
    """The folder of the workspace that this run belongs to."""
    return StateFolder(Path(os.environ["LOCAL_WORKSPACE_STATE"]))


def local_path(path: str) -> Path:
    """Where a path as `dbutils.fs` takes it lies on this machine; one without a scheme is of `dbfs:/`."""
    scheme, separator, plain = path.partition(":/")
    if not separator:
        scheme, plain = "dbfs", path.removeprefix("/")
    plain = "/" + plain.lstrip("/")
    state = own_state()
    if scheme not in ("dbfs", "file"):
        raise ValueError(f"path {path!r} has the scheme {scheme!r}; there are dbfs:/, file:/ and no scheme")
    if plain.startswith(tuple(f"{root}/" for root in _ROOTS)) or plain in _ROOTS:
        return state.local_path(plain)
    return Path(plain) if scheme == "file" else state.local_path(f"dbfs:{plain}")


def _check_flag(name: str, value: bool) -> None:
    """Raises TypeError for a text: "false" would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False; got {value!r}")


def _check_root(path: str) -> None:
    """Raises OSError for a path that is a whole file system and not something in it."""
    state, place = own_state(), local_path(path).resolve()
    if place in [root.resolve() for root in (state.dbfs, state.volumes, state.workspace_files, Path("/"))]:
        raise OSError(f"{path!r} is the root of a file system, which stays; name something in it")


def _check_apart(from_: str, source: Path, to: str, target: Path) -> None:
    """Raises OSError where a copy would go into what it is made of, or over it."""
    from_place, to_place = source.resolve(), target.resolve()
    if from_place == to_place:
        raise OSError(f"Cannot copy {from_} onto itself: {to} is the same place")
    if source.is_dir() and to_place.is_relative_to(from_place):
        raise OSError(f"Cannot copy {from_} to its subdirectory {to}")
    if source.is_dir() and from_place.is_relative_to(to_place):
        way = from_place.relative_to(to_place).parts[0]
        if (from_place / way).exists():
            raise OSError(f"Cannot copy {from_} to {to}, in which it lies: its {way} would be put over it")
    if source.is_dir() and target.exists() and not target.is_dir():
        raise NotADirectoryError(f"Cannot copy folder {from_} onto {to}, which is a file")


def _copy_file(source: Path, target: Path) -> None:
    """Copies in one step: where it breaks off, what was at the target is still there."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".copy-", delete=False) as partial:
        copy = Path(partial.name)
    try:
        shutil.copyfile(source, copy)
        copy.replace(target)
    finally:
        copy.unlink(missing_ok=True)


def _existing(path: str) -> Path:
    local = local_path(path)
    if not local.exists():
        raise FileNotFoundError(f"No such file or directory: {path}")
    return local


def _target(source: str, to: str) -> Path:
    """Where a copy goes: a file that is copied to a folder keeps its name."""
    target = local_path(to)
    return target / local_path(source).name if target.is_dir() and local_path(source).is_file() else target


def _shown(path: str) -> str:
    """A path with its scheme, as it is shown in a listing."""
    return path if ":/" in path else f"dbfs:/{path.strip('/')}"


def _info(folder: str, child: Path) -> FileInfo:
    stat = child.stat()
    name = f"{child.name}/" if child.is_dir() else child.name
    size = 0 if child.is_dir() else stat.st_size
    return FileInfo(f"{folder}/{name}", name, size, int(stat.st_mtime * 1000))


def _mount_point(path: str) -> str:
    point = "/" + path.removeprefix("dbfs:").strip("/")
    if point == "/":
        raise ValueError("the root of dbfs:/ cannot be a mount point")
    return point


def _container(source: str) -> Path:
    """Where the data of a storage lies while it is not mounted."""
    return own_state().mounts / quote(source.rstrip("/"), safe="")


def _read_mounts() -> dict[str, str]:
    try:
        mounts: dict[str, str] = json.loads((own_state().mounts / "mounts.json").read_text())
    except FileNotFoundError:
        return {}
    return mounts


def _write_mounts(mounts: dict[str, str]) -> None:
    write_whole(own_state().mounts / "mounts.json", json.dumps(mounts))
