"""Where a model's files lie on this machine: a folder, a run of ours, or the cache of the Hugging Face Hub; and what they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utterloom.core.artifact import fingerprint, sha256_of
from utterloom.core.errors import SourceError
from utterloom.models.contract import POINTERS, model_folder

CONFIG = "config.json"
SAFE, PICKLED = ".safetensors", ".bin"
SMALL = (".json", ".txt", ".model")  # configurations, and whatever a tokenizer is kept in
BESIDE = ("preprocessor_config.json", "processor_config.json", "utterloom.json")


@dataclass(frozen=True)
class ModelFiles:
    """A model in a `folder` of this machine. `name` is what was asked for, `commit` that of the Hub (None: it is a folder)."""

    name: str
    folder: Path
    commit: str | None

    @property
    def short_name(self) -> str:
        """The last part of its name: wavlm-large for microsoft/wavlm-large."""
        return Path(self.name).resolve().name if self.commit is None else self.name.rpartition("/")[2]

    def fingerprint(self) -> str:
        """16 hex digits over all that its numbers depend on: configuration, preprocessing, every file of weights, whole."""
        names = [CONFIG, *BESIDE, *weight_names(path.name for path in self.folder.iterdir())]
        return fingerprint({name: [(self.folder / name).stat().st_size, sha256_of(self.folder / name)]
                            for name in names if (self.folder / name).is_file()})


def weight_names(names: Iterable[str]) -> list[str]:
    """Those of a model's files that are its weights: safetensors where there are any, or else what torch pickled."""
    names = sorted(names)
    for stem, suffix in (("model", SAFE), ("pytorch_model", PICKLED)):
        found = [name for name in names if name.startswith(stem) and name.endswith((suffix, f"{suffix}.index.json"))]
        if found:
            return found
    return []


def model_files(model: str, revision: str | None = None, is_fetched: bool = False) -> ModelFiles:
    """Find a model, and fetch it from the Hub where it has to be: `revision` is a commit, branch or tag of it. With `is_fetched`
    the network is not asked, so that every worker has the commit that its parent has fetched.

    Raises SourceError where there is no such model, it cannot be fetched, or it lacks its configuration or weights.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        folder = model_folder(path) if (path / "checkpoints" / POINTERS).is_file() else path
        return _checked(ModelFiles(str(path), folder, None))
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or not model.strip():
        raise SourceError(f"there is no model in a folder {model!r}", "a model of the Hub is written owner/name")
    return _checked(_cached(model, revision) if is_fetched else _fetched(model, revision))


def _checked(files: ModelFiles) -> ModelFiles:
    if not (files.folder / CONFIG).is_file():
        raise SourceError(f"{files.name} is not a model in Hugging Face format: {files.folder} has no {CONFIG}")
    if not weight_names(path.name for path in files.folder.iterdir()):
        raise SourceError(f"{files.name} has no weights for torch: {files.folder} has no model{SAFE} and no pytorch_model{PICKLED}",
                          "save it with save_pretrained, or choose a revision that has them")
    return files


def _fetched(model: str, revision: str | None) -> ModelFiles:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        found = HfApi().model_info(model, revision=revision)
        names = [file.rfilename for file in found.siblings or []]
        small = [name for name in names if "/" not in name and name.endswith(SMALL)]
        folder = snapshot_download(model, revision=found.sha, allow_patterns=sorted({*small, *weight_names(names)}))
        return ModelFiles(model, Path(folder), found.sha)
    except GatedRepoError:
        raise SourceError(f"model {model} of the Hub is only for those who have accepted its terms",
                          f"accept them at https://huggingface.co/{model}, then log in: hf auth login") from None
    except RevisionNotFoundError:
        raise SourceError(f"model {model} of the Hub has no revision {revision!r}",
                          f"its revisions: https://huggingface.co/{model}/commits/main") from None
    except RepositoryNotFoundError:
        raise SourceError(f"there is no folder and no model of the Hub that is called {model!r}",
                          "check the name; where the model is private, log in: hf auth login") from None
    except HFValidationError:
        raise SourceError(f"{model!r} is neither a folder nor the name of a model of the Hub", "write owner/name") from None
    except Exception as error:  # of whichever HTTP library huggingface_hub is built on
        try:
            return _cached(model, revision)
        except SourceError:
            raise SourceError(f"model {model} is not on this machine, and the Hub could not be asked for it: {error}",
                              f"on a machine with a network: hf download {model} --local-dir FOLDER; then model=FOLDER") from None


def _cached(model: str, revision: str | None) -> ModelFiles:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        raise SourceError(f"model {model} is not on this machine" + (f" at revision {revision}" if revision else ""),
                          f"hf download {model} --local-dir FOLDER; then model=FOLDER") from None
    return ModelFiles(model, folder, folder.name)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers' warnings and bars are kept from the screen while a model is opened: what matters of them is an error here."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def load_config(files: ModelFiles) -> Any:
    """What config.json says, as transformers reads it. Raises SourceError."""
    from transformers import AutoConfig

    with quiet_transformers():
        try:
            return AutoConfig.from_pretrained(files.folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"model {files.name}: {' '.join(str(error).split())[:300]}") from None


def load_whole(auto_class: Any, files: ModelFiles, **options: Any) -> tuple[Any, set[str]]:
    """(the model, names of weights that its files lack and that are therefore random). Offline.

    Raises SourceError where the files are of no model that this transformers knows, or of other sizes than the configuration says.
    """
    with quiet_transformers():
        try:
            model, told = auto_class.from_pretrained(files.folder, local_files_only=True, output_loading_info=True, **options)
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            said = " ".join(str(error).split())[:300]
            raise SourceError(f"model {files.name} cannot be opened: {said}") from None
    return model, set(told["missing_keys"])


def refuse_random(files: ModelFiles, missing: set[str], used: Iterable[str]) -> None:
    """Raises SourceError where weights that are `used` were not in the files: random weights give plausible lies."""
    lost = sorted(missing & set(used))
    if lost:
        listed = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        raise SourceError(f"model {files.name}: {len(lost)} of the weights that are needed are not in its files: {listed}",
                          "they would be random numbers; the files are of another model than config.json says, or incomplete")
