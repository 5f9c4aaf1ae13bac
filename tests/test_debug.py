"""`ft.debug`: effects happen once and in order in any composition, compiled or not; nans and leaks have their line."""

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import functrans as ft
from functrans.compile.rewrite.simplify import simplify
from functrans.compile.store.plain import NotPlain, program_data, program_of
from functrans.core.program import without_dead_code

X = np.array([1.0, 2.0])
BATCH = np.stack([X, X + 1])


def talking(x):
    ft.debug.print("x = {}, sum {total:.1f}", x, total=np.sum(x))
    ft.debug.print("nothing traced: {}", 7)
    y = np.sum(x**2)
    ft.debug.check(y < 1000, "too large: {y}", y=y)
    ft.debug.print("y = {y}", y=y)
    ft.debug.print("y = {y}", y=y)
    return y


def hvp(f):
    return lambda x: ft.hvp(f, (x,), (x,))


def linearized(f):
    def apply(x):
        value, derivative = ft.linearize(f, x)
        return derivative(x), derivative(2 * x)

    return apply


def pulled(f):
    def apply(x):
        value, pullback = ft.vjp(f, x)
        return pullback(1.0), pullback(2.0)

    return apply


COMPOSITIONS = {
    "eager": lambda f: f,
    "grad": ft.grad,
    "grad of grad": lambda f: ft.grad(lambda x: np.sum(ft.grad(f)(x))),
    "jvp": lambda f: lambda x: ft.jvp(f, (x,), (x,)),
    "vjp": pulled,
    "linearize": linearized,
    "hvp": hvp,
    "jacfwd": ft.jacfwd,
    "jacrev": ft.jacrev,
    "hessian": ft.hessian,
    "jit": ft.jit,
    "jit(jit)": lambda f: ft.jit(lambda x: ft.jit(f)(x) * 2.0),
    "jit(grad)": lambda f: ft.jit(ft.grad(f)),
    "grad(jit)": lambda f: ft.grad(ft.jit(f)),
    "jit(grad(jit))": lambda f: ft.jit(ft.grad(ft.jit(f))),
    "grad of jit(grad)": lambda f: ft.grad(lambda x: np.sum(ft.jit(ft.grad(f))(x))),
    "jit(value_and_grad)": lambda f: ft.jit(ft.value_and_grad(f)),
    "jit(jvp)": lambda f: ft.jit(lambda x: ft.jvp(f, (x,), (x,))),
    "jit(vjp)": lambda f: ft.jit(pulled(f)),
    "jit(linearize)": lambda f: ft.jit(linearized(f)),
    "linearize(jit)": lambda f: linearized(ft.jit(f)),
    "jit(hvp)": lambda f: ft.jit(hvp(f)),
    "hvp(jit)": lambda f: hvp(ft.jit(f)),
    "jit(hessian)": lambda f: ft.jit(ft.hessian(f)),
    "program": lambda f: ft.make_program(f)(X),
}
BATCHED = {
    "vmap": ft.vmap,
    "vmap(grad)": lambda f: ft.vmap(ft.grad(f)),
    "vmap(jit)": lambda f: ft.vmap(ft.jit(f)),
    "jit(vmap)": lambda f: ft.jit(ft.vmap(f)),
    "jit(vmap(grad))": lambda f: ft.jit(ft.vmap(ft.grad(f))),
    "vmap(jit(grad))": lambda f: ft.vmap(ft.jit(ft.grad(f))),
    "grad(vmap)": lambda f: ft.grad(lambda x: np.sum(ft.vmap(f)(x))),
    "jit(grad(vmap))": lambda f: ft.jit(ft.grad(lambda x: np.sum(ft.vmap(f)(x)))),
    "vmap(hvp)": lambda f: ft.vmap(hvp(f)),
}
LINES = ["x = [1. 2.], sum 3.0", "nothing traced: 7", "y = 5.0", "y = 5.0"]
BATCHED_LINES = ["x = [1. 2.], sum 3.0", "x = [2. 3.], sum 5.0", "nothing traced: 7", *["y = 5.0", "y = 13.0"] * 2]


@pytest.fixture(params=[True, False], ids=["compiled", "ft.config.jit = False"])
def jit(request, monkeypatch):
    monkeypatch.setattr(ft.config, "jit", request.param)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_prints_once_and_in_order(name, capsys, jit):
    function = COMPOSITIONS[name](talking)
    for _ in range(3):
        function(X)
        assert capsys.readouterr().out.splitlines() == LINES


