"""Imports what unpacked wheels hold, and what notebooks import of them: a program of its own.

It runs apart from the checkout, and so knows nothing of this package. Standard input names, as JSON, what to
look at, and the file into which it writes what it found.
"""

import ast
import importlib
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CELL = "# COMMAND ----------"
# Databricks has these; this machine need not.
OF_DATABRICKS = ("databricks", "dbruntime", "dbutils", "pyspark.dbutils")
AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class BrokenError(Exception):
    """Something does not compile or import: in which file and line, and what Python says."""

    def __init__(self, file: str, line: int | None, said: str) -> None:
        self.found = {"file": file, "line": line or 1, "said": said.partition("\n")[0]}


class Wheels:
    """Unpacked wheels in a folder. What is `brought` to the jobs by other ways may be missing here."""

    def __init__(self, site: Path, brought: list[str]) -> None:
        self.site, self.brought = site, brought
        self.files = [file for file in sorted(site.rglob("*.py")) if file.stem != "__main__"]
        self.packages = {file.relative_to(site).parts[0].removesuffix(".py") for file in self.files}
        self.passed_over: list[str] = []

    def look(self, notebooks: list[str]) -> None:
        """Compiles and imports all; raises BrokenError."""
        for file in self.files:
            parse(file.read_bytes(), str(file))
        # The packages of a checkout that is installed as editable are not those of the wheels.
        others = [path for path in sys.path if not any(Path(path, name).exists() for name in self.packages)]
        sys.path[:] = [str(self.site), *others]
        for notebook in notebooks:
            for node in imports_of(notebook):
                self.import_in(notebook, node)
        for file in self.files:
            parts = file.relative_to(self.site).with_suffix("").parts
            self.load(".".join(parts[:-1] if parts[-1] == "__init__" else parts), str(file), 1)

    def import_in(self, notebook: str, node: ast.Import | ast.ImportFrom) -> None:
        """What a line of a notebook imports of the wheels; anything else is not known here."""
        names = [alias.name for alias in node.names]
        modules = names if isinstance(node, ast.Import) else [node.module or ""]
        for module in modules:
            if module.partition(".")[0] not in self.packages:
                continue
            loaded = self.load(module, notebook, node.lineno)
            for name in names if isinstance(node, ast.ImportFrom) else ():
                if loaded is None or name == "*" or hasattr(loaded, name):
                    continue
                if not hasattr(loaded, "__path__"):
                    said = f"ImportError: cannot import name '{name}' from '{module}'"
                    raise BrokenError(notebook, node.lineno, said)
                self.load(f"{module}.{name}", notebook, node.lineno)

    def load(self, name: str, file: str, line: int) -> Any:
        """The module, None where it needs what this machine need not have; `file` imports it."""
        try:
            return importlib.import_module(name)
        except BaseException as error:
            if isinstance(error, ModuleNotFoundError) and self.is_brought(error.name or ""):
                self.passed_over.append(f"{name} ({error.name})")
                return None
            if isinstance(error, SyntaxError):
                file, line = error.filename or file, error.lineno or line
            else:
                frames = traceback.extract_tb(error.__traceback__)
                own = [frame for frame in frames if frame.filename.startswith(f"{self.site}/")]
                file, line = (own[-1].filename, own[-1].lineno or 1) if own else (file, line)
            raise BrokenError(file, line, f"{type(error).__name__}: {error}") from error

    def is_brought(self, module: str) -> bool:
        """Whether a package of such a name is brought: azure.monitor by azure-monitor-exporter."""
        if any(f"{module}.".startswith(f"{each}.") for each in OF_DATABRICKS):
            return True
        name = module.replace(".", "-").replace("_", "-").lower()
        return bool(name) and any(f"{each}-".startswith(f"{name}-") for each in self.brought)


def parse(source: str | bytes, file: str, flags: int = 0) -> ast.Module:
    """The syntax tree of a source; raises BrokenError where it does not compile."""
    try:
        compile(source, file, "exec", flags, dont_inherit=True)
        return (
            ast.parse(source, file) if not flags else compile(source, file, "exec", ast.PyCF_ONLY_AST | flags)
        )
    except SyntaxError as error:
        raise BrokenError(file, error.lineno, f"{type(error).__name__}: {error.msg}") from error
    except ValueError as error:  # of a NUL, or of bytes that are no text
        raise BrokenError(file, 1, f"{type(error).__name__}: {error}") from error


def imports_of(notebook: str) -> Iterator[ast.Import | ast.ImportFrom]:
    """What a notebook imports. Each cell is a program of its own; magic commands are comments."""
    cell: list[str] = []
    first = 0
    for number, line in enumerate([*Path(notebook).read_text("utf-8").split("\n"), CELL], start=1):
        if line.strip() == CELL:
            yield from imports_below(parse("\n" * first + "\n".join(cell) + "\n", notebook, AWAIT))
            cell, first = [], number
        else:
            cell.append(line)


def imports_below(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports in a syntax tree; what is tried says itself what happens without."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not isinstance(child, ast.Try):
            yield from imports_below(child)


def main() -> None:
    """Does what standard input asks for."""
    task = json.load(sys.stdin)
    wheels = Wheels(Path(task["site"]), task["brought"])
    found: dict[str, Any] = {}
    try:
        wheels.look(task["notebooks"])
    except BrokenError as broken:
        found = broken.found
    Path(task["result"]).write_text(json.dumps(found | {"passed_over": wheels.passed_over}))


if __name__ == "__main__":
    main()
