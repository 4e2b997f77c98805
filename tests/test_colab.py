"""Colab: what it has installed satisfies what the package asks for, so that nothing of it is replaced."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONSTRAINTS = (ROOT / "tests" / "colab" / "constraints.txt").read_text()
VERSIONS = {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", CONSTRAINTS, flags=re.M)}
NOT_ON_COLAB = {"lightning-fabric", "monai", "connected-components-3d"}  # the bootstrap cell adds these


def bounds() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {canonicalize_name(one.name): one for one in map(Requirement, project["dependencies"])}


def test_colabs_versions_satisfy_every_bound():
    refused = {name: f"{one.specifier} refuses {VERSIONS[name]}" for name, one in bounds().items()
               if name in VERSIONS and not one.specifier.contains(VERSIONS[name])}  # fmt: skip
    assert refused == {}
    assert set(bounds()) - set(VERSIONS) == NOT_ON_COLAB


def test_the_list_says_where_it_is_from_and_what_it_is_not():
    head = "\n".join(line for line in CONSTRAINTS.splitlines() if line.startswith("#"))
    for word in ("googlecolab/backend-info", "June 2026", "Left out", "Colab itself was not tried"):
        assert word in head
    assert {"torch", "numpy", "matplotlib", "ipywidgets"} <= set(VERSIONS)