@pytest.mark.parametrize("name", BATCHED)
def test_prints_a_line_for_each_item(name, capsys, jit):
    function = BATCHED[name](talking)
    for _ in range(2):
        function(BATCH)
        assert capsys.readouterr().out.splitlines() == BATCHED_LINES


def test_prints_items_of_nested_batches_in_order(capsys):
    f = ft.vmap(ft.vmap(lambda x, y, z: ft.debug.print("{} {} {}", x, y, z), in_axes=(0, None, 0)), in_axes=(0, 0, None))
    for function in (f, ft.jit(f)):
        function(np.arange(4).reshape(2, 2), np.array([10, 20]), np.array([5, 6]))
        assert capsys.readouterr().out.splitlines() == ["0 10 5", "1 10 6", "2 20 5", "3 20 6"]
    ft.vmap(lambda x: ft.debug.print("{}", x))(np.ones((0, 2)))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_a_failed_check_names_its_line_and_leaves_all_usable(name, capsys, jit):
    function = COMPOSITIONS[name](talking)
    for argument in (X, 100 * X, X, 100 * X):
        if argument is X:
            function(X)
            continue
        with pytest.raises(ft.errors.CheckError) as caught:
            function(argument)
        message = str(caught.value)
        assert message.startswith("too large: 50000.0\n  at test_debug.py:")
        assert "(talking): ft.debug.check(y < 1000" in message
        assert "y = " not in capsys.readouterr().out.split("nothing traced: 7\n")[-1]


@pytest.mark.parametrize("name", BATCHED)
def test_a_failed_check_names_the_item(name, jit):
    with pytest.raises(ft.errors.CheckError, match=r"too large: 20000.0 \(item 1 of the batch\)\n  at test_debug.py"):
        BATCHED[name](talking)(np.stack([X, np.array([100.0, 100.0])]))


def test_conditions_of_any_shape_and_kind():
    check = ft.debug.check
    for function in (check, ft.jit(lambda holds, message: check(holds, message), static_argnums=1)):
        for holds in (True, np.True_, np.array(True), np.ones((2, 3), bool), np.ones((0, 3), bool)):
            function(holds, "holds")
        for fails in (False, np.False_, np.array([[True, False]])):
            with pytest.raises(ft.errors.CheckError, match="^fails\n  at test_debug.py:"):
                function(fails, "fails")
    with pytest.raises(AssertionError, match="condition is 1 and message 2"):
        check(False, "condition is {condition} and message {message}", condition=1, message=2)


def test_effects_on_constants_happen_when_the_program_runs(capsys):
    constant = np.ones(2)
    inner = ft.jit(lambda: ft.debug.print("inner {}", constant))
    inner()
    outer = ft.jit(lambda x: [inner(), ft.debug.print("outer"), x * 2][-1])
    lowered = outer.lower(1.0)
    assert capsys.readouterr().out == "inner [1. 1.]\n"
    for expected in ("inner [1. 1.]\nouter\n", "inner [5. 5.]\nouter\n"):
        assert outer(1.0) == 2.0
        assert capsys.readouterr().out == expected
        constant[:] = 5
    lowered.compile()(1.0)
    assert capsys.readouterr().out == "inner [5. 5.]\nouter\n"
    with pytest.raises(ft.errors.CheckError, match="never"):
        ft.jit(lambda x: [ft.debug.check(False, "never"), x][1])(1.0)


def test_passes_keep_effects_in_place():
    def f(x):
        ft.debug.print("{}", np.sin(x))
        ft.debug.check(np.all(x > 0), "positive")
        ft.debug.print("{}", np.sin(x))
        return x + 0.0 * np.cos(x)

    program = ft.make_program(ft.grad(lambda x: np.sum(f(x))))(X)
    names = [equation.primitive.name for equation in program.equations if equation.has_effect]
    assert names == ["debug_print", "debug_check", "debug_print"] and program.has_effect
    for changed in (without_dead_code(program), simplify(program)):
        assert [equation.primitive.name for equation in changed.equations if equation.has_effect] == names
    sines = [equation for equation in simplify(program).equations if equation.primitive.name == "sin"]
    assert len(sines) == 1
    assert "debug_print(b; message='{}')\n" in str(ft.make_program(f)(X))
    assert "\n  debug_print(message='only text')" in str(ft.make_program(lambda x: ft.debug.print("only text"))(X))
    kernels = ft.jit(f).lower(X).kernels()
    assert kernels.count("# Python: debug_print of float64[2]  from test_debug.py") == 2


