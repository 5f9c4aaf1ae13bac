"""Functions and methods of `functrans.torch` against PyTorch: values, dtypes, gradients, second derivatives, errors.

Each case is an expression in ``t``, the module, and the tensors of `inputs`; it is evaluated with both.
"""

import warnings

import numpy as np
import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = pytest.mark.peers

SOURCE = np.random.Generator(np.random.PCG64(7))
ARRAYS = {
    "a": SOURCE.uniform(-2, 2, (2, 3)),
    "b": SOURCE.uniform(-2, 2, (2, 3)),
    "p": SOURCE.uniform(0.3, 2.5, (2, 3)),
    "q": SOURCE.uniform(0.3, 2.5, (2, 3)),
    "u": SOURCE.uniform(-0.9, 0.9, (2, 3)),
    "v": SOURCE.uniform(-2, 2, (3,)),
    "w": SOURCE.uniform(-2, 2, (4,)),
    "m": SOURCE.uniform(-2, 2, (3, 4)),
    "s": np.eye(3) * 2 + SOURCE.uniform(-0.5, 0.5, (3, 3)),
    "x": SOURCE.uniform(-2, 2, (2, 3, 4)),
    "y": SOURCE.uniform(-2, 2, (2, 4, 3)),
    "z": SOURCE.uniform(-2, 2, (3,)) + 1j * SOURCE.uniform(-2, 2, (3,)),
    "o": np.array(1.7),
    "i": np.array([[5, 2, 9], [1, 7, 4]]),
    "j": np.array([[3, 1, 2], [2, 5, 3]]),
    "k": np.array([[True, False, True], [False, True, True]]),
    "n": np.array([2, 0, 1]),
    "g": np.array([[0, 1, 1], [1, 0, 1]]),
    "f": SOURCE.uniform(-2, 2, (2, 3)).astype(np.float32),
}

ELEMENTWISE = """
a+b a-b a*b a/p a+1 1-a 2/p a*2.5 -a abs(a) a**2 p**0.5 p**2.5 p**-1 p**q 2**a a//p a%p a@m a+v o*a a+o f+a a*f
t.add(a,b,alpha=2) t.sub(a,b,alpha=3) t.mul(a,b) t.div(a,p) t.true_divide(a,p) t.rsub(a,b) t.neg(a) t.abs(a) t.absolute(a)
t.div(a,p,rounding_mode='floor') t.div(a,p,rounding_mode='trunc') t.floor_divide(i,j) t.remainder(i,j) t.fmod(a,p) t.remainder(a,p)
t.sqrt(p) t.rsqrt(p) t.square(a) t.exp(a) t.exp2(a) t.expm1(a) t.log(p) t.log2(p) t.log10(p) t.log1p(p)
t.sin(a) t.cos(a) t.tan(u) t.asin(u) t.acos(u) t.atan(a) t.arcsin(u) t.arctan(a) t.atan2(a,p) t.arctan2(p,a) t.hypot(a,b)
t.sinh(a) t.cosh(a) t.tanh(a) t.asinh(a) t.acosh(p+1) t.atanh(u) t.reciprocal(p) t.deg2rad(a) t.rad2deg(a)
t.erf(a) t.erfc(a) t.sigmoid(a) t.lgamma(p) t.digamma(p) t.logit(p/4) t.logit(a,eps=0.2) t.sinc(a) t.xlogy(a,p) t.xlogy(p,q)
t.logaddexp(a,b) t.logaddexp2(a,b) t.maximum(a,b) t.minimum(a,b) t.fmax(a,b) t.fmin(a,b) t.copysign(a,b) t.heaviside(a,b)
t.relu(a) t.clamp(a,-1,1) t.clamp(a,min=0) t.clamp(a,max=0.5) t.clamp(a,b,p) t.clip(a,-0.5,0.5) a.clamp_min(0.1) a.clamp_max(0.1)
t.floor(a) t.ceil(a) t.round(a) t.round(a,decimals=1) t.trunc(a) t.fix(a) t.frac(a) t.sign(a) t.sgn(a) t.positive(a)
t.nan_to_num(a/k) t.lerp(a,b,0.3) t.lerp(a,b,u) t.addcmul(a,b,p,value=0.5) t.addcdiv(a,b,p,value=0.5)
t.isfinite(a/k) t.isinf(a/k) t.isnan(a) t.isposinf(a/k) t.isneginf(a/k) t.signbit(a) t.isreal(a) t.isclose(a,a+1e-9) t.i0(a.detach())
a==b a!=b a<b a<=b a>b a>=b t.eq(i,j) t.ne(i,2) t.lt(a,0) t.le(a,b) t.gt(a,b) t.ge(a,b) t.not_equal(a,b) t.less(a,b) t.greater(a,b)
t.logical_and(k,i>4) t.logical_or(k,i>4) t.logical_xor(k,i>4) t.logical_not(k) i&j i|j i^j ~i ~k i<<j i>>1 t.bitwise_and(i,j)
t.bitwise_or(i,j) t.bitwise_xor(i,j) t.bitwise_not(i) t.bitwise_left_shift(i,j) t.bitwise_right_shift(i,j) t.gcd(i,j) t.lcm(i,j)
t.where(k,a,b) t.where(k,a,0.0) t.where(k,1.5,a) a.where(k,b) t.masked_fill(a,k,2.0) a.masked_fill(k,o) t.selu(a) t.celu(a,0.7)
t.threshold(a,0.1,5) t.prelu(a,v[:1]) t.float_power(p,2) t.softmax(a,1) t.log_softmax(a,0) a.softmax(-1) t.softmax(a,0,dtype=t.float32)
i/j i+1.5 i*o i+f k+1 k*a i.sqrt() i.exp() t.sigmoid(i) i+t.tensor(1.5) f*2 f+1.5
t.nextafter(a,b) t.conj(z) t.real(z) t.imag(z) z*z z/(z+3) z.abs() z.angle() t.exp(z) t.sin(z) z.conj()*2 z.real*z.imag
t.view_as_real(z) t.complex(v,v*2) t.polar(p,a) z.sum() z**2 t.sqrt(z) t.log(z) z*2.0 z+v z.mean() t.tanh(z)
""".split()

