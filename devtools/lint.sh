#!/bin/bash
# Style, types, import directions, file sizes, commit subjects. Says all that is wrong, then fails.
set -u
cd "$(dirname "$0")/.."
bad=0
step() { echo "-- $*"; "$@" || bad=1; }

step .venv/bin/ruff check glbpy api tests native/ffi devtools bench
step .venv/bin/mypy
# Without the site's .pth files: meson-python's editable loader hides the sources, and nothing would be checked.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
step env PYTHONPATH=".:$site" .venv/bin/python -S .venv/bin/lint-imports --no-cache

check_sizes() { # C files about 500 lines at most
	local long
	long=$(git ls-files 'native/*.c' 'native/*.h' | xargs -r wc -l | awk '$2 != "total" && $1 > 560')
	[ -z "$long" ] || { echo "these C files want to be two:"; echo "$long"; return 1; }
}
step check_sizes

check_test_names() { # pytest imports the modules of these directories by their bare names
	local twice
	twice=$(git ls-files 'tests/*.py' | grep -v '/conftest.py$' | while read -r file; do
		[ -e "$(dirname "$file")/__init__.py" ] || basename "$file"
	done | sort | uniq -d)
	[ -z "$twice" ] || { echo "two test modules of one name: $twice"; return 1; }
}
step check_test_names

check_subjects() { # area: lowercase imperative; about 60 characters, 72 at most
	local wrong
	wrong=$(git log --format=%s --no-merges | grep -vP '^(?=.{1,72}$)[a-z0-9/_, -]+: [^A-Z ]' || true)
	[ -z "$wrong" ] || { echo "commit subjects not like 'area: lowercase imperative':"; echo "$wrong"; return 1; }
}
step check_subjects

[ "$bad" -eq 0 ] && echo "lint: clean"
exit "$bad"
