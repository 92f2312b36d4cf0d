"""Engines: grids whose homes learn in this process, or in Ray's."""
