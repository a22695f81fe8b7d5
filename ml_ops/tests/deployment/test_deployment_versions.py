"""Which versions a target names, refused before MLflow is imported."""

import re
import sys

import pytest
from deployment.__main__ import main
from deployment.errors import DeploymentError
from deployment.versions import require_number, require_two


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["promote"], "which version? `make promote VERSION=3`; `make models` lists them"),
        (["promote", "VERSION=champion"], "VERSION takes the number of a version; got 'champion'."),
        (
            ["rollback", "VERSION=1"],
            "rollback takes no VERSION, it goes back to the champion before; "
            "`make promote VERSION=1` makes that version the champion",
        ),
        (["compare", "A=1"], "which two versions? `make compare A=champion B=3`, by number or alias"),
    ],
)
def test_what_makes_no_sense_is_refused_before_mlflow_is_imported(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "deployment.models", None)
    for name in ("VERSION", "A", "B"):
        monkeypatch.delenv(name, raising=False)
    for setting in arguments[1:]:
        monkeypatch.setenv(*setting.split("="))

    assert main(arguments[:1]) == 1
    assert capsys.readouterr().err.startswith(f"Error: {says}")


@pytest.mark.parametrize("command", ["run", "promote", "rollback", "deploy", "models"])
def test_a_version_of_the_model_is_refused_by_what_does_not_go_by_it(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MODEL_VERSION", "3")

    assert main([command]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: MODEL_VERSION=3 goes with `make rollback-code` alone; ")
    assert "PARAMS='model_version=3'" in said and "VERSION=3\n" in said


@pytest.mark.parametrize("text", ["champion", "-1", "1.0", "²", "1 2"])
def test_only_a_number_names_the_version_to_promote(text: str):
    with pytest.raises(DeploymentError, match=rf"takes the number of a version; got '{re.escape(text)}'"):
        require_number(text)


@pytest.mark.parametrize(("a", "b"), [("", ""), ("1", ""), ("", "1")])
def test_comparing_needs_two_versions(a: str, b: str):
    with pytest.raises(DeploymentError, match="which two versions"):
        require_two(a, b)
