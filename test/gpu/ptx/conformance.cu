#include "conformance.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <stdexcept>

#include "common/element.cuh"
#include "common/launch.cuh"
#include "ptx/address.cuh"
#include "ptx/barrier.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/fence.cuh"
#include "ptx/grid_dependency.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/load.cuh"
#include "ptx/math.cuh"
#include "ptx/mma.cuh"
#include "ptx/stmatrix.cuh"
#include "ptx/store.cuh"
#include "ptx/timer.cuh"
#include "ptx/wgmma.cuh"

namespace komt::conformance {
namespace {

constexpr int kLanes = 32;
constexpr int kTileWords = 128;  // 32 rows of 16 bytes

// The rows that lanes name are a permutation, so that a lane's own row isn't what it gets.
__device__ int permuted_row(int lane) { return (lane * 5 + 3) % kLanes; }

template <int kMatrices, bool kTransposed>
__global__ void __launch_bounds__(kLanes) ldmatrix_kernel(const std::uint32_t* in, std::uint32_t* out) {
  KOMT_SHARED(std::uint32_t, tile, [kTileWords]);
  const int lane = threadIdx.x;
  for (int i = lane; i < kTileWords; i += kLanes) tile[i] = in[i];
  __syncthreads();
  const void* row = tile + 4 * permuted_row(lane);
  std::uint32_t r[kMatrices];
  if constexpr (kMatrices == 1) {
    kTransposed ? ptx::ldmatrix_x1_trans(r, row) : ptx::ldmatrix_x1(r, row);
  } else if constexpr (kMatrices == 2) {
    kTransposed ? ptx::ldmatrix_x2_trans(r, row) : ptx::ldmatrix_x2(r, row);
  } else {
    kTransposed ? ptx::ldmatrix_x4_trans(r, row) : ptx::ldmatrix_x4(r, row);
  }
  for (int i = 0; i < kMatrices; ++i) out[lane * kMatrices + i] = r[i];
}

template <int kMatrices, bool kTransposed>
__global__ void __launch_bounds__(kLanes) stmatrix_kernel(const std::uint32_t* in, std::uint32_t* out) {
  KOMT_SHARED(std::uint32_t, tile, [kTileWords]);
  const int lane = threadIdx.x;
  for (int i = lane; i < kTileWords; i += kLanes) tile[i] = 0;
  __syncthreads();
  void* row = tile + 4 * permuted_row(lane);
  std::uint32_t r[kMatrices];
  for (int i = 0; i < kMatrices; ++i) r[i] = in[lane * kMatrices + i];
  if constexpr (kMatrices == 2) {
    ptx::stmatrix_x2(row, r);
  } else if constexpr (kTransposed) {
    ptx::stmatrix_x4_trans(row, r);
  } else {
    ptx::stmatrix_x4(row, r);
  }
  __syncthreads();
  for (int i = lane; i < kTileWords; i += kLanes) out[i] = tile[i];
}

// in: a 4, b 2, d 4 words a lane.
template <class T>
__global__ void __launch_bounds__(kLanes) mma_kernel(const std::uint32_t* in, std::uint32_t* out) {
  const std::uint32_t* mine = in + threadIdx.x * 10;
  const std::uint32_t a[4] = {mine[0], mine[1], mine[2], mine[3]};
  const std::uint32_t b[2] = {mine[4], mine[5]};
  float d[4];
  for (int i = 0; i < 4; ++i) d[i] = __uint_as_float(mine[6 + i]);
  ptx::mma_m16n8k16<T>(d, a, b);
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = __float_as_uint(d[i]);
}

// in: d, kN / 2 words a thread, then A [64, 64] and B [kN, 64] in 16-bit elements, row-major. The products
// of the first and the third 16 columns, the first without what was in d.
constexpr int kWarpgroup = 4 * kLanes;
template <class T, int kN>
__global__ void __launch_bounds__(kWarpgroup) wgmma_kernel(const std::uint32_t* in, std::uint32_t* out) {
#if defined(KOMT_CUDA_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  KOMT_DYN_SHARED(shared);
  uint4* const tiles = reinterpret_cast<uint4*>(shared);
  const int thread = static_cast<int>(threadIdx.x);
  const auto* rows = reinterpret_cast<const uint4*>(in + kWarpgroup * kN / 2);
  for (int i = thread; i < (64 + kN) * 8; i += kWarpgroup) {
    const int row = i / 8;
    tiles[row * 8 + ((i % 8) ^ (row % 8))] = rows[i];
  }
  float d[kN / 8][4];
  for (int j = 0; j < kN / 8; ++j) {
    for (int e = 0; e < 4; ++e) d[j][e] = __uint_as_float(in[thread * (kN / 2) + j * 4 + e]);
  }
  ptx::fence_proxy_async();
  __syncthreads();
  const std::uint64_t a = ptx::wgmma_operand(tiles);
  const std::uint64_t b = ptx::wgmma_operand(tiles + 64 * 8);
  ptx::wgmma_fence();
  ptx::wgmma_m64k16<T, kN>(d, a, b, false);
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  for (int j = 0; j < kN / 8; ++j) d[j][3] += 1.0f;
  ptx::wgmma_fence();
  ptx::wgmma_m64k16<T, kN>(d, a + 4, b + 4, true);
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  for (int j = 0; j < kN / 8; ++j) {
    for (int e = 0; e < 4; ++e) out[thread * (kN / 2) + j * 4 + e] = __float_as_uint(d[j][e]);
  }
#endif
}

template <int kBytes>
__global__ void __launch_bounds__(kLanes) cp_async_kernel(const std::uint32_t* in, std::uint32_t* out) {
  KOMT_SHARED(std::uint32_t, tile, [2 * kTileWords]);
  const int lane = threadIdx.x;
  constexpr int kWords = kBytes / 4;
  for (int i = lane; i < 2 * kTileWords; i += kLanes) tile[i] = 0x5a5a5a5au;
  __syncthreads();
  ptx::cp_async<kBytes>(tile + 4 * lane, in + 4 * lane);
  ptx::cp_async_commit();
  ptx::cp_async_zfill<kBytes>(tile + kTileWords + 4 * lane, in + 4 * lane, lane % (kBytes + 1));
  ptx::cp_async_commit();
  ptx::cp_async_wait<1>();
  // The thread's own bytes of the first group are there, whatever the second does.
  for (int i = 0; i < kWords; ++i) out[lane * kWords + i] = tile[4 * lane + i];
  ptx::cp_async_wait<0>();
  __syncthreads();
  for (int i = lane; i < kTileWords; i += kLanes) out[kLanes * kWords + i] = tile[kTileWords + i];
}

__global__ void __launch_bounds__(2 * kLanes) barrier_kernel(const std::uint32_t* in, std::uint32_t* out) {
  KOMT_SHARED(std::uint32_t, tile, [2 * kLanes]);
  const int thread = threadIdx.x;
  if (thread < kLanes) {
    tile[thread] = in[thread];
    ptx::barrier_arrive(1, 2 * kLanes);
  } else {
    ptx::barrier_sync(1, 2 * kLanes);
    tile[thread] = tile[2 * kLanes - 1 - thread] * 3u;
  }
  ptx::barrier_sync(2, 2 * kLanes);
  out[thread] = tile[2 * kLanes - 1 - thread];
}

__global__ void __launch_bounds__(kLanes) address_kernel(const std::uint32_t*, std::uint32_t* out) {
  KOMT_SHARED(std::uint32_t, tile, [kLanes]);
  out[threadIdx.x] = ptx::shared_address(tile + threadIdx.x) - ptx::shared_address(tile);
}

__global__ void __launch_bounds__(kLanes) fence_kernel(const std::uint32_t* in, std::uint32_t* out) {
  const int lane = threadIdx.x;
  ptx::store_release_gpu(out + lane, in[lane]);
  ptx::store_release_system(out + kLanes + lane, in[kLanes + lane]);
  out[2 * kLanes + lane] = ptx::load_acquire_gpu(out + lane) ^ ptx::load_acquire_gpu(in + lane);
}

// out[1] is the counter: what lanes found there, added up, doesn't depend on their order.
__global__ void __launch_bounds__(kLanes) atomic_kernel(const std::uint32_t* in, std::uint32_t* out) {
  const std::uint32_t step = in[0] & 0xffffu;
  std::uint32_t found = ptx::atomic_add_acq_rel_gpu(out + 1, step);
  for (int mask = 16; mask > 0; mask /= 2) found += __shfl_xor_sync(0xffffffffu, found, mask);
  if (threadIdx.x == 0) out[0] = found;
}

__global__ void __launch_bounds__(kLanes) load_kernel(const std::uint32_t* in, std::uint32_t* out) {
  uint4 v = ptx::load_global_no_allocate(in + 4 * threadIdx.x);
  v.x ^= v.w;
  ptx::store_global_streaming(out + 4 * (kLanes - 1 - threadIdx.x), v);
}

__global__ void __launch_bounds__(kLanes) exp2_kernel(const std::uint32_t* in, std::uint32_t* out) {
  out[threadIdx.x] = __float_as_uint(ptx::exp2_approx(__uint_as_float(in[threadIdx.x])));
}

__global__ void __launch_bounds__(kLanes) first_grid_kernel(const std::uint32_t* in, std::uint32_t* out) {
  ptx::grid_dependency_wait();
  ptx::grid_dependency_launch();
  out[threadIdx.x] = in[threadIdx.x] * 7u;
}

__global__ void __launch_bounds__(kLanes) second_grid_kernel(std::uint32_t* out) {
  ptx::grid_dependency_wait();
  out[kLanes + threadIdx.x] = out[kLanes - 1 - threadIdx.x] + 1u;
}

// Three kernels, each allowed to start before the one in front has ended. The first takes its time; the
// second lets the third start at once and touches nothing of the first's; the third reads what the first
// wrote. It sees that only if a wait is for all that came before, and lasts until it has ended.
constexpr int kChainBlocks = 4;
constexpr std::uint64_t kSpinNanoseconds = 100000;

// Times are in nanoseconds, of block 0.
struct ChainTimes {
  std::uint64_t first_end;
  std::uint64_t second_begin;  // before its wait
  std::uint64_t second_waited;
  std::uint64_t third_begin;
  std::uint64_t third_waited;
};

__global__ void __launch_bounds__(kLanes)
    slow_grid_kernel(const std::uint32_t* in, std::uint32_t* data, ChainTimes* times) {
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  if (threadIdx.x == 0) {
    const std::uint64_t begin = ptx::global_timer();
    while (ptx::global_timer() - begin < kSpinNanoseconds) {
    }
  }
  __syncwarp();
  const unsigned at = blockIdx.x * kLanes + threadIdx.x;
  data[at] = in[at] * 3u;
  if (at == 0) times->first_end = ptx::global_timer();
}

__global__ void __launch_bounds__(kLanes) idle_grid_kernel(ChainTimes* times) {
  ptx::grid_dependency_launch();
  const std::uint64_t begin = ptx::global_timer();
  ptx::grid_dependency_wait();
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    times->second_begin = begin;
    times->second_waited = ptx::global_timer();
  }
}

__global__ void __launch_bounds__(kLanes)
    reading_grid_kernel(const std::uint32_t* data, std::uint32_t* out, ChainTimes* times) {
  const std::uint64_t begin = ptx::global_timer();
  ptx::grid_dependency_wait();
  const unsigned at = blockIdx.x * kLanes + threadIdx.x;
  out[at] = data[at] + 1u;
  if (at == 0) {
    times->third_begin = begin;
    times->third_waited = ptx::global_timer();
  }
}

void check(cudaError_t error, const std::string& what) {
  if (error != cudaSuccess) throw std::runtime_error(what + ": " + cudaGetErrorString(error));
}

// std::bit_cast, which nvcc's C++17 has not.
template <class To, class From>
To bits_of(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

class Words {
 public:
  explicit Words(const std::vector<std::uint32_t>& values) : count_(values.size()) {
    check(cudaMalloc(&data_, count_ * 4), "cudaMalloc");
    check(cudaMemcpy(data_, values.data(), count_ * 4, cudaMemcpyHostToDevice), "upload");
  }
  ~Words() { (void)cudaFree(data_); }
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;

  std::uint32_t* data() { return static_cast<std::uint32_t*>(data_); }
  std::vector<std::uint32_t> host() const {
    std::vector<std::uint32_t> values(count_);
    check(cudaMemcpy(values.data(), data_, count_ * 4, cudaMemcpyDeviceToHost), "download");
    return values;
  }

 private:
  std::size_t count_;
  void* data_ = nullptr;
};

class Runner {
 public:
  explicit Runner(std::uint64_t seed) : engine_(seed) {}

  std::vector<std::uint32_t> random_words(std::size_t count) {
    std::vector<std::uint32_t> values(count);
    for (std::uint32_t& v : values) v = std::uint32_t(engine_());
    return values;
  }

  float normal() {
    // Box-Muller: std::normal_distribution differs between standard libraries.
    const double u = (double(engine_() >> 11) + 0.5) * 0x1p-53;
    const double v = double(engine_() >> 11) * 0x1p-53;
    return float(std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v));
  }

  template <class Launch>
  void run(const char* wrapper, Match match, const std::vector<std::uint32_t>& input,
           std::size_t output_words, Launch&& launches) {
    Words in(input);
    Words out(std::vector<std::uint32_t>(output_words, 0));
    check(launches(in.data(), out.data()), std::string("launching ") + wrapper);
    check(cudaDeviceSynchronize(), std::string("running ") + wrapper);
    answers.push_back({wrapper, match, out.host()});
  }

  template <class Kernel>
  void one_block(const char* wrapper, Match match, Kernel kernel, int threads,
                 const std::vector<std::uint32_t>& input, std::size_t output_words) {
    run(wrapper, match, input, output_words, [&](std::uint32_t* in, std::uint32_t* out) {
      return launch(kernel, {.grid = 1, .block = dim3(unsigned(threads))}, in, out);
    });
  }

  std::vector<Answer> answers;

 private:
  std::mt19937_64 engine_;
};

// Whether the device, and what this program was compiled for, have wgmma.
template <class T, int kN>
bool has_wgmma() {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(wgmma_kernel<T, kN>)),
        "cudaFuncGetAttributes");
  return attributes.numRegs >= kN / 2;
}

