# make book · make test · make bench · make clean · while writing: make chapter N=07 · make serve
# SCALE=quick|real|paper   DATA=folder of scans   TORCH_INDEX=address of an index of small torch wheels

PYTHON ?= python3.11
SCALE ?= quick
DATA ?=
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
# files of tests side by side, each with its fixtures made once
TWO := --numprocesses 2 --dist loadfile
export PIP_DISABLE_PIP_VERSION_CHECK := 1
N ?=
PORT ?= 8000

.PHONY: book chapter serve links outputs test test-long bench lint clean

book: $(VENV)/ready
	$(BIN)/python book/build.py --scale $(SCALE) $(if $(DATA),--data $(abspath $(DATA)))

chapter: $(VENV)/ready  ## run chapter N alone, build its page, check it
	$(BIN)/python book/build.py --chapter $(N)
	$(BIN)/python -m pytest -q tests/book -k "$(N)-"

serve: $(VENV)/ready  ## the site from stored outputs, built anew and reloaded in the browser at every save
	$(BIN)/python book/serve.py --port $(PORT)

links: $(VENV)/ready  ## do the addresses of others still answer? (the site's own links: make test)
	$(BIN)/python book/links.py _build/$(SCALE)/_build/html

outputs: $(VENV)/ready  ## run the chapters (or chapter N) at quick scale and keep their outputs in the notebooks
	$(BIN)/python book/build.py --in-place $(if $(N),--chapter $(N))

test: $(VENV)/ready
	$(BIN)/python -m pytest tests $(TWO)

test-long: $(VENV)/ready
	$(BIN)/python -m pytest tests $(TWO) -m "long or not long"

bench: $(VENV)/ready
	$(BIN)/python benchmarks/run.py

lint: $(VENV)/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

$(VENV)/ready: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install -q --index-url $(TORCH_INDEX) "$$(grep '^torch==' requirements.txt)")
	$(BIN)/python -m pip install -q -r requirements.txt
	$(BIN)/python -m pip install -q --no-deps -e .
	touch $@

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis benchmarks/last
