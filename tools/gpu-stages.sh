# The stages of tools/gpu-run.sh, which sources this, as does the shell of every stage. Stage `a-b` is the
# function stage_a_b. Exported by gpu-run.sh: root, work (where results go), emulated, jobs; by
# find_device: gpu, nvcc, archs, device.

# ---- the machine -----------------------------------------------------------------------------------

# Nothing here pipes into a reader that stops early: under pipefail the writer's SIGPIPE is a failure.
find_device() {
  local listed
  gpu=
  device=cuda
  listed=$(nvidia-smi -L 2>/dev/null || true)
  if [ -n "$emulated" ]; then
    device=cuda-emulated
  else
    case $listed in *GPU*) gpu=1 ;; esac
    [ -n "$gpu" ] || echo "no CUDA device: stages that need one are skipped (--emulated runs them without)"
  fi
  nvcc=$(command -v nvcc || true)
  archs=${KOMT_CUDA_ARCHS:-}
  if [ -z "$archs" ] && [ -n "$gpu" ]; then
    archs=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sort -u | tr -d . |
      sed 's/^90$/90a/; s/$/-real/' | paste -sd ';')
  fi
  archs=${archs:-90a-real}
  # Tests that skip themselves where a GPU is known to be have failed.
  [ -z "$gpu" ] || export KOMT_REQUIRE_GPU=1
  [ -z "$emulated" ] || export KOMT_TEST_DEVICE=cuda-emulated KOMT_EMULATOR_HOST_CHECK=0
  export gpu nvcc archs device
}

# missing WORD...: why a stage that needs these things can't run; nothing when it can.
#   device     a GPU, or the emulated one
#   gpu        a real one
#   nvcc       a CUDA toolkit, unless the device is emulated
#   COMMAND    any other word: a program
missing() {
  local word
  for word in "$@"; do
    case $word in
      -) ;;
      device) [ -n "$gpu$emulated" ] || { echo "no CUDA device" && return; } ;;
      gpu) [ -n "$gpu" ] || { echo "needs a real GPU" && return; } ;;
      nvcc) [ -n "$nvcc$emulated" ] || { echo "no CUDA toolkit" && return; } ;;
      *) command -v "$word" >/dev/null || { echo "$word was not found" && return; } ;;
    esac
  done
}

skip() {
  echo "$1"
  exit 77
}

# The python3 (or KOMT_BENCH_PYTHON) that has these modules, or the stage is skipped.
python_with() {
  python=${KOMT_BENCH_PYTHON:-python3}
  local module
  for module in "$@"; do
    "$python" -c "import $module" 2>/dev/null || skip "$python has no $module"
  done
}

# ---- builds ----------------------------------------------------------------------------------------

