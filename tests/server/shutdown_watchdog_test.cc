#include "server/shutdown_watchdog.h"

#include <cstdio>
#include <future>

#include "gtest/gtest.h"

namespace heatkv::server {
namespace {

TEST(ShutdownWatchdogTest, BarksOnceTheTimeIsOver) {
  std::promise<void> barked;
  ShutdownWatchdog watchdog([&] { barked.set_value(); });
  watchdog.Arm(absl::Milliseconds(1));
  barked.get_future().wait();
}

TEST(ShutdownWatchdogTest, ALaterCallCanOnlyShortenTheTime) {
  std::promise<void> barked;
  ShutdownWatchdog watchdog([&] { barked.set_value(); });
  watchdog.Arm(absl::Hours(1));
  watchdog.Arm(absl::Milliseconds(1));
  watchdog.Arm(absl::InfiniteDuration());
  barked.get_future().wait();
}

TEST(ShutdownWatchdogTest, IsSilentIfAllEndsInTime) {
  bool barked = false;
  {
    ShutdownWatchdog watchdog([&] { barked = true; });
    watchdog.Arm(absl::Hours(1));
  }
  {
    ShutdownWatchdog never_armed([&] { barked = true; });
  }
  EXPECT_FALSE(barked);
}

TEST(ShutdownWatchdogDeathTest, AStuckProgramEndsWithItsOwnStatus) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        EventLog log(stderr);
        ShutdownWatchdog watchdog([&] { ExitStuck(&log); });
        watchdog.Arm(absl::Milliseconds(1));
        std::promise<void> never;
        never.get_future().wait();
      },
      testing::ExitedWithCode(kExitStuck), "level=error event=stuck");
}

}  // namespace
}  // namespace heatkv::server
