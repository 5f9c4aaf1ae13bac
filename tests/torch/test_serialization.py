"""State dicts in files."""

import io

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


def test_nothing_but_tensors_is_written_or_read(tmp_path):
    with pytest.raises(NotImplementedError, match="Remedy: save model.state_dict"):
        torch.save(torch.nn.Linear(1, 1), tmp_path / "x")
    with pytest.raises(ValueError, match="not in the safetensors format"):
        torch.load(io.BytesIO(b"\x80\x04K\x01."))
