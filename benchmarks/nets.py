"""A training step beside MONAI's, and how near to the machine's own limits a network runs (roofline, Williams et al. 2009)."""

from __future__ import annotations

import statistics

import torch
from clock import Clock, line, ratio
from monai.networks.nets import BasicUNetPlusPlus
from torch.utils.flop_counter import FlopCounterMode

from scoat_lib import losses, networks
from scoat_lib.blocks import level_widths
from scoat_lib.training import supervised_loss

MONAI = "MONAI's BasicUNetPlusPlus"
ATTENTION = "ours, SCOAT-Net"
PLAIN = "ours, UNet++"
PASSES = {"inference": 1, "training": 3}  # a backward pass multiplies twice as much as the forward one


def flops(model: torch.nn.Module, size: int) -> int:
    """Floating-point operations of one forward pass over one slice; a multiplication with its addition counts as two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 1, size, size))
    return counter.get_total_flops()


def traffic(model: torch.nn.Module, size: int) -> int:
    """Bytes of one forward pass over one slice if each layer reads its inputs and weights and writes its outputs once."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        tensors = [t for t in (*inputs, output) if torch.is_tensor(t)]
        total += sum(t.numel() * 4 for t in tensors) + sum(p.numel() * 4 for p in module.parameters(recurse=False))

    leaves = [m for m in model.modules() if not list(m.children())]
    handles = [m.register_forward_hook(count) for m in leaves]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 1, size, size))
    for handle in handles:
        handle.remove()
    return total


def kept_bytes(model: torch.nn.Module, size: int) -> int:
    """Bytes that torch keeps of a slice's forward pass for the backward one, without weights: a batch's memory grows by it."""
    seen: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model.train()(torch.zeros(2, 1, size, size))  # two: batch norm needs more than one value at the lowest level
    del out
    return sum(seen.values()) // 2


def steps(models: dict[str, tuple], size: int, batch: int) -> dict[str, dict]:
    """{"training" | "inference": {name: job}} of networks with their layouts; a step is BCE-Dice on all branches, AdamW."""
    loss = losses.create("bce-dice")
    target = (torch.rand(batch, 1, size, size) > 0.9).float()
    jobs: dict[str, dict] = {kind: {} for kind in PASSES}
    for name, (model, layout) in models.items():
        x = torch.randn(batch, 1, size, size).contiguous(memory_format=layout)
        optimiser = torch.optim.AdamW(model.parameters())

        def step(model=model, x=x, optimiser=optimiser):
            model.train()
            optimiser.zero_grad()
            supervised_loss(model(x), target, loss).backward()
            optimiser.step()

        @torch.inference_mode()
        def infer(model=model, x=x):
            model.eval()(x)

        jobs["training"][name], jobs["inference"][name] = step, infer
    return jobs


def training(clock: Clock, width: int, size: int, batch: int, rounds: int) -> list[dict]:
    """A training step and an inference pass of our networks, beside MONAI's in torch's layout and in channels-last."""
    torch.manual_seed(0)
    features = (*level_widths(width), width)

    def monai():
        return BasicUNetPlusPlus(2, 1, 1, features=features, deep_supervision=True)

    last, plain = torch.channels_last, torch.contiguous_format
    models = {
        MONAI: (monai(), plain),
        f"{MONAI}, channels last": (monai().to(memory_format=last), last),
        ATTENTION: (networks.create("scoatnet", width=width), last),
        PLAIN: (networks.create("unetpp", width=width), last),
    }
    lines = []
    for kind, jobs in steps(models, size, batch).items():
        seconds = clock.turns(jobs, rounds)
        best = MONAI if sum(seconds[MONAI]) <= sum(seconds[f"{MONAI}, channels last"]) else f"{MONAI}, channels last"
        for name, goal in ((ATTENTION, 1.3), (PLAIN, 1.5)):
            value = ratio(seconds[MONAI], seconds[name])
            work = flops(models[name][0], size) / flops(models[MONAI][0], size)
            lines.append(
                line(f"{kind}: MONAI's UNet++ by {name}, width {width}", round(value, 2), "×",
                     f"≥ {goal}" if kind == "training" else "", value >= goal if kind == "training" else None,
                     how=f"{batch / statistics.median(seconds[name]):.1f} slices of {size} × {size} a second, batch {batch}; "
                         f"beside {best}, MONAI's faster layout: {ratio(seconds[best], seconds[name]):.2f} ×",
                     limit=f"{work:.2f} times MONAI's operations", images=batch / statistics.median(seconds[name]))
            )  # fmt: skip
    return lines


