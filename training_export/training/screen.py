"""Progress bars, and the log on disk after each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training_export.training.checkpoint import Epoch
from training_export.training.loop import Watcher
from training_export.training.record import write_log


class Screen:
    """A bar for each fit, while the screen is entered.

    With a folder its log is written anew after each epoch, so that a run that is killed has its own up to there.
    """

    def __init__(self, console: Console, out: Path | None = None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.bars = Progress(*columns, console=console)
        self._out = out
        self._histories: dict[str, tuple[Epoch, ...]] = {}

    def __enter__(self) -> Self:
        """Show the bars."""
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bars as they are."""
        self.bars.stop()

    def watch(self, name: str) -> Watcher:
        """Return the watcher of a fit."""
        return _Bar(self, name, self.bars.add_task(name, total=1.0))

    def note(self, name: str, history: Sequence[Epoch]) -> None:
        """Write the log with the epochs of a fit."""
        self._histories[name] = tuple(history)
        if self._out is not None:
            write_log(self._out, self._histories)


class _Bar(Watcher):
    def __init__(self, screen: Screen, name: str, task: TaskID) -> None:
        self._screen, self._name, self._task = screen, name, task

    def resumed(self, history: Sequence[Epoch]) -> None:
        if history:
            self._screen.note(self._name, history)
            self._screen.bars.console.print(f"{self._name}: {len(history)} epochs were done before")

    def step(self, share: float) -> None:
        self._screen.bars.update(self._task, completed=share)

    def epoch(self, history: Sequence[Epoch]) -> None:
        self._screen.note(self._name, history)
        self._screen.bars.console.print(f"{self._name}, {_sentence(history[-1])}")


def _sentence(epoch: Epoch) -> str:
    judged = (
        ""
        if epoch.validation_loss is None or epoch.validation_auc is None
        else f", validation loss {epoch.validation_loss:.4f}, AUC {epoch.validation_auc:.3f}"
    )
    return f"epoch {epoch.number}: loss {epoch.training_loss:.4f}{judged}, {epoch.seconds:.1f} s"
