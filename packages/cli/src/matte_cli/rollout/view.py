"""Renders a rollout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from matte_core.contracts.k8s.rollout import (
    Cause,
    Check,
    Phase,
    RolloutSpec,
    RolloutStatus,
    RolloutStep,
    Verdict,
)
from matte_core.domain.phases import ROLLBACK, TERMINAL, elapsed_seconds
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from matte_cli.messages import seconds
from matte_cli.rollout.state import Rollout

BAR = 32
_COLORS = {
    Phase.SUCCEEDED: "green",
    Phase.ROLLING_BACK: "red",
    Phase.ROLLED_BACK: "red",
    Phase.FAILED: "red",
    Phase.PAUSED: "yellow",
}
_MARKS = {Verdict.PASS: "[green]✓ pass[/]", Verdict.FAIL: "[red]✗ fail[/]", Verdict.INCONCLUSIVE: "[yellow]? unsure[/]"}


def summary(rollout: Rollout, now: datetime) -> RenderableType:
    """Versions, phase, weights, steps and the last check. ``now`` is in UTC."""
    status = rollout.status
    if status is None:
        return Group(f"[bold]{escape(rollout.model)}[/] {escape(rollout.version)}: nothing is known of a rollout yet")
    parts: list[RenderableType] = [head(rollout, status, now)]
    if status.message:
        parts.append(f"  {escape(status.message)}")
    parts += [*_remarks(rollout, status), "", weights(status)]
    if rollout.spec is not None and status.canary is not None:
        parts += ["", steps(rollout.spec, status, now)]
    if status.checks:
        parts += ["", *check(status.checks[-1], now)]
    return Group(*parts)


def head(rollout: Rollout, status: RolloutStatus, now: datetime) -> str:
    way = " → ".join(escape(version) for version in (status.stable, status.canary) if version)
    cause = "" if status.cause is Cause.NONE else f" ({status.cause})"
    since = f", {ago(status.phase_started_at, now)}" if status.phase_started_at else ""
    attempt = f", attempt {status.attempt}" if status.attempt > 1 else ""
    color = _COLORS.get(status.phase, "cyan")
    return f"[bold]{escape(rollout.model)}[/] {way}: [{color}]{status.phase}[/]{cause}{since}{attempt}"


def line(rollout: Rollout, status: RolloutStatus) -> str:
    """One line for logs, without markup."""
    cause = "" if status.cause is Cause.NONE else f" ({status.cause})"
    version = status.canary or status.stable or rollout.version
    share = f" at {status.weight} %" if status.canary else ""
    message = f": {status.message}" if status.message else ""
    return f"{rollout.model} {version}: {status.phase}{cause}{share}{message}"


def _remarks(rollout: Rollout, status: RolloutStatus) -> Iterator[str]:
    if rollout.version not in {status.stable, status.canary}:
        yield f"  [yellow]![/] the spec asks for {escape(rollout.version)}; the operator has not begun with it"
    if rollout.spec is not None and rollout.spec.paused and status.phase is not Phase.PAUSED:
        yield "  [yellow]![/] the spec says paused: it holds where a step begins"
    if status.forced and status.phase is Phase.PROMOTING:
        yield "  [yellow]![/] promoted by request: the analysis is over"
    if rollout.spec is not None and status.failures and status.phase not in TERMINAL:
        yield f"  [yellow]![/] {status.failures} of {rollout.spec.analysis.failure_limit} failed checks that end it"


def weights(status: RolloutStatus) -> Table:
    grid = Table.grid(padding=(0, 2))
    for justify in ("left", "left", "right", "left"):
        grid.add_column(justify=justify)
    shares = [(status.stable, 100 - status.weight, status.stable_replicas)] if status.stable else []
    if status.canary:
        shares.append((status.canary, status.weight, status.canary_replicas))
    for version, share, size in shares:
        grid.add_row(escape(str(version)), bar(share), f"{share} %", f"full size {size}")
    return grid


def bar(share: int) -> str:
    """A percentage as a bar: empty only at 0, full only at 100."""
    full = round(BAR * share / 100)
    full = min(max(full, share > 0), BAR - (share < 100))
    return f"[cyan]{'█' * full}[/][dim]{'░' * (BAR - full)}[/]"


def steps(spec: RolloutSpec, status: RolloutStatus, now: datetime) -> str:
    """The steps: completed, current and remaining."""
    phase, reached = status.phase, -1
    if phase in {Phase.PROMOTING, Phase.SUCCEEDED}:
        reached = len(spec.steps)
    elif phase in {Phase.STEPPING, Phase.PAUSED} or (phase in ROLLBACK and status.exposed):
        reached = status.step
    parts = [_step(index, step, reached, status, now) for index, step in enumerate(spec.steps)]
    parts.append("[cyan]▸ 100 %[/]" if status.phase is Phase.PROMOTING else "[dim]· 100 %[/]")
    return "steps  " + "  ".join(parts)


def _step(index: int, step: RolloutStep, reached: int, status: RolloutStatus, now: datetime) -> str:
    if index < reached:
        return f"[green]✓ {step.weight} %[/]"
    if index > reached:
        return f"[dim]· {step.weight} %[/]"
    if status.phase in ROLLBACK:
        return f"[red]✗ {step.weight} %[/]"
    if status.step_started_at is None:
        return f"[cyan]▸ {step.weight} %[/] (on the way)"
    lasted, whole = seconds(elapsed_seconds(status.step_started_at, now)), seconds(step.duration_seconds)
    return f"[cyan]▸ {step.weight} %[/] ({lasted} of {whole}, at least {step.min_samples} answers)"


def check(found: Check, now: datetime) -> Iterator[RenderableType]:
    yield f"last check {ago(found.time, now)} at {found.weight} %: {_MARKS[found.verdict]}"
    grid = _grid("metric", "verdict", "new", "stable", "samples", "")
    for metric in found.metrics:
        numbers = number(metric.metric, metric.value), number(metric.metric, metric.stable), str(metric.samples)
        grid.add_row(escape(metric.metric), _MARKS[metric.verdict], *numbers, f"[dim]{escape(metric.message)}[/]")
    yield grid


def history(checks: Sequence[Check]) -> RenderableType:
    """Every recorded check, oldest first, with the metrics that decided against it."""
    if not checks:
        return "no check yet"
    grid = _grid("time", "phase", "weight", "verdict", "")
    for found in checks:
        against = [metric for metric in found.metrics if metric.verdict is found.verdict is not Verdict.PASS]
        reasons, mark = "; ".join(f"{m.metric}: {m.message}" for m in against), _MARKS[found.verdict]
        grid.add_row(found.time, str(found.phase), f"{found.weight} %", mark, f"[dim]{escape(reasons)}[/]")
    return grid


def stories(found: Iterable[tuple[str, RolloutStatus]]) -> Table:
    grid = _grid("version", "phase", "cause", "since", "")
    for version, status in found:
        color = _COLORS.get(status.phase, "cyan")
        cause = "" if status.cause is Cause.NONE else str(status.cause)
        phase, since = f"[{color}]{status.phase}[/]", status.phase_started_at or "–"
        grid.add_row(escape(version), phase, cause, since, f"[dim]{escape(status.message)}[/]")
    return grid


def number(metric: str, value: float | None) -> str:
    """The value of a metric in its unit."""
    if value is None:
        return "–"
    if metric == "agreement":
        return f"{100 * value:.2f} % differ"
    if metric in {"errors", "masks", "foreground"}:
        return f"{100 * value:.2f} %"
    if metric == "latency":
        return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
    if metric == "uncertainty":
        return f"{value:.3f}"
    return f"{value:.4g}"


def ago(time: str | None, now: datetime) -> str:
    return f"{seconds(elapsed_seconds(time, now))} ago" if time else "at an unknown time"


def _grid(*titles: str) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        right = title in {"new", "stable", "samples", "weight"}
        grid.add_column(title, justify="right" if right else "left", no_wrap=title != "", overflow="fold")
    return grid
