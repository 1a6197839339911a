# Sourced by train.sbatch and sweep.sbatch: one `accelerate launch` per node, and signal handling.
# Slurm runs a copy of the job script, so they find this file through the submit directory. What they
# run is the code in that directory at the moment at which the job starts, or is requeued: edits in
# between take effect. `python -m launch` submits a copy of the code instead.

# Ranks of another training in the environment from which the job was submitted.
unset RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
RANKS=$((SLURM_NNODES * RANKS_PER_NODE))
if [ "$RANKS" -gt 1 ]; then # a free port of this machine, which is that of rank 0
    MASTER_PORT=$(python -m launch.ports "$SLURM_JOB_ID/${SLURM_RESTART_COUNT:-0}") || exit
fi
export MASTER_ADDR MASTER_PORT RANKS
if [ -z "${OMP_NUM_THREADS:-}" ]; then # each rank's share of the cores, up to which it may use threads
    GANTRAIN_CORES=$((${SLURM_CPUS_PER_TASK:-1} / RANKS_PER_NODE))
    [ "$GANTRAIN_CORES" -gt 0 ] || GANTRAIN_CORES=1
    OMP_NUM_THREADS=$GANTRAIN_CORES
    export GANTRAIN_CORES OMP_NUM_THREADS
fi

# Train with these arguments of the trainer. Requeues the job if it reached the time limit.
train() {
    local requeue='' step status=0
    # `--signal=B:USR2` signals this shell only, which forwards the signal to the step.
    trap 'requeue=1; scancel --signal=USR2 "$SLURM_JOB_ID"' USR2
    # Single quotes, because SLURM_NODEID differs between tasks. `accelerate launch` must ignore the
    # signals meant for the trainers; it would die of them and orphan the trainers.
    # --export: sites that set SLURM_EXPORT_ENV=NONE would keep the variables above from the tasks.
    srun --kill-on-bad-exit=1 --export=ALL --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
        bash -c '
        trap "" USR1 USR2
        several=()
        [ "$RANKS" -gt 1 ] && several=(--multi_gpu --main_process_ip "$MASTER_ADDR"
            --main_process_port "$MASTER_PORT")
        exec accelerate launch "${several[@]}" --num_machines "$SLURM_NNODES" \
            --num_processes "$RANKS" --machine_rank "$SLURM_NODEID" \
            --mixed_precision no --dynamo_backend no \
            -m gantrain.train "$@" "training.world_size=$RANKS"
        ' train "$@" &
    step=$!
    wait "$step" || status=$? # the trap interrupts this `wait`
    while [ -n "$requeue" ] && kill -0 "$step" 2>/dev/null; do
        # The first signal may have arrived before the trainers had installed their handlers.
        sleep 10
        scancel --signal=USR2 "$SLURM_JOB_ID"
    done
    [ -z "$requeue" ] || { status=0; wait "$step" || status=$?; }
    if [ -n "$requeue" ] && [ "$status" != 0 ]; then
        scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
        sleep 60 # Slurm ends this shell meanwhile
    fi
    return "$status"
}
