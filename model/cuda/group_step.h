// One scale of a group of images together on a GPU, in a shape that depends on
// the group's capacity and not on how many images come: slots without an image
// compute a copy of the first one that nobody reads.  Rows do not influence
// each other, so an image's bits do not depend on its company.  Where the bytes
// of a row do not depend on the shape either (layer_products.h), an image alone
// is computed alone.
//
// A step of a shape is recorded as a CUDA graph when it first comes, and then
// replayed (recorded_step.h).
//
// Products run in bfloat16, sums, norms, the residual stream and the head in
// float32 (specification section 8.3); keys and values are bfloat16.
//
// The host waits for the device once a step, until it is known whether the
// logits were finite.  What the bits lead to (the canvas, the next input's
// codes) is enqueued before and still runs when a step returns.  All work goes
// to torch's current stream, which must be the same at every call, so that
// whoever uses an image or the pool's arena next comes behind it.
//
// Used by one thread, with the transformer's device as the current one.

#ifndef MODEL_CUDA_GROUP_STEP_H_
#define MODEL_CUDA_GROUP_STEP_H_

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAEvent.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/step_plan.h"
#include "model/cuda/attention_choice.h"
#include "model/cuda/recorded_step.h"
#include "model/cuda/upload_buffers.h"
#include "model/infinity/image_in_flight.h"
#include "model/infinity/key_value_arena.h"
#include "model/infinity/transformer.h"

namespace heatkv::model {

// One image's share of a group.
struct GroupMember {
  ImageInFlight* image = nullptr;
  const cache::StepPlan* plan = nullptr;
  std::uint64_t seed = 0;
  std::uint32_t number = 0;  // of the image among those of the seed
};

class GroupStep {
 public:
  // Steps work in `work`.  Both outlive this.  REQUIRES:
  // CheckShape(transformer->spec()) is OK.
  GroupStep(const InfinityTransformer* transformer, WorkArena* work)
      : transformer_(transformer), recorder_(work) {}

  // Before the first step.  REQUIRES: it runs here (staged_attention.h).
  void set_attention(AttentionChoice choice) { attention_ = choice; }

  // OK if the kernels take a model of this shape, else InvalidArgument.
  static absl::Status CheckShape(const TransformerSpec& spec);

  // `arena` must be the same at every call.
  //
  // Computes the next scale of every member and gives each its bits.  All are
  // at the same scale of equal ladders with equally many branches.  One status
  // a member: Internal if its logits are not finite.
  std::vector<absl::Status> Run(std::span<const GroupMember> members,
                                int capacity, KeyValueArena& arena);

  // The two halves of Run, for comparison with other implementations.
  //
  // Raw logits, good until anything else is computed in the work arena,
  // float32 [images, branches, tokens, 2 * bits a token], of the members first
  // and of as many images as the step has room for.
  at::Tensor Logits(std::span<const GroupMember> members, int capacity,
                    KeyValueArena& arena);
  struct Sampled {
    at::Tensor bits;        // bool [members, tokens, bits a token]
    at::Tensor not_finite;  // int32 [members], counts
  };
  Sampled Sample(std::span<const GroupMember> members,
                 const at::Tensor& logits) const;

 private:
  const at::Tensor& Rotations(const cache::Grid& grid,
                              const cache::Grid& rope_grid);
  // Enqueues what tells how many logits of each member are not finite.
  void AskForVerdict(const at::Tensor& not_finite);

  const InfinityTransformer* transformer_;
  std::map<std::array<int, 4>, at::Tensor> rotations_;  // of every grid seen
  AttentionChoice attention_ = AttentionChoice::kFastest;
  UploadBuffers uploads_;
  // The device's from AskForVerdict until `judged_` has happened, else the
  // host's: int32 [members or more], page-locked.
  at::Tensor verdict_;
  c10::cuda::CUDAEvent judged_;
  Recorder recorder_;
  // By grid, grid of positions, scale, tokens up to it, whether it is the last,
  // branches, capacity, slots and the size of the largest table.
  std::map<std::array<std::int64_t, 11>, std::unique_ptr<RecordedStep>>
      recorded_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_GROUP_STEP_H_
