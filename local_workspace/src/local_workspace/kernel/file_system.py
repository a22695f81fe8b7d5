"""`dbutils.fs` of a notebook that runs on the local workspace: files by their Databricks paths."""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from local_workspace.kernel.utility import Utility
from local_workspace.store.arranging import check_apart, check_removable
from local_workspace.store.mounts import Mounts
from local_workspace.store.state import StateFolder, children, described, is_in, leads_out, make_folder

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
        if not path.is_dir():
            return [_info(_shown(dir).rpartition("/")[0], path)]
        inside = children(_root(path), path)
        return described(inside, lambda child: _info(_shown(dir).rstrip("/"), child))

    def head(self, file: str, maxBytes: int = 65536) -> str:
        """The first bytes of a file as text; says so where that is not all."""
        if not isinstance(maxBytes, Integral) or maxBytes < 0:
            raise ValueError(f"maxBytes is a whole number from 0 on; got {maxBytes!r}")
        path = _existing(file)
        if path.is_dir():
            raise IsADirectoryError(f"{file} is a folder; only files can be read")
        with path.open("rb") as content:
            text = content.read(maxBytes).decode("utf-8", errors="ignore")
        if path.stat().st_size > maxBytes:
            print(f"[Truncated to first {maxBytes} bytes]")
        return text

    def put(self, file: str, contents: str, overwrite: bool = False) -> bool:
        """Writes text to a file."""
        _check_flag("overwrite", overwrite)
        path, content = local_path(file), contents.encode()
        if path.is_dir():
            raise IsADirectoryError(f"{file} is a folder; name a file in it")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{file} already exists; pass overwrite=True to replace it")
        make_folder(path.parent)
        path.write_bytes(content)
        print(f"Wrote {len(content)} bytes.")
        return True

    def mkdirs(self, dir: str) -> bool:
        """Makes a folder and its parents."""
        make_folder(local_path(dir))
        return True

    def cp(self, from_: str, to: str, recurse: bool = False) -> bool:
        """Copies a file, or with `recurse` a folder; what is at the target is overwritten."""
        _copy(*_checked_copy(from_, to, recurse))
        return True

    def mv(self, from_: str, to: str, recurse: bool = False) -> bool:
        """Moves a file, or with `recurse` a folder: a copy, and where that is whole a removal."""
        check_removable(own_state(), local_path(from_, follow=False), from_)
        source, target = _checked_copy(from_, to, recurse)
        if source.is_symlink() and not target.is_dir() and not leads_out(_root(target), source):
            _copy_link(source, target)
        else:
            _copy(source, target)
        return self.rm(from_, recurse)

    def rm(self, dir: str, recurse: bool = False) -> bool:
        """Removes a file, a link, or with `recurse` a folder; False when there is nothing at the path."""
        _check_flag("recurse", recurse)
        path = local_path(dir, follow=False)
        check_removable(own_state(), path, dir)
        if path.is_symlink():
            path.unlink()
        elif not path.exists():
            return False
        elif path.is_dir() and recurse:
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
        Mounts(own_state()).mount(source, _mount_place(mount_point))
        return True

    def unmount(self, mount_point: str) -> bool:
        """Takes a mount away; what is in the storage stays there."""
        point = Mounts(own_state()).unmount(_mount_place(mount_point))
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
        Mounts(own_state()).update(source, _mount_place(mount_point))
        return True

    def mounts(self) -> list[MountInfo]:
        """Lists what is mounted."""
        return [MountInfo(point, source, "") for point, source in Mounts(own_state()).sources().items()]

    def refreshMounts(self) -> bool:
        """Nothing to do: every run sees every mount at once."""
        return True


def own_state() -> StateFolder:
    """The folder of the workspace that this run belongs to."""
    return StateFolder(Path(os.environ["LOCAL_WORKSPACE_STATE"]))


def local_path(path: str, follow: bool = True) -> Path:
    """Where a path as `dbutils.fs` takes it lies on this machine; one without a scheme is of `dbfs:/`.

    Without `follow` it is the last name itself that is asked for, also where that is a link out.
    """
    scheme, plain = _split(path)
    if plain in _ROOTS or plain.startswith(tuple(f"{root}/" for root in _ROOTS)):
        return own_state().local_path(plain, follow)
    return Path(plain) if scheme == "file" else own_state().local_path(f"dbfs:{plain}", follow)


