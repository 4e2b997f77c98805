"""Are the scans in HU? Where each one's own air and muscle lie, and its lesions before and after calibration.

    python -m studies.hu_scale --data FOLDER

Written to results/readings/hu-scale.json: per patient, air and muscle on the stored scale (`scan.tissue_peaks`, in HU; null
where a scan has no peak for one of them), the median of its lesion voxels as stored and once calibrated (null without a
lesion). In true HU air is −1000 and muscle about 45.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from scoat_lib import experiments
from scoat_lib.cohort import Cohort, data_folder
from scoat_lib.files import write_whole
from scoat_lib.scan import AIR_HU, MUSCLE_HU, calibrated, load_pair, tissue_peaks


def main() -> None:
    """Measure every case, write one file, print its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of scans")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    chosen = parser.parse_args()
    cohort, patients = Cohort.open(chosen.data), {}
    for name, case in cohort.cases.items():
        scan, mask = load_pair(case.scan, case.mask)
        peaks, lesion = tissue_peaks(scan), mask.voxels > 0
        row = {"air": peaks and peaks[0], "muscle": peaks and peaks[1], "lesion": None, "lesion calibrated": None}
        if lesion.any():
            row["lesion"] = float(np.median(scan.voxels[lesion]))
            row["lesion calibrated"] = round(float(np.median(calibrated(scan).voxels[lesion])), 1) if peaks else None
        patients[name] = row
        print(name, row)
    content = {"data": {"name": data_folder(chosen.data).name, "fingerprint": cohort.fingerprint}, "patients": patients}
    content |= {"aim": {"air": AIR_HU, "muscle": MUSCLE_HU}, "provenance": experiments.provenance(experiments.device_name())}
    out = chosen.results / "readings" / "hu-scale.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, json.dumps(content, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