# What a build is made of: the sources' contents, for their times are those of unpacking, and for what.
build_stamp() {
  local hash
  hash=$(find native cuda cmake CMakeLists.txt package.json test/kernels test/backend test/native test/gpu/ptx \
    bench/kernels -type f ! -name '*.md' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
  if [ -n "$emulated" ]; then echo "$hash emulated"; else echo "$hash ${nvcc:+$archs}"; fi
}

# build NAME SOURCE OPTIONS...: with CMake, into build/gpu-NAME; not when it was built there of the same.
build() {
  local folder=build/gpu-$1 source=$2 stamp generator=()
  shift 2
  stamp=$(build_stamp)
  if [ "$(cat "$folder/built" 2>/dev/null)" = "$stamp" ]; then
    echo "built before"
    return 0
  fi
  rm -f "$folder/built"
  [ -f "$folder/CMakeCache.txt" ] || ! command -v ninja >/dev/null || generator=(-G Ninja)
  cmake -S "$source" -B "$folder" ${generator[@]+"${generator[@]}"} "$@" &&
    cmake --build "$folder" --parallel "${jobs:-$(nproc)}" &&
    echo "$stamp" >"$folder/built" && echo "built"
}

stage_build_addon() {
  local headers
  headers=$(node -p "['node-api-headers', 'node-addon-api'].map((n) => require(n).include_dir).join(';')") || return 1
  set -- -DKOMT_NODE_HEADERS="$headers" -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$root/build/Release"
  if [ -n "$emulated" ]; then
    set -- "$@" -DKOMT_EMULATED=ON
  elif [ -n "$nvcc" ]; then
    set -- "$@" -DKOMT_CUDA=ON -DKOMT_CUDA_ARCHS="$archs"
  else
    set -- "$@" -DKOMT_CUDA=OFF
  fi
  build addon . "$@"
}

stage_build_ptx() {
  if [ -n "$emulated" ] || [ -z "$nvcc" ]; then
    build ptx test/gpu/ptx -DKOMT_PTX_DEVICE=OFF
  else
    build ptx test/gpu/ptx -DKOMT_PTX_DEVICE=ON -DKOMT_CUDA_ARCHS="$archs"
  fi
}

on_device() { [ -n "$emulated" ] && echo OFF || echo ON; }

stage_build_kernels() {
  build kernels test/kernels -DKOMT_KERNELS_ON_DEVICE="$(on_device)" -DKOMT_CUDA_ARCHS="$archs"
}

stage_build_bench() {
  build bench bench/kernels -DKOMT_BENCH_ON_DEVICE="$(on_device)" -DKOMT_CUDA_ARCHS="$archs"
}

# ---- tests -----------------------------------------------------------------------------------------

stage_facts() {
  smi() { nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | sed -n 1p; }
  {
    printf '{"date":"%s",' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf '"commit":"%s",' "$(cat COMMIT 2>/dev/null || git rev-parse --short HEAD 2>/dev/null || echo unknown)"
    printf '"gpu":"%s",' "$(smi name)"
    printf '"gpus":%d,' "$(nvidia-smi -L 2>/dev/null | grep -c GPU)"
    printf '"emulated":%s,' "$([ -n "$emulated" ] && echo true || echo false)"
    printf '"driver":"%s",' "$(smi driver_version)"
    printf '"gpu_memory":"%s",' "$(smi memory.total)"
    printf '"clocks":"%s",' "$(smi clocks.max.sm,clocks.max.mem)"
    printf '"toolkit":"%s",' "$(nvcc --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
    printf '"compiler":"%s",' "$(c++ --version 2>/dev/null | sed -n 1p | tr -d '"')"
    printf '"cpu":"%s",' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed -n 1p)"
    printf '"cores":%d,' "$(nproc)"
    printf '"node":"%s",' "$(node --version)"
    printf '"system":"%s"}\n' "$(uname -sr)"
  } >"$work/facts.json"
  nvidia-smi 2>/dev/null || true
  local what="no GPU"
  [ -z "$gpu" ] || what=$(smi name)
  [ -z "$emulated" ] || what="the emulated device"
  echo "$what, $(nproc) cores, Node $(node --version)"
}

stage_ptx_emulated() {
  build/gpu-ptx/komt_ptx_emulated --write "$work/ptx-emulated.txt" &&
    KOMT_EMULATOR_SEED=3 build/gpu-ptx/komt_ptx_emulated --compare "$work/ptx-emulated.txt"
}

# Its own copy of the emulator's answers: the stage before may be running.
stage_ptx_device() {
  local program=komt_ptx_device
  [ -z "$emulated" ] || program=komt_ptx_emulated
  build/gpu-ptx/komt_ptx_emulated --write "$work/ptx-expected.txt" &&
    KOMT_EMULATOR_SEED=2 build/gpu-ptx/$program --compare "$work/ptx-expected.txt"
}

kernel_tests() { build/gpu-kernels/komt_kernel_tests "$@"; }

# The emulator runs all of them elsewhere (tools/test-kernels.mjs): here a few are enough.
stage_test_kernels() {
  if [ -n "$emulated" ]; then
    kernel_tests --seeds 1 --filter linear_store && kernel_tests --seeds 1 --filter rms_norm
  else
    kernel_tests --exclude model_shapes  # they have a stage of their own
  fi
}

stage_test_shapes() {
  kernel_tests ${emulated:+--seeds 1} --filter model_shapes
}

stage_test_backend() { build/gpu-kernels/komt_backend_tests ${emulated:+"the CPU's"}; }

vitest() { node node_modules/vitest/vitest.mjs run --reporter=default "$@"; }

stage_test_gpu() {
  if [ -n "$emulated" ]; then
    # test:emulated runs all of them.
    vitest test/gpu/goldens.test.ts -t 'llama-gqa-bf16 in float16' &&
      vitest test/kernels-js/rms-norm.test.ts
  else
    vitest test/gpu/goldens.test.ts test/kernels-js
  fi
}

stage_logits() {
  python_with torch transformers
  node bench/gpu/logits.mjs --device "$device" --json "$work/logits.json" ${emulated:+--tiny}
}

# ---- benchmarks ------------------------------------------------------------------------------------

stage_bench_models() {
  set -- --device "$device" --json "$work/models.json"
  if [ -n "$emulated" ]; then
    node bench/gpu/models.mjs "$@" --shapes tiny --prompts 16,32 --new-tokens 4
  else
    node bench/gpu/models.mjs "$@" --seconds 165
  fi
}

stage_bench_kernels() {
  node bench/kernels.mjs --device "$device" --json "$work/kernels.json" ${emulated:+--tiny}
}

# Without what tile.h's table is made from: a minute, and `komt_kernel_bench gemm_tiles` where it changes.
stage_bench_native() { build/gpu-bench/komt_kernel_bench --exclude gemm_tiles ${emulated:+--tiny}; }

