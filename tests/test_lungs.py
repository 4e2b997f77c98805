"""lungs.py: phantoms with exact lungs, every orientation, left and right, lesions at the rim, what has no lungs, shares."""

from itertools import product

import numpy as np
import pytest
from nibabel.orientations import ornt2axcodes
from scipy import ndimage

from scoat_lib import lungs, phantom
from scoat_lib.scan import Scan, ScanError

RIGHT_LOBES, LEFT_LOBES = (1, 2, 3), (4, 5)


@pytest.fixture(scope="module")
def chest():
    return phantom.patient(41, (96, 96, 48), volume=150)


@pytest.fixture(scope="module")
def found(chest):
    return lungs.segment(chest.scan)


def dsc(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def truth(one, side):
    return np.isin(one.lobes.voxels, RIGHT_LOBES if side == lungs.RIGHT else LEFT_LOBES) & (one.lungs.voxels > 0)


@pytest.mark.parametrize(
    ("seed", "size"), [(41, (96, 96, 48)), (5, (64, 64, 16)), (6, (128, 128, 32)), (7, (128, 128, 120)), (8, (256, 256, 60))]
)
def test_phantoms_lungs_are_found_and_sided(seed, size):
    one = phantom.patient(seed, size, volume=150, scanner="ab"[seed % 2])
    result = lungs.segment(one.scan)
    assert result.voxels.dtype == np.uint8
    np.testing.assert_array_equal(result.affine, one.scan.affine)
    assert dsc(result.voxels > 0, one.lungs.voxels > 0) > 0.95
    for side in (lungs.RIGHT, lungs.LEFT):
        assert dsc(result.voxels == side, truth(one, side)) > 0.95
        assert np.mean(result.voxels[truth(one, side)] == 3 - side) < 0.001  # none of it is the other lung


def test_left_is_the_patients_left_by_the_affine(found):
    at = [found.affine @ np.append(np.mean(np.nonzero(found.voxels == side), 1), 1) for side in (lungs.RIGHT, lungs.LEFT)]
    assert at[0][0] > at[1][0]  # millimetres to the patient's right
    mirrored = Scan(found.voxels, np.diag([-1, 1, 1, 1]) @ found.affine)
    assert lungs.RIGHT == 1
    assert mirrored.axial()[:, :, ::-1].tolist() == found.axial().tolist()


def every_orientation():
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        for signs in product((1, -1), repeat=3):
            yield "".join(ornt2axcodes(np.array(list(zip(order, signs, strict=True)))))


@pytest.mark.parametrize("codes", list(every_orientation())[::5])
def test_the_files_axes_do_not_matter(chest, found, codes):
    turned = chest.scan.reoriented(codes)
    result = lungs.segment(turned)
    assert result.voxels.shape == turned.voxels.shape
    np.testing.assert_array_equal(result.axial(), found.axial())


def axial(scan, mask):
    return Scan(mask.astype(np.uint8), scan.affine).axial() > 0


def test_consolidation_at_the_rim_belongs_to_the_lung(chest, found):
    """A dense block beside the ribs, 15 mm deep and 50 mm wide, from below the hila up."""
    slices, inside = chest.scan.axial().copy(), axial(chest.scan, truth(chest, lungs.RIGHT))
    _, row_mm, _ = chest.scan.axial_spacing
    k = len(slices) // 2
    row = round(np.nonzero(inside[k])[0].mean())
    outside = ndimage.distance_transform_edt(inside, chest.scan.axial_spacing)
    lateral = np.zeros_like(inside)
    lateral[k - 3 : k + 4, row - round(25 / row_mm) : row + round(25 / row_mm), : np.nonzero(inside[k])[1].min() + 8] = True
    block = lateral & inside & (outside < 15)
    slices[block] = 30
    assert block.sum() * chest.scan.voxel_volume > 15_000  # mm³
    scan = chest.scan.with_axial(slices)
    result = lungs.segment(scan).axial()
    assert np.mean(result[block] == lungs.RIGHT) > 0.9
    assert dsc(result > 0, found.axial() > 0) > 0.985
    unclosed = lungs.segment(scan, lungs.Rule(wall=0)).axial()
    assert np.mean(unclosed[block] == lungs.RIGHT) < 0.6  # so it is the chest wall's closing that gives it back


@pytest.mark.parametrize("seed", [41, 13])
def test_most_of_the_lesions_lies_inside(seed):
    """What is missed is consolidation that lies between the lung and the spine, where no wall can be closed."""
    one = phantom.patient(seed, (128, 128, 48), volume=200)
    result = lungs.segment(one.scan)
    assert np.mean(result.voxels[one.lesions.voxels > 0] > 0) > 0.92


def test_windpipe_and_gut_are_left_out(chest, found):
    central = (chest.airways.voxels > 0) & (chest.lungs.voxels == 0)
    assert central.sum() > 50
    assert np.mean(found.voxels[central] > 0) < 0.15
    slices = chest.scan.axial().copy()
    z, y, x = np.ogrid[: slices.shape[0], : slices.shape[1], : slices.shape[2]]
    body = np.argwhere(chest.tissues.axial()[1] > 1)
    row, column = body.mean(0)
    gut = ((y - row) ** 2 + (x - column) ** 2 < 6**2) & (z < 4) & (chest.lungs.axial() == 0)
    slices[gut] = -1000
    assert np.count_nonzero(lungs.segment(chest.scan.with_axial(slices)).axial()[gut]) == 0


def part(scan, first, last):
    between, row_mm, column_mm = scan.axial_spacing
    slices = scan.axial()[first:last]
    return Scan(np.ascontiguousarray(slices.transpose(2, 1, 0)), np.diag([-column_mm, -row_mm, between, 1.0]))


def test_a_slab_and_a_single_slice(chest, found):
    for first, last in ((20, 30), (24, 25)):
        result = lungs.segment(part(chest.scan, first, last))
        assert dsc(result.axial() > 0, chest.lungs.axial()[first:last] > 0) > 0.93
        assert any("ends inside the lungs (below and above)" in note for note in result.notes)
    assert found.notes == ()


def test_one_lung_is_said(chest):
    slices = chest.scan.axial().copy()
    slices[Scan(truth(chest, lungs.LEFT).astype(np.uint8), chest.scan.affine).axial() > 0] = 30
    result = lungs.segment(chest.scan.with_axial(slices))
    assert any("left lung" in note for note in result.notes)
    assert dsc(result.voxels == lungs.RIGHT, truth(chest, lungs.RIGHT)) > 0.9


def head():
    z, y, x = np.ogrid[:40, :96, :96]
    r = np.sqrt(((z - 20) / 40) ** 2 + ((y - 48) / 36) ** 2 + ((x - 48) / 30) ** 2)
    hu = np.where(r < 1, 40, -1000) + np.where((r > 0.92) & (r < 1), 900, 0)
    hu = np.where(np.sqrt((z - 15) ** 2 / 4 + (y - 25) ** 2 + (x - 48) ** 2) < 6, -1000, hu)  # a sinus
    hu = hu + np.random.default_rng(0).normal(0, 8, hu.shape)
    return Scan(np.ascontiguousarray(hu.transpose(2, 1, 0).astype(np.int16)), np.diag([-2.5, -2.5, 4.0, 1.0]))


def test_what_shows_no_lungs_is_refused(chest):
    with pytest.raises(ScanError, match=r"shows no lungs: .*give a CT of the chest"):
        lungs.segment(head())
    table = np.full((96, 96, 40), -1000, np.int16)
    table[:, 70:74] = 60
    table += np.random.default_rng(0).normal(0, 8, table.shape).astype(np.int16)
    with pytest.raises(ScanError, match="shows no lungs"):
        lungs.segment(Scan(table, np.diag([-2.5, -2.5, 4.0, 1.0])))
    with pytest.raises(ScanError, match="one value only"):
        lungs.segment(Scan(np.full((40, 40, 20), -1000, np.int16), np.eye(4)))
    slices = chest.scan.axial().copy()
    slices[chest.lungs.axial() > 0] = 40
    with pytest.raises(ScanError, match="shows no lungs"):
        lungs.segment(chest.scan.with_axial(slices))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), (8, 8, 1)])
