"""``torch.nn``: modules and their parts."""

from typing import Any as _Any

import functrans.torch.nn.functional as functional  # noqa: F401
import functrans.torch.nn.init as init  # noqa: F401
import functrans.torch.nn.utils as utils  # noqa: F401
from functrans.torch.nn.modules import *  # noqa: F403
from functrans.torch.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter  # noqa: F401
from functrans.torch.nn.unsupported import MODULES as _UNSUPPORTED
from functrans.torch.nn.unsupported import refusal as _refusal


def __getattr__(name: str) -> _Any:
    if name in _UNSUPPORTED:
        return _refusal(f"torch.nn.{name}", _UNSUPPORTED[name])
    raise AttributeError(f"module 'functrans.torch.nn' has no attribute {name!r}")
