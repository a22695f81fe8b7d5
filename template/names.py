"""The names of a project, all made of one, and why a name cannot be taken."""

import io
import keyword
import re
import sys
import tokenize
from collections.abc import Collection, Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

from template.errors import TemplateError

# What the sample is called: its package, and the workspace's folder, secret scope and experiment.
SAMPLE = "diabetes"
SAMPLE_PROJECT = "azure-databricks-mlops-mlflow"
# A secret scope, `<project>-staging`, has 128 characters at most, a name of Unity Catalog 255. This leaves
# room for the names of jobs, notebooks and people that are joined to it, and for pages that one can read.
MAX_LENGTH = 40
# What Spark reserves in ANSI mode, of its function sql_keywords(): no table is called so without quotes.
_RESERVED_IN_SQL = re.compile(
    "all|and|any|as|authorization|both|call|case|cast|check|collate|collation|"
    "column|constraint|create|cross|current_date|current_time|current_timestamp|"
    "current_user|distinct|else|end|escape|except|execute|false|fetch|filter|for|"
    "foreign|from|full|grant|group|having|in|inner|intersect|into|is|join|lateral|"
    "leading|left|natural|not|null|offset|on|only|or|order|outer|overlaps|primary|"
    "recursive|references|right|select|session_user|some|sql|table|then|time|to|"
    "trailing|union|unique|unknown|user|using|when|where|with|within"
)
# Where the sample comes from; a project made of it still says so.
CREDITS = (
    f"Azure-Samples/{SAMPLE_PROJECT}",
    f"template {SAMPLE_PROJECT}",
    f"scikit-learn's {SAMPLE} set",
    f"var.select/{SAMPLE}.html",
    f"load_{SAMPLE}",
)
_SPELLINGS = re.compile("|".join([*map(re.escape, CREDITS), SAMPLE_PROJECT, f"run-{SAMPLE}", SAMPLE]))


def project_name(name: str) -> str:
    """The name of the workspace's folder, the secret scope and the experiment: `customer-churn`."""
    return name.replace("_", "-")


def rename(text: str, name: str) -> str:
    """The text, or path, with the names of the project in place of the sample's, but in the credits."""
    names = {
        SAMPLE: name,
        SAMPLE_PROJECT: project_name(name),
        f"run-{SAMPLE}": f"run-{project_name(name)}",
    }
    return _SPELLINGS.sub(lambda found: names.get(found[0], found[0]), text)


def check_name(name: str, files: Collection[Path]) -> None:
    """Refuses a name that cannot be that of a Python package here; `files` are those of the template."""
    if reason := _why_not(name, files):
        raise TemplateError(f"NAME='{name}' cannot be taken: {reason}. For example: NAME=customer_churn")


def _why_not(name: str, files: Collection[Path]) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        return "a name has small letters, digits and single underscores, and begins with a letter"
    if len(name) > MAX_LENGTH:
        return f"it has {len(name)} characters; names of a workspace's objects leave room for {MAX_LENGTH}"
    if name == SAMPLE:
        return "this is the sample's own name"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "it is a keyword of Python"
    if _RESERVED_IN_SQL.fullmatch(name):
        return "it is a reserved word of SQL"
    for package in (name, f"{name}_mlops"):
        if package in sys.stdlib_module_names:
            return f"{package} is a module of Python itself"
        if package in packages_distributions():
            return f"{package} is a package that the project uses"
    if name in {part for file in files for part in file.parent.parts}:
        return "the project has a folder of that name"
    if name in _identifiers(file for file in files if file.suffix == ".py"):
        return "the project's code gives that name to something else"
    return ""


def _identifiers(files: Iterable[Path]) -> set[str]:
    """Every name in these Python files that does not follow a dot: what a package of that name would hide."""
    found = set()
    for file in files:
        before = ""
        for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
            if token.type == tokenize.NAME and before != ".":
                found.add(token.string)
            before = token.string
    return found
