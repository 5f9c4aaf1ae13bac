"""Every line of code of the introduction to autograd that the shim follows, with what it prints, under the shim and PyTorch."""

import contextlib
import io
import re
import textwrap
import warnings

import pytest

SNIPPETS = {
    "a first graph": """
        import torch
        x = torch.tensor(2.0, requires_grad=True)
        y = x ** 2 + 3 * x
        print(y)                    # tensor(10., grad_fn=<AddBackward0>)
        print(y.requires_grad)      # True
        print(y.grad_fn)            # <AddBackward0 object at 0x>
        y.backward()
        print(x.grad)               # tensor(7.)
    """,
    "leaves": """
        x = torch.tensor(2.0, requires_grad=True)
        w = torch.tensor(3.0, requires_grad=True)
        y = w * x
        print(x.is_leaf)            # True
        print(w.is_leaf)            # True
        print(y.is_leaf)            # False
        y.backward()
        print(x.grad)               # tensor(3.)
        print(w.grad)               # tensor(2.)
        print(y.grad)               # None
    """,
    "retain_grad": """
        x = torch.tensor(2.0, requires_grad=True)
        a = x ** 2
        a.retain_grad()
        y = 3 * a
        y.backward()
        print(a.grad)               # tensor(3.)
    """,
    "the dynamic graph": """
        x = torch.tensor(2.0, requires_grad=True)
        if x.item() > 0:
            y = x ** 2
        else:
            y = -x
        y.backward()
        print(x.grad)               # tensor(4.)
    """,
    "names of nodes": """
        x = torch.tensor(2.0, requires_grad=True)
        a = x + 1
        b = a ** 2
        c = b.mean()
        print(a.grad_fn)            # <AddBackward0 object at 0x>
        print(b.grad_fn)            # <PowBackward0 object at 0x>
        print(c.grad_fn)            # <MeanBackward0 object at 0x>
    """,
    "accumulation": """
        x = torch.tensor(2.0, requires_grad=True)
        y1 = x ** 2
        y1.backward()
        print(x.grad)               # tensor(4.)
        y2 = 3 * x
        y2.backward()
        print(x.grad)               # tensor(7.)
    """,
    "detach": """
        x = torch.tensor(2.0, requires_grad=True)
        y = x ** 2
        z = y.detach()
        print(y.requires_grad)      # True
        print(z.requires_grad)      # False
        loss = 3 * z
        print(loss.requires_grad)   # False
    """,
    "backward": """
        x = torch.tensor(2.0, requires_grad=True)
        y = x ** 3
        y.backward()
        print(x.grad)               # tensor(12.)
    """,
    "autograd.grad": """
        x = torch.tensor(2.0, requires_grad=True)
        y = x ** 3
        grad_x = torch.autograd.grad(y, x)[0]
        print(grad_x)               # tensor(12.)
        print(x.grad)               # None
    """,
    "derivatives of derivatives": """
        x = torch.tensor(2.0, requires_grad=True)
        y = x ** 3
        dy_dx = torch.autograd.grad(y, x, create_graph=True)[0]
        d2y_dx2 = torch.autograd.grad(dy_dx, x)[0]
        print(dy_dx)                # tensor(12., grad_fn=<MulBackward0>)
        print(d2y_dx2)              # tensor(12.)
    """,
    "a function of one's own": """
        import torch
        class Square(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x ** 2
            @staticmethod
            def backward(ctx, grad_output):
                (x,) = ctx.saved_tensors
                grad_x = grad_output * 2 * x
                return grad_x
        x = torch.tensor(3.0, requires_grad=True)
        y = Square.apply(x)
        y.backward()
        print(x.grad)               # tensor(6.)
    """,
    "gradcheck": """
        import torch
        from torch.autograd import gradcheck
        class Square(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x ** 2
            @staticmethod
            def backward(ctx, grad_output):
                (x,) = ctx.saved_tensors
                return grad_output * 2 * x
        x = torch.randn(3, dtype=torch.double, requires_grad=True)
        test = gradcheck(Square.apply, (x,))
        print(test)                 # True
    """,
    "in place": """
        x = torch.randn(4, requires_grad=True)
        y = x ** 2
        try:
            x.add_(1.0)
        except RuntimeError as error:
            print(str(error).splitlines()[0])  # a leaf Variable that requires grad is being used in an in-place operation.
        loss = y.sum()
        loss.backward()
        print(torch.equal(x.grad, 2 * x.detach()))  # True
        x2 = x + 1.0
    """,
    "in place, saved": """
        x = torch.randn(4, requires_grad=True) * 1
        y = x ** 2
        x.add_(1.0)
        loss = y.sum()
        try:
            loss.backward()
        except RuntimeError as error:
            print(str(error)[:103])  # one of the variables needed for gradient computation has been modified by an inplace operation: [torch.
    """,
    "in place methods": """
        x = torch.tensor([-1.0, 2.0])
        x.add_(1)
        x.relu_()
        print(x)                    # tensor([0., 3.])
    """,
    "views": """
        x = torch.arange(6.0, requires_grad=True)
        y = x.view(2, 3)
        print(y)                    # tensor([[0., 1., 2.],\\n        [3., 4., 5.]], grad_fn=<ViewBackward0>)
    """,
    "contiguity": """
        x = torch.randn(2, 3, 4)
        y = x.permute(0, 2, 1)
        print(y.is_contiguous())    # False
        z = y.contiguous()
        print(z.is_contiguous())    # True
    """,
    "no graph": """
        x = torch.tensor(2.0)
        y = x ** 2
        try:
            y.backward()
        except RuntimeError as error:
            print(str(error).splitlines()[0])  # element 0 of tensors does not require grad and does not have a grad_fn
        x = torch.tensor(2.0, requires_grad=True)
    """,
    "the graph is freed": """
        x = torch.tensor(2.0, requires_grad=True)
        y = x ** 2
        y.backward()
        try:
            y.backward()
        except RuntimeError as error:
            print(str(error)[:54])  # Trying to backward through the graph a second time (or
        y = x ** 2
        y.backward(retain_graph=True)
        y.backward(retain_graph=True)
        print(x.grad)               # tensor(12.)
    """,
    "modules": """
        import torch
        import torch.nn as nn
        layer = nn.Linear(3, 4)
        print(layer.weight.requires_grad)  # True
        print(layer.bias.requires_grad)    # True
        X = torch.randn(8, 3)
        Y = layer(X)
        loss = Y.sum()
        loss.backward()
        print(layer.weight.grad.shape)     # torch.Size([4, 3])
        print(layer.bias.grad.shape)       # torch.Size([4])
        for param in layer.parameters():
            param.requires_grad = False
        print(layer(X).requires_grad)      # False
    """,
    "training": """
        import torch
        import torch.nn as nn
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        loss_fn = nn.MSELoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        dataloader = [(torch.randn(8, 3), torch.zeros(8, 1)) for _ in range(20)]
        losses = []
        for X, y in dataloader:
            pred = model(X)
            loss = loss_fn(pred, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        microbatches = dataloader[:4]
        compute_loss = lambda microbatch: loss_fn(model(microbatch[0]), microbatch[1])
        optimizer.zero_grad()
        for microbatch in microbatches:
            loss = compute_loss(microbatch)
            loss = loss / len(microbatches)
            loss.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            pred = model(X)
        print(pred.requires_grad)   # False
        with torch.inference_mode():
            pred = model(X)
        print(pred.requires_grad)   # False
        optimizer.zero_grad()
        for name, param in model.named_parameters():
            if param.grad is None:
                print(name, "has no gradient")  # 0.weight has no gradient\\n0.bias has no gradient\\n2.weight has no gradient\\n2.bias has no gradient
    """,
    "an accidental detach": """
        import torch
        import torch.nn as nn
        encoder, decoder, loss_fn = nn.Linear(3, 2), nn.Linear(2, 1), nn.MSELoss()
        x, target = torch.randn(4, 3), torch.zeros(4, 1)
        h = encoder(x)
        h = h.detach()
        out = decoder(h)
        loss = loss_fn(out, target)
        loss.backward()
        print(encoder.weight.grad, decoder.weight.grad.shape)  # None torch.Size([1, 2])
    """,
}

def expected(code):
    """What comments say is printed."""
    lines = [re.search(r"print\(.*#\s(.*)$", line) for line in code.splitlines()]
    return [part for match in lines if match for part in match[1].strip().replace("\\n", "\n").split("\n")]


def run(code, module):
    source = textwrap.dedent(code)
    if module != "torch":
        source = re.sub(r"^import torch$", f"import {module} as torch", source, flags=re.M)
        source = re.sub(r"^import torch\.nn as", f"import {module}.nn as", source, flags=re.M)
        source = re.sub(r"^from torch", f"from {module}", source, flags=re.M)
    if "import" not in source.split("\n")[1]:
        source = f"import {module} as torch\n{source}"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
        exec(compile(source, "<snippet>", "exec"), {})
    return re.sub(r"0x[0-9a-f]+", "0x", printed.getvalue()).splitlines()


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippet(name):
    assert run(SNIPPETS[name], "functrans.torch") == expected(SNIPPETS[name])


@pytest.mark.peers
@pytest.mark.parametrize("name", SNIPPETS)
def test_snippet_under_pytorch(name):
    pytest.importorskip("torch", reason="needs the peers extra")
    assert run(SNIPPETS[name], "torch") == expected(SNIPPETS[name])
