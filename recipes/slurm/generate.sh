#!/bin/bash
# A prompt manifest on a Slurm cluster, one shard a task of a job array; then one job that joins them.
#
#     recipes/slurm/generate.sh prompts.csv out 100 [options of crafts generate]
#
# A task that was killed or ran out of time goes on where it stopped when it is submitted again.
#SBATCH --job-name=crafts
#SBATCH --cpus-per-task=4
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail
manifest=$1 output=$2 shards=$3
shift 3

if [ -z "${SLURM_JOB_ID:-}" ]; then # on the login node: submit both jobs
    array=$(sbatch --parsable --array="1-$shards" "$0" "$manifest" "$output" "$shards" "$@")
    sbatch --dependency="afterok:$array" "$0" "$manifest" "$output" "$shards" "$@"
elif [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then # one shard
    k=$SLURM_ARRAY_TASK_ID
    crafts generate --manifest "$manifest" --shard "$k/$shards" --output "$output/shard-$k" "$@"
else # all shards into the folder of the first; nothing is made again, all is accounted for
    for k in $(seq 2 "$shards"); do
        find "$output/shard-$k/images" -name '*.png' -exec ln -f -t "$output/shard-1/images" {} +
    done
    crafts generate --manifest "$manifest" --output "$output/shard-1" "$@"
fi
