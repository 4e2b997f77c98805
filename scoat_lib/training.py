"""Section IV-A: the paper's schedule, and a modern one beside it, on Lightning Fabric; checkpointed, resumable, repeatable.

Everything random (slices of an epoch, their order, each augmentation) is drawn from (seed, epoch, position), never from a
running generator. So a run that is killed goes on from its last epoch and ends with the same weights, bit for bit.
"""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from scoat_lib import losses, networks, weights
from scoat_lib.cohort import Cohort, Preprocessing
from scoat_lib.files import NUMBER, BusyError, amiss, one_writer, remove_parts, write_whole
from scoat_lib.folds import Split, check_leakage
from scoat_lib.scan import LUNG_WINDOW
from scoat_lib.slices import Augmentation, SliceDataset, scan_slices

CHECKPOINT, BEFORE = "checkpoint.ckpt", "checkpoint-before.ckpt"
FIELD_OF_VIEW = 358.4  # mm, 512 × 0.7: what `size` pixels span
SPLITS = ("patient", "slice", "source")
SCHEDULES = ("modern", "paper", "paper-no-restart")
PLATEAU, PATIENCE = 0.01, 5  # "converged": the loss fell by less than 1 % over five epochs
DECAY_EVERY, RESTART_RATE, RESTART_EPOCHS = 10, 0.001, 50  # section IV-A
WARM_UP, FINAL = 0.05, 0.01  # of the modern schedule's steps, and of its peak rate
LOCK_PATIENCE = 8.0  # seconds; loaders of a killed run notice within five that it is gone, and let its lock go


class TrainingError(ValueError):
    """A run that cannot be started or continued; its text says what to change."""


