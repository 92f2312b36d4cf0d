"""Local training of many homes at once, for any module, at the speed of the matrix library.

``torch.func.vmap`` trains a chunk of homes as one, but decides anew in every step what to call:
a step of a small model is a hundred operations, most of which only pass tensors on. Here the
vmapped step is recorded once (``tracing``), its graph is rewritten to the few operations that
compute something (``passes``), and these are bound to memory that they write to in place
(``calls``, ``program``, ``workspace``). A step is then a list of calls without arguments: for an
MLP the ones that one would have written by hand, weights updated inside the product that is
their gradient.

Modules, in the order in which they build on each other: ``budget``, ``tracing``, ``passes``,
``calls``, ``program``, ``workspace``, ``kernel``, ``captured`` (the public classes).
"""

from __future__ import annotations

from fedhome.simulations.engines.traced.captured import CapturedKernel
from fedhome.simulations.engines.traced.kernel import TracedKernel

__all__ = ["CapturedKernel", "TracedKernel"]
