#!/usr/bin/env bash
# tensorrt.sh ROOT TARGET: TensorRT from the file system ROOT into TARGET, whole or not at all.
#   TARGET/lib      libnvinfer, libnvonnxparser and their plugins, and the CUDA runtime, links as links
#   TARGET/python   the Python package `tensorrt`
# Without one of them TARGET stays empty, and the image has ONNX Runtime only: no error, since a PC has none.
set -euo pipefail
root=${1:?tensorrt.sh ROOT TARGET} target=${2:?tensorrt.sh ROOT TARGET}
shopt -s nullglob
mkdir -p "$target"
[ -z "$(ls -A "$target")" ] || { echo "tensorrt.sh: $target is not empty" >&2; exit 1; }

give_up() {
    echo "tensorrt.sh: no TensorRT with Python in $root ($*); engine=ort is what there is" >&2
    exit 0
}
top=${root%/}
folders=()
for folder in "$top"/usr/lib/*-linux-gnu "$top"/usr/lib "$top"/usr/local/lib "$top"/usr/lib/*-linux-gnu/nvidia \
    "$top"/usr/local/{tensorrt,TensorRT*}/lib "$top"/opt/tensorrt/lib \
    "$top"/usr/local/cuda*/targets/*/lib "$top"/usr/local/cuda*/lib64; do
    [ ! -d "$folder" ] || folders+=("$folder")
done
libraries() { # NAME, may have a *: every file and link libNAME.so* of those folders
    local folder file
    for folder in "${folders[@]}"; do
        # shellcheck disable=SC2231
        for file in "$folder"/lib$1.so*; do echo "$file"; done
    done
}
packages=("$top"/usr/{,local/}lib/python3*/{dist,site}-packages/tensorrt/__init__.py)
[ "${#packages[@]}" -gt 0 ] || give_up "no Python package tensorrt"
[ "${#packages[@]}" = 1 ] || echo "tensorrt.sh: several: ${packages[*]}; the last is taken" >&2
for needed in nvinfer nvonnxparser; do
    [ -n "$(libraries "$needed")" ] || give_up "no lib$needed.so"
done

part=$(mktemp -d "$target/.part-XXXXXX")
trap 'rm -rf "$part"' EXIT
mkdir "$part/lib" "$part/python"
# cudla: what TensorRT 10.3 of JetPack 6 is linked to
for name in nvinfer nvinfer_plugin nvonnxparser 'nvinfer_builder_resource*' nvinfer_vc_plugin cudart cudla; do
    while IFS= read -r file; do
        copy=$part/lib/${file##*/}
        [ -e "$copy" ] || [ -L "$copy" ] || cp -a "$file" "$copy"
    done < <(libraries "$name")
done
for link in "$part"/lib/*; do
    [ -e "$link" ] || { echo "tensorrt.sh: ${link##*/} -> $(readlink "$link") leads nowhere" >&2; exit 1; }
done
cp -aL "$(dirname "${packages[-1]}")" "$part/python/"
[ -n "$(libraries cudart)" ] ||
    echo "tensorrt.sh: no CUDA runtime (libcudart) in $root; the machine must bring it" >&2
mv "$part/lib" "$part/python" "$target/"
echo "tensorrt.sh: $(find "$target/lib" -type f | wc -l) libraries and ${packages[-1]} into $target"
