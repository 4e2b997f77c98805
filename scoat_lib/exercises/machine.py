"""What a chapter's training takes on the machine at hand, said before it starts, and the recipe that fits there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scoat_lib import losses, networks
from scoat_lib.cohort import Cohort
from scoat_lib.folds import Split
from scoat_lib.slices import SliceDataset
from scoat_lib.training import RESTART_EPOCHS, Recipe, supervised_loss

T4 = 8.1e12 / 2  # operations a second in float32: half of the maker's figure, a guess
STEP = 3  # a training step in forward passes, both in operations and in what it keeps of the convolutions' outputs
ROOM = 0.9  # share of a GPU's memory that a step may take
AT_ONCE = 16  # slices that are asked at once, where they fit
TIMED = 128  # pixels a side of the slices that a processor is timed on
STEPS, PATIENCE = 5, 10.0  # steps to time, the shortest counts; seconds after which fewer do


@dataclass(frozen=True)
class Plan:
    """A recipe as the machine can compute it. at_once: slices to ask the network for at once. words: markdown, for the page."""

    recipe: Recipe
    device: torch.device
    at_once: int
    words: str


def cost(recipe: Recipe, size: int) -> tuple[float, float]:
    """Of one slice of size × size: operations of a forward pass, and bytes of all convolutions' outputs in float32."""
    put_out = []
    with torch.device("meta"):
        model, x = networks.create(recipe.network, width=recipe.width, **recipe.options).eval(), torch.empty(1, 1, size, size)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(lambda module, given, output: put_out.append(4 * output.numel()))
    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops(), sum(put_out)


def fitted(recipe: Recipe, device: torch.device, memory: float, size: int) -> Recipe:
    """The recipe in the precision and in the batches that a device can: on a processor as it is.

    A GPU that multiplies bfloat16 gets it. Where its memory (bytes) does not hold a batch, single slices are accumulated to
    the same step; only batch norm then sees one slice at a time.
    """
    if device.type != "cuda":
        return recipe
    if torch.cuda.is_bf16_supported(including_emulation=False):
        recipe = replace(recipe, precision="bf16-mixed")
    if recipe.batch * _kept(recipe, size) > ROOM * memory:
        recipe = replace(recipe, batch=1, accumulate=recipe.batch * recipe.accumulate)
    return recipe


def plan(recipe: Recipe, cohort: Cohort, split: Split, times: int = 1) -> Plan:
    """How a recipe is trained here, and what it takes; a few training steps are timed.

    times: how often it will be trained.
    """
    device = Fabric(accelerator="auto", devices=1).device
    size = recipe.size or max(cohort.size)
    name, memory = "the processor, no GPU", 0.0
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        name, memory = f"{about.name}, {about.total_memory / 1e9:.0f} GB", float(about.total_memory)
    elif device.type != "cpu":
        name = f"a GPU ({device.type})"
    mended = fitted(recipe, device, memory, size)
    at_once = AT_ONCE if device.type != "cuda" or AT_ONCE * _kept(recipe, size) / STEP <= ROOM * memory else 1
    slices = len(SliceDataset(cohort, split.train, recipe.lesion_free, thin_below=recipe.thin_below).order())
    epochs = recipe.epochs + (RESTART_EPOCHS if recipe.schedule == "paper" else 0)
    passes = times * epochs * slices
    here = passes * _seconds(mended, device, size)
    elsewhere = passes * STEP * cost(recipe, size)[0] / T4
    together = f"batch {mended.batch}" + (f" × accumulate {mended.accumulate}" if mended.accumulate > 1 else "")
    if mended.batch < recipe.batch:
        needs = f"a batch of {recipe.batch} would need about {recipe.batch * _kept(mended, size) / 1e9:.0f} GB"
        together += f" ({needs}; batch norm sees one slice at a time, the rest of the step is the same)"
    often = {1: "once", 2: "twice"}.get(times, f"{times} times")
    words = (
        f"**Before it starts.** Device: {name}. Precision: `{mended.precision}`. {together[0].upper()}{together[1:]}. "
        f"{slices} slices an epoch, {'at most ' if recipe.until == 'converged' else ''}{epochs} epochs, trained {often}. "
        f"That takes {spoken(here)} here, by a step that was timed, and {spoken(elsewhere)} on a T4, computed. "
        "Reading the slices comes on top."
    )
    return Plan(mended, device, at_once, words)


def spoken(seconds: float) -> str:
    """A time in words that two runs of a page agree on."""
    if seconds < 60:
        return "less than a minute"
    if seconds < 600:
        return "a few minutes"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.0f} hours"


def _kept(recipe: Recipe, size: int) -> float:
    """Bytes that a training step keeps of one slice."""
    return STEP * cost(recipe, size)[1] * (0.5 if recipe.precision.startswith("bf16") else 1)


def _seconds(recipe: Recipe, device: torch.device, size: int) -> float:
    """Seconds of a training step for one slice: on a processor timed on small ones, since the work grows with the pixels."""
    side = min(size, TIMED) if device.type == "cpu" else size
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # what is random later stays as it is
        model = networks.create(recipe.network, width=recipe.width, **recipe.options).to(device).train()
        x = torch.zeros(recipe.batch, 1, side, side, device=device).contiguous(memory_format=torch.channels_last)
        loss_of = losses.create(recipe.loss, **recipe.loss_options)
        took: list[float] = []
        while len(took) < 2 or (len(took) < STEPS and sum(took) < PATIENCE):  # the first one chooses and compiles
            began = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision.startswith("bf16")):
                output = model(x)
            output = [one.float() for one in output] if isinstance(output, (list, tuple)) else output.float()
            supervised_loss(output, x, loss_of, recipe.supervision).backward()
            sum(float(p.grad.sum()) for p in model.parameters() if p.grad is not None)  # waits for a GPU
            took.append(time.perf_counter() - began)
    return min(took[1:]) / recipe.batch * (size / side) ** 2
