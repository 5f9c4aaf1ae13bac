"""`optim` of the shim against PyTorch: parameters and states after steps, state dicts of either, schedules, errors."""

import numpy as np
import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

SOURCE = np.random.Generator(np.random.PCG64(3))
MATRIX, VECTOR = SOURCE.uniform(-2, 2, (4, 6)), SOURCE.uniform(0.5, 1.5, 6)
COMPLEX = SOURCE.uniform(-1, 1, 5) + 1j * SOURCE.uniform(-1, 1, 5)
INPUTS, LABELS = SOURCE.uniform(-2, 2, (30, 4)), SOURCE.choice([-1.0, 1.0], 30)

OPTIMIZERS = """
SGD(p,0.1) SGD(p,0.1,momentum=0.9) SGD(p,0.1,momentum=0.9,nesterov=True,weight_decay=0.1) SGD(p,0.1,momentum=0.9,dampening=0.3)
SGD(p,0.1,maximize=True) SGD(p,0.1,foreach=True) Adam(p,0.1) Adam(p,0.1,amsgrad=True,weight_decay=0.1) Adam(p,0.1,betas=(0.5,0.9),eps=1e-3)
Adam(p,t.tensor(0.125,dtype=t.float64)) Adam(p,0.1,decoupled_weight_decay=True,weight_decay=0.1,maximize=True) AdamW(p,0.1) AdamW(p) AdamW(p,0.1,fused=True)
RMSprop(p,0.1) RMSprop(p,0.1,momentum=0.5,centered=True,weight_decay=0.1) Adagrad(p,0.1) Adagrad(p,0.1,lr_decay=0.1,initial_accumulator_value=0.2)
Adadelta(p) Adadelta(p,0.5,rho=0.5,weight_decay=0.1) Adamax(p,0.1) Adamax(p,0.1,weight_decay=0.2,maximize=True) NAdam(p,0.1) NAdam(p,0.1,weight_decay=0.2)
NAdam(p,0.1,weight_decay=0.2,decoupled_weight_decay=True,momentum_decay=0.1) RAdam(p,0.1) RAdam(p,0.1,betas=(0.5,0.6),weight_decay=0.1)
RAdam(p,0.1,betas=(0.5,0.6),weight_decay=0.1,decoupled_weight_decay=True) Rprop(p) Rprop(p,0.3,etas=(0.3,1.5),step_sizes=(0.1,0.4)) ASGD(p)
ASGD(p,0.1,lambd=0.1,t0=3,weight_decay=0.1) Adafactor(p) Adafactor(p,0.1,weight_decay=0.1,d=2.0,eps=(1e-3,1e-2),maximize=True)
""".split()


def loss_of(t, matrix, vector):
    return ((matrix - 0.3) ** 2).sum() + (matrix @ vector).sin().sum()


def steps(t, parameters, optimizer, count):
    for _ in range(count):
        optimizer.zero_grad()
        loss_of(t, *parameters).backward()
        optimizer.step()


def begun(t, expression, values=(MATRIX, VECTOR)):
    parameters = [t.tensor(value, requires_grad=True) for value in values]
    return parameters, eval(f"t.optim.{expression}", {"t": t, "p": parameters})


def arrays(tensors):
    return [each.detach().numpy() for each in tensors]


def assert_alike(own, peer, tolerance=1e-10):
    assert len(own) == len(peer)
    for mine, other in zip(own, peer):
        assert mine.shape == other.shape and mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("expression", OPTIMIZERS)
def test_optimizer(expression):
    own, optimizer = begun(shim, expression)
    peer, other = begun(torch, expression)
    steps(shim, own, optimizer, 6)
    steps(torch, peer, other, 6)
    assert repr(optimizer) == repr(other)
    assert_alike(arrays(own), arrays(peer))
    mine, theirs = optimizer.state_dict(), other.state_dict()
    assert [list(group) for group in mine["param_groups"]] == [list(group) for group in theirs["param_groups"]]
    assert list(mine["state"]) == list(theirs["state"])
    for number, state in mine["state"].items():
        assert sorted(state) == sorted(theirs["state"][number])
        assert_alike([state[key].numpy() for key in state], [theirs["state"][number][key].numpy() for key in state])


