"""The one folder that holds everything a local workspace keeps, and the ways into it."""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

from local_workspace.errors import AlreadyExists, InvalidParameter

Described = TypeVar("Described")
LONGEST_NAME = 255
LONGEST_PATH = 3000  # bytes; Linux takes 4096 with the folder in front, macOS 1024 and says so itself
# Two requests that want the same name take their turn, so that only one of them finds it free.
_MOVING = threading.Lock()


@dataclass(frozen=True)
class StateFolder:
    """Paths under `root`, the only folder that a local workspace writes to."""

    root: Path

    @property
    def database(self) -> Path:
        """Jobs, runs, clusters, secrets and the names of workspace objects."""
        return self.root / "workspace.db"

    @property
    def workspace_files(self) -> Path:
        """What notebooks see as `/Workspace`."""
        return self.root / "workspace_files"

    @property
    def dbfs(self) -> Path:
        """What notebooks see as `dbfs:/` and `/dbfs`."""
        return self.root / "dbfs"

    @property
    def volumes(self) -> Path:
        """What notebooks see as `/Volumes`."""
        return self.root / "volumes"

    @property
    def mounts(self) -> Path:
        """The storages that `dbutils.fs.mount` knows, while they are not mounted."""
        return self.root / "mounts"

    @property
    def runs(self) -> Path:
        """The folders of the task runs, and that of the process they are forked from."""
        return self.root / "runs"

    def run_folder(self, task_run_id: int) -> Path:
        """Where a task run keeps its source, its output and its executed notebook."""
        return self.runs / str(task_run_id)

    @property
    def sessions(self) -> Path:
        """The folders of processes that people start themselves, such as the kernel of a notebook."""
        return self.root / "sessions"

    @property
    def logs(self) -> Path:
        """Logs of the server and of Spark."""
        return self.root / "logs"

    @property
    def tmp(self) -> Path:
        """The temporary folder of the server and of its runs."""
        return self.root / "tmp"

    @property
    def arriving(self) -> Path:
        """Files on their way to their place, and removed ones on their way out."""
        return self.root / "arriving"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's sqlite file."""
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """MLflow's artifacts."""
        return self.root / "mlflow_artifacts"

    @property
    def registered_models(self) -> Path:
        """The files of models that were registered in Unity Catalog, by catalog, schema, name, version."""
        return self.root / "registered_models"

    @property
    def spark(self) -> Path:
        """Spark's tables, metastore and scratch space."""
        return self.root / "spark"

    @property
    def config_file(self) -> Path:
        """The sign-in that the command lines and SDKs read."""
        return self.root / "databrickscfg"

    @property
    def secrets_key(self) -> Path:
        """The key that secrets are encrypted with."""
        return self.root / "secrets.key"

    @property
    def pid_file(self) -> Path:
        """The process that serves this folder."""
        return self.root / "workspace.pid"

    @property
    def lock_file(self) -> Path:
        """Held by a command while it starts or stops that process."""
        return self.root / "workspace.lock"

    def create(self) -> None:
        """Make every folder that is missing, for the owner's eyes only."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root.chmod(0o700)
        folders = (
            self.workspace_files,
            self.dbfs,
            self.volumes,
            self.runs,
            self.logs,
            self.tmp,
            self.arriving,
        )
        for folder in (*folders, self.mlflow_artifacts, self.registered_models, self.spark):
            folder.mkdir(exist_ok=True, mode=0o700)

    def local_path(self, path: str, follow: bool = True) -> Path:
        """Where a `dbfs:/`, `/dbfs/`, `/Volumes/` or `/Workspace/` path lies on this machine.

        Without `follow` it is the last name itself that is asked for, also where that is a link out.
        """
        plain = "/dbfs/" + path.removeprefix("dbfs:").lstrip("/") if path.startswith("dbfs:") else path
        plain = str(PurePosixPath(plain))  # without . and with one slash between two names
        if _is_in(plain, "/dbfs/Volumes"):
            plain = plain.removeprefix("/dbfs")
        roots = {"/Volumes": self.volumes, "/dbfs": self.dbfs, "/Workspace": self.workspace_files}
        for prefix, root in roots.items():
            if _is_in(plain, prefix):
                return resolve(root, plain.removeprefix(prefix), follow)
        raise InvalidParameter(f"path {path[:300]!r} is not in dbfs:/, /dbfs/, /Volumes/ or /Workspace/")

    def root_of(self, path: Path) -> Path:
        """The folder of `dbfs:/`, `/Volumes` or `/Workspace` in which `path` lies on this machine."""
        roots = (self.dbfs, self.volumes, self.workspace_files)
        return next(root for root in roots if path.is_relative_to(root))

    def write(self, target: Path, content: BinaryIO, overwrite: bool = True) -> None:
        """Put `content` at `target` in one step, so that nobody reads half a file. Makes its folders."""
        make_folder(target.parent)
        with self.new_file() as temporary:
            with temporary.open("wb") as file:
                shutil.copyfileobj(content, file)
            move_into_place(temporary, target, overwrite)

    @contextmanager
    def new_file(self) -> Iterator[Path]:
        """A file to be filled and moved into place; if it is still there at the end it is removed."""
        file = self.make_file()
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)

    def make_file(self) -> Path:
        """An empty file of a new name, to be filled and moved into place, or removed, by the caller."""
        self.arriving.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self.arriving)
        os.close(handle)
        return Path(name)

    def remove(self, target: Path) -> None:
        """Make a file or folder vanish in one step, and then give back its space."""
        self.arriving.mkdir(parents=True, exist_ok=True, mode=0o700)
        leaving = Path(tempfile.mkdtemp(dir=self.arriving))
        try:
            target.rename(leaving / "removed")
        finally:
            shutil.rmtree(leaving)


def _is_in(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def resolve(root: Path, path: str, follow: bool = True) -> Path:
    """Join `path` to `root`, refusing every path that would leave it: `..`, links, unusable names."""
    parts = [part for part in PurePosixPath(path).parts if part != "/"]
    if not path.isprintable() or ".." in parts:
        raise InvalidParameter(f"path {path[:300]!r} is not allowed: it has '..' or control characters")
    if len(os.fsencode(path)) > LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST_NAME for part in parts):
        raise InvalidParameter(
            f"path {path[:300]!r}… is not allowed: a name has at most {LONGEST_NAME} bytes, "
            f"a path at most {LONGEST_PATH}"
        )
    joined = root.joinpath(*parts)
    if leads_out(root, joined if follow or not parts else joined.parent):
        raise InvalidParameter(f"path {path!r} is not allowed: it leads out of its root through a link")
    return joined


def children(root: Path, folder: Path) -> list[Path]:
    """What `folder` holds, by name, without links that lead out of `root` or nowhere."""
    return [child for child in sorted(folder.iterdir()) if child.exists() and not leads_out(root, child)]


def leads_out(root: Path, path: Path) -> bool:
    """Whether a link on the way to `path` leads out of `root`, or in a circle."""
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a circle of links
        return True


def is_in(inner: Path, outer: Path) -> bool:
    """Whether `inner` is `outer` or lies in it, however both are spelled: by links, or in another case."""
    place = Path(os.path.realpath(inner))  # unlike resolve() it takes a circle of links
    return any(_is_same(each, outer) for each in (place, *place.parents))


def _is_same(path: Path, other: Path) -> bool:
    with suppress(OSError):  # one of them is not there
        return path.samefile(other)
    return False


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; a file in the way is an AlreadyExists."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise AlreadyExists(f"a file is in the way of folder {folder.name!r}") from error


def move_into_place(temporary: Path, target: Path, overwrite: bool = True) -> None:
    """Give a finished file its name, for good; AlreadyExists for a folder of it, or a file to be kept."""
    _settle(temporary)
    with _MOVING:
        if target.is_dir():
            raise AlreadyExists(f"a folder of the name {target.name!r} exists")
        if target.exists() and not overwrite:
            raise AlreadyExists(f"a file of the name {target.name!r} exists")
        temporary.replace(target)
    _settle(target.parent)


def rename(source: Path, target: Path) -> None:
    """Move a file or folder to a name that is free; AlreadyExists when it is not."""
    with _MOVING:
        if target.exists() or target.is_symlink():
            raise AlreadyExists(f"a file or folder of the name {target.name!r} exists")
        source.rename(target)


def described(children: Iterable[Path], describe: Callable[[Path], Described]) -> list[Described]:
    """What `describe` says of each; one that vanishes while a folder is listed is left out."""
    found = []
    for child in children:
        with suppress(FileNotFoundError):
            found.append(describe(child))
    return found


def _settle(path: Path) -> None:
    """Have a file or the names in a folder written to the disk itself: an answer promises that they stay."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
