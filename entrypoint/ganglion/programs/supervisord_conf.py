"""supervisord's configuration: a section for each program and each group."""

from ganglion.files.file import File
from ganglion.files.templates import fill
from ganglion.programs.program import Plan
from ganglion.programs.registry import programs

CONF = "supervisord.conf"


def render(plan: Plan) -> File:
    """supervisord.conf."""
    found = programs(plan)
    groups = {program.group: program.priority for program in found}
    return File(
        path=CONF,
        content=fill(
            "supervisord.conf.j2",
            paths=plan.settings.paths,
            as_root=bool(plan.machine.accounts),
            programs=found,
            groups=[
                (group, priority, [item.name for item in found if item.group == group])
                for group, priority in groups.items()
            ],
        ),
    )
