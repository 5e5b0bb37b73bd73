"""The one training loop and what it needs: batches, optimizer, evaluation, checkpoints."""
