"""Prepare a policy for this machine: check it, build its engine, time it. Moves nothing.

    python -m runtime.prepare policy=models/h1/policy.onnx engine=tensorrt

A TensorRT engine fits one device and one version of TensorRT, so it is built where it runs, once;
after that it comes from the cache ($XDG_CACHE_HOME/ezm). Ends with one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass

import numpy as np

from runtime.cli import parse_or_exit
from runtime.policy import PolicyError, SpecError, load_policy


@dataclass(frozen=True)
class PrepareConfig:
    """Which policy, on what."""

    policy: str = "models/h1/policy.onnx"  # an .onnx file; the default is the shipped one
    engine: str = "ort"  # or ort-cuda, ort-tensorrt, tensorrt, tensorrt-fp16, tensorrt-int8
    calls: int = 200  # inferences timed, one after the other


def main() -> None:
    """Load the policy as the control loop would, and time it."""
    config = parse_or_exit(PrepareConfig(), sys.argv[1:], "runtime.prepare", __doc__ or "")
    begin = time.perf_counter()
    try:
        policy = load_policy(config.policy, engine=config.engine)
    except (PolicyError, SpecError) as error:
        print(f"runtime.prepare: {error}", file=sys.stderr)
        sys.exit(2)
    loaded = time.perf_counter() - begin
    observation = np.asarray(policy.spec.golden_observation, np.float32)
    times = []
    for _ in range(max(1, config.calls)):
        begin = time.perf_counter()
        policy.infer(observation)
        times.append(1e6 * (time.perf_counter() - begin))
    report = {
        "policy": policy.spec.name,
        "tasks": list(policy.spec.tasks),
        "engine": config.engine,
        "loaded_s": round(loaded, 3),
        "infer_us_p50": round(float(np.percentile(times, 50)), 1),
        "infer_us_p99": round(float(np.percentile(times, 99)), 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
