"""What serverless compute refuses a notebook, in Databricks' words."""

import inspect
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from sqlparse.lexer import tokenize
from sqlparse.tokens import Comment

from local_workspace.kernel.file_system import FileSystem

# The settings that a session may change there.
SETTINGS = (
    "spark.databricks.execution.timeout",
    "spark.sql.ansi.enabled",
    "spark.sql.files.maxPartitionBytes",
    "spark.sql.legacy.timeParserPolicy",
    "spark.sql.session.timeZone",
    "spark.sql.shuffle.partitions",
)
# What begins so in SQL, as `_plain` writes it, is refused by this name.
STATEMENTS = (
    (r"CACHE (LAZY )?TABLE\b", "CACHE TABLE"),
    (r"UNCACHE TABLE\b", "UNCACHE TABLE"),
    (r"CLEAR CACHE\b", "CLEAR CACHE"),
    (r"REFRESH TABLE\b", "REFRESH TABLE"),
    (r"CREATE (OR REPLACE )?GLOBAL TEMP(ORARY)? VIEW\b", "GLOBAL TEMPORARY VIEW"),
)
# Where a statement that begins so has a path; that of a LOCAL DIRECTORY is one of the machine.
PLACES = (
    (r"CREATE|REPLACE|ALTER", r"\bLOCATION '([^']*)'"),
    (r"CREATE|REPLACE|INSERT", r"\bOPTIONS \( (?:[^()]* )?['`]?PATH['`]? (?:= )?'([^']*)'"),
    (r"COPY INTO", r"\bFROM '([^']*)'"),
    (r"", r"\bINSERT OVERWRITE DIRECTORY '([^']*)'"),
    (r"", r"\. `((?:%2F|dbfs%3A)[^`]*)`"),
)
# `SET` with a name alone shows the setting, and a variable of SQL is not a setting.
CHANGE_OF_SETTING = r"(?:RESET|SET(?! VAR(?:IABLE)? )(?=.* =)) ([^=]+)"
OF_CATALOG = {
    "cache_table": "CACHE TABLE",
    "uncache_table": "UNCACHE TABLE",
    "clear_cache": "CLEAR CACHE",
    "refresh_table": "REFRESH TABLE",
    "refresh_by_path": "REFRESH TABLE",
}
OF_ANALYSIS = {"persist": "PERSIST TABLE", "unpersist": "UNPERSIST TABLE"}
# What lies beside DBFS under the same scheme, or may be read by all.
_NOT_DBFS = ("/Volumes", "/Workspace", "/databricks-datasets")
_PATHS = {"dir", "file", "from_", "to"}


class ExecutionError(Exception):
    """What `dbutils.fs` was asked for is not there on serverless compute."""


def prepare() -> None:
    """Has every Spark session of this process refuse it from now on."""
    from pyspark.sql.connect.client import SparkConnectClient
    from pyspark.sql.connect.conf import RuntimeConf

    client: Any = SparkConnectClient
    analyze = client._analyze

    def analyze_allowed(self: Any, method: str, **what: Any) -> Any:
        if method in OF_ANALYSIS:
            _refuse(OF_ANALYSIS[method])
        check(part for part in what.values() if _is_message(part))
        return analyze(self, method, **what)

    client._analyze = analyze_allowed
    for name in ("_execute", "_execute_and_fetch_as_iterator"):
        setattr(client, name, _checking(getattr(client, name)))
    for name in ("set", "unset"):
        setattr(RuntimeConf, name, _checking_setting(getattr(RuntimeConf, name)))


def file_system() -> FileSystem:
    """`dbutils.fs` without DBFS and without mounts."""
    mounts = {name for name in dir(FileSystem) if "mount" in name.lower()}
    methods = {name: _refused(name) for name in mounts}
    methods |= {
        name: _without_dbfs(method)
        for name, method in vars(FileSystem).items()
        if inspect.isfunction(method) and _PATHS & inspect.signature(method).parameters.keys()
    }
    made: FileSystem = type("FileSystem", (FileSystem,), {"__doc__": FileSystem.__doc__, **methods})()
    return made


def check(parts: Iterable[Any]) -> None:
    """Raises AnalysisException where a part of a plan asks for what serverless compute does not have."""
    for part in parts:
        if looks := _LOOKS.get(part.DESCRIPTOR.full_name):
            looks(part)
        check(_inside(part))


def _is_message(part: Any) -> bool:
    return hasattr(part, "ListFields")


