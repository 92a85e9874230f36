"""Layers that a pass runs in a loop over all steps before the next layer runs, as seen in single steps.

In step mode m a layer of the user's own runs all its steps, then the next layer does. A state of the layer's
own is right there, but nothing may pass between it and the rest other than its input and its output: what the
rest would see is that of the last step. So its inputs are marked anew in each step; a mark that reaches the
output of the network, or another loop, shows that something passed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from rbp.rate.dry_run.expressions import Expressions
from rbp.rate.dry_run.looks import tensors_in


class Loops:
    """Marks the inputs of loops, and takes the marks off their outputs."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions
        self.calls: Counter[str] = Counter()  # of a step
        self.marks = 0

    def next_step(self) -> None:
        """Begin with another step."""
        self.calls.clear()

    def begin(self, path: str, given: Any) -> Any:
        """Return the arguments of a loop's call with marked copies of their tensors."""
        self.calls[path] += 1
        self.expressions.loop = (path, self.calls[path])
        self.expressions.crossed = False
        return tree_map(self._marked, given)

    def end(self, path: str, given: Any, y: Any) -> Any:
        """Return copies of a loop's results that bear no mark; given: a look at its arguments."""
        expressions = self.expressions
        name: tuple = ("loop", expressions.loop, given)
        if expressions.crossed:
            name = (*name, self._new_mark())
        expressions.loop = None
        results = tree_map(_copied, y)
        for place, tensor in enumerate(tensors_in(results)):
            expressions.of_input.add(expressions.name(tensor, *name, place))
        return results

    def _marked(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        copy = _copied(leaf)
        has_input = self.expressions.has_input(leaf)
        number = self.expressions.name(copy, "mark", self._new_mark())
        self.expressions.of_loop[number] = self.expressions.loop
        if has_input:
            self.expressions.of_input.add(number)
        return copy

    def _new_mark(self) -> int:
        self.marks += 1
        return self.marks


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
