"""`torch.linalg` and the older names against PyTorch: values, gradients, second derivatives and errors, as in `test_torch_shim.py`.

Of vectors, functions that do not depend on their choice.
"""

import runpy
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = pytest.mark.peers

shared = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_torch_shim.py"))))

# h: a complex matrix; r: of rank 2.
CASES = """
t.linalg.eigvalsh(s)
t.linalg.eigvalsh(s,'U')
t.linalg.eigvalsh(s@s.T)
t.linalg.eigh(s)[0]
t.linalg.eigvalsh(h)
(lambda w,v:(v*w.sin())@v.adjoint())(*t.linalg.eigh(s))
(lambda w,v:(v*w.sin())@v.adjoint())(*t.linalg.eigh(s,UPLO='U'))
(lambda w,v:(v*w.sin())@v.adjoint())(*t.linalg.eigh(h))
(lambda w,v:v[:,1:]@v[:,1:].T)(*t.linalg.eigh(s@s.T))
t.linalg.eigvals(s).abs().sort()[0]
t.linalg.eigvals(s).sum().real
(lambda w,v:t.view_as_real((v*w.sin())@t.linalg.inv(v)))(*t.linalg.eig(s))
(lambda w,v:t.view_as_real((v*w.sin())@t.linalg.inv(v)))(*t.linalg.eig(h))
t.linalg.eig(h)[1].abs()
t.linalg.svdvals(a)
t.linalg.svdvals(x)
t.linalg.svdvals(h)
t.linalg.svd(a,full_matrices=False)[1]
t.linalg.svd(s)[1]
(lambda u,q,g:(u*q.sin())@g)(*t.linalg.svd(m,full_matrices=False))
(lambda u,q,g:(u*q.sin())@g)(*t.linalg.svd(m.T,full_matrices=False))
t.linalg.svd(x,full_matrices=False)[1]
(lambda u,q,g:t.view_as_real(((u*q.sin())@g)))(*t.linalg.svd(h))
(lambda u,q,g:u[:,:2]@u[:,:2].T)(*t.linalg.svd(m,full_matrices=False))
(lambda u,q,v:(u*q.sin())@v.T)(*t.svd(m))
t.svd(m,compute_uv=False)[1]
t.svd(m,some=False)[1]
t.linalg.qr(s)
t.linalg.qr(m.T)
t.linalg.qr(m)
t.linalg.qr(x)
t.linalg.qr(s,mode='complete')
t.linalg.qr(h)[1].abs()
t.qr(m.T)
s.qr()[1]
t.linalg.pinv(m)
t.linalg.pinv(m.T)
t.linalg.pinv(x)
t.linalg.pinv(r,rtol=1e-8)
t.linalg.pinv(s@s.T,hermitian=True)
t.linalg.pinv(m,atol=0.5)
t.view_as_real(t.linalg.pinv(h))
t.pinverse(m)
m.pinverse()
t.linalg.matrix_rank(m)
t.linalg.matrix_rank(r)
t.linalg.matrix_rank(x,rtol=0.9)
t.linalg.matrix_rank(s@s.T,hermitian=True)
t.linalg.matrix_rank(m,atol=2.0)
t.linalg.lstsq(m.T,x[0].T)[0]
t.linalg.lstsq(m,s)[0]
t.linalg.lstsq(m.T,w)[0]
t.linalg.lstsq(m.T,x[0].T).rank
t.linalg.lstsq(x.mT,x.mT*2+1)[0]
t.linalg.lstsq(m.T,x[0].T,driver='gelsd').singular_values.detach()
t.linalg.lstsq(m.T,x[0].T,driver='gelsd').solution
t.linalg.lstsq(m.T,x[0].T,driver='gels')[:2]
t.linalg.lstsq(m.T,x[0].T)[1].detach()
t.linalg.matrix_norm(m,2)
t.linalg.matrix_norm(m,-2)
t.linalg.matrix_norm(m,'nuc')
t.linalg.matrix_norm(x,2,dim=(0,2),keepdim=True)
t.linalg.matrix_norm(x,'nuc',keepdim=True)
t.linalg.matrix_norm(m,-1)
t.linalg.matrix_norm(m,float('inf'))
t.linalg.matrix_norm(f,dtype=t.float64)
t.linalg.matrix_norm(f,2,dtype=t.float64)
t.linalg.matrix_norm(h,'nuc')
t.linalg.norm(m,2)
t.linalg.norm(m,'nuc')
t.linalg.norm(v,3)
t.linalg.norm(x)
t.linalg.norm(x,2,dim=(1,2))
t.linalg.norm(x,dim=(0,1))
t.linalg.norm(x,1,dim=1,keepdim=True)
t.linalg.norm(m,-float('inf'))
t.linalg.vector_norm(x,0)
t.linalg.vector_norm(m,-float('inf'),dim=1)
t.linalg.vector_norm(m,0.5,dim=0)
t.linalg.vector_norm(f,2,dtype=t.float64)
t.norm(m,'nuc')
t.norm(m,p='fro',dim=(0,1))
t.nuclear_norm(m)
f.norm(dtype=t.float64)
t.linalg.cond(s)
t.linalg.cond(m)
t.linalg.cond(m,-2)
t.linalg.cond(s,2)
t.linalg.cond(s.detach(),'fro')
t.linalg.cond(s.detach(),1)
t.linalg.cond(s.detach(),-float('inf'))
t.linalg.cond(s.detach(),'nuc')
t.linalg.cond((s*0).detach(),'fro')
t.linalg.matrix_power(s,-2)
t.linalg.matrix_power(s,0)
s.matrix_power(5)
t.linalg.multi_dot([v,s,m])
t.linalg.multi_dot([a,s,v])
t.linalg.solve_triangular(s.triu(),m,upper=True)
t.linalg.solve_triangular(s,m,upper=True,unitriangular=True)
t.linalg.solve_triangular(s,a,upper=False,left=False)
t.triangular_solve(m,s)[0]
t.triangular_solve(m,s,upper=False,transpose=True)[0]
t.linalg.inv_ex(s)
t.linalg.solve_ex(s,m)
t.linalg.solve_ex(s,v)[0]
t.linalg.cholesky(s@s.T)
t.linalg.cholesky(s+s.T,upper=True)
t.linalg.cholesky_ex(s@s.T)
t.linalg.cholesky_ex(-s@s.T)[1]
t.cholesky_inverse(s.tril())
t.cholesky_inverse(s.triu(),upper=True)
t.cholesky_solve(m,s.tril())
t.cholesky_solve(m,s.triu(),upper=True)
t.linalg.lu(s)[1:]
t.linalg.lu(m)[1:]
t.linalg.lu(m.T)[1:]
t.linalg.lu(x)[1:]
t.linalg.lu(m)[0]
t.view_as_real(t.linalg.lu(h)[2])
t.linalg.lu_factor(s)
t.linalg.lu_factor(m.T)
t.linalg.lu_factor_ex(m)
t.linalg.lu_factor_ex((s*0).detach())[2]
t.linalg.lu_solve(*t.linalg.lu_factor(s),m)
t.linalg.lu_solve(*t.linalg.lu_factor(s),m,adjoint=True)
t.linalg.lu_solve(*t.linalg.lu_factor(s),a,left=False)
t.linalg.lu_solve(*t.linalg.lu_factor(s),a,left=False,adjoint=True)
t.lu_solve(m,*t.linalg.lu_factor(s))
t.lu_unpack(*t.linalg.lu_factor(m.T))[1:]
t.lu_unpack(*t.linalg.lu_factor(s),unpack_data=False)[0]
s.lu()[0]
t.linalg.matrix_exp(s)
t.matrix_exp(s/3)
t.view_as_real(t.linalg.matrix_exp(h))
t.linalg.householder_product(m.T,v)
t.linalg.householder_product(m.T,v[:2])
t.linalg.householder_product(x.mT,x[:,0,:3])
t.view_as_real(t.linalg.householder_product(h,z))
t.orgqr(m.T,v)
t.frobenius_norm(m,(0,1))
t.linalg.vander(v)
t.linalg.vander(v,N=2)
t.linalg.eigvalsh(s.float())
t.linalg.svdvals(m.float())
""".strip().splitlines()
INPUTS = {
    "h": lambda t, own: own["s"] + 0.3j * (own["s"] @ own["s"]).T,
    "r": lambda t, own: own["a"].T @ own["a"],
}
# PyTorch has no second derivative, or none of what is complex.
FIRST_ONLY = {
    "t.linalg.lstsq(m.T,x[0].T,driver='gels')[:2]",
}


