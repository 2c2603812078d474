#include "server/rpc/result_store.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/result_folder.h"

namespace heatkv::server {
namespace {

namespace fs = std::filesystem;

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ResultFolderTest : public testing::Test {
 protected:
  ResultFolderTest()
      : folder_(fs::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
  }
  ~ResultFolderTest() override { fs::remove_all(folder_); }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& file : fs::directory_iterator(folder_)) {
      names.push_back(file.path().filename());
    }
    return names;
  }

  const fs::path folder_;
};

TEST(MemoryStoreTest, GivesBackWhatWasPut) {
  const auto store = MakeMemoryStore();
  const auto result = store->Put("a", "bytes");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ((*result)->size(), 5);
  EXPECT_EQ(*(*result)->Read(), "bytes");
}

TEST_F(ResultFolderTest, AResultIsAFileAsLongAsSomebodyHoldsIt) {
  const auto store = OpenResultFolder(folder_);
  ASSERT_TRUE(store.ok()) << store.status();
  auto result = (*store)->Put("job-0", std::string("a\0b", 3));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(Files(), ElementsAre("heatkv-job-0.result"));
  EXPECT_EQ(*(*result)->Read(), std::string("a\0b", 3));
  result->reset();
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ResultFolderTest, FilesOfEarlierRunsAreRemovedAndNoOthers) {
  fs::create_directories(folder_);
  for (const char* name :
       {"heatkv-old.result", "heatkv-old.result.partial", "other.png"}) {
    std::ofstream(folder_ / name) << "x";
  }
  ASSERT_TRUE(OpenResultFolder(folder_).ok());
  EXPECT_THAT(Files(), ElementsAre("other.png"));
}

TEST_F(ResultFolderTest, AFolderIsOneServersAsLongAsItLives) {
  auto first = OpenResultFolder(folder_);
  ASSERT_TRUE(first.ok());
  const auto result = (*first)->Put("job-0", "bytes");
  ASSERT_TRUE(result.ok());
  const auto second = OpenResultFolder(folder_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(second.status().message()),
      testing::AllOf(HasSubstr(folder_.string()), HasSubstr("another server")));
  EXPECT_EQ(*(*result)->Read(), "bytes")
      << "the first one's files were touched";
  first->reset();
  EXPECT_TRUE(OpenResultFolder(folder_).ok());
}

TEST_F(ResultFolderTest, AFolderThatCannotBeUsedIsNamed) {
  std::ofstream(folder_.string()) << "a file";
  const auto store = OpenResultFolder(folder_ / "inside");
  EXPECT_EQ(store.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(store.status().message()),
              HasSubstr((folder_ / "inside").string()));
}

TEST_F(ResultFolderTest, AFileThatIsGoneIsAnErrorThatNamesIt) {
  const auto store = OpenResultFolder(folder_);
  const auto result = (*store)->Put("a", "bytes");
  fs::remove(folder_ / "heatkv-a.result");
  EXPECT_EQ((*result)->Read().status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string((*result)->Read().status().message()),
              HasSubstr("heatkv-a.result"));
}

TEST_F(ResultFolderTest, WhatDoesNotFitLeavesNothingBehind) {
  const auto store = OpenResultFolder(folder_);
  ASSERT_TRUE(store.ok());
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const auto signal_before = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const auto large = (*store)->Put("large", std::string(5000, 'x'));
  const auto fits = (*store)->Put("fits", std::string(900, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, signal_before);
  EXPECT_EQ(large.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(large.status().message()),
              testing::AllOf(HasSubstr("heatkv-large.result"),
                             HasSubstr("File too large"),
                             HasSubstr("1000 of 5000 bytes")));
  EXPECT_TRUE(fits.ok());
  EXPECT_THAT(Files(), ElementsAre("heatkv-fits.result"));
}

}  // namespace
}  // namespace heatkv::server
