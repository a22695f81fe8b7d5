"""What stays of a compiled requirements.txt when requirements.in asks for less."""

from template.files import ROOT
from template.requirements import prune

WANTED, COMPILED = (ROOT / "requirements.in").read_text(), (ROOT / "requirements.txt").read_text()


def test_all_of_it_stays_when_all_of_it_is_wanted() -> None:
    assert prune(COMPILED, WANTED) == COMPILED


def test_what_only_a_dropped_package_led_to_goes_with_it() -> None:
    less = prune(COMPILED, "\n".join(line for line in WANTED.splitlines() if "schemathesis" not in line))

    gone = {
        line.partition("==")[0]
        for line in set(COMPILED.splitlines()) - set(less.splitlines())
        if "==" in line
    }
    assert {"schemathesis", "jsonschema-rs"} <= gone
    assert "hypothesis" not in gone and "    #   schemathesis" not in less


def test_packages_that_lead_to_each_other_alone_go() -> None:
    compiled = "a==1\n    # via b\nb==1\n    # via a\nc==1\n    # via -r requirements.in\n"

    assert prune(compiled, "c\n") == "c==1\n    # via -r requirements.in\n"
