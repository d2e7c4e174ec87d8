#include "harness.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

#include "device.h"

namespace komt::bench {

using kernels::ElementType;

namespace {

struct Benchmark {
  const char* name;
  void (*body)();
};

std::vector<Benchmark>& benchmarks() {
  static std::vector<Benchmark> all;
  return all;
}

bool failed = false;
int measured = 0;

struct Options {
  std::string_view filter;   // part of a benchmark's name
  std::string_view exclude;  // part of a benchmark's name, or nothing
  std::string_view only;     // part of a measurement's description
  bool tiny = false;
};
Options options;

int attribute(cudaDeviceAttr which) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, 0), "cudaDeviceGetAttribute");
  return value;
}

// A stream, two events and a graph that go away together.
class Recording {
 public:
  Recording() {
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaEventCreate(&start), "cudaEventCreate");
    check(cudaEventCreate(&stop), "cudaEventCreate");
  }
  ~Recording() {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    cudaStreamDestroy(stream);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  bool record(const Launch& launch, int launches) {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
    executable = nullptr;
    if (!check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture")) {
      return false;
    }
    cudaError_t error = cudaSuccess;
    for (int i = 0; i < launches && error == cudaSuccess; ++i) error = launch(i, stream);
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
    if (!check(error, "launch") || !check(ended, "capture")) return false;
    const bool ok = check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    cudaGraphDestroy(graph);
    return ok;
  }

  // Microseconds of one replay; 0 after an error.
  double replay() {
    cudaEventRecord(start, stream);
    cudaGraphLaunch(executable, stream);
    cudaEventRecord(stop, stream);
    if (!check(cudaEventSynchronize(stop), "execution")) return 0;
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start, stop), "cudaEventElapsedTime");
    return 1000.0 * double(milliseconds);
  }

  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr;
  cudaEvent_t stop = nullptr;
  cudaGraphExec_t executable = nullptr;
};

}  // namespace

bool register_benchmark(const char* name, void (*body)()) {
  benchmarks().push_back({name, body});
  return true;
}

bool check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return true;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  failed = true;
  return false;
}

bool tiny() { return options.tiny; }

bool wanted(const std::string& what) { return what.find(options.only) != std::string::npos; }

double microseconds(const Launch& launch) {
  const double replay_microseconds = tiny() ? 0 : 4000;
  const int replays = tiny() ? 3 : 15;
  Recording recording;
  if (!recording.record(launch, 4)) return 0;
  recording.replay();
  const double each = recording.replay() / 4;
  if (each <= 0) return 0;
  const int launches = std::clamp(int(replay_microseconds / each), tiny() ? 1 : 4, 1000);
  if (!recording.record(launch, launches)) return 0;
  recording.replay();
  std::vector<double> times;
  for (int i = 0; i < replays; ++i) times.push_back(recording.replay() / launches);
  std::nth_element(times.begin(), times.begin() + replays / 2, times.end());
  return times[replays / 2];
}

void report_bytes(const std::string& what, double us, double bytes) {
  if (us <= 0) return;
  ++measured;
  const double rate = bytes / us * 1e6;
  std::printf("%-52s %9.1f us %8.0f GB/s   %5.1f%% of the read ceiling\n", what.c_str(), us,
              rate * 1e-9, 100 * rate / read_bandwidth());
  std::fflush(stdout);
}

void report_flops(const std::string& what, double us, double flops) {
  if (us <= 0) return;
  ++measured;
  const double rate = flops / us * 1e6;
  std::printf("%-52s %9.1f us %8.1f TFLOP/s %5.1f%% of the mma.sync ceiling\n", what.c_str(), us,
              rate * 1e-12, 100 * rate / mma_throughput());
  std::fflush(stdout);
}

std::size_t l2_bytes() {
  static const std::size_t bytes =
      tiny() ? std::size_t{1} << 12 : std::size_t(attribute(cudaDevAttrL2CacheSize));
  return bytes;
}

std::vector<std::int32_t> ascending(int count, int step) {
  std::vector<std::int32_t> values(count);
  for (int i = 0; i < count; ++i) values[i] = i * step;
  return values;
}

