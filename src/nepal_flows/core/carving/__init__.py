"""Fragments of large cells: what is unknown, in a small periodic cell of its own.

An atom whose environment a model does not know is cut out with everything inside its cutoff, and
closed to a periodic cell along the parent's directions. What lies at the new faces is searched,
pushed, healed or relaxed, never what the centre feels. The order of the modules is that of the
work: regions, centres, distances, boxes, fragments, clashes, healing, fidelity, carve.
"""
