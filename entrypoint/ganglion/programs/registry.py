"""The table of services. Each row is a module of this package; the order is that of the start."""

import os
from collections.abc import Iterator
from dataclasses import replace

from ganglion.budget.amounts import Budget, Demand, Row
from ganglion.budget.connections import ServerConnections
from ganglion.budget.share_out import share_out as share_out_demands
from ganglion.files.file import File
from ganglion.machine import installed, limits
from ganglion.machine.installed import Machine, Requirement
from ganglion.programs import control, nginx, redis
from ganglion.programs.postgres import server as postgres
from ganglion.programs.program import Directory, Plan, Program, Service
from ganglion.programs.synapse import service as synapse
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

SERVICES: tuple[Service, ...] = (
    postgres.SERVICE,
    redis.SERVICE,
    synapse.SERVICE,
    nginx.SERVICE,
    control.SERVICE,
)

# The account of each service when Ganglion starts as root.
ACCOUNTS = {service.name: service.account for service in SERVICES if service.account}

# Used by the pure stages when no machine is inspected: `check`, `render`, tests.
TYPICAL = replace(installed.TYPICAL, accounts=tuple(ACCOUNTS.items()))


def running(settings: Settings) -> tuple[Service, ...]:
    """The services that run with these settings."""
    return tuple(service for service in SERVICES if service.runs(settings))


def programs(plan: Plan) -> tuple[Program, ...]:
    """Every program, in the order in which they start."""
    found: dict[str, tuple[Program, ...]] = {}
    for service in running(plan.settings):
        needs = tuple(item.name for name in service.after for item in found.get(name, ()))
        found[service.name] = service.programs(plan, needs)
    return tuple(item for items in found.values() for item in items)


def files(plan: Plan) -> Iterator[File]:
    """The files of every service."""
    for service in running(plan.settings):
        yield from service.files(plan)


def directories(settings: Settings) -> Iterator[Directory]:
    """The directories of every service, parents first."""
    paths = (item for service in running(settings) for item in service.directories(settings))
    yield from sorted(paths, key=lambda item: item.path)


def requirements(settings: Settings) -> Iterator[Requirement]:
    """The programs that the machine must have installed."""
    for service in running(settings):
        yield from service.requirements


def accounts(settings: Settings) -> dict[str, str]:
    """The account of each service that runs."""
    return {service.name: service.account for service in running(settings) if service.account}


def account_here(name: str, settings: Settings) -> str | None:
    """The account that a service would run as here; None for this process's own."""
    if os.geteuid() != 0:
        return None
    return dict(installed.accounts(ACCOUNTS, settings.uid, settings.gid))[name]


def demands(settings: Settings, topology: Topology, machine: Machine) -> Iterator[Demand]:
    """The memory that each service asks for."""
    within = limits.chosen(machine.limits, memory=settings.memory, cpus=settings.cpus)
    for service in running(settings):
        yield from service.demands(settings, topology, machine, within)


def share_out(
    settings: Settings,
    topology: Topology,
    machine: Machine,
    server: ServerConnections | None = None,
) -> Budget:
    """The budget of all services; see budget/share_out.py. Raises ConfigError."""
    asked = tuple(demands(settings, topology, machine))
    return share_out_demands(settings, topology, machine, asked, server)


def rows(plan: Plan) -> Iterator[Row]:
    """The lines of each service in the budget's table."""
    for service in running(plan.settings):
        yield from service.rows(plan)


def amounts(plan: Plan) -> dict[str, dict[str, int] | None]:
    """The settings that each service gets from the budget; None if it does not run here."""
    return {
        service.name: dict(service.amounts(plan)) if service.runs(plan.settings) else None
        for service in SERVICES
        if service.amounts is not None
    }
