"""Train EZ-M: collect, replay, reanalyse, update, evaluate."""
