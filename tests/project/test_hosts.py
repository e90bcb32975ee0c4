"""The project installs into hosted notebooks (hosts.yaml) without replacing what their kernel runs on."""

import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from r4t_utils.run import paths

HOSTS = yaml.safe_load((paths.ROOT / "tests" / "project" / "hosts.yaml").read_text())
PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
KEPT = {"torch", "numpy", "pandas", "ipykernel"}  # another version of these means a restart, or no GPU


def _refused(host: dict, texts: list[str]) -> dict[str, set[str]]:
    """The host's packages that these requirements do not admit: {name: who asks for another version}.

    Packages that the host lacks or replaces would be installed, so what they ask for counts too, as far as they are
    installed here.
    """
    marks = {"python_version": host["python"], "python_full_version": host["python"] + ".0", "extra": ""}
    refused, seen, waiting = {}, set(), [("r4t_utils", text) for text in texts]
    while waiting:
        asker, text = waiting.pop()
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate(marks):
            continue
        if name in host["versions"] and not requirement.specifier.contains(host["versions"][name]):
            refused.setdefault(name, set()).add(asker)
        if name not in seen and (name not in host["versions"] or name in host["replaced"]):
            seen.add(name)
            waiting += [(name, need) for need in metadata.requires(name) or []]
    return refused


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_a_host_keeps_its_torch_numpy_pandas_and_kernel(host):
    assert KEPT <= host["versions"].keys()
    assert _refused({**host, "replaced": {}}, PROJECT["dependencies"]) == {}
    notebooks = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["notebooks"]
    refused = _refused(host, notebooks)
    assert refused.keys() == host["replaced"].keys() and not KEPT & refused.keys()
    assert all(asker in refused[name] for name, asker in host["replaced"].items())


def test_a_refusal_is_seen_however_deep(monkeypatch):
    host = HOSTS["colab-2026-08"]
    assert _refused(host, ["numpy>=99"]) == {"numpy": {"r4t_utils"}}
    monkeypatch.setattr(metadata, "requires", {"a": ["b"], "b": ["pandas<1", "torch; extra == 'x'"]}.get)
    assert _refused(host, ["a"]) == {"pandas": {"b"}}
