"""Tells what a pipeline is made of: which types may be loaded without pickle, and the packages it needs."""

import io
import pickle
from collections.abc import Collection, Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from diabetes import tabular
from packaging.requirements import Requirement
from sklearn.pipeline import Pipeline

# The wheel of the science, whose functions a pipeline may hold; no index has it.
SCIENCE = tabular.__name__.partition(".")[0]
# What is loaded without being named: nothing in these runs what it was not made for.
TRUSTED_PACKAGES = ("numpy", "scipy", "sklearn")
TRUSTED_TYPES = ("collections.OrderedDict",)
# What each model is loaded with.
ALWAYS = ("numpy", "pandas", "scikit-learn")


class UntrustedTypeError(ValueError):
    """A pipeline has something that the science does not name as trusted, or that nothing can save."""


class _Reader(pickle.Unpickler):
    """Unpickles, and notes from which modules things come."""

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled))
        self.modules: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.modules.add(module)
        return super().find_class(module, name)


def find_packages(pipeline: Pipeline) -> set[str]:
    """Name the packages that a pipeline's objects are of; raises UntrustedTypeError where it has no copy.

    Spark's workers get a copy too, so what cannot be copied cannot be scored with.
    """
    try:
        reader = _Reader(pickle.dumps(pipeline))
        reader.load()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UntrustedTypeError(
            f"the pipeline cannot be copied: {error}. A lambda, or a function within a function, has no name "
            "to load it by: make it a function of training.py"
        ) from error
    return {module.partition(".")[0] for module in reader.modules}


def find_trusted_types(pipeline: Pipeline, trusted: Collection[str]) -> list[str]:
    """Name the types in a pipeline that skops loads when it is told that they are trusted.

    `trusted` are packages and types. Raises UntrustedTypeError for a type that is neither among them nor of
    scikit-learn and below.
    """
    from skops.io import dumps, get_untrusted_types  # here, because it takes half a second

    asked: list[str] = get_untrusted_types(data=dumps(pipeline))
    if unknown := [name for name in asked if not _is_trusted(name, trusted)]:
        packages = sorted({name.partition(".")[0] for name in unknown})
        raise UntrustedTypeError(
            f"the pipeline has {', '.join(unknown)}, which TRUSTED of training.py does not name; to have it "
            f"saved and loaded with models, add {', '.join(map(repr, packages))} to TRUSTED"
        )
    return asked


def name_requirements(packages: Iterable[str]) -> list[str]:
    """Name what these packages are installed from, with versions, beside what each model needs.

    What the science's wheel requires stands for the wheel.
    """
    found = {_normalize(name) for name in ALWAYS}
    by_package = packages_distributions()
    for package in packages:
        if package == SCIENCE:
            found |= {_normalize(Requirement(text).name) for text in requires(SCIENCE) or []}
        else:
            found |= {_normalize(name) for name in by_package.get(package, [])}
    return [f"{name}=={number}" for name in sorted(found) if (number := _installed(name))]


def find_code(packages: Collection[str]) -> list[str]:
    """Give the folder of the science, where a pipeline has something of it: a model takes it along."""
    return [str(Path(tabular.__path__[0]).parent)] if SCIENCE in packages else []


def _is_trusted(name: str, trusted: Collection[str]) -> bool:
    package = name.partition(".")[0]
    return name in TRUSTED_TYPES or package in TRUSTED_PACKAGES or name in trusted or package in trusted


def _normalize(name: str) -> str:
    return name.lower().replace("_", "-")


def _installed(name: str) -> str:
    try:
        return installed(name)
    except PackageNotFoundError:  # an extra that is not installed
        return ""
