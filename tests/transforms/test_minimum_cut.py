"""Minimum cuts are as cheap as SciPy's maximum flows are large, and the nearest to the sink."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from functrans.transforms.minimum_cut import sink_side


@st.composite
def networks(draw, most):
    """The capacities of arcs from the source, and arcs between nodes and to the sink."""
    count = draw(st.integers(1, most))
    capacity = st.integers(0, 20)
    supply = draw(st.lists(capacity, min_size=count, max_size=count))
    arc = st.tuples(st.integers(0, count - 1), st.integers(0, count), capacity)
    return supply, [(tail, head, size) for tail, head, size in draw(st.lists(arc, max_size=3 * count)) if tail != head]


def price(side, supply, arcs):
    """What a cut costs: of the arcs into the sink's side."""
    side = [*side, True]
    cut = [size for tail, head, size in arcs if side[head] and not side[tail]]
    return sum(cut) + sum(size for size, own in zip(supply, side) if own)


def flow(supply, arcs):
    """The maximum flow, by SciPy."""
    count = len(supply)
    capacities = np.zeros((count + 2, count + 2), np.int32)
    for tail, head, size in [*arcs, *((count + 1, node, size) for node, size in enumerate(supply))]:
        capacities[tail, head] += size
    return maximum_flow(csr_array(capacities), count + 1, count).flow_value


@settings(deadline=None, max_examples=150)
@given(networks(most=40))
def test_cut_costs_what_the_maximum_flow_is(network):
    assert price(sink_side(*network), *network) == flow(*network)


@settings(deadline=None, max_examples=100)
@given(networks(most=7))
def test_of_several_cuts_it_is_the_one_nearest_to_the_sink(network):
    supply, _ = network
    sides = list(product([False, True], repeat=len(supply)))
    least = min(price(side, *network) for side in sides)
    nearest = [all(side[node] for side in sides if price(side, *network) == least) for node in range(len(supply))]
    assert sink_side(*network) == nearest


@pytest.mark.parametrize("scale", [1, 10**30])
def test_capacities_are_integers_of_any_size(scale):
    # Two nodes in a row: 3 + 5 into them, 2 between, 4 out of the second.
    assert sink_side([3 * scale, 5 * scale], [(0, 1, 2 * scale), (1, 2, 4 * scale)]) == [False, False]
    assert sink_side([3 * scale, 5 * scale], [(0, 1, 4 * scale), (1, 2, 10 * scale)]) == [True, True]


def test_deep_chains_take_little_work():
    count = 3000
    arcs = [(node, node + 1, 5) for node in range(count)]
    assert price(sink_side([1] * count, arcs), [1] * count, arcs) == 5
