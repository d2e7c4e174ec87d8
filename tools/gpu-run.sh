#!/usr/bin/env bash
# Everything that wants a real GPU, within ten minutes: builds for the GPU found, tests, sanitizers,
# benchmarks. Needs CMake, a C++20 compiler and a CUDA toolkit; no network, and no Node where
# tools/gpu-pack.sh has packed one. `tools/gpu-run.sh --help` says how; what a stage does is in
# tools/gpu-stages.sh.
#
# A stage that fails or runs out of its time takes nothing else along. After every stage OUT holds all
# that is known so far in two files, so that a run which is killed leaves what it had.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
[ -x .node/bin/node ] && PATH=$root/.node/bin:$PATH
for folder in "${CUDA_HOME:-/usr/local/cuda}/bin" /usr/local/cuda/bin; do
  [ -d "$folder" ] && PATH=$PATH:$folder
done
# Logs are read as plain text.
export PATH root NO_COLOR=1

# A machine that ends commands after 600 s must find this one ended.
readonly default_limit=570 emulated_limit=3600
# What the console says at the end of logs: a caller may see the last 12,000 characters of everything.
readonly tails_bytes=6000
# Of a log, as it is put into the archive: its beginning and its end.
readonly log_head_bytes=100000 log_tail_bytes=400000

usage() {
  cat <<USAGE
usage: tools/gpu-run.sh [OPTIONS] [OUT]

Builds, tests and measures on the GPU of this machine. OUT (default build/gpu-run) gets results.tar.gz (all
logs and figures) and gpu.md (what a reader wants to know). The exit status is 1 when a stage failed.

  --only STAGES    these stages, separated by commas ('test-*' is all that begin so); what they need is
                   built first unless it is there
  --limit SECONDS  of everything together (default $default_limit; emulated $emulated_limit)
  --emulated       smaller, with the emulated device in place of a GPU
  --list           the stages, one a line
  --help           this

Builds are kept in build/gpu-*: what was built of the same sources is not built again. Where everything
takes longer than a command may: --only 'facts,build-*,ptx-*,test-*,logits,bench-models', then the rest.

Stages:
$(list_stages)
USAGE
}

# ---- stages ----------------------------------------------------------------------------------------

stage_names=()
declare -A stage_limit stage_needs stage_build stage_what

# declare_stage NAME SECONDS NEEDS BUILD DESCRIPTION. NEEDS: words that missing() knows, or -. BUILD: the
# stage that builds what this one runs, or -.
declare_stage() {
  stage_names+=("$1")
  stage_limit[$1]=$2
  stage_needs[$1]=$3
  stage_build[$1]=$4
  stage_what[$1]=$5
}

list_stages() {
  local name
  for name in "${stage_names[@]}"; do printf '  %-14s %s\n' "$name" "${stage_what[$name]}"; done
}

. tools/gpu-stages.sh

only= emulated= limit= out=
fail_usage() {
  echo "$1 (tools/gpu-run.sh --help)" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case $1 in
    --only)
      only=${2:-}
      [ -n "$only" ] || fail_usage "--only wants stages"
      shift 2
      ;;
    --limit)
      limit=${2:-}
      case $limit in '' | *[!0-9]*) fail_usage "--limit wants seconds, found '$limit'" ;; esac
      shift 2
      ;;
    --emulated) emulated=1 && shift ;;
    --list) list_stages && exit 0 ;;
    --help | -h) usage && exit 0 ;;
    -*) fail_usage "unknown option $1" ;;
    *)
      [ -z "$out" ] || fail_usage "one folder for results, not two: $out and $1"
      out=$1 && shift
      ;;
  esac
