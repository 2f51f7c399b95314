"""Borders of words are where the sound says, whatever a model made of the pause."""

from __future__ import annotations

import numpy as np
import pytest

from utterloom.extract.alignment.borders import by_energy, powers


@pytest.mark.parametrize(("levels", "second_s", "expected"), [
    ([(1.0, 0.40), (0.0, 0.20), (1.0, 0.40)], 0.66, (0.40, 0.60)),
    ([(1.0, 0.40), (0.0, 0.05), (1.0, 0.55)], 0.50, (0.40, 0.40)),
    ([(1.0, 0.40), (0.05, 0.03), (1.0, 0.57)], 0.50, (0.415, 0.415)),
    ([(1.0, 0.30), (0.5, 0.50), (1.0, 0.20)], 0.80, (0.35, 0.80)),
], ids=["a pause", "a closure belongs to the word that it opens", "words touch where it is quietest", "loud and long: not sought"])
def test_borders_are_sought_in_the_gap(
    levels: list[tuple[float, float]], second_s: float, expected: tuple[float, float]
) -> None:
    """Stretches of (level, seconds); the model says that the first word ends at 0.35 s and the second begins at `second_s`."""
    rng = np.random.default_rng(0)
    sound = np.concatenate([level * rng.choice([-0.3, 0.3], int(16_000 * length_s)) for level, length_s in levels])
    starts, stops = by_energy(np.array([0.0, second_s]), np.array([0.35, 1.0]), powers(sound, 16_000), np.full(3, True))
    assert (stops[0], starts[1]) == pytest.approx(expected, abs=0.011)
    assert starts[0] == 0.0 and stops[1] == 1.0


def test_what_is_said_between_two_words_keeps_them_apart() -> None:
    """A number that the model cannot spell stands between: its sound is not theirs."""
    sound = np.random.default_rng(0).choice([-0.3, 0.3], 16_000)
    starts, stops = by_energy(np.array([0.0, 0.6]), np.array([0.35, 1.0]), powers(sound, 16_000), np.array([True, False, True]))
    assert (stops[0], starts[1]) == (0.35, 0.6)