REDUCTIONS = """
a.sum(1,keepdims=True) a.sum(axis=1,keepdims=True) a.mean(axis=0) a.max(axis=1,keepdims=True) a.amax(axis=0) a.std(axis=0,keepdims=True) t.cat((a,b),axis=1) t.softmax(a,axis=1)
t.cumsum(a,axis=1) t.sort(a,axis=1) a.argmax(axis=1) t.logsumexp(a,axis=1) a.unsqueeze(axis=0) t.stack((a,b),axis=-1) a.any(axis=1) a.prod(axis=0,keepdims=True) a.median(axis=1) a.norm(dim=1,keepdim=True)
a.sum() a.sum(0) a.sum(1,keepdim=True) x.sum((0,2)) i.sum() k.sum() t.sum(a,dim=1) f.sum() a.sum(dtype=t.float32) a.mean() a.mean(1)
x.mean((0,1),keepdim=True) a.prod() a.prod(1) i.prod() a.prod(0,keepdim=True) a.var() a.var(1) a.var(unbiased=False) a.std()
a.std(1,keepdim=True) a.var(dim=1,correction=0) t.var_mean(a,1) t.std_mean(a,1) a.max() a.min() a.max(1) a.min(0) a.max(1,keepdim=True)
t.max(a,b) t.min(a,b) t.amax(a,1) t.amin(x,(0,2)) a.amax() t.aminmax(a) a.argmax() a.argmax(1) a.argmin(0,keepdim=True) a.median()
a.median(1) t.mode(i,1) t.logsumexp(a,1) t.logsumexp(a,(0,1)) k.all() k.any(1) k.all(0) t.any(i) t.count_nonzero(k) t.count_nonzero(i,1)
a.cumsum(1) a.cumprod(1) i.cumsum(0) t.logcumsumexp(a,1) t.cummax(a,1) t.cummin(a,1) t.diff(a) t.diff(a,dim=0) t.trapezoid(a) a.norm()
a.norm(p=1) a.norm(dim=1) a.norm(p=3,dim=0) t.dist(a,b) t.dist(a,b,1) t.nansum(a/k) t.nanmean(a) t.quantile(a,0.3) t.renorm(a,2,0,1.0)
t.cov(a) t.corrcoef(a[:,:2]+i[:,:2]) t.cumulative_trapezoid(a) t.cdist(a,b) t.cdist(a,b,1.0) t.pairwise_distance(a,b) t.cosine_similarity(a,b)
""".split()

SHAPES = """
a.view(3,2) a.view(-1) a.reshape(6) a.reshape(3,-1) a.flatten() x.flatten(1) x.flatten(0,1) t.ravel(a) a.t() a.T x.mT a.transpose(0,1)
x.permute(2,0,1) x.movedim(0,2) t.moveaxis(x,(0,1),(2,0)) x.swapaxes(0,1) a.unsqueeze(1) a[None].squeeze() a[None].squeeze(0) t.squeeze(a)
v.expand(4,3) v.expand(2,-1) v.expand_as(a) t.broadcast_to(v,(2,3)) a.narrow(1,0,2) a.select(1,2) x.unflatten(2,(2,2)) a.view_as(a)
t.unbind(a) t.unbind(a,1) t.split(w,2) t.split(w,[1,3]) t.chunk(w,3) t.tensor_split(w,3) t.tensor_split(w,(1,2)) a.diagonal() x.diagonal(0,1,2)
w.unfold(0,2,1) x.unfold(2,3,1) x.unfold(1,2,1) t.cat([a,b]) t.cat([a,b],1) t.cat((a,f),0) t.stack([a,b]) t.stack([a,b],-1) t.hstack([a,b])
t.vstack([a,b]) t.dstack([a,b]) t.column_stack([v,v]) t.concat([a,b]) t.tile(a,(2,2)) a.repeat(2,1) a.repeat(2,1,1) v.repeat_interleave(2)
a.repeat_interleave(2,dim=1) t.flip(a,(0,)) t.flip(a,(0,1)) t.fliplr(a) t.flipud(a) t.rot90(a) t.roll(a,1) t.roll(a,(1,),(1,)) t.tril(s) t.triu(s,1)
t.diag(v) t.diag(s) t.diag_embed(a) t.atleast_2d(v) t.atleast_1d(o) t.broadcast_tensors(v,a) t.meshgrid(v,w,indexing='ij')
t.meshgrid(v,w,indexing='xy') t.cartesian_prod(v,v) t.combinations(v) a.contiguous() a.clone() a.T.contiguous() a.sum_to_size(1,3)
t.hsplit(w,2) t.vsplit(a,2) t.dsplit(x,2) t.atleast_3d(a) t.diagflat(a) t.fill(a,3.0) t.ldexp(a,v) s.adjoint() t.block_diag(a,s,v)
t.select_scatter(a,b[0],0,1) t.slice_scatter(a,b[:,:1],1,2,3) t.vander(v) t.vander(v,increasing=True) t.split_with_sizes(w,(1,3)) a.as_strided((2,2),(1,2),1)
""".split()