@pytest.mark.parametrize("expression", ["SGD(p,0.1,momentum=0.9)", "Adam(p,0.1,amsgrad=True)", "NAdam(p,0.1)", "ASGD(p,0.1)", "Adafactor(p)"])
def test_a_state_dict_of_pytorch_is_gone_on_from(expression):
    peer, other = begun(torch, expression)
    steps(torch, peer, other, 3)
    own, optimizer = begun(shim, expression.replace("0.1", "0.7"), arrays(peer))
    optimizer.load_state_dict(other.state_dict())
    other.load_state_dict(other.state_dict())
    steps(torch, peer, other, 3)
    steps(shim, own, optimizer, 3)
    assert_alike(arrays(own), arrays(peer))


@pytest.mark.parametrize("expression", ["SGD(p,0.1,momentum=0.9)", "Adam(p,0.1)", "RMSprop(p,0.1)", "Adagrad(p,0.1)", "Adadelta(p)", "Adamax(p)"])
def test_complex_parameters(expression):
    def trained(t):
        (x,), optimizer = begun(t, expression, (COMPLEX,))
        for _ in range(4):
            optimizer.zero_grad()
            ((x * x.conj()).real.sum() + x.real.sin().sum()).backward()
            optimizer.step()
        state = optimizer.state_dict()["state"][0]
        return [*arrays([x]), *(state[key].numpy() for key in sorted(state))]

    assert_alike(trained(shim), trained(torch))


LBFGS = """
LBFGS(p) logistic 4 | LBFGS(p,line_search_fn='strong_wolfe') logistic 4 | LBFGS(p,lr=0.2,history_size=5) logistic 6
LBFGS(p,max_iter=1,line_search_fn='strong_wolfe') valley 25 | LBFGS(p,max_iter=4,history_size=3,line_search_fn='strong_wolfe') valley 12
LBFGS(p,lr=8.0,max_iter=3,line_search_fn='strong_wolfe') valley 6 | LBFGS(p,lr=100.0,max_eval=3,line_search_fn='strong_wolfe') valley 12
LBFGS(p,tolerance_grad=1e-2,line_search_fn='strong_wolfe') logistic 3 | LBFGS(p,tolerance_change=1e-2) logistic 3
"""
LBFGS = [tuple(case.split()) for line in LBFGS.strip().splitlines() for case in line.split("|")]


def descended(t, expression, problem, count):
    parameters, optimizer = begun(t, expression, (np.array([-1.2, 1.0, 0.3, -0.5]), np.zeros(1)))
    w, b = parameters
    places, losses = [], []

    def closure():
        optimizer.zero_grad()
        if problem == "logistic":
            loss = (1 + (-t.tensor(LABELS) * (t.tensor(INPUTS) @ w + b)).exp()).log().mean() + 0.05 * (w * w).sum()
        else:  # Rosenbrock's
            loss = (100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2).sum()
        loss.backward()
        losses.append(loss.item())
        return loss

    for _ in range(count):
        optimizer.step(closure)
        places.append(w.detach().numpy().copy())
    return places, losses, optimizer.state_dict()


@pytest.mark.parametrize(("expression", "problem", "count"), LBFGS)
def test_lbfgs_goes_through_the_same_points(expression, problem, count):
    own, peer = (descended(t, expression, problem, int(count)) for t in (shim, torch))
    assert_alike(own[0], peer[0])
    assert len(own[1]) == len(peer[1])
    mine, theirs = own[2]["state"][0], peer[2]["state"][0]
    assert sorted(mine) == sorted(theirs)
    for key in ("n_iter", "func_evals"):
        assert mine[key] == theirs[key]
    assert [len(mine[key]) for key in ("old_dirs", "old_stps", "ro", "al")] == [len(theirs[key]) for key in ("old_dirs", "old_stps", "ro", "al")]


def test_lbfgs_goes_on_from_a_state_dict_of_pytorch():
    def go(t, start, state):
        (x,), optimizer = begun(t, "LBFGS(p,max_iter=3,line_search_fn='strong_wolfe')", (start,))
        if state is not None:
            optimizer.load_state_dict(state)

        def closure():
            optimizer.zero_grad()
            loss = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return x.detach().numpy(), optimizer.state_dict()

    start, state = go(torch, np.array([-1.2, 1.0, 0.5]), None)
    assert_alike([go(shim, start.copy(), state)[0]], [go(torch, start.copy(), state)[0]])


