"""The discrete Fourier transform along an axis, of complex numbers, without normalization; all others are made of it.

Cooley and Tukey, An algorithm for the machine calculation of complex Fourier series (1965). Its matrix is symmetric, so that it
is its own transpose: the pullback is the transform of the cotangent.
"""

from __future__ import annotations

import numpy as np

from functrans.core.primitive import General
from functrans.core.types import ArrayType

# axis is negative: a batch axis in front does not move it.
fft = General(
    "fft",
    lambda x, *, axis, inverse: np.fft.ifft(x, axis=axis, norm="forward") if inverse else np.fft.fft(x, axis=axis),
    types=lambda x, *, axis, inverse: ArrayType(x.shape, x.dtype),
    jvp=lambda primals, tangents, out, active, *, axis, inverse: fft(tangents[0], axis=axis, inverse=inverse),
    pullback=lambda ct, operands, out, active, *, axis, inverse: (fft(ct, axis=axis, inverse=inverse),),
    batch=lambda operands, batched, size, *, axis, inverse: fft(operands[0], axis=axis, inverse=inverse),
    samples=lambda: [
        ((np.array([[1.0 + 0.5j, -0.3j, 0.7], [2.0, 0.1 + 1j, -1.0 - 1j]]),), {"axis": -1, "inverse": False}),
        ((np.array([[1.0 + 0.5j, -0.3j, 0.7], [2.0, 0.1 + 1j, -1.0 - 1j]]),), {"axis": -2, "inverse": True}),
    ],
)
