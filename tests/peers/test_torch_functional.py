"""`nn.functional` and `nn.utils` of the shim against PyTorch: values, gradients, second derivatives, errors, names.

Each case is an expression in ``t``, ``F`` and the tensors of `ARRAYS`.
"""

import types
import warnings

import numpy as np
import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

SOURCE = np.random.Generator(np.random.PCG64(5))
ARRAYS = {
    "a": SOURCE.uniform(-2, 2, (4, 6)),
    "s": SOURCE.uniform(-2, 2, (2, 4, 7)),
    "i": SOURCE.uniform(-2, 2, (2, 4, 6, 5)),
    "v": SOURCE.uniform(-2, 2, (2, 2, 4, 3, 4)),
    "g": SOURCE.uniform(-1.3, 1.3, (2, 3, 4, 2)),
    "h": SOURCE.uniform(-1.3, 1.3, (2, 3, 2, 2, 3)),
    "m": SOURCE.uniform(-1, 1, (2, 2, 3)),
    "n": SOURCE.uniform(-1, 1, (2, 3, 4)),
    "r": SOURCE.uniform(-2, 2, (7, 3, 5)),
    "w": SOURCE.uniform(-2, 2, (5, 3)),
    "u": SOURCE.uniform(-1, 1, (9,)),
    "c": SOURCE.uniform(-1, 1, (5, 2, 4)),
    "k": SOURCE.uniform(-1, 1, (3, 4, 2)),
    "b": SOURCE.uniform(-1, 1, (2,)),
    "x": SOURCE.uniform(-1, 1, (3, 6, 5)),
    "words": np.array([1, 0, 3, 3, 2, 1, 4, 2, 0]),
    "offsets": np.array([0, 2, 2, 5]),
    "labels": np.array([[1, 2, 2], [3, 1, 0], [4, 4, 0]]),
    "line": np.array([1, 2, 2, 3, 1, 4, 4]),
    "classes": np.array([0, 5, 2, 1]),
}
DIFFERENTIATED = "asivghmnrwuckbx"

