"""phantom.py: exact volumes at every size, the anatomy where it belongs, HU in the cited ranges, the same bits by seed."""

import json

import numpy as np
import pytest

from scoat_lib import anatomy, phantom, trees
from scoat_lib.cohort import find_cases
from scoat_lib.scan import Scan, load_pair


@pytest.fixture(scope="module")
def one():
    return phantom.patient(11, (128, 128, 32), volume=120)


def test_same_seed_same_bits_and_another_seed_another_patient(one):
    again = phantom.patient(11, (128, 128, 32), volume=120)
    np.testing.assert_array_equal(again.scan.voxels, one.scan.voxels)
    assert (phantom.patient(12, (64, 64, 16)).lungs.voxels != phantom.patient(13, (64, 64, 16)).lungs.voxels).any()


def test_a_phantom_of_a_cohort_is_drawn_again_finer(data_folder):
    case = find_cases(data_folder)[2]
    scan, mask = load_pair(case.scan, case.mask)
    fine = phantom.finer(data_folder, case.name, 128)
    assert fine.scan.axial().shape == (16, 128, 128)
    assert fine.lesions.volume() == pytest.approx(mask.volume(), abs=0.01)
    halved = fine.scan.axial().reshape(16, 64, 2, 64, 2).mean((2, 4))
    assert np.corrcoef(halved.ravel(), scan.axial().ravel())[0, 1] > 0.97  # the same person, not another
    with pytest.raises(ValueError, match="no phantom 'phantom_099' of a cohort; it has phantom_001, phantom_002"):
        phantom.finer(data_folder, "phantom_099")
    with pytest.raises(ValueError, match="these are not phantoms"):
        phantom.finer(data_folder / "Infection_Mask", case.name)


@pytest.mark.parametrize("size", [(64, 64, 16), (96, 80, 20), (128, 128, 32)])
@pytest.mark.parametrize("volume", [0, 5, 120])
def test_lesions_have_the_volume_asked_for(size, volume):
    p = phantom.patient(4, size, volume=volume)
    assert p.scan.voxels.shape == (size[1], size[0], size[2])
    assert p.lesions.volume() == pytest.approx(volume, abs=0.51 * p.lesions.voxel_volume / 1000)


def test_masks_lie_where_they_belong(one):
    lesions, lungs = one.lesions.voxels > 0, one.lungs.voxels > 0
    assert lesions.any()
    assert (lesions <= lungs).all()
    assert ((one.lobes.voxels > 0) == lungs).all()
    assert set(np.unique(one.lobes.voxels)) == {0, 1, 2, 3, 4, 5}
    assert ((one.kinds.voxels > 0) == lesions).all()
    assert (one.vessels.voxels > 0).sum() > 200
    assert ((one.vessels.voxels > 0) <= lungs).all()
    left = one.lobes.axial() >= 4
    assert (
        np.argwhere(left)[:, 2].mean() > 64 > np.argwhere(one.lobes.axial() == 1)[:, 2].mean()
    )  # patient's left: right of the image


def test_hu_medians_lie_in_the_cited_ranges(one):
    quiet = one.tissues.voxels
    for code, (name, (_, (low, high))) in enumerate(anatomy.TISSUES.items(), 1):
        inside = one.scan.voxels[quiet == code]
        if len(inside) > 300 and name not in ("emphysema", "ground glass"):
            assert low <= np.median(inside) <= high, name


def test_lungs_have_the_volume_of_lungs():
    for seed in range(4):
        assert 2500 < phantom.patient(seed, (64, 64, 16)).lungs.volume() < 6500  # cm³, at full inspiration


def test_lesions_prefer_the_periphery_and_the_back():
    from scipy.ndimage import distance_transform_edt

    behind, shallow = [], []
    for seed in range(6):
        p = phantom.patient(seed, (64, 64, 24), volume=60)
        lungs, lesions = p.lungs.axial() > 0, p.lesions.axial() > 0
        depth = distance_transform_edt(lungs, sampling=p.lungs.axial_spacing)
        behind.append(np.argwhere(lesions)[:, 1].mean() - np.argwhere(lungs)[:, 1].mean())
        shallow.append(np.median(depth[lungs]) - np.median(depth[lesions]))
    assert np.mean(behind) > 0
    assert np.mean(shallow) > 0


def test_the_two_scanners_differ_in_noise():
    noise = {}
    for scanner in "ab":  # one patient scanned twice: only the noise differs
        once, again = (phantom.patient(5, (64, 64, 16), 0, scanner, noise_seed=k).scan.voxels.astype(int) for k in (1, 2))
        noise[scanner] = (once - again).std() / 2**0.5
    assert noise["a"] > 1.5 * noise["b"] > 5


@pytest.mark.parametrize("size", [(64, 64, 16), (128, 128, 40), (256, 192, 64)])
@pytest.mark.parametrize(("first", "last"), [(0.4, 0.4), (2.5, 1.0), (9.0, 8.0)])
def test_a_tube_fills_its_own_volume_at_every_size(size, first, last):
    grid = anatomy.Grid.of(size)
    begin, end = np.array([60.0, -40.0, -50.0]), np.array([200.0, 30.0, 60.0])
    share = trees._fill(grid, [(begin, end, first, last)])
    cone = np.pi * np.linalg.norm(end - begin) * (first**2 + first * last + last**2) / 3
    assert share.min() == 0
    assert share.max() <= 1
    assert share.sum() * np.prod(grid.spacing) == pytest.approx(cone, rel=0.08)  # where points crowd, a share is cut at 1
    filled = grid.points(np.argwhere(share > 0))
    along = np.clip((filled - begin) @ (end - begin) / np.sum((end - begin) ** 2), 0, 1)
    away = np.linalg.norm(begin + along[:, None] * (end - begin) - filled, axis=1)
    assert away.max() < max(first, last) + 0.9 * np.linalg.norm(grid.spacing)


