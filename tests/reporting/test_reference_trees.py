"""The whole document tree, with every code, is the one that was read (``tests.reporting.reference``)."""

from __future__ import annotations

import pytest

from tests.reporting.reference import REPORTS, stored_tree, tree


@pytest.mark.parametrize("name", REPORTS)
def test_a_tree_is_the_one_that_was_read(name: str) -> None:
    assert tree(name).splitlines() == stored_tree(name).splitlines()
