"""What goes wrong, in `functrans.torch` and in PyTorch: the same class and first line; and training goes on as if nothing had been.

Each case is code that raises. It runs between two steps of training, in ``t``, the module, with `model`, its weight `w`, a
tensor `c` without a gradient, `x`, `target` and `loss`, a function.
"""

import textwrap
import warnings

import numpy as np
import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = pytest.mark.peers

FUNCTION = """
class F(t.autograd.Function):
    @staticmethod
    def forward(ctx, x, *rest):
        ctx.save_for_backward(x)
        return x * 2
    @staticmethod
    def backward(ctx, g):
        {backward}
"""


def function(backward, call="F.apply(w).sum().backward()"):
    return FUNCTION.format(backward=backward) + call


CASES = {
    # The four common errors.
    "no graph": "(c ** 2).sum().backward()",
    "no graph, in no_grad": "with t.no_grad(): l = loss()\nl.backward()",
    "second backward": "l = (w * w).sum(); l.backward(); l.backward()",
    "second backward of a model": "l = loss(); l.backward(); l.backward()",
    "second grad": "l = (w.exp()).sum(); t.autograd.grad(l, w); t.autograd.grad(l, w)",
    "accidental detach": "h = model(x).detach(); ((h - target) ** 2).mean().backward()",
    "grad is None": "c.grad.sum()",
    # Seeds.
    "no scalar": "model(x).backward()",
    "seed of another shape": "model(x).backward(t.ones(7, dtype=t.float64))",
    "seed is a number": "model(x).backward(1.0)",
    "complex seed": "model(x).backward(t.ones(4, 1, dtype=t.complex128))",
    "number of seeds": "t.autograd.backward([w.sum(), w.sum()], [None])",
    "complex output": "(w * 1j).sum().backward()",
    "grad of no scalar": "t.autograd.grad(model(x), w)",
    "batched seed of another shape": "t.autograd.grad(model(x), w, t.ones(3, 5, dtype=t.float64), is_grads_batched=True)",
    # Inputs.
    "unused": "t.autograd.grad(loss(), t.ones(2, requires_grad=True))",
    "input without a gradient": "t.autograd.grad(loss(), c)",
    "no inputs": "loss().backward(inputs=[])",
    "backward to what needs none": "loss().backward(inputs=[c])",
    "materialize and not unused": "t.autograd.grad(loss(), w, materialize_grads=True, allow_unused=False)",
    # Flags.
    "bools subtracted": "t.tensor([True]) - t.tensor([True])",
    "causal without a mask": "t.nn.TransformerEncoderLayer(4, 2, 8)(t.ones(3, 4), is_causal=True)",
    "two names of one argument": "t.autograd.backward([w.sum()], [t.ones(())], grad_variables=[t.ones(())])",
    "integers": "t.tensor([1, 2], requires_grad=True)",
    "integers later": "t.tensor([1, 2]).requires_grad_()",
    "integers, by the flag": "t.tensor([1, 2]).requires_grad = True",
    "flag of a result": "(w * 2).requires_grad = False",
    "flag of a result, by a method": "(w * 2).requires_grad_(False)",
    "retain_grad": "c.retain_grad()",
    "hook": "c.register_hook(print)",
    "post accumulate hook of a result": "(w * 2).register_post_accumulate_grad_hook(print)",
    "post accumulate hook of a constant": "c.register_post_accumulate_grad_hook(print)",
    "integer parameter": "t.nn.Parameter(t.tensor([1]))",
    # Writes.
    "leaf": "w.add_(1)",
    "leaf, by an index": "w[0] = 1.0",
    "leaf, by an operator": "w *= 2",
    "leaf, zero_": "w.zero_()",
    "leaf, through a view": "w.view(-1).add_(1)",
    "leaf, through a slice": "w[0].mul_(2)",
    "leaf, copy_": "w.copy_(w.detach())",
    "saved operand": "a = w * 1; b = a ** 2; a.add_(1); b.sum().backward()",
    "saved result": "b = (w * 1).exp(); b.add_(1); b.sum().backward()",
    "saved factor": "a = w * 1; b = a * a; a.mul_(2); b.sum().backward()",
    "saved, through a view": "a = w * 1; b = a.sin(); a[0].zero_(); b.sum().backward()",
    "saved constant": "m = c * 1; b = w.sum() * m; m.add_(1); b.sum().backward()",
    "saved matrix": "m = w * 1; b = x @ m.T; m.sub_(1); x.requires_grad_(); b = x @ m.T; m.sub_(1); b.sum().backward()",
    "view made in no_grad": "a = w * 1\nwith t.no_grad(): v = a[0]\nv.add_(1)",
    "one of several views": "a = w * 1; p, q, r = a.unbind(1); p.mul_(2)",
    "expanded": "t.ones(1).expand(3).add_(1)",
    "detach_ of a view": "(w * 1)[0].detach_()",
    "in place, of another shape": "t.ones(2).add_(t.ones(3, 2))",
    "in place, of another dtype": "t.tensor([1, 2]).add_(1.5)",
    # Gradients.
    "grad of another shape": "w.grad = t.ones(7, dtype=t.float64)",
    "grad of another dtype": "w.grad = t.ones(1, 3)",
    "grad is a number": "w.grad = 1.0",
    "grad is itself": "w.grad = w",
    # Inference.
    "inference tensor saved": "with t.inference_mode(): a = t.ones(1, 3, dtype=t.float64)\n(w * a).sum()",
    "inference tensor requires grad": "with t.inference_mode(): a = t.ones(3)\na.requires_grad_()",
    "inference tensor written": "with t.inference_mode(): a = t.ones(3)\na.add_(1)",
    # Functions.
    "function gives too many": function("return g, g, g"),
    "function gives too few": function("return g", "F.apply(w, 1.0).sum().backward()"),
    "function gives another shape": function("return t.ones(7, dtype=t.float64)"),
    "function gives a number": function("return 1.0"),
    "function raises": function("raise ValueError('mine')"),
    "function without backward": "class F(t.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return x * 2\nF.apply(w).sum().backward()",
    "function without forward": "class F(t.autograd.Function): pass\nF.apply(w)",
    "forward raises": "class F(t.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): raise KeyError('mine')\nF.apply(w)",
    "function saved a number": "class F(t.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        ctx.save_for_backward(3); return x * 2\nF.apply(w)",
    "function's saved tensor written": function("return g * ctx.saved_tensors[0]", "a = w * 1; b = F.apply(a); a.add_(1); b.sum().backward()"),
    "function twice": function("return g * ctx.saved_tensors[0]", "b = F.apply(w * 1).sum(); b.backward(); b.backward()"),
    "function is called": function("return g", "F()(w)"),
    "once_differentiable": "class F(t.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return x * 2\n    @staticmethod\n"
    "    @t.autograd.function.once_differentiable\n    def backward(ctx, g): return g * 2\n"
    "(g,) = t.autograd.grad((F.apply(w * 1) ** 2).sum(), w, create_graph=True); g.sum().backward()",
    "function of dirty leaf": "class F(t.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        ctx.mark_dirty(x); return x\n"
    "    @staticmethod\n    def backward(ctx, g): return g\nF.apply(w)",
    "old style in a transform": function("return g", "t.func.grad(lambda w: F.apply(w).sum())(c)"),
    # Hooks.
    "hook raises": "def hook(g): raise ValueError('mine')\na = w * 1; a.register_hook(hook); a.sum().backward()",
    "hook of a leaf raises": "def hook(g): raise ValueError('mine')\nh = w.register_hook(hook)\ntry: loss().backward()\nfinally: h.remove()",
    "hook gives another shape": "a = w * 1; a.register_hook(lambda g: g.sum()); a.sum().backward()",
    "hook gives another dtype": "a = w * 1; a.register_hook(lambda g: g.float()); a.sum().backward()",
    "hook gives a number": "a = w * 1; a.register_hook(lambda g: 1.0); a.sum().backward()",
    "node hook raises": "def hook(a, b): raise ValueError('mine')\na = w * 1; a.grad_fn.register_hook(hook); a.sum().backward()",
    "node prehook raises": "def hook(a): raise ValueError('mine')\na = w * 1; a.grad_fn.register_prehook(hook); a.sum().backward()",
    "node hook gives too many": "a = w * 1; a.grad_fn.register_hook(lambda a, b: (b[0], b[0], b[0])); a.sum().backward()",
    "post accumulate hook raises": "def hook(p): raise ValueError('mine')\nh = w.register_post_accumulate_grad_hook(hook)\ntry: loss().backward()\nfinally: h.remove()",
    "pack hook raises": "def pack(t): raise ValueError('mine')\nwith t.autograd.graph.saved_tensors_hooks(pack, lambda x: x): w.exp()",
    "unpack hook raises": "def unpack(t): raise ValueError('mine')\nwith t.autograd.graph.saved_tensors_hooks(lambda x: x, unpack): a = w.exp()\na.sum().backward()",
    "unpack hook gives a number": "with t.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: 1): a = w.exp()\na.sum().backward()",
    "hooks are disabled": "with t.autograd.graph.disable_saved_tensors_hooks('not here'):\n    with t.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x): w.exp()",
    "anomaly": "with t.autograd.detect_anomaly():\n    (w * 0 - 1).sqrt().sum().backward()",
    # Shapes and dtypes.
    "matrix shapes": "model(t.ones(2, 5, dtype=t.float64))",
    "matrix dtypes": "x.float() @ w.T",
    "broadcast": "w + t.ones(2, 5)",
    "view": "w.view(7)",
    "index": "w[3]",
    "numpy of a leaf": "w.numpy()",
    "item of many": "w.item()",
    "bool of many": "bool(w)",
    "deepcopy of a result": "import copy; copy.deepcopy(w * 2)",
    "unknown device": "w.to('some')",
    # Forward mode.
    "no level": "t.autograd.forward_ad.make_dual(c, c)",
    "dual of integers": "with t.autograd.forward_ad.dual_level(): t.autograd.forward_ad.make_dual(t.tensor([1]), t.tensor([1]))",
    "tangent of another shape": "with t.autograd.forward_ad.dual_level(): t.autograd.forward_ad.make_dual(c, t.ones(9, dtype=t.float64))",
    "nested levels": "with t.autograd.forward_ad.dual_level():\n    with t.autograd.forward_ad.dual_level(): pass",
    "no level to leave": "t.autograd.forward_ad.exit_dual_level()",
    # Checks and functionals.
    "gradcheck of constants": "t.autograd.gradcheck(lambda c: c * 2, (c,))",
    "functional of a number": "t.autograd.functional.jacobian(lambda c: c * 2, 3.0)",
    "functional gives a number": "t.autograd.functional.jacobian(lambda c: 2.0, c)",
    "hessian of many": "t.autograd.functional.hessian(lambda c: c * 2, c)",
    "vjp without a vector": "t.autograd.functional.vjp(lambda c: c * 2, c)",
    "vjp with a vector of another shape": "t.autograd.functional.vjp(lambda c: c * 2, c, t.ones(9))",
    "jvp with a vector of another shape": "t.autograd.functional.jvp(lambda c: c * 2, c, t.ones(9))",
    "jacobian of a strategy": "t.autograd.functional.jacobian(lambda c: c * 2, c, strategy='some')",
    "jacobian forwards, row by row": "t.autograd.functional.jacobian(lambda c: c * 2, c, strategy='forward-mode')",
    "jacobian forwards, with a graph": "t.autograd.functional.jacobian(lambda c: c * 2, c, create_graph=True, vectorize=True, strategy='forward-mode')",
    "jacobian, strict at once": "t.autograd.functional.jacobian(lambda c: c * 2, c, strict=True, vectorize=True)",
    "hessian, strict at once": "t.autograd.functional.hessian(lambda c: c.sum() ** 2, c, strict=True, vectorize=True)",
    "strict, no gradient": "t.autograd.functional.jacobian(lambda c: t.ones(2), c, strict=True)",
    # Transforms.
    "func.grad of many": "t.func.grad(lambda c: c * 2)(c)",
    "func.grad of a number": "t.func.grad(lambda c: 2.0)(c)",
    "func.grad of no argument": "t.func.grad(lambda c: c.sum(), argnums=3)(c)",
    "func.grad without aux": "t.func.grad(lambda c: c.sum(), has_aux=True)(c)",
    "func.jvp of no tuple": "t.func.jvp(t.sin, c, c)",
    "func.grad of integers": "t.func.grad(lambda a: a.sum())(t.tensor([1, 2]))",
    "func.grad of one argument twice": "t.func.grad(lambda a, b: (a * b).sum(), argnums=(0, 0))(c, c)",
    "vjp of a number": "t.func.vjp(lambda a: 3.0, c)",
    "vjp, another shape": "t.func.vjp(t.sin, c)[1](t.ones(9, dtype=t.float64))",
    "vjp, another structure": "t.func.vjp(t.sin, c)[1]((c, c))",
    "jvp of a number": "t.func.jvp(lambda a: 3.0, (c,), (c,))",
    "jvp, another shape": "t.func.jvp(t.sin, (c,), (t.ones(9, dtype=t.float64),))",
    "jvp, another structure": "t.func.jvp(t.sin, (c,), (c, c))",
    "linearize, another shape": "t.func.linearize(t.sin, c)[1](t.ones(9, dtype=t.float64))",
    "jacrev of a number": "t.func.jacrev(lambda a: 2.0)(c)",
    "vmap out_dims": "t.vmap(lambda a: a, out_dims=3)(c)",
    "vmap out_dims is None": "t.vmap(lambda a: a, out_dims=None)(c)",
    "functional_call of no module": "t.func.functional_call(t.nn.Sequential(model), {'5.weight': w}, x)",
    "functional_call of a number": "t.func.functional_call(model, {'weight': 3}, x)",
    "functional_call of another shape": "t.func.functional_call(model, {'weight': t.ones(7, 7, dtype=t.float64)}, x)",
    "vmap of nothing": "t.vmap(lambda: 1)()",
    "vmap of a number": "t.vmap(lambda a: a)(1.0)",
    "vmap along no axis": "t.vmap(lambda a: a, in_dims=5)(c)",
    "vmap of other lengths": "t.vmap(lambda a, b: a + b)(c, t.ones(9))",
    "vmap in_dims": "t.vmap(lambda a, b: a + b, in_dims=(0, 0, 0))(c, c)",
    "vmap in_dims is a float": "t.vmap(lambda a: a, in_dims=1.5)(c)",
    "vmap gives a number": "t.vmap(lambda a: 1.0)(c)",
    "vmap chunk_size": "t.vmap(lambda a: a, chunk_size=-1)(c)",
    "vmap randomness": "t.vmap(lambda a: a, randomness='some')(c)",
    "vmap draws": "t.vmap(lambda a: a + t.rand(()))(c)",
    "jacrev chunk_size": "t.func.jacrev(lambda a: a, chunk_size=-1)(c)",
    "stack of no modules": "t.func.stack_module_state([])",
    "stack of other modules": "t.func.stack_module_state([t.nn.Linear(2, 2), t.nn.ReLU()])",
    "stack of other modes": "t.func.stack_module_state([t.nn.Linear(2, 2), t.nn.Linear(2, 2).eval()])",
    "functional_call of repeated names": "t.func.functional_call(model, ({'weight': w}, {'weight': w}), (x,))",
    "functional_call of a list": "t.func.functional_call(model, 3, (x,))",
    "functional_call strict": "t.func.functional_call(model, {'weight': w}, (x,), strict=True)",
    "functional_call of an unknown name": "t.func.functional_call(model, {'other': w}, (x,), strict=True)",
    "captured and written": "a = t.zeros(4, dtype=t.float64); t.func.grad(lambda c: a.add_(c).sum())(c)",
    "compile mode": "t.compile(lambda x: x, mode='some')",
    "compile mode and options": "t.compile(lambda x: x, mode='default', options={})",
}

