"""`nn` of the shim against PyTorch: outputs, gradients, reprs, state dicts, errors.

Each case is an expression in ``t`` that makes a module, and the inputs it is called with.
"""

import numpy as np
import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = pytest.mark.peers

SOURCE = np.random.Generator(np.random.PCG64(3))
ARRAYS = {
    "a": SOURCE.uniform(-2, 2, (4, 6)),
    "b": SOURCE.uniform(-2, 2, (4, 6)),
    "p": SOURCE.uniform(0.1, 0.9, (4, 6)),
    "q": SOURCE.uniform(0.1, 0.9, (4, 6)),
    "c": SOURCE.uniform(-2, 2, (4, 5)),
    "s": SOURCE.uniform(-2, 2, (2, 4, 7)),
    "i": SOURCE.uniform(-2, 2, (2, 4, 6, 5)),
    "v": SOURCE.uniform(-2, 2, (2, 4, 4, 5, 4)),
    "r": SOURCE.uniform(-2, 2, (5, 3, 4)),
    "d": SOURCE.uniform(-2, 2, (3, 5)),
    "h": SOURCE.uniform(-2, 2, (3, 4)),
    "n": np.array([[1, 0, 3], [2, 2, 4]]),
    "f": SOURCE.uniform(-2, 2, (2, 8, 12)),
    "g": SOURCE.uniform(-2, 2, (8, 28)),
    "k": np.array([[3, 0, -1, 1, 0, 0], [1, 2, 3, -1, 0, 0], [-1] * 6, [5, 4, 3, 2, 1, 0]]),
    "l": np.array([0, 5, 2, 1]),
    "m": np.array([[1, 0, 3, 3, 2, 1, 0], [2, 2, 1, 0, 3, 1, 2]]),
    "o": np.array([1.0, -1.0, 1.0, -1.0]),
    "x": np.where(SOURCE.uniform(size=(4, 6)) > 0.5, 1.0, -1.0),
    "y": np.where(SOURCE.uniform(size=(4, 6)) > 0.5, 1.0, 0.0),
    "w": SOURCE.uniform(0.5, 1.5, (6,)),
}
DIFFERENTIATED = "abpqcsivrdhfg"

