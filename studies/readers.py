"""How far two radiologists agree on the same scans: python -m studies.readers --data FOLDER

FOLDER holds the first reader's masks (Infection_Mask) and for some scans a second reader's (Second_Reader_Mask). Writes
results/readers.json: by scan the counts of the second reader's mask against the first's, and DSC; and over the scans in which
the first reader outlined at least 1 000 voxels, the mean, the lowest and the highest DSC in per cent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from scoat_lib import experiments, metrics
from scoat_lib.cohort import Cohort, data_folder
from scoat_lib.external import second_reader
from scoat_lib.files import write_whole
from scoat_lib.report import LEAST
from scoat_lib.training import Recipe


def main() -> None:
    """Count, sum up, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of scans with Second_Reader_Mask beside them")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    chosen = parser.parse_args()
    cohort = Cohort.open(chosen.data, Recipe().preprocessing)
    scans = {}
    for name in cohort.names:
        other = second_reader(cohort, name)
        if other is None:
            continue
        counts = metrics.count(other, np.asarray(cohort.masks[name]), spacing=cohort.spacing(name))
        scans[name] = counts | {"DSC": round(metrics.from_counts(counts)["DSC"], 5)}
    if not scans:
        raise SystemExit(f"{chosen.data}: holds no Second_Reader_Mask/NAME.nii.gz of its scans")
    judged = [100 * c["DSC"] for c in scans.values() if c["tp"] + c["fn"] >= LEAST]
    summary = {"scans": len(judged), "least voxels": LEAST}
    if judged:
        summary |= {k: round(float(f(judged)), 2) for k, f in (("mean", np.mean), ("lowest", min), ("highest", max))}
    content = {
        "data": {"name": data_folder(chosen.data).name, "fingerprint": cohort.fingerprint},
        "scans": scans,
        "DSC, per cent": summary,
        "provenance": experiments.provenance(experiments.device_name()),
    }
    out = chosen.results / "readers.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, experiments.as_json(content))
    print(summary, out)


if __name__ == "__main__":
    main()