SCHEDULES = """
StepLR(o,3) MultiStepLR(o,[2,5],0.5) MultiStepLR(o,[4,4,2]) ConstantLR(o,0.4,4) LinearLR(o,0.2,0.9,6) ExponentialLR(o,0.8) CosineAnnealingLR(o,6,0.01)
CosineAnnealingWarmRestarts(o,2,2) CosineAnnealingWarmRestarts(o,3) LambdaLR(o,lambda.e:0.9**e) LambdaLR(o,[lambda.e:0.9**e,lambda.e:1/(1+e)])
MultiplicativeLR(o,lambda.e:1/(1+e)) PolynomialLR(o,5,2.0) CyclicLR(o,0.1,0.5,3) CyclicLR(o,[0.1,0.2],[0.5,0.6],2,3,mode='triangular2')
CyclicLR(o,0.1,0.5,2,mode='exp_range',gamma=0.9,base_momentum=0.7,max_momentum=0.95) CyclicLR(o,0.1,0.5,3,scale_fn=lambda.x:1/x,cycle_momentum=False)
OneCycleLR(o,0.5,13) OneCycleLR(o,[0.5,0.9],epochs=2,steps_per_epoch=7,anneal_strategy='linear',three_phase=True) OneCycleLR(o,0.5,20,pct_start=0.1,div_factor=5.0)
SequentialLR(o,[s.ConstantLR(o,0.1,2),s.ExponentialLR(o,0.9)],[4]) SequentialLR(o,[s.LinearLR(o,0.1),s.CosineAnnealingLR(o,5),s.StepLR(o,2)],[3,8])
ChainedScheduler([s.ConstantLR(o,0.1,2),s.ExponentialLR(o,0.9)]) ChainedScheduler([s.CosineAnnealingLR(o,4),s.LinearLR(o,0.5),s.StepLR(o,3,0.5)],o)
""".split()


def scheduled(t, expression, optimizer="SGD(p,0.1,momentum=0.9)"):
    parameters = [{"params": [t.ones(1, requires_grad=True)]}, {"params": [t.ones(1, requires_grad=True)], "lr": 0.7}]
    optimizer = eval(f"t.optim.{optimizer}", {"t": t, "p": parameters})
    space = {"s": t.optim.lr_scheduler, "o": optimizer}
    return optimizer, eval(f"s.{expression.replace('lambda.', 'lambda ')}", space)


def rates(optimizer, schedule, count):
    found = [schedule.get_last_lr()]
    for _ in range(count):
        optimizer.step()
        schedule.step()
        found.append([group["lr"] for group in optimizer.param_groups])
    momenta = [group.get("momentum", group.get("betas")) for group in optimizer.param_groups]
    return np.array(found), np.array(momenta)


@pytest.mark.parametrize("expression", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["SGD(p,0.1,momentum=0.9)", "Adam(p,0.1)"])
def test_schedule(expression, optimizer):
    own, peer = (scheduled(t, expression, optimizer) for t in (shim, torch))
    for mine, other in zip(rates(*own, 12), rates(*peer, 12)):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-15)
    mine, other = own[1].state_dict(), peer[1].state_dict()
    # What torch notes beside is whether it is within a step.
    assert {key for key in other if key not in ("_get_lr_called_within_step", "_is_initial")} <= set(mine)
    assert [sorted(group) for group in own[0].param_groups] == [sorted(group) for group in peer[0].param_groups]


@pytest.mark.parametrize("expression", [each for each in SCHEDULES if "lambda" not in each])
def test_a_schedule_goes_on_from_a_state_dict_of_pytorch(expression):
    peer = scheduled(torch, expression)
    rates(*peer, 5)
    own = scheduled(shim, expression)
    own[1].load_state_dict(peer[1].state_dict())
    own[0].load_state_dict(peer[0].state_dict())
    for mine, other in zip(rates(*own, 6), rates(*peer, 6)):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("expression", [each for each in SCHEDULES if each.count("o,") < 2 and "lambda" not in each])
