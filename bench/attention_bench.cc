// heatkv_bench_attention: what does self-attention of an image take on a GPU,
// with LibTorch's FlashAttention 2 and with the kernel for Hopper GPUs?
//
//   heatkv_bench_attention --model models/infinity-2b --images 1
//
// For each scale of the model's first ladder it takes the lengths that heads
// have under a budget, as a step's tables give them, fills queries and staging
// with random numbers, records the attention of all layers (with what each
// kernel needs besides: tables, the order of its results) and replays it.
// Writes one JSON object; milliseconds are medians, operations those of the two
// products.

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "bench/report.h"
#include "cache/block_lists.h"
#include "cache/block_pool.h"
#include "cache/heatkv_solver.h"
#include "model/api/random_ranking.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/staged_attention.h"
#include "model/kernels/launch.h"
#include "server/config/model_yaml.h"

ABSL_FLAG(std::string, model, "models/infinity-2b", "folder of the model");
ABSL_FLAG(double, budget, 0.1, "fraction of the full cache that may stay");
ABSL_FLAG(int, images, 1, "images that ask for a step at once");
ABSL_FLAG(int, repeats, 21, "measured repetitions; the median is reported");
ABSL_FLAG(std::uint64_t, seed, 1, "of the ranking");
ABSL_FLAG(std::string, output, "",
          "file for the result; empty: standard output");

