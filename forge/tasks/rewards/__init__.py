"""How good a sampled text is: named rewards from 0 to 1, which a run weighs and adds up.

A reward is a guess at what is wanted, and a model finds what is wrong with the guess. Each file says which outputs
please its rewards without being good; a run combines rewards so that no one output pleases them all, sets gates, and
is judged by a metric that is none of them.
"""
