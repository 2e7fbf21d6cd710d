# shellcheck shell=bash
# shellcheck disable=SC2034  # these variables are for the scripts that source this file
# Sourced by the scripts beside it: where things are, and which server runs.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# nginx is in here; an ordinary user's PATH lacks it.
PATH=$PATH:/usr/sbin:/sbin
# A variable of the scripts. The server would reject it as a misspelt variable.
image=${GANGLION_IMAGE:-ganglion}
unset GANGLION_IMAGE

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() {
    say "$@" >&2
    exit 1
}

# The names of the variables that are the server's, as far as they are set.
server_variables() {
    compgen -e | grep -xE '(SYNAPSE|POSTGRES|REDIS|GANGLION)_.*|WORKERS|TRUSTED_PROXIES|BIND_ADDRESS|(HTTP|FEDERATION|CONTROL)_PORT|INTERNAL_PORT_BASE' ||
        true
}

# others_can FLAG PATH: `test FLAG PATH` for the accounts under which root runs the processes.
others_can() {
    [[ $(id -u) != 0 ]] || setpriv --reuid=65534 --regid=65534 --clear-groups test "$@"
}

short_id() { cksum <<<"$1" | cut -d ' ' -f 1; }

# home: where the virtual environment and the default data directory are. code: the program.
# Processes of other accounts must be able to read both.
home=$root
code=$root
if ! others_can -r "$root/scripts/lib.sh"; then
    home=/var/lib/ganglion/$(short_id "$root")
    code=$home/code
fi
venv=$home/.venv
data=$(realpath -m "${GANGLION_DATA:-$home/data}")
# Written by up for down and ganglion: how the server runs, and its variables.
note=$data/.up

# The program by itself, outside of Docker. -P: no module of the current directory shadows one of its own.
native() { "$venv/bin/python" -P -m ganglion "$@"; }

# Sets the variables whose defaults are made for a container.
native_defaults() {
    export GANGLION_DATA=$data BIND_ADDRESS=${BIND_ADDRESS:-127.0.0.1}
    if [[ -n ${GANGLION_RUN:-} ]]; then return; fi
    # A socket's path has at most 107 bytes, and those below this directory need up to 47.
    GANGLION_RUN=$data/run
    if ((${#GANGLION_RUN} > 60)); then
        local short=/run
        [[ $(id -u) == 0 ]] || short=${XDG_RUNTIME_DIR:-/tmp}
        GANGLION_RUN=$short/ganglion-$(short_id "$data")
    fi
    export GANGLION_RUN
}

# born PID: when the process started, in ticks since boot; fails where it is gone. With it a recorded
# number cannot be mistaken for a later process of the same number.
born() {
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[0]} != Z ]] && echo "${fields[19]}"
}

# running: whether the server of this data directory runs. Sets `how` (native or docker) and `id`.
running() {
    local started
    [[ -r $note/server ]] || return 1
    read -r how id started <"$note/server"
    case $how in
        native) [[ $(born "$id") == "$started" ]] ;;
        docker) [[ $(docker container inspect --format '{{.State.Running}}' "$id" 2>/dev/null) == true ]] ;;
        *) die "$note/server is not what up wrote there" ;;
    esac
}

# in_server VERB…: the command line of the running server.
in_server() {
    if [[ $how == docker ]]; then
        local options=(--interactive)
        if [[ -t 0 && -t 1 ]]; then options+=(--tty); fi
        # An engine that itself runs under chroot, as CI's may, starts this at the root of its machine,
        # where the container's own is to be found below its first process. Elsewhere there is no such number.
        # shellcheck disable=SC2016  # expanded there
        docker exec "${options[@]}" "$id" sh -c \
            'cd "/proc/$0/root" 2>/dev/null || cd /; exec chroot . ganglion "$@"' \
            "$(docker inspect --format '{{.State.Pid}}' "$id")" "$@"
    else
        (
            while read -r name; do unset "$name"; done < <(server_variables)
            while IFS= read -r -d '' pair; do export "${pair?}"; done <"$note/variables"
            native "$@"
        )
    fi
}
