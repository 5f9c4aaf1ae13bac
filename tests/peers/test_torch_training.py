"""Small models trained step by step in the shim and in PyTorch, in float64: the same losses to 1e-10."""

import numpy as np
import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

SOURCE = np.random.Generator(np.random.PCG64(8))
IMAGES, DIGITS = SOURCE.uniform(0, 1, (4, 1, 6, 6)), SOURCE.integers(0, 4, 4)
SERIES, NEXT = SOURCE.uniform(-1, 1, (6, 4, 3)), SOURCE.uniform(-1, 1, (4, 2))
WORDS, KINDS = SOURCE.integers(0, 11, (4, 7)), SOURCE.integers(0, 3, 4)
SCORES = SOURCE.integers(1, 5, (4, 3))


def convolutional(t):
    n = t.nn
    layers = [
        n.Conv2d(1, 4, 3, padding=1), n.BatchNorm2d(4), n.ReLU(), n.MaxPool2d(2), n.Conv2d(4, 6, 3, groups=2), n.GELU(), n.AdaptiveAvgPool2d(1),
        n.Flatten(), n.Linear(6, 4),
    ]  # fmt: skip
    model = n.Sequential(*layers)
    return model, lambda: n.functional.cross_entropy(model(t.tensor(IMAGES)), t.tensor(DIGITS))


def residual(t):
    n = t.nn

    class Block(n.Module):
        def __init__(self):
            super().__init__()
            self.first = n.utils.parametrizations.weight_norm(n.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"))
            self.norm = n.GroupNorm(1, 2)
            self.slope = n.PReLU(2)

        def forward(self, x):
            return x + self.slope(self.norm(self.first(x)))

    model = n.Sequential(n.ConvTranspose2d(1, 2, 2, 2), Block(), Block(), n.AvgPool2d(2, 2, 1), n.Upsample(scale_factor=2, mode="bilinear"), n.Flatten(), n.LazyLinear(4))
    model.double()
    return model, lambda: n.functional.cross_entropy(model(t.tensor(IMAGES)), t.tensor(DIGITS), label_smoothing=0.1)


def recurrent(t):
    n = t.nn

    class Model(n.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = n.LSTM(3, 5, 2, bidirectional=True), n.Linear(10, 2)

        def forward(self, x):
            states, _ = self.lstm(x)
            return self.out(states[-1])

    model = Model()
    return model, lambda: n.functional.smooth_l1_loss(model(t.tensor(SERIES)), t.tensor(NEXT))


def packed(t):
    n = t.nn

    class Model(n.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.out = n.GRU(3, 4, batch_first=True), n.Linear(4, 2)

        def forward(self, x):
            _, last = self.gru(n.utils.rnn.pack_padded_sequence(x, [6, 2, 5, 3], batch_first=True, enforce_sorted=False))
            return self.out(last[-1])

    model = Model()
    return model, lambda: n.functional.mse_loss(model(t.tensor(SERIES).transpose(0, 1)), t.tensor(NEXT))


def encoder(t):
    n = t.nn

    class Model(n.Module):
        def __init__(self):
            super().__init__()
            self.words = n.Embedding(11, 8, padding_idx=0)
            layer = n.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
            self.encoder, self.out = n.TransformerEncoder(layer, 2, n.LayerNorm(8)), n.Linear(8, 3)

        def forward(self, x):
            return self.out(self.encoder(self.words(x), src_key_padding_mask=x == 0).mean(1))

    model = Model()
    return model, lambda: n.functional.cross_entropy(model(t.tensor(WORDS)), t.tensor(KINDS))


def translator(t):
    n = t.nn
    model = n.ModuleDict({"words": n.Embedding(11, 8), "transformer": n.Transformer(8, 2, 1, 1, 12, 0.0, "gelu", batch_first=True), "out": n.Linear(8, 5)})
    mask = n.Transformer.generate_square_subsequent_mask(3)

    def loss():
        source, target = model["words"](t.tensor(WORDS)), model["words"](t.tensor(SCORES))
        scores = model["out"](model["transformer"](source, target, tgt_mask=mask))
        return n.functional.nll_loss(n.functional.log_softmax(scores, -1).transpose(1, 2), t.tensor(SCORES))

    return model, loss


def aligned(t):
    n = t.nn
    model = n.Sequential(n.Conv1d(3, 5, 3, padding=1), n.Tanh(), n.Conv1d(5, 5, 1))

    def loss():
        scores = model(t.tensor(SERIES).permute(1, 2, 0)).permute(2, 0, 1)
        return n.functional.ctc_loss(scores.log_softmax(-1), t.tensor(SCORES), [6, 6, 5, 6], [3, 2, 2, 1])

    return model, loss


MODELS = [convolutional, residual, recurrent, packed, encoder, translator, aligned]
OPTIMIZERS = {
    "momentum": "SGD(p, 0.05, momentum=0.9, weight_decay=1e-3)",
    "adam": "Adam(p, 0.01)",
    "adamw": "AdamW(p, 0.01, amsgrad=True)",
    "lbfgs": "LBFGS(p, lr=0.5, max_iter=1, history_size=5, line_search_fn='strong_wolfe')",
}


def losses(t, make, expression, steps=20):
    model, loss = make(t)
    model.double()
    loss()  # layers that are lazy find their sizes
    source = np.random.Generator(np.random.PCG64(4))
    with t.no_grad():
        for parameter in model.parameters():
            parameter.copy_(t.tensor(source.uniform(-0.5, 0.5, tuple(parameter.shape))))
    optimizer = eval(f"t.optim.{expression}", {"t": t, "p": model.parameters()})
    schedule = t.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    found = []

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        t.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        return value

    for _ in range(steps):
        found.append(optimizer.step(closure).item())
        schedule.step()
    return np.array(found)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """PyTorch's threads wait for each other where processors are busy: a hundredfold, with arrays as small as these."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_losses_are_the_same(make, optimizer):
    own, peer = losses(shim, make, OPTIMIZERS[optimizer]), losses(torch, make, OPTIMIZERS[optimizer])
    assert peer[-1] < peer[0]
    np.testing.assert_allclose(own, peer, rtol=1e-10, atol=1e-10)
