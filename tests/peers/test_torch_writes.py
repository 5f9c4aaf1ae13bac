"""Programs that write: ``out=``, shapes changed in place, views by strides, resizing; the same text printed as by PyTorch.

Each line is a program in ``t``, the module; the value of its last part is compared, with warnings and errors.
"""

import warnings

import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = pytest.mark.peers

# x requires a gradient, y = x * 2.
SHAPES = """
y.t_(); y, y._version, y.stride(), y.is_contiguous(), G(y)
y.transpose_(0, 1); y, G(y * y)
y.swapaxes_(0, 1).swapdims_(0, 1); y, y._version, G(y.exp())
y.unsqueeze_(1); y.squeeze_(); y, y._version, G(y[0])
y.unsqueeze_(0); y.squeeze_(0); y.shape, G(y)
v = y[0]; y.t_(); v.mul_(3); y, v, G(y)
v = y[0]; y.t_(); y.mul_(3); v, v.grad_fn.name(), G(v)
v = y.view(6)[1:3]; y.t_(); v.mul_(3); y, G(y * y)
v = y[:, 1]; y.unsqueeze_(0); y.transpose_(0, 2); v.exp_(); y, G(y)
v = y[:, 1:]; v.t_(); v, v._version, y._version, v._base is y, G(v)
v = y[:, 1:]; v.t_(); v.mul_(5); y, G(y * y)
v = y[:, 1:]; w = v[0]; v.t_(); w.mul_(5); v, y, G(v)
v = y[0:1]; v.squeeze_(0); v.grad_fn.name(), y.grad_fn.name(), v.shape
y.as_strided_((2, 2), (1, 1)); y, y.grad_fn.name(), G(y)
y.t_(); z = y * 1; y.grad_fn.name()
y.unsqueeze_(0); y.grad_fn.name()
z = t.ones(2, 3); w = z[0]; z.t_(); w.add_(1); z, w, z._version
z = t.ones(2, 3); w = z[0]; z.t_(); z.mul_(x.t()); w, G(w)
z = t.ones(2, 3); z.unsqueeze_(-1).squeeze_(); z.shape, z._version
b = x.t() * 2; v = b.t().view(6)[:2]; v.mul_(5); b, G(b)
x.t_()
y[0].detach().unsqueeze_(5)
x.detach().t_().shape, x.shape
y[0].t_().grad_fn.name()
z = y.exp(); z.t_(); G(z)
y.squeeze_(0).shape, y._version
t.ones(2, 3, 4).t_()
z = y.abs(); z.copy_(z); z._version, G(z)
y.tensor_split(2)[0].mul_(2); y, G(y)
y.hsplit(3)[1].zero_(); y, G(y)
""".strip().splitlines()

STRIDES = """
v = y.view(6)[2:5]; o = v.as_strided((3,), (1,)); o, o._base is y, G(o)
o = y.as_strided((4, 2), (1, 1)); o, G(o * o)
o = y.as_strided((4, 2), (1, 1)); y.mul_(2); o, G(o)
o = x.expand(2, 2, 3).as_strided((2, 3), (3, 1)); G(o)
b = t.arange(6.0); v = b[1:4]; v.as_strided((2,), (2,)), v.as_strided((2,), (2,), 0), v.as_strided((2,), (2,)).storage_offset()
b = t.arange(6.0); v = b[1:4]; v.as_strided_((2,), (2,), 0); v, v._version, b._version
b = t.arange(6.0); o = b.as_strided((2, 2), (3, 1), 1); o.mul_(2); b, b._version
o = y.as_strided((2, 2), (3, 1), 1); o.mul_(3); y, G(y * y)
o = y.t().as_strided((2, 3), (3, 1)); o, G(o)
y.as_strided((2,), (7,))
y.as_strided((2,), (-1,))
y.as_strided((2, 2), (1,))
o = y.as_strided((3, 3), (0, 1)); o.detach().add_(1)
z = t.zeros(3, 3); z.fill_diagonal_(2); z
z = t.zeros(7, 3); z.fill_diagonal_(2, wrap=True); z
y.fill_diagonal_(3); y.detach(), G(y * y)
t.zeros(2, 2, 2).fill_diagonal_(1)
t.zeros(2, 3, 3).fill_diagonal_(1)
t.zeros(2).fill_diagonal_(1)
y.index_reduce_(0, t.tensor([0, 0]), y.detach() * 1, 'mean'); y, G(y)
y.put_(t.tensor([0, -1]), t.tensor([7.0, 8.0])); y, G(y * y)
y.view(t.int32).requires_grad, y.detach().view(t.int32)
z = t.ones(3); z.view(t.int32).zero_(); z, z._version
t.ones(2, 4).view(t.complex64), t.ones(2, 4).view(dtype=t.int16).shape
t.ones(2, 3).view(t.float64)
t.ones(2, 4).t().view(t.float64)
t.tensor(1.0).view(t.int16)
z = t.arange(4.0); z.resize_(2, 2); z, z.resize_(3), z.resize_(4), z.resize_(4, 1)
z = t.arange(4.0); z.resize_(6); z.shape, z[:4], z._version
z = t.arange(4.0); v = z[1:3]; v.resize_(3); v, z
t.ones(2).resize_as_(t.ones(2, 1))
x.resize_(3)
y.resize_(3)
t.ones(2).resize_(-1, 2)
z = t.ones(2, 3).t().resize_(3, 2); z
""".strip().splitlines()

