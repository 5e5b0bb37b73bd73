#!/usr/bin/env bash
# Train what a configuration describes, over as many jobs as it takes.
#
#   sbatch run_training.sh configs/….yaml [settings]                      a Slurm job that puts itself back in the queue
#   bash   run_training.sh configs/….yaml [settings]                      the same without Slurm
#   sbatch --array=0-2 run_training.sh a.yaml b.yaml c.yaml [settings]    one task for each configuration
#   sbatch --array=0-79 run_training.sh study configs/studies/….yaml      a cell of a study; `forge.py study submit` types it
#
# Flags of sbatch (--partition, --time, --gres) win over the defaults below. What a site needs besides (modules,
# environment, caches) goes into site.sh; see site.example.sh and docs/02.Slurm and HPC.md.
#SBATCH --job-name=forge
#SBATCH --output=forge-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --time=04:00:00
#SBATCH --nodes=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G

# Traps come first: a USR1 that nobody traps kills the job, and Slurm may send it at any time. None for CONT, which
# Slurm sends along with each: of two trapped signals that arrive together bash 5.2 runs one trap and drops the other.
caught='' trainer='' forwarded='' launcher_signal='' timer=''
trap 'on_signal USR1' USR1
trap 'on_signal TERM' TERM
trap 'on_signal INT' INT

readonly SAVED=75 IDLE_LIVES=3 ASK_SECONDS=60 SAVE_SECONDS=100
job=${SLURM_JOB_ID:-} requeued='' facts='' study=()

say() { printf 'run_training: %s\n' "$*"; }
fail() {
  say "$*" >&2
  exit 2
}

# Words as a person would have to type them.
typed() { printf '%q ' "$@"; }

# Become a program that the kernel ends with a signal when this script dies, however it dies; for a subshell.
on_leash() {
  if command -v setpriv >/dev/null; then exec setpriv --pdeathsig "$@"; fi
  exec "${@:2}"
}

# Note the signal, and pass the first one on, to the trainer alone: its workers must live until it has saved.
# Ctrl-C reaches the trainer from the terminal too, and a second one would mean "leave at once"; so TERM is sent for it.
on_signal() {
  caught=$1
  if [[ -z $forwarded && -n $trainer ]]; then
    forwarded=${launcher_signal:-${1/INT/TERM}}
    kill -s "$forwarded" "$trainer" 2>/dev/null
  fi
  # Past its time limit a job is killed after KillWait, this script with it: the requeue must not come too late.
  if [[ $1 == TERM && -n $job && -z $timer ]]; then
    (
      trap '' USR1 TERM INT
      on_leash KILL sleep "$(((kill_wait > 6) ? kill_wait - 5 : 2))"
    ) &
    timer=$!
  fi
}

# Run a Slurm command that the TERM to all processes of a job cannot end.
ask() { (
  trap '' USR1 TERM INT
  exec timeout "$ASK_SECONDS" "$@"
); }

# What Slurm knows of this job. For one task of an array it shows the others too; the job id tells them apart.
look() {
  [[ -n $job ]] || return 1
  facts=$(ask scontrol --oneliner show job "$job" 2>/dev/null | grep "^JobId=$job ")
  [[ -n $facts ]]
}

fact() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" <<<" $facts"; }

# Slurm runs a copy of this script from its spool directory, so the script's own path may lead nowhere.
find_root() {
  local folder command
  command=$(fact Command)
  for folder in "${FORGE_ROOT:-}" "$(dirname "${BASH_SOURCE[0]}")" "${command%/*}" "${SLURM_SUBMIT_DIR:-}"; do
    [[ -n $folder && -f $folder/forge.py ]] && root=$(cd "$folder" && pwd) && return
  done
  fail "forge.py was not found; submit from the checkout, or set FORGE_ROOT to it"
}

