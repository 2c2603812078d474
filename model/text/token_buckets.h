// Rows that a text of some tokens is padded to where each number of rows costs
// a recording: a power of two, so that a text of few tokens stays small.  It
// depends on the text alone, and so does what a text comes to.
//
// Pure functions.  Thread safety: stateless.

#ifndef MODEL_TEXT_TOKEN_BUCKETS_H_
#define MODEL_TEXT_TOKEN_BUCKETS_H_

#include <algorithm>
#include <bit>
#include <vector>

namespace heatkv::model {

// tokens >= 1.  Fewer rows than the least would be no faster.
inline int TokenBucket(int tokens) {
  constexpr unsigned kLeast = 32;
  return static_cast<int>(
      std::max(kLeast, std::bit_ceil(static_cast<unsigned>(tokens))));
}

// Of all texts of at most `max_tokens` tokens, ascending.
inline std::vector<int> TokenBuckets(int max_tokens) {
  std::vector<int> buckets;
  for (int tokens = 1; tokens <= max_tokens; tokens = buckets.back() + 1) {
    buckets.push_back(TokenBucket(tokens));
  }
  return buckets;
}

}  // namespace heatkv::model

#endif  // MODEL_TEXT_TOKEN_BUCKETS_H_
