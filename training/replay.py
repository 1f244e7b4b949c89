"""Independent prioritised replay: one ring of frames per task and environment row, in numpy.

A frame is (observation, the action taken there, its reward). An episode ends with a *final* frame,
which has an observation but no action, so time limits can bootstrap and the tail is never lost.
Knows no network.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from training.config import ReplayConfig
from training.priorities import Priorities


@dataclass(frozen=True)
class Batch:
    """B windows of W + 1 frames; position 0 is the sampled root."""

    task: np.ndarray  # [B] int64
    observation: np.ndarray  # [B, W+1, O]
    action: np.ndarray  # [B, W+1, A]
    reward: np.ndarray  # [B, W+1]
    alive: np.ndarray  # [B, W+1] bool: the frame belongs to the root's episode
    final: np.ndarray  # [B] index of the episode's last frame in the window, W if it goes on
    terminal: np.ndarray  # [B] bool: that last frame is a terminal state
    weight: np.ndarray  # [B] importance correction
    stored_action: np.ndarray  # [B, W+1, A] search result kept from an earlier update
    stored_at: np.ndarray  # [B, W+1] update at which it was made, -1 if never
    stored_value: np.ndarray  # [B, W+1] value that a search found
    valued_at: np.ndarray  # [B, W+1] update at which it was made, -1 if never
    newest: np.ndarray  # [B] int64: how many transitions of this task are younger than the root
    place: tuple[np.ndarray, np.ndarray, np.ndarray]  # task, row, column of each root
    demo: np.ndarray  # [B] bool: of a demonstration, stored_action is what to imitate
    flipped: np.ndarray  # [B] bool: seen in the mirror
    own: np.ndarray  # [B] bool: this task's policy acted; else its later actions were not chosen


class TaskBuffer:
    """The ring of one task: E rows (environments) of C columns."""

    def __init__(self, rows: int, capacity: int, observation: int, action: int, window: int):
        columns = max(capacity // rows, 4 * window)
        self.rows, self.columns, self.window = rows, columns, window
        self.active = rows  # of them, those that are being written
        self.own = np.ones(rows, bool)  # of them, those in which this task's policy acts
        self.observation = np.zeros((rows, columns, observation), np.float32)
        self.action = np.zeros((rows, columns, action), np.float32)
        self.reward = np.zeros((rows, columns), np.float32)
        self.last = np.zeros((rows, columns), bool)
        self.terminal = np.zeros((rows, columns), bool)
        self.stored_action = np.zeros((rows, columns, action), np.float32)
        self.stored_at = np.full((rows, columns), -1, np.int64)
        self.stored_value = np.zeros((rows, columns), np.float32)
        self.valued_at = np.full((rows, columns), -1, np.int64)
        self.dropped = np.zeros((rows, columns), bool)  # never to be sampled
        self.priorities = Priorities(rows, columns)  # already to the exponent; 0: not yet, or never
        self.written = np.zeros(rows, np.int64)  # frames ever written per row
        self.top = 1.0  # largest priority seen: what new frames get

    def __len__(self) -> int:
        return int(np.minimum(self.written, self.columns).sum())

    @property
    def priority(self) -> np.ndarray:
        """Priorities [E, C], to be read; `priorities.set` changes them."""
        return self.priorities.values

    def add(self, observation: np.ndarray, action: np.ndarray, reward: np.ndarray) -> None:
        """Append one frame to each of the first rows, as many as there are frames."""
        self.active = len(observation)
        self._write(np.arange(self.active), observation, action, reward, False)
        ready = self.written[: self.active] - 1 - self.window
        rows = np.flatnonzero(ready >= 0)
        self._make_ready(rows, ready[rows])

    def finish(self, rows: np.ndarray, observation: np.ndarray, terminal: np.ndarray) -> None:
        """Append the final frame of the episodes of `rows`."""
        if len(rows) == 0:
            return
        zeros = np.zeros((len(rows), self.action.shape[-1]), np.float32)
        self._write(rows, observation, zeros, np.zeros(len(rows), np.float32), terminal, True)
        for back in range(1, self.window + 1):
            place = self.written[rows] - 1 - back
            keep = place >= 0
            self._make_ready(rows[keep], place[keep])

    def drop_tail(self, rows: np.ndarray, lengths: np.ndarray, block: int) -> None:
        """Never sample the last block of the episodes that just ended (as the release does).

        Blocks of `block` steps; lengths [len(rows)] in steps.
        """
        self._drop_last(rows, np.where(lengths > 0, (lengths - 1) % block + 1, 0))

    def drop_newest(self, rows: np.ndarray, lengths: np.ndarray) -> None:
        """Never sample a window with the last step, or the end, of the episodes that just ended.

        lengths [len(rows)] in steps.
        """
        self._drop_last(rows, np.minimum(lengths, self.window + 1))

    def _drop_last(self, rows: np.ndarray, steps: np.ndarray) -> None:
        """Drop the last `steps` [len(rows)] frames before the final one."""
        for row, tail in zip(rows, steps, strict=True):
            place = self.written[row] - 2 - np.arange(min(tail, self.columns - 1))
            column = place[place >= 0] % self.columns
            self.drop(np.full(len(column), row), column)

    def drop(self, rows: np.ndarray, columns: np.ndarray) -> None:
        """Never sample the roots at rows [n], columns [n]."""
        self.dropped[rows, columns] = True
        self.priorities.set(rows, columns, 0.0)

    def _write(self, rows, observation, action, reward, terminal, last=False) -> None:
        column = self.written[rows] % self.columns
        self.observation[rows, column] = observation
        self.action[rows, column] = action
        self.reward[rows, column] = reward
        self.last[rows, column] = last
        self.terminal[rows, column] = terminal
        self.stored_at[rows, column] = self.valued_at[rows, column] = -1
        self.dropped[rows, column] = False
        self.priorities.set(rows, column, 0.0)
        self.written[rows] += 1

    def _make_ready(self, rows: np.ndarray, place: np.ndarray) -> None:
        column = place % self.columns
        never = self.last[rows, column] | self.dropped[rows, column]
        fresh = (self.priority[rows, column] == 0.0) & ~never
        self.priorities.set(rows[fresh], column[fresh], self.top)

    def sample(
        self, count: int, config: ReplayConfig, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw roots: rows [count], columns [count], importance weights [count]."""
        ready = self.priorities.count()
        if ready == 0:
            raise ValueError("the replay buffer has no complete window yet")
        row, column = self.priorities.draw((rng.random(count) + np.arange(count)) / count)
        span = max(1, config.recent // self.active) + self.window
        new_row, new_column = self._recent(round(config.recent_share * count), span, rng)
        some = rng.permutation(count)[: len(new_row)]
        row[some], column[some] = new_row, new_column
        share = len(some) / count
        chance = (1.0 - share) * self.priority[row, column] / self.priorities.total()
        if share:
            newest = self.priorities.count_before(self.written % self.columns, span)
            chance += share / newest * (self._age(row, column) < span)
        weight = (ready * chance) ** -config.correction_exponent
        weight = np.clip(weight / weight.max(), config.weight_floor, 1.0)
        return row, column, weight.astype(np.float32)

    def _recent(
        self, count: int, span: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw at most `count` roots evenly from those among the newest `span` frames of a row."""
        tries = 2 * count
        row = rng.integers(self.rows, size=tries)
        age = rng.integers(min(span, int(self.written.max()), self.columns), size=tries)
        column = (self.written[row] - 1 - age) % self.columns
        good = np.flatnonzero(self.priority[row, column] > 0.0)[:count]
        return row[good], column[good]

    def _age(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Return how many frames of the same row were written since."""
        return (self.written[row] - 1 - column) % self.columns

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that hold everything, only the columns in use."""
        used = int(min(self.written.max(), self.columns))
        arrays = {name: np.ascontiguousarray(getattr(self, name)[:, :used]) for name in _ARRAYS}
        return arrays | {"written": self.written, "top": np.array([self.top])}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        used = arrays["reward"].shape[1]
        if used > self.columns or arrays["reward"].shape[0] != self.rows:
            raise ValueError(
                f"the saved buffer has {arrays['reward'].shape} rows x columns, "
                f"this run has {self.rows} x {self.columns}"
            )
        for name in _ARRAYS:
            if name != "priority" and (name in arrays or name not in _LATER):
                getattr(self, name)[:, :used] = arrays[name]
        self.priorities.load(arrays["priority"])
        self.written[:] = arrays["written"]
        self.top = float(arrays["top"][0])


_ARRAYS = (
    "observation", "action", "reward", "last", "terminal",
    "stored_action", "stored_at", "stored_value", "valued_at", "dropped", "priority",
)  # fmt: skip
_LATER = ("stored_value", "valued_at", "dropped")  # older files lack them: no value, none dropped


class Replay:
    """One buffer per task; every batch holds equally many roots of each."""

    def __init__(
        self,
        tasks: int,
        rows: int,
        observation: int,
        action: int,
        window: int,
        config: ReplayConfig,
    ):
        """Build empty buffers for `rows` environments of each task.

        If they share, every buffer has the rows of all tasks, in order, with its own task's reward.
        """
        self.config, self.window = config, window
        shared = tasks if config.shared else 1
        self.buffers = [
            TaskBuffer(shared * rows, config.capacity, observation, action, window)
            for _ in range(tasks)
        ]
        if config.shared:
            for task, buffer in enumerate(self.buffers):
                buffer.own = np.repeat(np.arange(tasks), rows) == task

    def ready(self) -> bool:
        """Tell whether every task has a window that can be sampled."""
        return all(buffer.priorities.count() for buffer in self.buffers)

    def sample(
        self, batch: int, rng: np.random.Generator, counts: np.ndarray | None = None
    ) -> Batch:
        """Draw `counts` [T] windows, or floor(batch / tasks) of each, or as `task_share` says."""
        parts = []
        shares = np.array(self.config.task_share or [1.0] * len(self.buffers))
        even = np.floor(batch * shares / shares.sum() + 1e-9).astype(int)
        drawn = even if counts is None else counts
        for task, (buffer, count) in enumerate(zip(self.buffers, drawn, strict=True)):
            row, column, weight = buffer.sample(int(count), self.config, rng)
            columns = (column[:, None] + np.arange(self.window + 1)) % buffer.columns
            rows = row[:, None]
            last = buffer.last[rows, columns]
            ended = np.cumsum(last, axis=1) - last  # final frames strictly before
            alive = ended == 0
            final = np.where(last.any(1), last.argmax(1), self.window)
            ends = np.arange(len(row)), final
            parts.append(
                (
                    np.full(len(row), task), buffer.observation[rows, columns],
                    buffer.action[rows, columns], buffer.reward[rows, columns], alive, final,
                    buffer.terminal[rows, columns][ends] & last.any(1), weight,
                    buffer.stored_action[rows, columns], buffer.stored_at[rows, columns],
                    buffer.stored_value[rows, columns], buffer.valued_at[rows, columns],
                    buffer._age(row, column) * buffer.active, buffer.own[row], row, column,
                )
            )  # fmt: skip
        fields = [np.concatenate(items) for items in zip(*parts, strict=True)]
        no = np.zeros(len(fields[0]), bool)
        place = (fields[0], fields[-2], fields[-1])
        return Batch(*fields[:-3], place=place, demo=no, flipped=no, own=fields[-3])

    def update_priorities(self, batch: Batch, error: np.ndarray) -> None:
        """Set the priority of the sampled roots to (error + 1e-6)^exponent."""
        value = (error.astype(np.float64) + 1e-6) ** self.config.priority_exponent
        for task, buffer in enumerate(self.buffers):
            mine = (batch.task == task) & ~batch.demo
            row, column = batch.place[1][mine], batch.place[2][mine]
            buffer.priorities.set(row, column, value[mine])
            buffer.top = float(max(buffer.top, value[mine].max(initial=0.0)))

    def drop(self, batch: Batch, guilty: np.ndarray) -> None:
        """Never sample the roots of the `guilty` [B] bool rows of a batch again."""
        for task, buffer in enumerate(self.buffers):
            mine = guilty & (batch.task == task) & ~batch.demo
            buffer.drop(batch.place[1][mine], batch.place[2][mine])

    def store_search(
        self, batch: Batch, rows: np.ndarray, action: np.ndarray, value: np.ndarray, update: int
    ) -> None:
        """Keep what a search found, for later batches: actions [b, k, A] and values [b, k].

        They are those of batch rows [b] at positions 0..k-1.
        """
        task, row, column = (part[rows] for part in batch.place)
        for position in range(action.shape[1]):
            alive = batch.alive[rows, position] & ~batch.demo[rows]
            for index, buffer in enumerate(self.buffers):
                mine = alive & (task == index)
                place = row[mine], (column[mine] + position) % buffer.columns
                buffer.stored_action[place] = action[mine, position]
                buffer.stored_value[place] = value[mine, position]
                buffer.stored_at[place] = buffer.valued_at[place] = update

    def save(self, path: Path) -> None:
        """Write everything to a safetensors file."""
        save_file(
            {
                f"{task}/{name}": array
                for task, buffer in enumerate(self.buffers)
                for name, array in buffer.state().items()
            },
            path,
        )

    def load(self, path: Path) -> None:
        """Restore what `save` wrote."""
        arrays = load_file(path)
        for task, buffer in enumerate(self.buffers):
            mine = {k.split("/", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{task}/")}
            buffer.load(mine)
