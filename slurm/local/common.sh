# Shared by up, down and status. A cluster is one directory and six consecutive ports.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DIR=${GANTRAIN_SLURM_DIR:-/run/gantrain-slurm}
PORTS=${GANTRAIN_SLURM_PORTS:-26810}
NODES=(gantrain-n1 gantrain-n2)
PREFIX=${GANTRAIN_SLURM_PREFIX:-}
PLUGINS= STEP_DAEMON=()
if [ -n "$PREFIX" ]; then # another Slurm, from slurm/local/install --suite
    [ -x "$PREFIX/bin/slurmctld" ] || {
        echo "slurm/local: GANTRAIN_SLURM_PREFIX: no Slurm in $PREFIX" >&2
        exit 2
    }
    export PATH=$PREFIX/bin:$PATH
    PLUGINS=PluginDir=$(echo "$PREFIX"/usr/lib/*/slurm-wlm)
    STEP_DAEMON=(-d "$PREFIX/bin/slurmstepd")
fi
CLUSTER=gantrain
[ "$PORTS" = 26810 ] || CLUSTER=gantrain-$PORTS # several clusters need several names
export SLURM_CONF=$DIR/slurm.conf

die() {
    echo "slurm/local: $*" >&2
    exit 2
}

need_root() {
    [ "$(id -u)" = 0 ] || die "needs root: slurmd starts jobs as other users; use sudo or a container."
}

need_programs() {
    local pair missing=()
    for pair in slurmctld:slurm-wlm munged:munge "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} = 0 ] || die "missing Debian packages: ${missing[*]}; install them with $HERE/install"
}

# Print the PID in a server's pid file, if that process runs. Its name is checked because the kernel
# reuses PIDs.
pid_of() { # pid file, program
    local pid
    pid=$(cat "$DIR/$1" 2>/dev/null) || return 1
    [ -n "$pid" ] && alive "$pid" && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] && echo "$pid"
}

alive() { # pid; a zombie is dead: in a container whose init does not reap, zombies remain
    grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null
}

wait_for() { # seconds, what, command...
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || die "$what did not start; see $DIR/log"
        sleep 0.1
    done
}

stop() { # pid file, program
    local pid tries=100
    pid=$(pid_of "$1" "$2") || return 0
    kill "$pid" 2>/dev/null || return 0
    while alive "$pid"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { kill -9 "$pid" 2>/dev/null || true; break; }
        sleep 0.1
    done
}

show_environment() {
    echo "export SLURM_CONF=$SLURM_CONF${PREFIX:+ PATH=$PREFIX/bin:\$PATH}"
}

stop_slurm() { # the controller and the nodes in parallel, since each takes seconds
    local pids=() node
    stop slurmctld.pid slurmctld & pids+=($!)
    for node in "${NODES[@]}"; do stop "slurmd-$node.pid" slurmd & pids+=($!); done
    wait "${pids[@]}"
}

servers() { # one line each: pid file, program
    echo munged.pid munged
    echo mariadbd.pid mariadbd
    echo slurmdbd.pid slurmdbd
    echo slurmctld.pid slurmctld
    local node
    for node in "${NODES[@]}"; do echo "slurmd-$node.pid" slurmd; done
}
