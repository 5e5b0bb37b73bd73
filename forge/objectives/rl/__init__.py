"""Learning from rewards: pure functions from log-probabilities, rewards and masks to losses, and guards over them.

Shape letters of this package: B prompts, G samples of each, N = B·G samples, T tokens, M = N·T rows, K parts of a
reward, V tokens of the vocabulary; n are the rows of a chunk and P those that count.
"""
