"""The machinery of the hidden tests: register, verify, check, compare."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SCALES = ("quick", "real", "paper")
_CHECKS: dict[str, Callable] = {}


class Wrong(AssertionError):
    """An answer that is not right yet; its text is a hint."""


def check_scale(scale: str) -> None:
    """Refuse a chapter's `scale` that is misspelt: it would run at another size than was asked for. ValueError."""
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; it must be one of {', '.join(SCALES)}: correct the cell of parameters above")


def names() -> tuple[str, ...]:
    """The exercises that have a test."""
    return tuple(_CHECKS)


def verify(name: str, answer: Callable) -> None:
    """Raise Wrong, with a hint, unless the answer is right. KeyError for an unknown exercise."""
    _CHECKS[name](answer)


def check(name: str, answer: Callable) -> None:
    """Print whether the answer is right, or what is still wrong with it."""
    try:
        verify(name, answer)
    except Wrong as hint:
        print(f"not yet: {hint}")
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, ZeroDivisionError) as error:
        print(f"not yet: your code stopped with {type(error).__name__}: {error}")
    else:
        print("passed")


def exercise(function: Callable) -> Callable:
    """Register a hidden test under its name without the leading underscore."""
    _CHECKS[function.__name__.removeprefix("_")] = function
    return function


def same(got, expected, what: str, tolerance: float = 1e-6) -> None:
    """Raise Wrong unless the answer has the expected shape and values."""
    if got is None or got is Ellipsis:
        raise Wrong(f"{what} returned nothing")
    got = np.asarray(got.detach() if hasattr(got, "detach") else got, float)
    expected = np.asarray(expected, float)
    if got.shape != expected.shape:
        raise Wrong(f"{what} has shape {got.shape}, expected {expected.shape}")
    if not np.allclose(got, expected, atol=tolerance, rtol=1e-5):
        shown = f"{got.round(4).tolist()}, expected {expected.round(4).tolist()}" if expected.size <= 4 else "other values"
        raise Wrong(f"{what} gave {shown}")
