#include "model/cuda/group_step.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/cuda/group_layers.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/row_texts.h"
#include "model/cuda/step_tables.h"
#include "model/infinity/rope2d.h"
#include "model/kernels/embed_codes.h"
#include "model/kernels/sample_bits.h"

namespace heatkv::model {
namespace {

// Members of a group, as a rule at most (GroupCapacity).
constexpr std::int64_t kUsualMembers = 16;

std::int32_t Bits(float value) { return std::bit_cast<std::int32_t>(value); }

// What a group's slots bring.
struct Slots {
  std::vector<const cache::StepPlan*> plans;  // of the members
  std::vector<at::Tensor> inputs;             // of all slots (GroupInput)
  std::vector<const TextCondition*> texts;    // of all rows
};

// Enqueues the members' inputs, for `count` slots.
Slots Gather(std::span<const GroupMember> members, int count) {
  const ImageInFlight& first = *members[0].image;
  Slots slots;
  for (int slot = 0; slot < count; ++slot) {
    const bool has_image = slot < static_cast<int>(members.size());
    const GroupMember& member = members[has_image ? slot : 0];
    if (has_image) {
      HEATKV_CHECK_EQ(member.image->next_scale(), first.next_scale());
      HEATKV_CHECK_EQ(member.image->branches(), first.branches());
      HEATKV_CHECK_EQ(member.plan->scale, first.next_scale());
      HEATKV_CHECK_EQ(member.plan->branches, first.branches());
      slots.plans.push_back(member.plan);
      slots.inputs.push_back(first.next_scale() == 0
                                 ? member.image->Input()
                                 : member.image->input_codes());
    } else {
      slots.inputs.push_back(slots.inputs[0]);
    }
    for (const TextCondition* text : member.image->texts()) {
      slots.texts.push_back(text);
    }
  }
  return slots;
}

}  // namespace

absl::Status GroupStep::CheckShape(const TransformerSpec& spec) {
  if (spec.head_width() % 8 != 0 || spec.head_width() > 256) {
    return absl::InvalidArgumentError(
        absl::StrCat("a GPU takes head widths that are multiples of 8 up to "
                     "256; the model has ",
                     spec.head_width()));
  }
  if (spec.bits_per_token() > kernels::kMostEmbeddedBits) {
    return absl::InvalidArgumentError(
        absl::StrCat("a GPU takes up to ", kernels::kMostEmbeddedBits,
                     " bits a token; the model has ", spec.bits_per_token()));
  }
  if (spec.width > 8192) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a GPU takes widths up to 8192; the model has ", spec.width));
  }
  return absl::OkStatus();
}

const at::Tensor& GroupStep::Rotations(const cache::Grid& grid,
                                       const cache::Grid& rope_grid) {
  at::Tensor& rotations =
      rotations_[{grid.height, grid.width, rope_grid.height, rope_grid.width}];
  if (!rotations.defined()) {
    rotations =
        at::view_as_real(RopeRotations(grid, rope_grid,
                                       transformer_->spec().head_width(),
                                       transformer_->device()))
            .contiguous();
  }
  return rotations;
}

at::Tensor GroupStep::Logits(std::span<const GroupMember> members, int capacity,
                             KeyValueArena& arena) {
  HEATKV_CHECK(!members.empty());
  HEATKV_CHECK_LE(members.size(), capacity);
  const ImageInFlight& first = *members[0].image;
  const int scale = first.next_scale();
  HEATKV_CHECK_LT(scale, first.num_scales());
  const cache::Grid& grid = first.options().grids[scale];
  const cache::Grid& rope_grid = first.options().rope_grid;
  const int branches = first.branches();
  const LayerProducts products =
      ProductsFor(transformer_->spec(), branches * grid.tokens());
  const bool is_alone =
      products == LayerProducts::kOfFewRows && members.size() == 1;
  const int count = is_alone ? 1 : capacity;
  Slots slots = Gather(members, count);
  const bool is_last = scale + 1 == first.num_scales();
  std::vector<std::int64_t> earlier;  // tokens
  std::int64_t tokens_so_far = grid.tokens();
  for (int s = 0; s < scale; ++s) {
    earlier.push_back(first.options().grids[s].tokens());
    tokens_so_far += earlier.back();
  }
  const std::vector<kernels::RowText> texts = RowTexts(slots.texts);
  const StepTableLayout layout({.capacity = count,
                                .branches = branches,
                                .layers = slots.plans[0]->layers,
                                .heads = slots.plans[0]->heads,
                                .tokens = grid.tokens(),
                                .earlier = earlier,
                                .is_last = is_last});
  // Room for whatever a schedule may keep, so that it need not grow later.
  const std::int64_t room = layout.MostValues();
  uploads_.Reserve(room);
  const at::Tensor rotations = Rotations(grid, rope_grid);
  std::unique_ptr<RecordedStep>& recorded = recorded_[{
      grid.height, grid.width, rope_grid.height, rope_grid.width, scale,
      tokens_so_far, is_last, branches, capacity, count, room}];
  if (recorded == nullptr) {
    std::vector<std::int64_t> shape = slots.inputs[0].sizes().vec();
    shape[0] *= count;
    recorded = std::make_unique<RecordedStep>(
        recorder_, shape, *slots.texts[0], layout,
        [&](const at::Tensor& input, const GroupModulations& modulations,
            const StepTables& tables) {
          // Staging has room for whole caches.
          return GroupLogits(*transformer_,
                             GroupInput(*transformer_, scale, input, branches),
                             modulations, rotations, tables,
                             layout.sequences() * tokens_so_far, tokens_so_far,
                             attention_, products, capacity * branches, arena)
              .view({count, branches, grid.tokens(), -1});
        });
  }
  // What the device can do without the tables is enqueued before the host
  // writes them.
  at::Tensor input = recorded->input();
  at::cat_out(input, slots.inputs);
  recorded->modulations().Fill(slots.texts);
  const std::int64_t values = layout.Values(slots.plans);
  layout.Write(slots.plans, texts, uploads_.Next(values));
  uploads_.Send(recorded->table(), values);
  return recorded->Replay();
}

