"""GPUMD's programs `gpumd` and `nep`: started, watched, their outcomes told apart."""
