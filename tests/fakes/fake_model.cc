#include "tests/fakes/fake_model.h"

#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "cache/ladder.h"

namespace heatkv::model {
namespace {

constexpr int kMaxTokens = 64;

// FNV-1a: stable between runs and machines.
class Hash {
 public:
  void Mix(std::uint64_t value) {
    for (int i = 0; i < 8; ++i) {
      state_ = (state_ ^ ((value >> (8 * i)) & 0xff)) * 0x100000001b3u;
    }
  }
  void Mix(std::string_view text) {
    for (const char c : text) Mix(static_cast<std::uint64_t>(c));
  }
  std::uint64_t state() const { return state_; }

 private:
  std::uint64_t state_ = 0xcbf29ce484222325u;
};

class FakeText final : public EncodedText {
 public:
  explicit FakeText(std::string prompt) : prompt(std::move(prompt)) {}
  int tokens() const override { return static_cast<int>(prompt.size()) + 1; }
  std::int64_t bytes() const override { return 1000 * tokens(); }

  const std::string prompt;
};

class FakeImage final : public ImageState {
 public:
  FakeImage(std::shared_ptr<FakeModel::Script> script, std::string prompt,
            const cache::ScaleLadder& ladder, const SamplingKnobs& knobs)
      : script(std::move(script)),
        prompt(std::move(prompt)),
        ladder(ladder),
        knobs(knobs) {
    ++this->script->live_images;
    hash.Mix(this->prompt);
    hash.Mix(knobs.seed);
    for (int s = 0; s < ladder.num_scales(); ++s) {
      hash.Mix(
          static_cast<std::uint64_t>(std::lround(knobs.guidance[s] * 1e4)));
      hash.Mix(static_cast<std::uint64_t>(std::lround(knobs.tau[s] * 1e4)));
    }
    hash.Mix(static_cast<std::uint64_t>(std::lround(knobs.top_p * 1e4)));
  }
  ~FakeImage() override { --script->live_images; }

  int next_scale() const override { return scale; }

  std::shared_ptr<FakeModel::Script> script;
  std::string prompt;
  cache::ScaleLadder ladder;
  SamplingKnobs knobs;
  int ladder_index = 0;
  int scale = 0;
  Hash hash;
};

// Whether the image's part of a step comes off.
absl::Status Attempt(FakeModel::Script& script, const FakeImage& image) {
  script.steps.push_back(
      absl::StrCat(image.prompt, "/", image.knobs.seed, "/", image.scale));
  if (script.on_step) {
    if (absl::Status status =
            script.on_step(image.prompt, image.knobs.seed, image.scale);
        !status.ok()) {
      return status;
    }
  }
  const std::int64_t needed =
      script.live_images * script.image_bytes + script.step_bytes;
  if (needed > script.device_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the device has ", script.device_bytes,
                     " bytes; the step needs ", needed));
  }
  return absl::OkStatus();
}

// The image's hash takes in what its rows of `layer` find in the arena.
void ReadPrefixes(int layer, const StepItem& item,
                  const std::vector<std::uint64_t>& arena) {
  auto& image = static_cast<FakeImage&>(*item.image);
  const cache::StepPlan& plan = *item.plan;
  for (int row = plan.row(layer, 0, 0); row < plan.row(layer + 1, 0, 0);
       ++row) {
    for (const cache::BlockSpan& span : plan.prefix_of(row)) {
      for (int slot = span.first; slot < span.first + span.tokens; ++slot) {
        image.hash.Mix(arena[span.block * cache::kBlockTokens + slot]);
      }
    }
    image.hash.Mix(static_cast<std::uint64_t>(row));
  }
}

// The rows of `layer` write numbers that are the image's own.
void Store(int layer, const StepItem& item, std::vector<std::uint64_t>* arena) {
  const auto& image = static_cast<const FakeImage&>(*item.image);
  const cache::StepPlan& plan = *item.plan;
  for (int row = plan.row(layer, 0, 0); row < plan.row(layer + 1, 0, 0);
       ++row) {
    Hash number = image.hash;
    number.Mix(static_cast<std::uint64_t>(row));
    for (const cache::BlockSpan& span : plan.store_of(row)) {
      for (int slot = span.first; slot < span.first + span.tokens; ++slot) {
        number.Mix(1);
        (*arena)[span.block * cache::kBlockTokens + slot] = number.state();
      }
    }
  }
}

cache::ScaleLadder Ladder(std::vector<cache::Grid> grids) {
  auto ladder = cache::ScaleLadder::Create(std::move(grids), 2);
  HEATKV_CHECK_OK(ladder.status());
  return *ladder;
}

}  // namespace

ModelSpec FakeModel::MakeSpec() {
  ModelSpec spec;
  spec.name = "fake";
  spec.description = "a model without weights";
  spec.transformer.depth = 2;
  spec.transformer.width = 16;
  spec.transformer.heads = 2;
  spec.vae.channel_multipliers = {1, 2, 4};
  spec.tokenizer.max_length = kMaxTokens;
  spec.ladders.push_back({"1:1",
                          "tiny",
                          {6, 6},
                          Ladder({{1, 1}, {2, 2}, {3, 3}, {4, 4}, {6, 6}})});
  spec.ladders.push_back({"1:2",
                          "tiny",
                          {4, 8},
                          Ladder({{1, 1}, {1, 2}, {2, 4}, {3, 6}, {4, 8}})});
  return spec;
}

FakeModel::FakeModel(std::shared_ptr<Script> script, ModelSpec spec,
                     int bytes_per_value)
    : script_(std::move(script)),
      spec_(std::move(spec)),
      bytes_per_value_(bytes_per_value) {}

