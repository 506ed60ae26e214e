"""Lattices and the cells that can be cut from them: Hermite normal forms, reduction, supercells.

Cell vectors are rows. An integer matrix M makes the cell ``M @ cell``; its determinant is the
number of unit cells.
"""

from functools import lru_cache
from itertools import permutations, product

import numpy as np

from nepal_flows.core.structure import Structure
from nepal_flows.errors import StructureError
from nepal_flows.typing import FloatArray, IntArray

LARGEST_INDEX = 512
"""Most unit cells of a supercell for which all sublattices are enumerated."""

_LENGTH_TOLERANCE = 1e-9


@lru_cache(maxsize=16)
def _hermite_normal_forms(n_cells: int) -> IntArray:
    forms = []
    for a in (k for k in range(1, n_cells + 1) if n_cells % k == 0):
        rest = n_cells // a
        for b in (k for k in range(1, rest + 1) if rest % k == 0):
            d, e, f = np.meshgrid(np.arange(a), np.arange(a), np.arange(b), indexing="ij")
            block = np.zeros((d.size, 3, 3), dtype=np.int64)
            block[:, 0, 0], block[:, 1, 1], block[:, 2, 2] = a, b, rest // b
            block[:, 1, 0], block[:, 2, 0], block[:, 2, 1] = d.ravel(), e.ravel(), f.ravel()
            forms.append(block)
    result = np.concatenate(forms)
    result.setflags(write=False)
    return result


def hermite_normal_forms(n_cells: int) -> IntArray:
    """Return one integer matrix for every sublattice of the given index.

    The rows ``(a 0 0), (d b 0), (e f c)`` with ``a b c = n_cells`` are cell vectors, so an
    off-diagonal is bounded by the diagonal of its *column*: ``0 <= d, e < a`` and ``0 <= f < b``.

    Parameters
    ----------
    n_cells
        Index of the sublattice: unit cells in the supercell, 1 to 512.

    Returns
    -------
    IntArray
        Shape (n_forms, 3, 3).

    Raises
    ------
    StructureError
        If ``n_cells`` is out of range.

    Examples
    --------
    >>> [len(hermite_normal_forms(n)) for n in range(1, 7)]
    [1, 7, 13, 35, 31, 91]
    """
    if not 1 <= n_cells <= LARGEST_INDEX:
        raise StructureError(
            f"`n_cells` is {n_cells}; sublattices are enumerated for 1 to {LARGEST_INDEX}. "
            "Give the repeats along the cell vectors instead."
        )
    return _hermite_normal_forms(n_cells)


def reduced_matrices(matrices: IntArray, cell: FloatArray) -> IntArray:
    """Return integer matrices of the same sublattices with the shortest cell vectors.

    The reduction is Minkowski's, by the greedy algorithm [1]_, for all matrices at once; the new
    cells have the handedness of ``cell``.

    Parameters
    ----------
    matrices
        Integer matrices, shape (n, 3, 3).
    cell
        Cell vectors as rows, shape (3, 3), Å.

    Returns
    -------
    IntArray
        Shape (n, 3, 3); vectors ``M @ cell`` by rising length.

    References
    ----------
    .. [1] P. Q. Nguyen and D. Stehle, ACM Trans. Algorithms 5, 46 (2009).
    """
    result = np.array(matrices, dtype=np.int64)
    active = np.arange(len(result))
    for _ in range(200):
        before = result[active]
        order = np.argsort(np.round(_squared_lengths(before @ cell), 9), axis=1, kind="stable")
        after = np.take_along_axis(before, order[:, :, None], axis=1)
        _reduce_second(after, cell)
        _reduce_third(after, cell)
        result[active] = after
        active = active[(before != after).any(axis=(1, 2))]
        if len(active) == 0:
            break
    flipped = np.linalg.det(result.astype(np.float64)) < 0.0
    result[flipped] *= -1
    return result


def _squared_lengths(vectors: FloatArray) -> FloatArray:
    return np.einsum("...i,...i->...", vectors, vectors)


def _reduce_second(matrices: IntArray, cell: FloatArray) -> None:
    first, second = matrices[:, 0] @ cell, matrices[:, 1] @ cell
    multiple = np.rint(np.einsum("ni,ni->n", first, second) / _squared_lengths(first))
    shorter = matrices[:, 1] - multiple.astype(np.int64)[:, None] * matrices[:, 0]
    gain = _squared_lengths(second) - _squared_lengths(shorter @ cell)
    improved = gain > _LENGTH_TOLERANCE
    matrices[improved, 1] = shorter[improved]


