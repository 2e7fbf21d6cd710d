"""The faults of Synapse that Ganglion mends. This module imports nothing: Synapse loads it too."""

# The fault that each fix cures. For each, ganglion.in_synapse.fixes has a module of the same name.
FIXES: dict[str, str] = {
    "context_names": "a change of log context draws no random name",
    "database_round_trips": (
        "a transaction opens with its first statement, and a single statement is sent alone: two"
        " thirds of the round trips to PostgreSQL remain"
    ),
    "database_waits": "a request waits while PostgreSQL restarts, up to 10 s, instead of failing",
    "device_list_wakes": (
        "a long poll wakes when its user signs another user's key, or changes a device while in no"
        " room"
    ),
    "event_fetchers": (
        "a thread that has fetched events returns at once, and no other work of the process waits"
        " for its connection to the database"
    ),
    "idle_timers": "a process that has nothing to do sleeps, instead of waking 14 times a second",
    "profile_wakes": (
        "a long poll of a user in no room wakes for a change of the user's own profile, where"
        " include_profile_updates_in_sync is on"
    ),
    "replication_chatter": (
        "a message makes every process handle two commands from Redis, instead of four"
    ),
    "sequences_behind": (
        "a sequence that is behind the positions of its stream, as after a failover of PostgreSQL,"
        " is moved forward, instead of stopping each start"
    ),
    "thread_shortage": (
        "a request waits while its process can start no thread, instead of getting no response"
    ),
    "wheel_timers": (
        "a clock that is set forward by years, as by the first NTP of a machine without a clock of"
        " its own, does not make processes hang"
    ),
    "whole_schema": (
        "a new database gets its tables in one transaction, so a first start that is interrupted"
        " leaves it empty"
    ),
}
ALL = tuple(FIXES)
NONE = "none"