OUT = """
o = t.empty(0); r = t.add(a, a, out=o); r is o, o, o._version
o = t.ones(3); t.add(a, a, out=o)
o = t.ones(2, 3, dtype=t.float64); t.mul(a, a, out=o)
t.add(a, a, out=t.ones(2, 3, dtype=t.int64))
t.sin(x, out=t.ones(2, 3))
t.add(a, a, out=t.ones(2, 3, requires_grad=True))
o = t.ones(3, 2); t.add(a, a, out=o.t()); o
o = t.zeros(3, 3); t.add(a, a, out=o[:2]); o
t.add(a, a, out=t.ones(3).expand(2, 3))
t.sum(a, 0, out=t.ones(3, dtype=t.float64)), t.mean(a, 1, out=t.empty(0)), t.prod(a, 0, out=t.empty(0))
t.matmul(a, a.T, out=t.empty(0)), t.mm(a, a.T, out=t.empty(2, 2)), t.mv(a, a[0], out=t.empty(2)), t.bmm(a[None], a.T[None], out=t.empty(1, 2, 2))
t.matmul(a, a.T, out=t.ones(2, 2, dtype=t.float64))
o = t.empty(0), t.empty(0, dtype=t.int64); r = t.max(a, 0, out=o); r[0] is o[0], o
o = t.empty(3), t.empty(3, dtype=t.int64); t.sort(a, out=o); o
t.topk(a, 2, out=(t.empty(0), t.empty(0, dtype=t.int64))).values
t.max(a, 0, out=(t.empty(0), t.empty(0)))
t.max(a, 0, out=t.empty(0))
t.zeros(2, out=t.ones(3, dtype=t.int32)), t.full((2,), 3, out=t.empty(0)), t.eye(2, out=t.empty(0, dtype=t.int64))
t.zeros(2, out=t.ones(3, dtype=t.int32), dtype=t.float32)
t.arange(3, out=t.ones(3)), t.linspace(0, 1, 3, out=t.empty(0, dtype=t.float64)), t.ones(2, out=t.empty(0), requires_grad=True)
t.cat([a, a], out=t.empty(0)), t.stack([a, a], out=t.empty(0)), t.cumsum(a, 0, out=t.empty(0)), t.where(a > 1, a, a, out=t.empty(0))
t.eq(a, a, out=t.ones(2, 3)), t.eq(a, a, out=t.ones(2, 3, dtype=t.uint8)), t.argmax(a, 0, out=t.empty(0, dtype=t.int64))
t.argmax(a, 0, out=t.ones(3))
t.add(a, a, out=(a,))
a.add(a, out=a)
t.linalg.inv(t.eye(2) * 2, out=t.empty(0)), t.linalg.norm(a, out=t.empty(())), t.special.erf(a, out=t.empty(0)), t.fft.fft(a, out=t.empty(0, dtype=t.complex64))
t.linalg.inv(t.eye(2), out=t.ones(2, 2, dtype=t.float64))
n = t.no_grad(); n.__enter__(); o = t.ones(2, 3, requires_grad=True); t.add(x, a, out=o); n.__exit__(None, None, None); o
t.clamp(a, 1, 2, out=a); a, a._version
t.div(a, 2, rounding_mode='floor', out=t.empty(0)), t.pow(a, 2, out=t.empty(0)), t.std(a, 1, out=t.empty(0)), t.gather(a, 0, a.long() * 0, out=t.empty(0))
t.transpose(a, 0, 1, out=a)
""".strip().splitlines()

