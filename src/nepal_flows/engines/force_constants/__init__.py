"""Force constants of a crystal through hiPhive: a model of its own, linear in its parameters."""
