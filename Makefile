PYTHON ?= python3
BIN    := .venv/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check
DEMO   := runs/demo

NATIVE := tinygrad_rnn/kernels/cpu

.PHONY: demo quick test deep oracles fuzz soak test-gpu test-cupy test-browser gpu-check rehearse-gpu-check check style native sanitize docs clean

# Trains the demo model (or resumes it), then writes 500 characters of it.
demo: .venv/demo
	@$(BIN)/tinygrad-rnn train charlm --out $(DEMO) $(if $(wildcard $(DEMO)/checkpoint.json),--resume)
	@$(BIN)/tinygrad-rnn generate $(DEMO) --length 500 --temperature 0.7 --seed 1

# Two tests run at a time, each on one thread.
quick test check deep oracles fuzz soak test-cupy: export OMP_NUM_THREADS = 1

# Tests start hundreds of interpreters, each of which would compile the package.
unexport PYTHONDONTWRITEBYTECODE

# Style, the types of the files that differ from main (all, where git cannot tell), and the first test
# of every file with those marked quick: every part, in less than a minute.
quick: style
	$(BIN)/mypy $$($(BIN)/python -m tests.changed)
	HYPOTHESIS_PROFILE=quick $(BIN)/pytest -m quick

test: check
	$(BIN)/pytest tests

style: .venv/test
	$(BIN)/clang-format --dry-run -Werror $(NATIVE)/*.cpp $(NATIVE)/*.hpp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

check: style
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tinygrad_rnn README.md docs

# Searches for hours for the case that fails.
deep: .venv/test
	HYPOTHESIS_PROFILE=deep $(BIN)/pytest tests/testing tests/kernels tests/nn

# Trains five models with the garbage collector off, in 16 minutes: their memory stays flat. An hour: make soak STEPS=190000
STEPS ?= 50000
soak: .venv/test
	$(BIN)/python -m tests.soak --steps $(STEPS)

# Compares with PyTorch, Keras, Flax and others, in the versions that tests/oracles.txt names.
oracles: export KERAS_BACKEND = torch
oracles: .venv/oracles
	$(BIN)/python -c 'import dask.distributed, flax, keras, onnxruntime, optuna, silero_vad, torch'  # without one, tests would be skipped
	$(BIN)/pytest -m oracle tests
	$(BIN)/pytest tinygrad_rnn/io docs/howto  # the examples that need other packages

# Draws calls of everything public with wrong and odd arguments: make fuzz CALLS=100000 SEED=7
CALLS ?= 20000
SEED  ?= 0
fuzz: .venv/test
	$(BIN)/python -m tests.fuzz --calls $(CALLS) --seed $(SEED)

# On a machine with a GPU: all derivatives and training with CuPy. It compiles some 700 small kernels, so
# few cases are drawn of each.
test-gpu: .venv/test,cuda13
	HYPOTHESIS_PROFILE=quick $(BIN)/pytest -m gpu tests

# The same tests without a GPU: the real CuPy, whose kernels run on the CPU (tests/cuda_on_cpu). A share of
# them: make test-cupy ONLY='not derivatives', or WHERE='tests/kernels'
ONLY  ?=
WHERE ?= tests
test-cupy: .venv/cupy/installed
	HYPOTHESIS_PROFILE=quick .venv/cupy/bin/python -m pytest -p tests.cuda_on_cpu.plugin -m gpu $(WHERE) -k '$(ONLY)'

# On a machine with a GPU that is had for minutes: comparisons with the CPU, then times beside PyTorch's; it
# needs no network. PYTHON has CuPy, and PyTorch if it is to be compared with. `rehearse-gpu-check` runs it on
# the stand-in, with small sizes; its times say nothing.
BUDGET ?= 600
gpu-check:
	PYTHONPATH=. $(PYTHON) -m tests.gpu_check --budget $(BUDGET) --json gpu-check.json

rehearse-gpu-check: .venv/cupy/installed
	.venv/cupy/bin/python -m tests.gpu_check --stand-in --budget $(BUDGET) --json build/gpu-check.json

# The page of `tinygrad-rnn look` and the site in Chromium, which must be installed (Debian: apt-get install chromium).
test-browser: .venv/test docs
	$(PIP) playwright
	@command -v chromium > /dev/null || { echo 'chromium is not installed'; exit 1; }
	$(BIN)/pytest -n 0 -m browser tests

# The site, in build/docs/html: a warning is an error, also one of a link that leads nowhere.
docs: .venv/docs
	$(BIN)/python docs/site/build.py build/docs
	@echo 'The first page is build/docs/html/index.html.'

# Compiles the native kernels into the source tree, for whoever runs from there: PYTHONPATH=. python
native: build/native/build.ninja
	cmake --build build/native
	cmake --install build/native --prefix . > build/native/install.log

# The kernels of every instruction set that this machine runs, under the address, undefined-behaviour and thread
# sanitizers: a program in C++, and the tests of kernels/ in Python, which preloads the sanitizers (tests of
# scarce memory are left out: they need more). Three sets take 7 minutes on two cores, compiling included. One: make sanitize LEVELS=x86-64-v3
LEVELS ?= $(or $(shell /lib64/ld-linux-x86-64.so.2 --help 2> /dev/null | sed -n 's/^ *\(x86-64-v[234]\) .supported.*/\1/p'),generic)
sanitize: export OMP_NUM_THREADS = 2
sanitize: export HYPOTHESIS_PROFILE = quick
sanitize: export ASAN_OPTIONS = detect_leaks=0:allocator_may_return_null=1
sanitize: export TSAN_OPTIONS = ignore_noninstrumented_modules=1:die_after_fork=0:allocator_may_return_null=1
sanitize: .venv/test
	for s in address,undefined thread; do for level in $(LEVELS); do \
	  build=$(CURDIR)/build/$$s/$$level && \
	  cmake -S $(NATIVE) -B $$build -G Ninja -DSANITIZE=$$s -DMARCH=$$(echo $$level | sed 's/generic//') -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python > /dev/null && \
	  cmake --build $$build --target check _native && $$build/check && \
	  case $$s in thread) loaded=libtsan.so;; *) loaded='libasan.so libubsan.so';; esac && \
	  NATIVE_BUILD=$$build PYTHONPATH=$(CURDIR)/tests/sanitized LD_PRELOAD=$$(for l in $$loaded; do printf '%s:' $$(gcc -print-file-name=$$l); done) \
	    $(BIN)/python -m pytest -n 0 tests/kernels -k 'not fewer_threads' || exit 1; \
	done; done