cache::CacheGeometry FakeModel::cache_geometry() const {
  return {.layers = spec_.transformer.depth,
          .heads = spec_.transformer.heads,
          .head_width = spec_.transformer.head_width(),
          .bytes_per_value = bytes_per_value_};
}

absl::Status FakeModel::CreateArena(std::int64_t blocks) {
  HEATKV_CHECK_EQ(script_->arena_blocks, 0) << "the arena is created once";
  script_->arena_blocks = blocks;
  arena_.assign(blocks * cache::kBlockTokens, 0);
  return absl::OkStatus();
}

absl::Status FakeModel::WarmUp() {
  return script_->on_warm_up ? script_->on_warm_up() : absl::OkStatus();
}

void FakeModel::PrepareText(std::string_view prompt) {
  script_->prepared_texts.emplace_back(prompt);
}

bool FakeModel::IsTextReady(std::string_view prompt) const {
  return !script_->prepares_texts || script_->ready_texts.contains(prompt);
}

absl::StatusOr<int> FakeModel::CountTokens(std::string_view prompt) const {
  return static_cast<int>(prompt.size()) + 1;
}

absl::StatusOr<std::shared_ptr<const EncodedText>> FakeModel::EncodeText(
    std::string_view prompt) {
  ++script_->encodings;
  Spend(script_->encode_cost);
  auto text = std::make_shared<const FakeText>(std::string(prompt));
  if (script_->on_encode) {
    if (absl::Status s = script_->on_encode(text->prompt); !s.ok()) return s;
  }
  if (text->tokens() > spec_.tokenizer.max_length) {
    return absl::InvalidArgumentError(
        absl::StrCat("the prompt has ", text->tokens(), " tokens, at most ",
                     spec_.tokenizer.max_length));
  }
  return std::shared_ptr<const EncodedText>(std::move(text));
}

absl::StatusOr<std::unique_ptr<ImageState>> FakeModel::StartImage(
    std::shared_ptr<const EncodedText> text, int ladder,
    const SamplingKnobs& knobs) {
  const auto& grids = spec_.ladders[ladder].ladder;
  HEATKV_CHECK_EQ(knobs.guidance.size(), grids.num_scales());
  HEATKV_CHECK_EQ(knobs.tau.size(), grids.num_scales());
  const std::int64_t needed = (script_->live_images + 1) * script_->image_bytes;
  if (needed > script_->device_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the device has ", script_->device_bytes,
                     " bytes; the images need ", needed));
  }
  auto image = std::make_unique<FakeImage>(
      script_, static_cast<const FakeText&>(*text).prompt, grids, knobs);
  image->ladder_index = ladder;
  return image;
}

void FakeModel::Spend(absl::Duration cost) {
  if (script_->spend) script_->spend(cost);
}

std::vector<absl::Status> FakeModel::Step(std::span<const StepItem> items) {
  HEATKV_CHECK(!items.empty());
  const cache::StepPlan& first = *items[0].plan;
  std::set<std::int32_t> written;
  std::vector<absl::Status> statuses;
  for (const StepItem& item : items) {
    const auto& image = static_cast<const FakeImage&>(*item.image);
    const cache::StepPlan& plan = *item.plan;
    HEATKV_CHECK_EQ(plan.scale, image.scale);
    HEATKV_CHECK_EQ(plan.scale, first.scale);
    HEATKV_CHECK_EQ(plan.branches, first.branches);
    HEATKV_CHECK_EQ(plan.branches, image.knobs.branches());
    HEATKV_CHECK_EQ(
        image.ladder_index,
        static_cast<const FakeImage&>(*items[0].image).ladder_index);
    std::set<std::int32_t> mine;
    for (const cache::BlockSpan& span : plan.store) {
      HEATKV_CHECK(span.block >= 0 && span.block < script_->arena_blocks);
      mine.insert(span.block);
    }
    for (const std::int32_t block : mine) {
      HEATKV_CHECK(written.insert(block).second) << "block in two hands";
    }
    statuses.push_back(Attempt(*script_, image));
  }
  HEATKV_CHECK_LE(
      items.size(),
      GroupCapacity(spec_,
                    static_cast<const FakeImage&>(*items[0].image).ladder_index,
                    first.scale, first.branches));
  script_->group_sizes.push_back(static_cast<int>(items.size()));
  for (int layer = 0; layer < first.layers; ++layer) {
    for (const StepItem& item : items) ReadPrefixes(layer, item, arena_);
    for (const StepItem& item : items) Store(layer, item, &arena_);
  }
  for (const StepItem& item : items) {
    ++static_cast<FakeImage&>(*item.image).scale;
  }
  if (script_->step_cost) {
    Spend(script_->step_cost(first.scale, static_cast<int>(items.size())));
  }
  return statuses;
}

absl::StatusOr<RgbImage> FakeModel::Decode(const ImageState& state) {
  const auto& image = static_cast<const FakeImage&>(state);
  Spend(script_->decode_cost);
  if (script_->on_decode) {
    if (absl::Status s = script_->on_decode(image.prompt); !s.ok()) return s;
  }
  const cache::Grid& last = image.ladder.grid(image.ladder.num_scales() - 1);
  RgbImage picture;
  picture.height = last.height * spec_.pixels_per_token();
  picture.width = last.width * spec_.pixels_per_token();
  std::uint64_t state_bits = image.hash.state();
  for (int i = 0; i < picture.height * picture.width * 3; ++i) {
    state_bits = state_bits * 6364136223846793005u + 1442695040888963407u;
    picture.pixels.push_back(static_cast<std::uint8_t>(state_bits >> 56));
  }
  return picture;
}

}  // namespace heatkv::model
