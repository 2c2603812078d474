#include "model/cuda/recorded_step.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "model/cuda/graph_recording.h"

namespace heatkv::model {
namespace {

// Groups of so many rows share their places with smaller ones.
constexpr std::uint64_t kLeastRows = 32;

std::uint64_t Room(std::int64_t size) {
  return std::bit_ceil(static_cast<std::uint64_t>(size));
}

}  // namespace

Recorder::Recorder()
    : stream_(c10::cuda::getStreamFromPool()),
      pool_(at::cuda::graph_pool_handle()) {}

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
    table = at::empty({static_cast<std::int64_t>(room)},
                      at::TensorOptions(at::kInt).device(
                          at::Device(at::kCUDA, c10::cuda::current_device())));
  }
  return table;
}

at::Tensor Recorder::InputLike(const at::Tensor& x) {
  at::Tensor& input = inputs_[{x.scalar_type(), Room(x.numel())}];
  if (!input.defined()) {
    input =
        at::empty({static_cast<std::int64_t>(Room(x.numel()))}, x.options());
  }
  return input.narrow(0, 0, x.numel()).view(x.sizes());
}

RecordedStep::RecordedStep(Recorder& recorder, const at::Tensor& x,
                           const TextCondition& like,
                           const StepTableLayout& layout, const Body& body)
    : x_(recorder.InputLike(x)),
      modulations_(recorder.ModulationsFor(like, layout.rows())),
      table_(recorder.TableFor(layout.MostValues())) {
  const GroupModulations places = modulations_.First(layout.rows());
  const StepTables tables(layout, table_);
  // Libraries set themselves up when they are first used, which cannot be
  // recorded.  The table is zeros meanwhile, so that nothing is copied and
  // there are no texts: a plan may be executed only once, because later layers
  // write into blocks that earlier ones have read.
  table_.zero_();
  c10::cuda::device_synchronize();
  const c10::cuda::CUDAStreamGuard guard(recorder.stream());
  body(x_, places, tables);
  recorder.stream().synchronize();
  logits_ =
      Record(graph_, recorder.pool(), [&] { return body(x_, places, tables); });
}

at::Tensor RecordedStep::Replay() {
  graph_.replay();
  return logits_;
}

}  // namespace heatkv::model
