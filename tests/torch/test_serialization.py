"""State dicts and checkpoints in files."""

import io

import numpy as np
import pytest

import functrans.torch as torch

pytest.importorskip("safetensors")


def test_a_state_dict_comes_back(tmp_path):
    path = tmp_path / "model.safetensors"
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(model.state_dict(), path)
    other = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    assert repr(other.load_state_dict(torch.load(path))) == "<All keys matched successfully>"
    x = torch.randn(4, 3)
    assert torch.equal(model.eval()(x), other.eval()(x))


def test_views_and_numbers_without_axes():
    file = io.BytesIO()
    torch.save({"t": torch.arange(6).reshape(2, 3).t(), "n": torch.tensor(2.5)}, file)
    file.seek(0)
    loaded = torch.load(file)
    assert loaded["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert loaded["n"].item() == 2.5


def trained(model, optimizer, schedule, steps):
    x = torch.arange(12.0).reshape(4, 3) / 12
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def parts():
    model = torch.nn.Linear(3, 2)
    groups = [{"params": [model.weight], "weight_decay": 0.1}, {"params": [model.bias], "lr": 0.01}]
    optimizer = torch.optim.AdamW(groups, lr=0.1, betas=(0.8, 0.99))
    return model, optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5])


def test_training_goes_on_from_a_checkpoint(tmp_path):
    one, other = parts(), parts()
    first = trained(*one, 4)
    torch.save({"epoch": 4, "losses": first, "best": None, **{name: each.state_dict() for name, each in zip("mos", one)}}, tmp_path / "c.pt")
    checkpoint = torch.load(tmp_path / "c.pt", map_location="cpu", weights_only=True)
    assert checkpoint["epoch"] == 4 and checkpoint["losses"] == first and checkpoint["best"] is None
    for name, each in zip("mos", other):
        each.load_state_dict(checkpoint[name])
    assert trained(*other, 4) == trained(*one, 4)


def test_values_of_all_kinds_come_back():
    numbers = np.random.RandomState(3)
    shared = torch.ones(2)
    values = {
        "a": [1, 2.5, float("inf"), True, None, "text"], 1: (torch.arange(3), {2: torch.tensor(1.5, dtype=torch.float64)}), "1": {4, 5},
        "state": numbers.get_state(), "scalar": np.float32(0.1), "size": torch.Size([2, 3]), "twice": [shared, shared],
        "p": torch.nn.Parameter(torch.zeros(1)), "leaf": torch.ones(1, requires_grad=True), "empty": {},
    }  # fmt: skip
    file = io.BytesIO()
    torch.save(values, file)
    file.seek(0)
    loaded = torch.load(file)
    assert loaded.keys() == values.keys() and loaded["a"] == values["a"] and loaded["1"] == {4, 5} and loaded["empty"] == {}
    assert loaded[1][0].tolist() == [0, 1, 2] and loaded[1][1][2].dtype == torch.float64 and type(loaded[1]) is tuple
    numbers_again = np.random.RandomState()
    numbers_again.set_state(loaded["state"])
    assert numbers_again.rand() == numbers.rand()
    assert loaded["scalar"] == np.float32(0.1) and type(loaded["scalar"]) is np.float32 and type(loaded["size"]) is torch.Size
    assert loaded["twice"][0] is loaded["twice"][1]
    assert type(loaded["p"]) is torch.nn.Parameter and loaded["leaf"].requires_grad and not loaded["twice"][0].requires_grad


def test_a_tensor_alone():
    file = io.BytesIO()
    torch.save(torch.arange(3), file)
    file.seek(0)
    assert torch.load(file).tolist() == [0, 1, 2]


def test_nothing_that_runs_code_is_written_or_read(tmp_path):
    with pytest.raises(NotImplementedError, match=r"found functrans.torch.nn.modules.layers.Linear at the top(.|\n)*Remedy: save model.state_dict"):
        torch.save(torch.nn.Linear(1, 1), tmp_path / "x")
    with pytest.raises(NotImplementedError, match=r"found builtins.function at a.0"):
        torch.save({"a": [lambda: 0]}, tmp_path / "x")
    with pytest.raises(ValueError, match="in PyTorch, write safetensors.torch.save_file"):
        torch.load(io.BytesIO(b"PK\x03\x04 and so on"))
    with pytest.raises(ValueError, match="not in the safetensors format"):
        torch.load(io.BytesIO(b"\x80\x04K\x01."))
