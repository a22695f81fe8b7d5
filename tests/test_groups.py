"""Tests that share a Spark run in one process; else each process would start its own, unnoticed."""

import pytest


def test_a_test_of_make_test_belongs_to_a_group(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("groups are made with --dist loadgroup alone, as `make test` has it")

    assert request.node.nodeid.endswith(f"@{request.path}")