template <class T, int kN>
void run_wgmma(Runner& runner, const char* wrapper) {
  constexpr std::size_t kAccumulators = std::size_t{kWarpgroup} * kN / 2;
  std::vector<std::uint32_t> words;
  for (std::size_t i = 0; i < kAccumulators; ++i) words.push_back(bits_of<std::uint32_t>(runner.normal()));
  for (int i = 0; i < (64 + kN) * 32; ++i) {
    const T low = from_float<T>(runner.normal());
    const T high = from_float<T>(runner.normal());
    words.push_back(std::uint32_t(bits_of<std::uint16_t>(low)) |
                    std::uint32_t(bits_of<std::uint16_t>(high)) << 16);
  }
  if (!has_wgmma<T, kN>()) {
    runner.answers.push_back({wrapper, Match::products, {}});
    return;
  }
  runner.run(wrapper, Match::products, words, kAccumulators, [&](std::uint32_t* in, std::uint32_t* out) {
    return launch(wgmma_kernel<T, kN>,
                  {.grid = 1, .block = kWarpgroup, .dynamic_shared_bytes = (64 + kN) * 128}, in, out);
  });
}

template <class T>
std::vector<std::uint32_t> mma_fragments(Runner& runner) {
  std::vector<std::uint32_t> words;
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 6; ++i) {
      const T low = from_float<T>(runner.normal());
      const T high = from_float<T>(runner.normal());
      words.push_back(std::uint32_t(bits_of<std::uint16_t>(low)) |
                      std::uint32_t(bits_of<std::uint16_t>(high)) << 16);
    }
    for (int i = 0; i < 4; ++i) words.push_back(bits_of<std::uint32_t>(runner.normal()));
  }
  return words;
}

