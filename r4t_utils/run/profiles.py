"""Profiles: one YAML file a scale, plus overrides from the command line, become frozen, validated settings.

The YAML files hold every value, settings.py every rule. A profile that lacks a setting, or has one too many,
is an error, as is a value of the wrong type or out of range.
"""

import dataclasses
import math
import shlex

import yaml

from r4t_utils.run import paths
from r4t_utils.settings import SECTIONS, Settings, SettingsError, check_consistency


def names() -> list[str]:
    """The profiles there are, smallest first where known."""
    found = {p.stem for p in paths.profiles().glob("*.yaml")}
    known = [n for n in ("smoke", "cpu", "gpu", "paper") if n in found]
    return known + sorted(found - set(known))


def load(profile: str, overrides: str = "") -> Settings:
    """Settings of a profile with overrides such as "rl.steps=20 folm.k=8" applied.

    Raises SettingsError, naming the value, the rule and the remedy, for an unknown profile, section or
    setting, a repeated or malformed override, a wrong type, a value out of range, or settings that contradict
    each other.
    """
    if profile not in names():
        raise SettingsError(f"profile={profile!r} is not known; choose one of {', '.join(names())}")
    file = paths.profile(profile)
    try:
        given = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{file.name} cannot be read ({reason}); restore the file") from None
    if not isinstance(given, dict):
        raise SettingsError(f"{file.name} is not a mapping of sections; restore the file")
    _same_names(f"sections in {file.name}", given, SECTIONS)
    for section, kind in SECTIONS.items():
        if not isinstance(given[section], dict):
            raise SettingsError(f"{file.name}: {section} is not a mapping of settings; restore the file")
        _same_names(f"settings in {file.name}, {section}", given[section], _fields(kind))
    for name, text in parse(overrides).items():
        section, key = name.split(".")
        is_text = _fields(SECTIONS[section])[key].type is str
        given[section][key] = text if is_text else _plain(name, text)
    settings = Settings(
        **{
            section: kind(
                **{
                    key: _checked(f"{section}.{key}", field, given[section][key])
                    for key, field in _fields(kind).items()
                }
            )
            for section, kind in SECTIONS.items()
        }
    )
    check_consistency(settings)
    return settings


def parse(overrides: str) -> dict[str, str]:
    """{"rl.steps": "20"} from "rl.steps=20"; SettingsError on a bad form, an unknown or a repeated name."""
    if not isinstance(overrides, str):
        raise SettingsError(f'overrides={overrides!r} is not text; write it as "rl.steps=20 folm.k=8"')
    try:
        words = shlex.split(overrides)
    except ValueError as error:
        reason = f"cannot be split ({error}); balance the quotes"
        raise SettingsError(f"overrides={overrides!r} {reason}") from None
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        section, _, key = name.partition(".")
        if not equals or not value or not key:
            raise SettingsError(f"override {word!r} is not of the form section.name=value, as in rl.steps=20")
        if section not in SECTIONS:
            valid = ", ".join(SECTIONS)
            raise SettingsError(f"override {word!r}: no section {section!r}; the sections are {valid}")
        if key not in _fields(SECTIONS[section]):
            valid = ", ".join(_fields(SECTIONS[section]))
            raise SettingsError(f"override {word!r}: no setting {key!r} in {section}; there are {valid}")
        if name in found:
            raise SettingsError(f"override {name} is given twice; give it once")
        found[name] = value
    return found


def _fields(kind) -> dict:
    return {f.name: f for f in dataclasses.fields(kind)}


def _same_names(where: str, given, wanted) -> None:
    unknown, missing = sorted(set(map(str, given)) - set(wanted)), [n for n in wanted if n not in given]
    if unknown or missing:
        found = f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
        raise SettingsError(f"{where}: {found}; the names are {', '.join(wanted)}")


def _plain(name: str, text: str):
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"{name}={text} is not a number or a list such as [1,2,4]") from None


def _checked(name: str, field, value):
    """`value` as the field's type and within its rule, or SettingsError."""
    if field.type == tuple[int, ...]:
        if not isinstance(value, list) or not value:
            raise SettingsError(f"{name}={value!r} is not a list of whole numbers, such as [1,2,4]")
        return tuple(_number(name, field, item, int) for item in value)
    if field.type is str:
        choices = field.metadata.get("choices")
        if choices and value not in choices:
            raise SettingsError(f"{name}={value!r} is not one of {', '.join(choices)}")
        if not isinstance(value, str) or not value.strip():
            raise SettingsError(f"{name}={value!r} is not text")
        return value
    return _number(name, field, value, field.type)


def _number(name: str, field, value, kind):
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            value = float(value)  # YAML reads 1e-3, without a point, as text
        except ValueError:
            pass
    if type(value) is not kind:
        raise SettingsError(f"{name}={value!r} is not a {'whole ' if kind is int else ''}number")
    rule = field.metadata
    fits = math.isfinite(value) and rule["low"] <= value <= rule["high"]
    if not fits or (rule["above"] is not None and value <= rule["above"]):
        low = f"above {rule['above']}" if rule["above"] is not None else f"at least {rule['low']}"
        high = f" and at most {rule['high']}" if rule["high"] < math.inf else ""
        raise SettingsError(f"{name}={value} is out of range; it must be finite, {low}{high}")
    return value
