"""What results say, in sentences and small tables for a page: they read well when nothing, a part or all was run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from scoat_lib import claims, metrics, report, rule
from scoat_lib.grids import Grid, get
from scoat_lib.report import NOT_RUN, Table

LEAST = f"{report.LEAST:,}".replace(",", " ")
TO = "\u00a0…\u00a0"  # between the ends of an interval in a table's cell, which is not broken there
SCORE = ("DSC, %", "DSC", "95 %", "Δ", "Δ, 95 %", "Δ 95 %", "p", "paper")  # what a table of scores says first


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign and a true minus; "–" for nan."""
    return "–" if value != value else f"{value:+.{digits}f}".replace("-", "−")


def plain(value: float, digits: int = 1) -> str:
    """A number with a true minus; "–" for nan."""
    return "–" if value != value else f"{value:.{digits}f}".replace("-", "−")


def minus(text: str) -> str:
    """A text whose numbers have a true minus in place of a hyphen."""
    return text.replace(" -", " −").replace("(-", "(−")


def count(number: int, what: str) -> str:
    """ "1 patient", "13 patients"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def listed_or_none(words: Sequence[str]) -> str:
    """The same, "none" for an empty list."""
    return listed(words) or "none"


def shown(table: Table | None, grid: Grid) -> pd.DataFrame:
    """A grid's table for a page: score, interval, paper, the other five metrics, Δ against the reference, p and n, in words.

    table: from `report.tables`; None where no row was run. Every row of the grid has a line.
    """
    lines: dict[str, dict] = {}
    for label in grid.rows:
        paper = plain(grid.paper.get(label, {}).get("DSC", math.nan), 2)
        row = None if table is None else table.rows.loc[label]
        if row is None or not row["all patients"]:
            lines[label] = {"DSC, %": NOT_RUN, "paper": paper}
            continue
        known = row["diff low"] == row["diff low"]
        lines[label] = {
            "n": str(int(row.patients)),
            "DSC, %": plain(row.DSC),
            "95 %": f"{plain(row.low)}{TO}{plain(row.high)}" if row.low == row.low else "–",
            "Δ": signed(row.difference) if row.difference == row.difference else "",
            "Δ, 95 %": f"{signed(row['diff low'])}{TO}{signed(row['diff high'])}" if known else "",
            "p": report.p_in_words(row.p),
            "paper": paper,
            **{m: plain(row[m]) for m in metrics.METRICS[1:]},
            "HD95, nominal mm": plain(row["HD95, mm"], 0),
            "folds": str(len(str(row.folds).split(","))),
            "seeds": row.seeds,
        }
    return pd.DataFrame.from_dict(lines, orient="index")[[*max(lines.values(), key=len)]].fillna("")


def parted(frame: pd.DataFrame, *groups: Sequence[str]) -> list[pd.DataFrame]:
    """A wide table as tables that fit a page: one for each group of columns, and one for those that no group names.

    "n" leads each. A group that has no column here makes no table; from the second on, lines without a word are left out.
    """
    named = {column for group in groups for column in group}
    tables = []
    for group in (*groups, [column for column in frame if column not in named]):
        columns = [column for column in group if column in frame and column != "n"]
        if columns:
            said = frame if not tables else frame[(frame[columns] != "").any(axis=1)]
            tables.append(said[[*(["n"] if "n" in frame else []), *columns]])
    return tables


def state(table: Table | None, grid: Grid) -> str:
    """How much of a grid was run: rows, folds and the patients of its reference row."""
    if table is None:
        return f"None of the {len(grid.rows)} rows was run yet."
    done = table.rows[table.rows["all patients"] > 0]
    whole = sum(len(str(text).split(", ")) == grid.folds for text in done.folds)
    verb = "was" if len(done) == 1 else "were"
    who = f"{len(done)} of {len(grid.rows)} rows {verb} run, {whole} of them on all {grid.folds} folds"
    first = table.rows.loc[grid.reference]
    if not first["all patients"]:
        return f"{who}; {grid.reference}, with which the others are compared, is not among them."
    return f"{who}; {grid.reference} has {count(int(first.patients), 'patient')} with at least {LEAST} lesion voxels."


def comparison(found: dict) -> str:
    """A comparison of `claims.compare` in sentences: the difference, its interval, n, the word, what could have been seen."""
    name = f"{found['one']} minus {found['other']}"
    if not found["patients"]:
        return f"{name}: {NOT_RUN}."
    who = count(found["patients"], "patient")
    difference = f"{signed(found['sign'] * found['difference'])} points of {found['metric']}"
    if found["low"] != found["low"]:
        return f"{name}: {difference} over {who}, too few for an interval."
    ends = sorted(found["sign"] * found[end] for end in ("low", "high"))
    text = f"{name}: {difference} (95 % interval {signed(ends[0])} … {signed(ends[1])}, {who})."
    better = "better" if found["sign"] > 0 else "worse"
    word = {claims.HOLDS: "holds", claims.FAILS: "does not hold", claims.OPEN: "is undecided"}[found["status"]]
    text += f" That {found['one']} is the {better} of the two **{word}**."
    beside = [f"They are equivalent within ±{rule.MARGIN:g} points."] if found["equivalent"] else []
    if found["excluded"]:
        near = f", by less than {claims.NEAR:g} points" if claims.at_the_end(found) else ""
        beside.append(f"A difference as large as the paper's {found['paper']:.1f} points is excluded here{near}.")
    if found["status"] == claims.OPEN:
        beside.append(
            f"A true difference of {found['visible']:.1f} points could have been seen. If the true difference were the one "
            f"measured, {claims.how_many(found['needed'])} would show it four times in five. The one measured is itself "
            "uncertain, so this is rough."
        )
    return " ".join([text, *beside])


def briefly(found: dict) -> str:
    """A comparison of `claims.compare` in a line: the difference and its word; the interval stands where it is told in full."""
    name = f"{found['one']} minus {found['other']}"
    if not found["patients"]:
        return f"{name}: {NOT_RUN}."
    word = "no verdict yet" if found["status"] == claims.WAITS else f"**{found['status']}**"
    alike = f", equivalent within ±{rule.MARGIN:g} points" if found["equivalent"] else ""
    return f"{name}: {signed(found['sign'] * found['difference'])} points of {found['metric']}, {word}{alike}."


def corrected(comparisons: Sequence[dict]) -> str:
    """Beside a count of comparisons that hold or do not: of how many that is so after Holm's correction over them all.

    Empty below two comparisons, and where all are undecided.
    """
    hold, fail = (sum(c["status"] == status for c in comparisons) for status in (claims.HOLDS, claims.FAILS))
    if len(comparisons) < 2 or not hold + fail:
        return ""
    held, refuted = claims.holding_after_holm(comparisons), sum(claims.refuted_after_holm(comparisons))
    kept = [
        _left(held, hold, ("holds", "hold"), ("still does", "still do"), "no longer does"),
        _left(refuted, fail, ("does not hold", "do not hold"), ("stays refuted", "stay refuted"), "is then undecided"),
    ]
    return f"after Holm's correction over all {len(comparisons)}, {' and '.join(filter(None, kept))}"


def _left(left: int, number: int, which: tuple[str, str], verb: tuple[str, str], lost: str) -> str:
    """Of some comparisons how many are left; which, verb: of one and of several. Empty where there were none."""
    if number == 1:
        return f"the one that {which[0]} {verb[0] if left else lost}"
    share = "all" if left == number else left or "none"
    return f"{share} of the {number} that {which[1]} {verb[left > 1]}" if number else ""


def lower(comparisons: Sequence[dict]) -> str:
    """Of the undecided comparisons those whose difference goes against the claim, by metric. Empty where there is none."""
    unsure = [c for c in comparisons if c["status"] == claims.OPEN]
    against = [c["metric"] for c in unsure if c["difference"] < 0]
    if not against:
        return ""
    each = listed([f"{against.count(m)} in {m}" for m in metrics.METRICS if m in against])
    ones = {c["one"] for c in comparisons}
    what = f"{ones.pop()}'s mean is the lower one" if len(ones) == 1 and all(c["sign"] > 0 for c in comparisons) else ""
    what = what or "the difference goes against the claim"
    number = len(against)
    if number == len(unsure):
        return f"in {'the undecided one' if number == 1 else f'all {number} undecided ones'} {what} ({each})"
    return f"in {number} of the {len(unsure)} undecided ones {what} ({each})"


def uneven_seeds(results: list[dict], grid: str, one: str, others: Sequence[str]) -> str:
    """Where a row has other seeds than those it is compared with: why, and the differences in DSC by the first seed alone.

    Empty where all have the same seeds on every fold.
    """
    most = next(iter(report.scales(results, get(grid))), ({}, "", []))[2]

    def has(label: str) -> set:
        """The folds and seeds of a row."""
        return {(r["recipe"]["fold"], r["recipe"]["seed"]) for r in most if r["row"] == label}

    unlike = [other for other in others if has(other) and has(one) and has(other) != has(one)]
    if not unlike:
        return ""
    first = [r for r in results if r["recipe"]["seed"] == 0]
    both = [(o, claims.compare(results, get(grid), one, o), claims.compare(first, get(grid), one, o)) for o in unlike]
    both = [(other, every, alone) for other, every, alone in both if alone["patients"] and every["patients"]]
    text = (
        "The protocol runs every network once and then some again with other seeds, SCOAT-Net, UNet++ and U-Net first. So a "
        f"patient's score is here a mean over {_seed_range(has(one))} for {one} and over {_seed_range(*map(has, unlike))} for "
        f"{listed(unlike) if len(unlike) < 4 else f'{len(unlike)} others'}. More seeds make a mean steadier, and neither "
        "higher nor lower."
    )
    if not both:
        return text
    if len(both) < 4:
        told = [f"{signed(a['difference'])} from {o} (with all seeds {signed(e['difference'])})" for o, e, a in both]
        return f"{text} By seed 0 alone {one} differs by {listed(told)} points of DSC."
    moved = max(abs(alone["difference"] - every["difference"]) for _, every, alone in both)
    turned = [f"{o} from *{e['status']}* to *{a['status']}*" for o, e, a in both if e["status"] != a["status"]]
    word = f"the word changes for {listed(turned)}" if turned else "no word changes"
    return f"{text} By seed 0 alone a difference in DSC moves by {moved:.1f} points at most, and {word}."


def _seed_range(*runs: set) -> str:
    """ "1 seed", "1 to 2 seeds": how many seeds the folds of some rows have."""
    each = [sum(f == fold for f, _ in of) for of in runs for fold in {f for f, _ in of}]
    return count(each[0], "seed") if min(each) == max(each) else f"{min(each)} to {max(each)} seeds"


def sides(table: report.Table, one: str, other: str) -> str:
    """How many patients of two rows of a table lie on which side of zero, and the mean without the one that lies outermost.

    Over the patients of the primary endpoint; ValueError below two of them.
    """
    points = report.paired(table.patients[one], table.patients[other]).difference
    if len(points) < 2:
        raise ValueError(f"{one} and {other} share {count(len(points), 'patient')} of at least {LEAST} voxels; two are needed")
    mean = points.mean()
    outermost = (points - mean).abs().idxmax()
    rest = points.drop(outermost).mean()
    keeps = "keeps its side" if rest * mean > 0 else "changes its side"
    return (
        f"{(points > 0).sum()} of {count(len(points), 'patient')} lie on {one}'s side, {(points < 0).sum()} on {other}'s. "
        f"Without the outermost, {outermost} ({signed(points[outermost])}), the mean is {signed(rest)} points in place of "
        f"{signed(mean)}: it {keeps}."
    )


def claim(results: list[dict], number: str) -> str:
    """A claim of the ledger with its word and how many of its comparisons say what."""
    (found,) = [c for c in claims.CLAIMS if c.number == number]
    verdict = found.decide(results)
    text = f"Claim {number}, “{found.text}”: **{verdict.status}**"
    runs = [c for c in verdict.comparisons if c["patients"]]
    if not verdict.comparisons:
        return f"{text} ({minus(verdict.reason)})."
    if not runs:
        return f"{text}."
    states = [c["status"] for c in verdict.comparisons]
    if len(states) == 1:
        return f"{text}."
    verbs = {
        claims.HOLDS: ("holds", "hold"),
        claims.FAILS: ("does not hold", "do not hold"),
        claims.OPEN: ("is undecided", "are undecided"),
        claims.WAITS: ("waits for runs", "wait for runs"),
    }
    parts = [f"{states.count(s)} {verb[states.count(s) > 1]}" for s, verb in verbs.items() if s in states]
    said = f"{text}; of {len(states)} comparisons {', '.join(parts)}, each by its own interval"
    return "; ".join(filter(None, [said, corrected(verdict.comparisons), lower(verdict.comparisons)])) + "."


def of_network(results: list[dict], network: str) -> list[dict]:
    """A network's runs by the protocol's recipe."""
    return [r for r in report.alike(results) if r["recipe"]["network"] == network]


def patients_beside(results: list[dict], names: dict[str, str]) -> pd.DataFrame:
    """Every patient's DSC in per cent by network, lightest fold first; seeds averaged. names: network → label. May be empty."""
    frames = {label: report.per_patient(of_network(results, name)) for name, label in names.items()}
    frames = {label: frame for label, frame in frames.items() if len(frame)}
    if not frames:
        return pd.DataFrame()
    wide = pd.DataFrame({label: 100 * frame.DSC for label, frame in frames.items()})
    about = pd.concat([frame[["fold", "lesion_voxels"]] for frame in frames.values()])
    about = about[~about.index.duplicated()].reindex(wide.index)
    wide.insert(0, "fold", about.fold.astype(int))
    wide.insert(1, "lesion voxels", about.lesion_voxels.astype(int))
    return wide.sort_values(["fold", "lesion voxels"]).rename_axis(None)


def hold(status: str, number: int) -> str:
    """A verdict as what a number of claims does: "holds", "do not hold", "is undecided"."""
    words = {claims.HOLDS: ("holds", "hold"), claims.FAILS: ("does not hold", "do not hold")}
    words |= {claims.WAITS: ("waits for runs", "wait for runs")}
    if status not in words:
        return f"{'is' if number == 1 else 'are'} {status}"
    return words[status][number != 1]


def lowered(text: str) -> str:
    """A sentence that goes on within another: its first letter small."""
    return text[0].lower() + text[1:]
