"""``torch.nn.utils.parametrizations``: weights of unit norm, of a largest singular value of 1, or orthogonal."""

from __future__ import annotations

from typing import Any

import numpy as np

import functrans.torch.nn.functional as F
from functrans.errors import at_user_line
from functrans.torch.autograd.modes import no_grad
from functrans.torch.nn.modules.layers import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.utils.parametrize import register_parametrization
from functrans.torch.ops import linalg
from functrans.torch.ops.table import FUNCTIONS, define
from functrans.torch.random import numbers
from functrans.torch.tensor import Tensor, made

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def norms(x: Any, dim: int) -> Any:
    """The norm of each slice along an axis; of all elements if it is -1."""
    if dim == -1:
        return np.sqrt(np.sum(x * x))
    return np.sqrt(np.sum(x * x, axis=tuple(axis for axis in range(x.ndim) if axis != dim % x.ndim), keepdims=True))


norm_except_dim = define("_nn_norm_except_dim", norms, node="NormBackward1", method=False, public=False)
weight_of = define(
    "_nn_weight_norm", lambda v, g, dim: v * (g / norms(v, dim)), node="WeightNormInterfaceBackward0", method=False, public=False
)


class _WeightNorm(Module):
    """A weight as its norm and its direction."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_of(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Let a weight be a norm ``original0`` times the direction of ``original1`` (Salimans and Kingma 2016).

    Args:
        module: whose weight it is; it is changed.
        name: of the weight.
        dim: along which there is a norm for each slice; None for one of the whole weight.

    Returns:
        The module.

    Example:
        >>> import functrans.torch as torch
        >>> layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(20, 40))
        >>> {name: tuple(value.shape) for name, value in layer.state_dict().items() if name != "bias"}
        {'parametrizations.weight.original0': (40, 1), 'parametrizations.weight.original1': (40, 20)}
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """State dicts of `nn.utils.weight_norm` have other names."""
        old = f"{prefix}{name}_g", f"{prefix}{name}_v"
        if all(key in state_dict for key in old):
            for place, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{place}"] = state_dict.pop(key)

    module.register_load_state_dict_pre_hook(lambda module, *args: rename(*args))
    return module


class _SpectralNorm(Module):
    """A weight over its largest singular value, which is followed by power iterations."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        rank = weight.ndim
        if not -rank <= dim < rank:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{rank}, {rank - 1}] but got {dim}){at_user_line()}")
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
        self.dim, self.eps = dim % rank, eps
        if rank > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight.detach())
            for key, size in zip(("_u", "_v"), matrix.shape):
                drawn = made(numbers(None).standard_normal(size).astype(weight._array.dtype))
                self.register_buffer(key, F.normalize(drawn, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Any) -> Any:
        return weight.movedim(self.dim, 0).flatten(1)

    def _iterate(self, matrix: Any, count: int) -> None:
        with no_grad():
            for _ in range(count):
                self._u.copy_(F.normalize(matrix @ self._v, dim=0, eps=self.eps))
                self._v.copy_(F.normalize(matrix.T @ self._u, dim=0, eps=self.eps))

    def forward(self, weight: Any) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        return weight / self._u.clone().dot(matrix @ self._v.clone())

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Let a weight, as a matrix, have a largest singular value of 1 (Miyato et al. 2018).

    Args:
        module: whose weight it is; it is changed.
        name: of the weight.
        n_power_iterations: in each forward pass in training.
        eps: the least norm that is divided by.
        dim: whose slices are the rows of the matrix; 0, but 1 for transposed convolutions.

    Returns:
        The module.

    Example:
        >>> import functrans.torch as torch
        >>> layer = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(20, 40)).eval()
        >>> abs(torch.linalg.matrix_norm(layer.weight.detach(), 2).item() - 1) < 0.2
        True
    """
    weight = _weight(module, name)
    transposed = isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d))
    dim = (1 if transposed else 0) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


def _weight(module: Module, name: str) -> Any:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


class _Orthogonal(Module):
    """An orthogonal matrix by the Cayley map of a skew-symmetric one, or a product of reflections."""

    def __init__(self, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Any) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        x = x.mT if wide else x
        q = cayley(x.tril()) if self.orthogonal_map == "cayley" else reflections(x)
        if "base" in self._buffers:
            q = self.base @ q
        return q.mT if wide else q

    def right_inverse(self, q: Any) -> Any:
        with no_grad():
            wide = q.shape[-2] < q.shape[-1]
            matrix = q._array.swapaxes(-1, -2) if wide else q._array
            rows, columns = matrix.shape[-2:]
            if "base" not in self._buffers:
                raise NotImplementedError(
                    f"torch.nn.utils.parametrizations.orthogonal: assigning without use_trivialization is not supported"
                    f"\n  Remedy: use use_trivialization=True.{at_user_line()}"
                )
            if rows > columns:
                more = numbers(None).standard_normal((*matrix.shape[:-1], rows - columns)).astype(matrix.dtype)
                matrix = np.concatenate([matrix, more], axis=-1)
            self.base = made(orthogonalised(matrix))
            start = np.zeros(q._array.shape, matrix.dtype)
            diagonal = np.arange(min(start.shape[-2:]))
            start[..., diagonal, diagonal] = -1
            return made(start)


def orthogonalised(matrix: Any) -> Any:
    """A square matrix if it is orthogonal, else the orthogonal factor of it whose triangular one has a positive diagonal."""
    size = matrix.shape[-1]
    if np.allclose(matrix.swapaxes(-1, -2) @ matrix, np.eye(size), atol=10 * size * np.finfo(matrix.dtype).eps, rtol=0):
        return matrix.copy()
    q, r = np.linalg.qr(matrix)
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def cayley(x: Any) -> Any:
    """``(I - A / 2)^-1 (I + A / 2)`` of the skew-symmetric matrix with lower triangle `x`, as many columns as `x` has."""
    rows, columns = x.shape[-2:]
    square = F.pad(x, (0, rows - columns))
    skew = square - square.mT
    one = FUNCTIONS["eye"](rows, dtype=x.dtype)
    return linalg.solve(one - skew / 2, one + skew / 2)[..., :columns]


def reflections(x: Any) -> Any:
    """The first columns of the product of the reflections at the columns of `x` below its diagonal, with the diagonal's signs."""
    rows, columns = x.shape[-2:]
    vectors = x.tril(-1)
    factors = 2.0 / (1.0 + (vectors * vectors).sum(-2))
    one = FUNCTIONS["eye"](rows, columns, dtype=x.dtype)
    vectors, q = vectors + one, one.expand(*x.shape)
    for place in reversed(range(columns)):
        vector = vectors[..., place : place + 1]
        q = q - factors[..., place, None, None] * vector @ (vector.mT @ q)
    return q * x.detach().diagonal(dim1=-2, dim2=-1).trunc().unsqueeze(-2)