def _reduce_third(matrices: IntArray, cell: FloatArray) -> None:
    vectors = matrices @ cell
    plane, third = vectors[:, :2], vectors[:, 2]
    gram = plane @ plane.transpose(0, 2, 1)
    overlap = np.einsum("nki,ni->nk", plane, third)
    nearest = np.rint(np.linalg.solve(gram, overlap[:, :, None])[:, :, 0]).astype(np.int64)
    best = matrices[:, 2].copy()
    length = _squared_lengths(third)
    for offset in ((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)):
        steps = nearest + np.array(offset)
        trial = matrices[:, 2] - np.einsum("nk,nki->ni", steps, matrices[:, :2])
        trial_length = _squared_lengths(trial @ cell)
        shorter = trial_length < length - _LENGTH_TOLERANCE
        best[shorter], length[shorter] = trial[shorter], trial_length[shorter]
    matrices[:, 2] = best


def cell_thicknesses(cells: FloatArray) -> FloatArray:
    """Return the distances between opposite faces, shape (..., 3), of cells (..., 3, 3), Å."""
    cells = np.asarray(cells, dtype=np.float64)
    normals = np.cross(np.roll(cells, -1, axis=-2), np.roll(cells, -2, axis=-2))
    volumes = np.abs(np.linalg.det(cells))
    thicknesses: FloatArray = volumes[..., None] / np.sqrt(_squared_lengths(normals))
    return thicknesses


def compact_matrix(cell: FloatArray, n_cells: int) -> IntArray:
    """Return the integer matrix of the most cube-like cell of ``n_cells`` unit cells.

    At equal volume a cube has the least sum of squared edges among all reduced cells, so that sum
    is what is minimised, over all sublattices of the index.

    Raises
    ------
    StructureError
        If ``n_cells`` is out of range.
    """
    cell = np.ascontiguousarray(cell, dtype=np.float64)
    return _compact_matrix(cell.tobytes(), n_cells)


@lru_cache(maxsize=256)
def _compact_matrix(cell_bytes: bytes, n_cells: int) -> IntArray:
    cell = np.frombuffer(cell_bytes).reshape(3, 3)
    matrices = reduced_matrices(hermite_normal_forms(n_cells), cell)
    lengths = _squared_lengths(matrices @ cell).sum(axis=1)
    ties = np.flatnonzero(lengths < lengths.min() * (1.0 + 1e-6))
    matrix = _upright(matrices[ties[0]], cell)
    matrix.setflags(write=False)
    return matrix


def _upright(matrix: IntArray, cell: FloatArray) -> IntArray:
    """Return the same sublattice with its vectors ordered and signed to lie along x, y and z."""
    best, best_alignment = matrix, -np.inf
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            turned = matrix[list(order)] * np.array(signs)[:, None]
            vectors = turned @ cell
            if np.linalg.det(turned) < 0:
                continue
            alignment = float((np.diag(vectors) / np.linalg.norm(vectors, axis=1)).sum())
            if alignment > best_alignment + 1e-9:
                best, best_alignment = turned, alignment
    return best


def cubic_matrix(cell: FloatArray, n_cells: int) -> IntArray:
    """Return the integer matrix of a nearly cubic cell of about ``n_cells`` unit cells.

    For numbers too large to look at all sublattices: the integer matrices next to boxes of edges
    within a fifth of the cube's are compared by their size and shape.
    """
    cell = np.asarray(cell, dtype=np.float64)
    edge = (n_cells * abs(np.linalg.det(cell))) ** (1.0 / 3.0)
    handedness = np.array([1.0, 1.0, np.sign(np.linalg.det(cell))])
    factors = np.array(list(product(np.linspace(0.8, 1.2, 21), repeat=3)))
    boxes = (edge * factors * handedness)[:, :, None] * np.eye(3)
    matrices = np.rint(boxes @ np.linalg.inv(cell)).astype(np.int64)
    miss = np.abs(np.linalg.det(matrices) / n_cells - 1.0)
    elongation = factors.max(axis=1) / factors.min(axis=1) - 1.0
    matrix: IntArray = matrices[np.argmin(miss + 0.1 * elongation)]
    return matrix


