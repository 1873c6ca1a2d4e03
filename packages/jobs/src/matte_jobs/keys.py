"""The names of all keys and channels in Redis."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial


class _Key:
    """A method of :class:`Keyspace` that puts its arguments, by position, into the template; TypeError where they are
    too many or too few.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        self.parameters = re.findall(r"\{(\w+)\}", template)
        self._format = re.sub(r"\{\w+\}", "%s", template)

    def __get__(self, keyspace: Keyspace, owner: type[Keyspace]) -> Callable[..., str]:
        return partial(self._fill, keyspace.prefix)

    def _fill(self, prefix: str, *arguments: str) -> str:
        return prefix + self._format % arguments


class Keyspace:
    """Every key and channel of one store, spelled here and nowhere else.

    The scripts derive keys from ids that they read in Redis, so they call the same: :meth:`lua` writes each as the
    function ``NAME_key``. Sorted sets of times have Unix seconds as scores.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    # jobs -----------------------------------------------------------------------------------------------------
    job = _Key("job:{job_id}")  # the hash of a job's fields
    blob = _Key("blob:{owner}:{name}")
    #: the stream of a job's events, or of another one that :class:`EventBroker` follows
    events = _Key("events:{stream}")
    idempotency = _Key("idempotency:{digest}")
    leases = _Key("leases")  # ids of running jobs, by when their leases run out
    deadlines = _Key("deadlines")  # ids of queued jobs, by when they expire
    dead = _Key("dead")  # ids of dead jobs, by when they died
    garbage = _Key("garbage")  # keys of the object store, by when they are to be deleted
    job_sequence = _Key("sequence:job")
    token_sequence = _Key("sequence:token")

    # queues ---------------------------------------------------------------------------------------------------
    #: sort keys of the queued jobs of a version, or with ``version`` '' of those that have none yet
    subqueue = _Key("queue:{model}@{version}")
    subqueues = _Key("queues:{model}")  # the versions that have a subqueue
    fair = _Key("fair:{model}")  # virtual times, finish tags and the cost of a model's queue
    samples = _Key("samples:{model}@{version}")  # what recent jobs of a version cost: 'megapixels:seconds …' by size

    # channels -------------------------------------------------------------------------------------------------
    #: empty messages: there may be work. Others: the id of a running job that was canceled
    wakeup_channel = _Key("wakeup")
    stream_channel = _Key("notify:stream:{stream}")  # the events of one stream
    origin_channel = _Key("notify:origin:{origin}")  # the last events of all jobs that a process admitted

    # what is live ---------------------------------------------------------------------------------------------
    replicas = _Key("replicas")
    routers = _Key("routers:{pool}")  # names of a pool's routers, by when their announcements run out
    route_tables = _Key("tables")
    pools = _Key("pools")  # names of pools, by when they are forgotten
    download = _Key("download:{pool}:{model}@{version}")  # how far a version is that is not ready yet

    # Gradio's API ---------------------------------------------------------------------------------------------
    session_calls = _Key("session:{session}")
    upload = _Key("upload:{scoped_id}")

    # evidence of rollouts -------------------------------------------------------------------------------------
    check_orders = _Key("rollout:orders:{pool}")
    check_reports = _Key("rollout:checks:{pool}")
    evidence = _Key("rollout:{kind}:{model}@{version}")
    golden_versions = _Key("rollout:goldens:{model}")
    mask = _Key("rollout:mask:{job_id}")  # a mirrored job's mask by stable
    applied_weights = _Key("rollout:applied:{pool}")

    @classmethod
    def lua(cls, source: str) -> str:
        """The keys that ``source`` uses as Lua functions, which expect the prefix in ``PREFIX``.

        Redis makes each of them anew whenever a script runs, so the others would cost every call.
        """
        functions = []
        for name, key in vars(cls).items():
            if isinstance(key, _Key) and f"{name}_key(" in source:
                text = re.sub(r"\{(\w+)\}", r"' .. \1 .. '", f"'{key.template}'").removesuffix(" .. ''")
                functions.append(
                    f"local function {name}_key({', '.join(key.parameters)}) return PREFIX .. {text} end\n"
                )
        return "".join(functions)
