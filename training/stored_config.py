"""Trust in configurations that come from files: what may stand in one, and what may be built from it.

A checkpoint can come from anybody, and Hydra builds whatever a configuration names. So everything goes this way: keep
the sections that are needed, allow plain references only, apply the user's changes, resolve all references once, check
the plain data that result, and build from exactly these.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from common.errors import InputError
from common.weights import N_LISTED
from training.config import REPOSITORY, WEIGHTS, absolute, describing

MOVED = {
    "data.clip.ClipSpec": "media.clip.ClipSpec",
    "data.envelope.fine_envelope": "media.envelope.fine_envelope",
    "data.envelope.instant_envelope": "media.envelope.instant_envelope",
    "data.synthetic.SyntheticSpec": "synthetic.SyntheticSpec",
    "stable_foley.conditioners.clap.clap_encoder": "clap.encoder.clap_encoder",
    "video2rms.model.Video2Rms": "video2rms.level_network.LevelNetwork",
}
"""Names that classes and functions had when earlier checkpoints were written, and those of today. Add a line whenever
one of them moves that a stored configuration builds."""
MAX_VALUES = 2000
"""Values that a configuration may hold; the largest of this project has about 200."""
MAX_DEPTH = 30
"""Levels that a configuration may have; the deepest of this project has 10."""
HUB_ID = "hub_id"
"""Key of a repository that weights are fetched from."""

_KEY = r"[A-Za-z_]\w*(?:\.\w+|\[\d+\])*"
_REFERENCE = re.compile(rf"\$\{{(?:(?:oc\.select:)?(\.*{_KEY})(?:,null)?|bundled:[\w-]+(?:\.[\w-]+)*)\}}", re.ASCII)
_NAME = re.compile(r"[A-Za-z]\w*|_target_|_partial_")
_PACKAGE = re.compile(r"# @package (\S+)")


def stored_form(config: DictConfig, sections: Sequence[str]) -> dict[str, Any]:
    """Return what a checkpoint stores of a composed configuration.

    References within the sections stay, so that a change reaches every place, and so do those to ``paths``, of which
    only the keys that are referred to are stored, as absolute paths. Every other reference becomes its value.

    Args:
        config: a whole training configuration.
        sections: keys such as ``model`` or ``dataset.spec``.

    Raises:
        InputError: a section is missing.
    """
    composed: Any = OmegaConf.to_container(config)

    def stored(part: Any, place: str) -> Any:
        if isinstance(part, dict):
            return {key: stored(value, f"{place}.{key}") for key, value in part.items()}
        if isinstance(part, list):
            return [stored(value, f"{place}[{i}]") for i, value in enumerate(part)]
        if not isinstance(part, str) or "${" not in part:
            return part
        target = _target(part, place)
        if is_reference(part) and (target is None or any(_is_within(target, key) for key in (*sections, "paths"))):
            return part
        value = OmegaConf.select(config, place)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

    kept: dict[str, Any] = {}
    for section in sections:
        if (part := _value(composed, section)) is _MISSING:
            raise InputError(f"the configuration has no {section}; choose exp=NAME and backbone=NAME that have it.")
        _put(kept, section, stored(part, section))
    for key in sorted({target for target in _targets(kept) if _is_within(target, "paths")}):
        path = OmegaConf.select(config, key)
        _put(kept, key, absolute(path) if key.removeprefix("paths.") in WEIGHTS else path)
    return kept


def kept_sections(described: Any, source: object, needed: Sequence[str], optional: Sequence[str] = ()) -> DictConfig:
    """Return the sections of a configuration from a file that a purpose needs, and whatever these refer to.

    References stay unresolved; classes that have moved since get the names they have today.

    Args:
        described: the configuration as the file holds it.
        source: its file, named in errors.
        needed: keys such as ``model`` or ``dataset.spec``.
        optional: keys that may be missing.

    Raises:
        InputError: a section is missing; a value is no text, number, list or mapping; or a value holds ``${…}`` and
            is no reference, see ``is_reference``.
    """
    kept: dict[str, Any] = {}
    held: list[str] = []
    waiting = [*needed, *optional]
    for key in waiting:  # grows
        value = _value(described, key)
        if value is _MISSING and key in needed:
            raise InputError(f"{source} has a configuration without {key}; give the file of a training that has it.")
        if value is not _MISSING and not any(_is_within(key, section) for section in held):
            _check_values(value, source)
            _put(kept, key, value)
            held.append(key)
            waiting += _targets(value, key)
    _check_values(kept, source)
    with describing(f"the configuration in {source}"):
        return OmegaConf.create(_with_current_names(kept))


def resolved(config: DictConfig, source: object) -> DictConfig:
    """Return a configuration as plain data, without references, once it is clear what would be built from it.

    Args:
        config: configuration, changed as it should be.
        source: where it comes from, named in errors.

    Raises:
        InputError: a reference leads nowhere, or a part would be built by anything but what configs/ names there.
    """
    with describing(f"the configuration in {source}"):
        _check_values(OmegaConf.to_container(config), source)
        _check_size(config, source)
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    _check_values(plain, source, references=False)
    foreign = sorted(set(_foreign(plain, "")))
    if foreign:
        raise InputError(
            f"{source} is refused, since its configuration would call or fetch {', '.join(foreign[:N_LISTED])}; "
            "expected what configs/ has in that place: use a file that you trust, or add it there."
        )
    return OmegaConf.create(plain)


def is_reference(value: Any) -> bool:
    """Return whether a value is a whole reference: to another key, ``${key}``, or to ``${bundled:FILE}``."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


