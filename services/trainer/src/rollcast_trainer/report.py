"""What a run came to, as a small table for people."""

from rich.console import Console
from rich.table import Table

from rollcast_trainer.training import Trained

__all__ = ["print_report"]

_MEGABYTE = 1_000_000


def print_report(trained: Trained, destination: str) -> None:
    """On stdout: rows, figures beside the dummy's, size, and where it all went."""
    card, console = trained.card, Console(soft_wrap=True, highlight=False)
    data = card.data
    console.print()
    console.print(f"{card.model} {card.version}: {card.estimator}", style="bold", markup=False)
    dropped = f" ({trained.dropped_rows} without target)" if trained.dropped_rows else ""
    console.print(
        f"rows {data.rows}, different {data.unique_rows}{dropped}, "
        f"train {data.train_rows}, test {data.test_rows} ({data.split})",
        markup=False,
    )
    table = Table("on held-out rows", box=None, pad_edge=False)
    table.add_column("model", justify="right")
    table.add_column("dummy", justify="right")
    for name, value in card.metrics.items():
        table.add_row(name, f"{value:.4g}", f"{card.baseline_metrics[name]:.4g}")
    console.print(table)
    console.print(f"size {card.artifact_size_bytes / _MEGABYTE:.2f} MB, sha256 {card.artifact_sha256}", markup=False)
    console.print(destination, markup=False)
