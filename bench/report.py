"""Figures to Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.measure import Cost

#: what the issue asks of Matte: added p50 (ms), CPU outside the job (ms), share of both cores
TARGETS = (12.0, 12.0, 0.92)
DEEP_TARGET_MS = 5.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Everything measured on the CPU. Seconds; ``rest`` is (CPU share of one core, bytes) by part."""

    wall: float
    cpu: float
    bare_rate: float
    ways: Sequence[Cost]
    rest: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Longer:
    """Eight at a time with a longer job: its CPU seconds; share of the cores and of two bare processes' rate by way."""

    side: int
    cpu: float
    ways: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Accelerated:
    """A model on the GPU: pictures per second bare and through Matte."""

    model: str
    device: str
    batch: int
    bare_rate: float
    matte_rate: float


def render(
    machine: str,
    cores: Cores,
    longer: Sequence[Longer],
    deep: tuple[float, float, float],
    accelerated: Sequence[Accelerated] | None,
) -> str:
    """The whole of bench/results.md."""
    parts = [_head(machine), _costs(cores), _longer(longer), _rest(cores), _deep(deep), _gpu(accelerated)]
    return "\n".join(parts)


def _head(machine: str) -> str:
    return (
        "# What Matte costs over the bare model\n\n"
        f"Made by `make bench` on {machine}. The job: a 1024² JPEG in, decode, the 256² U-Net (2.0.0) on one thread, "
        "PNG out. Every way of serving it is measured in turns with the bare loop in one run, in many short rounds; "
        "the figures are medians of the third of them in which the bare loop was fastest, and the machine quietest.\n"
    )


def _costs(cores: Cores) -> str:
    job = cores.wall * 1e3
    rows = [
        f"| {way.name} | {way.added_p50 * 1e3:.1f} ms | {way.added_p50 / cores.wall:.3f} "
        f"| {way.added_cpu * 1e3:.1f} ms | {way.added_cpu / cores.cpu:.3f} "
        f"| {way.share:.3f} | {way.rate:.3f} | {way.throughput:.1f} |"
        for way in cores.ways
    ]
    matte = cores.ways[-1]
    measured = (matte.added_p50 * 1e3, matte.added_cpu * 1e3, matte.share)
    short = [
        text
        for text, bad in (
            (f"added latency {measured[0]:.1f} ms > {TARGETS[0]:.0f} ms", measured[0] > TARGETS[0]),
            (f"CPU outside the job {measured[1]:.1f} ms > {TARGETS[1]:.0f} ms", measured[1] > TARGETS[1]),
            (f"share of both cores {measured[2]:.3f} < {TARGETS[2]}", measured[2] < TARGETS[2]),
        )
        if bad
    ]
    return (
        f"The bare job takes {job:.1f} ms (p50), {cores.cpu * 1e3:.1f} ms of CPU; two bare processes on both cores do "
        f"{cores.bare_rate:.1f} a second.\n\n"
        "| | added latency, 1 at a time, p50 | ÷ the job | CPU outside the job | ÷ the job's CPU "
        "| share of both cores that the job gets, 8 at a time | pictures ÷ those of two bare processes | per second |\n"
        "|---|---|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n\nMatte is measured with the durable queue, its append-only file and both replicas on; CPU counts every "
        "process (frontend, Redis, router, replicas, Ray) less what they use at rest, which is below. "
        "The share is the job's own CPU time, measured around its stages while eight ask, of all that both cores have; "
        "the load generator, Ray at rest and all that waits are in the rest of it.\n\n"
        + ("Falls short: " + "; ".join(short) + ".\n" if short else "Every target is met (12 ms, 12 ms, 0.92).\n")
    )


def _longer(jobs: Sequence[Longer]) -> str:
    rows = [
        f"| {job.side}² | {job.cpu * 1e3:.0f} ms | {name} | {share:.3f} | {rate:.3f} |"
        for job in jobs
        for name, (share, rate) in job.ways.items()
    ]
    return (
        "## Longer jobs\n\n"
        "What a picture costs outside its job does not grow with the job. The same, eight at a time, with a U-Net that "
        "sees more pixels:\n\n"
        "| the U-Net at | CPU of the job | | share of both cores that the job gets "
        "| pictures ÷ those of two bare processes |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _rest(cores: Cores) -> str:
    rows = [f"| {name} | {cpu * 100:.1f} % | {size / 1e6:.0f} MB |" for name, (cpu, size) in cores.rest.items()]
    return "## At rest\n\n| | CPU of one core | memory (PSS) |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _deep(deep: tuple[float, float, float]) -> str:
    p50, p99, most = (value * 1e3 for value in deep)
    verdict = "met" if p99 <= DEEP_TARGET_MS else "falls short"
    return (
        "## Admission into a queue of 100 000 jobs\n\n"
        f"Admit + exact position, 50 tenants: p50 {p50:.2f} ms, p99 {p99:.2f} ms, largest {most:.2f} ms "
        f"(target p99 ≤ {DEEP_TARGET_MS:.0f} ms: {verdict}).\n"
    )


def _gpu(accelerated: Sequence[Accelerated] | None) -> str:
    if accelerated is None:
        return "## On a GPU\n\nNot measured: this run's machine had none.\n"
    rows = [
        f"| {a.model} | {a.device} | {a.batch} | {a.bare_rate:.1f} | {a.matte_rate:.1f} "
        f"| {a.matte_rate / a.bare_rate:.3f} |"
        for a in accelerated
    ]
    return (
        "## On a GPU\n\nPictures per second, bf16, batched: a bare batched loop beside Matte, same run.\n\n"
        "| model | device | batch | bare | Matte | ratio |\n|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