// Words: what the third kernel read, then whether both waits lasted until the first kernel had ended.
// Whether the kernels overlapped at all is the device's choice: printed, not compared.
void run_chain(Runner& r) {
  constexpr int kWords = kChainBlocks * kLanes;
  Words in(r.random_words(kWords));
  Words data(std::vector<std::uint32_t>(kWords, 0));
  Words out(std::vector<std::uint32_t>(kWords, 0));
  Words times_words(std::vector<std::uint32_t>(sizeof(ChainTimes) / 4, 0));
  auto* const times = reinterpret_cast<ChainTimes*>(times_words.data());
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  const LaunchConfig config{.grid = kChainBlocks,
                            .block = kLanes,
                            .stream = stream,
                            .programmatic_dependent_launch = true};
  check(launch(slow_grid_kernel, config, in.data(), data.data(), times), "launching the first of three");
  check(launch(idle_grid_kernel, config, times), "launching the second of three");
  check(launch(reading_grid_kernel, config, data.data(), out.data(), times),
        "launching the third of three");
  check(cudaStreamSynchronize(stream), "running three kernels");
  check(cudaStreamDestroy(stream), "cudaStreamDestroy");
  ChainTimes seen{};
  const std::vector<std::uint32_t> words = times_words.host();
  std::memcpy(&seen, words.data(), sizeof(seen));
  std::vector<std::uint32_t> answer = out.host();
  answer.push_back(seen.second_waited >= seen.first_end);
  answer.push_back(seen.third_waited >= seen.first_end);
  r.answers.push_back({"three kernels, the first slow", Match::bits, answer});
  const auto early = [&](std::uint64_t begin) {
    return (double(seen.first_end) - double(begin)) * 1e-3;
  };
  std::printf("dependent launch: kernels 2 and 3 began %.1f and %.1f us before kernel 1 ended\n",
              early(seen.second_begin), early(seen.third_begin));
}

}  // namespace

