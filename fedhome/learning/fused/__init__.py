"""Minibatch training of thousands of small MLPs at the speed of the processor's multiply-adds.

A home's model is small: a batch of it is over in microseconds, and a framework spends most of
that time on deciding what to do next. Here nothing is decided at run time. For one set of layer
sizes, loss and optimiser this package writes a program in LLVM's language, llvmlite turns it into
machine code for exactly this processor (half a second, once in a process, no compiler needed on
the machine), and one call of it trains a run of clients one after the other. The call releases
Python's interpreter lock, so every core can work on its own clients.

What makes it fast:

- **A client stays in the cache.** Its parameters are copied into a workspace, trained there for
  all of its epochs, and copied back; the next client uses the same workspace.
- **Products keep a block of results in registers** (``gemm``): six rows by two vectors with AVX2,
  each step along the depth feeding twelve independent multiply-adds.
- **No weight is rearranged in a step.** A batch's rows lie side by side in a vector, so the forward
  pass and the gradient of the inputs read the weights as PyTorch stores them. Only activations
  are transposed, for the weights' gradient (``linear_layer``), and the first layer, whose weights
  lie the other way round, does without (``first_layer``).
- **A mean is added up in the cache**, where all clients begin alike and nobody asks for one.
- **Gradients are not stored.** A finished block of gradients still lies in registers when the
  optimiser uses it (``optimiser_code``). Only clipping, which needs the norm of all of them, has to
  wait.
- **Slices of a network share its parameters** (``nesting``). Each of several networks that lie
  within each other goes there and back by itself, with the strides of the whole, and adds its
  gradients to those of the larger ones; the optimiser follows when all are there.
- **Widths are padded to whole vectors with zeros**, and zeros stay zeros through every step, so
  no loop needs a special last round.

The result equals a loop over ``torch.nn.Sequential`` and ``torch.optim`` up to the rounding of
float32, which depends on the order of a sum. The same call on the same machine gives the same
bytes, however many threads share the clients.

Modules, in the order in which they build on each other: ``emit`` (words of LLVM), ``gemm``,
``elementary`` (exp and log), ``linear_layer``, ``first_layer``, ``loss_code``,
``optimiser_code``, ``nesting`` (which networks), ``memory_map``, ``batch`` (a step),
``native_program`` (a client's whole training), ``compiler`` (``apart`` in another process),
``client_work`` (arguments), ``fused_mlp`` (the public class).
"""

from __future__ import annotations

from fedhome.learning.fused.fused_mlp import FusedMLP

__all__ = ["FusedMLP"]