# The configurations are the words before the first setting; a task of an array takes the one at its index, from 0.
choose_config() {
  local configs=() index=${SLURM_ARRAY_TASK_ID:-}
  if [[ ${1:-} == study ]]; then
    shift
    (($#)) || fail "no study; use: sbatch run_training.sh study configs/studies/….yaml [settings]"
    config=$1 settings=("${@:2}")
    study=(study run ${index:+--index "$index"})
    [[ -n $index ]] || study+=(--prepare)
    [[ -f $config ]] || fail "$config: no such study (looked in $PWD)"
    return
  fi
  while (($#)) && [[ $1 == --config || ($1 != -* && $1 != *=*) ]]; do
    case $1 in
      --config) ;;
      *.txt) [[ -f $1 ]] || fail "$1: no such list of configurations"
        mapfile -t -O "${#configs[@]}" configs < <(grep -v '^[[:space:]]*\(#\|$\)' "$1") ;;
      *) configs+=("$1") ;;
    esac
    shift
  done
  settings=("$@")
  ((${#configs[@]})) || fail "no configuration; use: sbatch run_training.sh configs/….yaml [settings]"
  if ((${#configs[@]} == 1)); then
    config=${configs[0]}
  elif [[ -z $index ]]; then
    fail "${#configs[@]} configurations need one task each: sbatch --array=0-$((${#configs[@]} - 1)) …"
  else
    config=${configs[index]:-}
    [[ -n $config ]] || fail "array task $index has no configuration; ${#configs[@]} were given, counted from 0"
  fi
  [[ -f $config ]] || fail "$config: no such configuration (looked in $PWD)"
}

# Where the run goes, as far as its settings tell. With stand-ins the hash differs, and the seed's runs stand for it.
find_run() {
  if [[ -n ${study[*]} ]]; then
    run=$("$python" "$root/forge.py" "${study[@]}" --where --config "$config" ${settings[@]+"${settings[@]}"} 2>/dev/null)
    ledger=${run:+${run%/*}/.lives-${run##*/}}
    return
  fi
  run=$("$python" -c '
import sys
sys.path.insert(0, sys.argv.pop(1))
from forge.config import resolve
from forge.runs.run_dir import run_path
found = resolve(sys.argv[1], sys.argv[2:])
print(run_path(found.settings.run.dir, found.name, found.settings.seed, found.digest()))
' "$root" "$config" ${settings[@]+"${settings[@]}"} 2>/dev/null)
  ledger=${run:+${run%/*}/.lives-${run##*/}}
}

run_folders() {
  [[ -n $run ]] || return 0
  if [[ -d $run ]]; then echo "$run"; else ls -d "${run%-*}"-* 2>/dev/null; fi
}

# The newest checkpoint's step: what disk says, not what a counter says. 0 where there is none.
progress() {
  local folder
  while read -r folder; do
    for path in "$folder"/checkpoint-*/manifest.json; do
      path=${path%/manifest.json} && echo "${path##*checkpoint-}"
    done
  done < <(run_folders) | grep '^[0-9]*$' | sort -n | tail -n 1 | grep . || echo 0
}

# How many shards of the teacher's cache are whole: a run fills it before its first step, and no life's shard is lost.
shards() {
  local folder cache
  while read -r folder; do
    cache=$(sed -n 's/^ *"teacher_cache": *"\(.*\)",*$/\1/p' "$folder/run_metadata.json" 2>/dev/null)
    [[ -z $cache ]] || printf '%s\n' "$cache"/*/[0-9]*.safetensors
  done < <(run_folders) | sort -u | grep -c '/[0-9][0-9]*\.safetensors$'
}

# The ledger of lives holds: job, newest step when it was written, lives since then that ended no further, shards.
read_ledger() {
  local owner='' lines=()
  [[ -n $ledger && -f $ledger ]] && mapfile -t lines <"$ledger"
  owner=${lines[0]:-} step_before=${lines[1]:-0} idle=${lines[2]:-0} shards_before=${lines[3]:-0}
  if [[ $owner != "$job" ]]; then # somebody started the run anew, so it gets all its lives
    step_before=$(progress) shards_before=$(shards) idle=0
  fi
}

write_ledger() {
  [[ -n $ledger ]] || return 0
  mkdir -p "${ledger%/*}" && printf '%s\n' "$1" "$step_before" "$idle" "$shards_before" >"$ledger.$$" &&
    mv "$ledger.$$" "$ledger"
} 2>/dev/null

count_life() {
  local step whole
  step=$(progress) whole=$(shards)
  if ((step > step_before || whole > shards_before)); then idle=0; else idle=$((idle + 1)); fi
  step_before=$step shards_before=$whole
  write_ledger "$job"
}

# How many processes: FORGE_PROCESSES per node, else one for each GPU of the job, else its tasks.
plan_launch() {
  nodes=${SLURM_JOB_NUM_NODES:-${SLURM_NNODES:-1}}
  processes=${FORGE_PROCESSES:-${SLURM_GPUS_ON_NODE:-}}
  [[ $processes =~ ^[0-9]+$ ]] || processes=$((${SLURM_NTASKS:-nodes} / nodes))
  ((processes > 0)) || processes=1
  [[ -n $run ]] || nodes=1 processes=1 # a configuration with an error: one process says so
  launch=("$python" "$root/forge.py" ${study[@]+"${study[@]}"} --config "$config" ${settings[@]+"${settings[@]}"})
  [[ -z ${study[*]} ]] || nodes=1 processes=1 # a cell is for one process
  ((nodes * processes > 1)) || return 0
  # torchrun kills what has not saved after its time-out, and by default a USR1 kills torchrun itself.
  local handled=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 place=(--standalone) head
  if ((nodes > 1)); then
    head=${FORGE_HEAD:-$(ask scontrol show hostnames "${SLURM_JOB_NODELIST:-}" 2>/dev/null | head -n 1)}
    place=(--rdzv_backend=c10d --rdzv_id="$job" --rdzv_endpoint="${head:-$(hostname)}:$((20000 + job % 20000))")
  fi
  launch=("$python" -m torch.distributed.run "${place[@]}" --nnodes="$nodes" --nproc_per_node="$processes"
    --signals-to-handle="$handled" --shutdown-timeout="$SAVE_SECONDS" "${launch[@]:1}")
  ((nodes > 1)) || return 0
  launch=(srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 "${launch[@]}")
  launcher_signal=USR1 # srun passes USR1 on to its tasks; a TERM it takes as an order to kill them
}

# Where the processes of the trainer leave their exit codes: torchrun and srun turn each into 1. Several nodes share the
# disk of the runs, not /tmp.
open_notes() {
  notes=$ledger.$job
  if ((nodes == 1)) || ! mkdir -p "$notes" 2>/dev/null; then notes=$(mktemp -d); fi
  rm -f "$notes"/*
  export FORGE_EXIT_NOTES=$notes
}

# What a person types to have this run go on, for `forge.py runs`.
note_launch() {
  local words=()
  [[ -z ${FORGE_PROCESSES:-} ]] || words+=("FORGE_PROCESSES=$FORGE_PROCESSES")
  if [[ -z $job || ${SLURM_JOB_NAME:-} == interactive ]]; then
    words+=(bash)
  else
    find_shape
    words+=(sbatch "${shape[@]}")
  fi
  FORGE_LAUNCH=$(typed "${words[@]}" run_training.sh)
  export FORGE_LAUNCH
}

# In a script bash lets a background process ignore INT; the trainer takes its handlers itself. Whoever kills this
# script with -9 must not leave the launcher behind; the trainer watches its parent itself too.
run_trainer() {
  export FORGE_WRAPPER_PID=$$
  (on_leash TERM "${launch[@]}") &
  trainer=$!
  if [[ -n $caught ]]; then on_signal "$caught"; fi # it came while there was nobody to tell
  while :; do
    wait "$trainer" 2>/dev/null # bash's own line about a killed process says less than ours
    code=$?
    kill -0 "$trainer" 2>/dev/null || break
    if [[ -n $timer && -z $requeued ]]; then wait_for_timer; fi
  done
  wait "$trainer" 2>/dev/null # a trap may have broken off the wait that had the exit code
  local again=$?
  ((again == 127)) || code=$again
  [[ -z $timer ]] || kill -s KILL "$timer" 2>/dev/null
}

# After a TERM: either the trainer ends, or the time is nearly up.
wait_for_timer() {
  while kill -0 "$timer" 2>/dev/null && kill -0 "$trainer" 2>/dev/null; do sleep 0.2; done
  kill -0 "$trainer" 2>/dev/null || return 0
  if look && [[ $(fact Reason) == TimeLimit ]]; then
    say "the trainer has not saved yet and the job is about to be killed"
    requeue
  fi
  requeued=${requeued:-tried}
}

# What the processes wrote down in this life says how it ended, the main process first. One whose peer is gone falls over
# an error of the library between them: that is no answer, and the next life may have all peers. And a signal that comes
# when all is done can kill a process on its way out.
settle_code() {
  ((code != 0)) || return 0
  local said why alone='' lost='^(Runtime|Timeout|Connection[A-Za-z]*|Dist[A-Za-z]*)Error:.*(onnection|timed out|NCCL|gloo)'
  while read -r said why; do
    if [[ $said == 1 && $why =~ $lost ]]; then
      alone=yes
    elif [[ $said == 75 && -z $caught && $why == *"before training began"* ]]; then
      told=yes
    else
      code=$said
      return
    fi
  done < <(cat "$notes"/* 2>/dev/null)
  ((nodes * processes > 1)) || return 0
  if [[ -n $alone$told$caught ]] || died_training; then
    code=137
  elif ((code != 137)); then
    code=1 # it ended before training; a launcher's 143 does not mean a signal
  fi
}

# Whether training began in this life, and nobody lived to say how it ended.
died_training() {
  local folder
  while read -r folder; do
    [[ $folder/training_state.json -nt $notes ]] || continue
    grep -q '"status": *"running"' "$folder/training_state.json" && return
  done < <(run_folders)
  return 1
}

# The last act, for Slurm ends the job as soon as it is asked. Says in one line what happened.
requeue() {
  local id=$job next answer rc
  if [[ -n ${SLURM_ARRAY_JOB_ID:-} ]]; then id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID; fi
  count_life
  if ((idle >= IDLE_LIVES)); then
    say "$idle lives in a row ended without a new checkpoint (step $step_before): not requeued; look into the log above"
    requeued=refused
    return
  fi
  say "job $id goes back into the queue, newest checkpoint: step $step_before"
  answer=$(ask scontrol requeue "$id" 2>&1)
  rc=$?
  # Slurm ends the job so soon that scontrol may die before it can say yes; a second job would then run beside the first.
  if ((rc == 0)) || [[ $answer == *"is pending execution"* ]] || { look && (($(fact Restarts) > restarts)); }; then
    requeued=yes
  elif ((rc >= 124 && rc != 127)); then
    find_shape
    say "scontrol did not answer; should the job not come back: $(typed sbatch "${anew[@]}")"
    requeued=no
  elif next=$(submit_again) && [[ $next =~ ^[0-9]+ ]]; then
    write_ledger "${next%%;*}"
    say "scontrol could not requeue it; job ${next%%;*} continues the run"
    requeued=yes
  else
    find_shape
    say "cannot requeue (${answer:-scontrol does not answer}); to continue: $(typed sbatch "${anew[@]}")"
    requeued=no
  fi
}

# The flags of sbatch for a job like this one, as far as Slurm tells, and all that it takes to submit this run again.
find_shape() {
  local flag name limit gpus features output
  shape=("--job-name=${SLURM_JOB_NAME:-forge}" "--nodes=$nodes")
  while read -r flag name; do
    [[ -z ${!name:-} ]] || shape+=("--$flag=${!name}")
  done <<<"partition SLURM_JOB_PARTITION
    account SLURM_JOB_ACCOUNT
    qos SLURM_JOB_QOS
    reservation SLURM_JOB_RESERVATION
    ntasks SLURM_NTASKS
    ntasks-per-node SLURM_NTASKS_PER_NODE
    cpus-per-task SLURM_CPUS_PER_TASK
    mem SLURM_MEM_PER_NODE
    mem-per-cpu SLURM_MEM_PER_CPU
    mem-per-gpu SLURM_MEM_PER_GPU"
  limit=$(property TimeLimit %l) gpus=$(property TresPerNode %b) features=$(property Features %f)
  [[ ! $limit =~ ^[0-9:-]+$ ]] || shape+=("--time=$limit")
  if [[ $gpus =~ ^gres[:/](.+)$ ]]; then
    shape+=("--gres=${BASH_REMATCH[1]}")
  elif [[ -n ${SLURM_GPUS:-} ]]; then
    shape+=("--gpus=$SLURM_GPUS")
  elif [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then
    shape+=("--gpus-per-node=$SLURM_GPUS_ON_NODE")
  fi
  [[ -z $features ]] || shape+=("--constraint=$features")
  output=$(property StdOut) # the log of one run stays in one file
  local task=() what=()
  [[ -z ${study[*]} ]] || what=(study)
  [[ -z ${study[*]} || -z ${SLURM_ARRAY_TASK_ID:-} ]] || task=("--array=$SLURM_ARRAY_TASK_ID")
  anew=("${shape[@]}" ${output:+"--output=$output"} ${task[@]+"${task[@]}"} "$root/run_training.sh"
    ${what[@]+"${what[@]}"} "$config" ${settings[@]+"${settings[@]}"})
}

# One property of the job: as scontrol calls it, else as squeue does, for which no start waits. Nothing if there is none.
property() {
  local value
  if [[ -n $facts ]]; then
    value=$(fact "$1")
  elif [[ -n $trainer && $# -gt 1 ]]; then
    value=$(ask squeue --noheader --jobs "$job" --format "$2" 2>/dev/null)
  fi
  [[ -z $value || $value == *'(null)'* || $value == N/A ]] || echo "$value"
}

# A new job in place of this one. What Slurm says of this job in the environment must not describe the next.
submit_again() (
  find_shape
  for name in "${!SLURM_@}"; do
    [[ $name == SLURM_CONF ]] || unset "$name"
  done
  ask sbatch --parsable "--dependency=afterany:$job" "${anew[@]}" 2>/dev/null
)

# Whether the job should go on, from the state Slurm gives it. Slurm shows a cancelled job as COMPLETING too; what
# tells them apart: a time-out has its reason, and a job that Slurm requeues itself has one restart more.
may_requeue() {
  if ! look; then
    [[ $caught == TERM ]] || return 0
    say "ended by TERM and Slurm does not say why: not requeued; to continue, submit it again"
    return 1
  fi
  local preempted
  preempted=$(fact PreemptTime)
  case $(fact JobState) in
    RUNNING) return 0 ;;
    COMPLETING | CANCELLED | TIMEOUT | PREEMPTED | NODE_FAIL | PENDING) ;;
    *) return 0 ;;
  esac
  if [[ $(fact Reason) == TimeLimit ]] || { [[ -n $preempted && $preempted != None ]] && (($(fact Restarts) == restarts)); }; then
    return 0
  fi
  if (($(fact Restarts) > restarts)); then
    say "Slurm itself puts the job back into the queue"
  else
    say "the job was cancelled: not requeued; the run is saved, submit it again to continue"
  fi
  return 1
}

finish() {
  rm -rf "$notes"
  ((code <= 128)) || say "the trainer was killed by signal $((code - 128))"
  case $requeued in
    yes | refused | no) exit "$code" ;;
  esac
  if ((code == 0)); then
    [[ -z $ledger ]] || rm -f "$ledger"
  elif ((code != SAVED && code <= 128)); then
    say "the trainer ended with exit code $code: not requeued, for a new try would end the same way"
  elif [[ -z $job || ${SLURM_JOB_NAME:-} == interactive ]]; then
    say "stopped with exit code $code; the same command continues the run"
  elif may_requeue; then
    requeue
  fi
  exit "$code"
}

restarts=0 kill_wait=30
if look; then
  restarts=$(fact Restarts)
  kill_wait=$(ask scontrol show config 2>/dev/null | sed -n 's/^KillWait *= *\([0-9]*\).*/\1/p')
  kill_wait=${kill_wait:-30}
fi
find_root
choose_config "$@"
# shellcheck source=/dev/null
if [[ -f $root/site.sh ]]; then . "$root/site.sh"; fi
python=${FORGE_PYTHON:-$root/.venv/bin/python}
[[ -x $python || -n ${FORGE_PYTHON:-} ]] || python=python3
command -v "$python" >/dev/null || fail "no Python at $python; set FORGE_PYTHON, for example in $root/site.sh"
find_run
plan_launch
read_ledger
if [[ -n $job ]]; then write_ledger "$job"; fi
open_notes
note_launch
run_trainer
settle_code
finish
