"""Who is who: the modules and parameters of a running program, and their names."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from torch import Tensor, nn

from gradtrace import model
from gradtrace.capture import distributed
from gradtrace.capture.held import Leaf, Root
from gradtrace.capture.in_sight import holder_of, kept_as, variable_name
from gradtrace.capture.optimizers import Optimizers
from gradtrace.capture.sites import SiteTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_WRAPPERS = {"DistributedDataParallel": "module", "DataParallel": "module", "OptimizedModule": "_orig_mod"}
"""Modules that only wrap another: the wrapped one gives the names."""


def unwrap(module: nn.Module) -> nn.Module:
    """The user's module inside DDP, DataParallel and `torch.compile` wrappers."""
    while (inner := _WRAPPERS.get(type(module).__name__)) is not None:
        module = getattr(module, inner)
    return module


def _is_lent(tensor: Tensor) -> bool:
    """Whether a plain tensor stands in a parameter's place for one call, as `torch.func.functional_call` puts it
    there."""
    return type(tensor) is Tensor


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


class Registry:
    """Numbers parameters and modules as they are met and keeps their names; `optimizers` does so for optimizers.

    Everything of the program is held weakly. `tensors()` gives the live leaves by number (None once a leaf is gone).
    Names get the root's name in front as soon as there are two roots with parameters.
    """

    def __init__(self, sites: SiteTable) -> None:
        self._sites = sites
        self._roots: list[Root] = []
        self._leaves: list[Leaf] = []
        self._numbers: dict[int, int] = {}
        self._stand_ins: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._loose: dict[tuple[str, tuple[int, ...]], int] = {}
        self._modules: dict[int, tuple[weakref.ref[nn.Module], str, Root]] = {}
        self._calls: dict[str, int] = {}
        self._grad_calls: dict[str, int] = {}
        self._training: dict[str, bool] = {}
        self.changed = True
        self.naming = 0
        """Goes up whenever names may have changed."""
        self.optimizers = Optimizers(self)

    # ---- parameters

    def __len__(self) -> int:
        return len(self._leaves)

    def number(self, tensor: Tensor) -> int | None:
        """The number of a known leaf."""
        number = self._numbers.get(id(tensor))
        if number is not None and self._leaves[number].reference() is tensor:
            return number
        stand_in = self._stand_ins.get(id(tensor))
        return stand_in[1] if stand_in is not None and stand_in[0]() is tensor else None

    def tensors(self) -> list[Tensor | None]:
        """All known leaves by number. Weak inside; the caller drops the list soon."""
        return [leaf.reference() for leaf in self._leaves]

    def tensor(self, number: int) -> Tensor | None:
        """One leaf, None once it is gone."""
        return self._leaves[number].reference()

    def module_of(self, number: int) -> str | None:
        """Dotted name of the module that owns the leaf, as `module_name` has it."""
        leaf = self._leaves[number]
        return None if leaf.module is None else self._path(leaf.module, leaf.root)

    def module_type_of(self, number: int) -> str | None:
        """Class name of the module that owns the leaf."""
        return self._leaves[number].module_type

    def is_input(self, number: int) -> bool:
        """Whether the leaf is no parameter of any module or optimizer."""
        return self._leaves[number].kind == "input"

    def mark_sparse(self, number: int) -> None:
        """Remember that the leaf gets sparse gradients."""
        if not self._leaves[number].sparse:
            self._leaves[number].sparse = True
            self.changed = True

    def name(self, number: int) -> str:
        """The leaf's present dotted name."""
        leaf = self._leaves[number]
        return self._prefixed(leaf.local, leaf.root)

    def _prefixed(self, local: str, root: Root | None) -> str:
        if root is None or not root.has_parameters or not self._many_roots():
            return local if local or root is None else root.name
        return f"{root.name}.{local}" if local else root.name

    def _path(self, local: str, root: Root | None) -> str:
        """A module's dotted name: empty for a root that is the only one."""
        return self._prefixed(local, root) if local or self._many_roots() else ""

    def _many_roots(self) -> bool:
        return sum(root.has_parameters for root in self._roots) > 1

    def _add_leaf(self, tensor: Tensor, local: str, root: Root | None, kind: str) -> int:
        number = self._numbers[id(tensor)] = len(self._leaves)
        self._leaves.append(Leaf(tensor, local, root, kind))
        self.changed = True
        return number

    def add_loose_leaf(self, tensor: Tensor, frame: FrameType | None) -> int:
        """Register a leaf that belongs to no module, named by the variable that holds it."""
        if isinstance(tensor, nn.Parameter):
            found = self._find_sharded(tensor)
            if found is None:
                found = self._find_in_sight(tensor, frame)
            if found is None:
                found = self._adopt_parameter(tensor)
            if found is not None:
                return found
        kind = "parameter" if isinstance(tensor, nn.Parameter) else "input"
        name = variable_name(frame, tensor) or model.NAMELESS
        known = self._loose.get((name, tuple(tensor.shape)))
        if known is not None and self._is_free(known, kind):
            if self._numbers.get(self._leaves[known].identity) == known:
                del self._numbers[self._leaves[known].identity]
            self._numbers[id(tensor)] = known
            self._leaves[known].hold(tensor)
            return known
        number = self._loose[name, tuple(tensor.shape)] = self._add_leaf(tensor, name, None, kind)
        return number

    def _find_sharded(self, parameter: nn.Parameter) -> int | None:
        """The number of the sharded parameter in whose place `fully_shard` puts this one."""
        for root in self.roots():
            for shard, whole in distributed.unsharded(root):
                if whole is parameter:
                    return self._stands_in(whole, shard)
        return None

    def _stands_in(self, whole: Tensor, shard: Tensor) -> int | None:
        number = self.number(shard)
        if number is not None:
            self._stand_ins[id(whole)] = (weakref.ref(whole), number)
        return number

    def _find_in_sight(self, parameter: nn.Parameter, frame: FrameType | None) -> int | None:
        """The parameter's number, once the module in sight that owns it is registered as a root."""
        holder, name = holder_of(frame, lambda module: any(other is parameter for other in module.parameters()))
        if holder is None:
            return None
        self.add_root(holder, name or type(unwrap(holder)).__name__)
        return self.number(parameter)

    def _adopt_parameter(self, parameter: nn.Parameter) -> int | None:
        """Register a parameter that a known module keeps out of `named_parameters()`, in a plain list say, by its place
        there."""
        for reference, path, root in self._modules.values():
            owner = reference()
            place = None if owner is None else kept_as(owner, parameter)
            if place is not None:
                number = self._add_leaf(parameter, _joined(path, place), root, "parameter")
                self._leaves[number].module, self._leaves[number].module_type = path, type(owner).__name__
                return number
        return None

    def _is_free(self, number: int, kind: str) -> bool:
        """Whether a loose leaf's number may pass to another tensor: an input made anew each time, or one that is
        gone."""
        leaf = self._leaves[number]
        return leaf.kind == kind and (kind == "input" or leaf.reference() is None)

    # ---- modules

    def add_root(self, module: nn.Module, name: str) -> None:
        """Register a root module with all its submodules and parameters."""
        module = unwrap(module)
        self._forget_dead()
        named = list(module.named_modules())
        inside = {id(child) for _, child in named}
        self._roots = [root for root in self._roots if (known := root.reference()) is None or id(known) not in inside]
        self.naming += 1
        root = Root(self._unique(name), module)
        self._roots.append(root)
        for path, child in named:
            self._modules[id(child)] = (weakref.ref(child), path, root)
        self._add_parameters(module, root)
        self.changed = self.changed or root.has_parameters

    def _forget_dead(self) -> None:
        """Drop modules that are gone: a loss made anew in every step would fill the memory."""
        if any(not root.has_parameters and root.reference() is None for root in self._roots):
            self._roots = [root for root in self._roots if root.has_parameters or root.reference() is not None]
            self._modules = {key: entry for key, entry in self._modules.items() if entry[0]() is not None}

    def _unique(self, name: str) -> str:
        taken = {root.name for root in self._roots}
        candidate, count = name, 2
        while candidate in taken:
            candidate, count = f"{name}_{count}", count + 1
        return candidate

    def _add_parameters(self, module: nn.Module, root: Root, prefix: str = "") -> None:
        renamed: set[int] = set()
        for each in self.roots():
            for shard, whole in distributed.unsharded(each):
                self._stands_in(whole, shard)
        for inner, owner in module.named_modules(remove_duplicate=False):
            place = _joined(prefix, inner)
            for name, parameter in owner.named_parameters(recurse=False, remove_duplicate=False):
                path = _joined(place, name)
                number = self.number(parameter)
                if number is None and _is_lent(parameter):
                    continue
                if number is None:
                    number = self._add_leaf(parameter, path, root, "parameter")
                leaf = self._leaves[number]
                if number in renamed:
                    leaf.aliases.append(path)
                    continue
                renamed.add(number)
                leaf.local, leaf.root, leaf.kind, leaf.aliases = path, root, "parameter", []
                leaf.module, leaf.module_type = place, type(owner).__name__

    def discover(self, module: nn.Module, frame: FrameType | None) -> None:
        """Register the root that a module called at top level belongs to, named by the variable that holds it."""
        if next(module.parameters(), None) is None:
            self.add_root(module, variable_name(frame, module) or type(module).__name__)
            return
        holder, name = holder_of(frame, lambda candidate: any(member is module for member in candidate.modules()))
        found = module if holder is None else holder  # a compiled module has no truth value
        self.add_root(found, name or type(unwrap(found)).__name__)

    def adopt(self, module: nn.Module, caller: nn.Module) -> None:
        """Register a module that another one keeps out of `named_modules()`, in a plain list say, by its place there.

        One that nothing keeps (made anew in each forward) stays unknown.
        """
        entry, place = self._modules.get(id(caller)), kept_as(caller, module)
        if entry is None or place is None:
            return
        _, path, root = entry
        prefix = _joined(path, place)
        for inner, child in module.named_modules():
            self._modules[id(child)] = (weakref.ref(child), _joined(prefix, inner), root)
        self._add_parameters(module, root, prefix)

    def refresh(self) -> None:
        """Look again at every root for modules and parameters that were added since."""
        for root in self._roots:
            module = root.reference()
            if module is None:
                continue
            for path, child in module.named_modules():
                self._modules[id(child)] = (weakref.ref(child), path, root)
            root.has_parameters = root.has_parameters or any(True for _ in module.parameters())
            self._add_parameters(module, root)
        self.changed = True

    def knows(self, module: nn.Module) -> bool:
        """Whether the module belongs to a known root."""
        entry = self._modules.get(id(module))
        return entry is not None and entry[0]() is module

    def module_name(self, module: nn.Module) -> str:
        """The module's dotted name; a root's is its variable or class name where that is needed, else empty."""
        entry = self._modules.get(id(unwrap(module)))
        if entry is None or entry[0]() is not unwrap(module):
            return type(module).__name__
        _, path, root = entry
        if not root.has_parameters:
            return f"{root.name}.{path}" if path else root.name
        return self._path(path, root)

    def count_call(self, name: str, module: nn.Module, with_grad: bool) -> int:
        """Count one forward call while hooks are on; returns how many there were."""
        self._calls[name] = self._calls.get(name, 0) + 1
        if with_grad:
            self._grad_calls[name] = self._grad_calls.get(name, 0) + 1
        self._training[name] = module.training
        return self._calls[name]

    def roots(self) -> Iterator[nn.Module]:
        """The live root modules that have parameters."""
        for root in self._roots:
            module = root.reference()
            if module is not None and root.has_parameters:
                yield module

    # ---- what optimizers hold

    def owned(self, parameter: Tensor, fallback: str, frame: FrameType | None) -> int:
        """The number of an optimizer's parameter, registered where it is met for the first time: by the name of its
        module or variable, else as `fallback`."""
        number = self.number(parameter)
        if number is None:
            self.refresh()
            number = self.number(parameter)
        if number is None and isinstance(parameter, nn.Parameter):
            number = self._find_in_sight(parameter, frame)
        if number is None:
            return self._add_leaf(parameter, variable_name(frame, parameter) or fallback, None, "parameter")
        self._leaves[number].kind = "parameter"
        return number

    # ---- as plain data

    def parameter_records(self) -> list[model.Parameter]:
        """All leaves as plain data, in order of their numbers."""
        return [self._parameter_record(number, leaf) for number, leaf in enumerate(self._leaves)]

    def _parameter_record(self, number: int, leaf: Leaf) -> model.Parameter:
        tensor = leaf.reference()
        if tensor is not None:
            leaf.hold(tensor)
        return model.Parameter(
            number,
            self.name(number),
            self.module_of(number),
            leaf.module_type,
            leaf.shape,
            leaf.dtype,
            leaf.device,
            leaf.requires_grad,
            leaf.kind,
            tuple(self._prefixed(alias, leaf.root) for alias in leaf.aliases),
            leaf.sparse,
            leaf.placements,
            leaf.mesh,
        )

    def module_records(self) -> list[model.Module]:
        """All known modules as plain data, in the order of `named_modules()`."""
        records = {}
        for reference, _, root in self._modules.values():
            module = reference()
            if module is not None and root in self._roots:
                name = self.module_name(module)
                records[name] = model.Module(
                    name,
                    type(module).__name__,
                    root.name,
                    self._training.get(name, module.training),
                    self._calls.get(name, 0),
                    self._grad_calls.get(name, 0),
                )
        return list(records.values())
