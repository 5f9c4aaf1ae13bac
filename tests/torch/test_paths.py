"""Import paths that programs for torch use."""

import importlib

import pytest

import functrans.torch as torch

NAMES = """
nn.functional:relu nn.modules:Linear,LSTM nn.modules.conv:Conv2d,_ConvNd nn.modules.loss:_Loss,_WeightedLoss,CrossEntropyLoss
nn.modules.batchnorm:_BatchNorm,BatchNorm2d nn.modules.linear:Linear nn.modules.container:Sequential nn.modules.rnn:LSTM
nn.modules.module:Module,register_module_forward_hook nn.utils.clip_grad:clip_grad_norm_ nn.utils.stateless:functional_call
nn.utils.convert_parameters:parameters_to_vector optim.adam:Adam optim.sgd:SGD optim.optimizer:Optimizer optim.lr_scheduler:_LRScheduler
utils.data.dataset:Dataset,Subset utils.data.dataloader:DataLoader,default_collate utils.data.sampler:SubsetRandomSampler
utils.checkpoint:checkpoint autograd.gradcheck:gradcheck autograd.function:once_differentiable linalg:norm,solve fft:rfft special:erf
cuda:is_available backends.cudnn:is_available func:vmap random:manual_seed
""".split()


@pytest.mark.parametrize("entry", NAMES)
def test_names_are_found_under_torchs_paths(entry):
    path, _, names = entry.partition(":")
    module = importlib.import_module(f"functrans.torch.{path}")
    for name in names.split(","):
        assert getattr(module, name) is not None


def test_they_are_the_objects_of_the_namespaces():
    from functrans.torch.nn.modules.conv import Conv2d
    from functrans.torch.optim.adam import Adam

    assert Conv2d is torch.nn.Conv2d and Adam is torch.optim.Adam
    assert importlib.import_module("functrans.torch.linalg") is torch.linalg
    assert importlib.import_module("functrans.torch.cuda") is torch.cuda


def test_what_is_missing_is_imported_and_refused_when_called():
    from functrans.torch.distributions import Normal

    with pytest.raises(NotImplementedError, match="Remedy: use torch.randn"):
        Normal(0.0, 1.0)


def test_mixed_precision_is_switched_off():
    from functrans.torch.cuda.amp import GradScaler, autocast

    x = torch.tensor(1.0, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.25)
    with pytest.warns(UserWarning, match="CUDA is not available.  Disabling"):
        scaler = GradScaler()
    with pytest.warns(UserWarning, match="CUDA is not available. Disabling"), autocast():
        loss = x * x
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert x.item() == 0.5 and not scaler.is_enabled()
    with torch.autocast("cpu", enabled=False):
        assert (x * 1).dtype == torch.float32
    with pytest.raises(NotImplementedError, match="Remedy: use enabled=False"):
        torch.autocast("cpu")
    with pytest.raises(NotImplementedError, match="Remedy: use enabled=False"):
        torch.amp.GradScaler("cpu")


def test_a_loss_and_a_pair_of_the_users_own():
    from functrans.torch.nn.modules.loss import _Loss
    from functrans.torch.nn.modules.utils import _pair, _triple

    class Mine(_Loss):
        def forward(self, x):
            return x.sum() if self.reduction == "sum" else x.mean()

    assert Mine(reduction="sum")(torch.ones(3)).item() == 3 and Mine()(torch.ones(3)).item() == 1
    assert isinstance(torch.nn.MSELoss(), _Loss)
    assert _pair(3) == (3, 3) and _triple((1, 2, 3)) == (1, 2, 3)


def test_instance_norm_is_no_batch_norm():
    from functrans.torch.nn.modules.batchnorm import _BatchNorm

    assert isinstance(torch.nn.BatchNorm1d(2), _BatchNorm) and not isinstance(torch.nn.InstanceNorm1d(2), _BatchNorm)
