"""Graphs, hooks, `torch.func`, and what tensors share, in `functrans.torch` and PyTorch: the same code gives the same.

Each case is code in ``t``, the module; what it appends to `log` is compared.
"""

import textwrap
import warnings

import numpy as np
import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = pytest.mark.peers

HOOKS = {
    "order": """
        y = x * 2
        x.register_hook(lambda g: log.append("leaf"))
        y.register_hook(lambda g: log.append("first"))
        y.retain_grad()
        y.register_hook(lambda g: log.append("second") or g * 2)
        y.grad_fn.register_prehook(lambda g: log.append("before"))
        y.grad_fn.register_hook(lambda a, b: log.append("after"))
        x.register_hook(lambda g: log.append("leaf again"))
        x.register_post_accumulate_grad_hook(lambda p: log.append(p.grad))
        (y * y).sum().backward()
        log += [y.grad, x.grad]
    """,
    "of the node of a leaf": """
        node = (x * 2).grad_fn.next_functions[0][0]
        node.register_prehook(lambda g: log.append("before"))
        node.register_hook(lambda a, b: log.append(("after", a, b[0])))
        x.register_hook(lambda g: log.append("leaf"))
        x.register_post_accumulate_grad_hook(lambda p: log.append("accumulated"))
        (x * 2).sum().backward()
        t.autograd.grad((x * 2).sum(), x)
        (x * 2).sum().backward(inputs=[x])
    """,
    "captured, and passed by": "y = x * 2; y.register_hook(lambda g: g * 3); log += t.autograd.grad((y * y).sum(), [y, x])",
    "captured at the end": "y = x * 2; y.register_hook(lambda g: g * 3); log += t.autograd.grad((y * y).sum(), [y])",
    "captured, node": "y = x * 2; y.grad_fn.register_prehook(lambda g: (g[0] * 5,)); log += t.autograd.grad((y * y).sum(), [y, x])",
    "captured leaf": "x.register_hook(lambda g: g * 3); log += t.autograd.grad((x * x).sum(), [x])",
    "inputs of backward": """
        y = x * 2
        y.register_hook(lambda g: g * 3)
        (y * y).sum().backward(inputs=[y, x])
        log += [y.grad, x.grad]
    """,
    "before a write": """
        y = x * 2
        y.register_hook(lambda g: log.append(("before", g)))
        y.mul_(3)
        y.register_hook(lambda g: log.append(("after", g)))
        y.sum().backward()
    """,
    "retained before a write": "y = x * 2; y.retain_grad(); y.mul_(3); y.sum().backward(); log += [y.grad, y.retains_grad]",
    "of several tensors": """
        a, b = t.ones(2, requires_grad=True), t.ones(2, requires_grad=True)
        c, d = a * b, a * b
        t.autograd.graph.register_multi_grad_hook((a, b, c, d), lambda gs: log.append([g is not None for g in gs]))
        handle = t.autograd.graph.register_multi_grad_hook((a, b, c), lambda g: log.append(g), mode="any")
        c.sum().backward(retain_graph=True)
        c.sum().backward(inputs=(a,), retain_graph=True)
        handle.remove()
        (c + d).sum().backward()
    """,
    "handles": "with x.register_hook(lambda g: log.append(1)): x.sum().backward()\nx.sum().backward()",
    "edges": """
        y = x * 3
        inner, leaf = t.autograd.graph.get_gradient_edge(y), t.autograd.graph.get_gradient_edge(x)
        log += t.autograd.grad((y * y).sum(), [inner, leaf])
        t.autograd.backward([t.autograd.graph.get_gradient_edge(x * 3)], [t.ones(2, dtype=t.float64)])
        log += [inner.node.name(), inner.output_nr, leaf.node.name(), x.grad]
    """,
    "metadata": "y = x * 2; y.grad_fn.metadata['a'] = 1; log += [y.grad_fn.metadata['a'], isinstance(y.grad_fn, t.autograd.graph.Node)]",
    "versions": "y = x * 1; t.autograd.graph.increment_version(y); log.append(y._version)",
    "saved on the cpu": "with t.autograd.graph.save_on_cpu(): y = (x.exp() * x).sum()\ny.backward(); log.append(x.grad)",
    "saved": """
        with t.autograd.graph.saved_tensors_hooks(lambda v: log.append(tuple(v.shape)) or v, lambda v: log.append("asked") or v):
            y = (x * x).exp()
        y.sum().backward()
    """,
    "modes in threads": """
        import threading
        def look(): log.append((t.is_grad_enabled(), t.is_inference_mode_enabled()))
        with t.no_grad(), t.inference_mode():
            thread = threading.Thread(target=look); thread.start(); thread.join(); look()
    """,
    "gradients with a history": """
        x = t.tensor([-1.0, 2.0], dtype=t.float64, requires_grad=True)
        linear = (t.relu, t.abs, lambda x: x.clamp(0, 1), lambda x: x.max(), t.nn.functional.leaky_relu, lambda x: x * 2, lambda x: x.sum())
        for f in linear:
            (g,) = t.autograd.grad(f(x).sum(), x, create_graph=True)
            log.append(g.requires_grad)
            if g.requires_grad:
                log.append(t.autograd.grad(g.sum(), x))
    """,
}

