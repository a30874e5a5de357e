#!/usr/bin/env bash
# Trains on several machines under Slurm, one worker a task:
#   sbatch --nodes 4 scripts/train_slurm.sh PHOTOS --out RUN [options of edgegraft train]
# PHOTOS and RUN lie on a file system that all nodes share. A worker that is killed is started again at once, a job whose
# node fails is queued again, and either way training goes on after the last whole epoch.
#SBATCH --job-name=edgegraft
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=edgegraft-%j.log
# With GPUs, one a task: sbatch --nodes 4 --gpus-per-task 1 ... Several GPUs in a node: --ntasks-per-node 4 as well.
set -euo pipefail

# Environment: EDGEGRAFT, the command (edgegraft); EDGEGRAFT_PORT, the first port (23450); EDGEGRAFT_RESTARTS, of each
# worker (20).
edgegraft=${EDGEGRAFT:-edgegraft}
first_port=${EDGEGRAFT_PORT:-23450}
most_restarts=${EDGEGRAFT_RESTARTS:-20}

# host:port of every task, in the order of SLURM_PROCID: with --distribution=block a node's tasks follow one another.
workers() {
    local per_node=$1 list="" host local_id
    for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
        for ((local_id = 0; local_id < per_node; local_id++)); do
            list+="${list:+,}$host:$((first_port + local_id))"
        done
    done
    printf '%s\n' "$list"
}

if [ "${1:-}" != --as-worker ]; then
    if [ $# -eq 0 ]; then
        echo "usage: sbatch [--nodes N] $0 PHOTOS --out RUN [options of edgegraft train]" >&2
        exit 2
    fi
    nodes=${SLURM_JOB_NUM_NODES:?is not set; start this script with sbatch}
    tasks=${SLURM_NTASKS:-$nodes}
    if ((tasks % nodes)); then
        echo "$0: $tasks tasks on $nodes nodes; ask for the same number on each with --ntasks-per-node" >&2
        exit 2
    fi
    all=$(workers $((tasks / nodes)))
    # One worker's end must not take the others with it.
    exec srun --ntasks="$tasks" --distribution=block --kill-on-bad-exit=0 \
        bash "${BASH_SOURCE[0]}" --as-worker "$all" "$@"
fi

shift
all=$1
shift
# 1: edgegraft said what is wrong; 2: usage. Only what was killed (128 + signal) is worth another start.
restarts=0
while true; do
    code=0
    # A requeued job may find that the run was finished just before: that is told by edgegraft, in one line.
    "$edgegraft" train "$@" --worker "$SLURM_PROCID" --workers "$all" || code=$?
    if ((code < 128 || restarts >= most_restarts)); then
        exit "$code"
    fi
    restarts=$((restarts + 1))
    echo "worker $SLURM_PROCID: killed (exit code $code); start $restarts of $most_restarts in 5 s" >&2
    sleep 5
done
