"""Truths 5 and 6 on the shipped recipes' own networks, in float64 without dropout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from utterloom.audio.logmel import LogMelParameters
from utterloom.batches.loader import MicroBatch
from utterloom.batches.plan import BatchPlan
from utterloom.core.config import compose, recipe_names
from utterloom.models.ctc import ConformerForCTC
from utterloom.text.tokenizers import CTCTokenizer
from utterloom.train.config import TrainConfig
from utterloom.train.gradients import FlatGradients, accumulate
from utterloom.train.objectives.ctc import CTCObjective

CPU = torch.device("cpu")


def objective() -> CTCObjective:
    return CTCObjective(
        CTCTokenizer.train(["một hai ba bốn năm sáu bảy tám chín mười"], "bpe", 60), LogMelParameters.for_rate(16_000)
    )


def network_of(recipe: str, goal: CTCObjective, **model: object) -> ConformerForCTC:
    config = compose(TrainConfig, ["corpus=c", "out=o"], recipe)
    torch.manual_seed(1)
    return goal.build({**config.model.model_dump(), "dropout": 0.0, **model}).double().train()


def micro_batch(goal: CTCObjective, items: list[tuple[np.ndarray, list[int]]]) -> MicroBatch:
    lengths = np.array([len(features) for features, _ in items])
    padded = np.zeros((len(items), lengths.max(), 80))
    for row, (features, _) in zip(padded, items, strict=True):
        row[: len(features)] = features
    targets = [ids for _, ids in items]
    return MicroBatch(
        [str(number) for number in range(len(items))],
        {
            "features": padded,
            "lengths": lengths,
            "targets": np.concatenate(targets).astype(np.int64),
            "target_lengths": np.array([len(ids) for ids in targets]),
        },
    )


def ragged_items(goal: CTCObjective, count: int, seed: int = 0) -> list[tuple[np.ndarray, list[int]]]:
    rng = np.random.default_rng(seed)
    return [
        (
            rng.standard_normal((int(rng.integers(90, 400)), 80)),
            [int(token) for token in rng.integers(2, goal.tokenizer.vocab_size, int(rng.integers(1, 6)))],
        )
        for _ in range(count)
    ]


def gradients(goal: CTCObjective, network: torch.nn.Module, parts: list[MicroBatch]) -> tuple[float, torch.Tensor]:
    flat = FlatGradients(network)
    loss_sum, count, _ = accumulate(goal, network, list(enumerate(parts)), CPU)
    return loss_sum / count, flat.gradients / count


@pytest.mark.parametrize("recipe", recipe_names())
def test_four_ragged_micro_batches_are_one_batch(recipe: str) -> None:
    goal = objective()
    network = network_of(recipe, goal)
    items = ragged_items(goal, 11)
    whole = gradients(goal, network, [micro_batch(goal, items)])
    parts = gradients(goal, network, [micro_batch(goal, part) for part in (items[:1], items[1:5], items[5:7], items[7:])])
    assert parts[0] == pytest.approx(whole[0], abs=1e-6)
    assert torch.max(torch.abs(parts[1] - whole[1])) < 1e-6
    assert torch.linalg.vector_norm(whole[1]) > 1e-3, "a test of nothing if the gradient is nothing"


def test_a_partial_last_step_weighs_what_it_holds() -> None:
    """B-P11: two leftover micro-batches of four give the gradient of exactly their utterances, not half of it, not none."""
    goal = objective()
    network = network_of("an4", goal)
    plan = BatchPlan(np.array([16_000] * 5), np.zeros(5, dtype=np.int64), 16_000, micro_batches=4).epoch(0)
    last = plan.step(plan.num_steps - 1)
    assert [len(step) for step in (plan.step(0), last)] == [4, 1]
    items = ragged_items(goal, 2, seed=3)
    partial = gradients(goal, network, [micro_batch(goal, items[:1]), micro_batch(goal, items[1:])])
    alone = gradients(goal, network, [micro_batch(goal, items)])
    assert torch.allclose(partial[1], alone[1], atol=1e-9)


def test_the_sum_over_ranks_is_the_sum_over_micro_batches() -> None:
    """Truth 6 in its arithmetic: adding two ranks' buffers and dividing once is one rank with both micro-batches."""
    goal = objective()
    network = network_of("demo", goal)
    first, second = (micro_batch(goal, ragged_items(goal, 3, seed)) for seed in (5, 6))
    both = gradients(goal, network, [first, second])[1]
    flat = FlatGradients(network)
    total, count = torch.zeros_like(flat.gradients), 0
    for part in (first, second):
        flat.buffer.zero_()
        count += accumulate(goal, network, [(0, part)], CPU)[1]
        total += flat.gradients
    assert torch.allclose(total / count, both, atol=1e-12)


def test_mean_of_means_would_be_wrong() -> None:
    """B-P12: the data of these tests tells the exact sum from the average of micro-batch averages."""
    goal = objective()
    network = network_of("demo", goal)
    items = ragged_items(goal, 6)
    parts = [micro_batch(goal, items[:1]), micro_batch(goal, items[1:])]
    whole = gradients(goal, network, [micro_batch(goal, items)])[1]
    averaged = sum(gradients(goal, network, [part])[1] for part in parts) / 2
    assert torch.max(torch.abs(averaged - whole)) > 1e-4
