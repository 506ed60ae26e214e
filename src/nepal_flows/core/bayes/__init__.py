"""The Bayesian error of a potential: features, evidence, and the bar on what it predicts."""
