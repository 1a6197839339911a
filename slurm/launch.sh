# Sourced by train.sbatch and sweep.sbatch: one `accelerate launch` a node, and what signals mean.
# Slurm copies a job script away before it runs it, so this is found from the submit directory.

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Below the range of outgoing connections; the same on all nodes, another for each job.
MASTER_PORT=$((10000 + (SLURM_JOB_ID * 7 + ${SLURM_RESTART_COUNT:-0}) % 20000))
RANKS=$((SLURM_NNODES * RANKS_PER_NODE))
export MASTER_ADDR MASTER_PORT RANKS
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((${SLURM_CPUS_PER_TASK:-1} / RANKS_PER_NODE > 0 ? ${SLURM_CPUS_PER_TASK:-1} / RANKS_PER_NODE : 1))}

# Train; give the trainer's arguments. Queues the job again if the time limit came first.
train() {
    local again='' step status=0
    # `--signal=B:USR2` warns this shell alone: it passes the signal to the step, and remembers.
    trap 'again=1; scancel --signal=USR2 "$SLURM_JOB_ID"' USR2
    # The single quotes matter: SLURM_NODEID is another in each task. The launcher has to ignore
    # the signals that the trainers take, or it dies of them and leaves the trainers behind.
    srun --kill-on-bad-exit=1 --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
        bash -c '
        trap "" USR1 USR2
        several=()
        [ "$RANKS" -gt 1 ] && several=(--multi_gpu --main_process_ip "$MASTER_ADDR"
            --main_process_port "$MASTER_PORT")
        exec accelerate launch "${several[@]}" --num_machines "$SLURM_NNODES" \
            --num_processes "$RANKS" --machine_rank "$SLURM_NODEID" \
            --mixed_precision no --dynamo_backend no \
            gantrain/train.py "$@" "training.world_size=$RANKS"
        ' train "$@" &
    step=$!
    wait "$step" || status=$? # the trap ends this `wait` before the step has ended
    while [ -n "$again" ] && kill -0 "$step" 2>/dev/null; do
        # The first signal may have come before the trainers were ready for it.
        sleep 10
        scancel --signal=USR2 "$SLURM_JOB_ID"
    done
    [ -z "$again" ] || { status=0; wait "$step" || status=$?; }
    if [ -n "$again" ] && [ "$status" != 0 ]; then
        scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
        sleep 60 # Slurm ends this shell now
    fi
    return "$status"
}
