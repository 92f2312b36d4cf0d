"""A home's whole round in one program of a GPU, with its weights on the chip."""

from fedhome.simulations.engines.onchip.onchip_kernel import OnChipKernel

__all__ = ["OnChipKernel"]