INDEXING = """
a[0] a[1,2] a[:,1] a[:,1:] a[...,0] a[None] a[:,None] x[0,:,::2] a[k] a[n[:2]%2] a[[0,1],[1,2]] a[:,n] x[:,[0,2]] x[0,n] a[g>0] x[:,n,n] a[-1]
t.gather(a,1,g) t.gather(a,0,g) a.scatter(1,g[:,:2],b[:,:2]) a.scatter(1,g[:,:1],2.0) a.scatter_add(1,g,b) a.index_select(1,n) t.index_select(a,0,g[0])
a.index_add(0,g[0][:2],b) a.index_copy(1,n,b) a.index_fill(1,n[:1],3.0) t.take(a,n) t.take_along_dim(a,g,1) t.masked_select(a,k)
a.masked_scatter(k,p) t.index_put(a,(g[0][:2],n[:2]),v[:2]) t.index_put(a,(g[0],n),v,accumulate=True) t.nonzero(i>2) t.argwhere(k)
t.searchsorted(v.sort()[0],a) t.bucketize(a,v.sort()[0]) t.sort(a) a.sort(0) a.sort(1,descending=True) t.argsort(a) t.msort(a) t.topk(a,2)
a.topk(2,largest=False) a.topk(1,0) t.kthvalue(a,2) t.unique(i) t.unique(i,return_counts=True) t.bincount(n) t.isin(i,j) t.histc(a,4)
t.unique_consecutive(n) a.scatter_reduce(1,g,b,'sum') a.scatter_reduce(1,g,b,'amax')
""".split()

PRODUCTS = """
s@v s@m v@s v@v x@y x@m[:,:1].T.expand(4,3) y@s t.matmul(x,w) t.mm(s,m) t.mv(s,v) t.dot(v,v) t.bmm(x,y) t.inner(v,v) t.outer(v,w) t.ger(v,w)
t.vdot(v,v) t.tensordot(x,y,((1,2),(2,1))) t.tensordot(a,m,1) t.kron(a,s) t.linalg.cross(a,b) t.addmm(a,a,s) t.addmm(a,a,s,beta=0.5,alpha=2) t.addmv(v,s,v)
t.baddbmm(t.ones(2,3,3,dtype=t.float64),x,y) t.addbmm(s,x,y) t.addr(s,v,v) t.trace(s) t.einsum('ij,jk->ik',a,m) t.einsum('bij,bjk->bik',x,y)
t.einsum('ii->i',s) t.einsum('i,j->ij',v,w) t.einsum('bij->b',x) t.chain_matmul(a,s,m) t.linalg.multi_dot([a,s,m]) t.linalg.matrix_power(s,3)
t.linalg.det(s) t.det(s) t.linalg.inv(s) t.inverse(s) t.linalg.slogdet(s) t.logdet(s@s.T) t.linalg.cholesky(s@s.T) t.linalg.solve(s,v)
t.linalg.solve(s,m) t.linalg.norm(a) t.linalg.norm(s,'fro') t.linalg.norm(a,1,dim=1) t.linalg.vector_norm(a,3) t.linalg.matrix_norm(a)
t.linalg.matrix_norm(a,1) t.linalg.vecdot(a,b) t.linalg.diagonal(s) t.linalg.solve_triangular(t.tril(s),m,upper=False) t.cholesky(s@s.T)
t.linalg.vector_norm(a,float('inf')) t.linalg.matmul(a,s)
""".split()

CREATION = """
t.zeros(2,3) t.ones((2,)) t.full((2,2),3.5) t.full((2,),3) t.arange(5) t.arange(1,2,0.25) t.arange(5.0) t.arange(3,dtype=t.float64)
t.linspace(0,1,5) t.logspace(0,2,3) t.eye(3) t.eye(2,3) t.zeros_like(a) t.ones_like(i) t.full_like(a,2) t.empty(0) t.tensor([1,2]) t.tensor(1.5)
t.tensor([[True]]) t.tensor([1.0,2]) t.tensor([1+2j]) t.as_tensor([1,2]) t.tril_indices(3,3) t.triu_indices(3,3,1) a.new_zeros(2) i.new_ones(2,2)
a.new_full((2,),7) a.new_tensor([1,2]) t.tensor([]) a.to(t.float32) a.float() i.double() a.long() a.int() a.bool() a.half() a.type_as(f) i.to(f)
a.detach() t.tensor(3,dtype=t.int8) a.byte()
""".split()

