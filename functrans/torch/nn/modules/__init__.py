"""The modules that `nn` has."""

from functrans.torch.nn.modules.adaptive import *  # noqa: F403
from functrans.torch.nn.modules.attention import *  # noqa: F403
from functrans.torch.nn.modules.containers import *  # noqa: F403
from functrans.torch.nn.modules.embedding import *  # noqa: F403
from functrans.torch.nn.modules.layers import *  # noqa: F403
from functrans.torch.nn.modules.lazy import *  # noqa: F403
from functrans.torch.nn.modules.losses import *  # noqa: F403
from functrans.torch.nn.modules.module import Module  # noqa: F401
from functrans.torch.nn.modules.recurrent import *  # noqa: F403
from functrans.torch.nn.modules.simple import *  # noqa: F403
from functrans.torch.nn.modules.transformer import *  # noqa: F403

__all__ = [name for name, value in globals().items() if isinstance(value, type)]  # noqa: PLE0605
