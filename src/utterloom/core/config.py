"""Typed configuration: frozen pydantic models are the schema and the one strict validator; Hydra only composes YAML.

A recipe is a packaged name (`an4`) or a path to a YAML file; its `defaults` list names groups (`model: conformer_small`).
Overrides are `key=value`; keys are dotted. Values of text and path keys are taken as they are, so that spaces, `=` and
brackets need no quoting beyond the shell's.
"""

from __future__ import annotations

import re
import types
import typing
import warnings
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from utterloom.core.errors import ConfigError, did_you_mean


class Config(BaseModel):
    """Base of every schema: immutable, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True,
                              allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and not _takes_truth(cls.model_fields[str(info.field_name)].annotation):
            inner = _model_in(cls.model_fields[str(info.field_name)].annotation)
            if inner is not None:
                raise ValueError(f"it is a group of keys, such as {info.field_name}.{next(iter(inner.model_fields))}=…")
            raise ValueError("true and false are not among its values")
        return value


C = TypeVar("C", bound=Config)
LONGEST_REASON = 300


def recipes_folder() -> Path:
    return Path(str(resources.files("utterloom") / "recipes"))


def recipe_names(config_dir: Path | None = None) -> list[str]:
    """Recipes that can be named: packaged, and in the user's own folder."""
    folders = [recipes_folder()] + ([config_dir] if config_dir else [])
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def compose(schema: type[C], overrides: Sequence[str] = (), recipe: str | None = None, config_dir: Path | None = None,
            defaults: dict[str, Any] | None = None) -> C:
    """Recipe, then overrides, then validation. Raises ConfigError naming the key, the value, the choices and the next step."""
    beside = [Path(recipe).parent] if recipe is not None and _is_path(recipe) else []
    groups = _groups(schema, [recipes_folder(), *([config_dir] if config_dir else []), *beside]) if recipe is not None else {}
    spoken = [_override(schema, text, groups) for text in overrides]
    raw = dict(defaults or {})
    raw.update(_compose_with_hydra(recipe, spoken, config_dir))
    return validate(schema, raw, recipe)


def _is_path(recipe: str) -> bool:
    return Path(recipe).suffix in (".yaml", ".yml")


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


def _groups(schema: type[BaseModel], folders: Iterable[Path]) -> dict[str, list[str]]:
    """The parts of a schema for which some folder has named choices, with their names."""
    found = {path for folder in folders for path in folder.glob("*/*.yaml") if path.parent.name in schema.model_fields}
    names = sorted({path.parent.name for path in found})
    return {name: sorted({path.stem for path in found if path.parent.name == name}) for name in names}


