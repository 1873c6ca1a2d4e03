"""The stack that many modules share, and which modules run in one process so that they can."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pool import Pool, PoolStack
from served import Served, serving
from stack import frontends_only
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

#: modules of one group run in one process (under pytest-xdist) and share what they start; the longest first, so that
#: two processes end at about the same time
GROUPS = {
    "served": ("test_bad_input", "test_remote", "test_serve", "test_traces"),
    "frontend": ("frontend",),
    "pool": ("test_pools", "test_rollout_serve"),
    "registry": ("registry",),
}
_GROUP_OF = {place: group for group, places in GROUPS.items() for place in places}


def group_of(nodeid: str) -> str:
    """The group of a test by its id; a file of no group is one of its own."""
    first = nodeid.partition("tests/integration/")[2].partition("::")[0].partition("/")[0].removesuffix(".py")
    return _GROUP_OF.get(first, first)


class ByGroup(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Gives a process whole groups. (``--dist loadgroup`` marks the ids of tests, which pytest 9.2 does not let it.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByGroup:
    return ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {group: number for number, group in enumerate(GROUPS)}
    items.sort(key=lambda item: ranks.get(group_of(item.nodeid), len(ranks)))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A whole Matte; who changes it (weights, the remote app) puts it back."""
    with serving(tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture(scope="session")
def pool_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolStack]:
    """A Ray that is told by Serve configurations; each module deploys its own applications, and no other's."""
    folder = tmp_path_factory.mktemp("pool")
    with frontends_only(folder) as stack:
        # exceeded by a picture of 49 megapixels; a replica that never held more than half as much again as at its start
        # stays
        pool = Pool.start("main", folder, stack.environment | {"MATTE_REPLICA_MAX_MEMORY_BYTES": "300000000"})
        yield PoolStack(stack, pool, folder)
        pool.kill()