_MISSING = object()


def _value(described: Any, key: str) -> Any:
    """Return the value at a key with dots, or ``_MISSING``."""
    for name in key.split("."):
        if not isinstance(described, Mapping) or name not in described:
            return _MISSING
        described = described[name]
    return described


def _put(kept: dict[str, Any], key: str, value: Any) -> None:
    """Set a value at a key with dots."""
    *parents, name = key.split(".")
    functools.reduce(lambda part, parent: part.setdefault(parent, {}), parents, kept)[name] = value


def _targets(part: Any, place: str = "") -> Iterator[str]:
    """Yield the keys that a part of a configuration refers to."""
    for inner_place, inner in _parts(part, place):
        if (target := _target(inner, inner_place)) is not None:
            yield target


def _target(value: Any, place: str) -> str | None:
    """Return the key of the whole configuration that a value at a place refers to, None if it is no such reference."""
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return _absolute(match[1], place).split("[")[0] if match and match[1] else None


def _is_within(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"{section}.")


def _with_current_names(part: Any) -> Any:
    """Return a copy of a nested configuration in which every ``_target_`` has the name of today."""
    if isinstance(part, list):
        return [_with_current_names(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    target = part.get("_target_")
    renamed = {"_target_": MOVED[target]} if isinstance(target, str) and target in MOVED else {}
    return {key: _with_current_names(value) for key, value in part.items()} | renamed


def _check_values(part: Any, source: object, *, references: bool = True) -> None:
    """Refuse values of other kinds than YAML has, too many of them, and ``${`` in what is no reference."""
    waiting, n_values = [(part, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        n_values += 1
        if n_values > MAX_VALUES or depth > MAX_DEPTH:
            raise _too_many(source)
        if isinstance(value, dict | list):
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting += [(one, depth + 1) for one in inner]
        elif isinstance(value, str):
            if "${" in value and not (references and is_reference(value)):
                raise InputError(
                    f"{source} is refused, since its configuration holds {value[:80]!r}; expected references to other "
                    "keys, ${key}, or to bundled files, ${bundled:FILE}, only: use a file that you trust."
                )
        elif not isinstance(value, int | float | None):
            raise InputError(f"{source} has a configuration with a {type(value).__name__}; give a checkpoint.")


def _check_size(config: DictConfig, source: object) -> None:
    """Refuse references that lead to too many values, as lists of references to lists of references do."""
    waiting: list[Any] = [config]
    n_values = 1
    while waiting:
        part = waiting.pop()
        if isinstance(part, DictConfig | ListConfig):
            n_values += len(part)
            if n_values > MAX_VALUES:
                raise _too_many(source)
            waiting.extend([part[key] for key in part] if isinstance(part, DictConfig) else part)


def _too_many(source: object) -> InputError:
    return InputError(
        f"{source} has a configuration of more than {MAX_VALUES} values or {MAX_DEPTH} levels; give a checkpoint."
    )


def _foreign(part: Any, place: str) -> Iterator[str]:
    """Yield what a plain configuration would build, or fetch, where configs/ has something else or nothing."""
    if isinstance(part, list):
        for i, inner in enumerate(part):
            yield from _foreign(inner, f"{place}[{i}]")
    if not isinstance(part, dict):
        return
    if "_target_" in part or "_partial_" in part:
        built = (str(part.get("_target_")), part.get("_partial_", False))
        if built not in list(_allowed(place)):  # a list compares values that have no hash too
            yield f"{built[0]} as {place}"
    if part.get(HUB_ID) not in [None, *_hub_ids()]:
        yield f"{part[HUB_ID]} as {place}.{HUB_ID}"
    for key, inner in part.items():
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            yield f"{key} in {place}"
        yield from _foreign(inner, f"{place}.{key}" if place else str(key))


def _allowed(place: str, visited: frozenset[str] = frozenset()) -> set[tuple[str, Any]]:
    """Return what configs/ builds at a place, directly or by a reference to another place: target and ``_partial_``."""
    if place in visited:
        return set()
    targets, references = _places()
    found = set(targets.get(place, ()))
    names = place.split(".")
    for n in range(1, len(names) + 1):
        for other in references.get(".".join(names[:n]), ()):
            found |= _allowed(".".join([other, *names[n:]]), visited | {place})
    return found


@functools.cache
def _places() -> tuple[dict[str, set[tuple[str, Any]]], dict[str, set[str]]]:
    """Return, for each place in a configuration, what the files of configs/ and exp/ build there and refer to."""
    targets: dict[str, set[tuple[str, Any]]] = {}
    references: dict[str, set[str]] = {}
    for place, part in _described():
        if isinstance(part, dict) and "_target_" in part:
            targets.setdefault(place, set()).add((part["_target_"], part.get("_partial_", False)))
        elif (target := _target(part, place)) is not None:
            references.setdefault(place, set()).add(target)
    return targets, references


@functools.cache
def _hub_ids() -> set[str]:
    """Return the repositories that configs/ fetches weights from."""
    return {part[HUB_ID] for _, part in _described() if isinstance(part, dict) and HUB_ID in part}


@functools.cache
def _described() -> tuple[tuple[str, Any], ...]:
    """Return all parts of the files of configs/ and exp/ with their places in a whole configuration."""
    found: list[tuple[str, Any]] = []
    for path in sorted([*(REPOSITORY / "configs").rglob("*.yaml"), *(REPOSITORY / "exp").glob("*.yaml")]):
        text = path.read_text(encoding="utf-8")
        found += _parts(yaml.safe_load(text), _package(text, path))
    return tuple(found)


def _package(text: str, path: Path) -> str:
    """Return the place in a whole configuration that a file describes: the one it states, or else its folder's."""
    stated = _PACKAGE.match(text)
    place = stated[1] if stated else ".".join(path.parent.relative_to(REPOSITORY / "configs").parts)
    return "" if place == "_global_" else place


def _parts(part: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield all parts of a nested configuration with their places."""
    yield place, part
    if isinstance(part, dict | list):
        for key, inner in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _parts(inner, f"{place}.{key}" if place else str(key))


def _absolute(reference: str, place: str) -> str:
    """Return a reference such as ``.name``, seen from a place, as a key of the whole configuration."""
    name = reference.lstrip(".")
    n_up = len(reference) - len(name)
    return ".".join([*place.split(".")[:-n_up], name]) if n_up else name
