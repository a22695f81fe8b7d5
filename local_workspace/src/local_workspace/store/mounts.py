"""The storages that are mounted on `dbfs:/`: folders of this machine in the place of a cloud's containers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from local_workspace.store.locks import locked
from local_workspace.store.state import LONGEST_NAME, StateFolder, is_in, make_folder
from local_workspace.store.whole_files import write_whole

OBJECT_STORES = ("abfss://", "abfs://", "wasbs://", "wasb://", "adl://", "s3a://", "s3://", "gs://")


class Mounts:
    """The mounts of a workspace, by mount point: `/mnt/wards` and the source that is mounted there.

    The data of a source lies at its mount point, and beside the others while it is not mounted.
    """

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._file = state.mounts / "mounts.json"

    def sources(self) -> dict[str, str]:
        """What is mounted, by mount point."""
        try:
            sources: dict[str, str] = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        return sources

    def inside(self, place: Path) -> list[str]:
        """The mount points that are `place`, or lie in it."""
        return [point for point in self.sources() if is_in(self._place(point), place)]

    def point(self, place: Path) -> str:
        """The mount point of a place on this machine, in its one spelling."""
        if not is_in(place, self._state.dbfs) or is_in(self._state.dbfs, place):
            raise ValueError("a mount point is a folder in dbfs:/, such as /mnt/data")
        return f"/{place.resolve().relative_to(self._state.dbfs.resolve()).as_posix()}"

    def mount(self, source: str, place: Path) -> None:
        """Mount a source where nothing is."""
        with self._alone():
            self._add(source, place)

    def unmount(self, place: Path) -> str:
        """Take a mount away and keep its data; gives the mount point."""
        with self._alone():
            sources, point = self.sources(), self.point(place)
            if point not in sources:
                raise FileNotFoundError(f"Directory not mounted: {point}; there are {sorted(sources)}")
            self._detach(point, sources.pop(point))
            self._keep(sources)
        return point

    def update(self, source: str, place: Path) -> None:
        """Mount a source, also in place of one that is mounted there."""
        with self._alone():
            if self.point(place) in self.sources():
                self._change(source, place)
            else:
                self._add(source, place)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other run changes the mounts in here."""
        self._state.mounts.mkdir(exist_ok=True, mode=0o700)
        with locked(self._state.mounts / "mounts.lock"):
            yield

    def _add(self, source: str, place: Path) -> None:
        sources, point, container = self.sources(), self.point(place), self._container(source)
        self._check_free(source, place, sources)
        if place.is_file() or (place.is_dir() and any(place.iterdir())):
            raise FileExistsError(f"{point} is not an empty folder; mount {source} at another name")
        container.mkdir(exist_ok=True)
        self._attach(point, container)
        self._keep(sources | {point: source})

    def _change(self, source: str, place: Path) -> None:
        sources, point, container = self.sources(), self.point(place), self._container(source)
        mounted = sources.pop(point)
        self._check_free(source, place, sources)
        if _container_name(mounted) != container.name:
            container.mkdir(exist_ok=True)
            self._detach(point, mounted)
            self._attach(point, container)
        self._keep(sources | {point: source})

    def _container(self, source: str) -> Path:
        """Where the data of a source lies while it is not mounted."""
        store = next((store for store in OBJECT_STORES if source.startswith(store)), None)
        if store is None or not source.removeprefix(store).strip("/"):
            raise ValueError(f"source {source!r} is not a name behind one of {OBJECT_STORES}")
        name = _container_name(source)
        if len(name) > LONGEST_NAME:
            raise ValueError(f"source {source[:300]!r} cannot be mounted; it is too long to be kept here")
        return self._state.mounts / name

    def _check_free(self, source: str, place: Path, others: dict[str, str]) -> None:
        """Raises FileExistsError where a source is mounted already, or a mount would lie in another."""
        for point, mounted in others.items():
            nested = is_in(place, self._place(point)) or is_in(self._place(point), place)
            if nested or _container_name(mounted) == _container_name(source):
                raise FileExistsError(f"Directory already mounted: {point} is {mounted}; unmount it first")

    def _attach(self, point: str, container: Path) -> None:
        make_folder(self._place(point).parent)
        container.replace(self._place(point))

    def _detach(self, point: str, source: str) -> None:
        if self._place(point).exists():  # a shell command may have taken it away
            self._place(point).replace(self._state.mounts / _container_name(source))

    def _place(self, point: str) -> Path:
        return self._state.dbfs / point.strip("/")

    def _keep(self, sources: dict[str, str]) -> None:
        write_whole(self._file, json.dumps(sources))


def _container_name(source: str) -> str:
    return quote(source.rstrip("/"), safe="")
