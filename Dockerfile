# The whole homeserver in one image. scripts/build builds it. If no registry can be reached, it
# passes a base image of its own as BASE.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS debian
# Debian's packages of a date, such as 20260701T000000Z. Empty: today's.
ARG SNAPSHOT=
RUN if [ -n "$SNAPSHOT" ]; then \
        rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* \
        && archive=http://snapshot.debian.org/archive \
        && printf 'deb [check-valid-until=no] %s trixie main\n' "$archive/debian/$SNAPSHOT" > /etc/apt/sources.list \
        && printf 'deb [check-valid-until=no] %s trixie-updates main\n' "$archive/debian/$SNAPSHOT" >> /etc/apt/sources.list \
        && printf 'deb [check-valid-until=no] %s trixie-security main\n' "$archive/debian-security/$SNAPSHOT" >> /etc/apt/sources.list; \
    fi

# The virtual environment, in a stage of its own. Nothing is compiled: all packages are wheels but
# three of tracing.lock, which are pure Python. The secret `authorities` is the build machine's file
# of certificate authorities, where that machine has some of its own. It enters no layer.
FROM debian AS venv
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=secret,id=authorities,mode=0444 \
    echo "Acquire::https::CAInfo \"$(find /run/secrets -name authorities 2>/dev/null)\";" > /tmp/authorities.conf \
    && export APT_CONFIG=/tmp/authorities.conf \
    && apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/ganglion/venv
COPY requirements/runtime.lock requirements/tracing.lock /opt/
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=authorities \
    if [ -s /run/secrets/authorities ]; then export PIP_CERT=/run/secrets/authorities; fi \
    && /opt/pip/bin/pip --python /opt/ganglion/venv/bin/python install --disable-pip-version-check \
        --no-input --quiet --only-binary :all: --require-hashes --requirement /opt/runtime.lock \
        --report /opt/runtime.json \
    && /opt/pip/bin/pip --python /opt/ganglion/venv/bin/python install --disable-pip-version-check \
        --no-input --quiet --only-binary :all: --no-binary opentracing,jaeger-client,threadloop \
        --no-build-isolation --use-pep517 --require-hashes --requirement /opt/tracing.lock \
        --report /opt/tracing.json \
    # pip as one file, for `ganglion install-module`.
    && cp /usr/share/python-wheels/pip-*.whl /opt/ganglion/venv/pip.whl \
    # Each start reads the metadata of all packages; cut off the READMEs at the end of each.
    && sed -i '/^$/,$d' /opt/ganglion/venv/lib/python3*/site-packages/*.dist-info/METADATA
# For the SBOM: name, version and SHA-256 of each file that pip installed.
RUN python3 - /opt/runtime.json /opt/tracing.json > /opt/ganglion/venv/artifacts <<'END'
import json, sys
for path in sys.argv[1:]:
    for item in json.load(open(path))["install"]:
        about, archive = item["metadata"], item["download_info"]["archive_info"]
        print(about["name"], about["version"], archive["hashes"]["sha256"])
END
# Lets `python -m ganglion` find the program from any directory.
RUN echo /opt/ganglion/entrypoint > "$(echo /opt/ganglion/venv/lib/python3*/site-packages)/ganglion.pth"


FROM debian
LABEL org.opencontainers.image.title="Ganglion" \
      org.opencontainers.image.description="The Matrix homeserver Synapse, split into as many workers as one variable asks for" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later"

# The owners of files in /data. The numbers are fixed here: a later version of a package could
# choose others, and the files of a volume would then belong to no account.
RUN groupadd --system --gid 991 synapse \
    && useradd --system --uid 991 --gid synapse --home-dir /data --no-create-home --shell /usr/sbin/nologin synapse \
    && groupadd --system --gid 992 postgres \
    && useradd --system --uid 992 --gid postgres --home-dir /var/lib/postgresql --no-create-home --shell /bin/sh postgres

# The major version of PostgreSQL that makes and serves the embedded database, by its name: the
# metapackage would change it with Debian's release. A start upgrades a database of another version
# if that one is installed too. PREVIOUS_POSTGRES names it, such as 15, and PREVIOUS_SUITE the release
# of Debian that has its package, such as bookworm, unless it is in this one.
ARG POSTGRES=17
ARG PREVIOUS_POSTGRES=
ARG PREVIOUS_SUITE=

