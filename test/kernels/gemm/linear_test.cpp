// linear(): every epilogue, both element types, through whichever kernel it chooses.
#include "gemm/linear.h"

#include <map>
#include <tuple>

#include "gemm/problem.h"
#include "harness.h"

namespace komt::test {
namespace {

using kernels::ElementType;
using kernels::linear;
using kernels::LinearArgs;
using kernels::LinearEpilogue;

// One row goes to the one-row kernel, 2 to 16, 17 to 32 and more to other tiles. Columns: odd, even
// and neither a multiple of 8; k below, at and above the one-row kernel's batch of 1024.
const std::vector<Shape> kShapes = {{1, 1, 8},     {1, 2, 1024}, {1, 33, 1032},
                                    {1, 40, 2056}, {2, 31, 136}, {15, 32, 128},
                                    {16, 33, 264}, {17, 64, 72}, {33, 66, 200}};
// Gate and up need an even number of columns.
Shape even(Shape s) { return {s.m, s.n + s.n % 2, s.k}; }

template <class T, class Out>
void test_store(bool with_bias) {
  for (const Shape s : kShapes) {
    Case c("%s -> %s m=%d n=%d k=%d bias=%d", type_name<T>(), type_name<Out>(), s.m, s.n, s.k,
           with_bias);
    const Product<T> product(s, 1, with_bias);
    DeviceBuffer<T> input(product.input), weight(product.weight);
    DeviceBuffer<float> bias(product.bias);
    DeviceBuffer<Out> output(std::size_t(s.m) * s.n);
    LinearArgs args = product.args(input, weight, bias);
    args.output = output.data();
    args.output_type = element_type<Out>();
    if (!c.ran(linear(args, nullptr))) continue;
    c.close("output", output.host(), product.result(), product_tolerance<Out>(s.k), s.n);
  }
}

KOMT_KERNEL_TEST(linear_store) {
  test_store<half, half>(false);
  test_store<half, float>(true);
  test_store<bfloat16, bfloat16>(true);
  test_store<bfloat16, float>(false);
}

template <class T>
void test_residual() {
  for (const Shape s : kShapes) {
    Case c("%s m=%d n=%d k=%d", type_name<T>(), s.m, s.n, s.k);
    const Product<T> product(s, 2, s.n % 3 == 0);
    DeviceBuffer<T> input(product.input), weight(product.weight);
    DeviceBuffer<float> bias(product.bias);
    const auto residual = Random(3).normal<float>(std::size_t(s.m) * s.n, 4.0);
    DeviceBuffer<float> output(residual);
    LinearArgs args = product.args(input, weight, bias);
    args.epilogue = LinearEpilogue::residual_add;
    args.output = output.data();
    args.output_type = ElementType::f32;
    if (!c.ran(linear(args, nullptr))) continue;
    std::vector<double> expected = product.result();
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += double(residual[i]);
    c.close("output", output.host(), expected, product_tolerance<float>(s.k), s.n);
  }
}

KOMT_KERNEL_TEST(linear_residual_add) {
  test_residual<half>();
  test_residual<bfloat16>();
}

template <class T>
void test_silu_gate() {
  for (const Shape given : kShapes) {
    const Shape s = even(given);
    Case c("%s m=%d n=%d k=%d", type_name<T>(), s.m, s.n, s.k);
    const Product<T> product(s, 4, s.n % 4 == 0);
    DeviceBuffer<T> input(product.input), weight(product.weight);
    DeviceBuffer<float> bias(product.bias);
    DeviceBuffer<T> output(std::size_t(s.m) * s.n / 2);
    LinearArgs args = product.args(input, weight, bias);
    args.epilogue = LinearEpilogue::silu_gate;
    args.output = output.data();
    if (!c.ran(linear(args, nullptr))) continue;
    Tolerance tolerance = product_tolerance<T>(s.k);
    tolerance.absolute *= 8;  // each factor's error is multiplied by the other, a few units at most
    c.close("output", output.host(), gated(product.result()), tolerance, s.n / 2);
  }
}

KOMT_KERNEL_TEST(linear_silu_gate) {
  test_silu_gate<half>();
  test_silu_gate<bfloat16>();
}

template <class T>
void test_rope_append(int rows, Heads heads, int k, bool with_bias) {
  Case c("%s m=%d heads=%d/%d dim=%d k=%d bias=%d", type_name<T>(), rows, heads.query,
         heads.key_value, heads.dim, k, with_bias);
  const Product<T> product({rows, heads.columns(), k}, 5, with_bias);
  const RopeProblem<T> rope(rows, heads, 6);
  typename RopeProblem<T>::Device device(rope);
  DeviceBuffer<T> input(product.input), weight(product.weight);
  DeviceBuffer<float> bias(product.bias);
  DeviceBuffer<T> query(std::size_t(rows) * heads.query * heads.dim);
  LinearArgs args = product.args(input, weight, bias);
  args.epilogue = LinearEpilogue::rope_append;
  args.output = query.data();
  args.rope = rope.args(device);
  if (!c.ran(linear(args, nullptr))) return;
  const auto expected = rope.expected(product.result());
  Tolerance tolerance = product_tolerance<T>(k);
  tolerance.absolute *= 2;
  c.close("query", query.host(), expected.query, tolerance, heads.query * heads.dim);
  c.close("keys", device.keys.host(), expected.keys, tolerance, heads.dim);
  c.close("values", device.values.host(), expected.values, tolerance, heads.dim);
}

template <class T>
void test_rope_shapes() {
  for (const int rows : {1, 3, 17, 70}) {
    test_rope_append<T>(rows, {3, 1, 8}, 72, rows % 2 == 0);
    test_rope_append<T>(rows, {2, 1, 24}, 136, rows % 2 == 1);
    if (rows < 20) test_rope_append<T>(rows, {2, 2, 64}, 40, true);
  }
  // Rows of a pair lie in what would be different tiles, whichever the tile.
  test_rope_append<T>(2, {1, 1, 256}, 16, false);
}

KOMT_KERNEL_TEST(linear_rope_append) {
  test_rope_shapes<half>();
  test_rope_shapes<bfloat16>();
}

// The float32 input normalised in float64, rounded to T.
template <class T>
std::vector<T> normalised(const std::vector<float>& x, const std::vector<float>& weight,
                          double eps) {
  double sum = 0;
  for (const float v : x) sum += double(v) * double(v);
  const double scale = 1 / std::sqrt(sum / double(x.size()) + eps);
  std::vector<T> y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    y.push_back(from_float<T>(float(double(x[i]) * scale * double(weight[i]))));
  }
  return y;
}

template <class T>
void test_norm(int n, int k) {
  Case c("%s n=%d k=%d", type_name<T>(), n, k);
  const Product<T> product({1, n, k}, 7, true);
  Random random(8);
  const auto x = random.normal<float>(std::size_t(k), 3.0);
  const auto norm_weight = random.normal<float>(std::size_t(k), 0.1, 1.0);
  DeviceBuffer<T> weight(product.weight), unused(product.input);
  DeviceBuffer<float> bias(product.bias), input(x), norm(norm_weight), output{std::size_t(n)};
  LinearArgs args = product.args(unused, weight, bias);
  c.check(kernels::linear_fuses_norm(args), "one row fuses its norm");
  args.input = input.data();
  args.norm_weight = norm.data();
  args.norm_eps = 1e-5f;
  args.output = output.data();
  args.output_type = ElementType::f32;
  if (!c.ran(linear(args, nullptr))) return;
  Tolerance tolerance = product_tolerance<float>(k);
  // A few elements of x may be rounded to the other neighbour, an ulp of what is about 4 at most.
  tolerance.absolute += 4 * rounding<T>().relative * 3 / std::sqrt(double(k));
  c.close("output", output.host(), product.result(normalised<T>(x, norm_weight, 1e-5)), tolerance);
}

KOMT_KERNEL_TEST(linear_norm_in_front) {
  for (const int k : {8, 1016, 1024, 1032, 4104}) {
    test_norm<half>(19, k);
    test_norm<bfloat16>(34, k);
  }
  // The row takes all of the 48 KB that need no opting in, and the norm has static memory beside it.
  test_norm<half>(3, 24576);
}

// A vocabulary of results takes more than one turn of every team, and one that no model has more
// units than a team has room for.
KOMT_KERNEL_TEST(linear_one_row_many_turns) {
  constexpr int kTeams = 2 * 2 * 132;
  for (const Shape s : {Shape{1, 2 * 8 * kTeams + 6, 24}, Shape{1, 2 * 2 * kTeams + 1, 2056},
                        Shape{1, 2 * 128 * kTeams + 6, 8}}) {
    // So many rows take long, and no schedule is between them.
    if (s.n > 100000 && schedule_seed() > 0) continue;
    Case c("n=%d k=%d", s.n, s.k);
    const Product<half> product(s, 9, false);
    DeviceBuffer<half> input(product.input), weight(product.weight);
    DeviceBuffer<float> bias(product.bias), output(std::size_t(s.n));
    LinearArgs args = product.args(input, weight, bias);
    args.output = output.data();
    args.output_type = ElementType::f32;
    if (!c.ran(linear(args, nullptr))) continue;
    c.close("output", output.host(), product.result(), product_tolerance<float>(s.k));
  }
}

// A sum's order is k's alone: the first rows of a matrix have the same bits without the others, when
// other teams compute them at another point of their streams. 1, 2, 3, 5 and 6 rounds of a team.
KOMT_KERNEL_TEST(linear_one_row_bits_do_not_depend_on_the_other_rows) {
  if (schedule_seed() > 1) return;  // one in order, one not
  for (const int k : {520, 1536, 3000, 5120, 5128}) {
    const Shape all{1, k < 5120 ? 3301 : 1201, k};
    Case c("k=%d", k);
    const Product<bfloat16> product(all, 13, false);
    DeviceBuffer<bfloat16> input(product.input), weight(product.weight);
    DeviceBuffer<float> bias(product.bias), output(std::size_t(all.n));
    LinearArgs args = product.args(input, weight, bias);
    args.output = output.data();
    args.output_type = ElementType::f32;
    if (!c.ran(linear(args, nullptr))) continue;
    const std::vector<float> whole = output.host();
    c.close("output", whole, product.result(), product_tolerance<float>(k));
    for (const int n : {1, 6, 333}) {
      output.poison();
      args.n = n;
      if (!c.ran(linear(args, nullptr))) continue;
      std::vector<float> part = output.host();
      part.resize(std::size_t(n));
      c.identical("first rows", part, std::vector<float>(whole.begin(), whole.begin() + n));
    }
  }
}

// The same bits under every schedule: the first seed's results are kept and held against the
// others'.
template <class T>
void test_repeats(Shape s) {
  Case c("%s m=%d n=%d k=%d", type_name<T>(), s.m, s.n, s.k);
  static std::map<std::tuple<int, int, int>, std::vector<float>> first;
  const Product<T> product(s, 10, false);
  DeviceBuffer<T> input(product.input), weight(product.weight);
  DeviceBuffer<float> bias(product.bias), output(std::size_t(s.m) * s.n);
  LinearArgs args = product.args(input, weight, bias);
  args.output = output.data();
  args.output_type = ElementType::f32;
  if (!c.ran(linear(args, nullptr))) return;
  const auto [at, fresh] = first.try_emplace({s.m, s.n, s.k}, output.host());
  if (!fresh) c.identical("output", output.host(), at->second, s.n);
  output.poison();
  if (!c.ran(linear(args, nullptr))) return;
  c.identical("second run", output.host(), at->second, s.n);
}

KOMT_KERNEL_TEST(linear_repeats_bit_for_bit) {
  for (const Shape s : {Shape{1, 50, 1544}, Shape{7, 40, 392}, Shape{65, 65, 136}}) {
    test_repeats<half>(s);
    test_repeats<bfloat16>(s);
  }
}

// Two products in a row, the second launched to overlap the first whose output it reads.
template <class T>
void test_overlap(int rows) {
  Case c("%s m=%d", type_name<T>(), rows);
  const Product<T> first({rows, 72, 40}, 11, false);
  DeviceBuffer<T> input(first.input), first_weight(first.weight), hidden(std::size_t(rows) * 72);
  Product<T> second({rows, 33, 72}, 12, true);
  DeviceBuffer<T> second_weight(second.weight);
  DeviceBuffer<float> no_bias(first.bias), bias(second.bias), output(std::size_t(rows) * 33);
  LinearArgs args = first.args(input, first_weight, no_bias);
  args.output = hidden.data();
  args.programmatic_dependent_launch = true;
  LinearArgs next = second.args(hidden, second_weight, bias);
  next.output = output.data();
  next.output_type = ElementType::f32;
  next.programmatic_dependent_launch = true;
  if (!c.ran(linear(args, nullptr))) return;
  hidden.poison();
  if (!c.check(linear(args, nullptr) == cudaSuccess, "first launch")) return;
  if (!c.ran(linear(next, nullptr))) return;
  c.close("output", output.host(), second.result(hidden.host()), product_tolerance<float>(72), 33);
}

KOMT_KERNEL_TEST(linear_programmatic_dependent_launch) {
  for (const int rows : {1, 20}) {
    test_overlap<half>(rows);
    test_overlap<bfloat16>(rows);
  }
}

KOMT_KERNEL_TEST(linear_refuses) {
  DeviceBuffer<half> buffer(4096);
  LinearArgs good;
  good.rows = 2;
  good.n = 4;
  good.k = 16;
  good.input = buffer.data();
  good.weight = buffer.data() + 512;
  good.output = buffer.data() + 1024;
  const auto refused = [&](const char* what, auto&& change) {
    Case c("%s", what);
    LinearArgs args = good;
    change(args);
    c.refused(linear(args, nullptr));
  };
  refused("k of 12", [](LinearArgs& a) { a.k = 12; });
  refused("no columns", [](LinearArgs& a) { a.n = 0; });
  refused("negative rows", [](LinearArgs& a) { a.rows = -1; });
  refused("float32 weights", [](LinearArgs& a) { a.type = ElementType::f32; });
  refused("float16 to bfloat16", [](LinearArgs& a) { a.output_type = ElementType::bf16; });
  refused("no input", [](LinearArgs& a) { a.input = nullptr; });
  refused("unaligned weight", [&](LinearArgs& a) { a.weight = buffer.data() + 513; });
  refused("an operand of 2^34 elements", [](LinearArgs& a) { a.n = 1 << 30; });
  refused("a norm in front of two rows",
          [&](LinearArgs& a) { a.norm_weight = reinterpret_cast<const float*>(buffer.data()); });
  refused("residual to float16", [](LinearArgs& a) { a.epilogue = LinearEpilogue::residual_add; });
  refused("gate without up", [](LinearArgs& a) {
    a.epilogue = LinearEpilogue::silu_gate;
    a.n = 5;
  });
  refused("rope without tables", [](LinearArgs& a) { a.epilogue = LinearEpilogue::rope_append; });
  refused("an epilogue that there isn't",
          [](LinearArgs& a) { a.epilogue = static_cast<LinearEpilogue>(9); });
  Case none("no rows");
  LinearArgs args = good;
  args.rows = 0;
  none.check(linear(args, nullptr) == cudaSuccess, "zero rows are nothing to do");
}

}  // namespace
}  // namespace komt::test
