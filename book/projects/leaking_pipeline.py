"""From a scan's texture: will its patient need oxygen? A small pipeline that reports more than it knows. Find out why.

python book/projects/leaking_pipeline.py     numpy alone, a few seconds

The cohort is made of random numbers. With signal=0 nothing in it tells one kind of patient from the other, so an honest
pipeline is right half of the time.
"""

import numpy as np


def cohort(patients=40, features=300, signal=0.0, seed=0):
    """Scans as dictionaries: name, patient, x (features), y (0 or 1, the same for all scans of a patient).

    Every patient was scanned twice, a week apart. signal: by how much three of the features differ between y = 0 and y = 1.
    """
    rng = np.random.default_rng(seed)
    scans = []
    for number in range(patients):
        y = int(number % 2)
        person = rng.normal(size=features)
        person[:3] += signal * (2 * y - 1)
        for _ in range(2):
            name = f"scan-{rng.integers(10**6):06d}"
            scans.append(
                {"name": name, "patient": f"patient-{number:02d}", "x": person + 0.5 * rng.normal(size=features), "y": y}
            )
    return scans


def folds(scans, k=5):
    """k lists of scans, shuffled."""
    order = np.random.default_rng(0).permutation(len(scans))
    return [[scans[i] for i in order[part::k]] for part in range(k)]


def best_features(x, y, number=8):
    """The columns of x that differ most between y = 0 and y = 1."""
    difference = x[y == 1].mean(0) - x[y == 0].mean(0)
    return np.argsort(-np.abs(difference / x.std(0)))[:number]


def nearest(train_x, train_y, test_x):
    """For each test row the y of the training row that is most like it."""
    distances = ((test_x[:, None] - train_x[None]) ** 2).sum(2)
    return train_y[distances.argmin(1)]


def accuracy(scans):
    """The share of scans whose y is predicted, by five-fold cross-validation."""
    x, y = np.array([s["x"] for s in scans]), np.array([s["y"] for s in scans])
    chosen = best_features(x, y)
    right = 0
    for test in folds(scans):
        names = {s["name"] for s in test}
        train = [s for s in scans if s["name"] not in names]
        assert not names & {s["name"] for s in train}, "a scan is on both sides"
        train_x, test_x = (np.array([s["x"][chosen] for s in part]) for part in (train, test))
        train_y, test_y = (np.array([s["y"] for s in part]) for part in (train, test))
        mean, std = train_x.mean(0), train_x.std(0)
        right += (nearest((train_x - mean) / std, train_y, (test_x - mean) / std) == test_y).sum()
    return float(right / len(scans))


if __name__ == "__main__":
    for signal in (0.0, 0.5, 1.0):
        print(f"signal {signal}: {100 * accuracy(cohort(signal=signal)):.0f} % right")