def random_matrix(
    cell: FloatArray,
    n_cells: int,
    rng: np.random.Generator,
    *,
    min_thickness: float = 1.7,
    max_length: float = 14.0,
) -> IntArray:
    """Return the integer matrix of a random sublattice, reduced.

    All sublattices of the index whose reduced cell is thick and short enough are equally likely;
    if there is none, the most cube-like one is returned.

    Parameters
    ----------
    cell
        Cell vectors as rows, shape (3, 3), Å.
    n_cells
        Unit cells in the supercell.
    rng
        Source of randomness.
    min_thickness
        Least distance between opposite faces, Å.
    max_length
        Largest length of a cell vector, Å.

    Raises
    ------
    StructureError
        If ``n_cells`` is out of range.
    """
    matrices = reduced_matrices(hermite_normal_forms(n_cells), cell)
    cells = matrices @ cell
    thick = cell_thicknesses(cells).min(axis=1) >= min_thickness
    short = _squared_lengths(cells).max(axis=1) <= max_length**2
    allowed = np.flatnonzero(thick & short)
    if len(allowed) == 0:
        return compact_matrix(cell, n_cells)
    matrix: IntArray = matrices[rng.choice(allowed)]
    return matrix


def supercell(structure: Structure, matrix: IntArray) -> Structure:
    """Return the supercell with cell ``matrix @ structure.cell``, positions wrapped into it.

    Parameters
    ----------
    structure
        The unit cell.
    matrix
        Integer matrix, shape (3, 3), or three repeats, shape (3,).

    Raises
    ------
    StructureError
        If the matrix is singular or repeats a direction that is not periodic.
    """
    matrix = np.asarray(matrix, dtype=np.int64)
    if matrix.shape == (3,):
        matrix = np.diag(matrix)
    if _adjugate(matrix)[1] == 0:
        raise StructureError(f"The supercell matrix {matrix.tolist()} is singular.")
    for axis in (k for k in range(3) if not structure.pbc[k]):
        unit = np.eye(3, dtype=np.int64)[axis]
        if (matrix[axis] != unit).any() or (matrix[:, axis] != unit).any():
            raise StructureError(
                f"The supercell matrix {matrix.tolist()} repeats direction {axis}, which is not "
                "periodic. Use 1 there."
            )
    shifts = _lattice_points(matrix) @ structure.cell
    cell = matrix @ structure.cell
    positions = (shifts[:, None, :] + structure.positions[None, :, :]).reshape(-1, 3)
    return Structure(
        np.tile(structure.numbers, len(shifts)),
        wrapped_positions(positions, cell, structure.pbc),
        cell,
        structure.pbc,
    )


def _adjugate(matrix: IntArray) -> tuple[IntArray, int]:
    """Return adj(M), with ``M @ adj(M) = det(M) 1``, and det(M): exact in integers."""
    a, b, c = matrix
    adjugate = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    return adjugate, int(a @ adjugate[:, 0])


def _lattice_points(matrix: IntArray) -> IntArray:
    """Return the points of the unit lattice inside the supercell, shape (n_cells, 3)."""
    corners = np.array(list(product((0, 1), repeat=3))) @ matrix
    ranges = [np.arange(corners[:, k].min(), corners[:, k].max() + 1) for k in range(3)]
    points = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    adjugate, determinant = _adjugate(matrix)
    scaled = points @ adjugate * np.sign(determinant)
    inside = ((scaled >= 0) & (scaled < abs(determinant))).all(axis=1)
    return points[inside]


def wrapped_positions(
    positions: FloatArray, cell: FloatArray, pbc: tuple[bool, bool, bool]
) -> FloatArray:
    """Return the positions moved by whole cell vectors into the cell, shape (n_atoms, 3), Å."""
    scaled = np.linalg.solve(cell.T, np.asarray(positions).T).T
    images = np.floor(scaled + 1e-9) * np.array(pbc, dtype=np.float64)
    wrapped: FloatArray = positions - images @ cell
    return wrapped


def widest_gap(structure: Structure) -> float:
    """Return the thickness of the widest layer without atoms along any cell direction, Å.

    It is measured between planes through atoms' centres, across periodic boundaries too: the
    distance of layers in a crystal, the vacuum of a slab.
    """
    scaled = np.linalg.solve(structure.cell.T, structure.positions.T).T
    ordered = np.sort(scaled - np.floor(scaled), axis=0)
    gaps = np.diff(np.concatenate([ordered, ordered[:1] + 1.0]), axis=0)
    return float((gaps.max(axis=0) * cell_thicknesses(structure.cell)).max())


__all__ = [
    "LARGEST_INDEX",
    "cell_thicknesses",
    "compact_matrix",
    "cubic_matrix",
    "hermite_normal_forms",
    "random_matrix",
    "reduced_matrices",
    "supercell",
    "widest_gap",
    "wrapped_positions",
]
