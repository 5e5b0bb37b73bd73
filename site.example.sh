# shellcheck shell=bash
# What only your cluster knows. Copy to site.sh beside run_training.sh and keep the lines you need; git ignores the copy.
# run_training.sh reads it in each job. Source it in your own shell too before sbatch, for the SBATCH_ lines.

# Where sbatch sends jobs, unless a flag says otherwise; `sinfo` lists partitions, `sacctmgr show assoc user=$USER` accounts.
# export SBATCH_PARTITION=gpu
# export SBATCH_ACCOUNT=my-project

# Modules, and the Python that has Forge's dependencies; without a line, .venv/bin/python of the checkout.
# module load python/3.11 cuda
# FORGE_PYTHON=$HOME/envs/forge/bin/python

# Caches on a large disk, and no wait for a network that compute nodes do not have.
# export HF_HOME=/scratch/$USER/huggingface
# export HF_HUB_OFFLINE=1
