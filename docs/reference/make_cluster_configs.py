"""Write fireworker_configs/ from the templates: ``python docs/reference/make_cluster_configs.py``.

It is what ``nepal init --cluster`` writes, with its defaults and a folder that stands for yours.
"""

from pathlib import Path

from nepal_flows.cluster.configuration import ClusterAnswers, cluster_files

FOLDER = Path(__file__).parents[2] / "fireworker_configs"
PLACEHOLDER = "/path/to/fireworker_configs"
ANSWERS = ClusterAnswers(activate="source ~/nepal/bin/activate")


def example_files() -> dict[str, str]:
    """Return the files of the example by their path."""
    return cluster_files(ANSWERS, PLACEHOLDER)


if __name__ == "__main__":
    for name, text in example_files().items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")
