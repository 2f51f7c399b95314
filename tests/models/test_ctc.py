"""The conformer: lengths, batch invariance, and the folder that the Auto classes open."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel, AutoModelForCTC

from utterloom.models.ctc import ConformerCTCConfig, ConformerForCTC, Dropout

torch.set_num_threads(1)


def network(subsampling: int = 8) -> ConformerForCTC:
    torch.manual_seed(0)
    return (
        ConformerForCTC(
            ConformerCTCConfig(
                vocab_size=20,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=48,
                subsampling=subsampling,
                subsampling_channels=4,
                conv_kernel=5,
            )
        )
        .double()
        .eval()
    )


@pytest.mark.parametrize("subsampling", [2, 4, 8])
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4), extra=st.integers(0, 9))
def test_an_utterance_has_the_same_logits_alone_and_in_any_batch(subsampling: int, lengths: list[int], extra: int) -> None:
    """Truth 2 (A-P8, A-P9), padding filled with noise that must not matter."""
    model = network(subsampling)
    features = torch.randn(len(lengths), max(lengths) + extra, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together = model(features, torch.tensor(lengths))
        for number, length in enumerate(lengths):
            alone = model(features[number : number + 1, :length], torch.tensor([length]))
            frames = int(together.lengths[number])
            assert frames == alone.logits.shape[1] == model.config.output_length(length)
            assert torch.allclose(together.logits[number, :frames], alone.logits[0], atol=1e-10)


def test_the_length_function_is_the_networks_own() -> None:
    """Truth 3: for every length, not nearly."""
    model = network()
    with torch.no_grad():
        for length in [*range(1, 40), 399, 400, 401]:
            output = model(torch.zeros(1, length, 80, dtype=torch.float64), torch.tensor([length]))
            assert output.logits.shape[1] == int(output.lengths[0]) == model.config.output_length(length)


def test_the_auto_classes_open_what_it_saves(tmp_path: Path) -> None:
    model = network().float()
    model.save_pretrained(tmp_path)
    again = AutoModelForCTC.from_pretrained(tmp_path)
    assert isinstance(again, ConformerForCTC) and isinstance(AutoConfig.from_pretrained(tmp_path), ConformerCTCConfig)
    assert all(
        torch.equal(left, right) for left, right in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert type(AutoModel.from_pretrained(tmp_path)).__name__ == "ConformerEncoder"


def test_no_batch_statistics() -> None:
    assert not [module for module in network().modules() if "BatchNorm" in type(module).__name__]


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    from utterloom.models.ctc import Dropout

    torch.manual_seed(0)
    x = torch.ones(200_003)
    y = Dropout(0.1)(x)
    assert abs(float((y == 0).double().mean()) - 26 / 256) < 0.005
    assert abs(float(y.mean()) - 1.0) < 0.01
    assert torch.equal(Dropout(0.1).eval()(x), x)


@pytest.mark.parametrize("bad", [{"subsampling": 3}, {"conv_kernel": 4}, {"hidden_size": 30, "num_attention_heads": 4}])
def test_impossible_sizes_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        ConformerCTCConfig(**bad)


@pytest.mark.parametrize(
    "imports",
    ["import utterloom; from transformers import AutoModelForCTC", "from transformers import AutoModelForCTC; import utterloom"],
)
def test_importing_utterloom_is_enough_for_the_auto_classes(imports: str, tmp_path: Path) -> None:
    import subprocess
    import sys

    network().float().save_pretrained(tmp_path)
    program = f"{imports}; print(type(AutoModelForCTC.from_pretrained({str(tmp_path)!r})).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "ConformerForCTC", done.stderr


def test_importing_utterloom_alone_imports_neither() -> None:
    import subprocess
    import sys

    program = "import sys, utterloom; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def test_dropout_drops_the_part_that_is_asked_for() -> None:
    dropout = Dropout(0.25).train()
    ones = torch.ones(400, 100)
    for part, expected in ((1.0, 0.25), (0.5, 0.125), (0.0, 0.0)):
        dropout.set_part(part)
        dropped = float((dropout(ones) == 0).float().mean())
        assert dropped == pytest.approx(expected, abs=0.01)
        assert float(dropout(ones).mean()) == pytest.approx(1.0, abs=0.02)
