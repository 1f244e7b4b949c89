# Every verb works from a fresh clone: it makes the virtual environment that it needs, once.
#   make run    TASK=walk DURATION=60 VIEW=browser VIDEO=out.mp4 POLICY=models/h1/policy.onnx
#   make test   ARGS="-k observation -x"

TASK     ?= walk
DURATION ?= 20
POLICY   ?= models/h1/policy.onnx
VIEW     ?= 0
VIDEO    ?=
SEED     ?= 0
PYTHON   ?= python3
ARGS     ?=
FAULTS   ?=
BASE     ?=

# A sourced ROS installation and the wheels must not meet in one process.
unexport PYTHONPATH AMENT_PREFIX_PATH COLCON_PREFIX_PATH RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE
ifdef ROS_DISTRO
unexport LD_LIBRARY_PATH
endif
export PYTHON

RUN  := .venv-run/bin/python
FULL := .venv/bin/python

.PHONY: help run test bench faults lint video image clean venv-run venv
.DEFAULT_GOAL := help

help:
	@echo "make run     an H1 in MuJoCo, controlled by the shipped policy through ROS 2"
	@echo "             TASK=$(TASK) DURATION=$(DURATION) POLICY=$(POLICY) VIEW=mujoco|browser VIDEO=out.mp4 SEED=$(SEED)"
	@echo "make video   the same, filmed to VIDEO (default run.mp4); needs no screen"
	@echo "make test    every test that fits two cores and no GPU; ARGS goes to pytest"
	@echo "make bench   latency of the control line: observe, infer, whole tick"
	@echo "make faults  every named fault x seeds on a simulated H1: limits, time to damping (FAULTS=seeds=1)"
	@echo "make lint    ruff, pyright, import-linter"
	@echo "make image   the robot image, with Docker; BASE=ros:humble-ros-base for JetPack 6 (docs/docker.md)"
	@echo "make clean   remove the virtual environments and what builds left"

venv-run:
	@tools/make_venv.sh .venv-run ros,sim,view,record

venv:
	@tools/make_venv.sh .venv ros,sim,view,record,train,distill,dev

run: venv-run
	@$(RUN) -m ezm_runtime.bringup task="$(TASK)" duration=$(DURATION) policy=$(POLICY) \
	    view=$(VIEW) seed=$(SEED) $(if $(VIDEO),video=$(VIDEO))

video:
	@$(MAKE) --no-print-directory run VIDEO=$(or $(VIDEO),run.mp4)

test: venv
	@tools/make_cyclonedds.sh .venv
	$(FULL) -m pytest $(ARGS)

faults: venv-run
	@$(RUN) -m runtime.faults policy=$(POLICY) $(FAULTS)

bench: venv-run
	@$(RUN) -m runtime.bench policy=$(POLICY)

lint: venv
	$(FULL) -m ruff check .
	$(FULL) -m ruff format --check .
	$(FULL) -m pyright
	.venv/bin/lint-imports

image:
	docker build $(if $(BASE),--build-arg BASE=$(BASE)) -t ezm .

.DEFAULT:
	@echo "ezm: no verb '$@'; there are:" >&2
	@$(MAKE) --no-print-directory help >&2
	@exit 2

clean:
	rm -rf .venv .venv-run build *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
