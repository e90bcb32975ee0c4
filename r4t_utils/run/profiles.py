"""Profiles: one YAML file per scale, plus overrides from the command line, become frozen, checked settings.

The YAML files hold every value, settings.py every rule. A profile that lacks a setting, or has one too many,
is an error, as is a value of the wrong type or out of range.
"""

import re
import shlex

import yaml
from pydantic import ValidationError

from r4t_utils.run import paths
from r4t_utils.settings import SECTIONS, Settings, SettingsError, explained


def names() -> list[str]:
    """The profiles there are, smallest first where known."""
    found = {p.stem for p in paths.profiles().glob("*.yaml")}
    known = [n for n in ("smoke", "cpu", "lm", "gpu", "paper") if n in found]
    return known + sorted(found - set(known))


def load(profile: str, overrides: str = "") -> Settings:
    """Settings of a profile with overrides such as "rl.steps=20 folm.k=8" applied.

    Raises SettingsError, naming the value, the rule and the remedy, for an unknown profile, section or
    setting, a repeated or malformed override, a wrong type, a value out of range, or settings that contradict
    each other.
    """
    if profile not in names():
        raise SettingsError(f"profile={profile!r} is not known; choose one of {', '.join(names())}")
    file = paths.profiles() / f"{profile}.yaml"
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{file.name} cannot be read ({reason}); restore the file") from None
    for name, text in parse(overrides).items():
        section, key = name.split(".")
        if isinstance(given, dict) and isinstance(given.get(section), dict):  # or the check below says what is wrong
            given[section][key] = text if SECTIONS[section].model_fields[key].annotation is str else _plain(name, text)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise explained(error, file.name) from None


def notes(profile: str) -> dict[str, str]:
    """{"rl.steps": what the profile's file says beside it}, for every setting; "" where it says nothing."""
    found, section = {}, ""
    for line in (paths.profiles() / f"{profile}.yaml").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"(\w+):", line):
            section = heading[1]
        elif setting := re.match(r"  (\w+):[^#]*(?:# *(.*))?", line):
            found[f"{section}.{setting[1]}"] = setting[2] or ""
    return found


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
            raise SettingsError(f"override {word!r}: no section {section!r}; the sections are {', '.join(SECTIONS)}")
        if key not in SECTIONS[section].model_fields:
            valid = ", ".join(SECTIONS[section].model_fields)
            raise SettingsError(f"override {word!r}: no setting {key!r} in {section}; there are {valid}")
        if name in found:
            raise SettingsError(f"override {name} is given twice; give it once")
        found[name] = value
    return found


def _plain(name: str, text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"{name}={text} is not a number or a list such as [1,2,4]; change it") from None