# Where only the class is the same, and why.
OTHER_WORDS = {
    "grad is None": "Python's own",
    "batched seed of another shape": "PyTorch names the shape of the seed's first element",
    "vmap in_dims": "the text of a structure",
    "jvp, another structure": "the text of a structure",
    "vjp, another structure": "the text of a structure",
    "jacobian forwards, row by row": "PyTorch lacks a space",
    "captured and written": "PyTorch names its own operator",
}


class Training:
    """A small network, trained."""

    def __init__(self, module):
        self.t = t = module
        source = np.random.Generator(np.random.PCG64(3))
        self.model = t.nn.Linear(3, 1).double()
        with t.no_grad():
            self.model.weight.copy_(t.tensor(source.normal(size=(1, 3))))
            self.model.bias.copy_(t.tensor(source.normal(size=(1,))))
        self.optimizer = t.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.x, self.target = t.tensor(source.normal(size=(4, 3))), t.tensor(source.normal(size=(4, 1)))
        self.c = t.tensor(source.normal(size=(4,)))

    def loss(self):
        return ((self.model(self.x) - self.target) ** 2).mean()

    def train(self, count):
        for _ in range(count):
            self.optimizer.zero_grad()
            self.loss().backward()
            self.optimizer.step()

    def numbers(self):
        return [each.detach().numpy().copy() for each in self.model.parameters()]

    def disturb(self, code):
        """The error that `code` raises."""
        space = {"t": self.t, "model": self.model, "w": self.model.weight, "c": self.c, "loss": self.loss, "target": self.target}
        space["x"] = self.x.clone()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec(compile(textwrap.dedent(code), "<case>", "exec"), space)
            except Exception as error:
                return error
        return None


UNDISTURBED = Training(shim)
UNDISTURBED.train(4)


@pytest.mark.parametrize("name", CASES)
def test_errors(name):
    errors = []
    for module in (torch, shim):
        training = Training(module)
        training.train(2)
        errors.append(training.disturb(CASES[name]))
        assert module.is_grad_enabled() and not module.is_inference_mode_enabled()
        training.train(2)
        for ours, undisturbed in zip(training.numbers(), UNDISTURBED.numbers()):
            np.testing.assert_allclose(ours, undisturbed, rtol=0 if module is shim else 1e-12)
    theirs, ours = errors
    assert theirs is not None, "PyTorch raises nothing"
    assert ours is not None, f"nothing raised instead of {theirs!r}"
    assert type(ours) is type(theirs), (ours, theirs)
    if name not in OTHER_WORDS:
        assert str(ours).split("\n")[0].strip() == str(theirs).split("\n")[0].strip()
