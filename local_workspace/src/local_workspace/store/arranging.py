"""What may be removed, and what may be moved or copied where: one answer for notebooks and the REST API."""

from pathlib import Path

from local_workspace.errors import PathRefused
from local_workspace.store.mounts import Mounts
from local_workspace.store.state import StateFolder, is_in


def check_removable(state: StateFolder, place: Path, shown: str) -> None:
    """Raises PathRefused for a root, for what the workspace keeps, for a mount, and for what holds one."""
    if place.is_symlink():  # what goes is a name in the folder of the link, never what it leads to
        own = is_in(state.root, place.parent) and is_in(place.parent, state.root)
        mounts = []
    else:
        own = any(is_in(kept, place) for kept in (state.root, *state.root.iterdir()))
        mounts = Mounts(state).inside(place)
    if own:
        raise PathRefused(
            f"{shown!r} is the root of a file system, or holds what the local workspace keeps; "
            "name something in dbfs:/, /Volumes or /Workspace"
        )
    if mounts:
        raise PathRefused(f"{shown!r} is or holds the mount {', '.join(mounts)}; unmount it first")


def check_apart(source: Path, target: Path, shown_source: str, shown_target: str) -> None:
    """Raises PathRefused where something would go onto itself, or a folder into itself."""
    if is_in(source, target) and is_in(target, source):
        raise PathRefused(f"Cannot copy or move {shown_source} onto itself: {shown_target} is the same place")
    if is_in(target, source):
        raise PathRefused(f"Cannot copy or move {shown_source} to its subdirectory {shown_target}")
