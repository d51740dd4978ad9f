# One entry point; CI runs what people run. `make help` lists the targets.
.PHONY: help setup demo test lint fuzz model bench bench-quick bench-compare bench-stages bench-operation lab lab-docker package fresh clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## install what is needed (as root), build, and put the programs into .venv/bin
	@devtools/setup.sh

demo: setup ## watch a real download survive a drain, in network namespaces (root)
	@.venv/bin/glb lab demo --driver $(or $(DRIVER),af_packet)

test: setup ## every test: C, Python, eBPF, API, and the lab (root)
	@devtools/test.sh

lint: setup ## style, types, import directions, sizes
	@devtools/lint.sh

fuzz: setup ## each fuzz target for FUZZ_SECONDS, default 600, under the sanitizers
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) devtools/fuzz.sh

model: setup ## connections through MODEL_WALKS random walks, default 100 of each kind, of 1000 steps
	@MODEL_WALKS=$(or $(MODEL_WALKS),100) MODEL_STEPS=$(or $(MODEL_STEPS),1000) .venv/bin/python -m pytest -q tests/model

bench: setup ## every figure of docs/performance.md, and into it (root, twenty minutes)
	@.venv/bin/python bench/everything.py --page
	@.venv/bin/python bench/operation.py --prefer --page

bench-packets: setup ## of these, what packets and tables cost
	@.venv/bin/python bench/everything.py --page

bench-quick: setup ## the same in two minutes, into bench/results/quick.json alone
	@.venv/bin/python bench/everything.py --quick

bench-compare: ## has a packet come to cost more instructions than in bench/baseline.json? (root)
	@PACKAGES=devtools/packages-bench.txt devtools/setup.sh
	@.venv/bin/python bench/compare.py

bench-stages: ## where the cycles of a packet go, into docs/performance.md (root)
	@PACKAGES=devtools/packages-bench.txt devtools/setup.sh
	@.venv/bin/python bench/stages.py --page

bench-operation: setup ## of these, reloads, idling, run models, hand-overs, punting
	@.venv/bin/python bench/operation.py --prefer --page

lab: setup ## bring the lab up and leave it running
	@.venv/bin/glb lab up --driver $(or $(DRIVER),af_packet)

lab-docker: setup ## the same lab on docker compose; checked, then taken down
	@docker/check.sh

package: setup ## dist/glb-redirect_VERSION_ARCH.deb, for backends: needs nothing there but the C library
	@devtools/package.sh

fresh: ## README's two commands on a fresh clone in a bare Debian 12 container
	@devtools/fresh.sh

clean: ## remove what was built
	rm -rf build .venv dist
