"""nginx keeps connections that are idle while it reads its files again, where it can."""

import re
from dataclasses import replace

import pytest

from ganglion.machine.installed import nginx_version
from ganglion.programs import nginx
from tests.plans import plan

DIRECTIVE = re.compile(r"^ +keepalive_min_timeout 10s;$", re.MULTILINE)


@pytest.mark.parametrize("keeps", [True, False])
def test_each_public_server_has_the_directive_that_older_versions_refuse(*, keeps: bool) -> None:
    made = plan({"SYNAPSE_TLS_CERT": "/c", "SYNAPSE_TLS_KEY": "/k", "WORKERS": "small"})
    made = replace(made, machine=replace(made.machine, keeps_connections=keeps))
    (text,) = (item.content for item in nginx.SERVICE.files(made) if item.path == nginx.CONF)
    public = text.count("limit_conn requests ")
    assert public >= 1
    assert len(DIRECTIVE.findall(text)) == (public if keeps else 0)


def test_a_version_that_cannot_be_asked_is_taken_for_that_of_the_image() -> None:
    assert nginx_version("/nonexistent") < (1, 27, 4)