std::vector<Answer> run_all(std::uint64_t seed) {
  Runner r(seed);
  const auto tile = [&] { return r.random_words(kTileWords); };
  r.one_block("ldmatrix_x1", Match::bits, ldmatrix_kernel<1, false>, kLanes, tile(), 32);
  r.one_block("ldmatrix_x1_trans", Match::bits, ldmatrix_kernel<1, true>, kLanes, tile(), 32);
  r.one_block("ldmatrix_x2", Match::bits, ldmatrix_kernel<2, false>, kLanes, tile(), 64);
  r.one_block("ldmatrix_x2_trans", Match::bits, ldmatrix_kernel<2, true>, kLanes, tile(), 64);
  r.one_block("ldmatrix_x4", Match::bits, ldmatrix_kernel<4, false>, kLanes, tile(), 128);
  r.one_block("ldmatrix_x4_trans", Match::bits, ldmatrix_kernel<4, true>, kLanes, tile(), 128);
  r.one_block("stmatrix_x2", Match::bits, stmatrix_kernel<2, false>, kLanes, tile(), kTileWords);
  r.one_block("stmatrix_x4", Match::bits, stmatrix_kernel<4, false>, kLanes, tile(), kTileWords);
  r.one_block("stmatrix_x4_trans", Match::bits, stmatrix_kernel<4, true>, kLanes, tile(), kTileWords);
  r.one_block("mma_m16n8k16_f16", Match::products, mma_kernel<half>, kLanes,
              mma_fragments<half>(r), 128);
  r.one_block("mma_m16n8k16_bf16", Match::products, mma_kernel<bfloat16>, kLanes,
              mma_fragments<bfloat16>(r), 128);
  run_wgmma<half, 64>(r, "wgmma_m64k16<half, 64>");
  run_wgmma<half, 128>(r, "wgmma_m64k16<half, 128>");
  run_wgmma<half, 160>(r, "wgmma_m64k16<half, 160>");
  run_wgmma<half, 256>(r, "wgmma_m64k16<half, 256>");
  run_wgmma<bfloat16, 64>(r, "wgmma_m64k16<bfloat16, 64>");
  run_wgmma<bfloat16, 256>(r, "wgmma_m64k16<bfloat16, 256>");
  r.one_block("cp_async<4>, cp_async_zfill<4>", Match::bits, cp_async_kernel<4>, kLanes, tile(), 160);
  r.one_block("cp_async<8>, cp_async_zfill<8>", Match::bits, cp_async_kernel<8>, kLanes, tile(), 192);
  r.one_block("cp_async<16>, cp_async_zfill<16>", Match::bits, cp_async_kernel<16>, kLanes, tile(), 256);
  r.one_block("barrier_arrive, barrier_sync", Match::bits, barrier_kernel, 64, tile(), 64);
  r.one_block("shared_address", Match::bits, address_kernel, kLanes, tile(), 32);
  r.one_block("load_acquire_gpu, store_release_gpu, store_release_system", Match::bits, fence_kernel,
              kLanes, tile(), 96);
  r.one_block("atomic_add_acq_rel_gpu", Match::bits, atomic_kernel, kLanes, tile(), 2);
  r.one_block("load_global_no_allocate, store_global_streaming", Match::bits, load_kernel, kLanes,
              tile(), 128);
  std::vector<std::uint32_t> exponents;
  for (int i = 0; i < kLanes; ++i) {
    exponents.push_back(bits_of<std::uint32_t>(i == 0 ? -INFINITY : 40 * r.normal()));
  }
  r.one_block("exp2_approx", Match::approximate, exp2_kernel, kLanes, exponents, 32);
  r.run("grid_dependency_wait, grid_dependency_launch", Match::bits, tile(), 64,
        [](std::uint32_t* in, std::uint32_t* out) {
          const cudaError_t first = launch(
              first_grid_kernel,
              {.grid = 1, .block = kLanes, .programmatic_dependent_launch = true}, in, out);
          if (first != cudaSuccess) return first;
          return launch(second_grid_kernel,
                        {.grid = 1, .block = kLanes, .programmatic_dependent_launch = true}, out);
        });
  run_chain(r);
  return r.answers;
}

}  // namespace komt::conformance
