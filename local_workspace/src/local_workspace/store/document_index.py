"""What lists look for in documents: columns that sqlite reads out of the JSON, and indexes over them.

The columns take no room in the table, and the indexes are made at the first start that misses them.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

Value = str | int

ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")

_LIFE_CYCLE = "json_extract(document, '$.state.life_cycle_state')"
_RESULT = "nullif(json_extract(document, '$.state.result_state'), '')"
COLUMNS = {
    "job_name": "json_extract(document, '$.settings.name')",
    "job_cron": "json_extract(document, '$.settings.schedule.quartz_cron_expression')",
    "run_job": "json_extract(document, '$.job_id')",
    "run_type": "json_extract(document, '$.run_type')",
    "run_start": "json_extract(document, '$.start_time')",
    "run_has_ended": f"{_LIFE_CYCLE} IN {ENDED}",
    # As the pages call it: the result of what has one, else where it is in its life.
    "run_state": f"CASE {_LIFE_CYCLE} WHEN 'INTERNAL_ERROR' THEN 'INTERNAL_ERROR' "
    f"ELSE coalesce({_RESULT}, {_LIFE_CYCLE}) END",
}
# What has one value in a question comes first, then the order of its answer, then what is only looked at. All
# that a question names is there, so that it is answered without the documents.
INDEXES = {
    "jobs_in_order": "(kind, position, job_name) WHERE kind = 'job'",
    "jobs_on_time": "(kind, job_cron) WHERE kind = 'job'",
    "runs_by_end": "(kind, run_type, run_has_ended, position, run_start) WHERE kind = 'run'",
    "runs_by_job_and_end": "(kind, run_job, run_type, run_has_ended, position, run_start) WHERE kind = 'run'",
    "runs_by_state": "(kind, run_state, position) WHERE kind = 'run'",
    "runs_by_job_and_state": "(kind, run_job, run_state, position) WHERE kind = 'run'",
}


@dataclass(frozen=True)
class Search:
    """The documents of a kind that have one of the values in each column, and meet each condition.

    An index that begins with the columns finds them in their order without a look at any other; a condition,
    such as `{"run_start >= ?": 5}`, is put to each of these.
    """

    kind: str
    one_of: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    conditions: Mapping[str, Value] = field(default_factory=dict)

    def positions(self) -> tuple[str, list[Value]]:
        """SQL for the positions, one ordered part for each choice of values, and the values in it."""
        # The kind as it is: sqlite takes an index over some rows only for what it can read.
        start = " AND ".join([f"SELECT position FROM documents WHERE kind = '{self.kind}'", *self.conditions])
        parts, values = [], list[Value]()
        for chosen in product(*self.one_of.values()):
            parts.append("".join([start, *(f" AND {column} = ?" for column in self.one_of)]))
            values += [*self.conditions.values(), *chosen]
        return " UNION ALL ".join(parts), values

    def within(self, conditions: Mapping[str, Value]) -> "Search":
        """The same with more conditions."""
        return Search(self.kind, self.one_of, {**self.conditions, **conditions})


def ensure(connection: sqlite3.Connection) -> None:
    """Add the columns and indexes that the table of an older version has not."""
    connection.execute("BEGIN IMMEDIATE")
    present = {row[1] for row in connection.execute("PRAGMA table_xinfo(documents)")}
    for name in COLUMNS.keys() - present:
        connection.execute(f"ALTER TABLE documents ADD COLUMN {name} GENERATED ALWAYS AS ({COLUMNS[name]})")
    for name, definition in INDEXES.items():
        connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON documents {definition}")
    connection.execute("COMMIT")
