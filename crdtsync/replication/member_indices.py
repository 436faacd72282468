"""The numbers of sites: small, stable for ever, and computed alike by everybody who knows of a site."""

from __future__ import annotations

from crdtsync import limits
from crdtsync.ids import ReplicaId
from crdtsync.replication.member_graph import Graph, Node, granted


def site_indices(graph: Graph, known: int) -> dict[ReplicaId, int]:
    """Per site how many sites were added in the causal past of its own record: 0 for the founder.

    Two that were added unseen of each other have one such number: the one whose record comes first in the order of all
    keeps it, the next has `limits.site_indices_max` more. So sites that know of each other never share a number, and
    each keeps its own, unless a record that was written unseen beside it comes in later and is before it in that order.
    """
    first: dict[ReplicaId, Node] = {}
    sites = 0
    for node in graph.adds:
        found = [entry.replica for entry in granted(node) if entry.role == "site"]
        if found:
            sites |= node.bit
        if node.bit & known:
            for replica in found:
                first.setdefault(replica, node)
    taken: dict[int, int] = {}
    indices = {}
    for replica, node in first.items():
        index = (node.past & sites).bit_count()
        indices[replica] = index + limits.site_indices_max * taken.get(index, 0)
        taken[index] = taken.get(index, 0) + 1
    return indices
