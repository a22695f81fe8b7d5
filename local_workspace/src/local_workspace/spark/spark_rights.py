"""Has Spark know the workspace's catalogs, and ask the workspace for the rights of each plan's user.

Spark carries a small Java compiler; with it the extension in `spark_extension` is compiled at a first start.
"""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pyspark

from local_workspace.callers import USER_NAME

# Where Spark asks for the rights of its users, with a token that it alone has.
ADDRESS = "/api/2.0/local-workspace/spark-rights"
# In this order, by which a statement is told in Spark's words before anything is asked for it.
EXTENSIONS = ("local_workspace.Statements", "local_workspace.Rights")
# The property of a thread on Spark Classic that says whose it is.
USER = "spark.local_workspace.user"
SOURCES = Path(__file__).with_name("spark_extension")
# Each may use those before it.
PARTS = ("Names", "Rights", "Rows", "Trips", "Information", "Catalog", "Hiding", "Statements")
COMPILE_SECONDS = 120


class ExtensionError(Exception):
    """The extension does not compile."""


def environment(url: str, token: str) -> dict[str, str]:
    """What the extension finds in the environment of Spark."""
    return {
        "LOCAL_WORKSPACE_RIGHTS_URL": url,
        "LOCAL_WORKSPACE_RIGHTS_TOKEN": token,
        "LOCAL_WORKSPACE_FIRST_USER": USER_NAME,
    }


def compiled(java: Path, folder: Path, variables: Mapping[str, str]) -> Path:
    """The folder of the compiled extension, below `folder`; compiled where it is not there yet."""
    jars = Path(pyspark.__path__[0]) / "jars"
    compiler, *sources = [SOURCES / f"{name}.java" for name in ("Compile", *PARTS)]
    text = b"".join(source.read_bytes() for source in (compiler, *sources))
    version = hashlib.sha256(text + pyspark.__version__.encode()).hexdigest()[:16]
    classes, marker = folder / version, folder / version / "complete"
    if marker.exists():
        return classes
    classes.mkdir(parents=True, exist_ok=True)
    options = ["-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
    program = ["org.codehaus.janino.SimpleCompiler", str(compiler), "Compile"]
    done = subprocess.run(
        [str(java), *options, *program, str(classes), *map(str, sources)],
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=COMPILE_SECONDS,
        check=False,
    )
    if not list(classes.rglob(f"{PARTS[-1]}.class")):
        raise ExtensionError(f"the extension of Spark does not compile: {done.stderr[-2000:]}")
    marker.touch()
    return classes