double read_bandwidth() {
  static const double rate = [] {
    const std::size_t bytes = std::size_t{1} << (tiny() ? 18 : 30);
    void* data = detail::allocate_normal(bytes / 2, 1.0f, ElementType::f16);
    auto* sink = static_cast<unsigned*>(detail::allocate_normal(1, 1.0f, ElementType::f32));
    // The best of several grids: the ceiling must not be a bad choice of ours.
    double best = 0;
    for (const int blocks_per_sm : tiny() ? std::vector{1} : std::vector{2, 4, 8, 16}) {
      const int blocks = blocks_per_sm * attribute(cudaDevAttrMultiProcessorCount);
      const double us = microseconds(
          [&](int, cudaStream_t stream) { return read_stream(data, bytes, blocks, sink, stream); });
      if (us > 0) best = std::max(best, double(bytes) / us * 1e6);
    }
    detail::release(data);
    detail::release(sink);
    return best;
  }();
  return rate;
}

double mma_throughput() {
  static const double rate = [] {
    const int rounds = tiny() ? 2 : 4096;
    const int blocks = tiny() ? 2 : 4 * attribute(cudaDevAttrMultiProcessorCount);
    auto* sink = static_cast<float*>(detail::allocate_normal(1, 1.0f, ElementType::f32));
    const double us = microseconds(
        [&](int, cudaStream_t stream) { return mma_from_registers(rounds, blocks, sink, stream); });
    detail::release(sink);
    return us > 0 ? double(blocks) * 8 * rounds * 8 * 4096 / us * 1e6 : 0.0;
  }();
  return rate;
}

namespace detail {

void* allocate_normal(std::size_t count, float deviation, ElementType type) {
  void* data = nullptr;
  const std::size_t element_bytes = type == ElementType::f32 ? 4 : 2;
  if (!check(cudaMalloc(&data, count * element_bytes), "cudaMalloc")) return nullptr;
  check(fill_normal(data, count, deviation, type, nullptr), "fill");
  check(cudaDeviceSynchronize(), "fill");
  return data;
}

void* upload(const void* host, std::size_t bytes) {
  void* data = nullptr;
  if (!check(cudaMalloc(&data, bytes), "cudaMalloc")) return nullptr;
  check(cudaMemcpy(data, host, bytes, cudaMemcpyHostToDevice), "upload");
  // A copy from pageable memory returns when the host's bytes are staged, and what is timed runs in
  // a stream that doesn't wait for the default one.
  check(cudaDeviceSynchronize(), "upload");
  return data;
}

void release(void* p) { cudaFree(p); }

}  // namespace detail

namespace {

bool parse(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--tiny") {
      options.tiny = true;
    } else if (argument == "--exclude" && i + 1 < argc) {
      options.exclude = argv[++i];
    } else if (argument == "--only" && i + 1 < argc) {
      options.only = argv[++i];
    } else if (argument.substr(0, 1) != "-" && options.filter.empty()) {
      options.filter = argument;
    } else {
      std::fprintf(stderr,
                   "usage: %s [PART_OF_A_NAME] [--exclude PART_OF_A_NAME] [--only "
                   "PART_OF_A_DESCRIPTION] [--tiny]\n",
                   argv[0]);
      return false;
    }
  }
  return true;
}

int run() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: skipped\n");
    return 0;
  }
  cudaDeviceProp properties{};
  if (!check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties")) return 1;
  std::printf("%s, sm_%d%d, %d SMs: reads %.0f GB/s, mma.sync %.0f TFLOP/s\n", properties.name,
              properties.major, properties.minor, properties.multiProcessorCount,
              read_bandwidth() * 1e-9, mma_throughput() * 1e-12);
  std::sort(benchmarks().begin(), benchmarks().end(), [](const Benchmark& a, const Benchmark& b) {
    return std::string_view(a.name) < b.name;
  });
  for (const Benchmark& benchmark : benchmarks()) {
    const std::string_view name = benchmark.name;
    if (name.find(options.filter) == std::string_view::npos) continue;
    if (!options.exclude.empty() && name.find(options.exclude) != std::string_view::npos) continue;
    benchmark.body();
  }
  if (measured == 0) {
    std::printf("nothing is called '%.*s' '%.*s'\n", int(options.filter.size()),
                options.filter.data(), int(options.only.size()), options.only.data());
  }
  std::printf("%d measurements\n", measured);
  return failed || measured == 0 ? 1 : 0;
}

}  // namespace

}  // namespace komt::bench

int main(int argc, char** argv) { return komt::bench::parse(argc, argv) ? komt::bench::run() : 2; }
