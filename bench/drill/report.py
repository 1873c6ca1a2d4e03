"""The drill's report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.drill.plan import Options
from bench.drill.verdict import Recovery, Verdict


@dataclass(frozen=True, slots=True)
class Row:
    """``open_jobs``: accepted and unanswered at the fault. ``said``: terminal output since then."""

    kind: str
    signal: str
    open_jobs: int
    recovery: Recovery
    said: Sequence[str]


@dataclass(slots=True)
class Figures:
    """``random_faults``: counts by kind and signal."""

    machine: str
    date: str
    commit: str
    options: Options
    rows: Sequence[Row]
    random_faults: Mapping[str, int]
    random_longest: float
    jobs: int
    probes: int
    retried: Mapping[str, int]
    verdict: Verdict


_HEAD = """# Fault drill

`make drill` runs `matte serve` with two frontends, sends it jobs, and kills (SIGKILL) or stops (SIGSTOP, then SIGCONT)
one process after the other, then any of them at random. A patient client sends again what had no answer, under the
same `Idempotency-Key`. Jobs are sent by polling, synchronously, by events and by Gradio's calls, half of them before
the fault and half after it.
"""
_TABLE = """| process | signal | jobs open | first answer | undisturbed after | all answered | what the terminal said |
|---|---|---|---|---|---|---|"""
_NOTE = """Seconds, from the signal on. *First answer*: the first answer to a small picture sent after the fault (one
every half second). *Undisturbed after*: from then on none of them took more than 5 s. *All answered*: every job
accepted before the fault. The row `none` is the same load without a fault."""


def render(figures: Figures) -> str:
    verdict, options = figures.verdict, figures.options
    parts = [
        _HEAD,
        f"{figures.date}, {figures.machine}, commit {figures.commit}, "
        f"seed {options.seed}{', short leases' if options.quick else ''}.\n",
        f"**{figures.jobs} jobs: {len(verdict.lost)} lost, {len(verdict.changed)} changed, {len(verdict.stuck)} stuck; "
        f"{len(verdict.left)} left over, {len(verdict.broken)} broken answers.**\n",
        "## In turn\n",
        _TABLE,
        *(_row(row) for row in figures.rows),
        "",
        _NOTE,
        "\n## At random\n",
        _random(figures),
        "\n## What clients noticed\n",
        f"{figures.probes} probes and {figures.jobs} jobs; sent again: {_counts(figures.retried)}.",
    ]
    for name in ("lost", "changed", "stuck", "left", "broken"):
        parts += [f"\n## {name.capitalize()}\n", *(f"- {line}" for line in getattr(verdict, name))] * bool(
            getattr(verdict, name)
        )
    return "\n".join(parts) + "\n"


def _row(row: Row) -> str:
    times = (row.recovery.first, row.recovery.undisturbed, row.recovery.answered)
    shown = " | ".join("not" if seconds is None else f"{seconds:.1f}" for seconds in times)
    said = "<br>".join(line.replace("|", "\\|") for line in row.said[:6]) or "nothing"
    return f"| {row.kind} | {row.signal} | {row.open_jobs} | {shown} | {said} |"


def _random(figures: Figures) -> str:
    if not figures.options.seconds:
        return "Left out."
    return (
        f"{figures.options.seconds:.0f} s, {sum(figures.random_faults.values())} faults: "
        f"{_counts(figures.random_faults)}. The longest a small picture waited was {figures.random_longest:.1f} s."
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {n} ×" for what, n in sorted(counts.items(), key=lambda item: -item[1])) or "nothing"
