"""The parts that a project can do without, and the files that belong to each alone.

Lines of other files that belong to a part stand between `# only: <part>` and `# end only`; see `fences`.
"""

from collections.abc import Collection

from template.errors import TemplateError

# Of the template alone: no project gets it.
TEMPLATE = "template"
TWO_COMMAND_LINES = "docs/decisions/0011-one-definition-two-command-lines.md"
FILES = {
    TEMPLATE: (
        "template/",
        "CONTRIBUTING.md",
        "benchmarks/compatibility.py",
        "docs/comparison.md",
        "docs/compatibility.md",
        "docs/decisions/0012-a-template-that-runs.md",
        "docs/images/model_report.png",
        "docs/images/monitoring.png",
        "docs/images/training_run.png",
        "docs/new_project.md",
        "docs/pictures.py",
        "ml_data/make_data.py",
        "ml_source/tests/test_data.py",
        "tests/lives.py",
        "tests/new_project/",
        "tests/sciences/",
        "tests/test_pictures.py",
        "tests/test_swapped_science.py",
        "tests/test_whole_lives.py",
    ),
    "local-workspace": (
        "local_workspace/",
        "benchmarks/",
        "docs/benchmarks.md",
        "docs/decisions/0001-a-local-workspace-of-our-own.md",
        "docs/decisions/0009-a-run-is-forked-with-its-imports-done.md",
        "docs/decisions/0010-two-kinds-of-artifact-addresses.md",
        "docs/decisions/0019-catalogs-are-schemas-of-sparks-own.md",
        "docs/decisions/0020-the-local-workspace-stands-on-floors.md",
        "docs/local_workspace_api.md",
        "docs/notebook_fidelity.md",
        "docs/security.md",
        "docs/working_locally.md",
        "tests/science.py",
        "tests/test_approved_versions.py",
        "tests/test_catalog_setup.py",
        "tests/test_data_roots.py",
        "tests/test_deployments.py",
        "tests/test_end_to_end.py",
        "tests/test_gaps.py",
        "tests/test_job_access.py",
        "tests/test_mended_deployments.py",
        "tests/test_with_go_cli.py",
        "tests/test_model_targets.py",
        "tests/proxy.py",
        "tests/test_torn_deployments.py",
        "tests/test_rolling_back.py",
        "tests/test_security.py",
        "tests/test_serverless.py",
        "tests/test_the_walk.py",
        "tests/test_unity_catalog.py",
        "tests/test_workflow_runs.py",
        "tests/unity_catalog_client.py",
        "tests/workspace_under_test.py",
    ),
    "azure-pipelines": (".azure-pipelines/",),
    "go-cli": ("ml_ops/deployment/go_cli.py", "tests/test_with_go_cli.py", TWO_COMMAND_LINES),
    "pip-cli": (
        "ml_ops/deployment/pip_cli.py",
        "ml_ops/deployment/told_by_pip_cli/",
        "tests/test_gaps.py",
        "ml_ops/tests/deployment/test_deployment_pip_cli.py",
        TWO_COMMAND_LINES,
    ),
}
PARTS = tuple(part for part in FILES if part != TEMPLATE)
COMMAND_LINES = {"go-cli", "pip-cli"}


def check_without(without: Collection[str]) -> None:
    """Refuses parts that are not known, and a project without any command line."""
    unknown = sorted(set(without) - set(PARTS))
    if unknown:
        raise TemplateError(f"WITHOUT names {unknown}; a project can do without {list(PARTS)}")
    if set(without) >= COMMAND_LINES:
        raise TemplateError(
            "WITHOUT names both command lines, go-cli and pip-cli; a project needs one of them"
        )


def belongs(path: str, part: str) -> bool:
    """Whether a file, by its path from the root, belongs to a part alone."""
    return any(path == file or (file.endswith("/") and path.startswith(file)) for file in FILES[part])