SPECIAL = """
t.special.entr(p) t.special.erfcx(a) t.special.ndtr(a) t.special.ndtri(p/3) t.special.log_ndtr(a) t.special.xlog1py(a,p) t.special.xlog1py(a,2.0)
t.special.i0(a) t.special.i0e(a) t.special.i1(a) t.special.i1e(a) t.special.i1(a*0) t.special.i1e(a*0) t.erfinv(u) t.special.psi(p) t.special.zeta(2.0,p)
t.special.zeta(p.detach()+1,q) t.igamma(p.detach(),q) t.igammac(p.detach(),q) t.special.gammainc(p.detach(),q) t.polygamma(0,p) t.polygamma(1,p)
t.polygamma(3,p) p.polygamma(2) t.mvlgamma(p+2,3) t.special.multigammaln(p+2,2) t.special.expit(a) t.special.gammaln(p) t.special.sinc(a)
t.special.bessel_j0(a.detach()) t.special.bessel_j1(a.detach()) t.special.bessel_y0(p.detach()) t.special.bessel_y1(p.detach()) t.special.log1p(p)
t.special.modified_bessel_i0(a.detach()) t.special.modified_bessel_i1(a.detach()) t.special.modified_bessel_k0(p.detach()) t.special.round(a)
t.special.modified_bessel_k1(p.detach()) t.special.scaled_modified_bessel_k0(p.detach()) t.special.scaled_modified_bessel_k1(p.detach())
t.special.spherical_bessel_j0(a.detach()) t.special.airy_ai(a.detach()) t.special.chebyshev_polynomial_t(u.detach(),i) t.special.softmax(a,1)
t.special.chebyshev_polynomial_u(u.detach(),3) t.special.chebyshev_polynomial_v(u.detach(),4) t.special.chebyshev_polynomial_w(u.detach(),5)
t.special.shifted_chebyshev_polynomial_t(p.detach()/4,4) t.special.shifted_chebyshev_polynomial_u(p.detach()/4,3) t.special.logit(p/4)
t.special.shifted_chebyshev_polynomial_v(p.detach()/4,3) t.special.shifted_chebyshev_polynomial_w(p.detach()/4,3) t.special.logsumexp(a,1)
t.special.hermite_polynomial_h(a.detach(),4) t.special.hermite_polynomial_he(a.detach(),j) t.special.laguerre_polynomial_l(a.detach(),4)
t.special.legendre_polynomial_p(u.detach(),5) t.special.exp2(a) t.special.erf(i) t.special.i0(i) t.special.log_softmax(a,0) t.special.xlogy(a,q)
""".split()

SPECTRA = """
t.fft.fft(a) t.fft.fft(z) t.fft.ifft(z,4) t.fft.fft(a,2,0) t.fft.fft(a,norm='ortho') t.fft.rfft(x) t.fft.rfft(x,3,1,'forward') t.fft.irfft(z)
t.fft.irfft(z,3) t.fft.irfft(z,norm='ortho') t.fft.hfft(z) t.fft.hfft(z,5,norm='forward') t.fft.ihfft(a) t.fft.fft2(x) t.fft.ifft2(a) t.fft.rfft2(x)
t.fft.irfft2(t.fft.rfft2(x)*2) t.fft.fftn(x) t.fft.fftn(x,(3,2)) t.fft.ifftn(x,dim=(0,2)) t.fft.rfftn(x) t.fft.irfftn(t.fft.rfftn(x)) t.fft.hfft2(x*(1+2j))
t.fft.hfftn(x*(1+2j),dim=(0,1)) t.fft.ihfft2(a) t.fft.ihfftn(x) t.fft.fftshift(x) t.fft.ifftshift(x,1) t.fft.fftfreq(5,0.1) t.fft.rfftfreq(4) t.fft.fft(i)
t.fft.fft(f) t.fft.fft(x,dim=1).abs() t.hann_window(5) t.hann_window(4,periodic=False) t.hamming_window(5) t.hamming_window(4,True,0.5,0.4)
t.blackman_window(5,dtype=t.float64) t.bartlett_window(4) t.kaiser_window(5) t.kaiser_window(4,False,6.0) t.hann_window(1) t.hann_window(0)
""".split()

SOLVERS = """
t.linalg.matrix_exp(s) t.linalg.matrix_exp(s*9) t.matrix_exp(t.stack([s,s.T/4])) t.linalg.lu(s) t.linalg.lu(m) t.linalg.lu(m.T) t.linalg.lu_factor(s)
t.linalg.lu_factor(x) t.linalg.lu_solve(*t.linalg.lu_factor(s),m) t.linalg.lu_solve(*t.linalg.lu_factor(s),m.T,left=False) t.lu_unpack(*t.linalg.lu_factor(m))
t.linalg.lu_solve(*t.linalg.lu_factor(s),m,adjoint=True) t.lu_solve(m,*t.linalg.lu_factor(s)) t.linalg.lu_factor_ex(s) t.linalg.cholesky_ex(s@s.T)
t.linalg.inv_ex(s) t.linalg.solve_ex(s,m) t.linalg.solve_ex(s,v) t.cholesky_inverse(t.linalg.cholesky(s@s.T)) t.cholesky_solve(m,t.linalg.cholesky(s@s.T))
t.cholesky_solve(m,t.linalg.cholesky(s@s.T,upper=True),True) t.linalg.householder_product(m.T,v) t.linalg.matrix_rank(s.detach()) t.linalg.vander(v)
t.linalg.matrix_rank(t.outer(v,v).detach()) t.linalg.vander(a,N=4) t.linalg.matrix_rank(s.detach(),atol=1.0) t.linalg.matrix_rank((s+s.T).detach(),hermitian=True)
t.linalg.cholesky_ex(-s@s.T).info t.linalg.inv_ex((s*0).detach()).info t.linalg.eigvals((s+s.T).detach()).real.sum()
""".split()