build/%/build.ninja: $(NATIVE)/CMakeLists.txt
	cmake -S $(NATIVE) -B build/$* -G Ninja -DPython_EXECUTABLE=$$(command -v $(PYTHON))

# The package is installed and its kernels compiled once, extras are added to it: one stamp for each.
.venv/installed: pyproject.toml $(wildcard $(NATIVE)/*.cpp $(NATIVE)/*.hpp $(NATIVE)/CMakeLists.txt)
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tinygrad_rnn needs Python 3.11 or later")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'Installing tinygrad_rnn into .venv. Its C++ kernels take about a minute to compile; where there'
	@echo 'is no compiler, kernels in NumPy run in their place.'
	$(PIP) --editable .
	@touch $@

.venv/demo .venv/test .venv/docs .venv/test,cuda13: .venv/%: .venv/installed
	@echo 'Installing what [$*] needs: seconds to a minute, by the speed of downloads.'
	$(PIP) 'tinygrad_rnn[$*]'
	@touch $@

# An environment of its own, which has what .venv has, and CuPy: .venv stays without.
.venv/cupy/installed: .venv/test tests/cuda_on_cpu/requirements.txt
	@echo 'Installing CuPy and NVRTC, 150 MB: seconds to minutes, by the speed of downloads.'
	$(BIN)/python -m venv .venv/cupy
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  > $$(.venv/cupy/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/parent.pth
	.venv/cupy/bin/pip install --quiet --disable-pip-version-check --requirement tests/cuda_on_cpu/requirements.txt
	@touch $@

.venv/oracles: .venv/test tests/oracles.txt
	@echo 'Installing PyTorch, Keras and others, which the tests compare with: minutes, by the speed of downloads.'
	$(PIP) --requirement tests/oracles.txt
	@touch $@

clean:
	rm -rf .venv runs build dist
