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

# Prints the names of the server's variables that are set.
server_variables() {
    compgen -e | grep -xE '(SYNAPSE|POSTGRES|REDIS|GANGLION)_.*|WORKERS|TRUSTED_PROXIES|BIND_ADDRESS|(HTTP|FEDERATION|CONTROL)_PORT|CONTROL_(BIND_ADDRESS|HOSTS)|INTERNAL_PORT_BASE' ||
        true
}

# others_can FLAG PATH: run `test FLAG PATH` as the accounts that root uses for the processes.
others_can() {
    [[ $(id -u) != 0 ]] || setpriv --reuid=65534 --regid=65534 --clear-groups test "$@"
}

short_id() { cksum <<<"$1" | cut -d ' ' -f 1; }

# home: the directory of the virtual environments and the default data directory. code: the program.
# Other accounts must be able to read both.
home=$root
code=$root
if ! others_can -r "$root/scripts/lib.sh"; then
    home=/var/lib/ganglion/$(short_id "$root")
    code=$home/code
fi
venv=$home/.venv
strangers_venv=$home/.strangers
data=$(realpath -m "${GANGLION_DATA:-$home/data}")
# Written by up for down and ganglion: how the server runs, and its variables.
note=$data/.up
# Root trusts the process ID and the variables in there, and writes the log.
if [[ -L $note || (-e $note && $(id -u) == 0 && ! -O $note) ]]; then
    die "$note was made by another account: remove it, and stop the server that runs, if one does"
fi

# The program without Docker. -P: no module in the current directory shadows one of its own.
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

# born PID: print the start time of a process in ticks since boot; fail if it is gone. With it, a
# recorded PID cannot be mistaken for a later process with the same PID.
born() {
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[0]} != Z ]] && echo "${fields[19]}"
}

# running: succeed if the server of this data directory runs. Sets `how` (native or docker) and `id`.
running() {
    local started
    [[ -r $note/server ]] || return 1
    read -r how id started <"$note/server"
    case $how in
        native) [[ $(born "$id") == "$started" ]] ;;
        docker) [[ $(docker container inspect --format '{{.State.Running}}' "$id" 2>/dev/null) == true ]] ;;
        *) die "$note/server was changed; remove $note if no server runs" ;;
    esac
}

# in_server VERB…: run a verb in the running server.
in_server() {
    if [[ $how == docker ]]; then
        local options=(--interactive)
        if [[ -t 0 && -t 1 ]]; then options+=(--tty); fi
        # An engine that runs under chroot, as in some CI, starts this at the root of its machine. The
        # container's own root is below its first process there. Elsewhere no such PID exists.
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