def test_effects_stay_in_order_with_calls_that_fail(capsys):
    @ft.jit
    def f(x):
        ft.debug.print("before {}", x[0, 0])
        y = np.linalg.inv(x)
        ft.debug.print("after {}", y[0, 0])
        return y

    np.testing.assert_allclose(f(2 * np.eye(2)), np.eye(2) / 2)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        f(np.zeros((2, 2)))
    assert capsys.readouterr().out.splitlines() == ["before 2.0", "after 0.5", "before 0.0"]


def test_values_are_formatted_as_numpy_prints_them(capsys):
    def show(x, n):
        tree = {"list": [x, None, n], "text": "words"}
        ft.debug.print(
            "{x} {x!r} {x.shape} {x[1]:.3f} {x:.2f} {n} {n:03d} {tree} {other} {{}}", x=x, n=n, tree=tree, other=Ellipsis
        )

    show(X, 3)
    eager = capsys.readouterr().out
    first = "[1. 2.] array([1., 2.]) (2,) 2.000 [1.00 2.00] 3 003"
    second = "{'list': [array([1., 2.]), None, 3], 'text': 'words'}"
    assert eager == f"{first} {second} Ellipsis {{}}\n"
    ft.jit(show)(X, 3)
    assert capsys.readouterr().out == eager
    kinds = (True, np.int8(-3), np.float32(0.1), 1e300, 2 + 1j, np.array(["a", "b"]), np.arange(3, dtype=np.uint16))
    ft.debug.print(" ".join(["{}"] * len(kinds)), *kinds)
    assert capsys.readouterr().out == "True -3 0.1 1e+300 (2+1j) ['a' 'b'] [0 1 2]\n"


def test_a_format_that_does_not_suit_a_value_names_the_line():
    with pytest.raises(ValueError, match="Unknown format code 'd'") as caught:
        ft.jit(lambda x: ft.debug.print("{:d}", x))(1.0)
    assert "at test_debug.py" in caught.value.__notes__[0]


def test_functions_with_rules_of_their_own(capsys):
    def noisy(x):
        ft.debug.print("run with {}", x)
        return np.sin(x)

    f = ft.custom_vjp(noisy)
    f.defvjp(lambda x: (np.sin(x), x), lambda x, ct: [ft.debug.print("cotangent {}", ct), (ct * np.cos(x),)][1])
    for function in (f, ft.jit(f)):
        function(0.5), function(0.5)
        assert capsys.readouterr().out == "run with 0.5\n" * 2
    for function in (ft.grad(f), ft.jit(ft.grad(f)), ft.grad(ft.jit(f))):
        np.testing.assert_allclose([function(0.5), function(0.5)], np.cos(0.5))
        assert capsys.readouterr().out == "run with 0.5\ncotangent 1.0\n" * 2


def test_effects_in_several_threads(capsys):
    @ft.jit
    def f(x):
        ft.debug.check(x < 50, "{x}", x=x)
        ft.debug.print("{}", x)
        return x + 1

    def call(number):
        try:
            return f(float(number))
        except ft.errors.CheckError as error:
            return str(error).split("\n")[0]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(call, range(100)))
    assert results == [n + 1.0 for n in range(50)] + [f"{n}.0" for n in range(50, 100)]
    assert sorted(map(float, capsys.readouterr().out.split())) == list(range(50))


def test_programs_on_disk_print_their_own_text(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ft.config, "disk_cache", True)
    monkeypatch.setattr(ft.config, "cache_dir", str(tmp_path))
    compilations = []
    for text in ("first", "second", "first"):
        function = ft.jit(lambda x: [ft.debug.print(text), ft.debug.check(x > 0, text), x * 2][-1])
        assert function(1.0) == 2.0
        with pytest.raises(ft.errors.CheckError, match=f"^{text}\n  at test_debug.py"):
            function(-1.0)
        compilations.append(function.compilations)
    assert compilations == [1, 1, 0]
    assert capsys.readouterr().out.split() == ["first"] * 2 + ["second"] * 2 + ["first"] * 2


def test_messages_are_plain_data():
    def f(x):
        ft.debug.print("{x} {more}", x=x, more=[x, None, "text"])
        ft.vmap(lambda y: ft.debug.check(y > 1, "y is {y}", y=y))(x)

    program = ft.make_program(f)(X)
    structures = program.input_structure, program.output_structure
    again = program_of(program_data(program), program.name, program.values, structures)
    assert str(again) == str(program)
    with pytest.raises(ft.errors.CheckError, match=r"y is 1.0 \(item 0 of the batch\)\n  at test_debug.py"):
        again(X)
    with pytest.raises(NotPlain):
        program_data(ft.make_program(lambda x: ft.debug.print("{}", pytest))(X))


