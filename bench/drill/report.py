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


def render(figures: Figures) -> str:
    verdict, options = figures.verdict, figures.options
    lines = [
        f"""# Fault drill

`make drill` runs `matte serve` with two frontends, sends it jobs, and kills (SIGKILL) or stops (SIGSTOP, then SIGCONT)
one process after the other, then any of them at random. The client repeats requests that had no answer, with the same
`Idempotency-Key`. Jobs are sent by polling, synchronously, by events and by Gradio's calls, half of them before the
fault and half after it.

{figures.date}, {figures.machine}, commit {figures.commit}, seed {options.seed}{", short leases" * options.quick}.

**{figures.jobs} jobs: {len(verdict.lost)} lost, {len(verdict.changed)} changed, {len(verdict.stuck)} stuck; \
{len(verdict.left)} left over, {len(verdict.broken)} broken answers.**

## In turn

| process | signal | jobs open | first answer | undisturbed after | all answered | terminal output |
|---|---|---|---|---|---|---|"""
    ]
    for row in figures.rows:
        times = (row.recovery.first, row.recovery.undisturbed, row.recovery.answered)
        seconds = " | ".join("not" if time is None else f"{time:.1f}" for time in times)
        said = "<br>".join(line.replace("|", "\\|") for line in row.said[:6]) or "nothing"
        lines.append(f"| {row.kind} | {row.signal} | {row.open_jobs} | {seconds} | {said} |")
    random_part = "Left out."
    if options.seconds:
        random_part = (
            f"{options.seconds:.0f} s, {sum(figures.random_faults.values())} faults: {_counts(figures.random_faults)}. "
            f"The longest wait of a small picture was {figures.random_longest:.1f} s."
        )
    lines.append(f"""
Seconds since the signal. *First answer*: the first answer to a small picture sent after the fault (one every half
second). *Undisturbed after*: from then on none of them took more than 5 s. *All answered*: every job accepted before
the fault. The row `none` is the same load without a fault.

## At random

{random_part}

## Clients

{figures.probes} probes and {figures.jobs} jobs; retried: {_counts(figures.retried)}.""")
    for name in ("lost", "changed", "stuck", "left", "broken"):
        if violations := getattr(verdict, name):
            lines += [f"\n## {name.capitalize()}\n", *(f"- {line}" for line in violations)]
    return "\n".join(lines) + "\n"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {n} ×" for what, n in sorted(counts.items(), key=lambda item: -item[1])) or "nothing"