def _inside(message: Any) -> Iterator[Any]:
    """The messages in one of a plan; a map of them, such as that of the arguments of SQL, is left out."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        yield from [value] if _is_message(value) else value


def _checking(execute: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(execute)
    def execute_allowed(self: Any, req: Any, *arguments: Any, **options: Any) -> Any:
        check([req.plan])
        return execute(self, req, *arguments, **options)

    return execute_allowed


def _checking_setting(change: Callable[..., None]) -> Callable[..., None]:
    @wraps(change)
    def change_allowed(self: Any, key: str, *value: Any, **named: Any) -> None:
        _check_setting(key)
        change(self, key, *value, **named)

    return change_allowed


def _look_at_catalog(catalog: Any) -> None:
    kind = catalog.WhichOneof("cat_type")
    if kind in OF_CATALOG:
        _refuse(OF_CATALOG[kind])
    _look_at_files(getattr(catalog, kind))


def _look_at_view(view: Any) -> None:
    if view.is_global:
        _refuse("GLOBAL TEMPORARY VIEW")


def _look_at_files(files: Any) -> None:
    """Looks at each path of what is read or written."""
    for path in [*getattr(files, "paths", ()), getattr(files, "path", "")]:
        check_path(path)
    for name, value in dict(getattr(files, "options", {})).items():
        if name.lower() in ("path", "checkpointlocation"):
            check_path(value)


def _look_at_sql(statement: str) -> None:
    plain = _plain(statement)
    for pattern, what in STATEMENTS:
        if re.match(pattern, plain, re.IGNORECASE):
            _refuse(what)
    if found := re.match(CHANGE_OF_SETTING, plain, re.IGNORECASE):
        _check_setting(unquote(found[1].replace(" ", "").strip("`")))
    for beginning, place in PLACES:
        if re.match(beginning, plain, re.IGNORECASE):
            for path in re.findall(place, plain, re.IGNORECASE):
                check_path(unquote(path))


def _plain(statement: str) -> str:
    """A statement without comments, with one space between its words.

    What stands in quotes is escaped as in a URL, so that nothing of it can be taken for a word of SQL.
    """
    tokens = tokenize(statement)  # type: ignore[no-untyped-call]
    words = (_escaped(text) for kind, text in tokens if kind not in Comment)
    return " ".join(" ".join(words).split()).rstrip("; ")


def _escaped(word: str) -> str:
    if word[0] not in "'\"`":
        return word
    mark = word[0].replace('"', "'")
    return f"{mark}{quote(word[1:-1], safe='')}{mark}"


_LOOKS: dict[str, Callable[[Any], None]] = {
    "spark.connect.Catalog": _look_at_catalog,
    "spark.connect.CreateDataFrameViewCommand": _look_at_view,
    "spark.connect.Read.DataSource": _look_at_files,
    "spark.connect.SQL": lambda sql: _look_at_sql(sql.query),
    "spark.connect.SqlCommand": lambda command: _look_at_sql(command.sql),
    "spark.connect.WriteOperation": _look_at_files,
    "spark.connect.WriteOperationV2": _look_at_files,
    "spark.connect.WriteStreamOperationStart": _look_at_files,
}


def check_path(path: str) -> None:
    """Raises AnalysisException for a path of DBFS, of which mounts are a part."""
    if plain := _place_in_dbfs(path):
        _raise("DBFS_DISABLED", _no_dbfs(plain), "56038")


def _place_in_dbfs(path: str) -> str:
    """The path within DBFS, empty where it is outside of DBFS; one without a scheme is."""
    plain = path.removeprefix("dbfs:")
    if not plain or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", plain):
        return ""
    plain = posixpath.normpath(f"/{plain.lstrip('/')}")
    is_beside = any(plain == root or plain.startswith(f"{root}/") for root in _NOT_DBFS)
    return "" if is_beside else plain


def _no_dbfs(path: str) -> str:
    return f"[DBFS_DISABLED] Public DBFS root is disabled. Access is denied on path: {path} SQLSTATE: 56038"


def _without_dbfs(method: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @wraps(method)
    def allowed(*arguments: Any, **options: Any) -> Any:
        for name, path in signature.bind(*arguments, **options).arguments.items():
            if name in _PATHS and isinstance(path, str) and (plain := _place_in_dbfs(path)):
                raise ExecutionError(_no_dbfs(plain))
        return method(*arguments, **options)

    return allowed


def _refused(name: str) -> Callable[..., NoReturn]:
    @wraps(getattr(FileSystem, name))
    def refused(*_: Any, **__: Any) -> NoReturn:
        raise ExecutionError(_not_supported(f"dbutils.fs.{name}"))

    return refused


def _not_supported(what: str) -> str:
    refusal = f"[NOT_SUPPORTED_WITH_SERVERLESS] {what} is not supported on serverless compute."
    return f"{refusal} SQLSTATE: 0A000"


def _check_setting(key: str) -> None:
    if key not in SETTINGS:
        what = f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available. SQLSTATE: 42K0I"
        _raise("CONFIG_NOT_AVAILABLE", what, "42K0I")


def _refuse(what: str) -> NoReturn:
    _raise("NOT_SUPPORTED_WITH_SERVERLESS", _not_supported(what), "0A000")


def _raise(condition: str, message: str, state: str) -> NoReturn:
    from pyspark.errors.exceptions.connect import AnalysisException

    raise AnalysisException(message, errorClass=condition, sql_state=state)
