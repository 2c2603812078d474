#include "model/cuda/recorded_step.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <bit>

#include "base/check.h"
#include "model/cuda/kernel_calls.h"

namespace heatkv::model {

Recorder::Recorder()
    : stream_(c10::cuda::getStreamFromPool()),
      pool_(at::cuda::graph_pool_handle()) {}

at::Tensor Recorder::TextsFor(const TextLayout& layout) {
  const std::uint64_t room =
      std::bit_ceil(static_cast<std::uint64_t>(layout.tokens()));
  at::Tensor& texts = texts_[room];
  if (!texts.defined()) {
    texts = layout.AllocateKeysValues(static_cast<std::int64_t>(room));
  }
  return texts;
}

RecordedStep::RecordedStep(Recorder& recorder, const at::Tensor& x,
                           const TextLayout& texts, const StepTables& tables,
                           const Body& body)
    : x_(at::empty_like(x)),
      texts_(texts.Allocate()),
      tables_(tables),
      table_(at::zeros(
          {static_cast<std::int64_t>(std::bit_ceil(tables.values().size()))},
          x.options().dtype(at::kInt))) {
  texts_.keys_values = recorder.TextsFor(texts);
  tables_.Place(table_);
  c10::cuda::device_synchronize();
  const c10::cuda::CUDAStreamGuard guard(recorder.stream());
  // Libraries set themselves up when they are first used, which cannot be
  // recorded.  The table is still zeros, so that nothing is copied: a plan may
  // be executed only once, because later layers write into blocks that earlier
  // ones have read.
  body(x_, texts_, tables_);
  recorder.stream().synchronize();
  graph_.capture_begin(recorder.pool(), cudaStreamCaptureModeThreadLocal);
  logits_ = body(x_, texts_, tables_);
  graph_.capture_end();
}

bool RecordedStep::Fits(const StepTables& tables,
                        const TextLayout& texts) const {
  return static_cast<std::int64_t>(tables.values().size()) <= table_.numel() &&
         texts.tokens() <= texts_.keys_values.size(2);
}

void RecordedStep::Fill(const at::Tensor& x, const TextLayout& texts,
                        const StepTables& tables) {
  x_.copy_(x);
  texts.Fill(texts_);
  UploadTo(table_, tables.values());
}

at::Tensor RecordedStep::Replay(const at::Tensor& x, const TextLayout& texts,
                                const StepTables& tables) {
  HEATKV_CHECK(Fits(tables, texts));
  Fill(x, texts, tables);
  graph_.replay();
  return logits_;
}

}  // namespace heatkv::model
