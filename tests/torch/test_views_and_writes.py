"""Views, in-place operations, their gradients, and errors after which everything can be used on."""

import numpy as np
import pytest

import functrans.torch as torch

VIEWS = {
    "view": lambda x: x.view(3, 2),
    "reshape": lambda x: x.reshape(6),
    "transpose": lambda x: x.transpose(0, 1),
    "permute": lambda x: x.permute(1, 0),
    "T": lambda x: x.T,
    "select": lambda x: x[1],
    "element": lambda x: x[1, 2],
    "slice": lambda x: x[:, 1:],
    "step": lambda x: x[:, ::2],
    "new axis": lambda x: x[None],
    "narrow": lambda x: x.narrow(1, 1, 2),
    "diagonal": lambda x: x.diagonal(),
    "unfold": lambda x: x.unfold(1, 2, 2),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "as_strided": lambda x: x.as_strided((2, 2), (3, 1), 1),
    "several": lambda x: x.t()[1:].reshape(-1, 1)[:2] if x.t()[1:].is_contiguous() else x.t()[1:][0],
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory(name):
    x = torch.arange(6.0).reshape(2, 3).clone()
    v = VIEWS[name](x)
    assert v._base is x or v._base is x._base
    v.fill_(9.0)
    assert VIEWS[name](x).eq(9).all() and x.eq(9).any() and x._version == 1 == v._version


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("order", [1, 2])
def test_writes_through_views_have_gradients(name, order):
    def f(x, y):
        base = x * 2
        v = VIEWS[name](base)
        v.mul_(y.sum())
        VIEWS[name](base).add_(VIEWS[name](x * x))
        return (base.sin() * base).sum() + v.exp().mean()

    x = torch.linspace(0.1, 1.0, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    y = torch.tensor([0.3, 0.4], dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck if order == 1 else torch.autograd.gradgradcheck
    assert check(f, (x, y))


def test_the_history_of_views_follows_writes_into_the_base():
    x = torch.ones(3, requires_grad=True)
    base = x * 1
    v = base[1:]
    base.mul_(5)
    assert v.grad_fn.name() == "AsStridedBackward0" and v.tolist() == [5.0, 5.0]
    v.sum().backward()
    assert x.grad.tolist() == [0.0, 5.0, 5.0]


def test_a_write_makes_a_plain_tensor_depend_on_what_was_written():
    w = torch.ones(2, requires_grad=True)
    x = torch.zeros(2, 2)
    x[0] = w * 3
    x[1, 0] = 7
    assert x.requires_grad and x.grad_fn.name() == "torch::autograd::CopySlices"
    (x * x).sum().backward()
    assert w.grad.tolist() == [18.0, 18.0]


def test_assignment_by_masks_and_lists():
    w = torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)

    def f(w):
        x = torch.zeros(4, dtype=torch.float64) + w[0]
        x[torch.tensor([True, False, True, False])] = w
        x[[1, 3]] = w * w
        x[3] += w[0]
        return (x**2).sum()

    assert torch.autograd.gradcheck(f, (w,)) and torch.autograd.gradgradcheck(f, (w,))


def test_operators_in_place_keep_identity():
    x = torch.ones(2)
    same = x
    x += 1
    x *= 3
    x -= 1
    x /= 5
    x **= 2
    assert same is x and x.tolist() == [1.0, 1.0] and x._version == 5


def test_detach_shares_memory_and_version():
    x = torch.ones(2)
    y = x.detach()
    y.add_(1)
    assert x.tolist() == [2.0, 2.0] and x._version == 1
    s = torch.tensor(1.0)
    s.detach().fill_(5.0)
    assert s.item() == 5.0
    x.data.mul_(2)
    assert x._version == 1 and x.tolist() == [4.0, 4.0]


def test_detached_writes_are_noticed_by_the_graph():
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    z = y.exp()
    z.detach().zero_()
    with pytest.raises(RuntimeError, match="is at version 1; expected version 0") as info:
        z.sum().backward()
    text = str(info.value)
    assert "z = y.exp()" in text and "z.detach().zero_()" in text


@pytest.mark.parametrize(
    "f",
    [lambda x: x**0.5, lambda x: x.exp(), lambda x: x.softmax(0), lambda x: x.norm(dim=0), lambda x: x.cumprod(0), lambda x: x.amax(0)],
)
def test_overwritten_results_that_were_saved(f):
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    expected = f(x).sum()
    (expected,) = torch.autograd.grad(expected, x)
    y = f(x)
    total = y.sum()
    y.zero_()
    try:
        total.backward()
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)
    else:
        assert torch.equal(x.grad, expected)


@pytest.mark.parametrize(
    "f",
    [lambda x: x.flip(0), lambda x: x.roll(0), lambda x: x.tril(5), lambda x: torch.conj(x), lambda x: torch.clip(x, -9),
     lambda x: x.to(torch.float32, copy=True), lambda x: x.sum(()), lambda x: torch.nan_to_num(x), lambda x: torch.rot90(x, 0), lambda x: x.repeat(1, 1)],
)  # fmt: skip
def test_results_have_memory_of_their_own(f):
    for requires_grad in (False, True):
        x = torch.ones(2, 2, requires_grad=requires_grad)
        f(x).detach().zero_()
        assert x.detach().eq(1).all()


@pytest.mark.parametrize("f", [lambda z: z.real, lambda z: z.imag, torch.real, torch.view_as_real, lambda z: z.real[:1]])
def test_parts_of_complex_tensors_are_not_written_into(f):
    z = torch.tensor([1 + 2j, 3 + 4j])
    with pytest.raises(NotImplementedError, match="no view of the tensor.*not supported\n  Remedy: write into a clone"):
        f(z).zero_()
    f(z).clone().zero_()
    assert z.tolist() == [1 + 2j, 3 + 4j]


def test_what_is_asked_for_and_not_there_is_refused():
    x = torch.ones(2, 2)
    for refused in (
        lambda: torch.zeros_like(x, device="cuda"), lambda: torch.randn(2, device="cuda:0"), lambda: torch.randperm(3, device="cuda"),
        lambda: torch.tril_indices(2, 2, device="cuda"), lambda: torch.tensor(1.0, pin_memory=True), lambda: torch.Generator("cuda"),
        lambda: x.gather(0, torch.tensor([[0, 0]]), sparse_grad=True), lambda: torch.func.jvp(torch.sin, (x,), (x,), strict=True),
        lambda: torch.nn.Embedding(2, 2, sparse=True)(torch.tensor([0])),
        lambda: torch.compile(torch.nn.Embedding(2, 2, max_norm=1.0))(torch.tensor([0])),
    ):  # fmt: skip
        with pytest.raises(NotImplementedError, match="Remedy: "):
            refused()


def test_unsaved_values_may_be_overwritten():
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    z = y + 1
    y.zero_()
    z.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_views_of_expanded_tensors_are_not_written_into():
    v = torch.ones(2).expand(3, 2)
    with pytest.raises(RuntimeError, match="single memory location"):
        v.add_(1)
    assert v.clone().add_(1).tolist() == [[2.0, 2.0]] * 3


ERRORS = {
    "leaf": (lambda w: w.add_(1), "a leaf Variable that requires grad is being used in an in-place operation"),
    "view of a leaf": (lambda w: w[0].mul_(2), "a view of a leaf Variable that requires grad"),
    "assignment into a leaf": (lambda w: w.__setitem__(0, 1.0), "a view of a leaf Variable that requires grad"),
    "mask of a leaf": (lambda w: w.__setitem__(w > 0, 1.0), "a leaf Variable that requires grad"),
    "shape": (lambda w: (w * 1).add_(torch.ones(3, 2)), "output with shape"),
    "several views": (lambda w: (w * 1).split(1)[0].mul_(2), "is a view and is being modified inplace"),
    "no graph": (lambda w: w.detach().sum().backward(), "element 0 of tensors does not require grad"),
    "no scalar": (lambda w: (w * 1).backward(), "grad can be implicitly created only for scalar outputs"),
    "integers": (lambda w: torch.tensor([1]).requires_grad_(), "floating point"),
    "flag of a result": (lambda w: (w * 1).requires_grad_(False), "leaf variables"),
    "sizes": (lambda w: w + torch.ones(5), "The size of tensor a .2. must match the size of tensor b .5. at non-singleton dimension 0"),
    "matrices": (lambda w: torch.ones(2, 3) @ torch.ones(2, 3), "mat1 and mat2 shapes cannot be multiplied .2x3 and 2x3."),
    "dtypes": (lambda w: torch.ones(2, 2) @ torch.ones(2, 2).double(), "same dtype"),
    "device": (lambda w: w.to("cuda"), "not supported"),
    "bfloat16": (lambda w: w.to(torch.bfloat16), "not supported"),
    "missing": (lambda w: torch.linalg.ldl_factor(w[None]), "torch.linalg.ldl_factor is not supported"),
    "gradient shape": (lambda w: (w * 1).backward(torch.ones(3)), "Mismatch in shape"),
    "gradient assigned": (lambda w: setattr(w, "grad", torch.ones(5)), "same size"),
    "hook": (lambda w: torch.ones(1).register_hook(print), "doesn't require gradient"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_training_goes_on_after_an_error(name):
    call, message = ERRORS[name]
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    kind = NotImplementedError if "not supported" in message else (RuntimeError, TypeError)
    with pytest.raises(kind, match=message):
        call(w)
    assert w.tolist() == [1.0, -2.0] and w._version == 0 and w.is_leaf and torch.is_grad_enabled()
    for _ in range(60):
        w.grad = None
        loss = (w * w).sum()
        loss.backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
    assert loss.item() < 1e-4


def test_messages_name_the_users_line():
    with pytest.raises(RuntimeError, match=r"test_views_and_writes.py:\d+ .*torch.ones\(2\) \+ torch.ones\(3\)"):
        torch.ones(2) + torch.ones(3)


def test_memory_layout():
    x = torch.arange(6).reshape(2, 3)
    assert x.stride() == (3, 1) and x.T.stride() == (1, 3) and x[1:].storage_offset() == 3
    assert not x.T.is_contiguous() and x.T.contiguous().is_contiguous()
    with pytest.raises(RuntimeError, match="Use .reshape"):
        x.T.view(6)
    assert x.T.reshape(6).tolist() == [0, 3, 1, 4, 2, 5]
    assert x.contiguous() is x and x.data_ptr() == x[0].data_ptr()


def test_dtypes_and_promotion():
    assert torch.tensor(1.5).dtype is torch.float32 and torch.tensor(1).dtype is torch.int64
    assert (torch.tensor([1.0]) + torch.tensor(1.0, dtype=torch.float64)).dtype is torch.float32
    assert (torch.tensor([1]) / 2).dtype is torch.float32 and (torch.tensor([1]) * 1.5).dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.ones(1).dtype is torch.float64 and (torch.tensor([1]) / 2).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.tensor(np.float64(1.0)).dtype is torch.float64
    assert (torch.ones(2) * np.float64(2.0)).dtype is torch.float32 and (np.float64(2.0) * torch.ones(2)).dtype is torch.float32
    assert repr(torch.float32) == "torch.float32" and torch.float is torch.float32


@pytest.mark.parametrize("call", [lambda x: x.to_sparse(), lambda x: torch.stft(x, 2), lambda x: x.cuda()])
def test_what_is_missing_says_so(call):
    with pytest.raises(NotImplementedError, match="not supported") as info:
        call(torch.ones(2, 2))
    assert "Remedy" in str(info.value)


def test_printed_nodes_have_their_short_names():
    y = torch.zeros(2) * 1
    y[0] = torch.tensor(1.0, requires_grad=True)
    assert repr(y) == "tensor([1., 0.], grad_fn=<CopySlices>)"


def test_copying_over_what_was_saved_is_seen():
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    a = x * 1
    square = a * a
    a.copy_(square)
    assert type(a.grad_fn).__name__ == "CopyBackwards" and a.grad_fn is not square.grad_fn
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        a.sum().backward()


def test_in_place_activations_have_the_same_gradients_of_gradients():
    x = torch.tensor([-0.5, 0.7], requires_grad=True)
    (grad,) = torch.autograd.grad(torch.nn.functional.celu(x * 1, inplace=True).sum(), x, create_graph=True)
    (other,) = torch.autograd.grad(torch.nn.functional.celu(x).sum(), x, create_graph=True)
    assert torch.equal(grad, other)
    assert torch.equal(*(torch.autograd.grad(each.sum(), x)[0] for each in (grad, other)))


def test_views_of_a_base_that_was_detached():
    """As in PyTorch they keep their history until the memory is written into, which they cannot do themselves."""
    x = torch.tensor([0.3, -1.2, 2.0], requires_grad=True)
    y = x * 2
    v = y[:2]
    y.detach_()
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad is being used in an in-place operation"):
        v.clamp_(-1.0, 1.0)
    v.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 0.0]
    x.grad = None
    y = x * 2
    v = y[:2]
    y.detach_().clamp_(-1.0, 1.0)
    assert v.requires_grad and not y.requires_grad
    v.sum().backward()
    assert x.grad is None
