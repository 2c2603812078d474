// Random numbers that depend on a seed and a request's index alone, so that a
// load is the same whatever order its requests run in, on every machine.
//
// The generator is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
// number generators, 2014).  Not thread-safe; cheap to make.

#ifndef CLIENT_BENCH_DRAWS_H_
#define CLIENT_BENCH_DRAWS_H_

#include <cstddef>
#include <cstdint>

namespace heatkv::client {

// What the numbers are for; each purpose has a stream of its own.
enum class Purpose : std::uint64_t {
  kArrivals = 1,
  kTemplate,
  kFields,
  kSeed,
  kFaultKind,
  kFaultPoint,
};

class Draws {
 public:
  Draws(std::uint64_t seed, Purpose purpose, std::uint64_t index = 0);

  std::uint64_t Next();
  // In [0, 1).
  double NextUnit();
  // In [0, size); size is 1 or more.
  std::size_t NextIndex(std::size_t size);

 private:
  std::uint64_t state_;
};

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_DRAWS_H_
