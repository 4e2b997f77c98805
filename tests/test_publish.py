"""What goes with publishing: hashes of the pins, workflow files, the check for stand-ins, the audit."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def module(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def pins(name):
    lines = re.findall(r"^([\w.\[\]-]+)==([^\s;]+)", (ROOT / name).read_text(), flags=re.M)
    return {re.sub(r"[-_.]+", "-", one).lower(): version for one, version in lines}


def test_the_lock_has_every_pin_with_hashes():
    lock = pins("requirements.lock")
    assert {name: version for name, version in pins("requirements.txt").items() if lock.get(name) != version} == {}
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    assert [b.splitlines()[0] for b in blocks if "--hash=sha256:" not in b] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_pins_its_actions_and_asks_for_little(path):
    content = yaml.safe_load(path.read_text())
    assert content["permissions"] == {}
    for name, job in content["jobs"].items():
        assert "timeout-minutes" in job, name
        wanted = {"pages": "write", "id-token": "write"} if name == "deploy" else {"contents": "read"}
        assert job["permissions"] == wanted
        for step in job["steps"]:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step.get("uses", "actions/x@" + 40 * "0")), step
            for target in re.findall(r"make ([\w-]+)", step.get("run", "")):
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M), target
    assert all(re.search(r" # v\d+\.\d+\.\d+$", line) for line in path.read_text().splitlines() if "uses:" in line)


def test_images_are_made_from_the_pins():
    assert "requirements.txt" in (ROOT / "Dockerfile").read_text()
    assert (ROOT / "binder" / "requirements.txt").read_text().strip() == "-r ../requirements.txt"


def test_the_page_on_colab_leads_to_binder_at_the_one_address(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    import parts

    (tmp_path / "colab.md").write_text((ROOT / "book" / "colab.md").read_text())
    monkeypatch.setattr(parts, "minutes", lambda: "20 minutes")
    parts.fill_in(tmp_path, tmp_path)
    url, branch = parts.repository()
    owner = url.removeprefix("https://github.com/")
    assert f"](https://mybinder.org/v2/gh/{owner}/{branch}?urlpath=lab/tree/book)" in (tmp_path / "colab.md").read_text()


def test_the_images_own_command_needs_nothing_that_is_left_out_of_it():
    """The suite asks git, and .git is not copied into an image."""
    (words,) = re.findall(r"^CMD (.+)$", (ROOT / "Dockerfile").read_text(), flags=re.M)
    command, target = json.loads(words)
    assert command == "make"
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M)
    assert target != "test" or ".git" not in (ROOT / ".dockerignore").read_text().split()


def test_the_dev_container_runs_the_code_that_is_edited():
    """Its environment has the package installed from the image's folder: the clone has to lie exactly there."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    (place,) = re.findall(r"^WORKDIR (\S+)$", dockerfile, flags=re.M)
    assert f"ENV PATH={place}/.venv/bin:" in dockerfile
    assert container["workspaceFolder"] == place
    assert f"target={place}," in container["workspaceMount"]
    (volume,) = container["mounts"]  # a new volume begins as the image's environment, so nothing is fetched twice
    assert f"target={place}/.venv,type=volume" in volume


GOOD = {
    "address": "https://github.com/a/b",
    "origin": "git@github.com:a/b.git",
    "citation": {"version": "1.0.0", "date-released": "2026-11-30", "authors": [{"family-names": "Noether"}]},
    "version": "1.0.0",
    "changelog": "# Changelog\n\n## 1.0.0, 2026-11-30\n- one\n",
    "tags": ["v1.0.0"],
    "card": "trained on upright scans",
    "named": {"LICENSE": "Copyright (c) 2026 Emmy Noether"},
    "cite": "year = {2026}, version = {1.0.0}",
}
BAD = {
    "origin": ("https://github.com/a/fork", "git's origin is https://github.com/a/fork"),
    "citation": (GOOD["citation"] | {"version": "0.9"}, "version 0.9"),
    "changelog": ("## 1.0.0, unreleased", "an edition begins with '1.0.0, '"),
    "tags": ([], "no tag v1.0.0"),
    "card": ("and that edition is void", "void"),
    "named": ({"LICENSE": "Copyright (c) 2026 The SCOAT-Net book's authors"}, "LICENSE: still says"),
    "cite": ("version = {0.9}", "its BibTeX has version 0.9"),
}


def test_nothing_is_a_stand_in_when_all_agrees():
    assert module("book/publish_check.py").stand_ins(**GOOD) == []


@pytest.mark.parametrize("name", BAD)
def test_each_stand_in_is_said(name):
    value, words = BAD[name]
    (said,) = module("book/publish_check.py").stand_ins(**GOOD | {name: value})
    assert words in said


def test_package_citation_changelog_and_bibtex_are_of_one_edition():
    """All of the check's own words about this project, but those that wait for a publisher: address, authors, tag."""
    said = subprocess.run([sys.executable, str(ROOT / "book" / "publish_check.py")], capture_output=True, text=True).stdout
    waiting = r"_config\.yml: the repository's address|.*name the authors$|git: the last commit has no tag"
    assert [line for line in said.splitlines() if not re.match(waiting, line)] == []
    from scoat_lib import __version__

    heading = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.M).group(1)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert heading == f"{__version__}, {citation['date-released']}"
    assert citation["version"] == __version__


def test_authors_and_dates_are_looked_at():
    check = module("book/publish_check.py").stand_ins
    (said,) = check(**GOOD | {"citation": GOOD["citation"] | {"authors": [{"name": "The authors"}]}})
    assert "no person" in said
    (said,) = check(**GOOD | {"citation": GOOD["citation"] | {"date-released": "2026-11-01"}})
    assert "2026-11-01" in said


def test_the_audit_says_what_it_could_not_ask():
    audit = module(".ci/audit.py").audit
    safe = {"name": "numpy", "version": "1.0", "vulns": []}
    bad = {"name": "pillow", "version": "2.0", "vulns": [{"id": "PYSEC-1"}]}
    skipped = {"name": "torch", "skip_reason": "not found"}

    def verdict(*packages, text=None):
        said = json.dumps({"dependencies": packages}) if text is None else ""
        code = f"import sys; print({said!r}); print({text!r}, file=sys.stderr)"
        return audit([sys.executable, "-c", code], "x")

    assert verdict(safe) == (0, "no vulnerability is known; 1 of 1 packages were looked up")
    code, said = verdict(safe, bad)
    assert code == 1
    assert "pillow 2.0: PYSEC-1" in said
    code, said = verdict(skipped)  # pip-audit itself exits with 0 here
    assert code == 2
    assert "torch" in said
    assert "0 of 1" in said
    assert verdict(skipped, bad)[0] == 1
    code, said = verdict(text="requests.exceptions.ConnectionError: no route")
    assert code == 2
    assert said.startswith("not audited: the data on vulnerabilities could not be reached")