CASES = """
t.nn.ReLU() a | t.nn.ReLU(inplace=False) a | t.nn.ReLU6() a | t.nn.Sigmoid() a | t.nn.Tanh() a | t.nn.LogSigmoid() a | t.nn.Softsign() a
t.nn.Tanhshrink() a | t.nn.SiLU() a | t.nn.Mish() a | t.nn.SELU() a | t.nn.Hardsigmoid() a | t.nn.Hardswish() a | t.nn.GELU() a
t.nn.GELU('tanh') a | t.nn.ELU() a | t.nn.ELU(0.5) a | t.nn.CELU(0.5) a | t.nn.LeakyReLU() a | t.nn.LeakyReLU(0.2) a | t.nn.Hardtanh() a
t.nn.Hardtanh(-0.5,0.7) a | t.nn.Softplus() a | t.nn.Softplus(2.0,1.5) a | t.nn.Softshrink() a | t.nn.Hardshrink(0.3) a
t.nn.Threshold(0.1,20) a | t.nn.GLU() a | t.nn.GLU(dim=0) a | t.nn.Softmax(dim=1) a | t.nn.Softmin(dim=1) a | t.nn.LogSoftmax(dim=0) a
t.nn.Softmax2d() i | t.nn.PReLU() a | t.nn.PReLU(4) s | t.nn.Identity() a | t.nn.RReLU().eval() a | t.nn.Softmax() a | t.nn.Dropout(0.3).eval() a
t.nn.Flatten() i | t.nn.Flatten(2) i | t.nn.Unflatten(1,(2,2)) i | t.nn.PixelShuffle(2) i | t.nn.CosineSimilarity() ab | t.nn.PairwiseDistance() ab
t.nn.Linear(6,3) a | t.nn.Linear(6,3,bias=False) a | t.nn.Linear(7,2) s | t.nn.Linear(7,2,bias=False) s | t.nn.Bilinear(6,6,3) ab
t.nn.Conv1d(4,6,3) s | t.nn.Conv1d(4,6,3,padding='same') s | t.nn.Conv1d(4,6,2,stride=2,padding=1,bias=False) s | t.nn.Conv1d(4,4,3,groups=2) s
t.nn.Conv2d(4,3,3) i | t.nn.Conv2d(4,2,(3,2),stride=(2,1),padding=(1,0)) i | t.nn.Conv2d(4,8,3,groups=4,dilation=2,padding=2) i
t.nn.Conv2d(4,2,3,padding=1,padding_mode='circular') i | t.nn.Conv2d(4,2,3,padding=1,padding_mode='reflect') i
t.nn.Conv3d(4,2,2) v | t.nn.Conv3d(4,2,3,padding=1,stride=2) v | t.nn.ConvTranspose1d(4,3,3,stride=2) s | t.nn.ConvTranspose2d(4,3,3) i
t.nn.ConvTranspose2d(4,3,3,stride=2,padding=1,output_padding=1) i | t.nn.ConvTranspose2d(4,6,2,groups=2,dilation=2,bias=False) i
t.nn.ConvTranspose3d(4,2,2,stride=2) v | t.nn.Unfold(2) i | t.nn.Unfold((2,3),padding=1,stride=2) i
t.nn.MaxPool1d(2) s | t.nn.MaxPool1d(3,2,1) s | t.nn.MaxPool2d(2) i | t.nn.MaxPool2d(3,stride=2,padding=1) i | t.nn.MaxPool2d(2,ceil_mode=True) i
t.nn.MaxPool2d(2,dilation=2,stride=1) i | t.nn.MaxPool3d(2) v | t.nn.AvgPool1d(2) s | t.nn.AvgPool2d(2) i | t.nn.AvgPool2d(3,2,1) i
t.nn.AvgPool2d(3,2,1,count_include_pad=False) i | t.nn.AvgPool2d(2,ceil_mode=True) i | t.nn.AvgPool2d(2,divisor_override=3) i | t.nn.AvgPool3d(2) v
t.nn.AvgPool2d(3,2,1,ceil_mode=True,count_include_pad=False) i | t.nn.AdaptiveAvgPool1d(3) s | t.nn.AdaptiveAvgPool2d((2,3)) i
t.nn.AdaptiveAvgPool2d(1) i | t.nn.AdaptiveAvgPool2d((None,2)) i | t.nn.AdaptiveMaxPool1d(3) s | t.nn.AdaptiveMaxPool2d((4,2)) i
t.nn.ZeroPad2d(1) i | t.nn.ConstantPad1d((1,2),3.5) s | t.nn.ReflectionPad2d((1,2,0,1)) i | t.nn.ReplicationPad1d(2) s | t.nn.CircularPad2d(1) i
t.nn.BatchNorm1d(6) a | t.nn.BatchNorm1d(4) s | t.nn.BatchNorm2d(4) i | t.nn.BatchNorm2d(4,affine=False) i | t.nn.BatchNorm3d(4) v
t.nn.BatchNorm2d(4,momentum=None) i | t.nn.BatchNorm2d(4).eval() i | t.nn.BatchNorm1d(6,track_running_stats=False) a | t.nn.LayerNorm(6) a
t.nn.LayerNorm((6,5)) i | t.nn.LayerNorm(6,elementwise_affine=False) a | t.nn.LayerNorm(6,bias=False) a | t.nn.GroupNorm(2,4) i
t.nn.GroupNorm(4,4,affine=False) s | t.nn.InstanceNorm2d(4) i | t.nn.InstanceNorm1d(4,affine=True) s | t.nn.RMSNorm(6) a | t.nn.RMSNorm((6,5),1e-3) i
t.nn.Embedding(5,3) n | t.nn.Embedding(5,3,padding_idx=2) n | t.nn.Embedding(5,3,padding_idx=-1) n
t.nn.Embedding(5,3,max_norm=0.5) n | t.nn.Embedding(5,3,2,0.4,1.0) n | t.nn.Embedding(5,3,scale_grad_by_freq=True,padding_idx=1) n
t.nn.Sequential(t.nn.Linear(6,8),t.nn.Tanh(),t.nn.Linear(8,2)) a | t.nn.Sequential(t.nn.Sequential(t.nn.Linear(6,4)),t.nn.ReLU()) a
t.nn.L1Loss() ab | t.nn.L1Loss(reduction='sum') ab | t.nn.MSELoss() ab | t.nn.MSELoss(reduction='none') ab | t.nn.SmoothL1Loss() ab
t.nn.SmoothL1Loss(beta=0.3) ab | t.nn.HuberLoss() ab | t.nn.HuberLoss(delta=0.4,reduction='sum') ab | t.nn.CrossEntropyLoss() al
t.nn.CrossEntropyLoss(reduction='none') al | t.nn.CrossEntropyLoss(ignore_index=2) al | t.nn.CrossEntropyLoss(label_smoothing=0.1) al
t.nn.CrossEntropyLoss(weight=t.arange(1.,7.).double()) al | t.nn.CrossEntropyLoss(weight=t.arange(1.,7.).double(),label_smoothing=0.2,ignore_index=5) al
t.nn.CrossEntropyLoss() sm | t.nn.CrossEntropyLoss() aq | t.nn.CrossEntropyLoss(label_smoothing=0.1,reduction='sum') aq | t.nn.NLLLoss() al
t.nn.NLLLoss(reduction='sum') sm | t.nn.BCELoss() pq | t.nn.BCEWithLogitsLoss() aq | t.nn.BCEWithLogitsLoss(pos_weight=t.arange(1.,7.).double()) aq
t.nn.KLDivLoss(reduction='batchmean') ap | t.nn.KLDivLoss(log_target=True,reduction='sum') ab | t.nn.PoissonNLLLoss() ap
t.nn.PoissonNLLLoss(log_input=False,full=True) pq | t.nn.GaussianNLLLoss() abq | t.nn.GaussianNLLLoss(full=True) abq | t.nn.SoftMarginLoss() ax
t.nn.HingeEmbeddingLoss() ax | t.nn.MarginRankingLoss(0.2) abx | t.nn.CosineEmbeddingLoss(0.1) abo | t.nn.TripletMarginLoss() abp
t.nn.TripletMarginLoss(swap=True,margin=3.0) abp | t.nn.MultiMarginLoss() al | t.nn.MultiMarginLoss(p=2) al | t.nn.MultiLabelSoftMarginLoss() ay
t.nn.MultiLabelMarginLoss() ak | t.nn.MultiLabelMarginLoss(reduction='none') ak | t.nn.TripletMarginWithDistanceLoss(swap=True,margin=2.0) abp
t.nn.TripletMarginWithDistanceLoss(distance_function=lambda x,y:(x-y).abs().sum(-1),reduction='sum') abp
t.nn.Fold((4,5),2) f | t.nn.Fold((5,6),(2,2),dilation=2) f | t.nn.Fold(6,2,padding=1,stride=(2,1)) g | t.nn.ChannelShuffle(2) i | t.nn.LocalResponseNorm(3) i
t.nn.LocalResponseNorm(2,alpha=0.5,beta=0.6,k=2.0) s | t.nn.LPPool1d(3,2) s | t.nn.LPPool2d(2,(2,3),stride=1) i | t.nn.LPPool2d(1.0,2) i
t.nn.LPPool3d(2,2) v | t.nn.LPPool1d(float('inf'),2) s | t.nn.AdaptiveMaxPool2d((3,2),return_indices=True) i | t.nn.MaxPool2d(2,return_indices=True) i
t.nn.FractionalMaxPool2d(2,output_size=(3,2),_random_samples=t.full((2,4,2),0.3).double()) i
t.nn.FractionalMaxPool2d((3,2),output_ratio=(0.5,0.7),return_indices=True,_random_samples=t.full((2,4,2),0.8).double()) i
t.nn.FractionalMaxPool3d(2,(2,3,2),_random_samples=t.full((2,4,3),0.6).double()) v | t.nn.Upsample(scale_factor=2) s | t.nn.Upsample((7,9)) i | t.nn.Upsample(3,mode='area') i
t.nn.Upsample(scale_factor=1.7,mode='linear') s | t.nn.Upsample(5,mode='linear',align_corners=True) s | t.nn.Upsample(scale_factor=(2.5,0.6),mode='bilinear') i
t.nn.Upsample((4,9),mode='bilinear',align_corners=True) i | t.nn.Upsample((9,8),mode='bicubic') i | t.nn.Upsample(scale_factor=0.7,mode='bicubic',align_corners=True) i
t.nn.Upsample(scale_factor=(1.3,2.0,0.5),mode='trilinear') v | t.nn.Upsample(scale_factor=0.7) v | t.nn.Upsample((5,3),mode='nearest-exact') i | t.nn.UpsamplingNearest2d(3) i
t.nn.UpsamplingBilinear2d(scale_factor=2) i | t.nn.Upsample(scale_factor=1.4,mode='bilinear',recompute_scale_factor=True) i
t.nn.EmbeddingBag(5,3) n | t.nn.EmbeddingBag(5,3,mode='sum',padding_idx=2) n | t.nn.EmbeddingBag(5,3,mode='max') n | t.nn.InstanceNorm1d(4,track_running_stats=True) s
t.nn.InstanceNorm2d(4,affine=True,track_running_stats=True).eval() i | t.nn.LazyLinear(3) a | t.nn.LazyConv2d(3,2,padding=1) i | t.nn.LazyConvTranspose1d(2,3) s
t.nn.EmbeddingBag.from_pretrained(t.arange(15.0).reshape(5,3),False,None,2.0,False,'sum',False,True,1) n
t.nn.InstanceNorm1d(4,momentum=None,track_running_stats=True) s
t.nn.LazyBatchNorm2d() i | t.nn.LazyInstanceNorm1d(affine=True) s | t.nn.FeatureAlphaDropout(0.3).eval() i | t.nn.AdaptiveLogSoftmaxWithLoss(6,12,[3,7]) al
t.nn.AdaptiveLogSoftmaxWithLoss(6,7,[1,3],div_value=2.0,head_bias=True) al
t.nn.RNN(4,3) r | t.nn.RNN(4,3,2,'relu',bidirectional=True) r | t.nn.LSTM(4,3) r | t.nn.LSTM(4,3,2,bidirectional=True,batch_first=True) r
t.nn.LSTM(4,3,bias=False) r | t.nn.GRU(4,3) r | t.nn.GRU(4,3,2,bidirectional=True) r | t.nn.GRU(6,2) a | t.nn.LSTM(6,2,2) b
t.nn.LSTM(4,3,2,proj_size=2,bidirectional=True) r | t.nn.LSTM(4,3,proj_size=1,bias=False,batch_first=True) r | t.nn.RNN(4,3,batch_first=True) r
t.nn.RNNCell(6,3) a | t.nn.RNNCell(6,6,bias=False,nonlinearity='relu') ab | t.nn.LSTMCell(6,3) a | t.nn.GRUCell(6,6) ab | t.nn.GRUCell(6,2,bias=False) a
t.nn.GRUCell(6,3) w | t.nn.LSTMCell(6,2) w
t.nn.MultiheadAttention(4,2) rrr | t.nn.MultiheadAttention(4,2,batch_first=True,bias=False) rrr | t.nn.MultiheadAttention(6,3) abb
t.nn.MultiheadAttention(4,2,add_bias_kv=True,add_zero_attn=True) rrr | t.nn.MultiheadAttention(6,2,kdim=5,vdim=4,bias=False) adh
t.nn.MultiheadAttention(6,2,vdim=4,kdim=5,add_bias_kv=True) adh | t.nn.TransformerDecoderLayer(4,2,8,0.0) rr
t.nn.TransformerDecoderLayer(4,2,8,0.0,t.tanh,batch_first=True,norm_first=True,bias=False) rr
t.nn.TransformerDecoder(t.nn.TransformerDecoderLayer(4,2,8,0.0),2,t.nn.LayerNorm(4)) rr | t.nn.Transformer(4,2,1,2,8,0.0) rr
t.nn.TransformerEncoderLayer(4,2,8,0.0) r | t.nn.TransformerEncoderLayer(4,2,8,0.0,'gelu',batch_first=True,norm_first=True) r
t.nn.TransformerEncoder(t.nn.TransformerEncoderLayer(4,2,8,0.0,batch_first=True),2,t.nn.LayerNorm(4)) r
"""
# PyTorch's derivative of hardsigmoid is a multiplication by 1/6 rounded to float32, whatever the dtype, so that it is right to
# 3e-8 only; ours is in the dtype of the input.
ROUNDED = {"t.nn.Hardsigmoid()": 1e-7}
CASES = [tuple(case.strip().rsplit(" ", 1)) for line in CASES.strip().splitlines() for case in line.split("|")]


