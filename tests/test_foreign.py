"""foreign.py: what is no chest is named, and what is one is not; contrast medium and noise; the study that counts it."""

import json

import numpy as np
import pytest

from scoat_lib import foreign, phantom
from scoat_lib.cli import main
from scoat_lib.scan import Scan
from scoat_lib.upright import Chest
from studies import foreign as study


@pytest.mark.parametrize("what", [what for what, (_, word) in study.MADE.items() if word])
def test_what_is_no_plain_chest_is_named(what, tried):
    draw, word = study.MADE[what]
    said = study.judged(draw(1).reoriented("PIL"))
    assert len(said) == 1
    assert word in said[0]
    tried(f"a picture of another kind: {what}", "named in a warning")


@pytest.mark.parametrize("size", [(64, 64, 16), (128, 128, 32), (96, 96, 80)])
@pytest.mark.parametrize("volume", [0, 300])
def test_chests_raise_no_alarm(size, volume):
    scan = phantom.patient(11, size, volume, scanner="b" if volume else "a").scan
    assert foreign.looks(scan) == []


def test_noise_is_the_standard_deviation_that_was_added():
    scan = phantom.patient(12, (128, 128, 16)).scan
    smooth = scan.with_axial(np.where(scan.axial() > -500, 40, scan.axial()))
    for added in (20, 60, 180):
        noise = np.random.default_rng(0).normal(0, added, scan.voxels.shape)
        noisy = Scan(smooth.voxels + noise, scan.affine)
        assert foreign.noise(noisy, Chest.of(noisy)) == pytest.approx(added, rel=0.15)


def test_noise_is_measured_where_the_chest_was_seen():
    """One grid has every slice, one every second: soft tissue with noise lies in some slices, between them is quiet air."""
    rng = np.random.default_rng(3)
    for between, period in ((5.0, 2), (2.0, 4)):
        slices = np.full((16, 64, 64), -1000.0, np.float32)
        for k in range(len(slices)):
            if k % period >= period // 2:
                slices[k, 16:48, 12:52] = 40 + rng.normal(0, 30, (32, 40))
        scan = Scan(slices.transpose(2, 1, 0), np.diag([-5.0, -5.0, between, 1.0]))
        assert foreign.noise(scan, Chest.of(scan)) == pytest.approx(30, rel=0.1)


def test_a_chest_in_a_long_scan_is_cropped_by_hand():
    scan = phantom.patient(13, (64, 64, 16), 0).scan
    slices = scan.axial()
    solid = np.where((slices < -600) & Chest.of(scan).body[8].repeat(slices.shape[1] // 64, 0), 40, slices)
    below = np.repeat(solid[8:9], 60, 0)
    long = np.concatenate([below, slices])
    said = foreign.looks(Scan(np.ascontiguousarray(long.transpose(2, 1, 0)), scan.affine))
    assert len(said) == 1
    assert "% of its slices only; crop it to the chest" in said[0]


@pytest.mark.parametrize(
    ("draw", "word"), [(study.head, "a head"), (study.bright, "contrast"), (study.healthy, "next to no lesion")]
)
def test_segment_says_it_and_gives_a_mask(draw, word, tmp_path, monkeypatch, capsys):
    scan = draw(0)
    scan.save(tmp_path / "scan.nii.gz")
    words = ["segment", tmp_path / "scan.nii.gz", "-o", tmp_path / "mask.nii.gz", "--device", "cpu", "--json"]
    monkeypatch.setattr("sys.argv", ["scoat", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    shown = capsys.readouterr()
    outcome = json.loads(shown.out)
    assert (tmp_path / "mask.nii.gz").exists()
    assert any(word in text for text in outcome["warnings"])
    assert word in shown.err
    if draw is study.healthy:
        assert len(outcome["warnings"]) == 1
        assert outcome["lungs_percent"]["both"] < 1, "a chest without a lesion has next to none"


def test_the_study_counts_false_alarms_and_what_is_named(data_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "SEEDS", range(1))
    monkeypatch.setattr(study, "MADE", {what: study.MADE[what] for what in ("a head", "a limb")})
    monkeypatch.setattr(
        study, "scans_of", lambda _: [("head_1", study.head(0)), ("head_2", phantom.patient(3, (64, 64, 16)).scan)]
    )
    assert study.main(["--data", str(data_folder), "--output", str(tmp_path / "r" / "f.json")]) == 0
    found = json.loads((tmp_path / "r" / "f.json").read_text())
    (row,) = found["real"].values()
    assert row["judged"] == 2
    assert list(row["false alarms"]) == ["head_1"]
    assert {what: row["said rightly"] for what, row in found["drawn"].items()} == dict.fromkeys(study.MADE, 1)
    assert "1 of 2 false alarms" in capsys.readouterr().out


def test_what_is_written_was_counted_on_real_scans():
    path = study.RESULT
    found = json.loads(path.read_text())
    whole = [row for group, row in found["real"].items() if group.endswith("whole scans")]
    assert sum(row["judged"] for row in whole) == 15
    assert sum(len(row["false alarms"]) for row in whole) == 0
    assert found["real"]["ct100, single slices"]["judged"] == 70
    assert set(found["drawn"]) == set(study.MADE)
