#!/usr/bin/env python3
"""Known vulnerabilities of the pinned packages, by pip-audit; where its data cannot be reached, that is said and nothing else.

python .ci/audit.py PIP_AUDIT REQUIREMENTS        exit code: 0 none known, 1 some known, 2 could not be asked
"""

import re
import subprocess
import sys

UNREACHABLE = "ConnectionError|Max retries exceeded|NameResolutionError|ProxyError|SSLError|Timeout|HTTPError|ServiceError"


def audit(tool: list[str], requirements: str) -> tuple[int, str]:
    """pip-audit's verdict on a file of pins: exit code and text."""
    words = [*tool, "--requirement", requirements, "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run(words, capture_output=True, text=True)
    text = done.stdout + done.stderr
    if done.returncode and re.search(UNREACHABLE, text):
        return 2, f"not audited: the data on vulnerabilities could not be reached from here ({text.strip().splitlines()[-1]})"
    return done.returncode, text.strip()


if __name__ == "__main__":
    code, said = audit(sys.argv[1:-1], sys.argv[-1])
    print(said)
    sys.exit(code)