FUNC = {
    "grad": "log += [t.func.grad(f)(c), t.func.grad(f)(x)]",
    "grad of two arguments": "log += [*t.func.grad(lambda a, b: (a * b.sin()).sum(), argnums=(0, 1))(c, c)]",
    "grad with aux": "log += [*t.func.grad(lambda a: (f(a), {'a': a * 2}), has_aux=True)(c)]",
    "grad_and_value": "log += [*t.func.grad_and_value(f)(c)]",
    "grad of a tree": "log.append(t.func.grad(lambda p: f(p['a'][0]) * p['b'])({'a': [c], 'b': t.tensor(2.0, dtype=t.float64)}))",
    "grad with keywords": "log.append(t.func.grad(lambda a, *, k: f(a * k))(c, k=c))",
    "vjp": "v, pull = t.func.vjp(lambda a: a.sin(), c); log += [v, pull(c)]",
    "vjp of two results": "v, pull = t.func.vjp(lambda a, b: (a * b, a), c, c); log += [*v, *pull((c, c))]",
    "vjp with aux": "v, pull, aux = t.func.vjp(lambda a: (a.sin(), a), c, has_aux=True); log += [v, aux, pull(c)]",
    "jvp": "log += [*t.func.jvp(f, (c,), (c,))]",
    "jvp with aux": "log += [*t.func.jvp(lambda a: (a * 2, a), (c,), (c,), has_aux=True)]",
    "linearize": "v, push = t.func.linearize(f, c); log += [v, push(c)]",
    "jacrev": "log.append(t.func.jacrev(lambda a: a * a.sum())(c))",
    "jacrev in chunks": "log.append(t.func.jacrev(lambda a: a * a.sum(), chunk_size=1)(c))",
    "jacrev of two": "log += [*t.func.jacrev(lambda a, b: a * b.sum(), argnums=(0, 1))(c, c)]",
    "jacrev of a tree": "log.append(t.func.jacrev(lambda a: {'p': a * 2, 'q': (a.sum(),)})(c))",
    "jacfwd": "log.append(t.func.jacfwd(lambda a: a * a.sum())(c))",
    "jacfwd with aux": "log += [*t.func.jacfwd(lambda a: (a * 2, a), has_aux=True)(c)]",
    "hessian": "log.append(t.func.hessian(f)(c))",
    "third derivative": "log.append(t.func.jacfwd(t.func.hessian(f))(c))",
    "vmap": "log.append(t.vmap(f)(m))",
    "vmap of axes": "log.append(t.vmap(lambda a, b: a + b, in_dims=(1, None), out_dims=1)(m, m[:, 0]))",
    "vmap of a tree": "log.append(t.vmap(lambda d: d['a'] * d['b'], in_dims=({'a': 0, 'b': None},))({'a': m, 'b': c}))",
    "vmap of out_dims": "log.append(t.vmap(lambda a: (a, a.sum()), out_dims=(1, 0))(m))",
    "vmap in chunks": "log.append(t.vmap(lambda a: a.cumsum(0), chunk_size=2)(m))",
    "vmap of a negative axis": "log.append(t.vmap(lambda a: a.sum(), in_dims=-1)(m))",
    "vmap of a constant": "log.append(t.vmap(lambda a: t.ones(2))(m))",
    "vmap of a number": "log.append(t.vmap(lambda a, k: a * k, in_dims=(0, None))(m, 2.0))",
    "vmap of vmap": "log.append(t.vmap(t.vmap(lambda a, b: a * b, in_dims=(None, 0)), in_dims=(0, None))(c, c))",
    "vmap of writes": "log.append(t.vmap(lambda a: a.clone().mul_(2).add_(a))(m)); w = m.clone(); t.vmap(lambda a: a.mul_(3))(w); log.append(w)",
    "vmap of grad": "log.append(t.vmap(t.func.grad(f))(m))",
    "grad of vmap": "log.append(t.func.grad(lambda m: t.vmap(f)(m).sum())(m))",
    "vmap of jvp": "log += [*t.vmap(lambda a: t.func.jvp(f, (a,), (a,)))(m)]",
    "history": "t.func.grad(lambda a: (a * x).sin().sum())(c).sum().backward(); log.append(x.grad)",
    "no history in no_grad": "with t.no_grad(): g = t.func.grad(lambda a: (a * x).sin().sum())(x)\nlog += [g.requires_grad, g]",
    "no_grad inside": """
        def g(a):
            with t.no_grad(): b = a * a
            return (b * a).sum()
        log += [t.func.grad(g)(c), t.func.hessian(g)(c)]
    """,
    "no_grad inside, and a history": """
        def g(a):
            with t.no_grad(): b = a * x
            return (b * a * x).sum()
        t.func.grad(g)(c).sum().backward()
        log.append(x.grad)
    """,
    "detach inside": "log.append(t.func.grad(lambda a: (a.detach() * a).sum())(c))",
    "writes through views": """
        def g(a):
            b = a * 1
            b[1:].mul_(3)
            b.view(-1)[0] = a[1]
            return (b ** 2).sum()
        log += [t.func.grad(g)(c), t.func.hessian(g)(c), t.vmap(t.func.grad(g))(m)]
    """,
    "writes into arguments": """
        def g(a):
            with t.no_grad(): a.mul_(3)
            return (a * a).sum()
        w = c.clone()
        log += [t.func.grad(g)(w), w]
    """,
    "detach, twice": "log.append(t.func.hessian(lambda a: (a.detach() * a * a).sum())(c))",
    "no_grad, twice in reverse": """
        def g(a):
            with t.no_grad(): b = a * a
            return (b * a).sum()
        log.append(t.func.jacrev(t.func.grad(g))(c))
        log.append(t.vmap(t.func.jacrev(t.func.grad(g)))(m))
        log.append(t.func.grad(lambda m: t.vmap(g)(m).sum())(m))
    """,
    "functional_call": """
        layer = t.nn.Linear(2, 1).double()
        given = {'weight': m[:1], 'bias': c[:1]}
        log += [t.func.functional_call(layer, given, (m,)), t.func.functional_call(layer, given, m)]
        log.append(t.func.grad(lambda p: t.func.functional_call(layer, p, (m,)).pow(2).sum())(given))
        log.append(t.vmap(t.func.grad(lambda p, a: t.func.functional_call(layer, p, (a,)).sum()), in_dims=(None, 0))(given, m))
    """,
    "batch normalisation": """
        layers = [t.nn.BatchNorm1d(2).double() for _ in range(3)]
        parameters, buffers = t.func.stack_module_state(layers)
        call = lambda p, b, a: t.func.functional_call(layers[0], (p, b), (a,))
        log.append(t.vmap(call, in_dims=(0, 0, None), randomness="different")(parameters, buffers, m))
        log.append({name: each for name, each in buffers.items()})
    """,
    "batched gradients": """
        y = x.sin() * x.sum()
        rows = t.eye(2, dtype=t.float64)
        log += t.autograd.grad(y, x, rows, is_grads_batched=True, retain_graph=True)
        (j,) = t.autograd.grad(y, x, rows, is_grads_batched=True, create_graph=True)
        log += [j.requires_grad, *t.autograd.grad(j.sum(), x, retain_graph=True)]
        log += t.autograd.grad([y * 2, x.sum() * x], [x], [rows, rows], is_grads_batched=True)
    """,
    "jacobian at once": """
        of = t.autograd.functional
        g = lambda a, b: (a * b.sum(), a[0].sin())
        log += [of.jacobian(g, (c, c), vectorize=True), of.jacobian(g, (c, c)), of.jacobian(lambda a: a * a.sum(), c, vectorize=True)]
        log += [of.jacobian(lambda a: a * a.sum(), c, vectorize=True, strategy="forward-mode"), of.hessian(f, c, vectorize=True)]
        log += [of.hessian(f, c, vectorize=True, outer_jacobian_strategy="forward-mode")]
        (j,) = of.jacobian(lambda a: a * a * x.sum(), (x,), create_graph=True, vectorize=True)
        log += t.autograd.grad(j.sum(), x)
    """,
    "gradcheck of batches": "log.append(t.autograd.gradcheck(lambda a: a.sin() * a.sum(), (x,), check_batched_grad=True, check_forward_ad=True))",
    "gradgradcheck of batches": "log.append(t.autograd.gradgradcheck(lambda a: a.sin() * a.sum(), (x,), check_batched_grad=True))",
    "functionalize": "log.append(t.func.functionalize(lambda a: a.clone().add_(1))(c))",
    "without batch statistics": "log.append(t.func.replace_all_batch_norm_modules_(t.nn.Sequential(t.nn.BatchNorm1d(2)))[0].running_mean)",
}


