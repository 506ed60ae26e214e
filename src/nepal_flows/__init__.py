"""NEP Active Learning flows: neuroevolution potentials built by active learning."""

__version__ = "0.1.0"
__all__ = ["__version__"]