stage_bench_launch() {
  node bench/gpu/launch.mjs --device "$device" --json "$work/launch.json" ${emulated:+--tiny}
}

stage_bench_torch() {
  python_with torch
  "$python" bench/gpu/torch_kernels.py >"$work/torch.json"
}

# The five kernels that most of a token's and a prompt's time is spent in.
stage_ncu() {
  profile decode-product gemv_kernel '13B gate+up m=1 ' &&
    profile decode-attention attention_decode_kernel 'decode 13B f16, 1 x 1 new of 4096' &&
    profile prompt-product 'gemm_kernel|wgmma_kernel' '13B gate+up m=2048 ' &&
    profile prompt-attention attention_prefill_kernel 'prefill 13B f16, 1 x 2048 new of 2048' &&
    profile batch-product gemm_kernel '13B gate+up m=16 '
}

# profile NAME KERNEL BENCHMARK: one launch, after some that warm up. The clocks are left as they are.
profile() {
  local log=$work/ncu-$1.txt
  ncu --clock-control none --kernel-name "regex:$2" --launch-skip 6 --launch-count 1 --kill yes \
    --section SpeedOfLight --section MemoryWorkloadAnalysis --section LaunchStats --section Occupancy \
    --section SchedulerStats --section WarpStateStats \
    build/gpu-bench/komt_kernel_bench --only "$3" >"$log" 2>&1
  if grep -qE 'ERR_NVGPUCTRPERM|LibraryNotLoaded|Failed to initialize the profiler' "$log"; then
    skip "ncu may not read this GPU's counters: $(grep -E 'ERR_NVGPUCTRPERM|LibraryNotLoaded|Failed to' "$log" | sed -n 1p)"
  fi
  if ! grep -q 'Duration' "$log"; then
    tail -n 20 "$log"
    echo "ncu profiled no $2"
    return 1
  fi
  printf '%s:' "$1"
  sed -nE 's/^ *(Duration|DRAM Throughput|Compute \(SM\) Throughput|Achieved Occupancy|Registers Per Thread) +([^ ]+) +([0-9.,]+).*/ \1 \3 \2;/p' "$log" | tr -d '\n'
  echo
}

# One kernel with cp.async and mma.sync, one that merges through tickets, one with a reduction.
sanitize() {
  local tool=$1 filter
  shift
  for filter in "$@"; do
    compute-sanitizer --tool "$tool" --error-exitcode 1 \
      build/gpu-kernels/komt_kernel_tests --filter "$filter" || return 1
  done
}
stage_memcheck() { sanitize memcheck linear_store decode_windows rms_norm_sizes; }
stage_racecheck() { sanitize racecheck linear_store rms_norm_sizes; }

# ---- their order: what is right first, then the models, for which everything is; the rest after that ---

if declare -F declare_stage >/dev/null; then
  declare_stage facts 10 - - "what machine this is"
  declare_stage build-addon 240 - - "the addon for this GPU"
  declare_stage build-ptx 150 - - "the PTX wrappers, for the emulator and for this GPU"
  declare_stage build-kernels 240 nvcc - "the tests of kernels, engine and CUDA backend"
  declare_stage build-bench 200 nvcc - "the microbenchmarks of kernels"
  declare_stage ptx-emulated 20 - build-ptx "the PTX wrappers on the emulator, two schedules"
  declare_stage ptx-device 20 device build-ptx "the PTX wrappers on the GPU, held against the emulator"
  declare_stage test-kernels 60 device build-kernels "every kernel against float64"
  declare_stage test-shapes 60 device build-kernels "the 7B's and 13B's shapes against float64"
  declare_stage test-backend 30 device build-kernels "engine and CUDA backend"
  declare_stage test-gpu 60 device build-addon "whole small models against transformers' answers; komt/kernels"
  declare_stage logits 90 device build-addon "a random Llama's logits against transformers on this GPU"
  declare_stage bench-models 170 device build-addon "7B and 13B models: time to first token, tokens/s, beside transformers"
  declare_stage bench-kernels 60 device build-addon "the kernels through komt/kernels"
  declare_stage bench-launch 60 device build-addon "a decode step: dependent launch on and off, shared-memory carve-outs"
  declare_stage bench-native 60 device build-bench "the kernels' microbenchmarks"
  declare_stage bench-torch 45 gpu - "cuBLAS and PyTorch's attention on the same shapes"
  declare_stage ncu 60 "gpu ncu" build-bench "hardware counters of the five hottest kernels"
  declare_stage memcheck 45 "gpu compute-sanitizer" build-kernels "compute-sanitizer: accesses"
  declare_stage racecheck 45 "gpu compute-sanitizer" build-kernels "compute-sanitizer: races in shared memory"
fi
