"""An agent learns what people want from 400 of their ratings; one seed of the benchmark."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy")
assessed = pytest.importorskip("benchmarks.assessed")


@pytest.fixture(scope="module")
def direct() -> float:
    """The rise of an agent that may call the utility."""
    return float(assessed.rise(assessed.agent_with(assessed.Utility(), 0)))


@pytest.mark.slow
def test_half_of_what_the_utility_itself_would_give(direct: float) -> None:
    risen, metrics = assessed.assessed(0, assessed.STATED)
    assert metrics["ratings"] <= assessed.STATED
    assert direct > 4  # standard deviations of random texts, of which the best has some 7
    assert risen >= assessed.SHARE * direct


@pytest.mark.slow
def test_ratings_that_say_nothing_move_nothing(direct: float) -> None:
    # A reward of 0.5 moves nothing at all. Three nats of gain by chance, at about ten looks at
    # the same growing ratings, have a probability of a few in a hundred.
    risen, _ = assessed.assessed(0, assessed.STATED // 2, shuffled=True)
    assert abs(risen) <= assessed.FLAT * direct


def test_the_utility_is_standardised_and_known() -> None:
    utility = assessed.Utility()
    best, worst = utility.of(["a" * 12, "e" * 12])
    # eleven neighbours that change, six a and six t: 6 * 1.75 + 11 against 12 and -12
    (alternating,) = utility.of(["at" * 6])
    assert alternating > best > 0 > worst
    assert (alternating - best) * utility.sd == pytest.approx(6 * 1.75 + 11 - 12, abs=1e-4)
