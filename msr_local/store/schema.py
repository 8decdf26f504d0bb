"""The tables of a workspace, as migrations: each is applied once, in the order of this file, in a transaction.

Rules: plain column types; times are ISO-8601 text in UTC; the tables of results carry a `key` (a hash of all that made
the row), and those that belong to a user or an item `settings` too (a hash of model, adapter, prompt and sampling),
so that a stale result is never mistaken for a valid one. Views are for people: Datasette shows them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlite_utils.migrations import Migrations

migrations = Migrations("msr_local")
TOKEN = "lower(hex(randomblob(16)))"
_CHANGES = ("INSERT", "UPDATE", "DELETE")


def _script(made: Callable[[], str]) -> None:
    """A migration that runs the statements of a script."""

    # Not executescript(): that would commit the migration's transaction.
    def run(db: Any) -> None:
        for statement in filter(str.strip, made().split(";\n")):
            db.execute(statement)

    migrations(name=made.__name__)(run)


@_script
def m001_catalogue() -> str:
    """What was read from people's files."""
    return """
        CREATE TABLE items (
            item_id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            attributes TEXT NOT NULL DEFAULT '{}',  -- a JSON object
            image TEXT  -- absolute path
        );
        CREATE TABLE interactions (
            id INTEGER PRIMARY KEY,  -- order of arrival: breaks ties of timestamp
            user_id TEXT NOT NULL,
            item_id TEXT NOT NULL REFERENCES items(item_id),
            timestamp TEXT,  -- NULL where the source has an order but no times
            rating REAL,
            occurrence INTEGER NOT NULL DEFAULT 1  -- counts repeats of a user's item without timestamp
        );
        CREATE UNIQUE INDEX interactions_once
            ON interactions (user_id, item_id, ifnull(timestamp, ''), occurrence);
        CREATE INDEX interactions_history ON interactions (user_id, timestamp, id);
        CREATE INDEX interactions_item ON interactions (item_id);
        CREATE TABLE low_ratings (  -- under --min-rating: no part of the history, never recommended
            user_id TEXT NOT NULL,
            item_id TEXT NOT NULL REFERENCES items(item_id),
            timestamp TEXT NOT NULL DEFAULT '',
            rating REAL NOT NULL,
            occurrence INTEGER NOT NULL DEFAULT 1,
            PRIMARY KEY (user_id, item_id, timestamp, occurrence)
        );
        CREATE TABLE images (
            path TEXT PRIMARY KEY,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            sha256 TEXT,
            error TEXT  -- why the picture cannot be used
        );
        CREATE TABLE rejects (
            file TEXT NOT NULL,
            number INTEGER NOT NULL,  -- counts the rejects of a file: one line may hold several
            line INTEGER NOT NULL,
            reason TEXT NOT NULL,
            raw TEXT NOT NULL,
            PRIMARY KEY (file, number)
        );
        CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
        CREATE TABLE files (  -- hashes of model files, so that gigabytes are read once
            path TEXT PRIMARY KEY,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            sha256 TEXT NOT NULL
        )
    """


@_script
def m002_results() -> str:
    """What models made of it: one row is the unit of loss."""
    return """
        CREATE TABLE captions (
            item_id TEXT NOT NULL REFERENCES items(item_id),
            settings TEXT NOT NULL,
            key TEXT NOT NULL,
            caption TEXT NOT NULL,
            image_sha256 TEXT NOT NULL,
            model TEXT NOT NULL,
            created TEXT NOT NULL,
            PRIMARY KEY (item_id, settings)
        );
        CREATE TABLE preferences (
            user_id TEXT NOT NULL,
            block INTEGER NOT NULL,
            settings TEXT NOT NULL,
            key TEXT NOT NULL,
            summary TEXT NOT NULL,
            first_timestamp TEXT,
            last_timestamp TEXT,
            items TEXT NOT NULL,  -- a JSON array of item ids
            model TEXT NOT NULL,
            created TEXT NOT NULL,
            PRIMARY KEY (user_id, settings, block)
        );
        CREATE TABLE scores (
            user_id TEXT NOT NULL,
            item_id TEXT NOT NULL REFERENCES items(item_id),
            without TEXT NOT NULL DEFAULT '',  -- the evidence left out of the question; '' for none
            settings TEXT NOT NULL,
            key TEXT NOT NULL,
            log_odds REAL NOT NULL,
            p_yes REAL NOT NULL,
            coverage REAL NOT NULL,
            recall REAL,
            score REAL,
            model TEXT NOT NULL,
            created TEXT NOT NULL,
            PRIMARY KEY (user_id, item_id, without, settings)
        )
    """


@migrations()
def m003_search(db: Any) -> None:
    """Full-text search over titles, attributes and captions, kept current by triggers."""
    db["items"].enable_fts(["title", "attributes"], create_triggers=True)
    db["captions"].enable_fts(["caption"], create_triggers=True)