DETAILS = {
    "overwritten by constants": """
        for write in (lambda y: y.zero_(), lambda y: y.fill_(2.0), lambda y: y.copy_(c), lambda y: y.bernoulli_(0.5), lambda y: y.normal_(),
                      lambda y: y.copy_(m.requires_grad_()[1] * 2), lambda y: y[:1].zero_()):
            x.grad, y = None, x * 1
            write(y)
            log.append(y.grad_fn.name())
            y.sum().backward()
            log += [x.grad, y._version]
        log += [node is None for node, _ in y.copy_(m[0] * 2).grad_fn.next_functions]
    """,
    "optimisers move by zeros": """
        p = t.nn.Parameter(c)
        step = t.optim.SGD([p], 0.1, weight_decay=0.5)
        (p * 1).zero_().sum().backward()
        step.step()
        log.append(p)
    """,
    "derivatives at 0": """
        z = t.zeros(2, dtype=t.float64, requires_grad=True)
        F = t.nn.functional
        for f in (F.elu, F.selu, F.celu, lambda z: F.elu(z, 0.3), lambda z: F.celu(z, 2.0), F.silu, F.gelu, F.softplus, F.mish, F.softsign,
                  F.hardtanh, F.leaky_relu, F.logsigmoid, F.softshrink, F.tanhshrink, F.hardswish, F.relu6):
            log += t.autograd.grad(f(z).sum(), z)
    """,
    "derivatives at the origin, and results written into": """
        z = t.zeros(2, dtype=t.float64, requires_grad=True)
        for f in (lambda z: t.atan2(z, z), lambda z: t.atan2(z * 1, z * 2), lambda z: t.atan2(z, z + 1), lambda z: z.abs()):
            (g,) = t.autograd.grad(f(z).sum(), z, create_graph=True)
            log.append(g)
        for f in (lambda y: y.abs(), lambda y: (y + 1j).abs(), lambda y: y.sin(), lambda y: y.square(), lambda y: y.cos()):
            log += t.autograd.grad(f(x * 1).add_(1).sum(), x)
    """,
    "nodes of sums": """
        for y in (m.requires_grad_().sum(), m.sum(1), m.sum(1, keepdim=True), m.mean(), m.mean((0, 1), True), m.mean(0), m.prod(), m.prod(0),
                  m.prod(0, True), m.exp().log1p(), t.take_along_dim(m, m.argsort(0), 0)):
            log += [y.grad_fn.name(), tuple(y.shape), y._is_view()]
            (g,) = t.autograd.grad((y * y).sum(), m, create_graph=True)
            log += [g, *t.autograd.grad((g * g.detach()).sum(), m)]
    """,
    "hooks of modules": """
        module = t.nn.Linear(2, 2).double()
        with t.no_grad(): module.weight.copy_(m[:2]); module.bias.copy_(c)
        module.register_full_backward_pre_hook(lambda own, gs: log.append(("before", gs)))
        module.register_full_backward_hook(lambda own, inner, outer: log.append(("backward", inner, outer)))
        module.register_forward_hook(lambda own, args, out: log.append(out.grad_fn.name()) or out * 2)
        module(x[None]).sum().backward()
        log += [x.grad, module.bias.grad]
    """,
    "hooks that are always called": """
        module = t.nn.Linear(2, 2).double()
        module.register_forward_hook(lambda *seen: log.append(("always", seen[2] is None)), always_call=True)
        handle = module.register_forward_hook(lambda *seen: log.append(1 / 0))
        for argument in (x, t.ones(5, dtype=t.float64)):
            try: module(argument)
            except (RuntimeError, ZeroDivisionError) as error: log.append(type(error).__name__)
        handle.remove()
        module(x)
    """,
    "deep copies": """
        import copy
        a = t.arange(6.0)
        a, b, d, e, same = copy.deepcopy([a, a[1:], a.view(2, 3).t(), a.detach(), a])
        a[2] = 50.0
        log += [a, b, d, e, same is a, d.stride(), b._version, b._is_view(), copy.deepcopy(m.t()).stride()]
    """,
    "strides": """
        for view in (m[None], m[..., None], m[None, :, None], m[:1].expand(4, 2), m[None].expand(1, 3, 2), m.unsqueeze(1), m[:, :1].t()):
            log += [view.stride(), view.is_contiguous()]
        for made in (t.zeros_like(m.t()), t.ones_like(m.t(), memory_format=t.contiguous_format), t.empty_like(m.t()), t.full_like(m, 2.0)):
            log.append(made.stride())
    """,
    "settings": """
        log += [t.Generator().device.type, t.default_generator.device.type, t.is_anomaly_enabled()]
        with t.autograd.detect_anomaly(check_nan=False): log += [t.is_anomaly_enabled(), t.is_anomaly_check_nan_enabled()]
        with t.device("cpu"): log.append(t.zeros(2))
        log += [t.normal(c, 0.0), str(t.normal(t.zeros(2), 1.0).dtype), str(t.normal(0.0, 1.0, (2,), dtype=t.float64).dtype)]
        log.append(t.utils.dlpack.from_dlpack(c.detach()))
    """,
    "arguments by their other names": """
        t.autograd.backward([x * 2], grad_variables=[c])
        log.append(x.grad)
        out = t.empty(3, 2, dtype=t.float64)
        log += [t.nn.functional.normalize(m, out=out) is out, out]
    """,
    "what modules print": """
        for module in (t.nn.ParameterDict({"a": t.ones(2), "b": c}), t.nn.ParameterList([t.ones(2), c])):
            log.append(repr(module).split())
        log.append(repr(t.nn.Embedding(5, 2, 1, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=True)))
    """,
}