def built(t, expression):
    module = eval(expression, {"t": t})
    return module.double()


def called(t, expression, names):
    """A module with the same parameters in either library, inputs, and what it makes of them."""
    module = built(t, expression)
    inputs = [t.tensor(ARRAYS[name], requires_grad=name in DIFFERENTIATED) for name in names]
    if "Lazy" in expression:  # it has parameters once it was called
        module.eval()(*inputs)
        module.train()
    module = with_values(module, t)
    return module, inputs, flattened(module(*inputs))


def with_values(module, t):
    """The module with the same parameters in either library."""
    source = np.random.Generator(np.random.PCG64(11))
    with t.no_grad():
        for parameter in module.parameters():
            parameter.copy_(t.tensor(source.uniform(-0.8, 0.8, tuple(parameter.shape))))
    return module


def flattened(out):
    return [leaf for part in out for leaf in flattened(part)] if isinstance(out, tuple) else [out]


def weighted(t, parts):
    """A number that depends on every element in a way of its own."""
    return sum((part * t.cos(t.arange(part.numel(), dtype=t.float64)).reshape(part.shape)).sum() for part in parts)


def second(t, expression, names):
    """Derivatives of a number made of all first derivatives."""
    module, inputs, outs = called(t, expression, names)
    leaves = [leaf for leaf in (*inputs, *module.parameters()) if leaf.requires_grad]
    grads = t.autograd.grad(weighted(t, [part for part in outs if part.requires_grad]), leaves, create_graph=True, allow_unused=True)
    grads = [grad for grad in grads if grad is not None and grad.requires_grad]
    found = t.autograd.grad(weighted(t, grads), leaves, allow_unused=True) if grads else [None] * len(leaves)
    # PyTorch has zeros that have no memory: a copy of them has.
    return [None if each is None else (t.zeros(each.shape, dtype=each.dtype) + each).numpy() for each in found]