@dataclass(frozen=True)
class Recipe:
    """All that decides a run's result, beside the data: what `results/` is keyed by.

    network, options, width: `networks.create`. loss, loss_options: `losses.create`.
    schedule: "modern" (AdamW, linear warm-up, cosine to 1 %, `rate` at its peak), "paper" (Adam at `rate`, × 0.1 every 10
        epochs; once converged, restart at 0.001 with the same decay for 50 epochs) or "paper-no-restart".
    epochs: length of the modern schedule, or the paper's first phase at most.
    until: "end", the first phase lasts `epochs`; "converged", it ends when the loss fell by < 1 % over 5 epochs.
    batch, accumulate: slices a step and process, and steps whose gradients are averaged. clip: gradient norm, 0 for none.
    supervision: "mean" of the four branches' losses, or one branch, 1 … 4.
    size: pixels across 358.4 mm (128: 2.8 mm, 512: 0.7 mm), or 0 for each scan's own grid. window: HU. calibrate: bring each
        scan's own air and muscle to their HU first.
    split: "patient", "slice" (leaks, for demonstration), or "source" (fold f learns from one scanner's cases only).
        folds, fold, fold_seed, validation: see `cohort`; fold −1
        trains on all patients and reports none. patients: how many of the training patients take part, 0 for all; an epoch
        keeps as many steps as with all of them, and fewer patients are always among more (`folds.fewer`).
    lesion_free: share of lesion-free slices in training. thin_below: of scans with slices closer than this many mm, every
        second slice, alternating by epoch; 0 for all.
    augment: strength of small affine changes and intensity jitter (`Augmentation.scaled`); 0 for none, not even
        flips. precision: Fabric's ("bf16-mixed", "32-true", …). devices: how many compute a step together, each on its own
        batch: two do what one does with `accumulate` 2.
    """

    network: str = "scoatnet"
    options: dict = field(default_factory=dict)
    width: int = 8
    loss: str = "bce-dice"
    loss_options: dict = field(default_factory=dict)
    schedule: str = "modern"
    epochs: int = 16
    until: str = "end"
    rate: float = 0.003
    batch: int = 4
    accumulate: int = 1
    clip: float = 1.0
    supervision: str | int = "mean"
    size: int = 128
    window: tuple[float, float] = LUNG_WINDOW
    calibrate: bool = False
    split: str = "patient"
    folds: int = 5
    fold: int = 0
    fold_seed: int = 0
    validation: int = 0
    patients: int = 0
    lesion_free: float = 0.15
    thin_below: float = 2.0
    augment: float = 2.0
    precision: str = "32-true"
    devices: int = 1
    seed: int = 0

    def __post_init__(self):
        def need(good: bool, text: str) -> None:
            """Refuse what is not good, in words."""
            if not good:
                raise TrainingError(text)

        need(self.network in networks.names(), f"network {self.network!r} is unknown; known: {', '.join(networks.names())}")
        need(self.schedule in SCHEDULES, f"schedule {self.schedule!r} is unknown; known: {', '.join(SCHEDULES)}")
        need(self.until in ("end", "converged"), f"until is {self.until!r}; known: end, converged")
        need(self.split in SPLITS, f"split is {self.split!r}; known: {', '.join(SPLITS)}")
        need(self.supervision in ("mean", 1, 2, 3, 4), f"supervision is {self.supervision!r}; known: mean, 1, 2, 3, 4")
        need(self.epochs >= 1 and self.batch >= 1 and self.accumulate >= 1, "epochs, batch and accumulate must be at least 1")
        need(self.devices >= 1, f"devices is {self.devices}; it must be at least 1")
        need(self.rate > 0 and self.clip >= 0, "rate must be above 0 and clip not below")
        need(0 <= self.lesion_free <= 1, f"lesion_free is {self.lesion_free}; it is a share from 0 to 1")
        need(self.size == 0 or self.size >= 32, f"size is {self.size}; it must be 0 (the scan's grid) or at least 32")
        need(self.patients >= 0, f"patients is {self.patients}; it must be at least 1, or 0 for all")
        need(self.thin_below >= 0, f"thin_below is {self.thin_below} mm; it must be from 0")
        need(self.augment >= 0, f"augment is {self.augment}; it must be from 0")
        need(self.fold >= -1, f"fold is {self.fold}; it must be from 0, or -1 for all patients")
        need(not self.validation or (self.split != "source" and self.fold >= 0), "validation needs folds of patients or slices")
        for name in ("rate", "clip", "lesion_free", "thin_below", "augment"):  # 1 and 1.0 are one run
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "window", tuple(float(v) for v in self.window))

    @property
    def preprocessing(self) -> Preprocessing:
        """What the cohort must do to its scans for this recipe (mean and std come from the training patients)."""
        return Preprocessing(self.window, FIELD_OF_VIEW / self.size if self.size else None, calibrate=self.calibrate)

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict) -> Recipe:
        """The inverse of `to_dict`; TrainingError for an unknown field."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise TrainingError(f"the recipe has no field {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return cls(**values)


@dataclass(frozen=True)
class Deadline:
    """A moment after which no further epoch is begun.

    It is kept by the machine's running time, which nobody can set; on another machine of a cluster by the clock.
    """

    machine: str
    running: float
    clock: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """So many seconds from now; below 0: already past."""
        return cls(_machine(), time.monotonic() + seconds, time.time() + seconds)

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return time.monotonic() > self.running if self.machine == _machine() else time.time() > self.clock


def _machine() -> str:
    """What tells one machine's running time from another's: the mark of its last start."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def converged(curve: list[dict]) -> bool:
    """The best training loss fell by less than 1 % over the last 5 epochs: our reading of the paper's "converged"."""
    values = [row["loss"] for row in curve]
    return len(values) > PATIENCE and min(values[-PATIENCE:]) > (1 - PLATEAU) * min(values[:-PATIENCE])


def restart_epoch(recipe: Recipe, curve: list[dict]) -> int | None:
    """The epoch at which the paper's second phase began or begins with the next one; None while the first goes on."""
    if recipe.schedule == "modern":
        return None
    for done in range(1, len(curve) + 1):
        if done >= recipe.epochs or (recipe.until == "converged" and converged(curve[:done])):
            return done
    return None


def finished(recipe: Recipe, curve: list[dict]) -> bool:
    """Whether the run has all its epochs."""
    if recipe.schedule == "modern":
        return len(curve) >= recipe.epochs
    start = restart_epoch(recipe, curve)
    return start is not None and len(curve) >= start + (RESTART_EPOCHS if recipe.schedule == "paper" else 0)


