"""Files and ASE's Atoms to arrays, and back."""
