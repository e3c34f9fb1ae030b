#!/bin/bash
# Trains on the GPUs of several nodes of a SLURM cluster:
#
#     sbatch --nodes=4 examples/launch/slurm.sh sr_x4 /shared/runs/x4 /shared/df2k_x4 [--config.…]
#
# CONFIG, WORKDIR and DATA are as for `hcflow train`; every node must reach the two folders. There is
# one process per GPU: let --ntasks-per-node and --gpus-per-node be the GPUs of a node. Two minutes
# before its time is over the job saves; SLURM queues it again, and it goes on.
#
#SBATCH --job-name=hcflow
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=hcflow-%j.log

set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: sbatch $0 CONFIG WORKDIR DATA [--config.…]" >&2
    exit 2
fi
config=$1 workdir=$2 data=$3
shift 3

srun --kill-on-bad-exit=1 hcflow train --distributed \
    --config="$config" --workdir="$workdir" --config.data.path="$data" "$@"