def rate_at(recipe: Recipe, epoch: int, done: float, restarted: int | None = None) -> float:
    """The learning rate at a share `done` (0..1) of an epoch (from 0); restarted: the epoch of the paper's restart."""
    if recipe.schedule == "modern":
        t = (epoch + done) / recipe.epochs
        if t < WARM_UP:
            return recipe.rate * max(FINAL, t / WARM_UP)
        half_cosine = (1 + math.cos(math.pi * (t - WARM_UP) / (1 - WARM_UP))) / 2
        return recipe.rate * (FINAL + (1 - FINAL) * half_cosine)
    if restarted is None:
        return recipe.rate * 0.1 ** (epoch // DECAY_EVERY)
    return RESTART_RATE * 0.1 ** ((epoch - restarted) // DECAY_EVERY)


def make_optimiser(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Adam for the paper's schedule (Kingma & Ba 2014), AdamW with weight decay 0.01 for the modern one."""
    if recipe.schedule == "modern":
        return torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=0.01)
    return torch.optim.Adam(model.parameters(), lr=recipe.rate)


def supervised_loss(output, target: torch.Tensor, loss: Callable, supervision: str | int = "mean") -> torch.Tensor:
    """The loss of a network's output: of its one map, of one branch, or the average over its branches (section III-A)."""
    if not isinstance(output, (list, tuple)):
        return loss(output, target)
    if supervision == "mean":
        return torch.stack([loss(branch, target) for branch in output]).mean()
    return loss(output[supervision - 1], target)


def batches(order: list[int], batch: int, accumulate: int, rank: int, world: int) -> list[list[int]]:
    """One process's share of an epoch: lists of positions, `accumulate` of them to a step.

    A step takes batch × accumulate × world positions of the order; the last one is filled up from its start. Micro-batch m
    of a step goes to process m mod world, so two processes compute what one does with accumulate 2.
    """
    per_step = batch * accumulate * world
    steps = -(-len(order) // per_step)
    filled = [order[i % len(order)] for i in range(steps * per_step)]
    micro = [filled[i : i + batch] for i in range(0, len(filled), batch)]
    return micro[rank::world]


@dataclass
class Run:
    """A training run's folder and what came of it."""

    folder: Path
    recipe: Recipe
    split: Split
    curve: list[dict]
    finished: bool

    @property
    def weights(self) -> Path:
        """The last weights, with their preprocessing."""
        return self.folder / "weights.safetensors"


def train(
    recipe: Recipe,
    cohort: Cohort,
    split: Split,
    folder,
    accelerator: str = "auto",
    workers: int = 0,
    progress: bool = True,
    stop_at: Deadline | None = None,
    at_most: int | None = None,
    on_epoch: Callable[[int, torch.nn.Module], None] | None = None,
) -> Run:
    """Train a network, or go on with a run that was cut short; the last weights end in folder/weights.safetensors.

    cohort: made with `recipe.preprocessing`; its mean and std should be the training patients' (`with_statistics`).
    accelerator: Fabric's; a recipe of more than one device runs distributed data-parallel processes.
    workers: DataLoader processes. stop_at: after it, stop at the next epoch's end; at_most: epochs in this
        call. The same call again goes on. on_epoch: called with the epochs done and the network, in training mode as it is,
        before the epoch's checkpoint is written (a killed run may call it twice for an epoch); it must not change the network.
    The folder gets recipe.json, checkpoint.ckpt, the one before it, curve.csv, tensorboard/ (where installed) and the weights.
    A damaged checkpoint is named in a warning, and the run continues from the one before it.
    A folder has one training at a time: BusyError for the second, after LOCK_PATIENCE seconds.
    Raises LeakageError for a split that leaks, TrainingError if the folder holds another run or no checkpoint that can be read,
    or if the loss is not finite: the last epoch's checkpoint stays as it was.
    """
    if recipe.split != "slice":
        check_leakage(split, cohort)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    fabric = Fabric(
        accelerator=accelerator,
        devices=recipe.devices,
        strategy="ddp" if recipe.devices > 1 else "auto",
        precision=recipe.precision,
        loggers=_loggers(folder),
    )
    fabric.launch()
    with _alone(folder, fabric):
        return _train(recipe, cohort, split, folder, fabric, workers, progress, stop_at, at_most, on_epoch)


@contextmanager
def _alone(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Hold the folder's lock, one for all processes of a run; BusyError in each of them if another run has it."""
    with ExitStack() as held:
        busy = None
        if fabric.is_global_zero:
            try:
                held.enter_context(one_writer(folder / ".lock", "another training", LOCK_PATIENCE))
                remove_parts(folder)
            except BusyError as error:
                busy = str(error)
        busy = fabric.broadcast(busy)
        if busy:
            raise BusyError(busy)
        yield


def _train(recipe, cohort, split, folder, fabric, workers, progress, stop_at, at_most, on_epoch) -> Run:
    """`train` within its folder's lock."""
    identity = {"recipe": recipe.to_dict(), "data": cohort.fingerprint, "split": split.to_dict()}
    _check_identity(folder, identity, fabric)

    torch.manual_seed(recipe.seed)
    model = networks.create(recipe.network, width=recipe.width, **recipe.options)
    model, optimiser = fabric.setup(model, make_optimiser(recipe, model))
    curve = _resume(folder, model, optimiser, fabric)
    resumed = len(curve)
    augmentation = Augmentation().scaled(recipe.augment) if recipe.augment else None
    kept_aside = {*split.validation, *split.test}
    everybody = [name for name in cohort.names if name not in kept_aside] if recipe.patients else None
    dataset = SliceDataset(
        cohort, split.train, recipe.lesion_free, augmentation, recipe.seed, thin_below=recipe.thin_below, as_many_as=everybody
    )
    while not finished(recipe, curve):
        late = stop_at is not None and stop_at.passed
        if late or (at_most is not None and len(curve) - resumed >= at_most):
            return Run(folder, recipe, split, curve, False)
        row = _epoch(recipe, fabric, model, optimiser, dataset, curve, workers, progress)
        if split.validation:
            row |= {f"validation_{k}": v for k, v in _validate(fabric, model, cohort, split.validation).items()}
        curve.append(row)
        if on_epoch is not None:  # before the checkpoint: an epoch that is kept has been looked at
            on_epoch(len(curve), _bare(model))
        _save(folder, model, optimiser, curve, fabric)
        _log(row, fabric)
    if fabric.is_global_zero:
        _write_curve(folder, curve)  # it may have been killed between the last checkpoint and the curve
        weights.save(
            folder / "weights.safetensors",
            _bare(model),
            cohort.preprocessing,
            recipe.to_dict(),
            data=cohort.fingerprint,
            split=split.to_dict(),
        )
    fabric.barrier()
    return Run(folder, recipe, split, curve, True)


def _epoch(recipe, fabric, model, optimiser, dataset, curve, workers, progress) -> dict:
    """One pass over the epoch's slices; returns its row of the curve."""
    epoch, began = len(curve), time.perf_counter()
    restarted = restart_epoch(recipe, curve)
    if restarted == epoch and recipe.schedule == "paper":
        optimiser.state.clear()  # the restart begins with fresh moments, as a new Adam would
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # for networks with dropout
    dataset.set_epoch(epoch)
    share = batches(dataset.order(), recipe.batch, recipe.accumulate, fabric.global_rank, fabric.world_size)
    loader = fabric.setup_dataloaders(
        DataLoader(dataset, batch_sampler=share, num_workers=workers), use_distributed_sampler=False
    )
    loss_of = losses.create(recipe.loss, **recipe.loss_options)
    model.train()
    steps = len(share) // recipe.accumulate
    bar = tqdm(
        total=steps, desc=f"epoch {epoch + 1}", unit="step", leave=False, disable=not (progress and fabric.is_global_zero)
    )
    total = torch.zeros(1, device=fabric.device)
    overlap = torch.zeros(2, device=fabric.device)  # 2|Va ∩ Vb| and |Va| + |Vb|
    for index, (image, target) in enumerate(loader):
        step, last = divmod(index, recipe.accumulate)
        is_last = last == recipe.accumulate - 1
        with fabric.no_backward_sync(model, enabled=not is_last):
            output = model(image.contiguous(memory_format=torch.channels_last))
            loss = supervised_loss(output, target, loss_of, recipe.supervision)
            if fabric.device.type == "cpu" and not torch.isfinite(loss):  # on a GPU asking each step would wait for it
                raise _diverged(epoch, step, loss.item())
            fabric.backward(loss / recipe.accumulate)
        total += loss.detach()
        predicted = (output[-1] if isinstance(output, (list, tuple)) else output).detach() > 0
        overlap += torch.stack([2 * (predicted * target).sum(), predicted.sum() + target.sum()])
        if not is_last:
            continue
        rate = rate_at(recipe, epoch, step / steps, restarted)
        for group in optimiser.param_groups:
            group["lr"] = rate
        if recipe.clip:
            fabric.clip_gradients(model, optimiser, max_norm=recipe.clip, error_if_nonfinite=False)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        bar.update()
        if step % 10 == 0:
            if not math.isfinite(loss.item()):
                raise _diverged(epoch, step, loss.item())
            dsc = overlap[0].item() / max(1.0, overlap[1].item())
            bar.set_postfix(loss=f"{loss.item():.4f}", DSC=f"{dsc:.3f}", rate=f"{rate:.1e}")
    bar.close()
    mean = (fabric.all_reduce(total, reduce_op="sum") / (len(share) * fabric.world_size)).item()
    overlap = fabric.all_reduce(overlap, reduce_op="sum")
    if not math.isfinite(mean):
        raise _diverged(epoch, steps - 1, mean)
    dsc = overlap[0].item() / max(1.0, overlap[1].item())
    return {
        "epoch": epoch + 1,
        "loss": round(mean, 6),
        "DSC": round(dsc, 6),
        "rate": float(f"{rate:.6g}"),
        "steps": steps,
        "seconds": round(time.perf_counter() - began, 2),
    }


def _diverged(epoch: int, step: int, loss: float) -> TrainingError:
    kept = f"; the weights after epoch {epoch} are kept in the checkpoint" if epoch else ""
    return TrainingError(
        f"the loss is {loss} at step {step + 1} of epoch {epoch + 1}; lower the rate, clip the gradients, or use precision "
        f"32-true{kept}"
    )


@torch.no_grad()
def _validate(fabric, model, cohort: Cohort, names) -> dict[str, float]:
    """Pooled DSC of the validation patients and the mean over them, a patient's scans added up first."""
    model.eval()
    counts: dict[str, list[int]] = {}
    patients = {scan: patient for patient, scans in cohort.patients.items() for scan in scans}
    for name in names:
        both = size = 0
        for start, image in zip(range(0, len(cohort.images[name]), 16), scan_slices(cohort, name, 16), strict=True):
            predicted = (model(image.to(fabric.device)) > 0)[:, 0].cpu()
            truth = torch.from_numpy(np.array(cohort.masks[name][start : start + 16]))
            both += 2 * int((predicted & truth).sum())
            size += int(predicted.sum()) + int(truth.sum())
        counts[patients[name]] = [a + b for a, b in zip(counts.get(patients[name], (0, 0)), (both, size), strict=True)]
    scores = [both / size if size else 1.0 for both, size in counts.values()]
    both, size = (sum(column) for column in zip(*counts.values(), strict=True))
    return {"DSC": round(sum(scores) / len(scores), 6), "pooled_DSC": round(both / max(1, size), 6)}


def _bare(model) -> torch.nn.Module:
    module = getattr(model, "_forward_module", model)
    return getattr(module, "module", module)


def _loggers(folder: Path) -> list:
    try:
        import tensorboard  # noqa: F401  (an extra: `pip install scoat-lib[logs]`)
        from lightning_fabric.loggers import TensorBoardLogger
    except ImportError:
        return []
    return [TensorBoardLogger(folder, name="tensorboard", version="")]


def _check_identity(folder: Path, identity: dict, fabric) -> None:
    """Refuse a folder that holds another run; otherwise leave recipe.json there."""
    path = folder / "recipe.json"
    if path.exists():
        other = read_json(path, "remove the run's folder, and the same command trains it anew")
        check_content(other, IDENTITY, path, "is no run's", "choose another folder")
        other["recipe"] = Recipe().to_dict() | other["recipe"]  # a run of before a field was added has its default
        if other != identity:
            differing = [key for key in identity["recipe"] if other["recipe"][key] != identity["recipe"][key]]
            what = ", ".join(differing) or ("data" if other["data"] != identity["data"] else "split")
            raise TrainingError(f"{folder}: holds another run, which differs in {what}; choose another folder")
    elif fabric.is_global_zero:
        write_whole(path, json.dumps(identity, indent=1, sort_keys=True))
    fabric.barrier()


def _resume(folder: Path, model, optimiser, fabric) -> list[dict]:
    path, before = folder / CHECKPOINT, folder / BEFORE
    failures = []
    for one in (path, before):
        if not one.exists():
            continue
        try:
            state = torch.load(one, map_location=fabric.device, weights_only=True)
            if wrong := amiss(
                state, {"model": dict, "optimiser": dict, "curve": [{"epoch": int, "loss": NUMBER, "DSC": NUMBER}]}
            ):
                raise ValueError(wrong)
            _bare(model).load_state_dict(state["model"])
            optimiser.load_state_dict(state["optimiser"])
            curve = state["curve"]
        except pickle.UnpicklingError:  # what it says advises to let a stranger's code run
            failures.append(f"{one}: is damaged or no checkpoint of scoat (it holds more than numbers, and is not opened)")
            continue
        except Exception as error:  # torch raises several things on a damaged file
            failures.append(f"{one}: is damaged ({' '.join(str(error).split())[:120]})")
            continue
        if failures:
            warnings.warn(f"{failures[0]}; continued from {one.name}, after epoch {len(curve)}", stacklevel=2)
        return curve
    if failures:
        raise TrainingError(f"{'; '.join(failures)}; remove the folder, and the same command trains anew")
    return []


def _log(row: dict, fabric) -> None:
    """An epoch's row to TensorBoard, which may fail and stops no training."""
    try:
        fabric.log_dict({k: v for k, v in row.items() if k != "epoch"}, step=row["epoch"])
    except (ValueError, OSError, RuntimeError) as error:  # a ValueError hides a writer that died of a full disk
        warnings.warn(f"epoch {row['epoch']} is not in TensorBoard's log ({error}); is the disk full?", stacklevel=2)


def _save(folder: Path, model, optimiser, curve: list[dict], fabric) -> None:
    if fabric.is_global_zero:
        buffer = io.BytesIO()
        state = {"model": _bare(model).state_dict(), "optimiser": optimiser.state_dict(), "curve": curve}
        torch.save(state, buffer)
        if (folder / CHECKPOINT).exists():
            (folder / CHECKPOINT).replace(folder / BEFORE)
        write_whole(folder / CHECKPOINT, buffer.getvalue())
        _write_curve(folder, curve)
    fabric.barrier()


def _write_curve(folder: Path, curve: list[dict]) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, fieldnames=list(curve[0]))
    writer.writeheader()
    writer.writerows(curve)
    write_whole(folder / "curve.csv", table.getvalue())


def read_json(path: Path, advice: str = "remove it, and the same command makes it again"):
    """The content of a JSON file; TrainingError names a file that is not whole JSON, and says what to do."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: is not whole JSON ({error}); {advice}") from error


# of a recipe's fields, the types that their defaults do not tell
_FIELDS = {"supervision": (int, str), "window": [NUMBER], "options": dict, "loss_options": dict}
RECIPE = {
    f"{name}?": _FIELDS.get(name, NUMBER if type(value) is float else type(value)) for name, value in Recipe().to_dict().items()
}
IDENTITY = {
    "recipe": RECIPE,
    "data": str,
    "split": {f"{part}?": [str] for part in ("train", "validation", "test")},
}  # recipe.json


def check_content(value, shape, path: Path, what: str, advice: str) -> None:
    """TrainingError names the file whose content has another shape (`amiss`), says what it is not, and what to do."""
    if wrong := amiss(value, shape):
        raise TrainingError(f"{path}: {what} ({wrong}); {advice}")


def recipe_of(values: dict, path: Path) -> Recipe:
    """The Recipe that a file holds; TrainingError names the file where it is none."""
    try:
        return Recipe.from_dict(values)
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{path}: holds no recipe of a run ({error}); give a run's folder") from error
