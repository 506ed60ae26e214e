"""The numerics: arrays in, frozen results out. No file, clock, environment, setting or job."""
