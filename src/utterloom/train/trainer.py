"""The training loop: exact in its sums, exact in its resumption, and honest about what it sees.

A step is a fixed list of micro-batches. Each rank adds the summed loss of its own into one flat gradient buffer; buffers
are added over ranks and divided once by the step's count. So accumulation and data parallelism change nothing but the
order of additions, and a partial last step weighs what it holds (B-P11, B-P12, K13).

Everything random is a function of (seed, epoch, step, micro-batch) or (seed, epoch, utterance id): resuming needs no
generator state, and a killed run that goes on ends at the same bits (CPU, budget in steps or epochs).
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utterloom.batches.loader import Loader, MicroBatch, SplitIndex
from utterloom.batches.plan import BatchPlan, EpochPlan
from utterloom.core.errors import TrainingError
from utterloom.core.log import log
from utterloom.core.progress import Reporter
from utterloom.core.timing import Budget, format_duration
from utterloom.core.ttq import TTQLedger
from utterloom.engines.torch import CTCEngine
from utterloom.metrics.error_rates import ErrorCounts, char_errors, word_errors
from utterloom.models.contract import Contract
from utterloom.models.ctc import Dropout
from utterloom.train.checkpoint import Checkpoints
from utterloom.train.config import TrainConfig
from utterloom.train.gradients import FlatGradients, accumulate, choose_precision, seed_for
from utterloom.train.interrupt import Interrupt
from utterloom.train.objectives.ctc import CTCObjective, Statistics
from utterloom.train.optimizer import Optimizer
from utterloom.train.ranks import Ranks
from utterloom.train.schedule import learning_rate_factor
from utterloom.train.steplog import FILE_NAME as STEPS_FILE
from utterloom.train.steplog import keep_steps, read_steps

PROBE_STEPS = (300, 600, 1200)
PROBE_WINDOW = 50
LEARNT_FRACTION = 0.95
MAX_CONSECUTIVE_SKIPS = 50
VALIDATION_BATCH_S = 240.0
FP16_FIRST_SCALE, FP16_GROWTH_STEPS = 2.0**14, 2000


@dataclass
class State:
    """Where a training is; with the tensors, all that a resume needs."""

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    train_s: float = 0.0
    validation_s: float = 0.0
    cpu_s: float = 0.0
    speech_s: float = 0.0
    utterances: int = 0
    skipped_steps: int = 0
    loss_scale: float = FP16_FIRST_SCALE
    good_steps: int = 0
    best_wer: float | None = None
    best_step: int | None = None
    learning: bool | None = None
    recent_losses: list[float] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    guilty: dict[str, str] = field(default_factory=dict)


class Trainer:
    """Built the same on every rank. `run` trains to the end of the budget; returns False when it was interrupted."""

    def __init__(
        self,
        config: TrainConfig,
        run: Path,
        ranks: Ranks,
        objective: CTCObjective,
        index: SplitIndex,
        dev: SplitIndex | None,
        contract: Contract,
        ledger: TTQLedger,
        device: torch.device,
    ) -> None:
        self.config, self.run_folder, self.ranks, self.objective = config, run, ranks, objective
        self.index, self.dev, self.contract, self.ledger, self.device = index, dev, contract, ledger, device
        self.budget = Budget.parse(config.budget)
        self.save_every = Budget.parse(config.save_every)
        rate = index.corpus.sample_rate_hz
        self.rate_hz = rate
        self.plan = BatchPlan(
            index.num_samples,
            index.shard,
            int(config.batch.micro_batch_s * rate),
            config.batch.micro_batches,
            config.seed,
            config.batch.window_shards,
            config.batch.max_utterances,
        )
        self.state = State()
        torch.manual_seed(seed_for(config.seed, "weights"))
        self.network = objective.build(config.model.model_dump()).to(device).train()
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.gradients = FlatGradients(self.network, objective.num_observed(self.network))
        self.optimizer = Optimizer(self.network, config.optimizer, ranks)
        self.precision = choose_precision(config.precision, device)
        self.checkpoints = Checkpoints(run) if ranks.is_first else None
        self._epoch_plan: tuple[int, EpochPlan] | None = None
        self._losses: deque[float] = deque(maxlen=2 * PROBE_WINDOW)
        self._last_save = (time.monotonic(), 0)
        self._cpu_before_s = 0.0
        self._clock = 0.0
        self._factor = 0.0
        self._agreed_train_s = 0.0  # the first rank's clock at the last step: what all ranks judge progress by
        self.view = contract.view.partition("@")[0]
        num_workers = config.workers if config.workers is not None else (4 if device.type == "cuda" else 0)
        self.loader = Loader(
            index,
            objective.collate(config.augment.build(), config.seed, config.model.subsampling),
            self.view,
            num_workers,
            config.batch.window_shards,
        )

    # -- the plan and the clock ------------------------------------------------------------------------------------------

    def epoch_plan(self, epoch: int) -> EpochPlan:
        if self._epoch_plan is None or self._epoch_plan[0] != epoch:
            self._epoch_plan = (epoch, self.plan.epoch(epoch))
        return self._epoch_plan[1]

    def progress(self) -> float:
        """How much of the budget is spent: 0 to 1."""
        if self.budget.seconds is not None:
            return min(1.0, self._agreed_train_s / self.budget.seconds)
        if self.budget.steps is not None:
            return min(1.0, self.state.step / self.budget.steps)
        assert self.budget.epochs is not None
        return min(
            1.0, (self.state.epoch + self.state.step_in_epoch / self.epoch_plan(self.state.epoch).num_steps) / self.budget.epochs
        )

    def _wanted(self) -> Iterator[tuple[int, np.ndarray]]:
        """This rank's micro-batches from the present place on, without end."""
        epoch, step = self.state.epoch, self.state.step_in_epoch
        while True:
            plan = self.plan.epoch(epoch)
            for micro_batches in plan.steps(step):
                for number, micro_batch in enumerate(micro_batches):
                    if number % self.ranks.world_size == self.ranks.rank:
                        yield epoch, micro_batch
            epoch, step = epoch + 1, 0

    # -- the loop --------------------------------------------------------------------------------------------------------

    def run(self, report: Reporter) -> bool:
        self._resume()
        batches = self.loader.micro_batches(self._wanted())
        validations_done = self._validations_due()
        with Interrupt() as interrupt, contextlib.closing(self.loader), contextlib.ExitStack() as stack:
            steps_file = (
                stack.enter_context((self.run_folder / STEPS_FILE).open("ab", buffering=0)) if self.ranks.is_first else None
            )
            self._clock = time.perf_counter()
            while self.progress() < 1.0:
                line = self._step(batches, interrupt)
                self._tick()
                stop, save = (bool(self.gradients.extra[flag] > 0) for flag in (FlatGradients.STOP, FlatGradients.SAVE))
                if steps_file is not None:
                    line["train_s"] = round(self.state.train_s, 6)
                    steps_file.write((json.dumps(line) + "\n").encode())
                    report(line["progress"], self._note(line))
                self._look_for_learning()
                due = self._validations_due()
                if due > validations_done or self.progress() >= 1.0:
                    validations_done = due
                    self._validate()
                elif stop or save:
                    self._save(is_best=False)
                self._clock = time.perf_counter()
                if stop:
                    return False
        return True

    def _tick(self) -> None:
        """Add the time since the last tick to the training time."""
        now = time.perf_counter()
        self.state.train_s += now - self._clock
        self._clock = now

    def _step(self, batches: Iterator[MicroBatch], interrupt: Interrupt) -> dict[str, Any]:
        """One optimiser step; returns its line for the log."""
        state, config = self.state, self.config
        micro_batches = self.epoch_plan(state.epoch).step(state.step_in_epoch)
        mine = [
            (seed_for(config.seed, "noise", state.epoch, state.step_in_epoch, number), next(batches))
            for number in range(self.ranks.rank, len(micro_batches), self.ranks.world_size)
        ]
        self._note_damage(mine)
        flat = self.gradients
        flat.buffer.zero_()
        scale = state.loss_scale if self.precision == torch.float16 else 1.0
        self._set_dropout()
        loss_sum, count, statistics = accumulate(
            self.objective, self.network, [(seed, batch) for seed, batch in mine if batch.ids], self.device, scale, self._autocast
        )
        flat.observe(statistics)
        said = [loss_sum, count, 0.0, 0.0, 0.0]
        if self.ranks.is_first:  # one clock and one hand decide for all
            self._tick()
            said[FlatGradients.TRAIN_S :] = [self.state.train_s, float(interrupt.asked), float(self._save_due())]
        flat.extra.copy_(torch.tensor(said, dtype=flat.extra.dtype))
        self.ranks.sum_(flat.buffer)
        loss_sum, count, self._agreed_train_s = flat.extra[:3].tolist()
        progress = self.progress()
        grad_norm = math.nan
        factor = learning_rate_factor(progress, config.optimizer.warmup, config.optimizer.schedule)
        if count > 0:
            flat.gradients.div_(count * scale)
            grad_norm = float(torch.linalg.vector_norm(flat.gradients))
        if math.isfinite(grad_norm) and math.isfinite(loss_sum):
            flat.gradients.mul_(min(1.0, config.optimizer.clip / (grad_norm + 1e-6)))
            self.optimizer.step(factor)
            self._factor = factor
            self.objective.observe(self.network, flat.observed)
            self._average()
            self._rescale(ok=True)
            if count:
                self._losses.append(loss_sum / count)
        else:
            self._skip(mine, statistics)
            self._rescale(ok=False)
        numbers = np.concatenate(micro_batches)
        speech_s = float(self.index.num_samples[numbers].sum()) / self.rate_hz
        line = {
            "step": state.step,
            "epoch": state.epoch,
            "progress": round(progress, 8),
            "lr": config.optimizer.lr * factor,
            "loss": loss_sum / count if count and math.isfinite(loss_sum) else None,
            "tokens": int(count),
            "grad_norm": grad_norm if math.isfinite(grad_norm) else None,
            "utterances": len(numbers),
            "speech_s": round(speech_s, 3),
            "skipped": not math.isfinite(grad_norm),
        }
        state.step += 1
        state.step_in_epoch += 1
        state.speech_s += speech_s
        state.utterances += len(numbers)
        if state.step_in_epoch >= self.epoch_plan(state.epoch).num_steps:
            state.epoch, state.step_in_epoch = state.epoch + 1, 0
        return line

    def _autocast(self) -> Any:
        if self.precision in (torch.bfloat16, torch.float16):
            return torch.autocast(self.device.type, dtype=self.precision)
        return contextlib.nullcontext()

    def _set_dropout(self) -> None:
        """Late dropout (Liu et al. 2023, arXiv 2303.01500): early on there is nothing yet to overfit with."""
        if self.config.dropout_warmup:
            part = min(1.0, self.progress() / self.config.dropout_warmup)
            for module in self.network.modules():
                if isinstance(module, Dropout):
                    module.set_part(part)

    def _average(self) -> None:
        """Polynomial-decay averaging (Shamir & Zhang 2013): the window grows with the steps taken."""
        weight = (self.config.averaging + 1.0) / (self.state.step + self.config.averaging + 1.0)
        torch._foreach_lerp_(list(self.averaged.parameters()), [p.detach() for p in self.network.parameters()], weight)
        self._copy_buffers()

    def _copy_buffers(self) -> None:
        """What the network keeps besides its weights is a running mean already."""
        for buffer, kept in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
            buffer.copy_(kept)

    def _rescale(self, ok: bool) -> None:
        """fp16: halve the loss scale after an overflow, double it after a long good stretch."""
        if self.precision != torch.float16:
            return
        self.state.good_steps = self.state.good_steps + 1 if ok else 0
        if not ok:
            self.state.loss_scale = max(1.0, self.state.loss_scale / 2)
        elif self.state.good_steps % FP16_GROWTH_STEPS == 0:
            self.state.loss_scale *= 2

    def _skip(self, mine: list[tuple[int, MicroBatch]], statistics: list[Statistics]) -> None:
        """A step whose numbers are not finite changes nothing, is counted, and the utterances that did it are named."""
        self.state.skipped_steps += 1
        if self.precision != torch.float16:  # there an overflow is how the loss scale is found
            guilty = [entry for entries in self.ranks.gather(self._guilty(mine, statistics)) for entry in entries]
            for utterance, why in guilty:
                if utterance not in self.state.guilty:
                    log.warning(f"step {self.state.step} was skipped: {why} from utterance {utterance}")
                self.state.guilty[utterance] = why
        if self.state.skipped_steps > MAX_CONSECUTIVE_SKIPS and self.state.skipped_steps > self.state.step // 2:
            raise TrainingError(
                f"{self.state.skipped_steps} of {self.state.step + 1} steps had to be skipped: their loss or gradient was "
                "not finite",
                "lower optimizer.lr, or look at: " + ", ".join(list(self.state.guilty)[:5]),
            )

    def _guilty(self, mine: list[tuple[int, MicroBatch]], statistics: list[Statistics]) -> list[tuple[str, str]]:
        found = []
        for (_, batch), stats in zip([entry for entry in mine if entry[1].ids], statistics, strict=False):
            finite = torch.isfinite(stats.loss_b).tolist()
            found += [(utterance, "its loss is not finite") for utterance, good in zip(batch.ids, finite, strict=True) if not good]
        if not found:
            found = [(", ".join(batch.ids[:20]), "the gradient is not finite, some one of") for _, batch in mine if batch.ids]
        return found

    def _note_damage(self, mine: list[tuple[int, MicroBatch]]) -> None:
        for _, batch in mine:
            for utterance, why in batch.damaged:
                if self.config.damaged == "error":
                    raise TrainingError(why, "damaged=quarantine trains on the rest")
                if utterance not in self.state.damaged:
                    log.warning(f"{why}; it is left out")
                self.state.damaged[utterance] = why

    # -- looking ---------------------------------------------------------------------------------------------------------

    def _note(self, line: dict[str, Any]) -> str:
        wer = f", best dev WER {100 * self.state.best_wer:.1f} %" if self.state.best_wer is not None else ""
        loss = f"loss {line['loss']:.3f}" if line["loss"] is not None else "step skipped"
        pace = self.state.speech_s / max(1e-9, self.state.train_s)
        return f"epoch {line['epoch']}, step {line['step']}, {loss}{wer}, {pace:,.0f} s of speech/s"

    def _look_for_learning(self) -> None:
        """After a few hundred steps: does it learn, and what to look at if not."""
        if self.state.step not in PROBE_STEPS or self.state.learning or len(self._losses) < PROBE_WINDOW:
            return
        now = float(np.mean(list(self._losses)[-PROBE_WINDOW:]))
        if not self.state.recent_losses:
            first = list(self._losses)[:PROBE_WINDOW] if len(self._losses) > PROBE_WINDOW else [now / LEARNT_FRACTION]
            self.state.recent_losses = [float(np.mean(first))]
        before = self.state.recent_losses[-1]
        self.state.recent_losses.append(now)
        self.state.learning = now < LEARNT_FRACTION * before
        if not self.ranks.is_first:
            return
        if self.state.learning:
            log.info(f"after {self.state.step} steps it is learning: loss {before:.3f} → {now:.3f} a token")
        else:
            log.warning(
                f"after {self.state.step} steps the loss hardly moves ({before:.3f} → {now:.3f} a token). If it stays so, "
                "look at: the learning rate (optimizer.lr up or down three times), whether transcripts belong to their audio "
                "(utterloom show CORPUS --id …), the text view, and the vocabulary (tokenizer.vocab_size down for little data)"
            )

    def _validations_due(self) -> int:
        return int(self.progress() * self.config.validations + 1e-9)

    def _save_due(self) -> bool:
        saved_at, saved_step = self._last_save
        if self.save_every.steps is not None:
            return self.state.step + 1 - saved_step >= self.save_every.steps
        return self.save_every.seconds is not None and time.monotonic() - saved_at >= self.save_every.seconds

    def _validate(self) -> None:
        if self.dev is None:
            self._save(is_best=True)
            return
        started = time.perf_counter()
        pairs = self._transcribe_dev()
        words = sum((word_errors(reference, hypothesis) for _, reference, hypothesis in pairs), ErrorCounts())
        characters = sum((char_errors(reference, hypothesis) for _, reference, hypothesis in pairs), ErrorCounts())
        self.state.validation_s += self.ranks.from_first(time.perf_counter() - started)
        wer = words.rate
        better = wer is not None and (self.state.best_wer is None or wer < self.state.best_wer)
        if better:
            self.state.best_wer, self.state.best_step = wer, self.state.step
        if self.ranks.is_first:
            recent = list(self._losses)[-PROBE_WINDOW:]
            reached = self.ledger.validated(
                step=self.state.step,
                epoch=self.state.epoch,
                progress=round(self.progress(), 6),
                wer=wer,
                cer=characters.rate,
                train_loss=float(np.mean(recent)) if recent else None,
                train_s=round(self.state.train_s, 3),
                validation_s=round(self.state.validation_s, 3),
                learning_rate=self.config.optimizer.lr * self._factor,
                utterances=len(pairs),
            )
            log.info(
                f"step {self.state.step}, {format_duration(self.state.train_s)} of training: dev WER "
                f"{100 * wer:.2f} %{' (best so far)' if better else ''}"
                if wer is not None
                else "dev has no words to score"
            )
            for milestone in reached:
                log.info(f"milestone: WER {100 * milestone.wer:g} % after {format_duration(self.state.train_s)} of training")
        self._save(is_best=better)

    def _transcribe_dev(self) -> list[tuple[str, str, str]]:
        """(id, reference, hypothesis) of all of dev, with the averaged weights, shared out over the ranks."""
        assert self.dev is not None
        plan = BatchPlan(self.dev.num_samples, self.dev.shard, int(VALIDATION_BATCH_S * self.rate_hz)).epoch(0)
        loader = Loader(self.dev, self.objective.collate(None, 0), self.view, 0, self.config.batch.window_shards)
        engine = CTCEngine(self.averaged, self.objective.tokenizer, self.contract, self.device)
        mine = [(0, plan.micro_batch(number)) for number in range(self.ranks.rank, plan.num_micro_batches, self.ranks.world_size)]
        found = dict(engine.transcribe(loader.micro_batches(mine)))
        merged = {utterance: text for part in self.ranks.gather(found) for utterance, text in part.items()}
        pairs = [
            (utterance, text or "", merged[utterance])
            for utterance, text in self.dev.texts(self.view)
            if utterance in merged and text is not None
        ]
        if not pairs:
            raise TrainingError("the dev split has no utterance with a transcript", "dev_split=null trains without validation")
        return pairs

    # -- saving and resuming ---------------------------------------------------------------------------------------------

    def _tensors(self) -> dict[str, torch.Tensor]:
        """The optimiser's and the average's tensors by the names of the parameters."""
        tensors = self.optimizer.tensors()
        for name, parameter in self.averaged.named_parameters():
            tensors[f"averaged.{name}"] = parameter.detach().contiguous()
        return tensors

    def _save(self, is_best: bool) -> None:
        self._last_save = (time.monotonic(), self.state.step)
        # Every rank saw other utterances: what each quarantined is known to all from here on.
        cpu_s = self._cpu_before_s
        for damaged, guilty, rank_s in self.ranks.gather((self.state.damaged, self.state.guilty, time.process_time())):
            self.state.damaged = {**self.state.damaged, **damaged}
            self.state.guilty = {**self.state.guilty, **guilty}
            cpu_s += rank_s
        self.state.cpu_s = cpu_s
        if self.checkpoints is None:
            return
        contract = Contract(
            self.contract.objective,
            self.contract.view,
            self.contract.features,
            {**self.contract.parents, "step": self.state.step, "epoch": self.state.epoch},
            {"best_dev_wer": self.state.best_wer, "train_s": round(self.state.train_s, 3)},
        )
        state = {**self.state.__dict__, "losses": list(self._losses)}
        self.checkpoints.save(
            self.state.step, self.network, self.averaged, self.objective.tokenizer, contract, self._tensors(), state, is_best
        )

    def _resume(self) -> None:
        """Take up the last checkpoint, if there is one; the log of later steps is cut, their time stays spent."""
        folder = self.ranks.from_first(str(self.checkpoints.last) if self.checkpoints and self.checkpoints.last else None)
        lines = read_steps(self.run_folder / STEPS_FILE)
        if folder is not None:
            from safetensors.torch import load_file

            tensors = load_file(Path(folder) / "trainer" / "state.safetensors")
            raw = json.loads((Path(folder) / "trainer" / "state.json").read_text())
            self._losses.extend(raw.pop("losses"))
            self.state = State(**raw)
            self._cpu_before_s = self.state.cpu_s
            self.network.load_state_dict(load_file(Path(folder) / "model.safetensors"))
            for name, parameter in self.averaged.named_parameters():
                parameter.copy_(tensors[f"averaged.{name}"])
            self._copy_buffers()
            self.optimizer.load(tensors)
        lost = [line for line in lines if line["step"] >= self.state.step]
        # The steps of an earlier kill are cut from the log already; the ledger knows their time.
        spent_s = max(self.ledger.spent_s, lost[-1]["train_s"] if lost else 0.0)
        lost_s = max(0.0, spent_s - self.state.train_s)
        self.state.train_s += lost_s  # budgets are not met by restarting (B-P2)
        self._last_save = (time.monotonic(), self.state.step)
        if self.ranks.is_first:
            keep_steps(self.run_folder / STEPS_FILE, [line for line in lines if line["step"] < self.state.step])
            if folder is not None or lines or self.ledger.events:  # two kills in a row leave only the ledger
                self.ledger.append(
                    "resume",
                    step=self.state.step,
                    lost_steps=len(lost),
                    lost_s=round(lost_s, 3),
                    train_s=round(self.state.train_s, 3),
                )
                log.info(
                    f"resuming at step {self.state.step}, epoch {self.state.epoch}, after {format_duration(self.state.train_s)} of "
                    f"training" + (f"; {len(lost)} steps since the last checkpoint are taken again" if lost else "")
                )
            else:
                self.ledger.append("start", step=0, train_s=0.0)
        self._agreed_train_s = self.state.train_s = self.ranks.from_first(self.state.train_s)
