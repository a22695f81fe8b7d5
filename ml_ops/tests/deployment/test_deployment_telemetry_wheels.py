"""With TELEMETRY=1 a deployment brings all that telemetry needs, and nothing else changes."""

import re
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from zipfile import ZipFile

import pytest
from deployment import telemetry_wheels, wheels
from deployment.errors import DeploymentError
from deployment.runtime import OWN, REQUIREMENTS, check_pip
from machine import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXPORTER = "azure-monitor-opentelemetry-exporter"


def pinned(file: Path) -> dict[str, str]:
    lines = [line.partition(" ")[0] for line in file.read_text().splitlines() if line[0].isalnum()]
    return dict(line.split("==", 1) for line in lines)


def needed(package: str, found: set[str]) -> set[str]:
    """What a package requires, and what that requires."""
    for text in requires(package) or []:
        requirement = Requirement(text)
        extras = ["", *Requirement(package).extras]
        applies = requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras)
        if applies and canonicalize_name(requirement.name) not in found:
            found.add(canonicalize_name(requirement.name))
            needed(requirement.name, found)
    return found


def test_what_the_exporter_needs_is_brought_or_part_of_the_runtime():
    lacking = needed(EXPORTER, {EXPORTER}) - set(telemetry_wheels.PACKAGES) - set(pinned(REQUIREMENTS))

    assert not lacking
    assert set(telemetry_wheels.PACKAGES) <= set(pinned(ROOT / "requirements.txt"))


def test_the_wheel_with_telemetry_requires_the_exporter_and_all_that_the_plain_one_does(tmp_path):
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text((ROOT / "ml_ops" / "pyproject.toml").read_text())
    before = tomllib.loads(pyproject.read_text())["project"]

    telemetry_wheels.require(pyproject)

    after = tomllib.loads(pyproject.read_text())["project"]
    assert [Requirement(text).name for text in before["optional-dependencies"]["telemetry"]] == [EXPORTER]
    assert after["dependencies"] == before["optional-dependencies"]["telemetry"] + before["dependencies"]


@pytest.mark.parametrize(("wanted", "ending"), [("1", True), ("0", False), ("", False)])
def test_the_version_says_whether_telemetry_is_brought(monkeypatch, wanted: str, ending: bool):
    monkeypatch.setenv("TELEMETRY", wanted)

    assert wheels.version(ROOT).endswith(".telemetry") is ending


def test_an_index_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")

    with pytest.raises(DeploymentError, match="TELEMETRY=1 needs packages that could not be downloaded"):
        telemetry_wheels.download(ROOT, tmp_path)


def write_wheel(folder: Path, name: str, *required: str) -> None:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 9.9"]
    lines += [f"Requires-Dist: {other}" for other in required]
    info = f"{name}-9.9.dist-info"
    with ZipFile(folder / f"{name}-9.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "\n".join(lines))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_a_wheel_that_needs_more_than_the_runtime_has_fails_the_check(tmp_path, capsys):
    write_wheel(tmp_path, "diabetes")
    write_wheel(tmp_path, "diabetes_mlops", "not_of_the_runtime")
    python = Path(sys.executable)
    # What is installed fits better than what lacks a package.
    with pytest.raises(DeploymentError, match=r"would install \[\], not \['diabetes', 'diabetes_mlops'\]"):
        check_pip(python, tmp_path, OWN)

    write_wheel(tmp_path, "not_of_the_runtime")
    brought = sorted(OWN | {"not_of_the_runtime"})
    with pytest.raises(DeploymentError, match=re.escape(f"would install {brought}, not {sorted(OWN)}")):
        check_pip(python, tmp_path, OWN)

    check_pip(python, tmp_path, OWN | {"not_of_the_runtime"})
    assert f"downloads nothing and installs {', '.join(brought)}\n" in capsys.readouterr().out
