"""The plan: every utterance exactly once an epoch, within the budget, from (lengths, seed, epoch) alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utterloom.batches.plan import BatchPlan, EpochPlan

PLANS = st.builds(
    lambda lengths, shards, **kw: BatchPlan(np.array(lengths, np.int64), np.sort(np.array(shards[:len(lengths)], np.int64)), **kw),
    st.lists(st.integers(1, 400_000), max_size=80), st.lists(st.integers(0, 12), min_size=80, max_size=80),
    batch_samples=st.integers(1, 2_000_000), micro_batches=st.integers(1, 5), seed=st.integers(0, 3),
    window_shards=st.integers(1, 6), max_utterances=st.integers(1, 40))


def utterances(epoch: EpochPlan) -> list[int]:
    return [int(number) for step in epoch.steps() for batch in step for number in batch]


def as_lists(steps: Iterable[list[np.ndarray]]) -> list[list[list[int]]]:
    return [[batch.tolist() for batch in step] for step in steps]


@settings(max_examples=150)
@given(plan=PLANS, epoch=st.integers(0, 3))
def test_every_utterance_is_there_once_an_epoch(plan: BatchPlan, epoch: int) -> None:
    assert sorted(utterances(plan.epoch(epoch))) == list(range(len(plan.num_samples)))


@settings(max_examples=150)
@given(plan=PLANS, epoch=st.integers(0, 3))
def test_the_padded_size_stays_within_the_budget_but_for_one_that_is_longer_by_itself(plan: BatchPlan, epoch: int) -> None:
    planned = plan.epoch(epoch)
    for number in range(planned.num_micro_batches):
        lengths = plan.num_samples[planned.micro_batch(number)]
        assert 1 <= len(lengths) <= plan.max_utterances
        assert len(lengths) == 1 or len(lengths) * lengths.max() <= plan.batch_samples


@given(plan=PLANS)
def test_a_cache_of_one_window_of_shards_reads_every_shard_once(plan: BatchPlan) -> None:
    cache: OrderedDict[int, None] = OrderedDict()
    num_read = 0
    for number in utterances(plan.epoch(0)):
        shard = int(plan.shard[number])
        num_read += shard not in cache
        cache[shard] = None
        cache.move_to_end(shard)
        if len(cache) > plan.window_shards:
            cache.popitem(last=False)
    assert num_read == len(set(plan.shard.tolist()))


@given(plan=PLANS)
def test_steps_are_micro_batches_in_a_row_and_any_step_can_be_asked_for(plan: BatchPlan) -> None:
    planned = plan.epoch(1)
    steps = as_lists(planned.steps())
    assert len(steps) == planned.num_steps == -(-planned.num_micro_batches // plan.micro_batches)
    assert all(len(step) == plan.micro_batches for step in steps[:-1])
    assert as_lists(planned.step(number) for number in range(planned.num_steps)) == steps
    assert as_lists(planned.steps(1)) == steps[1:]


@given(plan=PLANS, epoch=st.integers(0, 3), world_size=st.integers(1, 4))
def test_ranks_share_out_one_plan(plan: BatchPlan, epoch: int, world_size: int) -> None:
    """Truth 6: each rank makes the plan by itself and takes its part of a step; together they have all of it, in order."""
    whole = as_lists(plan.epoch(epoch).steps())
    shares = [[step[rank::world_size] for step in as_lists(plan.epoch(epoch).steps())] for rank in range(world_size)]
    for number, step in enumerate(whole):
        assert step == [shares[index % world_size][number][index // world_size] for index in range(len(step))]


def lengths(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(8_000, 320_000, num)


def test_epochs_and_seeds_differ_and_each_repeats_itself() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return utterances(BatchPlan(lengths(500), np.arange(500) // 50, 960_000, 2, seed).epoch(epoch))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1, -1) for epoch in range(3)}) == 9


def test_padding_is_little() -> None:
    """What buckets are for: without them, half of a batch is padding."""
    plan = BatchPlan(lengths(5_000), np.arange(5_000) // 100, 960_000)
    planned = plan.epoch(0)
    padded = sum(len(batch) * plan.num_samples[batch].max() for batch in map(planned.micro_batch, range(planned.num_micro_batches)))
    assert plan.num_samples.sum() / padded > 0.9


def test_a_million_utterances_are_planned() -> None:
    num = 1_000_000
    plan = BatchPlan(lengths(num), np.arange(num) // 300, 960_000, micro_batches=8)
    planned = plan.epoch(7)
    assert np.array_equal(np.sort(planned.order), np.arange(num))
    assert np.array_equal(np.sort(planned.starts)[1:], np.sort(planned.stops)[:-1])
    assert planned.step(planned.num_steps - 1)


def test_more_than_a_plan_holds_is_refused() -> None:
    shards = np.array([0, 70_000])
    with pytest.raises(ValueError, match="more windows than a plan holds"):
        BatchPlan(np.array([1, 1]), shards, 10, window_shards=1).epoch(0)
