"""The reader of the old proxy's configuration decides as the real nginx does."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganglion.importing.nginx_file import read
from ganglion.importing.nginx_request import destination
from tests.harness import WITHIN, free_port, wait_until
from tests.raw_http import raw_request

# Each place answers with its name. Comments say which rule of nginx it is for.
SITE = r"""
map $arg_since $kind { default later; "" first; ~^never$ never; ~*^(?<word>abc).*$ "word-$word"; }
map "$request_method $uri" $target { "GET /word" word; ~^(GET|PUT)\ /map/(\d+) "$1-$2"; }
server {
    listen 127.0.0.1:PORT;
    if ($request_method = OPTIONS) { return 204; }
    set $own "set";
    location / { return 200 slash; }
    location = / { return 200 exact-root; }
    location = /exact { return 200 exact; }
    location /exact { return 200 prefix-of-exact; }
    location ^~ /noregex { return 200 noregex; }
    location ~ ^/noregex { return 200 never; }
    location /long { return 200 long; }
    location /long/longer { return 200 longer; }
    location ~ ^/long/longer/x$ { return 200 regex-over-prefix; }
    location ~ "^/braces/[a-z]{2,3}$" { return 200 braces; }
    location ~* \.GIF$ { return 200 case-insensitive; }
    location ~ \.gif$ { return 200 never; }
    location ~ ^/order { return 200 first-regex; }
    location ~ ^/order/later { return 200 never; }
    location /outer {
        location ~ /inner { return 200 nested-regex; }
        location /outer/prefix { return 200 nested-prefix; }
        location = /outer/exact { return 200 nested-exact; }
        return 200 outer;
    }
    location ~ ^/outer/prefix/re { return 200 outer-regex-after-nested-prefix; }
    location ^~ /caret { location /caret/in { return 200 caret-nested; } return 200 caret; }
    location ~ ^/caret { return 200 never; }
    location ~ ^/capture/(?<room>[^/]+)/(.*)$ { return 200 "$room+$2"; }
    location /kind { return 200 $kind; }
    location ~ ^/(word|map/) { return 200 "target-$target"; }
    location /rewrite { rewrite ^/rewrite/(.*)$ /long/$1 last; return 200 not-rewritten; }
    location /break { rewrite ^/break/(.*)$ /changed/$1 break; return 200 "$uri"; }
    location /if {
        if ($arg_a ~* "^x") { return 200 if-expression; }
        if ($arg_b != y) { return 200 if-not; }
        if ($arg_c) { return 200 if-set; }
        return 200 "$own";
    }
    location /pass/ { proxy_pass http://127.0.0.1:1; }
}
"""
PATHS = (
    "/",
    "/other",
    "//",
    "/exact",
    "/exact/",
    "/exactly",
    "/%65xact",
    "/x/../exact",
    "/noregex/x",
    "/long",
    "/long/longer/x",
    "/long/longer/y",
    "/long//longer/x",
    "/braces/ab",
    "/braces/abcd",
    "/a.gif",
    "/a.GIF",
    "/order/later",
    "/outer/inner",
    "/outer/prefix/re",
    "/outer/prefix/x",
    "/outer/prefix/inner",
    "/outer/exact",
    "/outer",
    "/caret/in",
    "/caret/x",
    "/capture/%21a%3Ab/c/d",
    "/kind",
    "/kind?since=s1",
    "/kind?since=never",
    "/kind?since=ABCdef",
    "/word",
    "/WORD",
    "/map/12",
    "/map/x",
    "/rewrite/longer/x",
    "/rewrite",
    "/break/a",
    "/if?a=Xy",
    "/if?b=z",
    "/if?b=y&c=1",
    "/if?b=y&c=0",
    "/if?b=y",
    "/pass",
)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A real nginx with SITE. Yields the file and the port."""
    place, port = tmp_path_factory.mktemp("nginx"), free_port()
    site = place / "site.conf"
    site.write_text(SITE.replace("PORT", str(port)))
    temporary = "".join(
        f"{name}_temp_path {place}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = place / "nginx.conf"
    main.write_text(
        f"daemon off;\npid {place}/pid;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}include {site.name};\n}}\n"
    )
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert program is not None
    with subprocess.Popen([program, "-p", str(place), "-e", "stderr", "-c", str(main)]) as process:
        try:
            wait_until("nginx", lambda: answers(port))
            yield main, port
        finally:
            process.terminate()
            process.wait(WITHIN)


def answers(port: int) -> bool:
    try:
        return raw_request(port, "GET", "/").status == 200
    except OSError:
        return False


def test_the_reader_decides_as_nginx_does(nginx: tuple[Path, int]) -> None:
    file, port = nginx
    root, notes = read(file)
    assert notes == []
    (http,) = root.all("http")
    (server,) = http.all("server")
    wrong = []
    for method in ("GET", "PUT", "OPTIONS"):
        for path in PATHS:
            answer = raw_request(port, method, path)
            ours = destination(root, server, method, path)
            if answer.status == 301:
                expected = "nginx itself: 301 to /pass/"
            elif answer.status == 204:
                expected = "nginx itself: 204"
            elif answer.status in (403, 404, 405):
                expected = "nginx itself: a file, or 404"
            else:
                expected = f"nginx itself: 200 {answer.body.decode()}"
            if (ours.to, ours.own) != (expected, True):
                wrong.append(f"{method} {path}: {ours.to} instead of {expected}")
    assert wrong == []
