"""Typed configuration: frozen pydantic models are the schema and the one strict validator; Hydra only composes YAML.

A recipe is a packaged name (`an4`) or a path to a YAML file; its `defaults` list names groups (`model: conformer_small`).
Overrides are `key=value`; keys are dotted. Values of text and path keys are taken as they are, so that spaces, `=` and
brackets need no quoting beyond the shell's.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from utterloom.core.errors import ConfigError, did_you_mean


class Config(BaseModel):
    """Base of every schema: immutable, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True)


C = TypeVar("C", bound=Config)


def recipes_folder() -> Path:
    return Path(str(resources.files("utterloom") / "recipes"))


def recipe_names(config_dir: Path | None = None) -> list[str]:
    """Recipes that can be named: packaged, and in the user's own folder."""
    folders = [recipes_folder()] + ([config_dir] if config_dir else [])
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def compose(schema: type[C], overrides: Sequence[str] = (), recipe: str | None = None, config_dir: Path | None = None,
            defaults: dict[str, Any] | None = None) -> C:
    """Recipe, then overrides, then validation. Raises ConfigError naming the key, the value, the choices and the next step."""
    groups = _groups(config_dir)
    spoken = [_override(schema, text, groups) for text in overrides]
    raw = dict(defaults or {})
    raw.update(_compose_with_hydra(recipe, spoken, config_dir))
    return validate(schema, raw, recipe)


def validate(schema: type[C], raw: dict[str, Any], recipe: str | None = None) -> C:
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise _explain(error, schema, recipe) from None


def keys(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every dotted key of a schema with its type and its one-line explanation: for completion, help and hints."""
    for name, field in schema.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.annotation, (field.description or "").split("\n")[0]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel) and get_origin(annotation) not in (list, tuple, dict):
            return candidate
    return None


def _groups(config_dir: Path | None) -> set[str]:
    folders = [recipes_folder()] + ([config_dir] if config_dir else [])
    return {path.parent.name for folder in folders for path in folder.glob("*/*.yaml")}


def _override(schema: type[BaseModel], text: str, groups: set[str]) -> str:
    """One `key=value` of the command line as a Hydra override."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"{text!r} is not an override", "write key=value, for example seed=3")
    name = name.strip().lstrip("+")
    if name in groups:
        return f"{name}={value}"
    known = {key: annotation for key, annotation, _ in keys(schema)}
    inner_models = {key.rsplit(".", depth)[0] for key in known for depth in range(1, key.count(".") + 1)}
    if name not in known and name not in inner_models:
        top = name.split(".")[0]
        raise ConfigError(f"unknown key {name!r}", did_you_mean(name, [*known, *sorted(groups)] if top not in known else known))
    if name in known and _takes_text(known[name]) and value.lower() not in ("null", "none"):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'") if value.endswith("\\") or "'" in value else value
        value = f"'{escaped}'"
    elif value == "":
        value = "null"
    return f"++{name}={value}"


def _takes_text(annotation: Any) -> bool:
    if annotation in (str, Path):
        return True
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_takes_text(inner) for inner in get_args(annotation))
    return get_origin(annotation) is typing.Literal


def _compose_with_hydra(recipe: str | None, overrides: Sequence[str], config_dir: Path | None) -> dict[str, Any]:
    if not overrides and recipe is None:
        return {}
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    # A recipe given by path is composed from its own folder and may use packaged groups; a packaged one may use --config-dir's.
    folder, name, others = recipes_folder(), recipe, [config_dir.resolve()] if config_dir else []
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a folder")
    if recipe is not None and Path(recipe).suffix in (".yaml", ".yml"):
        path = Path(recipe).resolve()
        if not path.is_file():
            raise ConfigError(f"there is no recipe file {recipe}", did_you_mean(path.stem, recipe_names(config_dir)))
        folder, name, others = path.parent, path.stem, [*others, folder]
    elif recipe is not None and recipe not in recipe_names(config_dir):
        raise ConfigError(f"there is no recipe {recipe!r}",
                          f"{did_you_mean(recipe, recipe_names(config_dir))} (or give a path to a .yaml file)")
    search = [f"hydra.searchpath=[{','.join(_quoted(f'file://{other}') for other in others)}]"] if others else []
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            composed = hydra_compose(config_name=name, overrides=[*overrides, *search])
        plain = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"the configuration cannot be composed: {reason}",
                          "values are YAML: 3, 0.5, true, [a,b], {key: value}; see `utterloom train --help`") from None
    finally:
        GlobalHydra.instance().clear()
    return typing.cast(dict[str, Any], plain)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


_WORDS = {
    "int_parsing": "a whole number", "int_type": "a whole number", "int_from_float": "a whole number",
    "float_parsing": "a number", "float_type": "a number", "bool_parsing": "true or false", "bool_type": "true or false",
    "string_type": "text", "path_type": "a path", "list_type": "a list, such as [a,b]", "tuple_type": "a list, such as [a,b]",
    "dict_type": "a mapping, such as {key: value}", "model_type": "a mapping, such as {key: value}",
}


def _explain(error: ValidationError, schema: type[BaseModel], recipe: str | None) -> ConfigError:
    """pydantic's first complaint in our words."""
    where = f" in recipe {recipe!r}" if recipe else ""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if not (isinstance(part, str) and part in ("str", "float", "int", "bool")))
    kind = first["type"]
    known = [name for name, _, _ in keys(schema)]
    if kind == "extra_forbidden":
        return ConfigError(f"unknown key {key!r}{where}", did_you_mean(key, known))
    if kind == "missing":
        return ConfigError(f"{key!r} must be given{where}", f"add {key}=…")
    context: dict[str, Any] = first.get("ctx") or {}
    if kind == "literal_error":
        return ConfigError(f"{key}={first['input']!r} is not one of its choices", f"choose from: {context.get('expected')}")
    wanted = _WORDS.get(kind) or str(first["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind in _WORDS:
        return ConfigError(f"{key} must be {wanted}, not {first['input']!r}{where}")
    return ConfigError(f"{key}={first['input']!r}: {wanted}{where}")
