"""Lines and words that belong to a part of the template."""

import pytest

from template.errors import TemplateError
from template.fences import apply_fences

WITH, WITHOUT = frozenset[str](), frozenset({"azure-pipelines"})


@pytest.mark.parametrize(
    ("text", "kept", "left"),
    [
        ("a\n# only: azure-pipelines\nb\n# end only\nc\n", "a\nb\nc\n", "a\nc\n"),
        ("<!-- only: azure-pipelines -->\nb\n<!-- end only -->\n", "b\n", ""),
        ("  // only: azure-pipelines\n  b\n  // end only\n", "  b\n", ""),
        ("a # only: azure-pipelines\nb\n", "a\nb\n", "b\n"),
        ("| a | <!-- only: azure-pipelines -->\n| b |\n", "| a |\n| b |\n", "| b |\n"),
        ("a <!-- only: azure-pipelines -->b <!-- end only -->c\n", "a b c\n", "a c\n"),
        ("# only: azure-pipelines\na\n# instead: b\n# end only\n", "a\n", "b\n"),
        ("say only: nothing\n", "say only: nothing\n", "say only: nothing\n"),
    ],
)
def test_what_belongs_to_a_part_is_in_projects_that_have_it(text: str, kept: str, left: str) -> None:
    assert apply_fences(text, WITH, "a file") == kept
    assert apply_fences(text, WITHOUT, "a file") == left


def test_a_part_inside_another_goes_with_either() -> None:
    text = "# only: local-workspace\na\n# only: azure-pipelines\nb\n# end only\n# end only\n"

    assert apply_fences(text, WITH, "a file") == "a\nb\n"
    assert apply_fences(text, WITHOUT, "a file") == "a\n"
    assert apply_fences(text, {"local-workspace"}, "a file") == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# only: azure-pipeline\n# end only\n", "README.md:1: `only: azure-pipeline` names no part"),
        ("a # only: pipelines\n", "README.md:1: `only: pipelines` names no part"),
        ("a\n# only: azure-pipelines\nb\n", "README.md: `only: azure-pipelines` has no `end only`"),
        ("a\n# end only\n", "README.md:2: `end only` where nothing was begun"),
    ],
)
def test_a_fence_that_is_wrong_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        apply_fences(text, WITHOUT, "README.md")
