#include "server/rpc/reader_patience.h"

#include <memory>

#include "gtest/gtest.h"
#include "server/rpc/stream_watch.h"

namespace heatkv::server {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

TEST(ReaderPatienceTest, SilenceIsSeenAfterTheHeartbeat) {
  const ReaderPatience patience(absl::Seconds(3), absl::Seconds(5), kStart);
  EXPECT_EQ(patience.Judge(kStart + absl::Milliseconds(2999)),
            ReaderState::kFine);
  EXPECT_EQ(patience.Judge(kStart + absl::Seconds(3)), ReaderState::kSilence);
}

TEST(ReaderPatienceTest, AWriteThatIsNotDoneIsAStallAndThenALoss) {
  ReaderPatience patience(absl::Seconds(3), absl::Seconds(5), kStart);
  patience.WriteBegins(kStart + absl::Seconds(1));
  EXPECT_EQ(patience.Judge(kStart + absl::Seconds(5)), ReaderState::kFine);
  EXPECT_EQ(patience.Judge(kStart + absl::Seconds(6)), ReaderState::kStalls);
  EXPECT_EQ(patience.Judge(kStart + absl::Seconds(10)), ReaderState::kStalls);
  EXPECT_EQ(patience.Judge(kStart + absl::Seconds(11)), ReaderState::kLost);
}

TEST(ReaderPatienceTest, AWriteThatIsDoneBeginsANewSilence) {
  ReaderPatience patience(absl::Seconds(3), absl::Seconds(5), kStart);
  patience.WriteBegins(kStart);
  patience.WriteEnds(kStart + absl::Seconds(4));
  EXPECT_EQ(patience.Judge(kStart + absl::Seconds(6)), ReaderState::kFine);
  EXPECT_EQ(patience.Judge(kStart + absl::Seconds(7)), ReaderState::kSilence);
}

class CountingStream final : public WatchedStream {
 public:
  void LookAfter() override { ++looks; }
  int looks = 0;
};

TEST(StreamWatchTest, LooksAtEveryStreamThatIsStillThere) {
  int rounds = 0;
  StreamWatch watch(absl::Hours(24), [&] { ++rounds; });
  const auto stays = std::make_shared<CountingStream>();
  auto goes = std::make_shared<CountingStream>();
  watch.Add(stays);
  watch.Add(goes);
  watch.LookNow();
  EXPECT_EQ(goes->looks, 1);
  goes.reset();
  watch.LookNow();
  EXPECT_EQ(stays->looks, 2);
  EXPECT_EQ(rounds, 2);
}

}  // namespace
}  // namespace heatkv::server