done
[ -n "$limit" ] || limit=$([ -n "$emulated" ] && echo "$emulated_limit" || echo "$default_limit")
chosen=()
if [ -n "$only" ]; then
  # In the order in which they are declared, whatever the order they were named in.
  set -f
  IFS=, read -r -a wanted <<<"$only"
  for name in "${stage_names[@]}"; do
    for pattern in "${wanted[@]}"; do
      case $name in $pattern) chosen+=("$name") && break ;; esac
    done
  done
  for pattern in "${wanted[@]}"; do
    known=
    for name in "${stage_names[@]}"; do case $name in $pattern) known=1 ;; esac done
    [ -n "$known" ] || fail_usage "unknown stage '$pattern': expected some of $(echo "${stage_names[@]}" | tr ' ' ,)"
  done
  set +f
else
  chosen=("${stage_names[@]}")
fi
if ! command -v node >/dev/null; then
  echo "node was not found: pack one with tools/gpu-pack.sh, or put it on PATH" >&2
  exit 2
fi

out=${out:-build/gpu-run}
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/results.tar.gz "$out"/gpu.md
# Where stages write; only the two files above leave the machine.
work=$root/build/gpu-results
rm -rf "$work"
mkdir -p "$work"
: >"$work/stages.jsonl"
export out work emulated

find_device

# record NAME STATUS SECONDS NOTE
record() {
  local note
  note=$(printf '%s' "$4" | tr -cd ' -~' | tr -d '"\\' | cut -c1-110)
  printf '{"stage":"%s","status":"%s","seconds":%d,"note":"%s"}\n' "$1" "$2" "$3" "$note" \
    >>"$work/stages.jsonl"
  printf '%-14s %-8s %4d s  %s\n' "$1" "$2" "$3" "$note"
}

# Rewrites the two files of OUT; they are whole at any moment.
flush() {
  local packed=$root/build/gpu-packed log size
  node bench/gpu/report.mjs "$work" "$SECONDS" "$out/.gpu.md" >"$work/report.log" 2>&1 &&
    mv "$out/.gpu.md" "$out/gpu.md"
  rm -rf "$packed"
  mkdir -p "$packed/results"
  cp "$work"/* "$packed/results/" 2>/dev/null
  for log in "$packed"/results/*.log; do
    size=$(stat -c %s "$log")
    [ "$size" -le $((log_head_bytes + log_tail_bytes)) ] && continue
    {
      head -c "$log_head_bytes" "$work/${log##*/}"
      printf '\n[... %d bytes left out ...]\n' $((size - log_head_bytes - log_tail_bytes))
      tail -c "$log_tail_bytes" "$work/${log##*/}"
    } >"$log"
  done
  tar -czf "$out/.results.tar.gz" -C "$packed" results && mv "$out/.results.tar.gz" "$out/results.tar.gz"
}

# run_stage NAME: at most its limit, and no longer than the whole may take; output in NAME.log. `timeout`
# ends all of a stage's processes. Exit status 77 means skipped, the last line of the log saying why.
run_stage() {
  local name=$1 at=$SECONDS seconds=${stage_limit[$1]} left status reason
  reason=$(missing ${stage_needs[$name]})
  if [ -n "$reason" ]; then
    record "$name" skipped 0 "$reason"
    return 0
  fi
  local build=${stage_build[$name]}
  if [ "$build" != - ] && [ ! -f "build/gpu-${build#build-}/built" ]; then
    record "$name" skipped 0 "$build did not succeed"
    return 0
  fi
  [ -n "$emulated" ] && seconds=$((seconds * 20))
  # Limits are for a machine with a GPU, and cores to match; elsewhere it builds for one (gpu-pack.sh --build).
  [ "$together" -gt 1 ] || case $name in build-*) seconds=$((seconds * 10)) ;; esac
  left=$((limit - 5 - SECONDS))
  [ "$seconds" -gt "$left" ] && seconds=$left
  if [ "$seconds" -le 0 ]; then
    record "$name" skipped 0 "no time left of $limit s"
    return 0
  fi
  # In the background, so that a signal to this shell is not kept waiting.
  timeout --kill-after=3 "$seconds" bash -c \
    'set -uo pipefail; . tools/gpu-stages.sh; "$@"' "$name" "stage_${name//-/_}" \
    >"$work/$name.log" 2>&1 </dev/null &
  [ "$BASH_SUBSHELL" -eq 0 ] || trap 'kill $(jobs -p) 2>/dev/null; exit 143' TERM
  wait $!
  status=$?
  local words
  words=$(last_line "$work/$name.log")
  # With a GPU in the machine, a program that finds none has failed: a test that skips itself proves nothing.
  if [ "$status" -eq 0 ] && [ -n "$gpu" ] && grep -q '^no CUDA device' "$work/$name.log"; then
    status=3
  fi
  case $status in
    0) record "$name" ok $((SECONDS - at)) "$words" ;;
    77) record "$name" skipped $((SECONDS - at)) "$words" ;;
    124 | 137) record "$name" timeout $((SECONDS - at)) "ended after $seconds s" ;;
    *) record "$name" failed $((SECONDS - at)) "exit status $status: $words" ;;
  esac
  case $status in 0 | 77) return 0 ;; *) return 1 ;; esac
}

