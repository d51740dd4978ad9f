#!/bin/bash
# Runs each fuzz target (native/tests/fuzz_*.c) under ASan and UBSan: first over what once found something (tests/fuzz), then for
# FUZZ_SECONDS from seeds and what earlier runs found. FUZZ_TARGETS limits which, FUZZ_SEED makes a run repeatable.
# Ends with a line for each; fails when one finds something, and leaves the input in build/fuzz/found.
set -u
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" # meson looks for ninja there
seconds=${FUZZ_SECONDS:-600} build=build/fuzz bad=0

command -v clang >/dev/null || { echo "fuzz: clang is missing: run devtools/setup.sh"; exit 1; }
if [ ! -f $build/build.ninja ]; then
	CC=clang CXX=clang++ meson setup $build -Dwerror=true -Dbuildtype=debugoptimized -Db_sanitize=address,undefined \
		-Db_lundef=false -Dfuzz=true -Dtests=false -Dforwarder=disabled -Dredirect=disabled -Dpython=disabled >build/fuzz-setup.log ||
		{ cat build/fuzz-setup.log; exit 1; }
fi
ninja -C $build --quiet || exit 1
.venv/bin/python devtools/fuzz_seeds.py $build/seeds || exit 1

mkdir -p $build/found
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
all=$(for source in native/tests/fuzz_*.c; do basename "${source#*fuzz_}" .c; done)
for target in ${FUZZ_TARGETS:-$all}; do
	corpus=$build/corpus/$target seeds=$build/seeds/$target options=()
	# A repeatable run learns from nothing but the seeds, and keeps nothing.
	if [ -n "${FUZZ_SEED:-}" ]; then corpus=$(mktemp -d); options=("-seed=$FUZZ_SEED"); fi
	mkdir -p "$corpus"
	known=("tests/fuzz/$target"/*)
	[ -e "${known[0]}" ] || known=(tests/fuzz/README.md) # any bytes are an input
	echo "== fuzz_$target, $seconds s"
	if nice -n 19 $build/native/tests/fuzz_"$target" "${known[@]}" >$build/"$target".log 2>&1 &&
		nice -n 19 $build/native/tests/fuzz_"$target" -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 \
			-print_final_stats=1 -artifact_prefix=$build/found/"$target"- "${options[@]}" "$corpus" "$seeds" \
			>>$build/"$target".log 2>&1; then
		echo "fuzz_$target: clean, $(grep -oP 'number_of_executed_units: \K\d+' $build/"$target".log) inputs"
	else
		tail -n 40 $build/"$target".log
		bad=1
	fi
	if [ -n "${FUZZ_SEED:-}" ]; then rm -r "$corpus"; fi
done
exit $bad