def test_a_tiny_scan_is_refused_not_mangled(shape):
    voxels = np.linspace(-1000, 60, int(np.prod(shape)) or 1).reshape(shape).astype(np.int16)
    with pytest.raises(ScanError):
        lungs.segment(Scan(voxels, np.eye(4)))


def test_share_of_each_lung():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0], labels[1], labels[2, 0] = 1, 2, 2  # 30 and 36 voxels
    lesion = np.zeros_like(labels)
    lesion[0, 0], lesion[1, 0, :3], lesion[3, 0, 0] = 1, 1, 1  # 6, 3 and 1 outside
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    found = lungs.share(Scan(lesion, affine), Scan(labels, affine))
    assert found == pytest.approx({"both": 100 * 9 / 66, "right": 20, "left": 100 * 3 / 36, "outside": 10})
    empty = lungs.share(Scan(lesion * 0, affine), Scan(np.where(labels == 2, 0, labels), affine))
    assert empty == {"both": 0, "right": 0, "left": None, "outside": 0}


def test_share_refuses_what_is_no_mask_and_another_grid():
    affine = np.eye(4)
    zero = np.zeros((3, 3, 3), np.uint8)
    with pytest.raises(ScanError, match="shape"):
        lungs.share(Scan(zero, affine), Scan(zero[:2], affine))
    with pytest.raises(ScanError, match="affines differ"):
        lungs.share(Scan(zero, affine), Scan(zero, 2 * affine))
    with pytest.raises(ValueError, match="not the probability"):
        lungs.share(Scan(zero + 0.5, affine), Scan(zero, affine))
    with pytest.raises(ValueError, match="right"):
        lungs.share(Scan(zero, affine), Scan(zero + 3, affine))


def test_cutting_to_the_lungs_box_changes_nothing(chest, monkeypatch):
    """On a grid finer than the rule's, so that outlines are brought back: within the box as without one."""
    fine = np.repeat(np.repeat(chest.scan.voxels, 4, 0), 4, 1)
    scan = Scan(fine, chest.scan.affine @ np.diag([0.25, 0.25, 1, 1]))
    assert scan.axial_spacing[1] < lungs.IN_PLANE / 1.5
    found = lungs.segment(scan).voxels
    monkeypatch.setattr(lungs, "_box", lambda mask, margin: tuple(slice(0, n) for n in mask.shape))
    np.testing.assert_array_equal(found, lungs.segment(scan).voxels)