def test_breakpoint_stops_with_the_values(monkeypatch, capsys, jit):
    seen = []

    def hook():
        names = sys._getframe(1).f_locals
        seen.append((names["values"], names["named"]))

    monkeypatch.setattr(sys, "breakpointhook", hook)

    def f(x):
        ft.debug.breakpoint(x, total=np.sum(x))
        return np.sum(x * x)

    for composition in ("eager", "grad", "jit", "jit(grad)", "grad(jit)", "hvp"):
        COMPOSITIONS[composition](f)(X)
        ((values, named),) = seen
        np.testing.assert_array_equal(values[0], X)
        assert named == {"total": 3.0}
        assert "ft.debug.breakpoint at test_debug.py" in capsys.readouterr().out
        seen.clear()
    ft.jit(ft.vmap(f))(BATCH)
    np.testing.assert_array_equal(seen[0][0][0], BATCH)


def test_python_prints_what_is_known_of_traced_values(capsys):
    def f(x):
        print(x)
        return np.sum(x)

    for transformed in (ft.grad(f), ft.vmap(f), ft.jit(f)):
        transformed(X)
    assert capsys.readouterr().out.splitlines() == [
        "<float64[2] traced by grad: [1. 2.]>",
        "<float64[] traced by vmap: one of [1. 2.]>",
        "<float64[2] traced by jit: no value yet, see ft.debug.print>",
    ]


def forward_nan(x):
    y = np.log(x - 1.5)
    return np.sum(y * y)


