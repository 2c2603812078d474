#include "model/cuda/recorded_step.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>

#include <algorithm>
#include <bit>

namespace heatkv::model {
namespace {

// Groups of so many rows share their places with smaller ones.
constexpr std::uint64_t kLeastRows = 32;

std::uint64_t Room(std::int64_t size) {
  return std::bit_ceil(static_cast<std::uint64_t>(size));
}

at::TensorOptions OnThisDevice(at::ScalarType type) {
  return at::TensorOptions(type).device(
      at::Device(at::kCUDA, c10::cuda::current_device()));
}

}  // namespace

PlacedModulations& Recorder::ModulationsFor(const TextCondition& like,
                                            std::int64_t rows) {
  const std::uint64_t room = std::max(kLeastRows, Room(rows));
  return modulations_.try_emplace(room, like, static_cast<std::int64_t>(room))
      .first->second;
}

at::Tensor Recorder::TableFor(std::int64_t values) {
  const std::uint64_t room = Room(values);
  at::Tensor& table = tables_[room];
  if (!table.defined()) {
    table =
        at::empty({static_cast<std::int64_t>(room)}, OnThisDevice(at::kInt));
  }
  return table;
}

RecordedStep::RecordedStep(Recorder& recorder,
                           const std::vector<std::int64_t>& input_shape,
                           const TextCondition& like,
                           const StepTableLayout& layout, const Body& body)
    : modulations_(recorder.ModulationsFor(like, layout.rows())),
      table_(recorder.TableFor(layout.MostValues())) {
  const GroupModulations places = modulations_.First(layout.rows());
  const StepTables tables(layout, table_);
  // The table is zeros meanwhile, so that nothing is copied and there are no
  // texts: a plan may be executed only once, because later layers write into
  // blocks that earlier ones have read.
  table_.zero_();
  const WorkArena::Use use(recorder.arena());
  // Nobody else's in this recording.
  const at::Tensor input = at::zeros(input_shape, OnThisDevice(at::kFloat));
  // Libraries set themselves up when they are first used, which cannot be
  // recorded.
  body(input, places, tables);
  const at::Tensor logits = recorder.arena().Record(
      graph_, [&] { return body(input, places, tables); });
  input_ = Borrowed(input);
  logits_ = Borrowed(logits);
}

at::Tensor RecordedStep::Replay() {
  graph_.replay();
  return logits_;
}

}  // namespace heatkv::model
