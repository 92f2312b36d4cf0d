"""A home's own model for devices without Python: as C, as ONNX, and as plain arrays.

All of them take the same inputs, in the units of the home's readings, and give what
:meth:`fedhome.PersonalModel.predict` gives.
"""

from fedhome.personal.portable.chosen import in_int8, own_code_of, with_experts
from fedhome.personal.portable.exported import FORMATS, PRECISIONS, export_model
from fedhome.personal.portable.network_file import NetworkInC
from fedhome.personal.portable.raw_inputs import inputs_of, probe

__all__ = [
    "FORMATS",
    "PRECISIONS",
    "NetworkInC",
    "export_model",
    "in_int8",
    "inputs_of",
    "own_code_of",
    "probe",
    "with_experts",
]
