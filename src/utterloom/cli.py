"""The command line. Heavy packages are imported inside the command that needs them, so that --help is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from utterloom import __version__

INTERRUPTED = "interrupted; run the same command again to go on\n"
EXIT_ERROR, EXIT_PARTIAL, EXIT_INTERRUPTED = 1, 3, 130

app = typer.Typer(
    name="utterloom", no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Raw speech recordings in, speech models you can ship out.

**prepare** a messy corpus → **pack** it into shards → **train** inside a budget → **evaluate** → **transcribe**.

`utterloom demo` runs the whole path on a corpus that it makes itself. Every output is a folder at exactly the name you give;
running a command again goes on where it stopped. Settings are `key=value` after the arguments.""")

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; progress stays on stderr.")]
ConfigDir = Annotated[Path | None, typer.Option("--config-dir", help="A folder with recipes and groups of your own.")]


def _complete_recipe(incomplete: str) -> list[str]:
    from utterloom.core.config import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


def _complete_reader(incomplete: str) -> list[str]:
    from utterloom.prepare.exports import EXPORTS
    from utterloom.prepare.readers import READERS

    return [name for name in [*READERS, *EXPORTS] if name.startswith(incomplete)]


def _complete_keys(command: str) -> Any:
    def complete(incomplete: str) -> list[str]:
        from utterloom import pipeline
        from utterloom.core.config import keys

        if "=" in incomplete:
            return []
        return [f"{key}=" for key, _, _ in keys(pipeline.schema(command)) if key.startswith(incomplete)]
    return complete


def _keys_of(command: str) -> Any:
    return Annotated[list[str] | None, typer.Argument(
        help=f"Settings, as `key=value`; `utterloom keys {command}` lists them.", metavar="[KEY=VALUE]…", show_default=False,
        autocompletion=_complete_keys(command))]


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
          verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False) -> None:
    from utterloom.core.log import set_up

    set_up(verbose)
    if version:
        typer.echo(f"utterloom {__version__}")
        raise typer.Exit()


def _show(as_json: bool, value: dict[str, Any], lines: list[str]) -> None:
    from utterloom.core.log import emit_json

    if as_json and value:
        emit_json(value)
    elif lines:
        typer.echo("\n".join(lines))


@app.command()
def prepare(
    reader: Annotated[str, typer.Argument(help="How the source is laid out: see below.",
                                          autocompletion=_complete_reader)],
    source: Annotated[Path, typer.Argument(help="The table, file or folder.")],
    manifest: Annotated[Path, typer.Argument(help="The manifest folder to make.")],
    overrides: _keys_of("prepare") = None,
    audit: Annotated[bool, typer.Option("--audit", help="Decode everything and say what is wrong.")] = False,
    as_json: Json = False,
) -> None:
    """Decide which utterances there are: find, probe, normalise, filter and split them.

    A table has the columns id, path, text and any of speaker, session, language, split, start, end (seconds); paths are
    relative to the table. A folder has audio and one `transcripts.json` ({id: text}), or a .txt beside each audio file.

    From a manifest: `sample` makes a folder of utterances for people to judge, `segment` cuts all of them into files.

    Readers: `table`, `folder`; corpora as published: `common_voice`, `kaldi`, `librispeech`, `voxpopuli`, `gigaspeech`, `nemo`,
    `lhotse`, `huggingface`, `webdataset`; long recordings with times beside them: `segments`, `captions`, `audacity`,
    `textgrid`, `ctm`, `rttm`; `manifest`: one that prepare made, to filter, split or sample it again.

    Examples: `utterloom prepare table data/transcripts.tsv manifests/mine language=vi dev=0.05`;
    `utterloom prepare manifest manifests/mine manifests/clean quality.similarity=0.8`;
    `utterloom prepare sample manifests/clean samples/first utterances=100`
    """
    from utterloom import pipeline

    _show(as_json, *pipeline.prepare(reader, source, manifest, overrides or [], audit))


@app.command()
def pack(
    manifest: Annotated[Path, typer.Argument(help="A manifest that `prepare` made.")],
    corpus: Annotated[Path, typer.Argument(help="The corpus folder to make.")],
    overrides: _keys_of("pack") = None, as_json: Json = False,
) -> None:
    """Pack a manifest into a corpus: mono FLAC of one rate in WebDataset tars, Parquet rows with checksums.

    `attach=true` adds to a corpus that is there: new utterances, and other splits of those it has; nothing is packed again.

    Example: `utterloom pack manifests/mine corpora/mine sample_rate_hz=16000`
    """
    from utterloom import pipeline

    _show(as_json, *pipeline.pack(manifest, corpus, overrides or []))


def _complete_layer(incomplete: str) -> list[str]:
    from utterloom.extract.extractors import extractor_names

    return [name for name in extractor_names() if name.startswith(incomplete)]


