"""The neuroevolution potential: model, descriptors, energies and forces, projections, training."""