def test_a_tree_feeds_every_end_and_thins_at_every_fork():
    rng = np.random.default_rng(3)
    root, ends = np.zeros(3), rng.uniform(20, 120, (60, 3))
    tubes = trees._grow(root, ends, rng)
    leaves = [b for _, b, _, _, n in tubes if n == 1]
    assert sorted(map(tuple, leaves)) == sorted(map(tuple, ends))
    assert len(tubes) == 2 * len(ends) - 1
    starts = {tuple(b): (radius, n) for _, b, _, radius, n in tubes}
    feeds: dict[tuple, int] = {}
    for a, _, radius, _, n in tubes[1:]:
        above, _ = starts[tuple(a)]
        assert radius < above + 1e-9
        feeds[tuple(a)] = feeds.get(tuple(a), 0) + n
    assert all(starts[fork][1] == n for fork, n in feeds.items())


def test_vessels_come_from_the_hila_and_thin_outward(one):
    """Nearest the hilum much of the lung is vessel; in the outermost centimetre hardly any."""
    from scipy.ndimage import distance_transform_edt

    lungs, vessels = one.lungs.axial() > 0, one.vessels.axial() > 0
    depth = distance_transform_edt(lungs, sampling=one.lungs.axial_spacing)
    grid = anatomy.Grid.of((128, 128, 32))
    place = grid.points(np.argwhere(lungs))
    near = np.minimum(*(np.linalg.norm(place - [154.0, 0.0, side * 33.0], axis=1) for side in (-1, 1))) < 35
    inside = vessels[lungs]
    assert inside[near].mean() > 0.06 > 5 * inside[depth[lungs] < 9].mean()
    tubes, _ = trees._trees(grid, np.random.default_rng(0), one.lobes.axial())
    ends = np.array([end for _, end, _, last in tubes if last <= 0.35])
    assert len(ends) == 5 * 2 * trees.LEAVES
    assert lungs[tuple(grid.index(ends).T)].mean() > 0.95, "twigs end in the lungs"
    assert (depth[tuple(grid.index(ends).T)] < 3).mean() < 0.6 * (depth[lungs] < 3).mean(), "and seldom at the pleura"
    airways = one.airways.axial() > 0
    assert airways[-1, 58:68, 58:70].any(), "the trachea leaves the scan above"
    assert not (airways & vessels).any()


def test_consolidation_hides_vessels_and_ground_glass_does_not():
    solid, glass = (1 + anatomy.KINDS.index(kind) for kind in ("consolidation", "ground glass"))
    voxels, hidden, shown = 0, 0, 0
    for seed in range(6):
        p = phantom.patient(seed, (96, 96, 24), volume=300)
        vessels, kinds = p.vessels.voxels > 0, p.kinds.voxels
        voxels += np.count_nonzero(kinds == solid)
        hidden += np.count_nonzero(vessels & (kinds == solid))
        shown += np.count_nonzero(vessels & (kinds == glass))
    assert voxels > 100
    assert hidden == 0 < shown


def test_what_a_reader_of_scans_looks_for(one):
    """Shoulder blades behind the upper ribs, gas in the stomach in front, lungs deepest behind the domes."""
    names = list(anatomy.TISSUES)
    tissue, lungs = one.tissues.axial(), one.lungs.axial() > 0
    bone = tissue == 1 + names.index("cortical bone")
    assert bone[27, 70:110, :].sum() > bone[16, 70:110, :].sum()
    stomach = (tissue == 1 + names.index("air"))[:10, 35:60, 70:100]
    assert 3 < stomach.sum() < 400
    rows = np.argwhere(lungs[:8])[:, 1]
    assert np.median(rows) > 64


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"size": (63, 64, 16)}, "64 × 64 × 16"),
        ({"size": (64, 64, 15)}, "64 × 64 × 16"),
        ({"size": (64, 64, 16), "scanner": "z"}, "scanner"),
        ({"size": (64, 64, 16), "volume": 9000}, "do not fit"),
    ],
)
def test_refuses_what_cannot_be(arguments, word):
    with pytest.raises(ValueError, match=word):
        phantom.patient(0, **arguments)


def test_cohort_is_laid_out_like_the_record(data_folder):
    cases = find_cases(data_folder)
    assert len(cases) == 6
    volumes = json.loads((data_folder / "phantom.json").read_text())["lesion_cm3"]
    for case in cases:
        scan, mask = load_pair(case.scan, case.mask)
        assert mask.volume() == pytest.approx(volumes[case.name], abs=0.01)
        assert scan.voxels.dtype == np.int16
        Scan.load(data_folder / "Lung_Mask" / case.scan.name, mask=True)
    with pytest.raises(ValueError, match="exists already"):
        phantom.write_cohort(data_folder)


def test_follow_up_has_the_volumes_of_figure_6(tmp_path):
    folder = phantom.write_cohort(tmp_path / "follow", size=(64, 64, 24), follow_up=True)
    volumes = [load_pair(c.scan, c.mask)[1].volume() for c in find_cases(folder)]
    assert volumes == pytest.approx([428, 192, 34, 24, 369, 503, 122, 110], abs=0.3)