@app.command()
def extract(
    layer: Annotated[str, typer.Argument(help="words, features, states or units.", autocompletion=_complete_layer)],
    corpus: Annotated[Path, typer.Argument(help="A packed corpus; the layer becomes a folder in it.")],
    overrides: Annotated[list[str] | None, typer.Argument(
        help="Settings, as `key=value`; `utterloom keys words` (features, states, units) lists them.", metavar="[KEY=VALUE]…",
        show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Extract one kind of knowledge about every utterance: a layer of the corpus, shard by shard.

    **words**: when each word is spoken, by forced alignment of the reference text with a CTC model, as a model hears it, or from
    files. **features**: hidden states of a speech encoder. **states**: hidden states of a language model for the text, with the
    time of each token. **units**: discrete units of a codebook or codec.

    A killed extraction goes on where it stopped; shards that join the corpus later are added by the same command.

    Examples: `utterloom extract words corpora/mine model=runs/align`;
    `utterloom extract features corpora/mine model=microsoft/wavlm-large layer=-1`;
    `utterloom extract units corpora/mine codebook=codebooks/hubert-500`
    """
    from utterloom import pipeline

    _show(as_json, *pipeline.extract(layer, corpus, overrides or []))


units = typer.Typer(no_args_is_help=True, help="Codebooks of discrete units: **fit** one, then `extract units codebook=…`.",
                    rich_markup_mode="markdown")
app.add_typer(units, name="units")


@units.command()
def fit(
    features: Annotated[Path, typer.Argument(help="A layer of features (CORPUS/LAYER), a folder of .npy files, or one.")],
    codebook: Annotated[Path, typer.Argument(help="The codebook folder to make.")],
    overrides: _keys_of("units-fit") = None, as_json: Json = False,
) -> None:
    """Fit k-means to the frames of a layer, out of core: memory does not grow with the corpus; a killed fit goes on.

    Example: `utterloom extract features corpora/mine model=facebook/hubert-base-ls960 layer=6`, then
    `utterloom units fit corpora/mine/hubert-base-ls960.6 codebooks/hubert-500 clusters=500`
    """
    from utterloom import pipeline

    _show(as_json, *pipeline.fit_units(features, codebook, overrides or []))


@app.command()
def align(
    audio: Annotated[Path, typer.Argument(help="A recording of any length.")],
    text: Annotated[Path, typer.Argument(help="All that is said in it, as UTF-8; a line is an utterance.")],
    model: Annotated[str, typer.Option("--model", help="A CTC model: a run, a folder, or a name of the Hugging Face Hub.")],
    out: Annotated[Path, typer.Option("--out", help="Its suffix is the format: .tsv .json .TextGrid .srt .vtt, .ctm for words.")],
    overrides: _keys_of("align") = None,
    words: Annotated[bool, typer.Option("--words", help="Write words instead of utterances.")] = False, as_json: Json = False,
) -> None:
    """Find in a long recording where each line of its text is said: utterances, or words, with times and scores.

    Speech that the text lacks, and lines that nobody says, may be there: the one is passed over, the other left out and named.

    Examples: `utterloom align talk.mp3 talk.txt --model runs/align --out talk.tsv`;
    `utterloom align talk.mp3 talk.txt --model runs/align --out talk.TextGrid --words`
    """
    from utterloom import pipeline

    _show(as_json, *pipeline.align(audio, text, model, out, overrides or [], words))


@app.command()
def words(
    layer: Annotated[Path, typer.Argument(help="A layer of word times: CORPUS/words.")],
    out: Annotated[Path, typer.Argument(help="A .ctm, .tsv or .json of all, or a folder that ends in .TextGrid, .srt or "
                                             ".vtt: a file for each utterance.")],
    as_json: Json = False,
) -> None:
    """Write a layer's word times to files that other tools read; words without a time are counted and left out.

    Examples: `utterloom words corpora/mine/words mine.ctm`; `utterloom words corpora/mine/words grids.TextGrid`
    """
    from utterloom import pipeline

    _show(as_json, *pipeline.words(layer, out))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe's name, or a path to a .yaml file.",
                                          autocompletion=_complete_recipe)],
    overrides: _keys_of("train") = None, config_dir: ConfigDir = None, as_json: Json = False,
) -> None:
    """Train a model inside a budget of steps, epochs or time.

    `corpus=` and `out=` must be given. Ctrl-C saves; the same command goes on. Under torchrun it joins the ranks it finds.

    Example: `utterloom train an4 corpus=corpora/an4 out=runs/an4 budget=25m`
    """
    from utterloom import pipeline

    _show(as_json, *pipeline.train(recipe, overrides or [], config_dir))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run (its best checkpoint) or a model folder.")],
    corpus: Annotated[str, typer.Argument(help="A packed corpus.")],
    overrides: _keys_of("evaluate") = None,
    split: Annotated[str | None, typer.Option("--split", help="Split to score; `dev` by default.")] = None, as_json: Json = False,
) -> None:
    """Transcribe a split, score it, and write hypotheses.jsonl, report.json and report.html.

    Example: `utterloom evaluate runs/an4 corpora/an4 --split dev`
    """
    from utterloom import pipeline

    _show(as_json, *pipeline.evaluate(model, corpus, [*(overrides or []), *([f"split={split}"] if split else [])]))


@app.command()
def transcribe(
    model: Annotated[Path, typer.Argument(help="A run (its best checkpoint) or a model folder.")],
    files: Annotated[list[Path], typer.Argument(help="Audio files of any kind.")],
    as_json: Json = False,
) -> None:
    """Print what is said in some audio files.

    Exit code 3 when some of them could not be read, 1 when none could.

    Example: `utterloom transcribe runs/an4 hello.wav *.mp3`
    """
    from dataclasses import asdict

    from utterloom import pipeline
    from utterloom.core.log import emit_json

    results = []
    for transcript in pipeline.transcribe(model, files):
        results.append(transcript)
        if not as_json and transcript.text is not None:
            typer.echo(f"{transcript.path}\t{transcript.text}")
        if transcript.error is not None:
            typer.echo(f"error: {transcript.path}: {transcript.error}", err=True)
    if as_json:
        emit_json({"transcripts": [asdict(result) for result in results]})
    failed = sum(result.error is not None for result in results)
    if failed:
        raise typer.Exit(EXIT_ERROR if failed == len(results) else EXIT_PARTIAL)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that the demo makes.")] = Path("demo"),
    size: Annotated[str, typer.Option("--size", help="small (60 words and more) or large (150 and more).")] = "small",
    language: Annotated[str, typer.Option("--language", help="Language of the speech synthesiser.")] = "vi",
    minutes: Annotated[float, typer.Option("--minutes", help="How much speech to make.")] = 100.0,
    overrides: _keys_of("train") = None, as_json: Json = False,
) -> None:
    """The whole path on a spoken corpus that it makes itself: prepare, pack, train, evaluate, transcribe."""
    from utterloom import pipeline

    _show(as_json, *pipeline.demo(out, language, size, minutes, overrides or []))


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A manifest, corpus, layer, run, report, model, recording, or a folder of these.")],
    ids: Annotated[list[str] | None, typer.Option(
        "--id", metavar="ID", help="One utterance, back to its recording; for --page as many as you like.")] = None,
    draw: Annotated[Path | None, typer.Option("--draw", metavar="FILE.png", help="Draw it on one time axis.")] = None,
    page: Annotated[Path | None, typer.Option("--page", metavar="FILE.html", help="A page of utterances, to see and hear.")] = None,
    layers: Annotated[list[str] | None, typer.Option("--layer", metavar="NAME", help="Only these layers, in this order.")] = None,
    from_s: Annotated[float | None, typer.Option("--from", metavar="SECONDS", help="Show it from here.")] = None,
    to_s: Annotated[float | None, typer.Option("--to", metavar="SECONDS", help="Show it up to here.")] = None,
    utterances: Annotated[int | None, typer.Option("--utterances", help="How many --page draws by lot; 12 by default.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of that lot.")] = 0, as_json: Json = False,
) -> None:
    """Explain any artifact, finished or not: what it is, what it came from, what was dropped, how it goes on.

    An utterance with its layers (word times, units, tokens, features) can be looked at and heard: **--draw**, **--page**.

    Examples: `utterloom show corpora/an4 --id an251-fash-b`; `utterloom show corpora/an4 --id an251-fash-b --draw an251.png`;
    `utterloom show corpora/an4/words --page words.html`
    """
    from utterloom import pipeline

    _show(as_json, *pipeline.show(path, ids or [], picture=draw, page=page, layers=layers or None, from_s=from_s, to_s=to_s,
                                  utterances=utterances, seed=seed))


@app.command()
def verify(artifact: Annotated[Path, typer.Argument(help="A corpus, with its layers, or a layer.")], as_json: Json = False) -> None:
    """Check every file and every row against its checksum; name what is hurt. Exit code 1 when anything is."""
    from utterloom import pipeline

    value, lines = pipeline.verify(artifact)
    _show(as_json, value, lines)
    if value["damages"]:
        raise typer.Exit(EXIT_ERROR)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has: devices, builds, packages, disk; what will not work, and why."""
    from utterloom import pipeline

    _show(as_json, *pipeline.doctor())


@app.command()
def keys(
    command: Annotated[str, typer.Argument(
        help="prepare, sample, segment, pack, words, features, states, units, units-fit, align, train or evaluate.")],
    as_json: Json = False,
) -> None:
    """List the settings of a command: `key=value` with defaults and meanings."""
    from utterloom import pipeline

    _show(as_json, *pipeline.list_keys(command))


def main() -> None:
    """Entry point: user errors are one message and an exit code, never a traceback."""
    # Work is spread over processes, each with one thread; libraries read this when they are first imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from utterloom.core.errors import UtterloomError
    from utterloom.core.log import set_up

    set_up()
    try:
        app(standalone_mode=True)
    except UtterloomError as error:
        from utterloom.core.log import log

        log.debug("", exc_info=True)
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_INTERRUPTED if type(error).__name__ == "Interrupted" else EXIT_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write(INTERRUPTED)
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as error:
        if error.code == EXIT_INTERRUPTED:  # typer has caught it, and says nothing
            sys.stderr.write(INTERRUPTED)
        raise
    except BrokenPipeError:
        sys.exit(EXIT_ERROR)


if __name__ == "__main__":
    main()
