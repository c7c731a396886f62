"""Names of what was stored before its program had a second root module.

While there is one root, its parameters and modules are named as in `named_parameters()`. When a second one comes, all
names get their root in front; what was stored before then is read with the names of the end of the trace.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradtrace.model import Event, Module, Node, Parameter, Snapshot


class Naming:
    """Turns early names into those of the end; leaves alone those that are as they should be.

    `modules` are as stored: those of the first root may be there under both names.
    """

    def __init__(self, parameters: Sequence[Parameter], modules: Sequence[Module]) -> None:
        self._parameters = {parameter.name for parameter in parameters if parameter.module is not None}
        holders = {name.split(".")[0] for name in self._parameters}
        roots = [root for root in dict.fromkeys(module.root for module in modules) if root in holders]
        self._first = roots[0] if len(roots) > 1 else None
        self._early = {
            module.name: self._full(module.name)
            for module in modules
            if module.root == self._first and not self._is_full(module.name)
        }

    def parameter(self, name: str | None) -> str | None:
        """The name of a parameter."""
        if self._first is None or name is None or name in self._parameters:
            return name
        return self._full(name) if self._full(name) in self._parameters else name

    def module(self, name: str | None) -> str | None:
        """The name of a module."""
        return name if name is None else self._early.get(name, name)

    def modules(self, stored: Sequence[Module]) -> list[Module]:
        """Each module once, with its calls under either name."""
        found: dict[str, Module] = {}
        for module in stored:
            name = self._early.get(module.name, module.name) if module.root == self._first else module.name
            known = found.get(name)
            calls, backward_calls = (known.calls, known.backward_calls) if known else (0, 0)
            found[name] = dataclasses.replace(
                module,
                name=name,
                calls=module.calls + calls,
                backward_calls=module.backward_calls + backward_calls,
            )
        return list(found.values())

    def snapshot(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the names of the end."""
        if not any(self._is_early(node) for node in snapshot.nodes):
            return snapshot
        return dataclasses.replace(snapshot, nodes=tuple(self._node(node) for node in snapshot.nodes))

    def event(self, event: Event) -> Event:
        """The event with the name that its module has in the end."""
        module = event.payload.get("module")
        if not isinstance(module, str) or module not in self._early:
            return event
        return dataclasses.replace(event, payload={**event.payload, "module": self._early[module]})

    def _full(self, name: str) -> str:
        return f"{self._first}.{name}" if name else str(self._first)

    def _is_full(self, name: str) -> bool:
        return name == self._first or name.startswith(f"{self._first}.")

    def _is_early(self, node: Node) -> bool:
        return node.kind == "parameter" and self.parameter(node.name) != node.name

    def _node(self, node: Node) -> Node:
        name = self.parameter(node.name) if node.kind == "parameter" else node.name
        return node._replace(name=name, module=self.module(node.module))
