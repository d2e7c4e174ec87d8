// The allocator of cache pages, against a plain model of what it promises.
#include "engine/kv_cache.h"

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>

#include "engine/error.h"
#include "support.h"

namespace komt::test {
namespace {

/// An allocator over pages that exist only as what was written to them: a number per token.
class Pages {
 public:
  explicit Pages(int limit) : allocator_({[this](int blocks) { return grow(blocks); },
                                          [this](std::span<const int32_t> pairs) { copy(pairs); },
                                          100}),
                              limit_(limit) {}

  BlockAllocator& operator*() { return allocator_; }
  BlockAllocator* operator->() { return &allocator_; }

  /// Extends and writes the new tokens, as a forward pass would.
  void append(SequenceCache& sequence, std::span<const int> values) {
    const int first = sequence.length;
    allocator_.extend(sequence, int(values.size()));
    for (size_t i = 0; i < values.size(); ++i) token(sequence, first + int(i)) = values[i];
  }
  std::vector<int> read(const SequenceCache& sequence) {
    std::vector<int> values;
    for (int i = 0; i < sequence.length; ++i) values.push_back(token(sequence, i));
    return values;
  }

  int copies = 0;
  int grown = 0;
  bool copying_fails = false;

 private:
  int& token(const SequenceCache& sequence, int i) {
    return memory_.at(size_t(sequence.blocks.at(size_t(i / kKvBlockTokens)) * kKvBlockTokens +
                             i % kKvBlockTokens));
  }
  int grow(int blocks) {
    ++grown;
    memory_.resize(size_t(std::min(blocks, limit_) * kKvBlockTokens), -1);
    return std::min(blocks, limit_);
  }
  void copy(std::span<const int32_t> pairs) {
    if (copying_fails) throw std::runtime_error("as planned");
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      ++copies;
      std::copy_n(memory_.begin() + pairs[i] * kKvBlockTokens, kKvBlockTokens,
                  memory_.begin() + pairs[i + 1] * kKvBlockTokens);
    }
  }

