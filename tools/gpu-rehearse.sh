#!/usr/bin/env bash
# What a run on a GPU machine would meet, without one: packs, unpacks elsewhere, and runs tools/gpu-run.sh
# there with no node on PATH and the emulated device in place of the GPU.
#
#   tools/gpu-rehearse.sh            every stage
#   tools/gpu-rehearse.sh --quick    packed fast, the addon and the kernel tests as they are built here (by
#                                    test:emulated and test:kernels), without the microbenchmarks
#
# Then a stage is made to fail, a run is killed, and both must leave what they should. Ends with
# 'N passed, N failed'.
set -uo pipefail
cd "$(dirname "$0")/.."
quick=
case ${1:-} in
  --quick) quick=1 ;;
  '') ;;
  *)
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
readonly pack_limit_bytes=42000000
# What a caller may be shown of a run, and what may come back.
readonly console_limit=10000 files_limit=8 file_limit_bytes=16777216

folder=$(mktemp -d)
running=
cleanup() {
  [ -z "$running" ] || kill -9 -- "-$running" 2>/dev/null
  # `timeout` has put the planted stage into a group of its own.
  [ ! -f "$folder/planted-pid" ] || kill -9 "$(cat "$folder/planted-pid")" 2>/dev/null
  rm -rf "$folder"
}
trap cleanup EXIT
passed=0 failed=0

# check DESCRIPTION COMMAND...
check() {
  local what=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $what"
  fi
}
has() { [ -n "$(grep -F -- "$2" "$1")" ]; }
lacks() { ! has "$1" "$2"; }
at_most() { [ "$1" -le "$2" ]; }
equal() { [ "$1" = "$2" ]; }
archived() { tar -tzf "$1" >"$folder/listing" 2>/dev/null && has "$folder/listing" "$2"; }
status_of() { # stage
  sed -n "s/^{\"stage\":\"$1\",\"status\":\"\([^\"]*\)\".*/\1/p" "$tree/build/gpu-results/stages.jsonl"
}
stage_is() { equal "$(status_of "$1")" "$2"; }

# A PATH with everything but Node and its package managers.
mkdir "$folder/bin"
IFS=: read -r -a places <<<"$PATH"
for place in "${places[@]}"; do
  for program in "$place"/*; do
    case ${program##*/} in
      node | nodejs | npm | npx | corepack) continue ;;
    esac
    [ -x "$program" ] && [ ! -e "$folder/bin/${program##*/}" ] && ln -s "$program" "$folder/bin/"
  done
done
bare() { env -u NODE_PATH PATH="$folder/bin" "$@"; }

# ---- pack and unpack -------------------------------------------------------------------------------
archive=$folder/komt-gpu.tar.xz
tools/gpu-pack.sh ${quick:+--fast} "$archive" || exit 1
[ -n "$quick" ] ||
  check "the archive is at most 42 MB" at_most "$(stat -c %s "$archive")" $pack_limit_bytes
tar -xf "$archive" -C "$folder"
tree=$folder/komt-gpu
for file in .node/bin/node COMMIT tools/gpu-run.sh dist/index.js dist/kernels.js native/sources.json \
  cuda/gemm/gemv.cu cuda/emulator/CMakeLists.txt test/gpu/ptx/conformance.cu test/kernels/CMakeLists.txt \
  test/backend/test_decode.cpp bench/gpu/models.mjs bench/kernels/CMakeLists.txt \
  test/fixtures/goldens/index.json node_modules/vitest/vitest.mjs node_modules/node-api-headers/package.json; do
  check "the archive has $file" [ -e "$tree/$file" ]
done
for file in .git build docs; do
  check "the archive has no $file" [ ! -e "$tree/$file" ]
done
check "no node on the PATH" [ -z "$(bare bash -c 'command -v node')" ]

# ---- a whole run -----------------------------------------------------------------------------------
run() { # OUT OPTIONS...: console in OUT.txt
  local out=$1
  shift
  bare bash "$tree/tools/gpu-run.sh" "$@" "$out" >"$out.txt" 2>&1
}
stages=()
while read -r name _; do stages+=("$name"); done < <(bare bash "$tree/tools/gpu-run.sh" --list)
check "--list names the stages" has <(printf '%s\n' "${stages[@]}") bench-models
check "--help names the stages" has <(bare bash "$tree/tools/gpu-run.sh" --help) bench-models
bare bash "$tree/tools/gpu-run.sh" --only facts,nonsense "$folder/no" >"$folder/unknown" 2>&1
check "an unknown stage is refused" equal $? 2
check "... by name" has "$folder/unknown" nonsense

# take_over NAME FILE...: what this checkout has built counts as built there.
take_over() {
  local folder=$tree/build/gpu-$1
  shift
  mkdir -p "$folder" "$tree/build/Release"
  cp "$@" "$folder/" && (
    cd "$tree" && . tools/gpu-stages.sh && emulated=1 && find_device && build_stamp >"$folder/built"
  )
}

