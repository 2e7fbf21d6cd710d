"""Same as generate.

Synapse's own image has both commands. Here both write a homeserver.yaml from
the variables, and both leave existing files as they are.
"""

from dataclasses import replace

from ganglion.cli import generate

VERB = replace(generate.VERB, name="migrate_config", manual=__doc__)
