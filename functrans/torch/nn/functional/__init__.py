"""``torch.nn.functional``: what layers compute, as functions of tensors."""

from typing import Any as _Any

from functrans.torch.nn.functional.activations import *  # noqa: F403
from functrans.torch.nn.functional.attention import *  # noqa: F403
from functrans.torch.nn.functional.convolution import *  # noqa: F403
from functrans.torch.nn.functional.ctc import *  # noqa: F403
from functrans.torch.nn.functional.embedding import *  # noqa: F403
from functrans.torch.nn.functional.folding import *  # noqa: F403
from functrans.torch.nn.functional.linear import *  # noqa: F403
from functrans.torch.nn.functional.losses import *  # noqa: F403
from functrans.torch.nn.functional.margins import *  # noqa: F403
from functrans.torch.nn.functional.normalization import *  # noqa: F403
from functrans.torch.nn.functional.pooling import *  # noqa: F403
from functrans.torch.nn.functional.resampling import *  # noqa: F403
from functrans.torch.nn.unsupported import FUNCTIONS as _UNSUPPORTED
from functrans.torch.nn.unsupported import refusal as _refusal


def __getattr__(name: str) -> _Any:
    if name in _UNSUPPORTED:
        return _refusal(f"torch.nn.functional.{name}", _UNSUPPORTED[name])
    raise AttributeError(f"module 'functrans.torch.nn.functional' has no attribute {name!r}")
