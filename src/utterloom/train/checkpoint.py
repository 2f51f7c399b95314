"""Checkpoints: folders renamed into place whole, and one small file that says which is last, best and averaged.

`step-00000400` is a model folder with the weights as trained and, in `trainer/`, all that resuming needs;
`step-00000400-averaged` is a model folder with the averaged weights, the ones that are validated.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from utterloom.core.artifact import TEMPORARY, output_errors, read_json, remove_temporaries, write_json
from utterloom.models.contract import CHECKPOINTS, POINTERS, Contract
from utterloom.text.tokenizers import CTCTokenizer

TRAINER = "trainer"
transformers_logging.disable_progress_bar()  # one bar a file, of which there is one


class Checkpoints:
    """The checkpoints of one run. `pointers` says which folder is last, best and averaged."""

    def __init__(self, run: Path) -> None:
        self.folder = run / CHECKPOINTS
        self.folder.mkdir(exist_ok=True)
        path = self.folder / POINTERS
        self.pointers: dict[str, Any] = read_json(path) if path.exists() else {}

    @property
    def last(self) -> Path | None:
        return self.folder / self.pointers["last"] if "last" in self.pointers else None

    def save(
        self,
        step: int,
        network: PreTrainedModel,
        averaged: PreTrainedModel,
        tokenizer: CTCTokenizer,
        contract: Contract,
        tensors: dict[str, torch.Tensor],
        state: dict[str, Any],
        is_best: bool,
    ) -> None:
        """Write both model folders, then move the pointers in one rename, then remove what nothing points to."""
        name = f"step-{step:08d}"
        self._write(name, network, tokenizer, contract, tensors, state)
        self._write(f"{name}-averaged", averaged, tokenizer, contract, None, None)
        pointers = {**self.pointers, "last": name, "averaged": f"{name}-averaged"}
        if is_best or "best" not in pointers:
            pointers["best"] = f"{name}-averaged"
        write_json(self.folder / POINTERS, pointers)
        self.pointers = pointers
        self.clean()

    def clean(self) -> None:
        """Remove checkpoints that no pointer names, and what a killed writer left."""
        remove_temporaries(self.folder)
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in self.pointers.values():
                shutil.rmtree(path, ignore_errors=True)

    def load(self) -> tuple[Path, dict[str, torch.Tensor], dict[str, Any]]:
        """The last checkpoint: its folder, the trainer's tensors and the trainer's state."""
        assert self.last is not None
        return self.last, load_file(self.last / TRAINER / "state.safetensors"), read_json(self.last / TRAINER / "state.json")

    def _write(
        self,
        name: str,
        network: PreTrainedModel,
        tokenizer: CTCTokenizer,
        contract: Contract,
        tensors: dict[str, torch.Tensor] | None,
        state: dict[str, Any] | None,
    ) -> None:
        final = self.folder / name
        temporary = self.folder / f"{TEMPORARY}{name}"
        with output_errors(final):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            network.save_pretrained(temporary)
            tokenizer.save(temporary)
            contract.save(temporary)
            if tensors is not None and state is not None:
                (temporary / TRAINER).mkdir()
                save_file(tensors, temporary / TRAINER / "state.safetensors")
                write_json(temporary / TRAINER / "state.json", state)
            for path in temporary.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            if final.exists():  # a run that was resumed before this step and came here again
                shutil.rmtree(final)
            temporary.rename(final)
