"""The commands behind `make new-project` and `make update-from-template`."""

import argparse
import sys
from pathlib import Path

from template.errors import TemplateError
from template.files import ROOT
from template.making import make_project
from template.rendering import Record, render
from template.updating import update_project


def main() -> int:
    """Runs one command; 1 and one message where it cannot be done."""
    arguments = _parser().parse_args()
    try:
        match arguments.command:
            case "new":
                make_project(
                    arguments.name, arguments.destination.expanduser().resolve(), arguments.without.split()
                )
            case "render":
                render(ROOT, arguments.folder, Record.read(arguments.record))
            case "update":
                update_project(arguments.project.resolve())
    except (TemplateError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m template", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="make a project in a new folder")
    new.add_argument("name", help="the name of its package, such as customer_churn")
    new.add_argument("destination", type=Path)
    new.add_argument("--without", default="", help="parts that it does without, separated by spaces")
    written = commands.add_parser("render", help="write the files that a record asks for, and nothing else")
    written.add_argument("record", type=Path)
    written.add_argument("folder", type=Path)
    update = commands.add_parser("update", help="bring this template into a project that an older one made")
    update.add_argument("project", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
