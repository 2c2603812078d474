#include "bench/measured_engine.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <variant>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "calibration/schedule_file.h"
#include "model/api/random_ranking.h"
#include "model/infinity_backend.h"
#include "server/config/model_yaml.h"

namespace heatkv::server {
namespace {

class Picture final : public EventSink {
 public:
  void OnEvent(EngineEvent event) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::holds_alternative<PreviewEvent>(event) &&
        preview_ == absl::InfiniteFuture()) {
      preview_ = absl::Now();
    }
    if (auto* image = std::get_if<ImageEvent>(&event)) {
      pixels_ = image->picture.pixels.size();
    }
  }

  void OnFinished(const absl::Status& end, const RequestUsage&) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    finished_ = absl::Now();
    status_ = end.ok() && pixels_ == 0
                  ? absl::InternalError("a request ended without its picture")
                  : end;
    has_finished_.notify_all();
  }

  absl::Status Await() {
    std::unique_lock<std::mutex> lock(mutex_);
    has_finished_.wait(lock, [&] { return finished_ > absl::InfinitePast(); });
    return status_;
  }

  // After Await.
  absl::Time finished() const { return finished_; }
  absl::Time preview() const { return preview_; }  // the first one

 private:
  std::mutex mutex_;
  std::condition_variable has_finished_;
  absl::Status status_;
  absl::Time finished_ = absl::InfinitePast();
  absl::Time preview_ = absl::InfiniteFuture();
  std::size_t pixels_ = 0;
};

// About 50 tokens with the tokenizers of the family.
std::string Prompt(int number) {
  return absl::StrCat(
      "picture ", number,
      ": a red fox and two small birds in front of a lighthouse at sea, a boat "
      "far away, evening light, calm water");
}

}  // namespace

absl::StatusOr<std::unique_ptr<MeasuredEngine>> MeasuredEngine::Start(
    const MeasuredEngineOptions& options) {
  auto made = absl::WrapUnique(new MeasuredEngine);
  model::ModelSpec& spec = made->spec_;
  ASSIGN_OR_RETURN(spec, LoadModelSpec(options.model));
  spec.ladders.erase(spec.ladders.begin() + 1, spec.ladders.end());
  spec.group_rows = options.group_rows.value_or(spec.group_rows);

  const absl::Time begin = absl::Now();
  model::InfinityBackend::Options backend;
  backend.device = options.device;
  backend.random_weights = options.seed;
  // With random weights, the tokenizer is all that is read from the folder.
  ASSIGN_OR_RETURN(auto model, model::InfinityBackend::Create(
                                   spec, options.tokenizer, backend));
  Moments& moments = made->moments_;
  moments.load_seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  model::ReleaseUnusedMemory();
  moments.loaded = model::ReadMemory(options.gpu);

  ASSIGN_OR_RETURN(const cache::Ranking ranking,
                   model::RandomRanking(spec, options.seed));
  ASSIGN_OR_RETURN(const cache::Budget budget,
                   cache::Budget::Create(options.budget));
  const cache::CacheGeometry geometry = model->cache_geometry();
  std::vector<TierSpec> tiers = {{"bench", budget}};
  ASSIGN_OR_RETURN(
      ScheduleBook book,
      ScheduleBook::Create(spec, geometry, &ranking, std::move(tiers),
                           calibration::ScheduleSha256));
  made->book_ = std::make_shared<const ScheduleBook>(std::move(book));
  const std::int64_t blocks = made->book_->plan(0, 0)
                                  .trajectory(made->is_guided() ? 2 : 1)
                                  ->peak_blocks();
  made->image_bytes_ = blocks * geometry.block_bytes();

  EngineOptions engine;
  engine.cached_prompts = 1;  // the last one may come again
  engine.pool_blocks = options.most_images * blocks;
  made->times_.SetMemoryReader(
      [gpu = options.gpu] { return model::AllocatedMemory(gpu); });
  made->pool_bytes_ = engine.pool_blocks * geometry.block_bytes();
  ASSIGN_OR_RETURN(made->engine_,
                   Engine::Create(engine, std::move(model), made->book_,
                                  &made->clock_, &made->times_));
  const absl::Time warm = absl::Now();
  made->engine_->Start();
  RETURN_IF_ERROR(made->engine_->AwaitWarm());
  moments.warm_seconds = absl::ToDoubleSeconds(absl::Now() - warm);
  moments.ready = model::ReadMemory(options.gpu);
  return made;
}

absl::StatusOr<MeasuredEngine::Made> MeasuredEngine::Generate(
    int images, std::vector<bool> previews) {
  std::vector<std::string> prompts;
  for (int i = 0; i < images; ++i) prompts.push_back(Prompt(++made_prompts_));
  return Generate(prompts, previews);
}

absl::StatusOr<MeasuredEngine::Made> MeasuredEngine::GenerateAgain() {
  return Generate({Prompt(made_prompts_)}, {});
}

absl::StatusOr<MeasuredEngine::Made> MeasuredEngine::Generate(
    const std::vector<std::string>& prompts,
    const std::vector<bool>& previews) {
  std::vector<std::shared_ptr<Picture>> pictures;
  const absl::Time start = absl::Now();
  for (const std::string& prompt : prompts) {
    GenerationRequest request;
    request.book = book_;
    request.prompt = prompt;
    request.guidance = spec_.defaults.guidance;
    request.tau = spec_.defaults.tau;
    request.top_p = spec_.defaults.top_p;
    request.seeds = {++made_};
    request.preview_after = previews;
    pictures.push_back(std::make_shared<Picture>());
    RETURN_IF_ERROR(
        engine_->Submit(std::move(request), pictures.back()).status());
  }
  absl::Time end = start;
  absl::Time preview = absl::InfiniteFuture();
  absl::Status status;
  for (const auto& picture : pictures) {
    status.Update(picture->Await());
    end = std::max(end, picture->finished());
    preview = std::min(preview, picture->preview());
  }
  RETURN_IF_ERROR(status);
  Made made;
  made.seconds = absl::ToDoubleSeconds(end - start);
  if (preview != absl::InfiniteFuture()) {
    made.first_preview = absl::ToDoubleSeconds(preview - start);
  }
  return made;
}

absl::StatusOr<int> MeasuredEngine::PromptTokens() const {
  return engine_->CountTokens(Prompt(1));
}

}  // namespace heatkv::server
