"""The way of a request through the processes."""

from ganglion.logs.record import Reader
from ganglion.logs.way import way


def test_processes_stand_in_the_order_in_which_the_request_reached_them() -> None:
    def synapse(second: str, took: str) -> str:
        beginning = f"2023-11-14 22:13:{second} - synapse.access - 5 - INFO - PUT-12345678 - "
        return f"{beginning}unix - {{None}} Processed request: {took}sec/0.001sec 200"

    lines = {
        "event_persister1": synapse("21,800", "0.200"),
        "event_creator1": synapse("21,900", "0.500"),
        "nginx": '1700000001.910 [access] 12345678 ::1 "PUT / HTTP/1.1" 200 9 0.520 a, b 0, 0 ""',
    }
    found = []
    for process, line in lines.items():
        reader = Reader("nginx" if process == "nginx" else "synapse")
        (record,) = reader.read([line], 0.0)
        found.append((process, record))
    assert way(found) == "nginx (0.520 s) → event_creator1 (0.500 s) → event_persister1 (0.200 s)"


def test_a_process_that_says_only_something_in_between_has_no_time() -> None:
    (record,) = Reader("synapse").read(
        ["2023-11-14 22:13:21,250 - synapse.x - 1 - INFO - PUT-12345678 - Waiting"], 0.0
    )
    assert way([("main", record)]) == "main"
