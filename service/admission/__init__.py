"""The admission gate: which ONNX files are let in, and a precise reason for those that are not.

``check_magic`` looks at the first bytes, in the web process. ``admit`` does everything else in a
sandboxed child (``inspection`` lists the steps). Importing this package loads no native ONNX code.
"""

from service.admission.gate import admit
from service.admission.limits import AdmissionLimits
from service.admission.magic import check_magic
from service.admission.values import Admission, TensorInfo

__all__ = ["Admission", "AdmissionLimits", "TensorInfo", "admit", "check_magic"]
