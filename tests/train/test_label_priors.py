"""CTC with label priors: its gradient, its exactness, and that without it nothing is as if it were there."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.train.conftest import TINY
from tests.train.test_exactness import CPU, gradients, micro_batch, network_of, objective, ragged_items
from utterloom import pipeline
from utterloom.core.artifact import read_json
from utterloom.engines.torch import CTCEngine
from utterloom.models.contract import CHECKPOINTS, POINTERS, model_folder
from utterloom.models.ctc import ConformerForCTC
from utterloom.text.decoding import greedy_ctc
from utterloom.train.gradients import FlatGradients, accumulate
from utterloom.train.objectives.ctc import CTCObjective, ctc

ON = ["model.prior_weight=0.4", "batch.micro_batches=2", "batch.micro_batch_s=4", "validations=2"]


def with_prior(goal: CTCObjective, recipe: str = "align", seed: int = 3) -> ConformerForCTC:
    """That recipe's network with a prior that is far from even."""
    network = network_of(recipe, goal, prior_weight=0.4)
    draw = torch.rand(goal.tokenizer.vocab_size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    network.label_prior.copy_((8 * draw).exp() / (8 * draw).exp().sum())
    return network


def like_a_network(prior_v: torch.Tensor, weight: float) -> ConformerForCTC:
    """What `ctc` asks of a network, and nothing else of it."""
    bare = SimpleNamespace(config=SimpleNamespace(prior_weight=weight), label_prior=prior_v)
    bare.alignment_scores = lambda logits: ConformerForCTC.alignment_scores(bare, logits)  # type: ignore[arg-type]
    return bare  # type: ignore[return-value]


def test_the_loss_is_the_sum_over_all_paths_and_its_gradient_that_of_finite_differences() -> None:
    """Every path of five frames and three labels, one by one; the gradient by gradcheck in float64."""
    torch.manual_seed(0)
    prior = torch.tensor([0.7, 0.05, 0.25], dtype=torch.float64)
    network = like_a_network(prior, 0.6)
    logits = torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True)
    arrays = {"targets": torch.tensor([1, 2, 2]), "target_lengths": torch.tensor([3])}
    scores = logits.detach().log_softmax(-1)[0] - 0.6 * prior.log()
    paths = [path for path in itertools.product(range(3), repeat=5) if greedy_ctc(np.array(path)) == [1, 2, 2]]
    assert len(paths) > 3
    total = torch.stack([sum(scores[frame, label] for frame, label in enumerate(path)) for path in paths]).logsumexp(0)
    assert ctc(network, logits, torch.tensor([5]), arrays).item() == pytest.approx(-float(total), abs=1e-12)

    ragged = torch.randn(3, 9, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([9, 7, 4])
    arrays = {"targets": torch.tensor([1, 2, 2, 1, 2, 1, 1]), "target_lengths": torch.tensor([4, 1, 2])}
    assert torch.autograd.gradcheck(lambda x: ctc(network, x, lengths, arrays), (ragged,))


def test_torch_alone_would_give_another_gradient() -> None:
    """Why `ctc` normalises: on scores that do not add up to one torch's gradient is not that of its own loss."""
    torch.manual_seed(0)
    shift = -0.6 * torch.tensor([0.7, 0.05, 0.25], dtype=torch.float64).log()
    logits = torch.randn(1, 6, 3, dtype=torch.float64, requires_grad=True)

    def naive(x: torch.Tensor) -> torch.Tensor:
        scores = (x.log_softmax(-1) + shift).transpose(0, 1)
        return torch.nn.functional.ctc_loss(scores, torch.tensor([1, 2]), torch.tensor([6]), torch.tensor([2]), reduction="none")

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(naive, (logits,))


def test_an_even_prior_changes_no_gradient() -> None:
    """What training begins with, whatever the weight."""
    goal = objective()
    batch = micro_batch(goal, ragged_items(goal, 4))
    plain = gradients(goal, network_of("align", goal, prior_weight=0.0), [batch])[1]
    even = gradients(goal, network_of("align", goal, prior_weight=0.4), [batch])[1]
    assert torch.max(torch.abs(plain - even)) < 1e-9


def test_micro_batches_and_ranks_are_one_batch_with_priors_too() -> None:
    """Truths 5 and 6: gradients, and what the prior is moved by."""
    goal = objective()
    network = with_prior(goal)
    items = ragged_items(goal, 9)
    flat = FlatGradients(network, goal.num_observed(network))

    def summed(parts: list[list[tuple[np.ndarray, list[int]]]]) -> torch.Tensor:
        flat.buffer.zero_()
        flat.observe(accumulate(goal, network, [(0, micro_batch(goal, part)) for part in parts], CPU)[2])
        return flat.buffer.clone()

    whole = summed([items])
    assert torch.allclose(summed([items[:1], items[1:5], items[5:]]), whole, atol=1e-8)
    assert torch.allclose(summed([items[:4]]) + summed([items[4:]]), whole, atol=1e-8), "two ranks' buffers, added"
    frames = sum(network.config.output_length(len(features)) for features, _ in items)
    assert float(whole[: -FlatGradients.EXTRA][-1]) == frames, "padding is not observed"
    assert float(flat.observed[:-1].sum()) == pytest.approx(float(flat.observed[-1]), rel=1e-9)

    plain = gradients(goal, with_prior(goal, seed=4), [micro_batch(goal, items)])[1]
    assert torch.max(torch.abs(plain - gradients(goal, network, [micro_batch(goal, items)])[1])) > 1e-4, "the prior matters"


def test_a_step_uses_the_prior_of_the_steps_before_it() -> None:
    goal = objective()
    network = with_prior(goal)
    before = network.label_prior.clone()
    statistics = accumulate(goal, network, [(0, micro_batch(goal, ragged_items(goal, 2)))], CPU)[2]
    assert torch.equal(network.label_prior, before), "computing a loss moves nothing"
    goal.observe(network, statistics[0].observed)
    assert not torch.equal(network.label_prior, before)
    assert float(network.label_prior.sum()) == pytest.approx(1.0, abs=1e-9)
    goal.observe(network, torch.zeros_like(statistics[0].observed))  # a step without a frame
    assert torch.isfinite(network.label_prior).all()


def trained(corpus: Path, out: Path, *overrides: str) -> dict[str, torch.Tensor]:
    """The last weights and the averaged ones, by folder and name."""
    pipeline.train("demo", [f"corpus={corpus}", f"out={out}", *TINY, *ON, *overrides])
    pointers = read_json(out / CHECKPOINTS / POINTERS)
    return {f"{which}.{name}": tensor for which in ("last", "averaged")
            for name, tensor in load_file(out / CHECKPOINTS / pointers[which] / "model.safetensors").items()}


@pytest.fixture(scope="module")
def one_rank(chords: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    out = tmp_path_factory.mktemp("priors") / "run"
    return out, trained(chords, out, "budget=12steps", "ranks=1")


def test_two_ranks_end_where_one_does(one_rank: tuple[Path, dict[str, torch.Tensor]], chords: Path, tmp_path: Path) -> None:
    two = trained(chords, tmp_path / "run", "budget=12steps", "ranks=2")
    alone = one_rank[1]
    assert "last.label_prior" in alone and alone.keys() == two.keys()
    assert float((alone["last.label_prior"] - two["last.label_prior"]).abs().max()) < 1e-6
    assert all(torch.allclose(alone[name], two[name], atol=1e-4) for name in alone)


def test_a_resumed_run_ends_at_the_same_bits(
    one_rank: tuple[Path, dict[str, torch.Tensor]], chords: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truth 7: the prior is in the checkpoint, for the weights and for their average."""
    from utterloom.train.trainer import Trainer

    step, calls = Trainer._step, 0

    def dies(self: Trainer, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise KeyboardInterrupt
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        trained(chords, tmp_path / "run", "budget=12steps", "ranks=1", "save_every=5steps")
    monkeypatch.undo()
    again = trained(chords, tmp_path / "run", "budget=12steps", "ranks=1", "save_every=5steps")
    assert all(torch.equal(tensor, again[name]) for name, tensor in one_rank[1].items())
    assert torch.equal(again["last.label_prior"], again["averaged.label_prior"])
    assert float(again["last.label_prior"].max()) > 1.001 * float(again["last.label_prior"].min()), "it has moved"


def test_a_model_folder_holds_its_prior(one_rank: tuple[Path, dict[str, torch.Tensor]]) -> None:
    network = CTCEngine.open(one_rank[0], "averaged").network
    assert isinstance(network, ConformerForCTC) and network.config.prior_weight == 0.4
    assert torch.equal(network.label_prior, load_file(model_folder(one_rank[0], "averaged") / "model.safetensors")["label_prior"])
    logits = torch.randn(2, 3, network.config.vocab_size)
    shifted = logits.log_softmax(-1) - 0.4 * network.label_prior.log()
    assert torch.allclose(network.alignment_scores(logits), shifted)


def test_without_a_prior_nothing_of_it_is_there(chords: Path, tmp_path: Path) -> None:
    tensors = trained(chords, tmp_path / "run", "budget=2steps", "ranks=1", "model.prior_weight=0")
    assert not [name for name in tensors if "prior" in name]
    goal = objective()
    network = network_of("demo", goal)
    assert goal.num_observed(network) == 0
    assert len(FlatGradients(network, 0).buffer) == sum(p.numel() for p in network.parameters()) + FlatGradients.EXTRA


def test_the_recipe_align_trains(chords: Path, tmp_path: Path) -> None:
    """Two steps of it as it is: characters, frames of 20 ms or 40 ms, a prior that has begun to move."""
    pipeline.train("align", [f"corpus={chords}", f"out={tmp_path / 'run'}", "budget=2steps", "validations=1", "ranks=1"])
    engine = CTCEngine.open(tmp_path / "run", "averaged")
    network = engine.network
    assert isinstance(network, ConformerForCTC) and network.config.prior_weight > 0
    assert network.config.subsampling / engine.contract.features.rate_hz in (0.02, 0.04)
    assert len(engine.tokenizer.encode("hai ba")) == 7, "a mark for each word, and its letters"
    assert float(network.label_prior.max() - network.label_prior.min()) > 0
    assert float(network.label_prior.sum()) == pytest.approx(1.0, abs=1e-5)
