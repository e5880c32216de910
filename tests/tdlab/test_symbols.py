"""What a page shows in place of the names of letters."""

import pytest

from tdlab.symbols import in_symbols


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("T = Theta(eta^-1 M1 alpha^-2/3)", "T = Θ(η⁻¹ M₁ α⁻²ᐟ³)"),
        ("M K^3 >= eps", "M K³ ≥ ε"),
        ("betas and metadata <= 1", "betas and metadata ≤ 1"),
        (r"below $\\alpha <= 1$, and alpha", r"below $\\alpha <= 1$, and α"),
        ("costs 5$, or beta", "costs 5$, or β"),
    ],
)
def test_names_of_letters_are_shown_as_letters_and_formulas_stay(written: str, shown: str):
    assert in_symbols(written) == shown