def outcome(t, expression, names):
    module, inputs, outs = called(t, expression, names)
    floating = [part for part in outs if part.requires_grad]
    if floating:
        weighted(t, floating).backward()
    leaves = [*inputs, *module.parameters()]
    return {
        "repr": repr(module),
        "keys": list(module.state_dict()),
        "names": [name for name, _ in module.named_modules()],
        "outputs": [part.detach().numpy() for part in outs],
        "grads": [None if leaf.grad is None else leaf.grad.numpy() for leaf in leaves],
        "buffers": [buffer.numpy() for buffer in module.buffers()],
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("expression", "names"), CASES, ids=lambda value: value)
def test_second_derivatives(expression, names):
    try:
        peer = second(torch, expression, names)
    except (RuntimeError, NotImplementedError) as error:  # PyTorch has none for it
        assert "derivative" in str(error)
        return
    assert_alike(second(shim, expression, names), peer, ROUNDED.get(expression, 1e-9))


def assert_alike(own, peer, tolerance=1e-10):
    assert len(own) == len(peer)
    for mine, other in zip(own, peer):
        if mine is None or other is None:
            # Where torch has no gradient, one that is 0 is as good.
            assert all(each is None or not np.any(each) for each in (mine, other))
            continue
        assert mine.shape == other.shape and mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("expression", "names"), CASES, ids=lambda value: value)