last_line() { grep -v '^[[:space:]]*$' "$1" 2>/dev/null | tail -n 1; }

# Ends of the logs of what failed, as much as fits.
print_tails() {
  local failed=() name each
  while IFS= read -r name; do failed+=("$name"); done < <(
    sed -n 's/^{"stage":"\([^"]*\)","status":"\(failed\|timeout\)".*/\1/p' "$work/stages.jsonl"
  )
  [ ${#failed[@]} -eq 0 ] && return 0
  each=$((tails_bytes / ${#failed[@]}))
  for name in "${failed[@]}"; do
    printf '\n---- %s.log, the end\n' "$name"
    tail -c "$each" "$work/$name.log" | LC_ALL=C tr -cd '\t\n -~'
  done
  return 1
}

finish() {
  trap - TERM INT
  flush
  node bench/gpu/report.mjs "$work" "$SECONDS" --brief 2>/dev/null
  printf '%s, %d s\n' "$out/results.tar.gz" "$SECONDS"
  print_tails
}

stopped() {
  trap '' TERM INT
  kill $(jobs -p) 2>/dev/null  # they would go on measuring
  wait
  local latest
  latest=$(ls -t "$work"/*.log | sed -n 1p)
  tail -n 40 "$latest" >"$work/stopped.log"
  record stopped failed "$SECONDS" "ended by a signal; ${latest##*/} was written last"
  finish
  exit 1
}
trap stopped TERM INT

# ---- run -------------------------------------------------------------------------------------------

# What the chosen stages run is built first, at once where there are cores for it.
builds=()
for name in "${chosen[@]}"; do
  case $name in build-*) build=$name ;; *) build=${stage_build[$name]} ;; esac
  [ "$build" = - ] && continue
  # Nothing to build for a stage that is skipped anyway.
  [ -n "$(missing ${stage_needs[$name]})" ] && [ "$build" != "$name" ] && continue
  case " ${builds[*]:-} " in *" $build "*) ;; *) builds+=("$build") ;; esac
done

together=1
[ "$(nproc)" -ge 8 ] && together=4
jobs=$(($(nproc) / together))
export jobs
checks=() timed=()
for name in "${chosen[@]}"; do
  case $name in
    build-* | facts) ;;
    bench-* | ncu) timed+=("$name") ;;
    *) checks+=("$name") ;;
  esac
done
case " ${chosen[*]} " in *" facts "*) run_stage facts ;; esac

# run_together STAGE...: a few at once.
run_together() {
  local running=0 name
  for name in "$@"; do
    run_stage "$name" &
    running=$((running + 1))
    if [ "$running" -ge "$together" ]; then
      wait -n
      running=$((running - 1))
      flush
    fi
  done
  while [ "$running" -gt 0 ]; do
    wait -n
    running=$((running - 1))
    flush
  done
}

run_together ${builds[@]+"${builds[@]}"}
run_together ${checks[@]+"${checks[@]}"}
# What is timed has the machine to itself.
for name in ${timed[@]+"${timed[@]}"}; do
  run_stage "$name"
  flush
done
finish || exit 1