options=(--emulated)
if [ -n "$quick" ]; then
  chosen=facts,build-addon,build-ptx,ptx-emulated,ptx-device,test-gpu,logits,bench-models,bench-kernels,bench-launch,bench-torch,ncu,memcheck
  node tools/build-emulated.mjs >"$folder/build.log" 2>&1 || { tail -n 20 "$folder/build.log" && exit 1; }
  take_over addon build/Release/komt_emulated.node
  mv "$tree/build/gpu-addon/komt_emulated.node" "$tree/build/Release/"
  if [ -f build/kernels-fast/komt_kernel_tests ]; then
    cmake --build build/kernels-fast >"$folder/build.log" 2>&1 || { tail -n 20 "$folder/build.log" && exit 1; }
    take_over kernels build/kernels-fast/komt_kernel_tests build/kernels-fast/komt_backend_tests
    chosen+=,test-kernels,test-shapes,test-backend
  fi
  options+=(--only "$chosen")
  IFS=, read -r -a stages <<<"$chosen"
fi
started=$SECONDS
run "$folder/out" "${options[@]}"
check "the run succeeds" equal $? 0
cat "$folder/out.txt"
echo "the run took $((SECONDS - started)) s"
results=$folder/out/results.tar.gz
check "two files come back" equal "$(find "$folder/out" -type f | wc -l)" 2
check "... which is few enough" at_most 2 $files_limit
check "... and small enough" at_most "$(stat -c %s "$results")" $file_limit_bytes
check "the console fits" at_most "$(wc -c <"$folder/out.txt")" $console_limit
for name in "${stages[@]}"; do
  check "$name is on the console" has "$folder/out.txt" "$name "
  case $name in
    # What no emulator can answer says so; transformers may not be installed.
    bench-torch | ncu | memcheck | racecheck)
      check "$name says why not" has "$tree/build/gpu-results/stages.jsonl" "\"$name\",\"status\":\"skipped\",\"seconds\":0,\"note\":\"needs a real GPU\""
      ;;
    logits) check "logits ran, or says why not" [ "$(status_of logits)" = ok -o "$(status_of logits)" = skipped ] ;;
    *)
      check "$name ran" stage_is "$name" ok
      check "$name.log is in the archive" archived "$results" "results/$name.log"
      ;;
  esac
done
for file in facts.json stages.jsonl models.json kernels.json launch.json gpu.json; do
  check "$file is in the archive" archived "$results" "results/$file"
done
check "gpu.md has the model" has "$folder/out/gpu.md" '| tiny |'
check "gpu.md has the launch settings" has "$folder/out/gpu.md" 'dependent launch off'

# ---- again: nothing is built twice -----------------------------------------------------------------
run "$folder/again" --emulated --only build-ptx,ptx-device
check "a second run succeeds" equal $? 0
check "... and builds nothing" has "$folder/again.txt" 'built before'
check "... and runs what was asked for only" lacks "$folder/again.txt" bench-kernels

# ---- a stage that fails ----------------------------------------------------------------------------
cp "$tree/bench/kernels.mjs" "$folder/kernels.mjs"
cat >"$tree/bench/kernels.mjs" <<'PLANTED'
for (let i = 0; i < 2000; i++) console.log(`line ${i} of a long log`);
console.error('the planted failure');
process.exitCode = 5;
PLANTED
run "$folder/broken" --emulated --only facts,bench-kernels,ptx-emulated
check "a failed stage is exit status 1" equal $? 1
check "... is named with its status" has "$folder/broken.txt" 'exit status 5'
check "... its log's end is on the console" has <(tail -n 3 "$folder/broken.txt") 'the planted failure'
check "... all of it in the archive" archived "$folder/broken/results.tar.gz" results/bench-kernels.log
check "... with its first line" has <(tar -xzOf "$folder/broken/results.tar.gz" results/bench-kernels.log) 'line 0 of'
check "... the console fits" at_most "$(wc -c <"$folder/broken.txt")" $console_limit
check "... the others ran" stage_is ptx-emulated ok

# ---- a run that is ended ---------------------------------------------------------------------------
cat >"$tree/bench/kernels.mjs" <<'PLANTED'
import { writeFileSync } from 'node:fs';
writeFileSync(process.env.PLANTED_PID, String(process.pid));
console.log('still measuring');
setInterval(() => {}, 1000);
PLANTED
export PLANTED_PID=$folder/planted-pid
run "$folder/short" --emulated --limit 30 --only facts,bench-kernels
check "a stage without end is ended" equal $? 1
check "... as a time-out" stage_is bench-kernels timeout
check "... and its log kept" has <(tar -xzOf "$folder/short/results.tar.gz" results/bench-kernels.log) 'still measuring'

set -m
run "$folder/killed" --emulated --only facts,ptx-emulated,bench-kernels &
running=$!
set +m
for _ in $(seq 3000); do
  archived "$folder/killed/results.tar.gz" results/ptx-emulated.log && break
  sleep 0.1
done
kill -9 -- "-$running"
wait "$running" 2>/dev/null
running=
check "a killed run has left what it had" archived "$folder/killed/results.tar.gz" results/ptx-emulated.log
check "... and a summary" has "$folder/killed/gpu.md" ptx-emulated
cp "$folder/kernels.mjs" "$tree/bench/kernels.mjs"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
