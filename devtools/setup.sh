#!/bin/sh
# Makes a checkout ready to use: Debian packages (as root), .venv, an editable install, the programs in .venv/bin.
# Quick when there is nothing to do. Safe to run again at any time. PACKAGES is a file with more packages.
set -eu
cd "$(dirname "$0")/.."

missing_packages() {
	cat devtools/packages.txt ${PACKAGES:+"$PACKAGES"} | sed 's/#.*//' | tr -s ' \t\n' '\n' | grep . | while read -r package; do
		dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
	done
}

missing=$(missing_packages | tr '\n' ' ')
if [ -n "$missing" ]; then
	if [ "$(id -u)" -ne 0 ]; then
		echo "setup: these Debian packages are missing; install them as root and run this again:" >&2
		echo "  apt-get install --no-install-recommends $missing" >&2
		exit 1
	fi
	echo "setup: installing $missing"
	# nginx serves in the lab's namespaces only: installing it must not open port 80 of this machine.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' > "$policy"
		chmod +x "$policy"
	fi
	apt-get update -q
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
	case " $missing " in *" nginx-light "*)
		[ ! -d /run/systemd/system ] || systemctl disable -q nginx || true ;;
	esac
fi

python=${PYTHON:-/usr/bin/python3}
[ -x .venv/bin/python ] || "$python" -m venv .venv

PATH="$PWD/.venv/bin:$PATH"
export PATH

# Reinstall when what the install depends on has changed since the last time.
stamp=.venv/.installed
wanted=$(cat pyproject.toml meson.options | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
	.venv/bin/pip install -q --disable-pip-version-check 'pip>=24' 'meson-python>=0.17' 'meson>=1.4' ninja 'cffi>=1.16'
	.venv/bin/pip install -q --disable-pip-version-check --no-build-isolation \
		-Cbuild-dir=build/dev -Csetup-args=-Dwerror=true -Csetup-args=-Dtests=true -e '.[dev]'
	echo "$wanted" > "$stamp"
fi
.venv/bin/ninja -C build/dev --quiet

# meson-python's editable install leaves programs out.
for program in forwarder/glb-forwarder redirect/glb-redirect; do
	[ ! -e "build/dev/native/$program" ] || ln -sf "../../build/dev/native/$program" .venv/bin/
done
