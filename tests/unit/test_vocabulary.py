"""The words of the code are the field's: names that were used once and mean nothing to a stranger stay out."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator

import pytest
from unit.test_repository import ROOT, own_files

#: a name in code → what to say instead
NAMES = {
    "sound": "validate: a web programmer looks for it",
    "Asked": "ValidatedRequest",
    "Edge": "RequestContextMiddleware",
    "refusing": "count_rejections",
    "scrape": "metrics_server",
    "glue": "gradio_adapter",
    "lane": "subqueue: fair queueing's own term",
    "undecided": "unassigned",
    "park": "defer",
    "tell": "emit_event",
    "bell": "wakeup channel",
    "Bell": "wakeup channel",
    "revive": "requeue_dead",
    "okey": "sort_key",
    "spmp": "seconds_per_megapixel",
    "hand_over": "dispatch",
    "Handling": "DispatchOptions",
    "relieve": "unassign_unroutable",
    "strand": "cancel_orphaned",
    "course": "JobTrace",
    "Opened": "DecodedJob",
    "Bytes": "UInt8Array: numpy's names",
    "Floats": "Float32Array: numpy's names",
    "aside": "background_loop",
    "World": "Snapshot: what was observed in one pass",
    "Told": "ExternalFacts",
    "told": "name the fact",
    "News": "EventRecord",
    "essence": "change_fingerprint",
    "Judges": "ExternalChecks",
    "Finding": "ConditionUpdate: Kubernetes calls it a condition",
    "Wanted": "DesiredRollout",
    "Trouble": "PodProblem",
    "SCALED": "MUTABLE_FIELDS",
    "ground": "instance_lock",
    "Wish": "DriveOptions",
    "Demands": "VerificationPolicy",
    "Sheet": "ModelMetadata",
    "theirs": "say whose: stable's, the canary's",
    "ours": "say whose: stable's, the canary's",
}  # fmt: skip
#: in any text → what to say instead
TEXT = {
    r"licence": "license",
    r"colour": "color",
    r"behaviour": "behavior",
    r"(?<!\.)\bcancelled\b(?!\(\))": "canceled",
    r"\bgrey(?!\")": "gray",
    r"neighbour": "neighbor",
    r"\bcentre": "center",
    r"(normal|serial|optim|initial|organ|recogn|synchron)is(e|ed|er|ing|ation)\b": "-ize",
    r"(?<!Bad )gateway": "frontend; only the Gateway API says gateway",
}
#: where the Gateway API is mentioned
GATEWAY_API = (
    "charts/",
    "docs/install.md",
    "docs/architecture.md",
    "scripts/values_contract.py",
    "tests/chart/",
    "tests/e2e/",
)
SOURCES = (
    "packages/", "services/", "operators/", "charts/", "docs/", "scripts/", "bench/", "tests/", "terraform/",
    "README.md", "CONTRIBUTING.md",
)  # fmt: skip
ELSEWHERE = ("CHANGELOG.md", "tests/unit/test_vocabulary.py", "bench/results.md", "bench/drill.md")


def files(*suffixes: str) -> Iterator[tuple[str, str]]:
    """The names and texts of the repository's own files."""
    for path in own_files():
        name = str(path.relative_to(ROOT))
        if path.suffix in suffixes and name not in ELSEWHERE and name.startswith(SOURCES):
            yield name, path.read_text(encoding="utf-8")


def names(text: str) -> Iterator[tuple[int, str]]:
    """Every name in Python source, with its line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def test_names_are_the_fields_own() -> None:
    found = [
        f"{file}:{line} {name}: {NAMES[name]}"
        for file, text in files(".py")
        for line, name in names(text)
        if name in NAMES
    ]
    words = re.compile(rf"\b({'|'.join(NAMES)})\b(?=\s*[=(,.])")
    found += [
        f"{file} {match[0]}: {NAMES[match[0]]}" for file, text in files(".lua", ".js") for match in words.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize("pattern", TEXT)
def test_spelling_is_american_and_words_mean_one_thing(pattern: str) -> None:
    found = []
    for file, text in files(".py", ".lua", ".js", ".css", ".html", ".md", ".yaml", ".tpl", ".txt", ".sh", ".tf"):
        if "gateway" in pattern and file.startswith(GATEWAY_API):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(pattern, line, re.IGNORECASE):
                found.append(f"{file}:{number} {TEXT[pattern]}: {line.strip()[:80]}")
    assert found == []
