"""Errors cross process borders whole and name what is near."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.core import errors
from utterloom.core.errors import MissingPackageError, UtterloomError, did_you_mean, nearest


def kinds(base: type[UtterloomError] = UtterloomError) -> list[type[UtterloomError]]:
    own = [base] if base.__module__ == errors.__name__ and base is not MissingPackageError else []
    return own + [kind for child in base.__subclasses__() for kind in kinds(child)]


def raise_it(error: UtterloomError) -> None:
    raise error


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("hint", [None, "do this"])
def test_every_kind_is_pickled_whole(kind: type[UtterloomError], hint: str | None) -> None:
    error = pickle.loads(pickle.dumps(kind("what", hint)))
    assert type(error) is kind and (error.message, error.hint) == ("what", hint)
    assert str(error) == ("what\n  → do this" if hint else "what")


def test_an_error_of_a_worker_arrives_as_it_was_raised() -> None:
    with ProcessPoolExecutor(1) as pool:
        for error in (errors.DamagedError("cut", "verify"), MissingPackageError("av", "media", "decoding MP4")):
            with pytest.raises(type(error)) as caught:
                pool.submit(raise_it, error).result()
            assert str(caught.value) == str(error)


def test_the_nearest_name_is_first_whatever_its_case() -> None:
    assert nearest("batch.micro_batchs", ["seed", "batch.micro_batches", "batch.micro_batch_s"])[0].startswith("batch.micro_batch")
    assert nearest("an4-dev", ["AN4-dev", "fsdd"]) == ["AN4-dev"]
    assert nearest("zzz", ["seed"]) == []


def test_a_hint_names_what_is_near_else_all_but_not_thousands() -> None:
    assert did_you_mean("sed", ["seed", "view"]) == "did you mean 'seed'?"
    assert did_you_mean("zzz", ["b", "a"]) == "choose from: a, b"
    assert did_you_mean("zzz", []) == "there is nothing to choose from"
    assert len(did_you_mean("zzz", [f"file{number:05d}.wav" for number in range(5000)])) < 1000


@given(value=st.text(), choices=st.lists(st.text(), max_size=5))
def test_any_text_gets_a_hint(value: str, choices: list[str]) -> None:
    assert did_you_mean(value, choices)
    assert set(nearest(value, choices)) <= set(choices)
