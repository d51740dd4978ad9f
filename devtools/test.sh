#!/bin/bash
# Runs every test and ends with one line that sums them up. Needs root (the lab makes network namespaces).
# TEST_PARTS limits what runs, for example: TEST_PARTS="c asan" make test
#
# Python's tests are three runs: computation, and what takes whole cores away from others, beside the parts in C; then labs beside all others. The
# last two mostly wait.
set -u
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" # meson looks for ninja there
parts=${TEST_PARTS:-c asan fuzz python}
computing="tests/api tests/dataplane/test_watchdog.py tests/model tests/oracle tests/unit" labs=tests/lab
passed=0 failed=0
declare -A beside=() # pids of pytest, by the run's name

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

python_tests() { # name of the run, what pytest is to collect; becomes pytest
	local report="build/pytest-$1.xml"
	shift
	rm -f "$report"
	exec .venv/bin/python -m pytest --junitxml="$report" "$@"
}

start_beside() { # the same, while something else runs
	python_tests "$@" >"build/pytest-$1.log" 2>&1 &
	beside[$1]=$!
}

count_pytest() { # name, exit status; a run that ended early, or without a report, is a failure
	local ok bad
	read -r ok bad < <(.venv/bin/python - "build/pytest-$1.xml" <<-'PY' || echo "0 1"
		import sys
		import xml.etree.ElementTree as ET
		suite = ET.parse(sys.argv[1]).getroot().find("testsuite")
		bad = int(suite.get("failures")) + int(suite.get("errors"))
		print(int(suite.get("tests")) - bad - int(suite.get("skipped")), bad)
	PY
	)
	if [ "$2" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
	passed=$((passed + ok)) failed=$((failed + bad))
}

finish_beside() { # name
	local status=0
	wait "${beside[$1]}" || status=$?
	unset "beside[$1]"
	echo "== python: $1"
	cat "build/pytest-$1.log"
	count_pytest "$1" "$status"
}

end_beside() { # as by Ctrl-C, so that they take their labs down
	local pid
	for pid in "${beside[@]}"; do kill -INT "$pid" 2>/dev/null; done
	for pid in "${beside[@]}"; do wait "$pid"; done
}
trap end_beside EXIT

mkdir -p build
# shellcheck disable=SC2086
case " $parts " in *" python "*) start_beside computing $computing ;; esac
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
		finish_beside computing
		start_beside labs $labs
		echo "== python: all others"
		status=0
		# shellcheck disable=SC2046,SC2086
		(python_tests others $(printf -- '--ignore=%s ' $computing $labs)) || status=$?
		count_pytest others "$status"
		finish_beside labs ;;
	esac
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
