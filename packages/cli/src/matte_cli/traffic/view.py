"""Renders a run, while it lasts and at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from matte_cli.traffic.log import Log, Weights, quantile
from matte_cli.traffic.report import Report

#: the view's latencies are of the last answers, so that a change shows
RECENT = 1000


def ms(value: float | None) -> str:
    """A duration, exact enough to compare: 87 ms, 1.42 s; – is not known."""
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def weights(found: Weights) -> str:
    return ", ".join(f"{version} {weight} %" for version, weight in found.items()) or "none"


def line(log: Log, now: float) -> str:
    taken = sorted(answer.latency for answer in log.answers[-RECENT:])
    counts = Counter(answer.version for answer in log.answers)
    seen = ", ".join(f"{version} {percent(n / counts.total())}" for version, n in sorted(counts.items()))
    asked = weights(log.samples[-1].weights) if log.samples else "not known"
    return (
        f"{now:.0f} s: sent {log.sent}, answered {len(log.answers)}, failed {len(log.failures)}, "
        f"in flight {log.in_flight}; p50 {ms(quantile(taken, 0.5))}, p95 {ms(quantile(taken, 0.95))}; "
        f"seen {seen or 'nothing'}; asked {asked}"
    )


def live(log: Log, now: float) -> RenderableType:
    head = Table.grid(padding=(0, 3))
    failed = f"[red]{len(log.failures)}[/]" if log.failures else "0"
    head.add_row(
        f"{now:.0f} s", f"sent [bold]{log.sent}[/]", f"answered [bold]{len(log.answers)}[/]", f"failed {failed}",
        f"in flight {log.in_flight}", f"sent again {log.retries.total()}",
    )  # fmt: skip
    recent = log.answers[-RECENT:]
    counts = Counter(answer.version for answer in log.answers)
    asked = log.samples[-1].weights if log.samples else {}
    versions = _grid("version", "asked now", "seen so far", "seen lately", "p50", "p95")
    for version in [*asked, *sorted(counts.keys() - asked.keys())]:
        taken = sorted(answer.latency for answer in recent if answer.version == version)
        versions.add_row(
            version, f"{asked.get(version, 0)} %", percent(counts[version] / max(1, counts.total())),
            percent(len(taken) / max(1, len(recent))), ms(quantile(taken, 0.5)), ms(quantile(taken, 0.95)),
        )  # fmt: skip
    return Group(head, versions)


def closing(report: Report) -> Iterator[RenderableType]:
    yield ""
    latencies = _grid("version", "answered", "share", "p50", "p95", "p99", "longest")
    for row in report.latencies:
        taken = (ms(value) for value in (row.p50, row.p95, row.p99, row.longest))
        latencies.add_row(row.version, str(row.answered), percent(row.share), *taken)
    if report.latencies:
        yield latencies
    for split in report.splits:
        yield ""
        yield f"{split.start:.1f}–{split.end:.1f} s, constant weights, {split.counted} {split.unit}:"
        shares = _grid("version", "asked", "seen", f"{report.confidence:.0%} interval", "")
        for share in split.shares:
            mark = "[green]✓ the asked share lies within[/]"
            if not share.within:
                mark = "[yellow]! the asked share lies outside[/]"
            seen, interval = f"{percent(share.share)} ({share.seen})", f"{percent(share.low)} – {percent(share.high)}"
            shares.add_row(share.version, percent(share.asked), seen, interval, mark)
        yield shares
        if split.unsteady:
            yield f"[yellow]![/] {split.unsteady} users saw more than one version while the weights were constant"
    yield from _remarks(report)
    for failure in report.first_failures:
        job = f" (job {failure.job})" if failure.job else ""
        yield f"[red]✗[/] at {failure.at:.1f} s {failure.code}: {escape(failure.detail)}{escape(job)}"
    yield verdict(report)


def _grid(*titles: str) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        grid.add_column(title, justify="left" if title == "version" else "right")
    return grid


def _remarks(report: Report) -> Iterator[str]:
    yield ""
    if report.asked.users and report.asked.key_header is None:
        yield "[yellow]![/] this server has no header that keeps a user on a version: users were not named, and every"
        yield "  picture was a draw of its own (--key-header names a header that your frontend does use)"
    for move in report.moves:
        yield (
            f"at {move.at:.0f} s {move.changed} of {move.users} users ({percent(move.changed / move.users)}) had "
            f"changed version; {percent(move.must)} had to"
        )
    if report.outside_windows:
        yield f"{report.outside_windows} answers near a change of weights belong to no window"
    if not report.splits and report.answered:
        yield "the weights never were constant long enough to judge the split"
    if report.retried:
        why = ", ".join(f"{code} {n}×" for code, n in report.retries.items())
        yield f"{report.retried} pictures were sent again when the server asked for it: {why}"
    if report.sent_late and report.asked.rate:
        yield (
            f"[yellow]![/] {report.sent_late} pictures went late, at most {ms(report.latest_seconds)}: "
            f"--concurrency {report.asked.concurrency} were in flight"
        )
    if report.unsent:
        yield f"[yellow]![/] {report.unsent} of {report.asked.planned} pictures were not sent when the time was over"
    if report.abandoned:
        yield f"[yellow]![/] {report.abandoned} pictures were in flight when it was cut off"


def verdict(report: Report) -> str:
    took = f"{report.sent} pictures in {report.seconds:.0f} s"
    if report.interrupted:
        took += ", ended early"
    if report.passed:
        return f"[green]✓[/] 0 failed: {took}"
    if not report.failed:
        return f"[red]✗[/] nothing was answered: {took}"
    codes = ", ".join(f"{code} {n}×" for code, n in report.failures.items())
    return f"[red]✗[/] {report.failed} failed ({codes}): {took}"
