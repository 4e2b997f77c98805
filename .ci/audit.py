#!/usr/bin/env python3
"""Known vulnerabilities of the pinned packages, by pip-audit. What it could not look up is said, and never passes for safe.

python .ci/audit.py PIP_AUDIT REQUIREMENTS        exit code: 0 none known, 1 some known, 2 not all could be asked
"""

import json
import subprocess
import sys


def audit(tool: list[str], requirements: str) -> tuple[int, str]:
    """pip-audit's verdict on a file of pins: exit code and text. An index without that data makes it skip packages silently."""
    words = [*tool, "--requirement", requirements, "--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json"]
    done = subprocess.run(words, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return 2, f"not audited: the data on vulnerabilities could not be reached from here ({last})"
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    found = [f"{one['name']} {one['version']}: {bad['id']}" for one in packages for bad in one.get("vulns", [])]
    asked = f"{len(packages) - len(skipped)} of {len(packages)} packages were looked up"
    if skipped:
        found.append(f"not audited, as nothing could be looked up for them here: {', '.join(skipped)}")
    if not found:
        return 0, f"no vulnerability is known; {asked}"
    return (2 if len(found) == bool(skipped) else 1), "\n".join([*found, asked])


if __name__ == "__main__":
    code, said = audit(sys.argv[1:-1], sys.argv[-1])
    print(said)
    sys.exit(code)