def orthogonal(module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True) -> Module:
    """Let a weight, or each of several, be a matrix with orthonormal columns, or rows if it is wide.

    Args:
        module: whose weight it is; it is changed.
        name: of the weight.
        orthogonal_map: ``"cayley"``, or ``"householder"`` for a product of reflections, which is the default of matrices
            that are not square.
        use_trivialization: whether the map is multiplied by an orthogonal matrix, such that training begins with the weight
            as it is, made orthogonal (Lezcano-Casado 2019).

    Returns:
        The module.

    Raises:
        ValueError: there is no such weight, it is no matrix, or there is no such map.
        NotImplementedError: the map is ``"matrix_exp"``, which is torch's default of square matrices.

    Example:
        >>> import functrans.torch as torch
        >>> layer = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(3, 5).double())
        >>> torch.allclose(layer.weight.T @ layer.weight, torch.eye(3).double())
        True
    """
    weight = _weight(module, name)
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] or weight.is_complex() else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}')
    if orthogonal_map == "matrix_exp" or weight.is_complex():
        raise NotImplementedError(
            f"torch.nn.utils.parametrizations.orthogonal: matrix_exp and complex weights are not supported"
            f'\n  Remedy: use orthogonal_map="cayley" with a real weight.{at_user_line()}'
        )
    if orthogonal_map == "householder" and not use_trivialization:
        raise NotImplementedError(
            "torch.nn.utils.parametrizations.orthogonal: householder without use_trivialization is not supported"
            f"\n  Remedy: use use_trivialization=True.{at_user_line()}"
        )
    return register_parametrization(module, name, _Orthogonal(orthogonal_map, use_trivialization), unsafe=True)
