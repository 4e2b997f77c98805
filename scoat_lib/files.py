"""Files of our own: under its final name a file is whole or not there, and a folder has one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NUMBER = (int, float)
PART = ".scoat-part-"  # how a file begins that is not whole yet; it lies in the folder of the whole one


class BusyError(ValueError):
    """Another process is writing here; the text says where, and what to do."""


@contextmanager
def whole_file(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary name in path's folder that replaces path when the block ends well, and vanishes when it does not.

    What was written is on the disk before it gets its name, so that no crash leaves half of it. Raises OSError that names path.
    """
    path = Path(path)
    with _naming(path):
        handle, name = tempfile.mkstemp(suffix=suffix, prefix=PART, dir=path.parent)
        temporary = Path(name)
        try:
            _claim(handle)  # as long as this process lives, `remove_parts` leaves the file
            yield temporary
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            sync(temporary)
            if fcntl is None:  # Windows gives no new name to what is open
                os.close(handle)
                handle = -1
            temporary.replace(path)
        except OSError as error:
            _let_go(error)
            raise
        finally:
            if handle >= 0:
                os.close(handle)
            temporary.unlink(missing_ok=True)
    _sync_entry(path.parent)


def _claim(handle: int) -> bool:
    """Lock an open file; False if another process has it. Where there are no such locks everybody has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _let_go(error: BaseException) -> None:
    """Close now, in silence, what a library's writer left open as it failed.

    It would be closed later, try once more to write what is in its buffer, fail, and print a traceback of its own below the
    one line that says it (Python 3.13 does).
    """
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        seen: BaseException | None = error
        while seen is not None:
            traceback.clear_frames(seen.__traceback__)
            seen = seen.__context__
        gc.collect()
    finally:
        sys.unraisablehook = hook


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, also when the process is killed or the disk is full."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Wait until a file, or every file under a folder, is on the disk."""
    for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if one.is_file():
            with open(one, "r+b") as file:
                os.fsync(file.fileno())


def remove_parts(folder: Path) -> None:
    """Remove what killed writers left in a folder, and nothing that a living process still writes."""
    for part in folder.glob(f"{PART}*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if not part.is_file():
                continue
            with open(part, "r+b") as file:
                if _claim(file.fileno()):
                    part.unlink(missing_ok=True)


@contextmanager
def one_writer(lock: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file while the block runs; it goes with the process that holds it, however that ends.

    what: how to call the others' work in BusyError, which is raised when the lock is not free within `patience` seconds.
    On a file system without locks it warns and goes on.
    """
    held = FileLock(lock, timeout=patience)
    try:
        held.acquire()
    except Timeout as error:
        raise BusyError(
            f"{lock.parent}: {what} is writing here already; wait until it has ended, or choose another folder"
        ) from error
    except NotImplementedError:
        warnings.warn(f"{lock.parent}: this file system has no locks; do not let two write here at once", stacklevel=3)
        yield
        return
    try:
        yield
    finally:
        held.release()


def amiss(value, shape, where: str = "it") -> str:
    """What is wrong with a value that came out of a file, in words; "" where it has the shape.

    shape: a type or several; a dict of shapes by key, of which those that end in "?" may be missing and "*" stands for every
    key; a list with the shape of each item. Further keys are let be. True and False are no numbers.
    """
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where} is {_shown(value)}, not a set of names and values"
        lacking = [key for key in shape if key != "*" and not key.endswith("?") and key not in value]
        if lacking:
            return f"{where} lacks {', '.join(lacking)}"
        each = ((key, value[key], shape.get(key, shape.get(f"{key}?", shape.get("*", object)))) for key in value)
        return next(filter(None, (amiss(v, s, str(key) if where == "it" else f"{where}: {key}") for key, v, s in each)), "")
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is {_shown(value)}, not a list"
        return next(filter(None, (amiss(v, shape[0], f"{where}, item {k}") for k, v in enumerate(value, 1))), "")
    kinds = shape if isinstance(shape, tuple) else (shape,)
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool) or object in kinds)
    return "" if fits else f"{where} is {_shown(value)}"


def _shown(value) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else "a set" if isinstance(value, dict) else repr(value)[:40]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an OSError that names no file, or a temporary one, name path."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # numpy's, of a write that fell short
            raise OSError(errno.ENOSPC, f"Not all of it could be written ({error})", str(path)) from error
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith(PART):
            error.filename = str(path)
        raise


def _sync_entry(folder: Path) -> None:
    """Bring a folder's new name to the disk, where the system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