FURTHER = """
t.hardshrink(a) t.hardshrink(a,1.0) t.frexp(p) t.gradient(a) t.gradient(a,dim=1,spacing=2.0) t.gradient(w,spacing=(t.arange(4.0,dtype=t.float64)**2,))
t.gradient(w,edge_order=2) t.nanmedian(a/k) t.nanmedian(a/k,1) t.nanmedian(a) t.nanquantile(a,0.3) t.nanquantile(a.log(),0.3,1) t.quantile(a,0.4,1)
t.quantile(a,0.4,interpolation='lower') t.quantile(a,0.4,1,True,interpolation='midpoint') t.quantile(a,t.tensor([0.1,0.5],dtype=t.float64),1)
t.median(a.log(),1) t.histogram(a.detach(),4) t.histogram(p.detach(),bins=3,range=(0.0,3.0),density=True) t.histogramdd(a.detach(),[2,2,2]).hist
t.histogram(a.detach(),t.tensor([-2.0,0.5,2.0],dtype=t.float64),weight=p.detach()) t.range(1,4,0.5) t.unravel_index(n,(2,3)) t.nonzero_static(i>2,size=3)
t.nonzero_static(i>2,size=7,fill_value=-2) t.pdist(y[0]) t.pdist(y[0],1.0) t.empty_strided((2,3),(1,2)).T.contiguous()*0 t.put(a,n,v) t.put(a,n,v,True)
a.index_reduce(1,n,b,'prod') a.index_reduce(1,n,b,'amax') a.index_reduce(1,n[:2],b[:,:2],'mean') a.index_reduce(1,g[0],b,'mean',include_self=False)
i.index_reduce(1,g[0],j,'amin',include_self=False) a.scatter_reduce(1,g,b,'sum',include_self=False) a.scatter_reduce(1,g,b,'mean')
a.scatter_reduce(1,g,b,'amin',include_self=False) a.scatter_reduce(1,g,b,'prod') t.diagonal_scatter(s,v) t.diagonal_scatter(s,v[:2],-1) t.take(a,-n)
t.as_strided_scatter(a,v[:2],(2,),(2,),1) t.view_copy(a,(3,2)) t.unbind_copy(a) t.slice_copy(a,1,1,3) t.permute_copy(a,(1,0)) t.narrow_copy(a,1,0,2)
x.as_strided((2,2),(1,2),3) x[:,1].as_strided((2,3),(1,1)) v.expand(2,3).as_strided((3,),(1,)) x.permute(2,0,1).as_strided((4,2),(1,3)) a.as_strided((4,3),(1,1))
a.view(t.int64) f.view(t.int16) f.detach().view(t.int32) a.float_power(2.0) s.H z.reshape(1,3).mH t.conj_physical(z) a.is_signed() t.empty_permuted((2,3,4),(2,0,1)).shape
t.FloatTensor([1,2]) t.LongTensor([[1,2]]) t.unsafe_split(w,2) t.frombuffer(bytearray(b'12345678'),dtype=t.int32) t.poisson(p.detach()*0) t.binomial(i.double()*0,p.detach()*0)
""".split()

IN_PLACE = """
add_(b) sub_(b) mul_(b) div_(p) add_(1) mul_(2) pow_(2) exp_() sin_() tanh_() sigmoid_() relu_() abs_() neg_() square_() clamp_(-1,1) zero_()
fill_(2.0) copy_(b) copy_(v) floor_() round_() sqrt_() log_() masked_fill_(k,1.0) index_add_(0,g[0][:2],b) index_fill_(1,n[:1],2.0)
scatter_(1,g,b) scatter_add_(1,g,b) addcmul_(b,p) addcdiv_(b,p) lerp_(b,0.5) tril_() cumsum_(1)
index_put_((g[0],n),v) add_(b,alpha=3) remainder_(p) atan_() erf_() reciprocal_() clamp_min_(0) expm1_() log1p_() cos_()
""".split()

CASES = [*ELEMENTWISE, *REDUCTIONS, *SHAPES, *INDEXING, *PRODUCTS, *CREATION, *SPECIAL, *SPECTRA, *SOLVERS, *FURTHER]


# What a search over random arguments found, a line for each that was wrong: promotion, kinds of elements, axes, indices.
FOUND = """
t.result_type(a,z) t.addcmul(f,i,k) t.ldexp(i,f) t.kron(i[0],f[0]) t.cat([i[0],z]) t.stack([i[0],f[0]]) t.nextafter(i,f) t.clamp(i,f) t.clamp(k,0) t.clamp(k,0.5)
t.heaviside(i,j) t.square(k) t.rsqrt(k) t.sinc(i) t.angle(i) t.logit(k) t.sign(k) t.sgn(z) t.float_power(z,1j) t.float_power(i,z[:1]) t.acosh(z) t.sigmoid(z) s.adjoint()
k.adjoint() t.conj(k) z.imag z[0].imag*o o.mT t.cov(i) t.corrcoef(f) t.trapezoid(i) t.cumulative_trapezoid(i) t.vander(z) t.gradient(f) i.to(t.uint8).prod() i.to(t.uint8).trace()
i.to(t.uint8).any() i.to(t.uint8).cumsum(0) k[0,0].cumsum(0) k.all(()) k.count_nonzero([0]) t.nansum(f,(0,),dtype=t.float64) t.logsumexp(o,0) o.cummax(0) o.topk(1,0)
o.kthvalue(1,0) o.flip((0,)) o.movedim(0,-1) o.argsort() t.nonzero(o) t.argwhere(o) o.index_select(0,n[1:2]*0) a.half().erf() a.half().sigmoid() t.xlogy(f.half(),f.half())
a[True] a[False] a[t.tensor(True)] a[:,None,True] a[range(2)] x[0,:,[1,-1]] x[1,0:2,n[:2]] x[0,...,n] x[n[2],:,x[0,0]>0] x[...,0,[0,1]] x[[0,1],...,0] x[0,None,[2,1]]
""".split()

