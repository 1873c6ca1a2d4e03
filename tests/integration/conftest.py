"""The stack that many modules share, and which modules run in one process so that they can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pool import Pool, PoolStack
from served import Served, serving
from stack import gateways_only

HERE = Path(__file__).parent
#: modules of one group run in one process (pytest-xdist, ``--dist loadgroup``) and share what they start; the longest
#: first, so that two processes end at about the same time
GROUPS = {
    "served": ("test_bad_input", "test_remote", "test_serve", "test_traces"),
    "gateway": ("gateway",),
    "pool": ("test_pools", "test_rollout_serve"),
    "registry": ("registry",),
}
_GROUP_OF = {place: group for group, places in GROUPS.items() for place in places}
_ORDER = list(GROUPS)


def group_of(path: Path) -> str:
    """The group of a test file; a file of no group is one of its own."""
    first = path.relative_to(HERE).parts[0].removesuffix(".py")
    return _GROUP_OF.get(first, first)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker(pytest.mark.xdist_group(group_of(item.path)))
    ranks = {group: number for number, group in enumerate(_ORDER)}
    ours.sort(key=lambda item: ranks.get(group_of(item.path), len(ranks)))
    items[:] = [item for item in items if not item.path.is_relative_to(HERE)] + ours


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A whole Matte; who changes it (weights, the remote app) puts it back."""
    with serving(tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture(scope="session")
def pool_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolStack]:
    """A Ray that is told by Serve configurations; each module deploys its own applications, and no other's."""
    folder = tmp_path_factory.mktemp("pool")
    with gateways_only(folder) as stack:
        pool = Pool.start("main", folder, stack.environment)
        yield PoolStack(stack, pool, folder)
        pool.kill()