def test_a_schedule_that_begins_at_an_epoch(expression):
    def resumed(t):
        optimizer, schedule = scheduled(t, expression)
        rates(optimizer, schedule, 4)
        space = {"s": t.optim.lr_scheduler, "o": optimizer}
        return rates(optimizer, eval(f"s.{expression[:-1]},last_epoch=4)", space), 4)

    for mine, other in zip(resumed(shim), resumed(torch)):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("expression", ["StepLR(o,3)", "CosineAnnealingLR(o,6)", "LinearLR(o)", "ExponentialLR(o,0.8)", "CosineAnnealingWarmRestarts(o,2,2)"])
def test_a_schedule_told_its_epoch(expression):
    def found(t):
        optimizer, schedule = scheduled(t, expression)
        optimizer.step()
        result = []
        for epoch in (2, 7, 3, 11):
            schedule.step(epoch)
            result.append(schedule.get_last_lr())
        return result

    np.testing.assert_allclose(found(shim), found(torch), rtol=1e-9)


def test_schedules_one_after_the_other_multiply():
    def found(t):
        optimizer, first = scheduled(t, "ExponentialLR(o,0.9)")
        second = t.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4], 0.5)
        result = []
        for _ in range(6):
            optimizer.step()
            first.step()
            second.step()
            result.append(second.get_last_lr())
        return result

    np.testing.assert_allclose(found(shim), found(torch), rtol=1e-9)


@pytest.mark.parametrize("options", ["factor=0.5, patience=1, cooldown=1, min_lr=0.02", "'max', 0.3, 0, threshold=0.1", "threshold_mode='abs', threshold=0.5, patience=2", "min_lr=[0.01, 0.3], patience=0"])
def test_reducing_on_plateaus(options):
    def found(t):
        optimizer, schedule = scheduled(t, f"ReduceLROnPlateau(o, {options})")
        result = []
        for value in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
            schedule.step(t.tensor(value))
            result.append([group["lr"] for group in optimizer.param_groups])
        return result, schedule.state_dict()

    (own, state), (peer, other) = found(shim), found(torch)
    np.testing.assert_allclose(own, peer, rtol=1e-9)
    assert sorted(state) == sorted(other)


def test_hooks_and_groups_see_the_same():
    def told(t):
        seen = []
        x, y = t.ones(2, requires_grad=True), t.ones(1, requires_grad=True)
        optimizer = t.optim.SGD([("x", x)], 0.5)
        optimizer.add_param_group({"params": [("y", y)], "lr": 0.25})
        optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append(("pre", len(args), sorted(kwargs))))
        optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(("post", len(args), sorted(kwargs))))
        optimizer.register_state_dict_pre_hook(lambda o: seen.append("saving"))
        optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1})
        optimizer.register_load_state_dict_pre_hook(lambda o, state: seen.append(sorted(state)))
        optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"), prepend=True)
        (x.sum() + y.sum()).backward()
        optimizer.step()
        state = optimizer.state_dict()
        optimizer.load_state_dict(state)
        optimizer.zero_grad(set_to_none=False)
        return seen, state, x.tolist(), y.tolist(), x.grad.tolist(), repr(optimizer)

    assert told(shim) == told(torch)


@pytest.mark.parametrize("options", ["", "use_buffers=True", "avg_fn=w.get_ema_avg_fn(0.9)", "multi_avg_fn=w.get_ema_multi_avg_fn(0.8)"])
def test_means_of_models(options):
    def found(t):
        model = t.nn.Sequential(t.nn.Linear(6, 3), t.nn.BatchNorm1d(3)).double()
        with t.no_grad():
            for parameter in model.parameters():
                parameter.copy_(t.arange(1.0, parameter.numel() + 1).double().reshape(parameter.shape) / 7)
        mean = eval(f"w.AveragedModel(model, {options})", {"w": t.optim.swa_utils, "model": model})
        optimizer = t.optim.SGD(model.parameters(), 0.1)
        schedule = t.optim.swa_utils.SWALR(optimizer, 0.05, 3)
        rates = []
        for _ in range(5):
            optimizer.zero_grad()
            (model(t.tensor(MATRIX)) ** 3).sum().backward()
            optimizer.step()
            mean.update_parameters(model)
            schedule.step()
            rates.append(schedule.get_last_lr()[0])
        t.optim.swa_utils.update_bn([(t.tensor(MATRIX),), (t.tensor(MATRIX * 2),)], mean)
        return list(mean.state_dict()), [np.asarray(value.numpy(), float) for value in mean.state_dict().values()], np.array(rates)

    own, peer = found(shim), found(torch)
    assert own[0] == peer[0]
    assert_alike([*own[1], own[2]], [*peer[1], peer[2]])