def observed(module, case):
    """As `shared.observed`, with more inputs."""
    own = shared.tensors(module, True)
    leaves = [tensor for tensor in own.values() if tensor.requires_grad]
    more = {name: make(module, own) for name, make in INPUTS.items()}
    out = shared.parts(module, eval(case, {"t": module, **own, **more}))
    seen = {"values": [shared.numbers(part) for part in out], "dtypes": [str(part.dtype) for part in out]}
    loss = shared.total(module, out)
    if loss is None:
        return seen
    first = module.autograd.grad(loss, leaves, create_graph=case not in FIRST_ONLY, allow_unused=True)
    seen["gradients"] = [shared.numbers(ct) for ct in first]
    again = None if case in FIRST_ONLY else shared.total(module, [ct for ct in first if ct is not None])
    if again is not None:
        seen["second"] = [shared.numbers(ct) for ct in module.autograd.grad(again, leaves, allow_unused=True)]
    return seen


@pytest.mark.parametrize("case", CASES)
def test_functions(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, ours = observed(torch, case), observed(shim, case)
    assert ours["dtypes"] == theirs["dtypes"]
    tolerance = 3e-4 if "float32" in case or "float()" in case or "f," in case else 1e-7
    for what in theirs:
        if what in ("gradients", "second") and what not in ours:  # what they are of is constant
            assert all(part is None or not np.any(part) for part in theirs[what])
        elif what != "dtypes":
            shared.agree(ours[what], theirs[what], what, case, tolerance)


NAMES = """
t.linalg.eigh(s)[0] t.linalg.eigvalsh(s) t.linalg.eig(s)[1] t.linalg.eigvals(s) t.linalg.svd(m)[0] t.linalg.svdvals(m) t.svd(m)[0] t.linalg.qr(m)[1]
t.qr(m)[0] t.linalg.pinv(m) t.pinverse(m) t.linalg.lstsq(m,m)[0] t.linalg.matrix_norm(m) t.linalg.matrix_norm(m,2) t.linalg.matrix_norm(m,-1)
t.linalg.matrix_norm(m,'nuc') t.linalg.norm(m) t.linalg.cond(s,1) t.linalg.inv_ex(s)[0] t.linalg.solve_ex(s,s)[0] t.linalg.cholesky_ex(s@s.T)[0]
t.linalg.lu(s)[1] t.linalg.lu_factor(s)[0] t.linalg.lu_factor_ex(s)[0] t.linalg.matrix_exp(s) t.matrix_exp(s) t.cholesky_inverse(s)
t.cholesky_solve(s,s) t.triangular_solve(s,s)[0] t.linalg.lu_solve(*t.linalg.lu_factor(s),s) t.norm(m,'nuc')
""".split()


@pytest.mark.parametrize("case", NAMES)
def test_names_of_nodes(case):
    seen = []
    for module in (torch, shim):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen.append(eval(case, {"t": module, **shared.tensors(module, True)}).grad_fn.name())
    assert seen[0] == seen[1]


ERRORS = """
t.linalg.eigh(s,'X') t.linalg.eigh(a) t.linalg.svd(v) t.linalg.svd(a,driver='gesvd') t.linalg.qr(a,'x') t.linalg.qr(i) t.linalg.svdvals(i)
t.linalg.pinv(v) t.linalg.matrix_rank(v) t.linalg.matrix_norm(a,3) t.linalg.matrix_norm(v) t.linalg.norm(a,'nuc',dim=1) t.linalg.cond(a,'fro')
t.linalg.cond(v) t.linalg.lstsq(a,s) t.linalg.eigvals(a) t.linalg.eig(s*float('nan')) t.linalg.matrix_exp(a) t.linalg.multi_dot([a])
t.linalg.matrix_power(a,2) t.linalg.matrix_power(s*0,-1) t.cholesky_solve(w,s) t.linalg.lu_factor(s,pivot=False) t.linalg.lu_factor(s*0)
t.linalg.inv_ex(s*0,check_errors=True) t.linalg.solve_ex(s*0,m,check_errors=True) t.linalg.cholesky_ex(-s@s.T,check_errors=True)
t.linalg.solve_triangular(s,s) t.linalg.norm(x,2) t.linalg.norm(x,2,dim=(0,1,2)) t.linalg.svd(s*float('nan'))
t.linalg.lu_factor(v) t.linalg.lstsq(m,m,driver='best') t.linalg.cond(s,7) t.linalg.householder_product(m,v) t.linalg.householder_product(m.T,w) t.linalg.vander(o) t.linalg.matrix_norm(m,dtype=t.float32) t.linalg.norm(m,2,dtype=t.float32) m.norm(dtype=t.float32)
""".split()


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    raised = []
    for module in (torch, shim):
        with pytest.raises(Exception) as caught, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            eval(case, {"t": module, **shared.tensors(module, False)})
        raised.append(caught.value)
    theirs, ours = raised
    same = (
        isinstance(ours, torch.linalg.LinAlgError.__bases__[0])
        if isinstance(theirs, torch.linalg.LinAlgError)
        else type(ours) is type(theirs)
    )
    assert same, (theirs, ours)
    first = str(theirs).split("\n")[0][:40]
    assert isinstance(theirs, torch.linalg.LinAlgError) or type(theirs) is TypeError or str(ours).startswith(first), (
        theirs,
        ours,
    )
    assert "test_torch_linalg.py" in str(ours) or type(ours) is TypeError or "<string>" in str(ours), ours


def test_matrices_without_a_result():
    """LAPACK's numbers are PyTorch's; of a batch, the other matrices have their results and gradients."""
    numbers = []
    for module in (torch, shim):
        good, bad = module.tensor([[4.0, 1.0], [1.0, 3.0]]), module.tensor([[0.0, 0.0], [0.0, 1.0]])
        x = module.stack([good, bad]).requires_grad_()
        factor, info = module.linalg.cholesky_ex(x)
        inverse, other = module.linalg.inv_ex(x)
        gradient = module.autograd.grad(factor[0].sum() + inverse[0].sum(), x)[0][0]
        numbers.append(
            [each.detach().numpy() for each in (info, other, module.linalg.lu_factor_ex(x)[2], factor[0], inverse[0], gradient)]
        )
    for theirs, ours in zip(*numbers):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("name", ["ldl_factor", "ldl_factor_ex", "ldl_solve"])
def test_what_is_missing_says_so(name):
    assert hasattr(torch.linalg, name)
    with pytest.raises(NotImplementedError, match=f"torch.linalg.{name} is not supported"):
        getattr(shim.linalg, name)(shim.eye(2))


def test_every_name_is_there():
    assert {name for name in dir(torch.linalg) if name[0] != "_"} - {"common_notes"} <= set(dir(shim.linalg))
