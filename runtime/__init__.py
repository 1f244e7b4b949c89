"""The robot's side: read the state, observe, infer, guard, write. Knows no torch and no trainer."""