BAD = """
t.optim.swa_utils.SWALR(o,0.1,-1) | t.optim.swa_utils.SWALR(o,0.1,anneal_strategy='no') | t.optim.swa_utils.SWALR(o,[1,2]) | t.optim.swa_utils.get_ema_avg_fn(2.0)
t.optim.SGD([],0.1) | t.optim.SGD([t.ones(1)],-0.1) | t.optim.SGD(t.ones(1),0.1) | t.optim.Adam([t.ones(1)],betas=(1.0,0.9)) | t.optim.SGD([3],0.1)
t.optim.SGD([t.ones(1)],t.ones(2)) | t.optim.SGD([t.ones(1)],nesterov=True) | t.optim.Adam([t.ones(1)],fused=True,foreach=True)
t.optim.Adam([t.ones(1)],betas=(t.tensor(0.5),0.9)) | t.optim.SGD([t.ones(1,requires_grad=True)*2]) | t.optim.SGD([('a',t.ones(1)),t.ones(1)])
t.optim.SGD([{'params':[t.ones(1)]},3]) | t.optim.SGD([t.ones(1)]).add_param_group({'params':[('a',t.ones(1))]})
t.optim.SGD([{'params':{t.ones(1)}}]) | t.optim.Adadelta([t.ones(1)],rho=2) | t.optim.Rprop([t.ones(1)],etas=(1,2)) | t.optim.NAdam([t.ones(1)],momentum_decay=-1)
t.optim.Adafactor([t.ones(1)],d=0.5) | t.optim.LBFGS([{'params':[t.ones(1)]},{'params':[t.ones(1)]}]) | t.optim.LBFGS([t.ones(1)]).step()
t.optim.SGD([t.ones(1)]).load_state_dict(t.optim.SGD([t.ones(1),t.ones(1)]).state_dict()) | s.StepLR(3,1) | s.LambdaLR(o,[len,len]) | s.MultiplicativeLR(o,3)
s.ConstantLR(o,2.0) | s.LinearLR(o,0.0) | s.LinearLR(o,end_factor=2.0) | s.CosineAnnealingWarmRestarts(o,0) | s.CosineAnnealingWarmRestarts(o,2,0.5)
s.CyclicLR(o,[0.1,0.2],0.3) | s.CyclicLR(t.optim.Adagrad([t.ones(1)]),0.1,0.3) | s.CyclicLR(o,0.1,0.2,mode='no') | s.OneCycleLR(o,0.1) | s.OneCycleLR(o,0.1,-3)
s.OneCycleLR(o,0.1,epochs=2,steps_per_epoch=0) | s.OneCycleLR(o,0.1,10,pct_start=2.0) | s.OneCycleLR(o,0.1,10,anneal_strategy='no') | s.SequentialLR(o,[],[])
s.SequentialLR(o,[s.ConstantLR(o)],[1]) | s.SequentialLR(o,[s.ReduceLROnPlateau(o)],[]) | s.ChainedScheduler([])
s.SequentialLR(o,[s.StepLR(t.optim.SGD([t.ones(1)],1.0),1)],[]) | s.ReduceLROnPlateau(o,'no') | s.ReduceLROnPlateau(o,factor=1.0) | s.ReduceLROnPlateau(o,min_lr=[1,2])
s.StepLR(o,1,last_epoch=2) | s.ReduceLROnPlateau(o,threshold_mode='no') | [s.OneCycleLR(o,0.1,2)]+[c.step() for c in [s.OneCycleLR(o,0.1,2)] for _ in range(3)]
"""
BAD = [case.strip() for line in BAD.strip().splitlines() for case in line.split("|")]


@pytest.mark.parametrize("expression", BAD)
def test_errors(expression):
    def call(t):
        eval(expression, {"t": t, "s": t.optim.lr_scheduler, "o": t.optim.SGD([t.ones(1)], 0.1, momentum=0.5)})

    with pytest.raises(Exception) as peer:
        call(torch)
    with pytest.raises(peer.type) as own:
        call(shim)
    if not isinstance(peer.value, TypeError):
        assert str(own.value).split("\n")[0][:40].lower() == str(peer.value).split("\n")[0][:40].lower()