CASES = """
F.interpolate(i, (9, 3), mode='bilinear', antialias=True) | F.interpolate(i, (3, 2), mode='bicubic', antialias=True)
F.interpolate(i, (3, 2), mode='bilinear', antialias=True, align_corners=True) | F.interpolate(s, size=[3]) | F.interpolate(i, (3, 8), mode='lanczos', antialias=True)
F.interpolate(v, scale_factor=(1.5, 2, 0.7), mode='trilinear', align_corners=True) | F.interpolate(i, (1, 1), mode='bilinear', align_corners=True)
F.upsample(i, scale_factor=2) | F.upsample_nearest(i, (7, 3)) | F.upsample_bilinear(i, (7, 3)) | F.interpolate(v, (5, 2, 4), mode='area')
F.grid_sample(i, g, align_corners=False) | F.grid_sample(i, g, align_corners=True) | F.grid_sample(i, g, 'bilinear', 'border', False)
F.grid_sample(i, g, 'bilinear', 'border', True) | F.grid_sample(i, g, 'bilinear', 'reflection', False) | F.grid_sample(i, g, 'bilinear', 'reflection', True)
F.grid_sample(i, g, 'nearest', 'zeros', False) | F.grid_sample(i, g, 'nearest', 'reflection', True) | F.grid_sample(i, g, 'bicubic', 'zeros', False)
F.grid_sample(i, g, 'bicubic', 'border', True) | F.grid_sample(i, g, 'bicubic', 'reflection', False) | F.grid_sample(v, h, align_corners=False)
F.grid_sample(v, h, 'bilinear', 'reflection', True) | F.grid_sample(v, h, 'nearest', 'border', False) | F.affine_grid(m, (2, 1, 4, 3), align_corners=False)
F.affine_grid(m, [2, 1, 3, 5], align_corners=True) | F.affine_grid(n, (2, 1, 2, 3, 4), align_corners=False) | F.affine_grid(m, [2, 1, 1, 3], False)
F.max_unpool1d(*F.max_pool1d(s, 2, return_indices=True), 2) | F.max_unpool2d(*F.max_pool2d(i, 2, return_indices=True), 2, output_size=(6, 5))
F.max_unpool3d(*F.max_pool3d(v, 2, return_indices=True), 2, output_size=(4, 3, 4)) | F.max_unpool2d(*F.max_pool2d(i[0], (3, 2), return_indices=True), (3, 2), output_size=(6, 5))
F.max_pool2d_with_indices(i, 2)[0] | F.adaptive_max_pool1d_with_indices(s, 3)[0] | F.adaptive_max_pool3d(v, 2) | F.lp_pool2d(i, 3.0, 2)
F.fold(F.unfold(i, 3, padding=1), (6, 5), 3, padding=1) | F.fold(s[:, :, :6], (3, 4), (2, 2)) | F.channel_shuffle(i, 4)
F.local_response_norm(s, 3) | F.local_response_norm(v, 2, 0.3, 0.5, 2.0) | F.conv_tbc(c, k, b, 1) | F.conv_tbc(c, k, b)
F.embedding_bag(words, w, offsets) | F.embedding_bag(words, w, offsets, mode='sum', per_sample_weights=u) | F.embedding_bag(words, w, offsets, mode='max')
F.embedding_bag(words, w, offsets, mode='mean', padding_idx=3) | F.embedding_bag(words, w, offsets, mode='sum', include_last_offset=True)
F.embedding_bag(words.reshape(3, 3), w, mode='max', padding_idx=1) | F.embedding_bag(words.reshape(3, 3), w, per_sample_weights=u.reshape(3, 3), mode='sum')
F.ctc_loss(F.log_softmax(r, -1), labels, [7, 6, 5], [3, 2, 2]) | F.ctc_loss(F.log_softmax(r, -1), line, (7, 7, 7), (3, 2, 2), reduction='sum')
F.ctc_loss(F.log_softmax(r, -1), labels, t.tensor([7, 6, 5]), t.tensor([3, 2, 0]), reduction='none') | F.ctc_loss(F.log_softmax(r[:, 0], -1), labels[0], (7,), (3,))
F.ctc_loss(F.log_softmax(r, -1), labels, [7, 2, 3], [3, 2, 2], zero_infinity=True) | F.ctc_loss(F.log_softmax(r, -1), labels - 1, [7, 6, 5], [3, 2, 2], blank=4)
F.linear_cross_entropy(a, a, classes[:4] % 4) | F.linear_cross_entropy(a, a, classes % 4, label_smoothing=0.1, linear_bias=a[:, 0], reduction='sum')
F.instance_norm(s) | F.instance_norm(s, t.zeros(4).double(), t.ones(4).double(), use_input_stats=False) | F.celu_(a * 1) | F.leaky_relu_(a * 1, 0.2) | F.hardtanh_(a * 1)
F.l1_loss(a, a * 2, weight=a * a) | F.mse_loss(a, a * 3, weight=a * a, reduction='sum') | F.huber_loss(a, a * 3, weight=a * a) | F.mse_loss(a, a * 2, size_average=False) | F.l1_loss(a, a * 2, reduce=False) | t.nn.SmoothL1Loss(False)(a, a * 3)
t.nn.HuberLoss('sum', 0.5)(a, a * 3) | t.nn.CrossEntropyLoss(None, False)(a, classes) | t.nn.MultiMarginLoss(2, 0.5, None, None, None, 'sum')(a, classes)
t.nn.KLDivLoss(None, None, 'batchmean', True)(a, a * 2) | t.nn.CTCLoss(4, 'sum', True)(F.log_softmax(r, -1), labels - 1, [7, 2, 5], [3, 2, 2])
t.nn.utils.rnn.pad_sequence([a, a[:2], a[1:]]) | t.nn.utils.rnn.pad_sequence([a[:, 0], a[0]], True, -1.5, 'left') | t.nn.utils.rnn.pack_sequence([a, a[:2]]).data
t.nn.utils.rnn.pack_padded_sequence(x, [3, 2, 2, 1, 1, 3], enforce_sorted=False).data | t.nn.utils.rnn.pack_padded_sequence(x, t.tensor([6, 5, 2]), True).data
t.nn.utils.rnn.pad_packed_sequence(t.nn.utils.rnn.pack_padded_sequence(x, [2, 6, 5], True, False), True, 7.5, 8)[0]
t.nn.utils.rnn.pad_packed_sequence(t.nn.utils.rnn.pack_sequence([a[:1], a], False))[0] | t.cat(t.nn.utils.rnn.unpad_sequence(x * 1, t.tensor([3, 2, 1, 1, 2, 3])))
t.cat(t.nn.utils.rnn.unpack_sequence(t.nn.utils.rnn.pack_sequence([a[:2], a, a[3:]], False))) | t.nn.utils.parameters_to_vector([a, w])
"""
CASES = [case.strip() for line in CASES.strip().splitlines() for case in line.split(" | ")]


