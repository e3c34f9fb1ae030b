#!/bin/bash
# Trains on all hosts of a Cloud TPU slice, from a clone of this project on your own machine:
#
#     examples/launch/tpu_vm.sh NAME ZONE sr_x4 gs://bucket/runs/x4 gs://bucket/df2k_x4 [--config.…]
#
# copies the clone to every host, installs it there, and starts the same command on each. WORKDIR and
# DATA lie in a bucket, which is the only disk that the hosts have in common. Ctrl-C ends what you
# see, and the training with it; run again, it goes on from the last checkpoint.

set -euo pipefail

if [ $# -lt 5 ]; then
    echo "usage: $0 NAME ZONE CONFIG WORKDIR DATA [--config.…]" >&2
    exit 2
fi
name=$1 zone=$2 config=$3 workdir=$4 data=$5
shift 5
clone=$(cd "$(dirname "$0")/../.." && pwd)

gcloud compute tpus tpu-vm scp --recurse "$clone" "$name:hcflow_jax" --zone="$zone" --worker=all
install="cd hcflow_jax && python3 -m pip install -q -U 'jax[tpu]' -e '.[train,gcs]'"
train="python3 -m hcflow_jax train --distributed$(
    printf ' %q' "--config=$config" "--workdir=$workdir" "--config.data.path=$data" "$@"
)"
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$install && $train"
