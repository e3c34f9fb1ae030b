#!/bin/bash
# Trains on TPUs of a GKE cluster by xpk (pip install xpk), from an image that has this project:
#
#     examples/launch/gke.sh CLUSTER IMAGE v5litepod-16 \
#         sr_x4 gs://bucket/runs/x4 gs://bucket/df2k_x4 [--config.…]
#
# The image holds Python, jax[tpu] and hcflow_jax[train,gcs]; its hosts must be allowed to read and
# write the bucket. A workload that is evicted is sent SIGTERM, saves, and goes on when it is
# started again.

set -euo pipefail

if [ $# -lt 6 ]; then
    echo "usage: $0 CLUSTER IMAGE TPU_TYPE CONFIG WORKDIR DATA [--config.…]" >&2
    exit 2
fi
cluster=$1 image=$2 type=$3 config=$4 workdir=$5 data=$6
shift 6

command="hcflow train --distributed$(
    printf ' %q' "--config=$config" "--workdir=$workdir" "--config.data.path=$data" "$@"
)"
xpk workload create --cluster="$cluster" --workload="hcflow-$(date +%m%d-%H%M%S)" \
    --docker-image="$image" --tpu-type="$type" --num-slices=1 --command="$command"
