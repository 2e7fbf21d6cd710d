"""Make or upgrade Synapse's tables, and end: what main does first at its start.

`python -m ganglion.in_synapse.migrate FILE FIXES` reads Synapse's options from a file, and applies
the fixes of which FIXES is the text. Synapse's own update_synapse_database would go on and load the
store, which deletes the positions of all stream writers that the file does not list. Here nothing
but the tables is touched.
"""

import logging
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from synapse.config.homeserver import HomeServerConfig
from synapse.storage.database import make_conn
from synapse.storage.engines import create_engine
from synapse.storage.prepare_database import prepare_database

from ganglion.in_synapse.fixes import apply


def main() -> None:
    """Migrate the database that the options in the file name."""
    file, chosen = sys.argv[1:]
    apply(chosen)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    config = HomeServerConfig()
    options = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    config.parse_config_dict(options, "", "")
    migrate(config)


def migrate(config: HomeServerConfig) -> None:
    """Migrate the only database of a configuration. Raises as Synapse does."""
    database = config.database.get_single_database()
    engine = create_engine(database.config)
    named = {"db_config": database, "engine": engine, "default_txn_name": "migrate"}
    # Older Synapses have no such argument.
    if "server_name" in signature(make_conn).parameters:
        named["server_name"] = config.server.server_name
    connect: Any = make_conn
    with connect(**named) as connection:
        engine.check_database(connection)
        prepare_database(connection, engine, config=config, databases=database.databases)
        connection.commit()


if __name__ == "__main__":
    main()