def peaks(clock: Clock) -> dict[str, float]:
    """The machine's own limits with the threads that torch has: GFLOP/s of a matrix product, GB/s of adding long vectors."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    x, y = torch.randn(2**24), torch.randn(2**24)
    out = torch.empty_like(x)
    seconds = clock.turns({"matmul": lambda: torch.mm(a, b), "add": lambda: torch.add(x, y, out=out)}, 7)
    return {"GFLOP/s": 2 * 1024**3 / min(seconds["matmul"]) / 1e9, "GB/s": 3 * 4 * 2**24 / min(seconds["add"]) / 1e9}


def roofline(clock: Clock, widths: list[int], size: int, rounds: int, bfloat16: bool) -> list[dict]:
    """Share of the machine's limit that SCOAT-Net reaches, per width, in inference and training, and which limit that is."""
    top = peaks(clock)
    lines = [line("peak of a matrix product, float32", round(top["GFLOP/s"]), "GFLOP/s", "", None,
                  how=f"memory {top['GB/s']:.1f} GB/s", **{"peaks": top})]  # fmt: skip
    for width in widths:
        model = networks.create("scoatnet", width=width)
        work, moved = flops(model, size), traffic(model, size)
        batch = max(1, min(4, 64 // width))
        for kind, jobs in steps({"ours": (model, torch.channels_last)}, size, batch).items():
            seconds = clock.turns(jobs, rounds if width < 64 else 1, warm=width < 64)["ours"]
            done = PASSES[kind] * batch * work / statistics.median(seconds) / 1e9
            intensity = work / moved
            roof = min(top["GFLOP/s"], intensity * top["GB/s"])
            share = done / top["GFLOP/s"]
            goal = kind == "training" and width == 8
            bound = "memory" if roof < top["GFLOP/s"] else "arithmetic"
            lines.append(
                line(f"{kind}, width {width}, float32, of the peak", round(100 * share), "%", "≥ 30" if goal else "",
                     share >= 0.3 if goal else None,
                     how=f"{done:.1f} GFLOP/s, {work / 1e9:.2f} GFLOP a slice forward",
                     limit=f"{intensity:.0f} operations a byte: the roof is {bound}'s, {roof:.0f} GFLOP/s; "
                           f"{100 * done / roof:.0f} % of it",
                     width=width, kind=kind, flops=work, bytes=moved, gflops=done, roof=roof, batch=batch)
            )  # fmt: skip
    if not bfloat16:
        lines.append(line("bfloat16", 0, "", "", None, how="not measured: this processor has no instructions for it"))
        return lines
    return lines + _halved(clock, widths, size, rounds)


def _halved(clock: Clock, widths: list[int], size: int, rounds: int) -> list[dict]:
    """Inference in bfloat16 beside float32, and how many pixels it decides otherwise."""
    lines = []
    for width in widths:
        torch.manual_seed(0)
        model = networks.create("scoatnet", width=width).eval()
        x = torch.randn(4, 1, size, size).contiguous(memory_format=torch.channels_last)

        @torch.inference_mode()
        def pass_(kind, model=model, x=x):
            with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
                return model(x).float()

        other = float(((pass_("bf16") > 0) != (pass_("f32") > 0)).float().mean())
        seconds = clock.turns({kind: lambda kind=kind: pass_(kind) for kind in ("f32", "bf16")}, rounds)
        value = ratio(seconds["f32"], seconds["bf16"])
        lines.append(line(f"inference, width {width}, float32 by bfloat16", round(value, 2), "×", "", None,
                          how="", check=f"{other:.1e} of an untrained network's pixels are decided otherwise"))  # fmt: skip
    return lines


def growth(clock: Clock, widths: list[int], sizes: list[int], rounds: int) -> dict[str, list[dict]]:
    """Seconds, operations, bytes kept for training of one slice: against width at the least size, against size at width 8."""
    rows: dict[str, list[dict]] = {"width": [], "size": []}
    for axis, pairs in (("width", [(w, sizes[0]) for w in widths]), ("size", [(8, s) for s in sizes])):
        jobs, models = {}, {}
        for width, size in pairs:
            model = networks.create("scoatnet", width=width)
            models[width, size] = model
            jobs[width, size] = steps({"ours": (model, torch.channels_last)}, size, 1)["inference"]["ours"]
        seconds = clock.turns(jobs, rounds)
        for (width, size), model in models.items():
            rows[axis].append(
                {"width": width, "size": size, "seconds": statistics.median(seconds[width, size]), "flops": flops(model, size),
                 "training bytes": kept_bytes(model, size), "parameters": sum(p.numel() for p in model.parameters())}
            )  # fmt: skip
    return rows
