"""A model's first and last layers, as methods name them."""

from __future__ import annotations

from fedhome.methods import first_layers, last_layers

NAMES = ("a.weight", "a.bias", "b.0.weight", "b.1.weight", "b.1.bias")


def test_a_layer_is_the_parameters_of_one_module() -> None:
    assert first_layers(NAMES, 1) == {"a.weight", "a.bias"}
    assert last_layers(NAMES, 1) == {"b.1.weight", "b.1.bias"}


def test_first_and_last_layers_make_up_the_model() -> None:
    assert first_layers(NAMES, 2) | last_layers(NAMES, 1) == set(NAMES)
    assert not first_layers(NAMES, 2) & last_layers(NAMES, 1)
    assert first_layers(NAMES, 9) == last_layers(NAMES, 9) == set(NAMES)
