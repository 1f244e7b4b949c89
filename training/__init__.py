"""The trainer's side: collect, store, re-analyse, update, evaluate. Knows the robot, not the runtime."""