INDICES = """
z = t.zeros(2, 3); z[True] = 1; z[False] = 2; z
z = y.clone(); z[0, [1, 2]] = x[0, :2]; z, G(z * z)
z = t.zeros(2, 3, 2); z[0, :, [1, 0]] = t.arange(6.0).reshape(3, 2); z
z = x.reshape(1, 2, 3) * 1; z[0, :, [1, 0]] = y[:, :2] * 3; z, G(z)
z = y.clone(); z[:, range(2)] = 7; z, G(z)
z = y.clone(); z[z > 0] = t.tensor(1.0, dtype=t.float64); z, G(z)
z = t.zeros(2, 3); z[0] = t.ones(1, 3); z[1, 0] = t.ones(1); z
z = y.clone(); z[0] = t.ones(1, 1, 3); z[1, 0] = x[:1, 0]; z, G(z)
z = t.zeros(2, 3); z[:, None] = t.arange(3.0); z[..., 0] = 5; z
z = t.zeros(3, dtype=t.int64); z[0] = 1.7; z[1:] = t.tensor([1.5, 2.5]); z
z = y.clone(); z[t.tensor([0, 1]), t.tensor([2, 0])] += 1; z, G(z * z)
z = t.zeros(2, 3); z[0, 3] = 1
z = t.zeros(2, 3); z[0] = t.ones(2)
z = t.zeros(2, 3); z[[0, 1], 0] = 1j
""".strip().splitlines()

FORMATS = """
a.clone(memory_format=t.contiguous_format), a.contiguous(memory_format=t.contiguous_format), a.double(memory_format=t.preserve_format)
t.zeros_like(a, memory_format=t.preserve_format), t.empty(2, memory_format=t.contiguous_format).shape, a.is_contiguous(memory_format=t.contiguous_format)
a.to(t.float64, memory_format=t.preserve_format), a.to(t.float32, False, True) is a, t.zeros(2, layout=t.strided), a.layout, t.channels_last
a.clone(memory_format='x')
t.zeros(2, layout='x')
""".strip().splitlines()


def outcome(module, program):
    x = (module.arange(6.0).reshape(2, 3) / 4 - 0.3).requires_grad_()

    def gradient(of):
        weights = module.arange(1.0, of.numel() + 1).reshape(of.shape) * 0.3
        return module.autograd.grad((of * weights).sum(), x, allow_unused=True)[0]

    space = {"t": module, "x": x, "y": x * 2, "a": module.arange(6.0).reshape(2, 3), "G": gradient}
    *statements, last = program.split("; ")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec("; ".join(statements if not last.startswith("z[") else [*statements, last]), space)
            result = str(eval(last if not last.startswith("z[") else "z", space))
        except Exception as error:
            return next(k for k in type(error).__mro__ if k.__module__ == "builtins"), str(error).split("\n")[0][:40]
    return result, [str(each.message)[:60] for each in caught if "in beta" not in str(each.message)]


@pytest.mark.parametrize("program", [*SHAPES, *STRIDES, *OUT, *INDICES, *FORMATS])
def test_programs(program):
    ours, theirs = outcome(shim, program), outcome(torch, program)
    if isinstance(theirs[0], str):
        assert ours == theirs
    else:
        assert isinstance(ours[0], type) and issubclass(ours[0], theirs[0]), (ours, theirs)


def test_channels_last_and_other_layouts_say_so():
    x = shim.ones(1, 2, 3, 4)
    for call in (
        lambda: x.contiguous(memory_format=shim.channels_last),
        lambda: shim.zeros(2, layout=shim.sparse_coo),
        lambda: shim.empty_like(x, memory_format=shim.channels_last),
        lambda: shim.zeros(2, pin_memory=True),
    ):
        with pytest.raises(NotImplementedError, match="is not supported\n  Remedy"):
            call()


def test_memory_that_views_share_is_not_enlarged():
    x = shim.arange(4.0)
    v = x[1:]
    with pytest.raises(NotImplementedError, match="more memory"):
        x.resize_(9)
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0] and v.tolist() == [1.0, 2.0, 3.0]