@_script
def m004_views() -> str:
    """The recipe's stages as a person would ask for them."""
    return """
        CREATE VIEW item_descriptions AS
            SELECT items.item_id, items.title, items.attributes, items.image,
                (SELECT caption FROM captions
                 WHERE captions.item_id = items.item_id AND captions.image_sha256 = images.sha256
                 ORDER BY created DESC LIMIT 1) AS caption
            FROM items LEFT JOIN images ON images.path = items.image;
        CREATE VIEW user_timeline AS
            SELECT user_id, block, first_timestamp, last_timestamp, items, summary, settings, created
            FROM preferences ORDER BY user_id, settings, block;
        CREATE VIEW recommendations AS
            SELECT scores.user_id,
                row_number() OVER (PARTITION BY scores.user_id ORDER BY scores.score DESC) AS rank,
                scores.item_id, items.title, scores.p_yes, scores.log_odds, scores.score, scores.recall,
                scores.model, scores.created
            FROM scores JOIN items USING (item_id)
            WHERE scores.without = '' AND scores.score IS NOT NULL
                AND NOT EXISTS (
                    SELECT 1 FROM interactions AS seen
                    WHERE seen.user_id = scores.user_id AND seen.item_id = scores.item_id)
                AND NOT EXISTS (
                    SELECT 1 FROM low_ratings AS seen
                    WHERE seen.user_id = scores.user_id AND seen.item_id = scores.item_id)
    """


@_script
def m006_past_summaries() -> str:
    """Summaries of a history as it stood once: training asks at many points of the past."""
    return "CREATE TABLE past_summaries (key TEXT PRIMARY KEY, summary TEXT NOT NULL, created TEXT NOT NULL)"


@_script
def m005_training() -> str:
    """How adapters were made, and which there are."""
    return """
        CREATE TABLE runs (
            run_id TEXT PRIMARY KEY,
            name TEXT NOT NULL,  -- of the adapter that the run is to make
            status TEXT NOT NULL,  -- running, failed or done
            stage TEXT NOT NULL,
            settings TEXT NOT NULL,  -- this and the next three: JSON objects
            split TEXT NOT NULL,
            versions TEXT NOT NULL,
            metrics TEXT NOT NULL,
            error TEXT,
            created TEXT NOT NULL,
            updated TEXT NOT NULL
        );
        CREATE TABLE run_steps (
            run_id TEXT NOT NULL REFERENCES runs(run_id),
            step INTEGER NOT NULL,
            loss REAL,
            auc REAL,  -- on validation data; NULL at steps that were not validated
            auc_low REAL,
            auc_high REAL,
            tokens INTEGER,
            seconds REAL,
            learning_rate REAL,
            PRIMARY KEY (run_id, step)
        );
        CREATE TABLE adapters (  -- an index of the folders in adapters/, which are the truth
            name TEXT PRIMARY KEY,
            run_id TEXT NOT NULL,  -- may be a run of another workspace
            base TEXT NOT NULL,
            base_sha256 TEXT NOT NULL,
            manifest TEXT NOT NULL,  -- a JSON object: manifest.json as it is in the folder
            created TEXT NOT NULL
        )
    """


@migrations()
def m007_revision(db: Any) -> None:
    """A token that is another one after each change of what recall reads.

    New interactions need no trigger for each: `add_interactions` draws a token for each file.
    """
    db.execute("CREATE TABLE revision (token TEXT NOT NULL)")
    db.execute(f"INSERT INTO revision VALUES ({TOKEN})")
    for table, changes in {"items": _CHANGES, "captions": _CHANGES, "interactions": _CHANGES[1:]}.items():
        for change in changes:
            name = f"revision_{table}_{change.lower()}"
            db.execute(
                f"CREATE TRIGGER {name} AFTER {change} ON {table} BEGIN UPDATE revision SET token = {TOKEN}; END"
            )


@_script
def m008_answers() -> str:
    """Answers to questions about points of the past, under the hash of all that made them: evaluations ask many."""
    return (
        "CREATE TABLE answers (key TEXT PRIMARY KEY, log_odds REAL NOT NULL, coverage REAL NOT NULL,"
        " created TEXT NOT NULL)"
    )


@_script
def m009_vectors() -> str:
    """Texts as the language model's vectors, as little-endian halves, under the hash of all that made them."""
    return "CREATE TABLE vectors (key TEXT PRIMARY KEY, vector BLOB NOT NULL, created TEXT NOT NULL)"


@_script
def m010_learned_recall() -> str:
    """What was learned about ranking from the histories, one row: the last time."""
    return """
        CREATE TABLE learned_recall (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            format INTEGER NOT NULL,  -- another number where what is learned, or how, changes
            key TEXT NOT NULL,  -- hash of all that it was made of
            fusion TEXT NOT NULL,  -- a JSON object: the weights of all scores
            facts TEXT NOT NULL,  -- a JSON object: from what it was learned, how good it is, whether it is used
            item_ids TEXT NOT NULL,  -- a JSON array
            towers BLOB NOT NULL,  -- NumPy's .npz: vectors of these items, biases, layer
            created TEXT NOT NULL
        )
    """


@_script
def m011_lists() -> str:
    """What was recommended to many at once: who is up to date is not asked about again."""
    return """
        CREATE TABLE lists (
            user_id TEXT NOT NULL,
            settings TEXT NOT NULL,
            key TEXT NOT NULL,
            items TEXT NOT NULL,  -- a JSON array, best first: [item id, title, probability, score, p(yes)]
            created TEXT NOT NULL,
            PRIMARY KEY (user_id, settings)
        )
    """


@_script
def m012_settings() -> str:
    """Each kept result says under which settings it was made, so that `clean` knows who can use it; NULL: before this.

    Hashes of model files are kept once a machine now, not in each workspace.
    """
    return """
        ALTER TABLE answers ADD COLUMN settings TEXT;
        ALTER TABLE past_summaries ADD COLUMN settings TEXT;
        DROP TABLE files
    """
