"""Keeps Serve's replicas on loopback on one machine."""

from __future__ import annotations

import ray
from ray.serve._private import replica

from matte_inference.node import LOOPBACK


def keep_serve_on_loopback() -> None:
    """Serve's replicas listen for each other's calls on a port that is open on all interfaces and needs no token. To be
    called in a replica before it is initialized; it changes nothing on a node that others can reach.
    """
    if ray.util.get_node_ip_address() == LOOPBACK:
        add_port = replica.add_port_to_grpc_server
        replica.add_port_to_grpc_server = lambda server, _: add_port(server, f"{LOOPBACK}:0")
