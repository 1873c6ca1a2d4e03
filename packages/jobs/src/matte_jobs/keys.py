"""The names of all keys and channels in Redis."""

from __future__ import annotations

import inspect


class Keyspace:
    """Every key and channel of one store, spelled here and nowhere else.

    The scripts derive keys from ids that they read in Redis, so they call the same methods: :meth:`lua` writes each as
    the function ``NAME_key``. A method must only put its arguments into a string.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    # jobs -------------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> str:
        """The hash of a job's fields."""
        return f"{self.prefix}job:{job_id}"

    def blob(self, owner: str, name: str) -> str:
        return f"{self.prefix}blob:{owner}:{name}"

    def events(self, stream: str) -> str:
        """The stream of a job's events, or of another one that :class:`EventBroker` follows."""
        return f"{self.prefix}events:{stream}"

    def idempotency(self, digest: str) -> str:
        return f"{self.prefix}idempotency:{digest}"

    def leases(self) -> str:
        """Ids of running jobs, by when their leases run out. All sorted sets of times have Unix seconds as scores."""
        return f"{self.prefix}leases"

    def deadlines(self) -> str:
        """Ids of queued jobs, by when they expire."""
        return f"{self.prefix}deadlines"

    def dead(self) -> str:
        """Ids of dead jobs, by when they died."""
        return f"{self.prefix}dead"

    def garbage(self) -> str:
        """Keys of the object store, by when they are to be deleted."""
        return f"{self.prefix}garbage"

    def job_sequence(self) -> str:
        return f"{self.prefix}sequence:job"

    def token_sequence(self) -> str:
        return f"{self.prefix}sequence:token"

    # queues -----------------------------------------------------------------------------------------------------

    def subqueue(self, model: str, version: str) -> str:
        """Sort keys of the queued jobs of a version, or with ``version`` '' of those that have none yet."""
        return f"{self.prefix}queue:{model}@{version}"

    def subqueues(self, model: str) -> str:
        """The versions that have a subqueue."""
        return f"{self.prefix}queues:{model}"

    def fair(self, model: str) -> str:
        """Virtual times, finish tags and the cost of a model's queue."""
        return f"{self.prefix}fair:{model}"

    def samples(self, model: str, version: str) -> str:
        """What recent jobs of a version cost: 'megapixels:seconds …' by size."""
        return f"{self.prefix}samples:{model}@{version}"

    # channels ---------------------------------------------------------------------------------------------------

    def wakeup_channel(self) -> str:
        """Empty messages: there may be work. Others: the id of a running job that was canceled."""
        return f"{self.prefix}wakeup"

    def stream_channel(self, stream: str) -> str:
        """The events of one stream."""
        return f"{self.prefix}notify:stream:{stream}"

    def origin_channel(self, origin: str) -> str:
        """The last events of all jobs that a process admitted."""
        return f"{self.prefix}notify:origin:{origin}"

    # what is live -----------------------------------------------------------------------------------------------

    def replicas(self) -> str:
        return f"{self.prefix}replicas"

    def routers(self, pool: str) -> str:
        """Names of a pool's routers, by when their announcements run out."""
        return f"{self.prefix}routers:{pool}"

    def route_tables(self) -> str:
        return f"{self.prefix}tables"

    def pools(self) -> str:
        """Names of pools, by when they are forgotten."""
        return f"{self.prefix}pools"

    # Gradio's API -----------------------------------------------------------------------------------------------

    def session_calls(self, session: str) -> str:
        return f"{self.prefix}session:{session}"

    def upload(self, scoped_id: str) -> str:
        return f"{self.prefix}upload:{scoped_id}"

    # evidence of rollouts ---------------------------------------------------------------------------------------

    def check_orders(self, pool: str) -> str:
        return f"{self.prefix}rollout:orders:{pool}"

    def check_reports(self, pool: str) -> str:
        return f"{self.prefix}rollout:checks:{pool}"

    def evidence(self, kind: str, model: str, version: str) -> str:
        return f"{self.prefix}rollout:{kind}:{model}@{version}"

    def golden_versions(self, model: str) -> str:
        return f"{self.prefix}rollout:goldens:{model}"

    def mask(self, job_id: str) -> str:
        """A mirrored job's mask by stable."""
        return f"{self.prefix}rollout:mask:{job_id}"

    def applied_weights(self, pool: str) -> str:
        return f"{self.prefix}rollout:applied:{pool}"

    @classmethod
    def lua(cls) -> str:
        """Every method as a Lua function, which expects the prefix in ``PREFIX``."""
        functions = []
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if name == "__init__":
                continue
            parameters = list(inspect.signature(method).parameters)[1:]
            template = method(cls("\0PREFIX\0"), *(f"\0{parameter}\0" for parameter in parameters))
            parts = template.split("\0")  # text and names take turns
            parts[::2] = [f"'{text}'" for text in parts[::2]]
            expression = " .. ".join(part for part in parts if part != "''")
            functions.append(f"local function {name}_key({', '.join(parameters)}) return {expression} end")
        return "\n".join(functions) + "\n"
