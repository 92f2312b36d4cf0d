"""Where the slices of a user's own module lie in the whole, and what a declaration gets wrong.

Every number of a module has a place: parameters in the module's order, each row by row. A slice
says for each of its own parameters which places its numbers have, as an array of the parameter's
shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedhome.errors import ModelError
from fedhome.wire.layout import Layout

_NAMED = 4  # parameters that a sentence names


def places_in(whole: nn.Module) -> dict[str, NDArray[np.int64]]:
    """Return the place of each number of a module, by parameter, in the parameter's shape.

    A slice's places are cut from these as its weights are from the whole's:
    ``places_in(self)["out.weight"][:, :units]``.

    Args:
        whole: The module.
    """
    found, start = dict[str, NDArray[np.int64]](), 0
    for name, parameter in whole.named_parameters():
        count = parameter.numel()
        found[name] = np.arange(start, start + count).reshape(tuple(parameter.shape))
        start += count
    return found


def first_places(whole: nn.Module, part: nn.Module) -> dict[str, NDArray[np.int64]]:
    """Return where a smaller module lies whose parameters are the first rows and columns.

    Args:
        whole: The module.
        part: The smaller one, with parameters of the same names.

    Raises:
        ModelError: The whole has no parameter of one's name, or a smaller one; all such at once.
    """
    places, found, faults = places_in(whole), dict[str, NDArray[np.int64]](), list[str]()
    for name, parameter in part.named_parameters():
        shape = tuple(parameter.shape)
        if name not in places:
            faults.append(f"the whole has no parameter {name}")
            continue
        room = places[name].shape
        if len(room) != len(shape) or any(a > b for a, b in zip(shape, room, strict=True)):
            faults.append(f"{name} is {list(shape)}, and the whole's is {list(room)}")
            continue
        found[name] = places[name][tuple(map(slice, shape))]
    if faults:
        raise ModelError(
            f"the slice is no first part of the whole: {'; '.join(faults)}",
            hint="fedhome.models.places_in lets you choose any places",
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a module says of one tier's slice.

    Args:
        tier: The tier's name.
        layout: Layout of the slice by itself.
        places: Where its numbers lie in the whole, by parameter, as the module gave them.
    """

    tier: str
    layout: Layout
    places: Mapping[str, object]

    def path(self) -> NDArray[np.int64]:
        """Return the places in the order of the layout, ``[size]``; of one without faults."""
        parts = [np.asarray(self.places[name]).ravel() for name in self.layout.names]
        return np.concatenate(parts).astype(np.int64)


def faults_of_one(declared: Declaration, whole: Layout) -> list[str]:
    """Return what is wrong with where a slice says that it lies, a sentence each.

    Args:
        declared: The slice.
        whole: Layout of the whole module.
    """
    faults, seen = list[str](), list[NDArray[np.int64]]()
    for name, shape in zip(declared.layout.names, declared.layout.shapes, strict=True):
        if name not in declared.places:
            faults.append(f"it does not say where its parameter {name} lies")
            continue
        try:
            places = np.asarray(declared.places[name])
        except Exception as error:  # noqa: BLE001 - a user's own object may raise anything
            faults.append(f"the places of {name} are no array: {error}")
            continue
        if places.dtype.kind not in "iu":
            faults.append(f"the places of {name} are {places.dtype}: whole numbers are needed")
        elif places.shape != shape:
            faults.append(
                f"the places of {name} have shape {list(places.shape)}, and the parameter "
                f"{list(shape)}"
            )
        else:
            seen.append(places.ravel())
            outside = places[(places < 0) | (places >= whole.size)]
            if outside.size:
                faults.append(
                    f"the places of {name} go to {outside.flat[0]}, and the whole has the places "
                    f"0 to {whole.size - 1}"
                )
    if unknown := [str(name) for name in declared.places if name not in declared.layout.names]:
        faults.append(f"it says where {named(unknown)} lies, and has no such parameter")
    values, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *seen]), return_counts=True)
    if len(twice := values[counts > 1]):
        faults.append(
            f"{len(twice)} of its places are taken twice, the first {_told(whole, int(twice[0]))}"
        )
    return faults


def faults_together(paths: Sequence[tuple[Declaration, NDArray[np.int64]]]) -> list[str]:
    """Return what slices that are right by themselves get wrong together, a sentence each.

    Args:
        paths: The slices from the smallest tier's, each with its places.
    """
    faults, carried = list[str](), np.zeros(0, np.int64)
    for number, (declared, path) in enumerate(paths):
        if number and not len(np.setdiff1d(path, carried)):
            faults.append(
                f"tier {declared.tier} has no number that smaller tiers do not have: leave it out, "
                "or let its slice be larger"
            )
        elif number and not len(np.intersect1d(path, carried)):
            faults.append(
                f"tier {declared.tier} has no number in common with smaller tiers: these would be "
                "two models that learn nothing from each other"
            )
        carried = np.union1d(carried, path)
        for other, _ in paths[:number]:
            if other.layout == declared.layout:
                faults.append(
                    f"the slices of tiers {other.tier} and {declared.tier} have the same "
                    "parameters: whoever finds a home's model could not tell which it is"
                )
    return faults


def uncovered(whole: Layout, carried: NDArray[np.int64]) -> str:
    """Return what of the whole no slice has, in a sentence; empty where slices cover it."""
    left = np.setdiff1d(np.arange(whole.size), carried)
    if not len(left):
        return ""
    ends = np.cumsum(whole.sizes)
    counts = np.bincount(np.searchsorted(ends, left, side="right"), minlength=len(ends))
    parts = [
        f"{name} ({count} of {size})"
        for name, count, size in zip(whole.names, counts.tolist(), whole.sizes, strict=True)
        if count
    ]
    return (
        f"{len(left)} of the whole's {whole.size} numbers are in no tier's slice, and nobody would "
        f"train them: {named(parts)}; let the largest tier have them, or the module not"
    )


def _told(whole: Layout, place: int) -> str:
    """Return a place of the whole as a parameter and an index."""
    if not 0 <= place < whole.size:
        return str(place)
    ends = np.cumsum(whole.sizes)
    number = int(np.searchsorted(ends, place, side="right"))
    inside = place - (int(ends[number]) - whole.sizes[number])
    index = [int(i) for i in np.unravel_index(inside, whole.shapes[number])]
    return f"{place}, which is {whole.names[number]}{index}"


def named(parts: Sequence[str]) -> str:
    """Return names as a sentence lists them: the first few, and how many more."""
    more = len(parts) - _NAMED
    return ", ".join(parts[:_NAMED]) + (f" and {more} more" if more > 0 else "")
