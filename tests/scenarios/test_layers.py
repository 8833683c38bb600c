"""Layers together: every case shows what it should, and the README shows what every case did."""

import pytest

from tests.scenarios.layers import CASES, README, Case, play, written


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_layers_together_show(case: Case) -> None:
    """Step by step, the state that is written beside it."""
    assert [shown for _, shown, _ in play(case)] == [step.shown for step in case.steps]


def test_table_of_the_readme_is_what_the_cases_did() -> None:
    """`make table` writes it."""
    text = README.read_text(encoding="utf-8")
    assert text == written(text), "README.rst is not up to date: run make table"
