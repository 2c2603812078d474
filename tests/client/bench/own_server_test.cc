#include "client/bench/own_server.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(OwnServerFlagsTest, AreWantedAsSoonAsOneIsGiven) {
  EXPECT_FALSE(OwnServerFlags().IsWanted());
  OwnServerFlags device, program;
  device.device = "cuda";
  program.program = "bin/heatkv_server";
  EXPECT_TRUE(device.IsWanted());
  EXPECT_TRUE(program.IsWanted());
}

TEST(OwnServerFlagsTest, ArePassedOnAsTheyAre) {
  OwnServerFlags flags;
  EXPECT_THAT(ServerArguments(flags), IsEmpty());
  flags.model = "infinity-2b";
  flags.random_weights = "1";
  flags.tokenizer = "models/default";
  flags.device = "cuda:0,cuda:1";
  flags.pool = "3 GiB";
  EXPECT_THAT(ServerArguments(flags),
              ElementsAre("--model=infinity-2b", "--random_weights=1",
                          "--tokenizer=models/default",
                          "--device=cuda:0,cuda:1", "--pool=3 GiB"));
  OwnServerFlags other;
  other.config = "a file.yaml";
  EXPECT_THAT(ServerArguments(other), ElementsAre("--config=a file.yaml"));
}

TEST(LastComplaintsTest, LeavesOutWhatIsNoComplaint) {
  EXPECT_EQ(LastComplaints("time=1 level=info event=starting\n"
                           "time=2 level=warning event=random_weights\n\n"
                           "heatkv_server: error: no memory:\n  2 of 1\n"),
            "time=2 level=warning event=random_weights\n"
            "heatkv_server: error: no memory:\n  2 of 1");
}

TEST(LastComplaintsTest, ShowsEventsIfThereIsNothingElse) {
  EXPECT_EQ(LastComplaints("time=1 level=info event=starting\n"),
            "time=1 level=info event=starting");
  EXPECT_EQ(LastComplaints(""), "");
}

TEST(LastComplaintsTest, ShowsTheLastTenLines) {
  std::string output;
  for (int i = 0; i < 30; ++i) absl::StrAppend(&output, "line ", i, "\n");
  EXPECT_THAT(LastComplaints(output), HasSubstr("line 20\n"));
  EXPECT_THAT(LastComplaints(output), Not(HasSubstr("line 19\n")));
  EXPECT_THAT(LastComplaints(output), HasSubstr("line 29"));
}

TEST(ProcessEndTest, IsToldInWords) {
  EXPECT_EQ(Describe(ProcessEnd{.exit_code = 2}), "exit status 2");
  EXPECT_EQ(Describe(ProcessEnd{.signal = 9}), "signal 9 (Killed)");
  EXPECT_TRUE(ProcessEnd{}.ok());
  EXPECT_FALSE((ProcessEnd{.signal = 9}.ok()));
}

}  // namespace
}  // namespace heatkv::client
