// The plans of a group's images in the form in which a GPU step reads them, as
// plain numbers: where each head's sequence begins in staging, and which spans
// go from the arena to staging and back; and where each row's text lies.
// Written once a step on the host, uploaded at once; model/cuda/step_tables.h
// reads it on the device.
//
// A sequence is a (slot, branch, head) of the group, in that order.  A group
// has `capacity` slots whether or not there are images for all; slots without
// one keep nothing and store nothing.
//
// A table is int32.  All but the spans has a place that depends on the group's
// shape alone, so that a recorded step reads the tables of another group of its
// shape; the spans of all layers lie behind it.
//
// Plain values without torch or CUDA.

#ifndef MODEL_CUDA_STEP_TABLE_LAYOUT_H_
#define MODEL_CUDA_STEP_TABLE_LAYOUT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "cache/step_plan.h"
#include "model/kernels/cross_attention.h"

namespace heatkv::model {

struct GroupShape {
  int capacity = 0;
  int branches = 0;
  int layers = 0;
  int heads = 0;
  std::int64_t tokens = 0;                 // of the scale
  std::vector<std::int64_t> earlier = {};  // of the scales before
  bool is_last = false;  // nothing of the scale is ever stored
};

// Places in the table of a shape.
class StepTableLayout {
 public:
  explicit StepTableLayout(const GroupShape& shape);

  const GroupShape& shape() const { return shape_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t sequences() const { return sequences_; }

  // sequences + 1, multiples of `tokens`: where queries begin.
  std::int64_t query_begin() const { return 0; }
  // rows kernels::RowText, of which each (slot, branch) has one.  A multiple of
  // their size.
  std::int64_t texts() const { return texts_begin_; }

  // Of a layer: its two kernels::SpanList, the kept prefixes (arena to staging)
  // and the survivors (staging to arena); sequences + 1, where each sequence
  // begins in staging; sequences, the row at which its current scale does.
  std::int64_t lists(int layer) const {
    return layers_begin_ + layer * layer_size_;
  }
  std::int64_t key_begin(int layer) const { return lists(layer) + 4; }
  std::int64_t current(int layer) const {
    return key_begin(layer) + sequences_ + 1;
  }
  std::int64_t spans() const { return lists(shape_.layers); }

  // Spans of one layer's prefixes and survivors that no table of the shape
  // exceeds, whatever the schedules keep.  None where there is nothing to copy:
  // no prefixes at the first scale, no survivors at the last.
  std::int64_t MostPrefixSpans() const;
  std::int64_t MostStoreSpans() const;

  // Size of the table of these plans.
  std::int64_t Values(std::span<const cache::StepPlan* const> plans) const;

  // Size that no table of the shape exceeds.
  std::int64_t MostValues() const;

  // Writes it; `values` has at least that size.  Returns the rows of staging
  // that the largest layer takes.  REQUIRES: 1 <= plans.size() <= capacity; the
  // plans have the shape, and no more spans than it says; a row of a plan
  // stores all tokens or none; texts has rows().
  std::int64_t Write(std::span<const cache::StepPlan* const> plans,
                     std::span<const kernels::RowText> texts,
                     std::span<std::int32_t> values) const;

 private:
  GroupShape shape_;
  std::int64_t rows_;
  std::int64_t sequences_;
  std::int64_t texts_begin_;
  std::int64_t layers_begin_;
  std::int64_t layer_size_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_STEP_TABLE_LAYOUT_H_