def backward_nan(x):
    y = np.exp(1000.0 * x)  # 1 / y is 0, its slope times that of y 0 * inf
    return np.sum(1.0 / y)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_nans_made_in_the_function(name, jit):
    function = COMPOSITIONS[name](forward_nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(X)
    with pytest.raises(
        ft.errors.NonFiniteError, match=r"log of float64\[2\] made nan \(1 of 2|NumPy met invalid value"
    ) as caught:
        with ft.debug.nans():
            function(X)
    assert "(forward_nan): y = np.log(x - 1.5)" in str(caught.value)
    with ft.debug.nans():
        function(X + 2)
        function(X * np.nan)


DERIVATIVES = {
    "grad": "the pullback of exp of .* made nan (.|\n)*backward pass of backward_nan",
    "vjp": "the pullback of exp of .* made nan (.|\n)*backward pass of backward_nan",
    "jvp": "the tangent of divide of .* made nan (.|\n)*tangent of backward_nan",
    "jit(grad)": "multiply of .* made nan (.|\n)*backward pass of backward_nan",
    "grad(jit)": "the pullback of exp of .* made nan (.|\n)*backward pass of backward_nan",
    "jit(grad(jit))": "multiply of .* made nan (.|\n)*backward pass of backward_nan",
    "jit(jvp)": "multiply of .* made nan (.|\n)*tangent of backward_nan",
    "grad of grad": "multiply of .* made nan (.|\n)*backward pass of backward_nan",
    "linearize": "multiply of .* made nan (.|\n)*tangent of backward_nan",
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_nans_made_in_a_derivative(name):
    function = COMPOSITIONS[name](backward_nan)
    with pytest.raises(ft.errors.NonFiniteError, match=DERIVATIVES[name]) as caught:
        with ft.debug.nans():
            function(X)
    assert "y = np.exp(1000.0 * x)" in str(caught.value) or "return np.sum(1.0 / y)" in str(caught.value)


def test_nans_that_were_not_chosen_are_not_blamed_in_compiled_code():
    @ft.jit
    def f(x):
        y = np.where(x > 2.0, np.log(x - 2.0), 0.0)
        z = (x - 1.0) / (x - 1.0)
        return np.sum(y), np.sum(y + z)

    with ft.debug.nans():
        with pytest.raises(ft.errors.NonFiniteError, match=r"divide of float64\[2\], float64\[2\](.|\n)*z = "):
            f(X)
        f(X + 1)


def test_nans_in_arguments_and_captured_arrays_pass():
    table = np.array([np.nan, 1.0])
    f = ft.jit(lambda x: np.sum(x + table))
    with ft.debug.nans():
        assert np.isnan(f(X)) and np.isnan(ft.grad(lambda x: f(x) * np.sum(x))(X)).all()


def test_infinities_are_found_where_asked_for():
    def f(x):
        return np.sum(1.0 / (x - 1.0))

    with ft.debug.nans():
        assert ft.jit(f)(X) == np.inf
    for function in (ft.jit(f), ft.grad(f), ft.vmap(lambda x: 1.0 / (x - 1.0)), f):
        with pytest.raises(ft.errors.NonFiniteError, match="divide of .* made infinity|NumPy met divide by zero"):
            with ft.debug.nans(infinite=True):
                function(X)


def test_nans_of_plain_numpy_inside_rules_and_composites():
    f = ft.custom_vjp(lambda x: np.log(x))
    f.defvjp(lambda x: (np.log(x), x), lambda x, ct: (ct / x,))
    with pytest.raises(FloatingPointError, match="at test_debug.py"):
        with ft.debug.nans():
            ft.grad(f)(-1.0)
    with pytest.raises(ft.errors.NonFiniteError, match=r"divide of float64\[\], int64\[\](.|\n)*test_debug.py"):
        with ft.debug.nans():
            ft.jit(lambda x: np.mean(x))(np.ones(0))


def test_the_search_for_a_nan_has_no_effects(capsys):
    @ft.jit
    def f(x):
        ft.debug.print("once")
        return np.log(x)

    with pytest.raises(ft.errors.NonFiniteError, match="log"):
        with ft.debug.nans():
            f(-1.0)
    assert capsys.readouterr().out == "once\n"


def test_nans_is_a_decorator_and_stays_in_its_thread():
    @ft.jit
    def f(x):
        return np.log(x)

    results = []

    @ft.debug.nans()
    def watched():
        thread = threading.Thread(target=lambda: results.append(f(-1.0)))
        thread.start()
        thread.join()
        return f(-1.0)

    with pytest.raises(ft.errors.NonFiniteError):
        watched()
    assert np.isnan(results[0]) and np.isnan(f(-1.0))
    assert f.compilations == 1


def test_a_pullback_made_within_nans_works_after_it():
    with ft.debug.nans():
        value, pullback = ft.vjp(np.sin, X)
        _, derivative = ft.linearize(np.sin, X)
    np.testing.assert_allclose(pullback(np.ones(2))[0], np.cos(X))
    np.testing.assert_allclose(derivative(np.ones(2)), np.cos(X))


def test_equations_of_derivatives_know_their_line():
    lowered = ft.jit(ft.grad(backward_nan)).lower(X)
    assert "(backward pass of backward_nan): y = np.exp(1000.0 * x)" in lowered.kernels()
    outer = ft.jit(lambda x: ft.jit(forward_nan)(x) * 2.0).lower(X)
    assert "log: float64[2]  from test_debug.py" in outer.kernels() and "(forward_nan): y = np.log" in outer.kernels()


def test_leaks_are_found_with_their_lines():
    kept = []

    @ft.debug.leaks()
    def leaking():
        ft.grad(lambda x: [kept.append(np.sin(x)), x][1])(1.0)
        return ft.jit(lambda x: [kept.append(x * 2), x][1])(1.0)

    with pytest.raises(ft.errors.TracerLeakError) as caught:
        leaking()
    message = str(caught.value)
    assert "2 traced values outlived the transform that made them" in message
    assert "float64[] traced by grad, made at test_debug.py" in message and "kept.append(np.sin(x))" in message
    assert "float64[] traced by jit, made at test_debug.py" in message and "kept.append(x * 2)" in message
    with ft.debug.leaks():  # those of before are not counted again
        ft.grad(np.sin)(1.0)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_transforms_themselves_leak_nothing(name, jit):
    function = COMPOSITIONS[name](lambda x: np.sum(np.tanh(x) * x[::-1]))
    with ft.debug.leaks():
        function(X)
        with pytest.raises(ZeroDivisionError):
            COMPOSITIONS[name](lambda x: np.sum(x) * (1 // 0))(X)


def test_scopes_nest():
    with ft.debug.leaks(), ft.debug.nans(), ft.debug.leaks():
        ft.jit(ft.grad(np.sum))(X)
        with pytest.raises(ft.errors.NonFiniteError, match="log"):
            ft.jit(np.log)(-1.0)
    assert np.isnan(ft.jit(np.log)(-1.0))


def test_effects_before_a_failing_operation_happen_once(capsys):
    def f(x, i):
        ft.debug.print("before {}", x)
        y = ft.numpy.asarray(x)[i]
        ft.debug.print("after {}", y)
        return y

    compiled = ft.jit(f)
    for function in (f, compiled, compiled, ft.jit(f).lower(X, 1).compile()):
        assert function(X, 1) == 2.0
        with pytest.raises(IndexError, match="index 5"):
            function(X, 5)
        assert capsys.readouterr().out.splitlines() == ["before [1. 2.]", "after 2.0", "before [1. 2.]"]


def test_numbers_that_compiling_converts_are_no_operation():
    f = ft.jit(lambda x: np.where(x < 0, x * 1e300, x))
    with ft.debug.nans(infinite=True):
        assert f(np.float32(2.0)) == 2.0
