"""Which pod reaches which: NetworkPolicies as Kubernetes evaluates them, over pods as they are labelled.

A pod that no policy selects for a direction is open in it; one that is selected reaches what some rule of some policy
names. A connection needs the way out of its source and the way into its target.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.manifests.reading import Document

_NAMESPACE = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Pod:
    """A pod, or what has its place outside of the manifests."""

    namespace: str
    labels: Mapping[str, str]


def reaches(policies: list[Document], source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection from `source` to a port of `target` is let through."""
    way_out = _open(policies, "egress", source, target, port, protocol)
    return way_out and _open(policies, "ingress", target, source, port, protocol)


def _open(policies: list[Document], way: str, own: Pod, other: Pod, port: int, protocol: str) -> bool:
    selecting = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == own.namespace
        and way.capitalize() in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], own.labels)
    ]
    rules = [(rule, policy["metadata"]["namespace"]) for policy in selecting for rule in policy["spec"].get(way, [])]
    return not selecting or any(_lets_through(rule, way, home, other, port, protocol) for rule, home in rules)


def _lets_through(rule: Document, way: str, home: str, other: Pod, port: int, protocol: str) -> bool:
    peers = rule.get("to" if way == "egress" else "from")
    ports = rule.get("ports")
    return (peers is None or any(_is_peer(peer, home, other) for peer in peers)) and (
        ports is None or {"protocol": protocol, "port": port} in ports
    )


def _is_peer(peer: Document, home: str, other: Pod) -> bool:
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        in_namespace = _selects(peer["namespaceSelector"], {_NAMESPACE: other.namespace})
    else:
        in_namespace = other.namespace == home
    return in_namespace and _selects(peer.get("podSelector", {}), other.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels; of expressions only `In` is known, as only it is used."""
    assert all(expression["operator"] == "In" for expression in selector.get("matchExpressions", []))
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(expression["key"]) in expression["values"] for expression in selector.get("matchExpressions", [])
    )