def _split(path: str) -> tuple[str, str]:
    """The scheme of a path, and the absolute path behind it."""
    if not path:
        raise FileNotFoundError("the path is empty; the root of a file system is dbfs:/ or file:/")
    scheme, plain = _scheme(path)
    if scheme not in ("", "dbfs", "file"):
        raise ValueError(f"path {path!r} has the scheme {scheme!r}; there are dbfs:/, file:/ and no scheme")
    if scheme and not plain.startswith("/"):
        raise ValueError(f"path {path!r} is not absolute; a slash follows the scheme: {scheme}:/{plain}")
    absolute = "/" + plain.lstrip("/")
    # Hadoop takes a/.. away before it looks at links; the workspace's own file systems refuse it.
    return scheme or "dbfs", os.path.normpath(absolute) if scheme == "file" else str(PurePosixPath(absolute))


def _scheme(path: str) -> tuple[str, str]:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", path)
    return (found[1], path[found.end() :]) if found else ("", path)


def _check_flag(name: str, value: bool) -> None:
    """Raises TypeError for a text: "false" would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False; got {value!r}")


def _checked_copy(from_: str, to: str, recurse: bool) -> tuple[Path, Path]:
    """What is copied where; raises OSError for all that would break the copy off half-way."""
    _check_flag("recurse", recurse)
    source, target = _existing(from_), _target(from_, to)
    if source.is_dir() and not recurse:
        raise IsADirectoryError(f"{from_} is a folder; pass recurse=True to copy it with what is in it")
    check_apart(source, target, from_, to)
    _check_over(source, target, from_, to)
    if source.is_dir():
        _check_tree(source, target, from_, to, ())
    return source, target


def _check_over(source: Path, target: Path, from_: str, to: str) -> None:
    """Raises OSError where what is at the target cannot give way."""
    if target.is_symlink() and not target.exists():
        raise FileExistsError(f"Cannot copy {from_} to {to}, which is a link to nowhere; remove it first")
    if target.exists() and source.is_dir() and not target.is_dir():
        raise NotADirectoryError(f"Cannot copy folder {from_} onto {to}, which is a file")
    if target.is_dir() and not source.is_dir():
        raise IsADirectoryError(f"Cannot copy file {from_} onto {to}, which is a folder")


def _check_tree(source: Path, target: Path, from_: str, to: str, above: tuple[Path, ...]) -> None:
    """Raises OSError where something in a folder cannot be copied, or would be put over what is copied."""
    above = (*above, source)
    for child in sorted(source.iterdir()):
        there, name = target / child.name, child.relative_to(above[0])
        if not child.is_file() and not child.is_dir():
            raise OSError(f"Cannot copy {from_}: its {name} is a link to nowhere, or it is not a file")
        if child.is_dir() and any(child.samefile(folder) for folder in above):
            raise OSError(f"Cannot copy {from_}: its {name} is a link that leads back to where it lies")
        if there.exists() and (is_in(there, above[0]) or there.samefile(child)):
            raise OSError(f"Cannot copy {from_} to {to}: its {name} would be put over it")
        _check_over(child, there, f"{from_}/{name}", f"{to}/{name}")
        if child.is_dir():
            check_apart(child, target, f"{from_}/{name}", to)
            _check_tree(child, there, from_, to, above)


def _copy(source: Path, target: Path) -> None:
    make_folder(target.parent)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        _copy_file(source, target)


def _copy_link(source: Path, target: Path) -> None:
    """Puts a link of the same end at the target, in one step."""
    make_folder(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".copy-") as folder:
        link = Path(folder, target.name)
        link.symlink_to(source.parent / source.readlink())
        link.replace(target)


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
        # In the words of Databricks, which notebooks look for.
        raise FileNotFoundError(f"java.io.FileNotFoundException: No such file or directory: {path}")
    return local


def _target(source: str, to: str) -> Path:
    """Where a copy goes: a file that is copied to a folder keeps its name."""
    target = local_path(to)
    return target / local_path(source).name if target.is_dir() and local_path(source).is_file() else target


def _root(path: Path) -> Path:
    """The root of the file system in which a path lies on this machine."""
    state = own_state()
    roots = (state.dbfs, state.volumes, state.workspace_files)
    return next((root for root in roots if path.is_relative_to(root)), Path("/"))


def _shown(path: str) -> str:
    """A path with its scheme, as it is shown in a listing."""
    return ":".join(_split(path))


def _info(folder: str, child: Path) -> FileInfo:
    stat = child.stat()
    name = f"{child.name}/" if child.is_dir() else child.name
    size = 0 if child.is_dir() else stat.st_size
    return FileInfo(f"{folder}/{name}", name, size, int(stat.st_mtime * 1000))


def _mount_place(point: str) -> Path:
    if _split(point)[0] != "dbfs":
        raise ValueError(f"mount point {point!r} is not in dbfs:/; name a folder there, such as /mnt/data")
    return local_path(point)