# Arguments by their names.
KEYWORDS = """
t.softmax(input=a,dim=0) t.zeros(size=(2,)) a.permute(dims=(1,0)) a.reshape(shape=(3,2)) t.flip(input=a,dims=[0]) t.mm(input=s,mat2=m) t.outer(input=v,vec2=w)
t.addmm(input=a,mat1=a,mat2=s) t.lerp(a,end=b,weight=0.3) t.inner(input=v,other=v) t.cross(input=a,other=b) t.kron(input=a,other=s) t.isclose(input=a,other=b)
t.pairwise_distance(x1=a,x2=b) t.cosine_similarity(x1=a,x2=b) t.diff(v,prepend=v[:1]) t.diff(v,append=v[:1],n=2)
t.searchsorted(t.sort(a)[0].detach(),b.detach()) t.searchsorted(v.sort()[0],a,out_int32=True) t.cumulative_trapezoid(a,x=v) a.repeat(repeats=(2,1)) v.expand(size=(4,3))
a.view(size=(6,)) t.tile(a,dims=(2,1)) t.swapaxes(x,axis0=0,axis1=1) t.tensordot(a=a,b=m,dims=1) t.asarray(obj=[1,2]) t.rand(size=(2,)).shape t.dot(input=v,tensor=v)
t.mv(input=s,vec=v) t.bmm(input=x,mat2=y) t.baddbmm(input=t.ones(2,3,3,dtype=t.float64),batch1=x,batch2=y) t.addcmul(a,tensor1=b,tensor2=p,value=2) t.vdot(input=v,other=v)
t.clamp(input=a,min=b) t.cat(tensors=[a,b],dim=0) t.stack(tensors=[a,b]) t.sum(input=a,dim=0) t.where(condition=k,input=a,other=b) t.gather(input=a,dim=1,index=g)
t.linalg.cross(input=a,other=b) t.linalg.matmul(input=a,other=s) t.linalg.solve(A=s,B=v) t.sort(input=a,dim=0,descending=True) t.topk(input=a,k=2) t.nan_to_num(input=a,nan=1.0)
t.transpose(input=x,dim0=0,dim1=1) t.unsqueeze(input=a,dim=0) t.movedim(input=x,source=0,destination=1) t.roll(input=a,shifts=1,dims=0) t.cumsum(input=a,dim=0)
t.repeat_interleave(input=v,repeats=2) t.masked_fill(input=a,mask=k,value=1.0) t.index_select(input=a,dim=1,index=n) t.pow(input=p,exponent=2.5) t.div(input=a,other=p)
t.linspace(start=0,end=1,steps=3) t.arange(start=0,end=3) t.full(size=(2,),fill_value=1.5) t.eye(n=2) t.einsum('i,i->',v,v) t.logsumexp(input=a,dim=1,keepdim=True)
""".split()

CASES += [*FOUND, *KEYWORDS]


def tensors(module, requires_grad, names=ARRAYS):
    made = {}
    for name in names:
        tensor = module.tensor(ARRAYS[name])
        if requires_grad and ARRAYS[name].dtype.kind in "fc":
            tensor.requires_grad_()
        made[name] = tensor
    return made


def parts(module, out):
    out = str(out) if isinstance(out, (torch.dtype, shim.dtype)) else out
    out = list(out) if isinstance(out, (tuple, list)) else [out]
    return [part if isinstance(part, module.Tensor) else module.tensor([hash(part)]) for part in out]


def numbers(tensor):
    return None if tensor is None else np.asarray(tensor.detach().resolve_conj().numpy(force=True))


def weights(shape, dtype):
    return ((np.arange(int(np.prod(shape))) * 0.37 + 0.3) % 1.3 - 0.4).reshape(shape).astype(dtype)


def observed(module, case, second=True):
    """What a case gives: values, gradients and second derivatives, as arrays."""
    own = tensors(module, True)
    leaves = dict(own)
    out = parts(module, eval(case, {"t": module, **own}))
    seen = {"values": [numbers(part) for part in out], "dtypes": [str(part.dtype) for part in out]}
    loss = total(module, out)
    if loss is None or case in VALUES_ONLY:
        return seen
    inputs = [leaves[name] for name in leaves if leaves[name].requires_grad]
    first = module.autograd.grad(loss, inputs, create_graph=second, allow_unused=True)
    seen["gradients"] = [numbers(ct) for ct in first]
    again = total(module, [ct for ct in first if ct is not None])
    if second and again is not None:
        seen["second"] = [numbers(ct) for ct in module.autograd.grad(again, inputs, allow_unused=True)]
    return seen


