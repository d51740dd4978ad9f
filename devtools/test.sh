#!/bin/bash
# Runs every test and ends with one line that sums them up. Needs root (the lab makes network namespaces).
# TEST_PARTS limits what runs, for example: TEST_PARTS="c asan" make test
set -u
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" # meson looks for ninja there
parts=${TEST_PARTS:-c asan fuzz python}
passed=0 failed=0

count_tap() { # counts TAP lines of a meson test log
	passed=$((passed + $(grep -c '^ok ' "$1")))
	failed=$((failed + $(grep -c '^not ok ' "$1")))
}

run_meson() { # build directory
	local log="$1/meson-logs/testlog.txt" status=0
	meson test -C "$1" --no-rebuild --print-errorlogs || status=$?
	count_tap "$log"
	# A test that died says no "not ok": count the run as one failure.
	if [ "$status" -ne 0 ] && ! grep -q '^not ok ' "$log"; then failed=$((failed + 1)); fi
}

for part in $parts; do
	echo "== $part"
	case $part in
	c) run_meson build/dev ;;
	asan)
		[ -f build/asan/build.ninja ] || meson setup build/asan -Dwerror=true -Dbuildtype=debugoptimized \
			-Db_sanitize=address,undefined -Dforwarder=disabled -Dredirect=disabled -Dpython=disabled >build/asan.log ||
			cat build/asan.log
		if ninja -C build/asan --quiet; then
			UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 run_meson build/asan
		else
			failed=$((failed + 1))
		fi ;;
	fuzz) # the short form of `make fuzz`: the same inputs each time
		fuzz_targets=$(find native/tests -name "fuzz_*.c" | wc -l)
		FUZZ_SECONDS=5 FUZZ_SEED=1 devtools/fuzz.sh >build/fuzz.log 2>&1 || tail -n 40 build/fuzz.log
		clean=$(grep -c ': clean' build/fuzz.log)
		passed=$((passed + clean)) failed=$((failed + fuzz_targets - clean)) ;;
	python)
		report=build/pytest.xml
		rm -f "$report"
		.venv/bin/python -m pytest --junitxml="$report" || status=$?
		counts=$(.venv/bin/python - "$report" <<-'PY'
			import sys
			import xml.etree.ElementTree as ET
			suite = ET.parse(sys.argv[1]).getroot().find("testsuite")
			bad = int(suite.get("failures")) + int(suite.get("errors"))
			print(int(suite.get("tests")) - bad - int(suite.get("skipped")), bad)
		PY
		) || counts="0 1"
		read -r ok bad <<<"$counts"
		passed=$((passed + ok)) failed=$((failed + bad)) ;;
	esac
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
