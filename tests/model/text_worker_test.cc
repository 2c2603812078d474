#include "model/text/text_worker.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace heatkv::model {
namespace {

// Encodes a prompt as its length, once a gate is open.
class TextWorkerTest : public testing::Test {
 protected:
  ~TextWorkerTest() override { Open(); }

  TextWorker::Encode Gated() {
    return [this](const std::string& prompt) -> absl::StatusOr<at::Tensor> {
      ++encodings_;
      encoded_by_ = std::this_thread::get_id();
      opened_.wait();
      if (prompt == "bad") return absl::InvalidArgumentError("a bad prompt");
      return at::full({1}, static_cast<float>(prompt.size()));
    };
  }
  void Open() {
    if (!is_open_) gate_.set_value();
    is_open_ = true;
  }
  static float Value(const absl::StatusOr<at::Tensor>& result) {
    return result.ok() ? result->item<float>() : -1;
  }

  std::promise<void> gate_;
  std::shared_future<void> opened_ = gate_.get_future().share();
  bool is_open_ = false;
  std::atomic<int> encodings_ = 0;
  std::atomic<std::thread::id> encoded_by_;
};

TEST_F(TextWorkerTest, WhatIsPreparedIsEncodedOnceAndOnAnotherThread) {
  TextWorker worker(Gated());
  worker.Prepare("fox");
  worker.Prepare("fox");
  EXPECT_FALSE(worker.IsReady("fox"));
  EXPECT_TRUE(worker.IsReady("another"));
  Open();
  EXPECT_EQ(Value(worker.Take("fox")), 3);
  EXPECT_EQ(encodings_, 1);
  EXPECT_NE(encoded_by_.load(), std::this_thread::get_id());
}

TEST_F(TextWorkerTest, APromptIsReadyOnceItIsEncoded) {
  TextWorker worker(Gated());
  worker.Prepare("fox");
  worker.Prepare("lighthouse");
  Open();
  EXPECT_EQ(Value(worker.Take("lighthouse")), 10);
  EXPECT_TRUE(worker.IsReady("fox"));  // it came first
  EXPECT_EQ(Value(worker.Take("fox")), 3);
}

TEST_F(TextWorkerTest, WhatNobodyPreparedIsEncodedWhenItIsTaken) {
  Open();
  TextWorker worker(Gated());
  EXPECT_EQ(Value(worker.Take("fox")), 3);
  EXPECT_EQ(Value(worker.Take("fox")), 3);  // it was forgotten
  EXPECT_EQ(encodings_, 2);
}

TEST_F(TextWorkerTest, AnErrorBelongsToItsPrompt) {
  Open();
  TextWorker worker(Gated());
  worker.Prepare("bad");
  worker.Prepare("good");
  EXPECT_EQ(worker.Take("bad").status().message(), "a bad prompt");
  EXPECT_EQ(Value(worker.Take("good")), 4);
}

TEST_F(TextWorkerTest, WhatNobodyTakesMakesRoomForNewerPrompts) {
  Open();
  TextWorker worker(Gated());
  const int many = 3 * TextWorker::kMost;
  for (int i = 0; i < many; ++i) {
    const std::string prompt(i + 1, 'x');
    worker.Prepare(prompt);
    EXPECT_EQ(Value(worker.Take(prompt)), i + 1);
    worker.Prepare(absl::StrCat("left behind ", i));
  }
  // More than all there is room for were left behind, and the last is here.
  const int before = encodings_;
  EXPECT_GT(Value(worker.Take(absl::StrCat("left behind ", many - 1))), 0);
  EXPECT_LE(encodings_, before + 1);
}

TEST_F(TextWorkerTest, WhenNothingIsDoneNewPromptsAreNotTakenOn) {
  TextWorker worker(Gated());
  for (int i = 0; i < 2 * static_cast<int>(TextWorker::kMost); ++i) {
    worker.Prepare(std::string(i + 1, 'x'));
  }
  EXPECT_FALSE(worker.IsReady(std::string(TextWorker::kMost, 'x')));
  // Nobody waits for it.
  EXPECT_TRUE(worker.IsReady(std::string(TextWorker::kMost + 1, 'x')));
  Open();
  EXPECT_EQ(Value(worker.Take(std::string(TextWorker::kMost + 1, 'x'))),
            TextWorker::kMost + 1);
}

TEST_F(TextWorkerTest, EndsWithPromptsThatNobodyTook) {
  Open();
  TextWorker worker(Gated());
  for (int i = 0; i < 5; ++i) worker.Prepare(std::string(i + 1, 'x'));
}

}  // namespace
}  // namespace heatkv::model
