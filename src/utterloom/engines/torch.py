"""The decoding loop that training's validation, `evaluate` and `transcribe` share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCTC

from utterloom.batches.loader import MicroBatch
from utterloom.core.errors import SourceError
from utterloom.models.contract import Contract, model_folder
from utterloom.text.decoding import greedy_ctc
from utterloom.text.tokenizers import CTCTokenizer


class CTCEngine:
    """A CTC network with its tokenizer and contract. `streaming: none`: the conformer looks at the whole utterance."""

    streaming = "none"

    def __init__(self, network: torch.nn.Module, tokenizer: CTCTokenizer, contract: Contract, device: torch.device) -> None:
        self.network, self.tokenizer, self.contract, self.device = network, tokenizer, contract, device

    @classmethod
    def open(cls, path: Path, which: str = "best", device: torch.device | None = None) -> CTCEngine:
        """From a run or a model folder. Raises SourceError."""
        folder = model_folder(path, which)
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        contract = Contract.load(folder)
        try:
            network = AutoModelForCTC.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise SourceError(f"the model in {folder} cannot be opened: {str(error).splitlines()[0]}") from None
        return cls(network.to(device).eval(), CTCTokenizer.load(folder), contract, device)

    @torch.inference_mode()
    def texts(self, features_btm: np.ndarray, lengths_b: np.ndarray) -> list[str]:
        """Log-mel [b, t, m] and lengths [b] → one text for each."""
        if not len(lengths_b):
            return []
        output = self.network(torch.from_numpy(features_btm).to(self.device), torch.from_numpy(lengths_b).to(self.device))
        best_bs = output.logits.argmax(-1).cpu().numpy()
        return [
            self.tokenizer.decode(greedy_ctc(best[:length])) for best, length in zip(best_bs, output.lengths.tolist(), strict=True)
        ]

    def transcribe(self, micro_batches: Iterable[MicroBatch]) -> Iterator[tuple[str, str]]:
        """(id, text) of every utterance of some micro-batches of features."""
        was_training = self.network.training
        self.network.eval()
        try:
            for batch in micro_batches:
                if batch.ids:
                    yield from zip(batch.ids, self.texts(batch.arrays["features"], batch.arrays["lengths"]), strict=True)
        finally:
            self.network.train(was_training)
