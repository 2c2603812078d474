// What a model needs of a device's memory, part by part, and whether the device
// has it.  An account is made before anything large is allocated, so that what
// does not fit is refused at the start and by name.
//
// Plain values and pure functions.  Thread safety: stateless.

#ifndef MODEL_API_MEMORY_ACCOUNT_H_
#define MODEL_API_MEMORY_ACCOUNT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace heatkv::model {

struct MemoryPart {
  std::string name;  // "block pool"
  std::int64_t bytes = 0;
  // What the model has taken by the time that it is loaded.
  bool is_loaded = false;

  friend bool operator==(const MemoryPart&, const MemoryPart&) = default;
};

struct MemoryAccount {
  std::string device;          // "cuda:0"
  std::int64_t available = 0;  // before the model is loaded
  std::vector<MemoryPart> parts;

  std::int64_t total() const;
  // Negative if the parts do not fit.
  std::int64_t left() const { return available - total(); }
  // Of the parts that are still to come once the model is loaded.
  std::int64_t not_loaded() const;
};

// "transformer 4.3 GiB, block pool 256.0 MiB".
std::string DescribeParts(const std::vector<MemoryPart>& parts);

// "memory of cuda:0: transformer 4.3 GiB, block pool 256.0 MiB; left 70.1 GiB
// of 74.6 GiB".
std::string DescribeAccount(const MemoryAccount& account);

// ResourceExhausted, naming every part and both totals, if `account` needs more
// than is available.
absl::Status CheckFits(const MemoryAccount& account);

// The same for the parts that are still to come once the model is loaded, when
// `available` bytes are left.
absl::Status CheckRestFits(const MemoryAccount& account,
                           std::int64_t available);

}  // namespace heatkv::model

#endif  // MODEL_API_MEMORY_ACCOUNT_H_