def test_module(expression, names):
    own, peer = outcome(shim, expression, names), outcome(torch, expression, names)
    for key in ("repr", "keys", "names"):
        assert own[key] == peer[key]
    for key in ("outputs", "grads", "buffers"):
        assert_alike(own[key], peer[key], ROUNDED.get(expression, 1e-10))


@pytest.mark.parametrize("options", ["", "is_causal=True", "scale=0.3", "attn_mask=t.ones(5,5).tril()>0", "attn_mask=t.ones(5,5).double().tril()"])
def test_attention(options):
    def call(t):
        q, k, v = (t.tensor(SOURCE_OF_HEADS[n], requires_grad=True) for n in range(3))
        out = eval(f"f(q, k, v, {options})", {"f": t.nn.functional.scaled_dot_product_attention, "q": q, "k": k, "v": v, "t": t})
        (out * out).sum().backward()
        return [each.detach().numpy() for each in (out, q.grad, k.grad, v.grad)]

    assert_alike(call(shim), call(torch))


SOURCE_OF_HEADS = SOURCE.uniform(-1, 1, (3, 2, 2, 5, 4))

BAD = """
t.nn.Linear(3,2)(t.ones(2,4)) | t.nn.Linear(3,2)(t.ones(2,3).double()) | t.nn.Conv2d(1,2,3)(t.ones(1,2,5,5)) | t.nn.Conv2d(1,2,7)(t.ones(1,1,5,5))
t.nn.Conv2d(3,4,3,groups=2) | t.nn.Conv2d(1,2,3)(t.ones(5)) | t.nn.Dropout(1.5) | t.nn.BatchNorm1d(3)(t.ones(1,3)) | t.nn.BatchNorm2d(3)(t.ones(2,3))
t.nn.GroupNorm(3,4) | t.nn.LayerNorm(3)(t.ones(2,4)) | t.nn.Embedding(3,2)(t.tensor([3])) | t.nn.Embedding(3,2)(t.ones(2))
t.nn.MSELoss(reduction='no')(t.ones(2),t.ones(2)) | t.nn.CrossEntropyLoss()(t.ones(2,3),t.tensor([1])) | t.nn.CrossEntropyLoss()(t.ones(2,3),t.tensor([1,3]))
t.nn.BCELoss()(t.ones(2),t.ones(3)) | t.nn.BCELoss()(t.ones(2)*2,t.ones(2)) | t.nn.BCEWithLogitsLoss()(t.ones(2),t.ones(3))
t.nn.Sequential(3) | t.nn.Module()(1) | t.nn.Module().weight | t.nn.Parameter(t.tensor([1])) | t.nn.Linear(2,2).load_state_dict({})
t.nn.Linear(2,2).load_state_dict({'weight':t.ones(3,2),'bias':t.ones(2),'x':t.ones(1)}) | setattr(t.nn.Linear(2,2),'weight',t.ones(2,2))
t.nn.Sequential(t.nn.ReLU())[1] | t.nn.Module().register_parameter('a.b',None) | t.nn.ModuleList([1]) | t.nn.Linear(2,2).to(t.int64) | t.nn.Unflatten(1)
t.nn.functional.glu(t.ones(3)) | t.nn.functional.pad(t.ones(3),(1,)) | t.nn.MaxPool2d(2,padding=2)(t.ones(1,1,4,4)) | t.nn.Linear(2,2).train(3)
"""
BAD = [case.strip() for line in BAD.strip().splitlines() for case in line.split("|")]


@pytest.mark.parametrize("expression", BAD)
def test_errors(expression):
    with pytest.raises(Exception) as peer:
        eval(expression, {"t": torch})
    with pytest.raises(peer.type) as own:
        eval(expression, {"t": shim})
    if not isinstance(peer.value, TypeError):
        # The first words are torch's; its numbers of memory and source lines are not.
        assert str(own.value).split("\n")[0][:40].lower() == str(peer.value).split("\n")[0][:40].lower()


@pytest.mark.parametrize("options", ["attn_mask=m", "key_padding_mask=k", "attn_mask=m, key_padding_mask=k, average_attn_weights=False"])
def test_masks_of_attention(options):
    def call(t):
        module = with_values(t.nn.MultiheadAttention(4, 2).double(), t)
        x = t.tensor(ARRAYS["r"], requires_grad=True)
        m = t.ones(5, 5).triu(1) > 0
        k = t.tensor(np.arange(5) >= np.array([[5], [3], [4]]))
        out, shares = eval(f"module(x, x, x, {options})", {"module": module, "x": x, "m": m, "k": k})
        (out * out).sum().backward()
        return [each.detach().numpy() for each in (out, shares, x.grad, module.in_proj_weight.grad)]

    assert_alike(call(shim), call(torch))
