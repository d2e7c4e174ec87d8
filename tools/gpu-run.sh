#!/usr/bin/env bash
# Everything that wants a real GPU, within nine minutes: builds for the GPU found, tests, sanitizers,
# benchmarks. Needs CMake, a C++20 compiler and a CUDA toolkit; no network, and no Node where
# tools/gpu-pack.sh has packed one.
#
#   tools/gpu-run.sh [OUT]               results in OUT (default gpu-results): gpu.json, gpu.md, logs
#   tools/gpu-run.sh --rehearse [OUT]    without a GPU: every stage that needs none; models tiny, on the CPU
#
# A stage that fails or runs out of its time takes nothing else along. The summary is written in any
# case; the exit status is that of the worst stage.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
rehearse=
if [ "${1:-}" = --rehearse ]; then
  rehearse=1
  shift
fi
out=${1:-gpu-results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/*.log "$out"/*.json "$out"/*.jsonl "$out"/*.md

[ -x .node/bin/node ] && PATH=$root/.node/bin:$PATH
for folder in "${CUDA_HOME:-/usr/local/cuda}/bin" /usr/local/cuda/bin; do
  [ -d "$folder" ] && PATH=$PATH:$folder
done
export PATH
cores=$(nproc)
# A rehearsal has no GPU to hurry for.
total=540
[ -n "$rehearse" ] && total=3600
if ! command -v node >/dev/null; then
  echo "node was not found: pack one with tools/gpu-pack.sh, or put it on PATH" >&2
  exit 2
fi

gpu=
if [ -z "$rehearse" ] && nvidia-smi -L 2>/dev/null | grep -q GPU; then gpu=1; fi
[ -z "$gpu" ] || export KOMT_REQUIRE_GPU=1
[ -n "$gpu" ] || [ -n "$rehearse" ] || echo "no CUDA device: stages that need one are skipped"
nvcc=$(command -v nvcc || true)
archs=${KOMT_CUDA_ARCHS:-}
if [ -z "$archs" ] && [ -n "$gpu" ]; then
  archs=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sort -u | tr -d . |
    sed 's/^90$/90a/; s/$/-real/' | paste -sd ';')
fi
archs=${archs:-90a-real}
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)

# ---- stages ----------------------------------------------------------------------------------------

record() { # name status seconds note
  printf '{"stage":"%s","status":"%s","seconds":%d,"note":"%s"}\n' "$1" "$2" "$3" "$4" \
    >>"$out/stages.jsonl"
  printf '%-16s %-8s %4d s  %s\n' "$1" "$2" "$3" "$4"
}

skip() { record "$1" skipped 0 "$2"; }

# stage NAME LIMIT COMMAND...: at most LIMIT seconds, and no longer than the whole may take; output in
# NAME.log. A function runs in a shell of its own, so that it can be ended.
stage() {
  local name=$1 limit=$2 at=$SECONDS left status
  shift 2
  [ -n "$rehearse" ] && limit=$((limit * 8))
  left=$((total - 5 - SECONDS))
  [ "$limit" -gt "$left" ] && limit=$left
  if [ "$limit" -le 0 ]; then
    skip "$name" "no time left"
    return 1
  fi
  timeout --kill-after=5 "$limit" bash -c 'set -uo pipefail; "$@"' stage "$@" \
    >"$out/$name.log" 2>&1 </dev/null
  status=$?
  case $status in
    0) record "$name" ok $((SECONDS - at)) "$(tail -n 1 "$out/$name.log" | tr -cd ' -~' | tr -d '"\\' | cut -c1-120)" ;;
    124 | 137) record "$name" timeout $((SECONDS - at)) "ended after $limit s" ;;
    *) record "$name" failed $((SECONDS - at)) "exit status $status, see $name.log" ;;
  esac
  return $status
}

# With a GPU in the machine, a program that finds none has failed: a test that skips itself proves nothing.
gpu_stage() {
  if [ -z "$gpu" ]; then
    skip "$1" "no CUDA device: skipped"
    return
  fi
  local name=$1 limit=$2
  shift 2
  stage "$name" "$limit" found_device "$@"
}

found_device() {
  local log status
  log=$(mktemp)
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  if grep -q '^no CUDA device' "$log"; then status=3; fi
  rm -f "$log"
  return "$status"
}
export -f found_device

facts() {
  local json=$1
  {
    printf '{"date":"%s",' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf '"commit":"%s",' "$(cat COMMIT 2>/dev/null || git rev-parse --short HEAD 2>/dev/null || echo unknown)"
    printf '"gpu":"%s",' "$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)"
    printf '"gpus":%d,' "$(nvidia-smi -L 2>/dev/null | grep -c GPU)"
    printf '"driver":"%s",' "$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1)"
    printf '"gpu_memory":"%s",' "$(nvidia-smi --query-gpu=memory.total --format=csv,noheader 2>/dev/null | head -n 1)"
    printf '"clocks":"%s",' "$(nvidia-smi --query-gpu=clocks.max.sm,clocks.max.mem --format=csv,noheader 2>/dev/null | head -n 1)"
    printf '"toolkit":"%s",' "$(nvcc --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
    printf '"compiler":"%s",' "$(c++ --version 2>/dev/null | head -n 1 | tr -d '"')"
    printf '"cpu":"%s",' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
    printf '"cores":%d,' "$(nproc)"
    printf '"node":"%s",' "$(node --version)"
    printf '"system":"%s"}\n' "$(uname -sr)"
  } >"$json"
  echo "$(nvidia-smi -L 2>/dev/null | grep GPU || echo no CUDA device), $(nvcc --version 2>/dev/null | tail -n 1)"
}

build_cmake() { # source build-folder jobs options...
  local source=$1 folder=$2 jobs=$3
  shift 3
  cmake -S "$source" -B "$folder" "$@" && cmake --build "$folder" --parallel "$jobs"
}
export -f facts build_cmake

build_all() {
  local jobs=$cores headers cuda=ON device=ON
  # Several builds at once where there are cores for it: each has one long file at its end.
  [ "$cores" -ge 8 ] && jobs=$((cores / 2))
  [ -z "$nvcc" ] && cuda=OFF device=OFF
  headers=$(node -p "['node-api-headers', 'node-addon-api'].map((n) => require(n).include_dir).join(';')")
  local pids=()
  together() {
    if [ "$cores" -ge 8 ]; then
      "$@" &
      pids+=($!)
    else
      "$@"
    fi
  }
  together stage build-addon 200 build_cmake . build/gpu-addon "$jobs" "${generator[@]}" \
    -DKOMT_NODE_HEADERS="$headers" -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$root/build/Release" \
    -DKOMT_CUDA=$cuda -DKOMT_CUDA_ARCHS="$archs"
  together stage build-ptx 150 build_cmake test/gpu/ptx build/gpu-ptx "$jobs" "${generator[@]}" \
    -DKOMT_PTX_DEVICE=$device -DKOMT_CUDA_ARCHS="$archs"
  if [ -n "$nvcc" ]; then
    together stage build-kernels 200 build_cmake test/kernels build/gpu-kernels "$jobs" \
      "${generator[@]}" -DKOMT_KERNELS_ON_DEVICE=ON -DKOMT_CUDA_ARCHS="$archs"
    together stage build-bench 200 build_cmake bench/kernels build/gpu-bench "$jobs" \
      "${generator[@]}" -DKOMT_CUDA_ARCHS="$archs"
  else
    skip build-kernels "no CUDA toolkit: skipped"
    skip build-bench "no CUDA toolkit: skipped"
  fi
  [ ${#pids[@]} -eq 0 ] || wait "${pids[@]}"
}

ptx_emulated() {
  build/gpu-ptx/komt_ptx_emulated --write "$1" &&
    KOMT_EMULATOR_SEED=3 build/gpu-ptx/komt_ptx_emulated --compare "$1"
}
export -f ptx_emulated

vitest() { node node_modules/vitest/vitest.mjs run --reporter=default "$@"; }
export -f vitest

sanitize() { # tool filters...
  local tool=$1 filter
  shift
  for filter in "$@"; do
    compute-sanitizer --tool "$tool" --error-exitcode 1 \
      build/gpu-kernels/komt_kernel_tests --filter "$filter" || return 1
  done
}
export -f sanitize

stage facts 10 facts "$out/facts.json"
build_all

stage ptx-emulated 20 ptx_emulated "$out/ptx-emulated.txt"
gpu_stage ptx-device 20 build/gpu-ptx/komt_ptx_device --compare "$out/ptx-emulated.txt"
gpu_stage test-kernels 60 build/gpu-kernels/komt_kernel_tests
gpu_stage test-backend 30 build/gpu-kernels/komt_backend_tests
stage test-gpu 60 vitest test/gpu/goldens.test.ts test/kernels-js

# The models first, for they are what everything is for; then the kernels one by one.
if [ -n "$gpu" ]; then
  stage bench-models 180 node bench/gpu/models.mjs --json "$out/models.json" --seconds 165
else
  skip bench-models "no CUDA device: skipped"
  [ -n "$rehearse" ] &&
    stage rehearse-models 60 node bench/gpu/models.mjs --json "$out/models.json" --device cpu \
      --shapes 100m --layers 2 --prompts 16,32 --new-tokens 8
fi
gpu_stage bench-kernels 60 node bench/kernels.mjs --json "$out/kernels.json"
if [ -n "$gpu" ] && ! python3 -c 'import torch' 2>/dev/null; then
  skip bench-torch "python3 has no torch"
else
  gpu_stage bench-torch 45 sh -c 'python3 bench/gpu/torch_kernels.py >"$1"' torch "$out/torch.json"
fi
gpu_stage bench-native 60 build/gpu-bench/komt_kernel_bench
if [ -n "$gpu" ] && ! command -v compute-sanitizer >/dev/null; then
  skip memcheck "compute-sanitizer was not found"
  skip racecheck "compute-sanitizer was not found"
else
  # One kernel with cp.async and mma.sync, one that merges through tickets, one with a reduction.
  gpu_stage memcheck 45 sanitize memcheck linear_store decode_windows rms_norm_sizes
  gpu_stage racecheck 45 sanitize racecheck linear_store rms_norm_sizes
fi

node bench/gpu/report.mjs "$out" "$SECONDS"
grep -qE '"status":"(failed|timeout)"' "$out/stages.jsonl" && exit 1
exit 0
