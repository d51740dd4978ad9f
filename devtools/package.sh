#!/bin/bash
# Makes dist/glb-redirect_VERSION_ARCH.deb for backends: one program that needs nothing there but the C library, its systemd units, its
# documentation. Nothing is installed or started by making it.
set -eu
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" # meson and ninja
build=build/package recipe=$PWD/devtools/package

# Libraries are linked in; the program is for every CPU of its architecture, since the kernel compiles the packet path.
if [ ! -f $build/build.ninja ]; then
	march=$(dpkg-architecture -qDEB_HOST_ARCH_CPU)
	case $march in amd64) march=x86-64 ;; arm64) march=armv8-a ;; esac
	meson setup $build -Dprefer_static=true -Dmarch="$march" -Dforwarder=disabled -Dpython=disabled -Dtests=false >build/package.log ||
		{ cat build/package.log; exit 1; }
fi
ninja -C $build --quiet native/redirect/glb-redirect >build/package.log || { cat build/package.log; exit 1; } # meson speaks when it sets up again

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/root
install -D -s -m 755 $build/native/redirect/glb-redirect "$root/usr/bin/glb-redirect"
for unit in docs/examples/glb-redirect*; do
	install -D -m 644 "$unit" "$root/lib/systemd/system/${unit##*/}"
done
sed -i 's|/usr/local/bin/|/usr/bin/|' "$root"/lib/systemd/system/*
doc=$root/usr/share/doc/glb-redirect
install -D -m 644 native/redirect/README.md "$doc/README.md"
install -D -m 644 docs/wire/gue.md "$doc/gue.md"
install -D -m 644 "$recipe/copyright" "$doc/copyright"
install -D -m 644 "$recipe/redirect-eth0.env" "$doc/examples/redirect-eth0.env"

# dpkg-shlibdeps reads the control file of a source package.
version=$(sed -n "s/^  version: '\(.*\)',$/\1/p" meson.build)
arch=$(dpkg-architecture -qDEB_HOST_ARCH)
mkdir "$stage/debian" "$root/DEBIAN"
printf 'Source: glbpy\n\nPackage: glb-redirect\nArchitecture: any\n' >"$stage/debian/control"
depends=$(cd "$stage" && dpkg-shlibdeps -O root/usr/bin/glb-redirect 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@DEPENDS@/$depends/" \
	-e "s/@SIZE@/$(du -ks --exclude=DEBIAN "$root" | cut -f1)/" "$recipe/control" >"$root/DEBIAN/control"
install -m 755 "$recipe/postinst" "$recipe/prerm" "$recipe/postrm" "$root/DEBIAN/"
(cd "$root" && find usr lib -type f -exec md5sum {} +) >"$root/DEBIAN/md5sums"

mkdir -p dist
package=dist/glb-redirect_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"
