"""What the suite tried to break and what happened: results/faults/table.json, from the notes that `make test-long` leaves.

    make test-long && python -m studies.faults

Every test that tries a fault notes its kind, how often it was tried and what happened, once it has checked it. A test that did
not run, or failed, notes nothing: tests/test_studies.py looks for the kinds that must not be missing.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from scoat_lib import experiments
from scoat_lib.files import write_whole

ROOT = Path(__file__).parents[1]
NOTES = ROOT / "_build" / "faults"
PARTS = {  # files of tests that note, and what their faults concern
    "test_corpus": "a scan's file",
    "test_nifti": "a scan's header",
    "test_scan": "a scan's values",
    "test_dicom": "a DICOM series",
    "test_upright": "a picture of another kind",
    "test_foreign": "a picture of another kind",
    "test_weights_inference": "weights",
    "test_segmentation": "a mask",
    "test_cli": "a mask",
    "test_many": "a folder of scans",
    "test_training": "a training",
    "test_cohort": "a training",
    "test_faults": "what surrounds the program",
    "test_kills": "a killed program",
    "test_download": "the download",
    "test_experiments": "a cluster",
    "test_build": "the book's builder",
}


def gathered(notes: Path) -> dict[str, list[dict]]:
    """{part: [{"fault", "what happened", "times"}, …]} of the notes; SystemExit names a file of tests without any."""
    parts: dict[str, Counter] = {}
    for name, part in PARTS.items():
        path = notes / f"{name}.json"
        if not path.exists():
            raise SystemExit(f"{path}: is missing; run `make test-long` first")
        counts = parts.setdefault(part, Counter())
        for rows in json.loads(path.read_text()).values():
            for fault, what, times in rows:
                counts[fault, what] += times
    return {
        part: [{"fault": fault, "what happened": what, "times": n} for (fault, what), n in sorted(counts.items())]
        for part, counts in parts.items()
    }


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    out = parser.parse_args().results / "faults" / "table.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"parts": gathered(NOTES), "provenance": experiments.provenance(experiments.device_name())}
    write_whole(out, experiments.as_json(content))
    print(sum(row["times"] for rows in content["parts"].values() for row in rows), "trials in", out)


if __name__ == "__main__":
    main()
