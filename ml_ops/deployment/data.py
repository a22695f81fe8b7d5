"""The sample data, on its way to where the jobs read it."""

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.settings import ROOT

FILES = ("data_raw.csv", "data_batch_input.csv")


def upload_data(cli: DatabricksCli, data_root: str) -> None:
    """Copies the data files to `data_root`, over those that are there."""
    for name in FILES:
        if not (ROOT / "ml_data" / name).is_file():
            raise DeploymentError(
                f"The data file ml_data/{name} is missing; ml_data/README.md says how it is made."
            )
    cli.make_dbfs_folder(data_root)
    for name in FILES:
        cli.copy(ROOT / "ml_data" / name, f"{data_root.rstrip('/')}/{name}")
