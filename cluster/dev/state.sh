# shellcheck shell=bash
# Shared by slurm-up and slurm-down: where the files are, and which daemons run.

STATE=${BLANKSLATE_SLURM_STATE:-/var/lib/blankslate-slurm}
LINKED=(slurm.conf slurmdbd.conf gres.conf)

refuse() {
    echo "${0##*/}: $*" >&2
    exit 1
}

(( EUID == 0 )) || refuse "needs root, because slurmd starts jobs under their owner's name; try: sudo $0"
[[ $STATE == /?* && $STATE != *[[:space:]]* ]] ||
    refuse "BLANKSLATE_SLURM_STATE is '$STATE'; it must be an absolute path without spaces"

# One start or stop at a time. SLURM's commands read /etc/slurm, so that is what is locked.
lock() {
    mkdir -p /etc/slurm
    exec {LOCK}</etc/slurm
    flock "$LOCK"
}

# The configuration of another SLURM is never changed, and its daemons are never stopped.
refuse_foreign_configuration() {
    local name target
    for name in "${LINKED[@]}"; do
        target=$(readlink "/etc/slurm/$name" || true)
        if [[ -e /etc/slurm/$name || -L /etc/slurm/$name ]] && [[ $target != "$STATE/etc/$name" ]]; then
            refuse "/etc/slurm/$name belongs to another SLURM${target:+ ($target)}; nothing was changed"
        fi
    done
}

# A pid file remains after a daemon was killed, and pids are used again, so the program is compared
# too. A zombie process has no program.
alive() {  # alive NAME: NAME is a daemon, or slurmd-NODE
    local pid
    pid=$(cat "$STATE/run/$1.pid" 2>/dev/null) && [[ $pid ]] &&
        [[ $(readlink "/proc/$pid/exe") == */"${1%%-*}"?(-wlm) ]]
}

await() {  # await SECONDS COMMAND...: whether COMMAND succeeded in time
    local deadline=$(( SECONDS + $1 ))
    shift
    until "$@" >/dev/null 2>&1; do
        (( SECONDS < deadline )) || return 1
        sleep 0.1
    done
}

dead() { ! alive "$1"; }

stop() {  # stop NAME SECONDS: SIGTERM, wait, then SIGKILL
    local pid
    if alive "$1"; then
        pid=$(cat "$STATE/run/$1.pid")
        kill "$pid" 2>/dev/null || true
        await "$2" dead "$1" || kill -KILL "$pid" 2>/dev/null || true
        await 5 dead "$1" || refuse "$1 (process $pid) survives SIGKILL"
        echo "stopped $1"
    fi
    rm -f "$STATE/run/$1.pid"
}

nodes_with_pid_file() {
    local file
    for file in "$STATE"/run/slurmd-*.pid; do
        if [[ -e $file ]]; then basename "$file" .pid; fi
    done
}