GroupStep::Sampled GroupStep::Sample(std::span<const GroupMember> members,
                                     const at::Tensor& logits) const {
  const int scale = members[0].image->next_scale();
  std::vector<std::int32_t> knobs;
  for (const GroupMember& member : members) {
    const ImageInFlight::Options& options = member.image->options();
    const double guidance = options.guidance[scale];
    const std::int32_t words[] = {
        Bits(static_cast<float>(1.0 / options.tau[scale])),
        Bits(static_cast<float>(guidance)),
        Bits(static_cast<float>(1.0 - guidance)),
        Bits(static_cast<float>(1.0 - options.top_p)),
        static_cast<std::int32_t>(member.seed),
        static_cast<std::int32_t>(member.seed >> 32),
        static_cast<std::int32_t>(member.number),
        scale};
    static_assert(sizeof(words) == sizeof(kernels::SampleKnobs));
    knobs.insert(knobs.end(), std::begin(words), std::end(words));
  }
  const at::Tensor uploaded = Upload(knobs);
  const auto images = static_cast<std::int64_t>(members.size());
  Sampled sampled;
  sampled.bits =
      at::empty({images, logits.size(2), logits.size(3) / 2},
                at::TensorOptions(at::kBool).device(logits.device()));
  sampled.not_finite =
      at::zeros({images}, at::TensorOptions(at::kInt).device(logits.device()));
  kernels::SampleBits work;
  work.logits = logits.const_data_ptr<float>();
  work.knobs = reinterpret_cast<const kernels::SampleKnobs*>(
      uploaded.const_data_ptr<int>());
  work.out = sampled.bits.mutable_data_ptr<bool>();
  work.not_finite = sampled.not_finite.mutable_data_ptr<int>();
  work.images = static_cast<int>(images);
  work.branches = static_cast<int>(logits.size(1));
  work.tokens = static_cast<int>(logits.size(2));
  work.bits = static_cast<int>(logits.size(3) / 2);
  kernels::Launch(work, CurrentStream());
  return sampled;
}

void GroupStep::AskForVerdict(const at::Tensor& not_finite) {
  if (!verdict_.defined() || verdict_.numel() < not_finite.numel()) {
    verdict_ = at::empty({std::max(kUsualMembers, not_finite.numel())},
                         at::TensorOptions(at::kInt).pinned_memory(true));
  }
  verdict_.narrow(0, 0, not_finite.numel())
      .copy_(not_finite, /*non_blocking=*/true);
  judged_.record();
}

std::vector<absl::Status> GroupStep::Run(std::span<const GroupMember> members,
                                         int capacity, KeyValueArena& arena) {
  const int scale = members[0].image->next_scale();
  const at::Tensor logits = Logits(members, capacity, arena);
  const Sampled sampled = Sample(members, logits);
  AskForVerdict(sampled.not_finite);
  // The device goes on with this while the host already prepares the next step.
  for (std::size_t i = 0; i < members.size(); ++i) {
    members[i].image->Accept(sampled.bits[i]);
  }
  judged_.synchronize();
  std::vector<absl::Status> statuses;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const int count = verdict_.const_data_ptr<int>()[i];
    statuses.push_back(count == 0 ? absl::OkStatus()
                                  : absl::InternalError(absl::StrCat(
                                        "scale ", scale, ": ", count, " of ",
                                        logits.numel() / logits.size(0),
                                        " logits are not finite")));
  }
  return statuses;
}

}  // namespace heatkv::model