def total(module, out):
    """A real number that depends on all differentiable results."""
    loss = None
    for part in out:
        if not part.requires_grad:
            continue
        term = part * module.tensor(weights(tuple(part.shape), np.float32))
        if part.is_complex():
            term = module.view_as_real(term.reshape(-1).resolve_conj()) * module.tensor([0.7, 0.4])
        loss = term.sum() if loss is None else loss + term.sum()
    return loss


def agree(ours, theirs, what, case, tolerance):
    assert len(ours) == len(theirs), (case, what)
    for a, b in zip(ours, theirs):
        if a is None or b is None:
            zero = b if a is None else a
            assert zero is None or np.allclose(zero, 0, atol=1e-12), (case, what, a, b)
            continue
        assert a.shape == b.shape, (case, what, a.shape, b.shape)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"{case}: {what}")


# PyTorch has no derivative, for nextafter takes it for the identity, ours is 0, and for as_strided_scatter gives that of what
# was overwritten.
VALUES_ONLY = {
    "a//p", "t.heaviside(a,b)", "t.nextafter(a,b)", "t.vander(v)", "t.vander(v,increasing=True)", "t.nextafter(i,f)", "t.vander(z)",
    "t.as_strided_scatter(a,v[:2],(2,),(2,),1)",
}  # fmt: skip
# PyTorch has no second derivative.
FIRST_ONLY = {"t.cdist(a,b)", "t.cdist(a,b,1.0)", "t.pdist(y[0])", "t.pdist(y[0],1.0)"}


@pytest.mark.parametrize("case", CASES)
def test_functions(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = observed(torch, case, case not in FIRST_ONLY)
        ours = observed(shim, case, case not in FIRST_ONLY)
    assert ours["dtypes"] == theirs["dtypes"], case
    single = any("float32" in kind or "float16" in kind or "complex64" in kind for kind in ours["dtypes"]) or "f" in case
    tolerance = 2e-3 if "half" in case else 2e-5 if single else 1e-8
    for what in theirs:
        if what == "second" and what not in ours:  # the gradients are constant
            assert all(part is None or not np.any(part) for part in theirs[what]), case
        elif what != "dtypes":
            agree(ours[what], theirs[what], what, case, tolerance)


def test_enough_names_are_compared():
    import re

    names = {name for case in CASES for name in re.findall(r"\.([a-z_0-9]+)\(", case)}
    names |= {re.match(r"[a-z_0-9]+", case)[0] for case in IN_PLACE}
    assert len(names) >= 300, len(names)


@pytest.mark.parametrize("call", IN_PLACE)
def test_in_place(call):
    seen = []
    for module in (torch, shim):
        own = tensors(module, True)
        target = own["p" if "sqrt" in call or "log" in call else "a"] * 1
        result = eval(f"target.{call}", {"target": target, **{n: each.detach() for n, each in own.items()}})
        assert result is target
        leaf = own["p" if "sqrt" in call or "log" in call else "a"]
        gradient = module.autograd.grad(total(module, [target]), leaf, allow_unused=True)[0]
        seen.append((numbers(target), target._version, numbers(gradient)))
    theirs, ours = seen
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-8)
    assert ours[1] == theirs[1]
    agree([ours[2]], [theirs[2]], "gradient", call, 1e-8)


ERRORS = """
a+m a@a t.mm(v,v) t.dot(v,w) t.bmm(x,x) a.view(7) a.reshape(4,2) a.T.view(6) a.sum(5) a[5] a[0,9] v[0,0] o[0] a.item() bool(a) int(a) a.numpy()
a.backward() t.ones(2).sum().backward() t.cat([a,m]) t.stack([a,m]) t.cat([]) v.expand(4) a.squeeze(7) a.permute(0) a.permute(0,0)
a.transpose(0,4) t.split(w,[1,1]) a.narrow(1,2,5) a.select(1,9) i.mean() t.tensor([1],requires_grad=True) t.tensor([[1,2],[3]])
t.tensor('a') t.zeros(-1) t.linalg.inv(a) t.linalg.det(a) t.linalg.cholesky(-s@s.T) t.linalg.inv(s*0) t.linalg.solve(s,w) t.gather(a,1,g+5)
t.gather(a,1,g.float()) a.add_(1) a.zero_() a[0].add_(1) t.ones(2,dtype=t.int64).add_(1.5) t.ones(3).add_(t.ones(2,3)) v.expand(2,3).detach().add_(1)
t.topk(a,9) t.masked_fill(a,i,1.0) t.where(a,a,b) t.clamp(a) a[0.5] a[::-1] t.arange(3,0) t.arange(0,3,0) t.autograd.grad(a.sum(),i)
t.autograd.grad(a.sum(),v) t.autograd.grad(a,a) t.autograd.grad(a.sum(),a,t.ones(2)) a.grad_fn.foo t.ones(2).register_hook(print)
t.ones(2).retain_grad() (a*1).requires_grad_(False) i.requires_grad_() len(o) t.randint(5,5,(2,)) t.bitwise_and(a,b) k-k t.maximum(a,m)
t.einsum('ij,jk',a,a) t.matmul(o,o) t.full((2,),None) t.unbind(o) t.flatten(x,2,0) t.chunk(w,0) a.scatter(1,g+5,b) a.index_select(0,n+7)
t.set_default_dtype(t.int64) i-True k-1.5 a.to('nowhere') t.linspace(0,1,-1) a+'b' t.sin('b') t.sin(1.0) i.sqrt_() t.div(a,b,rounding_mode='up')
~a +k abs(k) t.erf(z) z.relu() z.clamp(0) z.floor() z.frac() i.frac() k.round() i.round(decimals=1) z.max() z.sort() z.unique() z>z t.maximum(z,z) t.xlogy(z,z) t.selu(i)
i.softmax(0) i.nanmean() t.hardshrink(k) t.imag(a) t.view_as_real(a) t.view_as_complex(a) t.combinations(a) t.meshgrid(a,a) t.vander(a) t.bincount(a) o.tril() v.triu() v.mH
v.fliplr() o.diag() x.trace() x.diag() t.outer(a,v) t.vdot(a,a) t.inner(a,f) t.dot(i[0],v) t.cdist(v,v) t.cdist(z[None],z[None]) t.isclose(a,f) t.allclose(a,f) t.lerp(a,f,0.3)
t.heaviside(a,f) t.complex(a,f) t.polar(i,i) t.cross(w,w) t.sub(i,k,alpha=2) i//(i*0) i%0 t.fmod(i,0) t.tensordot(o,o,1) t.equal(a,1) t.dot(v,1) a.cumsum(3) o.sort(3) o.argmax(2)
a.__setitem__(n[:2]%2,f) v.detach().__setitem__(0,1j) v.detach().__setitem__(0,[1]) t.linalg.inv(s.half()) t.block_diag(x) t.cov(x) float(z[0]) t.quantile(i,0.5) t.index_put(f,(n[:2]%2,),v)
a.register_post_accumulate_grad_hook(1).x (a*1).register_post_accumulate_grad_hook(print) t.diagonal(a,0,0,0) t.kthvalue(a,9) t.logsumexp(a,7)
""".split()