def plain(value):
    """What was logged, without tensors."""
    if hasattr(value, "detach"):
        return "array", value.detach().numpy(force=True).copy()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def agree(ours, theirs):
    if isinstance(theirs, list):
        if len(theirs) == 2 and isinstance(theirs[0], str) and theirs[0] == "array":
            np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-9, atol=1e-12)
            assert ours[1].dtype == theirs[1].dtype
            return
        assert len(ours) == len(theirs), (ours, theirs)
        for a, b in zip(ours, theirs):
            agree(a, b)
    elif isinstance(theirs, tuple):
        agree(list(ours), list(theirs))
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name in theirs:
            agree(ours[name], theirs[name])
    else:
        assert ours == theirs


def logged(module, code):
    x = module.tensor([0.5, 1.5], dtype=module.float64, requires_grad=True)
    m = module.tensor([[0.3, 1.0], [-0.4, 0.2], [2.0, 0.7]], dtype=module.float64)
    space = {"t": module, "x": x, "c": m[0].clone(), "m": m, "log": []}
    space["f"] = lambda a: (a.sin() * a.exp().sum()).sum()
    module.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(textwrap.dedent(code), "<case>", "exec"), space)
    return [plain(each) for each in space["log"]]


@pytest.mark.parametrize("name", [*HOOKS, *FUNC, *DETAILS])
def test_the_same_is_logged(name):
    code = {**HOOKS, **FUNC, **DETAILS}[name]
    theirs = logged(torch, code)
    assert theirs
    agree(logged(shim, code), theirs)


# Names along the graph of a first derivative, where its structure agrees.
NAMES = """
x**3 x*x x*y y/x x.exp() x.sin() x.cos() x.exp()*x (x+y)**2 (x-y)*x -x*x x.clamp(0,1)*x t.where(x>1,x*x,x) x.sum()**2 x.square()
x.view(2,1)**2 x.reciprocal() x.cumsum(0)**2 t.cat([x,y])**2 x**2.5
""".split()


@pytest.mark.parametrize("case", NAMES)
def test_names_in_the_graph_of_a_derivative(case):
    seen = []
    for module in (torch, shim):
        x, y = [module.tensor(data, dtype=module.float64, requires_grad=True) for data in ([0.5, 1.5], [0.3, 0.7])]
        (g,) = module.autograd.grad(eval(case, {"t": module, "x": x, "y": y}).sum(), x, create_graph=True)
        names = [None if node is None else node.name() for node, _ in g.grad_fn.next_functions]
        seen.append([g.grad_fn.name(), *names])
    assert seen[0] == seen[1]