namespace heatkv::server {
namespace {

using model::AttentionChoice;
using nlohmann::json;

// Milliseconds of the work that `body` enqueues, recorded and replayed.
double Time(const std::function<void()>& body) {
  c10::cuda::device_synchronize();
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  body();  // libraries set themselves up
  c10::cuda::device_synchronize();
  at::cuda::CUDAGraph graph;
  graph.capture_begin(at::cuda::graph_pool_handle(),
                      cudaStreamCaptureModeThreadLocal);
  body();
  graph.capture_end();
  std::vector<double> times;
  for (int repeat = 0; repeat <= absl::GetFlag(FLAGS_repeats); ++repeat) {
    c10::cuda::CUDAEvent begin(cudaEventDefault);
    c10::cuda::CUDAEvent end(cudaEventDefault);
    begin.record();
    graph.replay();
    end.record();
    end.synchronize();
    if (repeat > 0) times.push_back(begin.elapsed_time(end));
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

class Bench {
 public:
  absl::StatusOr<json> Run();

 private:
  absl::Status Prepare();
  // Of as many images as a step takes, but no more than asked for.
  json MeasureScale(std::span<const std::unique_ptr<cache::BlockLists>> lists,
                    int scale);
  json MeasureAttention(const model::StepTableLayout& layout,
                        const std::vector<std::int32_t>& table,
                        std::int64_t staging_rows, std::int64_t most_keys);

  model::ModelSpec spec_;
  std::shared_ptr<const cache::Trajectory> trajectory_;
};

absl::Status Bench::Prepare() {
  ASSIGN_OR_RETURN(spec_, LoadModelSpec(absl::GetFlag(FLAGS_model)));
  spec_.ladders.erase(spec_.ladders.begin() + 1, spec_.ladders.end());
  const model::TransformerSpec& transformer = spec_.transformer;
  RETURN_IF_ERROR(model::CheckAttention(AttentionChoice::kHopper,
                                        transformer.head_width()));
  ASSIGN_OR_RETURN(const cache::Ranking ranking,
                   model::RandomRanking(spec_, absl::GetFlag(FLAGS_seed)));
  ASSIGN_OR_RETURN(const cache::Budget budget,
                   cache::Budget::Create(absl::GetFlag(FLAGS_budget)));
  ASSIGN_OR_RETURN(
      cache::Schedule schedule,
      cache::SolveHeatKv(spec_.ladders[0].ladder, transformer.depth,
                         transformer.heads, ranking, budget));
  trajectory_ = std::make_shared<const cache::Trajectory>(
      std::make_shared<const cache::Schedule>(std::move(schedule)),
      cache::CacheGeometry{.layers = transformer.depth,
                           .heads = transformer.heads,
                           .head_width = transformer.head_width(),
                           .bytes_per_value = 2},
      /*branches=*/2);
  return absl::OkStatus();
}

json Bench::MeasureAttention(const model::StepTableLayout& layout,
                             const std::vector<std::int32_t>& table,
                             std::int64_t staging_rows,
                             std::int64_t most_keys) {
  const at::Tensor uploaded = model::Upload(table);
  const model::StepTables tables(layout, uploaded);
  const model::GroupShape& shape = layout.shape();
  const std::int64_t width = spec_.transformer.head_width();
  const auto options =
      at::TensorOptions(at::kBFloat16).device(uploaded.device());
  const auto unit = [&](std::int64_t rows) {
    const at::Tensor x = at::randn({rows, 1, width}, options);
    return at::div(x, x.norm(2, {-1}, /*keepdim=*/true));
  };
  const at::Tensor keys = unit(staging_rows);
  const at::Tensor values = at::randn({staging_rows, 1, width}, options);
  // Token by token; the other order is made of it, for equal results.
  const at::Tensor queries =
      unit(layout.rows() * shape.tokens * shape.heads)
          .mul_(10)
          .view({layout.rows(), shape.tokens, shape.heads, width});
  const at::Tensor by_head = queries.transpose(1, 2).contiguous();

  json report;
  std::vector<at::Tensor> results;
  for (const AttentionChoice choice :
       {AttentionChoice::kFlashAttention2, AttentionChoice::kHopper}) {
    const bool hopper = choice == AttentionChoice::kHopper;
    const auto create = [&] {
      return model::StagedAttention::Create(choice, tables,
                                            {.rows = layout.rows(),
                                             .heads = shape.heads,
                                             .tokens = shape.tokens,
                                             .most_keys = most_keys},
                                            keys, values);
    };
    const at::Tensor& source = hopper ? queries : by_head;
    at::Tensor last;
    const double all = Time([&] {
      const auto attention = create();
      at::Tensor filled = attention->queries();
      filled.view({-1}).narrow(0, 0, queries.numel()).copy_(source.view({-1}));
      for (int layer = 0; layer < shape.layers; ++layer) {
        last = attention->Attend(layer);
      }
    });
    const double copy = Time([&] { at::empty_like(source).copy_(source); });
    results.push_back(last.to(at::kFloat));
    json& mine = report[hopper ? "hopper" : "fa2"];
    mine["ms"] = all - copy;
    if (hopper) mine["of_which_tables_ms"] = Time([&] { create(); });
  }
  report["difference"] =
      ((results[0] - results[1]).norm() / results[0].norm()).item<double>();
  return report;
}

json Bench::MeasureScale(
    std::span<const std::unique_ptr<cache::BlockLists>> lists, int scale) {
  std::vector<cache::StepPlan> plans;
  for (const auto& list : lists) plans.push_back(list->PlanStep(scale));
  std::vector<const cache::StepPlan*> members;
  for (const cache::StepPlan& plan : plans) members.push_back(&plan);
  const int capacity =
      model::GroupCapacity(spec_, 0, scale, trajectory_->branches());
  members.resize(std::min<std::size_t>(members.size(), capacity));
  const cache::ScaleLadder& ladder = spec_.ladders[0].ladder;
  std::vector<std::int64_t> earlier;
  for (int s = 0; s < scale; ++s) earlier.push_back(ladder.tokens(s));
  const model::StepTableLayout layout(
      {.capacity = capacity,
       .branches = trajectory_->branches(),
       .layers = spec_.transformer.depth,
       .heads = spec_.transformer.heads,
       .tokens = ladder.tokens(scale),
       .earlier = std::move(earlier),
       .is_last = scale + 1 == ladder.num_scales()});
  std::vector<std::int32_t> table(layout.Values(members));
  const std::int64_t staging_rows = layout.Write(
      members, std::vector<kernels::RowText>(layout.rows()), table);
  for (const auto& list : lists) list->FinishStep();

  std::int64_t most_keys = 0;
  for (int s = 0; s <= scale; ++s) most_keys += ladder.tokens(s);
  std::int64_t keys = 0;
  for (int layer = 0; layer < spec_.transformer.depth; ++layer) {
    keys += table[layout.key_begin(layer) + layout.sequences()];
  }
  json report = MeasureAttention(
      layout, table, std::max<std::int64_t>(2, staging_rows), most_keys);
  const double operations =
      4.0 * ladder.tokens(scale) * keys * spec_.transformer.head_width();
  report["tokens"] = ladder.tokens(scale);
  report["images"] = members.size();
  report["sequences"] = layout.sequences();
  report["mean_keys"] =
      static_cast<double>(keys) / layout.sequences() / spec_.transformer.depth;
  for (const char* kernel : {"fa2", "hopper"}) {
    json& mine = report[kernel];
    mine["tflops"] = operations / mine["ms"].get<double>() / 1e9;
  }
  return report;
}

absl::StatusOr<json> Bench::Run() {
  const c10::InferenceMode inference_mode;
  if (model::CudaDevices() == 0) {
    return absl::FailedPreconditionError("there is no CUDA device");
  }
  RETURN_IF_ERROR(Prepare());
  at::manual_seed(absl::GetFlag(FLAGS_seed));
  const int images = absl::GetFlag(FLAGS_images);
  cache::BlockPool pool(images * trajectory_->peak_blocks());
  std::vector<std::unique_ptr<cache::BlockLists>> lists;
  for (int i = 0; i < images; ++i) {
    lists.push_back(std::make_unique<cache::BlockLists>(&pool, trajectory_));
  }
  json result = {{"device", kernels::DescribeCurrentDevice()},
                 {"model", spec_.name},
                 {"budget", absl::GetFlag(FLAGS_budget)},
                 {"repeats", absl::GetFlag(FLAGS_repeats)}};
  double fa2 = 0;
  double hopper = 0;
  for (int scale = 0; scale < spec_.ladders[0].ladder.num_scales(); ++scale) {
    json report = MeasureScale(lists, scale);
    fa2 += report["fa2"]["ms"].get<double>();
    hopper += report["hopper"]["ms"].get<double>();
    result["scales"].push_back(std::move(report));
  }
  result["fa2_ms"] = fa2;
  result["hopper_ms"] = hopper;
  return result;
}

}  // namespace
}  // namespace heatkv::server

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("measures self-attention on a GPU");
  absl::ParseCommandLine(argc, argv);
  heatkv::server::Bench bench;
  return heatkv::server::PrintReport("heatkv_bench_attention", bench.Run(),
                                     absl::GetFlag(FLAGS_output));
}
