#include "tests/server/engine_fixture.h"

#include <utility>

#include "base/check.h"
#include "cache/ranking.h"

namespace heatkv::server {

namespace {

std::shared_ptr<const ScheduleBook> CreateFakeBook() {
  const std::vector<std::vector<double>> scores = {{0.1, 0.4, 0.3, 0.2},
                                                   {0.4, 0.1, 0.2, 0.3}};
  const auto ranking = cache::RankingFromScores(2, 2, 2, scores);
  HEATKV_CHECK_OK(ranking.status());
  const model::FakeModel model(std::make_shared<model::FakeModel::Script>());
  auto book = ScheduleBook::Create(
      model.spec(), model.cache_geometry(), &*ranking,
      {{"full", cache::Budget::Full()}, {"half", *cache::Budget::Create(0.5)}},
      [](const cache::Schedule& s) { return "hash of " + s.policy(); });
  HEATKV_CHECK_OK(book.status());
  return std::make_shared<const ScheduleBook>(*std::move(book));
}

}  // namespace

std::shared_ptr<const ScheduleBook> MakeFakeBook() {
  static const auto* const book =
      new std::shared_ptr<const ScheduleBook>(CreateFakeBook());
  return *book;
}

void EngineFixture::MakeEngine(int images, EngineOptions options) {
  const auto book = MakeFakeBook();
  const cache::Trajectory& full = *book->plan(0, 0).guided;
  if (options.pool_blocks == 0) {
    options.pool_blocks = images * full.peak_blocks();
  }
  auto engine =
      Engine::Create(options, std::make_unique<model::FakeModel>(script_), book,
                     &clock_, &observer_);
  ASSERT_TRUE(engine.ok()) << engine.status();
  engine_ = *std::move(engine);
}

GenerationRequest EngineFixture::Request(const std::string& prompt,
                                         std::uint64_t first, int images,
                                         int tier) {
  GenerationRequest request;
  request.prompt = prompt;
  request.book = MakeFakeBook();
  request.tier = tier;
  request.least_tier = tier;
  request.guidance = 3.0;
  for (int i = 0; i < images; ++i) request.seeds.push_back(first + i);
  return request;
}

std::shared_ptr<RecordingSink> EngineFixture::Submit(
    GenerationRequest request) {
  auto sink = std::make_shared<RecordingSink>();
  const auto number = engine_->Submit(std::move(request), sink);
  EXPECT_TRUE(number.ok()) << number.status();
  if (number.ok()) last_number_ = *number;
  return sink;
}

model::RgbImage EngineFixture::Alone(const GenerationRequest& request) {
  const FakeClock clock;
  RecordingObserver observer;
  const auto book = MakeFakeBook();
  EngineOptions options;
  options.pool_blocks = book->plan(0, 0).guided->peak_blocks();
  auto engine =
      Engine::Create(options,
                     std::make_unique<model::FakeModel>(
                         std::make_shared<model::FakeModel::Script>()),
                     book, &clock, &observer);
  HEATKV_CHECK_OK(engine.status());
  auto sink = std::make_shared<RecordingSink>();
  HEATKV_CHECK_OK((*engine)->Submit(request, sink).status());
  while ((*engine)->RunOnce()) {
  }
  HEATKV_CHECK_OK(*sink->status);
  return sink->All<ImageEvent>()[0].picture;
}

}  // namespace heatkv::server