  BlockAllocator allocator_;
  std::vector<int> memory_;
  int limit_;
};

std::vector<int> numbers(int first, int count) {
  std::vector<int> values;
  for (int i = 0; i < count; ++i) values.push_back(first + i);
  return values;
}

TEST("kv cache: pages are taken as tokens come, and given back") {
  Pages pages(100);
  SequenceCache a;
  pages->extend(a, 0);
  CHECK(a.blocks.empty() && pages.grown == 0);
  pages->extend(a, 1);
  CHECK(a.blocks == std::vector<int32_t>{0});
  pages->extend(a, 63);
  CHECK(a.blocks.size() == 1 && a.length == 64);
  pages->extend(a, 1);
  CHECK((a.blocks == std::vector<int32_t>{0, 1}));
  pages->extend(a, 128);
  CHECK(a.blocks.size() == 4 && a.length == 193 && pages->blocks_in_use() == 4);
  pages->truncate(a, 200);
  CHECK(a.length == 193);
  pages->truncate(a, 128);
  CHECK(a.blocks.size() == 2 && pages->blocks_in_use() == 2);
  pages->truncate(a, 65);
  CHECK(a.blocks.size() == 2 && a.length == 65);
  pages->release(a);
  CHECK(a.blocks.empty() && a.length == 0 && pages->blocks_in_use() == 0);
  // What was given back is used before the storage grows.
  const int grown = pages.grown;
  SequenceCache b;
  pages->extend(b, 4 * 64);
  CHECK(pages.grown == grown && pages->blocks_in_use() == 4);
}

TEST("kv cache: a fork shares pages until one of them writes") {
  Pages pages(100);
  SequenceCache a;
  pages.append(a, numbers(0, 100));
  SequenceCache b = pages->fork(a);
  SequenceCache c = pages->fork(a);
  CHECK(pages->blocks_in_use() == 2 && b.blocks == a.blocks);
  pages.append(b, numbers(1000, 1));
  CHECK(pages.copies == 1 && pages->blocks_in_use() == 3);
  CHECK(b.blocks[0] == a.blocks[0] && b.blocks[1] != a.blocks[1]);
  pages.append(c, numbers(2000, 1));
  CHECK(pages.copies == 2 && pages->blocks_in_use() == 4);
  // The last owner of a page writes into it as it is.
  pages.append(a, numbers(3000, 1));
  CHECK(pages.copies == 2 && pages->blocks_in_use() == 4);
  const auto with = [](int last) {
    std::vector<int> values = numbers(0, 100);
    values.push_back(last);
    return values;
  };
  CHECK(pages.read(a) == with(3000));
  CHECK(pages.read(b) == with(1000));
  CHECK(pages.read(c) == with(2000));
}

TEST("kv cache: a shared page that is full is not copied; one cut in the middle is") {
  Pages pages(100);
  SequenceCache a;
  pages.append(a, numbers(0, 128));
  SequenceCache b = pages->fork(a);
  pages.append(b, numbers(500, 3));
  CHECK(pages.copies == 0 && pages->blocks_in_use() == 3);
  pages->truncate(b, 70);
  pages.append(b, numbers(600, 2));
  CHECK(pages.copies == 1);
  CHECK(pages.read(a) == numbers(0, 128));
  std::vector<int> expected = numbers(0, 70);
  expected.push_back(600);
  expected.push_back(601);
  CHECK(pages.read(b) == expected);
}

TEST("kv cache: when pages run out, nothing changes") {
  Pages pages(4);
  SequenceCache a;
  SequenceCache b;
  pages.append(a, numbers(0, 100));
  pages.append(b, numbers(200, 60));
  SequenceCache c = pages->fork(a);
  const auto refused = [&](SequenceCache& sequence, int count) {
    const SequenceCache before = sequence;
    const int in_use = pages->blocks_in_use();
    const int copies = pages.copies;
    bool thrown = false;
    try {
      pages->extend(sequence, count);
    } catch (const Error& e) {
      thrown = e.kind() == ErrorKind::out_of_memory && e.bytes_needed() > e.bytes_free() &&
               e.bytes_needed() % 100 == 0;
    }
    CHECK(thrown);
    CHECK(sequence.blocks == before.blocks && sequence.length == before.length);
    CHECK(pages->blocks_in_use() == in_use && pages.copies == copies);
  };
  refused(b, 64 * 10);
  // One page is left: not enough for a copy and a new one.
  refused(c, 60);
  pages.append(c, numbers(900, 28));
  CHECK(pages.copies == 1 && pages->blocks_in_use() == 4);
  refused(b, 64);
  pages->release(c);
  pages.append(b, numbers(260, 64));
  CHECK(pages.read(b) == numbers(200, 124));
  CHECK(pages.read(a) == numbers(0, 100));
}

TEST("kv cache: a copy that fails takes no page") {
  Pages pages(10);
  SequenceCache a;
  pages.append(a, numbers(0, 10));
  SequenceCache b = pages->fork(a);
  pages.copying_fails = true;
  bool thrown = false;
  try {
    pages->extend(b, 1);
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown && b.length == 10 && b.blocks == a.blocks);
  CHECK(pages->blocks_in_use() == 1);
  pages->release(a);
  pages->release(b);
  CHECK(pages->blocks_in_use() == 0);
}

TEST("kv cache: a sequence longer than any is refused, and stays what it was") {
  Pages pages(4);
  SequenceCache sequence;
  const int values[] = {1, 2, 3};
  pages.append(sequence, values);
  for (const int count : {kMaxSequenceTokens - 2, INT32_MAX}) {
    ErrorKind kind = ErrorKind::internal;
    try {
      pages->extend(sequence, count);
    } catch (const Error& e) {
      kind = e.kind();
    }
    CHECK(kind == ErrorKind::invalid_argument && sequence.length == 3);
  }
  CHECK(pages.grown == 1 && pages->blocks_in_use() == 1);
}

TEST("kv cache: random operations, against sequences that share nothing") {
  for (uint32_t seed = 0; seed < 8; ++seed) {
    Random random(seed);
    constexpr int kLimit = 24;
    Pages pages(kLimit);
    std::map<int, SequenceCache> sequences;
    std::map<int, std::vector<int>> expected;
    int next = 0;
    int value = 0;
    int refusals = 0;
    for (int i = 0; i < 400; ++i) {
      const auto some = [&] { return std::next(sequences.begin(), random.integer(0, int(sequences.size()) - 1)); };
      const int what = sequences.empty() ? 0 : random.integer(0, 9);
      if (what == 0) {
        sequences[next];
        expected[next++];
      } else if (what <= 5) {
        auto& [id, sequence] = *some();
        const int count = random.integer(0, 3) ? random.integer(1, 20) : random.integer(60, 200);
        const std::vector<int> values = numbers(value, count);
        value += count;
        try {
          pages.append(sequence, values);
          expected[id].insert(expected[id].end(), values.begin(), values.end());
        } catch (const Error& e) {
          ++refusals;
          CHECK(e.kind() == ErrorKind::out_of_memory);
        }
      } else if (what == 6) {
        const auto& [id, sequence] = *some();
        SequenceCache copy = pages->fork(sequence);
        expected[next] = expected[id];
        sequences[next++] = std::move(copy);
      } else if (what <= 8) {
        auto& [id, sequence] = *some();
        const int length = random.integer(0, sequence.length);
        pages->truncate(sequence, length);
        expected[id].resize(size_t(length));
      } else {
        const int id = some()->first;
        pages->release(sequences[id]);
        sequences.erase(id);
        expected.erase(id);
      }
      std::set<int32_t> held;
      bool same = true;
      for (const auto& [id, sequence] : sequences) {
        held.insert(sequence.blocks.begin(), sequence.blocks.end());
        same = same && int(sequence.blocks.size()) == (sequence.length + 63) / 64 &&
               pages.read(sequence) == expected[id];
      }
      CHECK_THAT(same, "seed " + std::to_string(seed) + ", operation " + std::to_string(i));
      CHECK(pages->blocks_in_use() == int(held.size()) && int(held.size()) <= kLimit);
    }
    CHECK_THAT(refusals > 0, "the cache never ran full: the limit tests nothing");
  }
}

}  // namespace
}  // namespace komt::test
