"""What a module must be to be trained in a federation: every reason against it at once."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn.parameter import UninitializedParameter

from fedhome.errors import ModelError
from fedhome.models.over_homes import over_homes, without_torchs_warning
from fedhome.own_code import line_of

_BATCH_NORM = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - torch has no public base class
_OTHER_DROPOUT = (
    nn.AlphaDropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.FeatureAlphaDropout,
)
_OWN_DROPOUT = (nn.RNNBase, nn.MultiheadAttention)
_OF_TORCH = frozenset({*vars(nn.Module()), "_flat_weights"})
"""What torch itself keeps in a module; the last in recurrent ones, which keep it as it is."""
_BATCH = 2
_REASONS = (
    (
        "data-dependent control flow",
        "it asks a tensor for its value (`if`, float(), .item()); torch.where does without",
    ),
    ("in-place", "it writes into a tensor in place; an operation that makes a new one does not"),
    ("inplace", "it writes into a tensor in place; an operation that makes a new one does not"),
)
"""What torch says of an operation that vmap cannot do, and the same for its user."""
_CUT_OFF = (
    "no gradient comes from its output to its parameters, so it would learn nothing: compute it "
    "from them by operations of torch, without detach() or no_grad()"
)


def faults_of(module: nn.Module) -> list[str]:
    """Return why a module cannot be trained in a federation; empty when it can."""
    if lazy := [name for name, part in module.named_parameters() if _has_no_shape(part)]:
        return [f"{', '.join(lazy)} would get a shape by a first batch: give it one by features="]
    faults: list[str] = []
    seen = set(module.modules())
    for name, part in module.named_modules():
        faults += _unseen(name, part, seen)
        where = f"{name or 'the module'} ({type(part).__name__})"
        if isinstance(part, _BATCH_NORM):
            faults.append(
                f"{where} keeps statistics of other rows, which neither average nor stay private: "
                "use LayerNorm or GroupNorm"
            )
        elif isinstance(part, _OTHER_DROPOUT):
            faults.append(f"{where} draws from a global generator: use nn.Dropout")
        elif isinstance(part, _OWN_DROPOUT) and part.dropout:
            faults.append(f"{where} has a dropout of its own, drawn from a global generator: set 0")
    faults += [
        f"parameter {name} is {parameter.dtype}: float32 is needed"
        for name, parameter in module.named_parameters()
        if parameter.dtype != torch.float32
    ]
    faults += [
        f"parameter {name} begins with numbers that are not finite"
        for name, parameter in module.named_parameters()
        if not parameter.is_meta and not bool(torch.isfinite(parameter).all())
    ]
    buffers = [name for name, _ in module.named_buffers() if name in module.state_dict()]
    if buffers:
        faults.append(f"buffers are not averaged: {', '.join(buffers)}")
    frozen = [name for name, part in module.named_parameters() if not part.requires_grad]
    if frozen:
        faults.append(
            f"parameters that shall not learn (requires_grad is False): {', '.join(frozen)}; all "
            "parameters are trained, and averaged: keep constants by register_buffer with "
            "persistent=False"
        )
    if not any(True for _ in module.parameters()):
        faults.append("it has no parameter to learn")
    return faults


def _has_no_shape(parameter: nn.Parameter) -> bool:
    return isinstance(parameter, UninitializedParameter)


def _unseen(name: str, module: nn.Module, seen: Container[nn.Module]) -> Iterator[str]:
    """Yield the attributes of a module in which training does not reach what they hold.

    Args:
        name: The module's, in the whole.
        module: It.
        seen: What torch sees of the whole: a list may name that again, to go through it.
    """
    for attribute, value in vars(module).items():
        if attribute in _OF_TORCH or not isinstance(value, list | tuple | Mapping):
            continue
        # A parameter is exchanged at its own place alone: a list would keep the first one.
        if any(isinstance(one, nn.Parameter) or one not in seen for one in _held(value)):
            where = f"{name}.{attribute}" if name else attribute
            yield (
                f"{where} holds layers or parameters in a {type(value).__name__}, where they would "
                "not learn: use nn.ModuleList, nn.ModuleDict or nn.ParameterList"
            )


def _held(value: object) -> Iterator[nn.Module | nn.Parameter]:
    """Yield the layers and parameters in lists, tuples and mappings, and in those within."""
    if isinstance(value, nn.Module | nn.Parameter):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _held(one)


def faults_of_a_run(module: nn.Module, features: int, outputs: int) -> list[str]:
    """Return why a module does not run on rows of zeros, or gives something else than outputs.

    Args:
        module: The module.
        features: Width of its input.
        outputs: Width of its output.
    """
    try:
        with torch.enable_grad():
            output = module(torch.zeros(_BATCH, features))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything
        line = line_of(error)
        return [f"it does not take an input of [batch, {features}]: {line and line + ': '}{error}"]
    # [batch] instead of [batch, 1] would be broadcast against the targets, unnoticed.
    is_tensor = isinstance(output, torch.Tensor)
    shape = list(output.shape) if is_tensor else f"of type {type(output).__name__}"
    if shape == [_BATCH, outputs]:
        return [] if output.requires_grad else [_CUT_OFF]
    return [f"its output for [{_BATCH}, {features}] is {shape}: [{_BATCH}, {outputs}] is needed"]


def check_module(module: nn.Module, features: int, outputs: int) -> None:
    """Refuse a module that cannot be trained in a federation.

    Args:
        module: The module.
        features: Width of its input, ``[batch, features]``.
        outputs: Width of its output, ``[batch, outputs]``.

    Raises:
        ModelError: Every reason at once.
    """
    if faults := faults_of(module) or faults_of_a_run(module, features, outputs):
        raise ModelError(
            "the model cannot be trained here:" + "".join(f"\n  - {fault}" for fault in faults),
            hint="docs/models.md lists what works",
        )


def vectorises(module: nn.Module, features: int) -> str:
    """Return why a module cannot be trained for many homes at once; empty when it can.

    Data-dependent control flow does not go through ``torch.func.vmap``: such a module is trained
    home after home instead.
    """
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    stacked = {name: p.expand(_BATCH, *p.shape) for name, p in parameters.items()}

    def loss(values: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(module, values, (x,)).sum()  # type: ignore[no-any-return]

    try:
        with without_torchs_warning():
            over_homes(grad(loss))(stacked, torch.zeros(_BATCH, _BATCH, features))
    except RuntimeError as error:
        return _in_our_words(str(error).splitlines()[0], line_of(error))
    return ""


def _in_our_words(reason: str, line: str) -> str:
    """Return what a module does that cannot be done for many homes at once.

    Args:
        reason: What torch says, some of it about reports that its own people would like.
        line: The line of the user's that raised it; empty where none is known.
    """
    told = next((ours for theirs, ours in _REASONS if theirs in reason), reason)
    return f"{line}: {told}" if line else told