def space(t):
    tensors = {name: t.tensor(value, requires_grad=name in DIFFERENTIATED) for name, value in ARRAYS.items()}
    return {"t": t, "F": t.nn.functional, **tensors}


def weighted(t, parts):
    return sum((part * t.cos(t.arange(part.numel(), dtype=t.float64)).reshape(part.shape)).sum() for part in parts)


def outcome(t, expression):
    """The value, first derivatives and second derivatives, None where there are none."""
    names = space(t)
    value = eval(expression, names)
    leaves = [leaf for leaf in names.values() if isinstance(leaf, t.Tensor) and leaf.requires_grad]
    first = t.autograd.grad(weighted(t, [value]), leaves, create_graph=True, allow_unused=True)
    second = [None] * len(leaves)
    onward = [each for each in first if each is not None and each.requires_grad]
    try:
        second = t.autograd.grad(weighted(t, onward), leaves, allow_unused=True) if onward else second
    except RuntimeError as error:
        assert t is torch and "derivative" in str(error)
        second = None
    array = lambda each: None if each is None else (t.zeros(each.shape, dtype=each.dtype) + each).detach().numpy()
    return array(value), [array(each) for each in first], second and [array(each) for each in second]


def assert_alike(own, peer, tolerance=1e-9):
    if own is None or peer is None:  # where torch has no gradient, one that is 0 is as good
        assert all(each is None or not np.any(each) for each in (own, peer))
        return
    assert own.shape == peer.shape and own.dtype == peer.dtype
    np.testing.assert_allclose(own, peer, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("expression", CASES)
def test_function(expression):
    own, peer = outcome(shim, expression), outcome(torch, expression)
    assert_alike(own[0], peer[0])
    for mine, other in zip(own[1], peer[1]):
        assert_alike(mine, other)
    for mine, other in zip(own[2], peer[2] or ()):
        assert_alike(mine, other)


def test_bags_share_what_is_greatest_in_the_first_of_equals():
    def grads(t):
        weight = t.ones(3, 2, dtype=t.float64, requires_grad=True)
        t.nn.functional.embedding_bag(t.tensor([[2, 0, 1]]), weight, mode="max").sum().backward()
        return weight.grad.numpy()

    assert_alike(grads(shim), grads(torch))


@pytest.mark.parametrize("kind", ["RNN(5, 3, 2, bidirectional=True)", "LSTM(5, 4, 2, bidirectional=True, proj_size=2)", "GRU(5, 3, batch_first=True)"])
@pytest.mark.parametrize("lengths", [([6, 5, 2], True), ([2, 6, 3], False)])
@pytest.mark.parametrize("given", [False, True])
def test_recurrent_layers_over_packed_sequences(kind, lengths, given):
    def run(t):
        module = eval(f"t.nn.{kind}", {"t": t}).double()
        source = np.random.Generator(np.random.PCG64(11))
        with t.no_grad():
            for parameter in module.parameters():
                parameter.copy_(t.tensor(source.uniform(-0.8, 0.8, tuple(parameter.shape))))
        x = t.tensor(ARRAYS["x"], requires_grad=True)
        packed = t.nn.utils.rnn.pack_padded_sequence(x, lengths[0], batch_first=True, enforce_sorted=lengths[1])
        layers = module.num_layers * (1 + module.bidirectional)
        widths = [module.proj_size or module.hidden_size, module.hidden_size]
        states = tuple(t.tensor(source.uniform(-1, 1, (layers, 3, width))) for width in widths)
        begin = states if "LSTM" in kind else states[1]
        out, last = module(packed, begin) if given else module(packed)
        padded, counts = t.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
        parts = [padded, *(last if isinstance(last, tuple) else (last,))]
        weighted(t, parts).backward()
        return [each.detach().numpy() for each in (*parts, counts, x.grad, *(p.grad for p in module.parameters()))]

    for mine, other in zip(run(shim), run(torch), strict=True):
        assert_alike(mine, other)


BAD = """
F.interpolate(s) | F.interpolate(s, 3, 2) | F.interpolate(s, (3, 4)) | F.interpolate(s, scale_factor=(1, 2)) | F.interpolate(s, 3, align_corners=True)
F.interpolate(s, 3, mode='linear', antialias=True) | F.interpolate(s, 3, mode='bilinear') | F.interpolate(s, 3, recompute_scale_factor=True) | F.interpolate(s, 3, mode='no')
F.grid_sample(i, g, 'no') | F.grid_sample(i, g, padding_mode='no') | F.grid_sample(i, h) | F.grid_sample(i[:1], g) | F.grid_sample(i.float(), g) | F.grid_sample(v, h, 'bicubic')
F.affine_grid(m, (2, 1, 3)) | F.affine_grid(n, (2, 1, 3, 3)) | F.affine_grid(words, (2, 1, 3, 3)) | F.affine_grid(m, (2, 1, 0, 3)) | F.fold(s, (3, 4), 3) | F.fold(s, (3, 4), 2)
F.fold(i, 3, 2) | F.channel_shuffle(a, 2) | F.channel_shuffle(s, 3) | F.local_response_norm(a, 2) | F.max_unpool2d(i, i, 2) | F.max_unpool1d(s, s.long(), 2, output_size=(3,))
F.max_unpool2d(i, i.long() * 0 + 999, 2) | F.max_unpool2d(i, i.long()[:1], 2) | F.embedding_bag(words, w) | F.embedding_bag(words, w, offsets, mode='no') | F.embedding_bag(words, u, offsets)
F.embedding_bag(words.reshape(3, 3), w, offsets) | F.embedding_bag(words, w, offsets + 1) | F.embedding_bag(words, w, offsets, per_sample_weights=u) | F.embedding_bag(words, w, offsets * 5)
F.embedding_bag(words, w, offsets, mode='sum', per_sample_weights=u[:3]) | F.ctc_loss(r, labels, [7, 7], [3, 2, 2]) | F.ctc_loss(r, labels, [8, 7, 7], [3, 2, 2])
F.ctc_loss(r, labels, [7, 7, 7], [3, 2, 2], blank=9) | F.ctc_loss(r, labels, [7, 7, 7], [3, 2, 2], reduction='no') | F.multilabel_margin_loss(a, classes)
F.triplet_margin_with_distance_loss(a, a, s) | F.triplet_margin_with_distance_loss(a, a, a, margin=0) | F.linear_cross_entropy(a, w, classes) | F.instance_norm(s[:, :, :1])
F.fractional_max_pool2d(i, 2) | F.fractional_max_pool2d(i, 5, (4, 4)) | t.nn.FractionalMaxPool2d(2) | t.nn.FractionalMaxPool2d(2, 3, (0.5, 0.5)) | F.feature_alpha_dropout(a, 2.0)
t.nn.utils.rnn.pack_padded_sequence(x, [1, 2, 3], True) | t.nn.utils.rnn.pack_padded_sequence(x, [3, 2], True) | t.nn.utils.rnn.pack_padded_sequence(x, [3, 2, 0], True)
t.nn.utils.rnn.pad_sequence(3) | t.nn.utils.rnn.pad_packed_sequence(t.nn.utils.rnn.pack_sequence([a]), total_length=2) | t.nn.RNN(0, 2) | t.nn.RNN(2, 0) | t.nn.GRU(2, 2, proj_size=1)
t.nn.LSTM(2, 2, proj_size=2) | t.nn.LSTM(2, 2, dropout=2) | t.nn.RNN(2, 2, nonlinearity='no') | t.nn.RNN(5, 2)(x) | t.nn.LSTM(4, 2).double()(x) | t.nn.GRU(5, 2).double()(a[0])
t.nn.RNN(5, 2).double()(x, t.zeros(1, 2)) | t.nn.RNN(5, 2).double()(x, t.zeros(1, 2, 2).double()) | t.nn.LSTM(5, 2).double()(x, (t.zeros(1, 6), t.zeros(1, 6)))
t.nn.LSTM(5, 2).double()(x, (t.zeros(1, 6, 3).double(), t.zeros(1, 6, 2).double())) | t.nn.RNNCell(3, 2)(t.ones(2, 4)) | t.nn.LSTMCell(3, 2)(t.ones(2, 3, 3))
t.nn.GRUCell(3, 2)(t.ones(2, 3), t.ones(3, 2)) | t.nn.GRUCell(3, 2)(t.ones(2, 3), t.ones(2, 3)) | t.nn.RNNCell(3, 2, nonlinearity='no')(t.ones(2, 3))
t.nn.MultiheadAttention(4, 3) | t.nn.MultiheadAttention(0, 2) | t.nn.MultiheadAttention(4, 2)(t.ones(2, 4), t.ones(2, 4), t.ones(2, 2, 4)) | t.nn.MultiheadAttention(4, 2)(t.ones(4), t.ones(4), t.ones(4))
t.nn.MultiheadAttention(4, 2)(t.ones(3, 2, 4), t.ones(3, 2, 4), t.ones(4, 2, 4)) | t.nn.MultiheadAttention(4, 2)(*[t.ones(3, 2, 4)] * 3, attn_mask=t.ones(2, 2) > 0)
t.nn.MultiheadAttention(4, 2)(*[t.ones(3, 2, 4)] * 3, key_padding_mask=t.ones(3, 3) > 0) | t.nn.MultiheadAttention(4, 2)(*[t.ones(3, 2, 4)] * 3, attn_mask=t.ones(3, 3).long())
t.nn.MultiheadAttention(4, 2)(*[t.ones(3, 2, 4)] * 3, is_causal=True) | t.nn.MultiheadAttention(4, 2)(*[t.ones(3, 2, 5)] * 3) | t.nn.TransformerEncoderLayer(4, 2, activation='no')
t.nn.Transformer(4, 2, 1, 1, 8)(t.ones(3, 2, 4), t.ones(3, 1, 4)) | t.nn.Transformer(4, 2, 1, 1, 8)(t.ones(3, 2, 4), t.ones(3, 2, 5))
t.nn.AdaptiveLogSoftmaxWithLoss(4, 8, []) | t.nn.AdaptiveLogSoftmaxWithLoss(4, 8, [3, 2]) | t.nn.AdaptiveLogSoftmaxWithLoss(4, 8, [3])(t.ones(2, 4), t.tensor([1, 8]))
t.nn.AdaptiveLogSoftmaxWithLoss(4, 8, [3])(t.ones(2, 4), t.tensor([1])) | t.nn.LazyLinear(3).weight.shape | t.nn.Linear(2, 3).load_state_dict(t.nn.LazyLinear(3).state_dict())
t.nn.LazyConv2d(3, 2)(t.ones(3)) | t.nn.utils.parametrize.register_parametrization(t.nn.Linear(2, 2), 'no', t.nn.Identity())
t.nn.utils.parametrize.register_parametrization(t.nn.Linear(2, 2), 'weight', t.nn.Flatten(0)) | t.nn.utils.parametrize.remove_parametrizations(t.nn.Linear(2, 2), 'weight')
t.nn.utils.parametrize.remove_parametrizations(t.nn.utils.parametrizations.weight_norm(t.nn.Linear(2, 2)), 'weight', False) | t.nn.utils.remove_weight_norm(t.nn.Linear(2, 2))
t.nn.utils.parametrizations.spectral_norm(t.nn.Linear(2, 2), 'no') | t.nn.utils.parametrizations.spectral_norm(t.nn.Linear(2, 2), n_power_iterations=0)
t.nn.utils.parametrizations.orthogonal(t.nn.Linear(2, 2), 'bias') | t.nn.utils.parametrizations.orthogonal(t.nn.Linear(2, 2), orthogonal_map='no')
t.nn.utils.weight_norm(t.nn.utils.weight_norm(t.nn.Linear(2, 2))) | setattr(t.nn.utils.parametrize.register_parametrization(t.nn.Linear(2, 2), 'weight', t.nn.ReLU()), 'weight', t.ones(2, 2))
t.nn.L1Loss(3, 4, 5, 6, 7) | F.huber_loss(a, a, weight=a[0]) | F.mse_loss(a, a, weight=a[0]) | t.nn.GaussianNLLLoss(True) | t.nn.TripletMarginWithDistanceLoss(None) | t.nn.Linear(2, 2).set_submodule('', t.nn.ReLU()) | t.nn.Linear(2, 2).set_submodule('weight', t.nn.ReLU())
F.binary_cross_entropy(t.rand(2), t.tensor([0, 1])) | F.binary_cross_entropy(t.rand(2), t.rand(2).double()) | F.binary_cross_entropy_with_logits(t.rand(2), t.tensor([0, 1]))
F.cross_entropy(t.zeros(3, 4), t.zeros(3)) | F.cross_entropy(t.zeros(3, 4), t.zeros(3, 1).long()) | F.cross_entropy(t.zeros(3, 4), t.zeros(3).int())
t.nn.BatchNorm1d(3)(t.ones(2, 3).double()) | t.nn.BatchNorm1d(3).eval()(t.ones(2, 3).double()) | t.nn.LayerNorm(3)(t.ones(2, 3).double()) | t.nn.GroupNorm(3, 3)(t.ones(2, 3, 2).double())
t.nn.InstanceNorm1d(3, affine=True)(t.ones(2, 3, 4).double()) | t.nn.LayerNorm(3)(t.ones(2, 3).long()) | t.nn.BatchNorm2d(3)(t.ones(2, 4, 2, 2)) | t.nn.BatchNorm2d(3).eval()(t.ones(2, 4, 2, 2))
t.multinomial(t.zeros(3), 1) | t.multinomial(t.tensor([-1.0, 2.0]), 1) | t.multinomial(t.tensor([float('nan'), 2.0]), 1) | t.multinomial(t.ones(2), 3)
t.tensor([t.ones(2), t.ones(2)]) | t.tensor([True]) - t.tensor([True]) | -t.tensor([True]) | t.nn.Parameter([1.0]) | t.utils.data.default_collate([__import__('numpy').zeros(2), __import__('numpy').zeros(3)])
__import__('pickle').dumps(t.nn.utils.parametrizations.weight_norm(t.nn.Linear(2, 2)))
"""
BAD = [case.strip() for line in BAD.strip().splitlines() for case in line.split(" | ")]


@pytest.mark.parametrize("expression", BAD)
def test_errors(expression):
    with pytest.raises(Exception) as peer:
        eval(expression, space(torch))
    with pytest.raises(peer.type) as own:
        eval(expression, space(shim))
    if not isinstance(peer.value, TypeError):
        # The first words are torch's; its numbers of memory and source lines are not.
        assert str(own.value).split("\n")[0][:30].lower() == str(peer.value).split("\n")[0][:30].lower()


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss"])
def test_losses_of_whole_numbers_have_the_dtype_of_the_input(name):
    found, peer = (getattr(t.nn.functional, name)(t.tensor([0.5, 2.0]), t.tensor([1, 1])) for t in (shim, torch))
    assert str(found.dtype) == str(peer.dtype)
    assert found.item() == pytest.approx(peer.item(), rel=1e-6)


NAMESPACES = """
nn nn.functional nn.init nn.utils nn.utils.rnn nn.utils.parametrize nn.utils.parametrizations optim optim.lr_scheduler utils.data nn.parameter
""".split()
# What torch's modules import for themselves, and notes in docstrings.
IMPORTED = set(
    """
Any annotations bisect_right BroadcastingList1 BroadcastingList2 BroadcastingList3 Callable Counter DType EPOCH_DEPRECATION_WARNING Enum Iterable Literal Module ModuleDict
ModuleList NamedTuple OpaqueBase Optimizer Optional OrderedDict PackedSequence_ ParamSpec Parameter ScalingType Self Sequence SupportsFloat SwizzleType TYPE_CHECKING Tensor
TypeVar TypedDict UninitializedTensorMixin assert_int_or_pair auto bind boolean_dispatch cast contextmanager copy_method_params deepcopy
get_swap_module_params_on_conversion handle_torch_function has_torch_function has_torch_function_unary has_torch_function_variadic inf
is_opaque_reference_type is_traceable_wrapper_subclass override partial ref reproducibility_notes sparse_support_notes tf32_notes wraps
GRID_SAMPLE_INTERPOLATION_MODES GRID_SAMPLE_PADDING_MODES
""".split()
)


def test_every_name_of_torch_is_there_or_says_that_it_is_not_supported():
    missing = []
    for path in NAMESPACES:
        peer, own = torch, shim
        for part in path.split("."):
            peer, own = getattr(peer, part), getattr(own, part)
        for name in dir(peer):
            if name.startswith("_") or name in IMPORTED or isinstance(getattr(peer, name), types.ModuleType):
                continue
            if not hasattr(own, name):
                missing.append(f"torch.{path}.{name}")
    assert missing == []


def test_a_device_that_is_not_there_is_refused():
    for make in (shim.nn.Linear, shim.nn.LSTM, shim.nn.MultiheadAttention, shim.nn.Bilinear, shim.nn.TransformerEncoderLayer):
        with pytest.raises(NotImplementedError, match="device 'cuda' is not supported"):
            make(*[4] * (3 if make is shim.nn.Bilinear else 2), device="cuda")


def test_names_that_are_not_supported_raise():
    refused = []
    for path, names in {"nn": shim.nn.unsupported.MODULES, "nn.functional": shim.nn.unsupported.FUNCTIONS}.items():
        own = shim.nn if path == "nn" else shim.nn.functional
        for name in names:
            with pytest.raises(NotImplementedError, match=f"torch.{path}.{name} is not supported"):
                getattr(own, name)()
            refused.append(name)
    assert len(refused) < 20


def parametrised(t, build, steps=3):
    """A module after some steps of descent, with what it has become."""
    P, Z = t.nn.utils.parametrizations, t.nn.utils.parametrize
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = eval(build, {"t": t, "P": P, "Z": Z, "Symmetric": symmetric(t), "base": based(t), "D": lambda m: filled(t, m.double())})
    module = module.double()
    x = t.tensor(SOURCE_OF_INPUTS[: 4 * 4].reshape(4, 4) if "Conv" not in build else SOURCE_OF_INPUTS.reshape(2, 4, 8))
    optimizer = t.optim.SGD(module.parameters(), 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        (module(x) ** 2).sum().backward()
        optimizer.step()
    module(x)
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    return state, module.weight.detach().numpy(), repr(module), type(module).__name__


SOURCE_OF_INPUTS = SOURCE.uniform(-1, 1, 64)


def filled(t, module):
    source = np.random.Generator(np.random.PCG64(11))
    with t.no_grad():
        for parameter in module.parameters():
            parameter.copy_(t.tensor(source.uniform(-0.8, 0.8, tuple(parameter.shape))))
    return module


def symmetric(t):
    class Symmetric(t.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).T

        def right_inverse(self, a):
            return a.triu()

    return Symmetric


def based(t):
    def base(module):
        """Give the random parts of a parametrisation fixed values."""
        own = module.parametrizations.weight[0]
        for name in ("_u", "_v"):
            if hasattr(own, name):
                getattr(own, name).copy_(t.arange(1.0, getattr(own, name).numel() + 1).double() / 9)
        return module

    return base


@pytest.mark.parametrize(
    "build",
    [
        "P.weight_norm(D(t.nn.Linear(4, 3)))", "P.weight_norm(D(t.nn.Linear(4, 3)), dim=1)", "P.weight_norm(D(t.nn.Linear(4, 3)), dim=None)",
        "P.weight_norm(D(t.nn.Conv1d(4, 3, 2)))", "base(P.spectral_norm(D(t.nn.Linear(4, 3))))", "base(P.spectral_norm(D(t.nn.Conv1d(4, 3, 2)), n_power_iterations=2))",
        "base(P.spectral_norm(D(t.nn.ConvTranspose1d(4, 3, 2))))", "Z.register_parametrization(D(t.nn.Linear(4, 4)), 'weight', Symmetric())",
        "Z.register_parametrization(Z.register_parametrization(D(t.nn.Linear(4, 4)), 'weight', Symmetric()), 'weight', t.nn.Tanh())",
        "Z.remove_parametrizations(P.weight_norm(D(t.nn.Linear(4, 3))), 'weight')", "P.orthogonal(D(t.nn.Linear(4, 4)), orthogonal_map='cayley')",
        "Z.remove_parametrizations(Z.register_parametrization(D(t.nn.Linear(4, 4)), 'weight', Symmetric()), 'weight')",
        "P.orthogonal(D(t.nn.Linear(4, 4)), orthogonal_map='householder')", "P.orthogonal(D(t.nn.Linear(4, 4)), orthogonal_map='cayley', use_trivialization=False)",
        "Z.remove_parametrizations(Z.register_parametrization(D(t.nn.Linear(4, 4)), 'weight', Symmetric()), 'weight', False)", "t.nn.utils.weight_norm(D(t.nn.Linear(4, 3)), dim=1)",
        "t.nn.utils.remove_weight_norm(t.nn.utils.weight_norm(D(t.nn.Linear(4, 3))))", "__import__('copy').deepcopy(P.weight_norm(D(t.nn.Linear(4, 3))))",
    ],
)  # fmt: skip
def test_parametrizations(build):
    (state, weight, text, name), (peer_state, peer_weight, peer_text, peer_name) = parametrised(shim, build), parametrised(torch, build)
    assert list(state) == list(peer_state) and text == peer_text and name == peer_name
    for key in state:
        assert_alike(state[key], peer_state[key])
    assert_alike(weight, peer_weight)


def test_weight_norm_loads_state_dicts_of_its_older_form():
    old = shim.nn.utils.weight_norm(shim.nn.Linear(4, 3))
    new = shim.nn.utils.parametrizations.weight_norm(shim.nn.Linear(4, 3))
    new.load_state_dict(old.state_dict())
    assert shim.allclose(new.weight, old.weight)


def test_adaptive_softmax_predicts():
    def found(t):
        module = filled(t, t.nn.AdaptiveLogSoftmaxWithLoss(6, 12, [3, 7]).double())
        x = t.tensor(ARRAYS["a"])
        return module.log_prob(x).detach().numpy(), module.predict(x).numpy(), module(x[0], t.tensor(8)).output.detach().numpy()

    for mine, other in zip(found(shim), found(torch)):
        assert_alike(mine, other)


SHAPES = [(), (3,), (2, 6), (3, 5), (2, 3, 4), (2, 4, 4, 5, 4), (1, 4, 1, 1), (2, 4, 1, 1, 1, 1), (2, 4, 0), (0, 4, 6, 5)]
LAYERS = """
t.nn.Linear(6,3) t.nn.Conv1d(4,2,3) t.nn.Conv2d(4,3,3) t.nn.Conv1d(4,2,3,padding='same') t.nn.ConvTranspose2d(4,3,3) t.nn.MaxPool1d(2) t.nn.MaxPool2d(2)
t.nn.MaxPool3d(2) t.nn.AvgPool1d(2) t.nn.AvgPool3d(2) t.nn.BatchNorm2d(4) t.nn.LayerNorm(6) t.nn.GroupNorm(2,4) t.nn.InstanceNorm2d(4) t.nn.InstanceNorm1d(4,affine=True)
t.nn.RMSNorm(6) t.nn.ReflectionPad2d((1,2,0,1)) t.nn.ReplicationPad1d(2) t.nn.CircularPad2d(1) t.nn.ZeroPad2d(1) t.nn.PixelShuffle(2)
t.nn.Softmax2d() t.nn.GLU() t.nn.PReLU() t.nn.PReLU(4) t.nn.Fold((4,5),2) t.nn.Upsample(3) t.nn.Upsample(scale_factor=2,mode='bilinear') t.nn.LocalResponseNorm(3)
t.nn.ChannelShuffle(2) t.nn.EmbeddingBag(5,3) t.nn.RNN(4,3) t.nn.LSTM(4,3) t.nn.GRUCell(6,3) t.nn.TransformerEncoderLayer(4,2,8) t.nn.AdaptiveMaxPool2d(2)
""".split()

@pytest.mark.parametrize("expression", LAYERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_layers_take_the_same_shapes(expression, shape):
    def taken(t):
        module = eval(expression, {"t": t}).double()
        out = module(t.full(shape, 0.3, dtype=t.float64))
        return tuple((out[0] if isinstance(out, tuple) else out).shape)

    try:
        expected = taken(torch)
    except Exception as error:
        with pytest.raises(type(error)):
            taken(shim)
    else:
        assert taken(shim) == expected