@pytest.mark.parametrize("case", [case for case in ERRORS if case != "a+'b'"])
def test_errors(case):
    kinds, messages = [], []
    for module in (torch, shim):
        own = tensors(module, True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(Exception) as info:
                eval(case, {"t": module, **own})
        kinds.append(next(k for k in info.type.__mro__ if k.__module__ == "builtins"))
        messages.append(str(info.value).split("\n")[0])
    assert issubclass(kinds[1], kinds[0]), (kinds, messages)


PRINTED = """
a i k o f z v.sum() x t.zeros(0) t.zeros(2,0) t.arange(2000) t.rand(0,3) t.eye(3)*1e-5 t.eye(3)*1e9 t.tensor([1.5,float('inf'),float('nan')])
t.tensor(float('nan')) t.tensor(-0.0) t.tensor([1e-8,1.0]) t.arange(60.0) t.ones(30,30,4) t.tensor([1e3,1.0,2.0]) t.tensor([12345678.0]) a*2
(a*2).detach() a.half() t.tensor([1,-2]) t.tensor([[1.0]]).double() t.tensor(5) t.tensor(5,dtype=t.int32) t.ones(2,2,2) a.max(1) a.shape
a.dtype a.device t.Size([1,2]) a[:0] t.tensor([0.1,0.22,0.333]) t.tensor([1e5,1.5]) t.tensor([True,False]) a.requires_grad z.abs()
t.finfo(t.float32).eps t.iinfo(t.int8).max a.sum().item() a.tolist() t.ones(1001) t.ones(3,requires_grad=True)*1e-3 a.size() a.stride() x.T.shape
""".split()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", PRINTED)
def test_printed_text(case):
    texts = [str(eval(case, {"t": module, **tensors(module, True)})) for module in (torch, shim)]
    assert texts[0] == texts[1]


NODES = """
a+b a-b a*b a/b -a a**2 a**p 2**a 1-a 2/a abs(a) a.exp() a.relu() a.clamp(0,1) a[0] a[0:1] a[None] a[[0,1]] a.sum() a.sum(0) a.mean() a.mean(0)
a.prod() a.var() a.std(0) a.max() a.max(0)[0] a.view(6) a.reshape(6) a.unsqueeze(0) a[None].squeeze() a[None].squeeze(0) a.clone() a.t() a.T
a.permute(1,0) a.transpose(0,1) v.expand(2,3) a.cumsum(0) t.stack([a,a]) t.cat([a,a]) a.flip(0) s@v s@s v@v x@y t.where(k,a,b) a.float()
a.masked_fill(k,0.0) a.sort()[0] a.unbind()[0] a.norm() a.softmax(0) a.log_softmax(0) t.outer(v,w) a.index_select(0,g[0]) a.gather(1,g)
t.diag(v) t.addmm(a,a,s) a.repeat(2,1) a.floor() a.square() a.logsumexp(0) a.amax() a.topk(2)[0] a.median() t.maximum(a,b) a.sqrt() a.flatten()
a.chunk(2)[0] w.split(2)[0] a.diagonal() w.unfold(0,2,1) t.linalg.det(s) t.linalg.inv(s) t.linalg.cholesky(s@s.T) t.lerp(a,b,0.5) t.sigmoid(a)
t.tanh(a) t.log(p) t.maximum(a,b) a.narrow(0,0,1) a.select(0,0) t.tril(s) a.scatter(1,g,b) a.index_add(0,g[0][:2],b)
""".split()


@pytest.mark.parametrize("case", NODES)
def test_names_of_nodes(case):
    names = [eval(case, {"t": module, **tensors(module, True)}).grad_fn.name() for module in (torch, shim)]
    assert names[0] == names[1]
