"""The network of one atom: energy, neurons, and the slope of the energy in the descriptors."""

from nepal_flows.core.simd import inner, larger, nearest, power_of_two, smaller, total
from nepal_flows.core.simd_memory import WIDTH, load, splat, store


@inner
def hyperbolic_tangent(value):  # type: ignore[no-untyped-def]
    """Return tanh of every lane to double precision."""
    double = smaller(80.0, larger(-80.0, 2.0 * value))  # keeps NaN
    n = nearest(1.4426950408889634 * double)
    r = (double - n * 6.93147180369123816490e-1) - n * 1.90821492927058770002e-10  # ln 2 in two
    p = 1.0 / 479001600.0 + r * (1.0 / 6227020800.0)
    p = 1.0 / 39916800.0 + r * p
    p = 1.0 / 3628800.0 + r * p
    p = 1.0 / 362880.0 + r * p
    p = 1.0 / 40320.0 + r * p
    p = 1.0 / 5040.0 + r * p
    p = 1.0 / 720.0 + r * p
    p = 1.0 / 120.0 + r * p
    p = 1.0 / 24.0 + r * p
    p = 1.0 / 6.0 + r * p
    p = 0.5 + r * p
    p = r + r * r * p
    scale = power_of_two(n)
    exponential = scale * p + (scale - 1.0)  # exp(2 x) - 1, accurate near 0
    return exponential / (exponential + 2.0)


@inner
def network(arrays, scratch, central):  # type: ignore[no-untyped-def]
    """Return the energy of one atom; write tanh and w1 (1 - tanh^2) of its neurons."""
    energy = splat(0.0)
    w0 = arrays.w0_by_neuron
    n_descriptors = arrays.n_descriptors
    for tile in range(arrays.b0.shape[1]):
        even, odd = splat(0.0) - load(arrays.b0, central, tile), splat(0.0)
        for d in range(0, n_descriptors - 1, 2):
            even = even + scratch.q_flat[d] * load(w0, central, d, tile)
            odd = odd + scratch.q_flat[d + 1] * load(w0, central, d + 1, tile)
        if n_descriptors % 2 == 1:
            d = n_descriptors - 1
            even = even + scratch.q_flat[d] * load(w0, central, d, tile)
        t = hyperbolic_tangent(even + odd)
        w1 = load(arrays.w1, central, tile)
        energy = energy + w1 * t
        store(t, scratch.hidden, 0, tile)
        store(w1 * (1.0 - t * t), scratch.hidden, 1, tile)
    return total(energy) - arrays.b1


@inner
def network_backward(arrays, scratch, central):  # type: ignore[no-untyped-def]
    """Write dE/dq of one atom to ``scratch.q_slope``."""
    w0 = arrays.w0_by_descriptor
    for tile in range(scratch.q_slope.shape[0]):
        even, odd = splat(0.0), splat(0.0)
        for h in range(arrays.b0.shape[1]):
            for k in range(0, WIDTH, 2):
                n = h * WIDTH + k
                even = even + scratch.hidden[1, h, k] * load(w0, central, n, tile)
                odd = odd + scratch.hidden[1, h, k + 1] * load(w0, central, n + 1, tile)
        store(even + odd, scratch.q_slope, tile)
