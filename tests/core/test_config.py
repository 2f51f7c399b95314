"""Recipes, groups and overrides: what is meant is taken, what is not known is refused with the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from utterloom.core.config import Config, compose, keys, recipe_names
from utterloom.core.errors import ConfigError
from utterloom.pack.stage import PackConfig
from utterloom.prepare.stage import PrepareConfig


class Inner(Config):
    lr: float = Field(1e-3, gt=0)
    """peak rate"""
    size: Literal[2, 4, 8] = 8


class Target(Config):
    wer: float
    budget: str | None = None


class Example(Config):
    name: str = "x"
    """what it is called"""
    where: Path | None = None
    count: int = 1
    quick: bool = False
    dev: float | str = 0.1
    kinds: list[Literal["a", "b"]] = Field(["a"])
    pair: tuple[float, float] = (0.0, 1.0)
    mode: Literal["auto", "none"] = "auto"
    optimizer: Inner = Inner()
    model: Inner = Inner()
    joined: Inner | None = None
    targets: list[Target] = Field([])


def recipe(folder: Path, content: str | bytes, name: str = "mine.yaml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


# --------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(("override", "key", "value"), [
    ("count=3", "count", 3), ("quick=true", "quick", True), ("kinds=[a,b]", "kinds", ["a", "b"]), ("kinds=[]", "kinds", []),
    ("pair=[0.5,2]", "pair", (0.5, 2.0)), ("dev=0.2", "dev", "0.2"), ("where=null", "where", None), ("where=", "where", None),
    ("name=none", "name", "none"), ("mode=none", "mode", "none"), ("name=", "name", ""), ("+count=3", "count", 3),
    ("joined={lr: 0.5}", "joined", Inner(lr=0.5)), ("joined.size=2", "joined", Inner(size=2)), ("joined=null", "joined", None),
    ("targets=[{wer: 0.3, budget: 2m}]", "targets", [Target(wer=0.3, budget="2m")])])
def test_an_override_is_what_it_looks_like(override: str, key: str, value: object) -> None:
    assert getattr(compose(Example, [override]), key) == value


@pytest.mark.parametrize("number", ["5e-4", "1e-6", "0.0005", "5E-4"])
def test_numbers_without_a_dot_are_numbers(tmp_path: Path, number: str) -> None:
    """B-P15: PyYAML reads 5e-4 as text."""
    assert compose(Example, [f"optimizer.lr={number}"]).optimizer.lr == float(number)
    assert compose(Example, recipe=recipe(tmp_path, f"optimizer: {{lr: {number}}}")).optimizer.lr == float(number)


def test_a_choice_of_numbers_is_a_number() -> None:
    assert compose(Example, ["optimizer.size=4"]).optimizer.size == 4


@settings(max_examples=25)
@given(st.text(alphabet=st.sampled_from("\\'\"${}=[](),:#%&~ aé5"), max_size=12)
       | st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), max_size=12))
def test_text_is_taken_as_it_is(text: str) -> None:
    assert compose(Example, [f"name={text}"]).name == text


def test_a_path_with_spaces_equals_signs_and_brackets_needs_no_quotes() -> None:
    path = "/data/my corpus [v=2]/${HOME}/it's"
    assert compose(Example, [f"where={path}"]).where == Path(path)


# --------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("override", "words"), [
    ("optimiser.lr=1", ("unknown key 'optimiser.lr'", "'optimizer.lr'")), ("cuont=1", ("unknown key", "'count'")),
    ("zzzzzz=1", ("unknown key", "choose from: count")), ("count", ("not an override", "key=value")), ("=3", ("not an override",)),
    ("count=2.5", ("whole number",)), ("count=many", ("whole number", "'many'")), ("count=true", ("true and false",)),
    ("optimizer.lr=false", ("true and false",)), ("optimizer.lr=fast", ("a number",)), ("optimizer.lr=-1", ("greater than 0",)),
    ("optimizer.lr=nan", ("finite",)), ("optimizer.lr=inf", ("finite",)), ("quick=maybe", ("true or false",)),
    ("optimizer.size=3", ("not one of its choices", "2, 4 or 8")), ("mode=fast", ("choose from: 'auto'",)), ("kinds=a", ("list",)),
    ("kinds=[c]", ("choose from",)), ("optimizer=3", ("a mapping",)), ("count=1,2", ("cannot be composed",)),
    ("count=[", ("cannot be composed",)), ("~count=1", ("unknown key",)), ("hydra.run.dir=x", ("unknown key",)),
    ("targets=[{wr: 0.3}]", ("unknown key 'targets.0.wr'", "'targets.0.wer'")),
    ("targets=[{}]", ("'targets.0.wer' must be given",))])
def test_what_is_wrong_is_named_with_the_next_step(override: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(Example, [override])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("content", [
    "count: [", "- a\n- b", "count: 1\ncount: 2", "count: 1\n\tname: x", b"\xff\xfe", "name: ${nowhere}",
    "defaults: [model: nothing]", "hydra: {run: 1}", "count: {a: 1}", "counts: 1"])
def test_a_recipe_that_cannot_be_read_is_refused(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(ConfigError):
        compose(Example, recipe=recipe(tmp_path, content))


def test_a_recipe_that_is_not_there_is_named_with_what_is() -> None:
    with pytest.raises(ConfigError, match="no recipe 'an5'") as caught:
        compose(Example, recipe="an5")
    assert "'an4'" in (caught.value.hint or "")
    with pytest.raises(ConfigError, match="no recipe file"):
        compose(Example, recipe="nowhere/mine.yaml")
    with pytest.raises(ConfigError, match="not a folder"):
        compose(Example, recipe="an4", config_dir=Path("/nowhere"))


def test_an_unknown_choice_of_a_group_is_named_with_what_is_near(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model 'conformer_z'") as caught:
        compose(Example, ["model=conformer_z"], recipe=recipe(tmp_path, "count: 2"))
    assert "'conformer_s'" in (caught.value.hint or "")


def test_a_schema_without_a_group_does_not_know_it() -> None:
    with pytest.raises(ConfigError, match="unknown key 'model'"):
        compose(PackConfig, ["model=conformer_s"])


# --------------------------------------------------------------------------------------------------- composing


def test_the_override_wins_over_the_recipe_and_the_recipe_over_the_group(tmp_path: Path) -> None:
    recipe(tmp_path, "# @package model\nlr: 0.5\nsize: 2", "model/small.yaml")
    path = recipe(tmp_path, "defaults: [model: small]\nmodel: {size: 4}\ncount: 7\nname: recipe")
    found = compose(Example, ["name=spoken"], recipe=path)
    assert (found.model.lr, found.model.size, found.count, found.name) == (0.5, 4, 7, "spoken")
    assert compose(Example, ["model={lr: 0.25}"], recipe=path).model.lr == 0.25


def test_a_group_of_ones_own_is_found_beside_the_recipe_and_in_the_config_folder(tmp_path: Path) -> None:
    for name, size in (("small", 2), ("large", 4)):
        recipe(tmp_path / "here [x=1]", f"# @package model\nsize: {size}", f"model/{name}.yaml")
    path = recipe(tmp_path / "here [x=1]", "defaults: [model: small]")
    assert compose(Example, ["model=large"], recipe=path).model.size == 4
    elsewhere = recipe(tmp_path / "else", "defaults: [model: small]")
    assert compose(Example, recipe=elsewhere, config_dir=tmp_path / "here [x=1]").model.size == 2
    assert "mine" in recipe_names(tmp_path / "else")


def test_defaults_of_the_code_are_under_all_else() -> None:
    assert compose(Example, ["count=2"], defaults={"count": 5, "name": "code"}) == Example(count=2, name="code")


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Example().count = 3  # type: ignore[misc]


def test_every_key_is_listed_with_its_meaning() -> None:
    listed = {key: meaning for key, _, meaning in keys(Example)}
    assert listed["name"] == "what it is called"
    assert listed["optimizer.lr"] == "peak rate"
    assert "joined.size" in listed and "targets" in listed and "joined" not in listed


@pytest.mark.parametrize("schema", [PrepareConfig, PackConfig])
def test_every_key_of_a_stage_says_what_it_means(schema: type[Config]) -> None:
    assert all(meaning for _, _, meaning in keys(schema))


def test_a_text_view_is_named_without_its_version() -> None:
    """The view is a column's name: `basic@1` and `basic` are one."""
    assert PrepareConfig(view="basic@1").view == "basic"
    with pytest.raises(ConfigError, match="no text view 'basick'") as caught:
        compose(PrepareConfig, ["view=basick"])
    assert "'basic'" in (caught.value.hint or "")


def test_a_join_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"join\.max=2 is less than join\.min=5"):
        compose(PrepareConfig, ["join.min=5", "join.max=2"])