# Debian's package must not create a cluster: Ganglion creates its own in /data at the first start.
# PostgreSQL's JIT compiler is 150 MB without a gain for Synapse's short queries, and PostgreSQL runs
# without it. Locales are not needed: the database uses C.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=secret,id=authorities,mode=0444 \
    echo "Acquire::https::CAInfo \"$(find /run/secrets -name authorities 2>/dev/null)\";" > /tmp/authorities.conf \
    && export APT_CONFIG=/tmp/authorities.conf \
    && mkdir /etc/postgresql-common \
    && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
    && if [ -n "$PREVIOUS_SUITE" ]; then \
        for suite in "debian $PREVIOUS_SUITE" "debian-security $PREVIOUS_SUITE-security"; do \
            echo "deb http://deb.debian.org/$suite main"; \
        done > /etc/apt/sources.list.d/previous.list; \
        # Only for what this release lacks.
        printf 'Package: *\nPin: release n=%s*\nPin-Priority: 100\n' "$PREVIOUS_SUITE" \
            > /etc/apt/preferences.d/previous; \
    fi \
    && apt-get update -qq \
    # Fixes that are newer than the base image. So each package is one that the index has, too.
    && DEBIAN_FRONTEND=noninteractive apt-get upgrade -y -qq -o Dpkg::Options::=--force-confold \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold \
        -o Dpkg::Options::=--path-exclude=/usr/lib/*/libLLVM* \
        -o Dpkg::Options::=--path-exclude=/usr/lib/*/libz3.so* \
        -o Dpkg::Options::=--path-exclude=/usr/lib/postgresql/*/lib/llvmjit* \
        -o Dpkg::Options::=--path-exclude=/usr/lib/postgresql/*/lib/bitcode/* \
        -o Dpkg::Options::=--path-exclude=/usr/share/i18n/* \
        ca-certificates curl libjemalloc2 libnss-wrapper nginx "postgresql-$POSTGRES" \
        ${PREVIOUS_POSTGRES:+"postgresql-$PREVIOUS_POSTGRES"} python3 redis-server xmlsec1 \
    # For the SBOM: package, version, architecture and SHA-256 of each file, as the archive signed it.
    && mkdir /opt/ganglion \
    && dpkg-query --show --showformat '${Package}:${Architecture}=${Version}\n' \
        | sed 's/:all=/=/' | xargs apt-cache show --no-all-versions 2>/dev/null \
        | awk '$1 == "Package:" { name = $2; version = kind = sum = "" } $1 == "Version:" { version = $2 } \
            $1 == "Architecture:" { kind = $2 } $1 == "SHA256:" { print name, version, kind, $2 }' \
        > /opt/ganglion/debian-packages \
    && rm -f /etc/apt/sources.list.d/previous.list /etc/apt/preferences.d/previous \
    # The package ssl-cert makes a key and trusts its certificate: everybody would have this key.
    && rm /etc/ssl/certs/ssl-cert-snakeoil.pem /etc/ssl/private/ssl-cert-snakeoil.key \
    && find /etc/ssl/certs -xtype l -delete \
    # No program here gains rights that its account lacks.
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && rm -rf /var/log/*.log /var/log/apt /var/cache/debconf/*-old /tmp/authorities.conf

COPY --from=venv /opt/ganglion/venv /opt/ganglion/venv
COPY conf-templates /opt/ganglion/conf-templates
COPY entrypoint /opt/ganglion/entrypoint
# Other accounts than root, as with `docker run --user`, may use the run directory; root makes it its
# own. Compile now: at run time no process may write here. `ganglion` is for `docker exec`,
# and so are Synapse's own commands, as in its image.
RUN install -d -m 1777 /run/ganglion \
    && /opt/ganglion/venv/bin/python -m compileall -q /opt/ganglion/entrypoint \
    && printf '#!/bin/sh\nexec /opt/ganglion/venv/bin/python -P -m ganglion "$@"\n' > /usr/local/bin/ganglion \
    && chmod 0755 /usr/local/bin/ganglion \
    && for name in export_signing_key generate_config generate_log_config generate_signing_key \
        hash_password register_new_matrix_user synapse_homeserver synapse_port_db \
        synapse_review_recent_signups synapse_worker synctl update_synapse_database; do \
        ln -s "/opt/ganglion/venv/bin/$name" /usr/local/bin/ || exit 1; \
    done \
    && sha256sum /etc/ssl/certs/ca-certificates.crt > /opt/ganglion/authorities.sha256

# Prepare a database with Synapse's tables and all background updates done, which would take most
# of a first start. It holds no usable secret: each start sets a new password for the role, and no
# server ever had its name.
RUN <<'END'
set -e
export GANGLION_DATA=/tmp/prepared GANGLION_RUN=/tmp/run WORKERS=none GANGLION_PREFORK=no
mkdir -p "$GANGLION_DATA/homeserver.d"
echo 'background_updates: {sleep_enabled: false}' > "$GANGLION_DATA/homeserver.d/hurry.yaml"
ganglion run > /tmp/log & server=$!
pending() {
    setpriv --reuid=postgres --regid=postgres --clear-groups \
        "/usr/lib/postgresql/$POSTGRES/bin/psql" -h /tmp/run/postgres -d synapse -Atc 'SELECT count(*) FROM background_updates' 2>&1
}
for _ in $(seq 240); do
    if ganglion ready > /dev/null 2>&1 && [ "$(pending)" = 0 ]; then break; fi
    kill -0 $server || { cat /tmp/log; exit 1; }
    sleep 0.5
done
[ "$(pending)" = 0 ]
kill $server
wait $server
# Every account can start from it: `docker run --user`.
chmod -R u=rwX,go=rX /tmp/prepared/postgres
mv /tmp/prepared/postgres /opt/ganglion/database
rm -rf /tmp/*
END

# No VOLUME: an anonymous one would leave the data out of `docker commit`, with which
# integration tests keep a prepared server. To keep data, mount a volume at /data.
ENV GANGLION_DATA=/data LANG=C.UTF-8
EXPOSE 8008 8448
STOPSIGNAL SIGTERM
# The container counts as starting for a day at most, as a migration of a large database may take
# hours. A start that fails ends the container instead.
# Asks the control application whether every part of the server works, and prints its words. A server
# without that application has nothing at this port, or metrics: then main is asked through nginx. In
# bash, which starts faster than curl and Python. With GANGLION_ONLY, asks each process of this
# container and nginx itself. An engine in a chroot runs this at its own root, where it does not find
# the list: then it asks the first process.
HEALTHCHECK --interval=15s --timeout=10s --start-period=24h --start-interval=500ms CMD [ "bash", "-c", "\
    ask() { \
        case $1 in '*' | 0.0.0.0) set -- 127.0.0.1 $2 $3 ;; ::) set -- ::1 $2 $3 ;; esac; \
        said='refuses connections'; status=; words=; \
        { exec 3<>/dev/tcp/$1/$2; } 2>/dev/null || return; said='does not answer'; \
        printf 'GET %s HTTP/1.0\\r\\nHost: localhost\\r\\nAccept: text/plain\\r\\n\\r\\n' $3 >&3; \
        read -r -t 7 _ status _ <&3 && said=\"answers $status\"; \
        while read -r -t 1 line <&3 && [[ $line != $'\\r' ]]; do :; done; read -r -t 1 words <&3; \
    }; \
    good() { echo \"$3 at $1:$2 $said $words\"; [[ $status = 20[04] ]]; }; \
    list=${GANGLION_RUN:-/run/ganglion}/conf/alive; \
    public=\"${BIND_ADDRESS:-*} ${HTTP_PORT:-${SYNAPSE_HTTP_PORT:-8008}}\"; set -f; \
    if [ -z \"$GANGLION_ONLY\" ]; then \
        set -- ${CONTROL_BIND_ADDRESS:-127.0.0.1} ${CONTROL_PORT:-9469} /ready; ask $*; \
        case $said in refuses* | *404) set -- $public /health; ask $* ;; \
            *503) set -- $1 $2 /health; ask $* ;; esac; good $*; \
    elif [ -r $list ]; then while read -r at; do ask $at; good $at || exit; done <$list; \
    elif [[ $GANGLION_ONLY = nginx ]]; then set -- $public /.ganglion/alive; ask $*; good $*; \
    else set -- 127.0.0.1 ${INTERNAL_PORT_BASE:-18000} /health; ask $*; good $*; fi" ]
# The program itself is PID 1: it reaps processes and stops in an orderly way on SIGTERM.
ENTRYPOINT ["/opt/ganglion/venv/bin/python", "-P", "-m", "ganglion"]
CMD ["run"]
