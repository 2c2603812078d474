// A StepPlan in the form in which tensors are indexed: for each layer, which
// slots of the arena each row reads and writes.  Built once a step and image,
// so that no layer walks block lists.
//
// A slot number is an index into the arena seen as [blocks * 2 * kBlockTokens,
// head width].  A row is a (branch, head) of a layer: branch * heads + head.

#ifndef MODEL_INFINITY_STEP_SLOTS_H_
#define MODEL_INFINITY_STEP_SLOTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "cache/step_plan.h"

namespace heatkv::model {

// Rows of one layer whose kept prefixes are equally long, so that one dense
// attention call serves them.
struct PrefixGroup {
  std::int64_t num_rows = 0;
  std::int64_t prefix = 0;  // tokens of every row
  at::Tensor rows;          // int64 [num_rows]; undefined = all rows, in order
  at::Tensor key_slots;     // int64 [num_rows * prefix]
  at::Tensor value_slots;   // the same
};

// Rows of one layer that keep the current scale.
struct StoredRows {
  std::int64_t num_rows = 0;
  at::Tensor rows;         // int64 [num_rows]; undefined = all rows, in order
  at::Tensor key_slots;    // int64 [num_rows * tokens of the scale]
  at::Tensor value_slots;  // the same
};

struct LayerSlots {
  std::vector<PrefixGroup> groups;  // every row of the layer is in one of them
  StoredRows stored;
};

struct StepSlots {
  std::vector<LayerSlots> layers;
};

// `tokens` of the scale.  REQUIRES: a row of the plan stores either all of them
// or none.
StepSlots MakeStepSlots(const cache::StepPlan& plan, std::int64_t tokens,
                        at::Device device);

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_STEP_SLOTS_H_
