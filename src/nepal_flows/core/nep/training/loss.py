"""From predictions to errors, and to the slopes of the loss."""

import math

import numba

_SMALLEST_RMSE = 1e-12  # keeps the slope of a square root finite


@numba.njit(cache=True, nogil=True, error_model="numpy")
def loss_slopes(  # type: ignore[no-untyped-def]
    selected, places, targets, lambdas, energies, forces, virials, energy_slopes
):
    """Turn predictions into slopes of the loss; return its terms.

    Parameters
    ----------
    selected
        Structures in the order of the predictions, shape (n,).
    places
        First atom of each in the predictions, shape (n + 1,).
    targets
        References of all structures.
    lambdas
        Weights of energy, force and virial, and that of shear.
    energies
        Predicted, eV, shape (n,).
    forces, virials
        Predicted, flat; overwritten by dL/dF and dL/dW.
    energy_slopes
        Written: dL/dE, shape (n,).

    Returns
    -------
    tuple
        Root-mean-square errors of energy (eV/atom, after the offset), forces (eV/Å) and virial
        (eV/atom), and the offset (eV/atom).
    """
    start = targets.atom_start
    n = len(selected)
    sum_weight, sum_error = 0.0, 0.0
    for index in range(n):
        m = selected[index]
        error = (energies[index] - targets.energies[m]) / (start[m + 1] - start[m])
        energy_slopes[index] = error
        sum_weight += targets.weights[m]
        sum_error += targets.weights[m] * error
    offset = sum_error / max(sum_weight, 1e-300)
    energy, force, virial = 0.0, 0.0, 0.0
    n_components, n_virials = 3 * (places[n] - places[0]), 0
    for index in range(n):
        m = selected[index]
        first, n_atoms = start[m], start[m + 1] - start[m]
        energy_slopes[index] -= offset
        energy += targets.weights[m] * energy_slopes[index] ** 2
        for c in range(3):
            own, reference = 3 * places[index] + c * n_atoms, 3 * first + c * n_atoms
            for i in range(n_atoms):
                error = forces[own + i] - targets.forces[reference + i]
                weighted = targets.force_weights[first + i] * error
                forces[own + i] = weighted
                force += weighted * error
        for c in range(6):
            at = 6 * index + c
            if not targets.has_virial[m]:
                virials[at] = 0.0
                continue
            shear = lambdas[3] * lambdas[3] if c > 2 else 1.0
            error = (virials[at] - targets.virials[6 * m + c]) / n_atoms
            weighted = targets.weights[m] * shear * error
            virial += weighted * error
            virials[at] = weighted / n_atoms
            n_virials += 1
    energy = math.sqrt(energy / n)
    force = math.sqrt(force / n_components)
    virial = math.sqrt(virial / max(n_virials, 1))
    factor = lambdas[0] / (n * max(energy, _SMALLEST_RMSE))
    for index in range(n):
        m = selected[index]
        energy_slopes[index] *= factor * targets.weights[m] / (start[m + 1] - start[m])
    factor = lambdas[1] / (n_components * max(force, _SMALLEST_RMSE))
    for i in range(n_components):
        forces[3 * places[0] + i] *= factor
    factor = lambdas[2] / (max(n_virials, 1) * max(virial, _SMALLEST_RMSE))
    for i in range(6 * n):
        virials[i] *= factor
    return energy, force, virial, offset


__all__ = ["loss_slopes"]