def _override(schema: type[BaseModel], text: str, groups: dict[str, list[str]]) -> str:
    """One `key=value` of the command line as a Hydra override."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"{text!r} is not an override", "write key=value, for example seed=3")
    name = name.strip().lstrip("+")
    if name in groups and "{" not in value:
        if value not in groups[name]:
            raise ConfigError(f"there is no {name} {value!r}", did_you_mean(value, groups[name]))
        return f"{name}={value}"
    known = {key: annotation for key, annotation, _ in keys(schema)}
    inner_models = {key.rsplit(".", depth)[0] for key in known for depth in range(1, key.count(".") + 1)}
    if name not in known and name not in inner_models:
        raise ConfigError(f"unknown key {name!r}", did_you_mean(name, {**known, **groups}))
    is_null = value.lower() in ("null", "none", "") and name in known and type(None) in get_args(known[name])
    if name in known and _takes_text(known[name]) and not is_null:
        value = _quoted(value)
    elif value == "":
        value = "null"
    return f"++{name}={value}"


def _takes_truth(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_takes_truth(inner) for inner in get_args(annotation) if isinstance(inner, type))


def _takes_text(annotation: Any) -> bool:
    if annotation in (str, Path):
        return True
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_takes_text(inner) for inner in get_args(annotation))
    return get_origin(annotation) is typing.Literal and all(isinstance(choice, str) for choice in get_args(annotation))


def _compose_with_hydra(recipe: str | None, overrides: Sequence[str], config_dir: Path | None) -> dict[str, Any]:
    if not overrides and recipe is None:
        return {}
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    # A recipe given by path is composed from its own folder and may use packaged groups; a packaged one may use --config-dir's.
    # Without a recipe, `model=` is a key as any other, and no folder of choices may stand in its way.
    folder, name = (recipes_folder(), recipe) if recipe is not None else (Path(__file__).parent, None)
    others = [config_dir.resolve()] if config_dir else []
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a folder")
    if recipe is not None and _is_path(recipe):
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
        with initialize_config_dir(str(folder), version_base="1.3"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a defaults list without _self_: the recipe's own words win, as they should
            composed = hydra_compose(config_name=name, overrides=[*overrides, *search])
        plain = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        reason = " ".join(re.split("Config search path:|See https:", str(error))[0].split())[:LONGEST_REASON]
        raise ConfigError(f"the configuration cannot be composed: {reason}",
                          "values are YAML: 3, 0.5, true, [a,b], {key: value}; see `utterloom train --help`") from None
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise ConfigError(f"recipe {recipe!r} cannot be read: {reason}") from None
    finally:
        GlobalHydra.instance().clear()
    return typing.cast(dict[str, Any], plain)


def _quoted(text: str) -> str:
    """As Hydra and OmegaConf read it back: a run of backslashes is doubled before a quote, an interpolation and the end."""
    for special in (r"\$\{", "'"):
        text = re.sub(rf"(\\*)({special})", lambda match: f"{match[1] * 2}\\{match[2]}", text)
    return "'" + re.sub(r"(\\+)$", lambda match: match[1] * 2, text) + "'"


_WORDS = {
    "int_parsing": "a whole number", "int_type": "a whole number", "int_from_float": "a whole number",
    "float_parsing": "a number", "float_type": "a number", "bool_parsing": "true or false", "bool_type": "true or false",
    "finite_number": "a finite number", "string_type": "text", "path_type": "a path",
    "list_type": "a list, such as [a,b]", "tuple_type": "a list, such as [a,b]",
    "dict_type": "a mapping, such as {key: value}", "model_type": "a mapping, such as {key: value}",
}


def _explain(error: ValidationError, schema: type[BaseModel], recipe: str | None) -> ConfigError:
    """pydantic's first complaint in our words; an unknown key tells more than the one that is missing in its place."""
    where = f" in recipe {recipe!r}" if recipe else ""
    first = min(error.errors(), key=lambda complaint: complaint["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"] if not re.match(r"(str|float|int|bool)$|dict\[", str(part)))
    kind = first["type"]
    if kind == "extra_forbidden":
        return ConfigError(f"unknown key {key!r}{where}", did_you_mean(key, _keys_beside(schema, first["loc"])))
    if kind == "missing":
        return ConfigError(f"{key!r} must be given", f"add {key}=…")
    context: dict[str, Any] = first.get("ctx") or {}
    if kind == "literal_error":
        return ConfigError(f"{key}={first['input']!r} is not one of its choices", f"choose from: {context.get('expected')}")
    said = str(first["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    wanted = _WORDS.get(kind) or re.sub("^Input should", "it should", said)
    if kind in _WORDS:
        return ConfigError(f"{key} must be {wanted}, not {first['input']!r}{where}")
    return ConfigError(f"{key}={first['input']!r}: {wanted}{where}" if key else f"{wanted}{where}")


def _keys_beside(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """What may stand where `location` does."""
    model: type[BaseModel] = schema
    for part in location[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            model = next((inner for inner in _types_in(model.model_fields[part].annotation) if issubclass(inner, BaseModel)), model)
    prefix = ".".join(str(part) for part in location[:-1])
    return [f"{prefix}.{name}" if prefix else name for name, _, _ in keys(model)]


def _types_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        yield annotation
    for inner in get_args(annotation):
        yield from _types_in(inner)
