// What the largest step works in against what is planned for it.

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include "model/cuda/group_step.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/memory_report.h"
#include "model/memory_plan.h"
#include "tests/model/cached_image.h"
#include "tests/model/infinity_2b.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

// Layers work in the same memory one after the other, so two do for all.
TEST(GroupStepMemoryTest, TheLargestStepTakesWhatIsPlanned) {
  if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  const c10::InferenceMode inference_mode;
  const at::Device device(at::kCUDA, 0);
  ModelSpec spec = Infinity2b();
  spec.transformer.depth = 2;
  spec.vae.channel_multipliers = {1};
  const std::vector<cache::Grid> grids = {{1, 1}, {24, 24}, {64, 64}};
  spec.ladders[0].ladder =
      *cache::ScaleLadder::Create(grids, /*sink_scales=*/1);
  auto loaded = InfinityTransformer::Load(
      spec.transformer, WeightStore::Random(1, spec.transformer.depth,
                                            {.device = device,
                                             .dtype = at::kFloat,
                                             .matrix_dtype = at::kBFloat16}));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const InfinityTransformer& transformer = **loaded;
  const std::int64_t planned = PlanWork(spec, /*vae_tile=*/0).step;
  const std::int64_t arena_bytes = PlanWork(spec, /*vae_tile=*/0).arena();
  for (const AttentionChoice choice :
       {AttentionChoice::kFastest, AttentionChoice::kFlashAttention2}) {
    const auto text =
        std::make_shared<const TextCondition>(transformer.UnconditionalText(4));
    ImageInFlight image(&transformer, {text, text},
                        {.grids = grids,
                         .rope_grid = grids.back(),
                         .guidance = {3, 3, 3},
                         .tau = {1, 1, 1},
                         .top_p = 0.97},
                        nullptr);
    CachedImage cached(std::make_shared<const cache::Schedule>(
                           cache::FullSchedule(spec.ladders[0].ladder, 2, 16)),
                       128,
                       /*branches=*/2);
    KeyValueArena arena(cached.blocks(), 128, at::kBFloat16, device);
    WorkArena work;
    { const WorkArena::Use use(work); }  // libraries have what they keep
    work.Reserve(arena_bytes);
    GroupStep group(&transformer, &work);
    group.set_attention(choice);
    for (int scale = 0; scale < 3; ++scale) {
      const cache::StepPlan plan = cached.lists().PlanStep(scale);
      const GroupMember member{.image = &image, .plan = &plan};
      const MemoryReport before = ReadMemory(0);
      ResetMemoryPeaks(0);
      const at::Tensor logits = group.Logits({&member, 1}, 1, arena);
      const MemoryReport after = ReadMemory(0);
      const std::int64_t taken = after.peak_allocated - before.allocated;
      std::printf("%ld tokens: %.1f MB of %.1f MB planned, %.1f MB more\n",
                  static_cast<long>(grids[scale].tokens()), taken / 1e6,
                  planned / 1e6, (after.reserved - before.reserved) / 1e6);
      EXPECT_LE(taken, planned);
      if (scale == 2) {
        EXPECT_GT(taken, 0.8 * planned);
      }
      // Tables have memory of their own.
      EXPECT_LE(after.reserved - before.reserved, 24 << 20);
      EXPECT_TRUE(logits.isfinite().all().item<bool>());
      image.Accept(at::zeros({grids[scale].tokens(), 32},
                             at::TensorOptions(at::kBool).device(device)));
      cached.lists().FinishStep();
    }
  }
}

}  // namespace
}  // namespace heatkv::model
