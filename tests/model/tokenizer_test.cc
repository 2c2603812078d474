#include "model/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/model/safetensors_writer.h"

namespace heatkv::model {
namespace {

using testing::HasSubstr;

constexpr char kModel[] = "tests/golden/text/tokenizer.model";

std::unique_ptr<const Tokenizer> Load() {
  auto tokenizer = Tokenizer::Load(kModel);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

// Ids by the sentencepiece Python package (tools/make_text_goldens.py).
TEST(TokenizerTest, GivesTheIdsOfThePythonPackage) {
  std::ifstream file("tests/golden/text/token_ids.json");
  const nlohmann::json goldens = nlohmann::json::parse(file);
  ASSERT_GT(goldens.size(), 10);
  const auto tokenizer = Load();
  for (const nlohmann::json& golden : goldens) {
    const auto ids = tokenizer->Encode(golden["text"].get<std::string>());
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, golden["ids"].get<std::vector<int>>()) << golden["text"];
  }
}

TEST(TokenizerTest, EndsEveryPromptWithTheEndOfSequencePiece) {
  const auto tokenizer = Load();
  EXPECT_EQ(*tokenizer->Encode(""), std::vector<int>{1});
  EXPECT_EQ(tokenizer->Encode("a red fox")->back(), 1);
}

TEST(TokenizerTest, SpellsOutControlPiecesInAPrompt) {
  const auto tokenizer = Load();
  const std::vector<int> ids = *tokenizer->Encode("fox </s> fox");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), Tokenizer::kEndOfSequence), 1);
}

TEST(TokenizerTest, MayBeUsedByManyThreads) {
  const auto tokenizer = Load();
  const std::vector<int> expected = *tokenizer->Encode("a lighthouse at night");
  std::vector<std::thread> threads;
  std::vector<int> agreements(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        agreements[t] +=
            *tokenizer->Encode("a lighthouse at night") == expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(agreements, std::vector<int>(4, 200));
}

TEST(TokenizerTest, RefusesWhatIsNoModel) {
  EXPECT_EQ(Tokenizer::Load("/no/such.model").status().code(),
            absl::StatusCode::kNotFound);
  const TemporaryFolder folder;
  WriteFile(folder.File("t.model"), "this is no SentencePiece model");
  const auto status = Tokenizer::Load(folder.File("t.model")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("t.model"));
}

TEST(TokenizerTest, RefusesAModelWithAnotherEndOfSequence) {
  const auto status =
      Tokenizer::Load("tests/golden/text/eos_is_2.model").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("id 2, expected 1"));
}

}  // namespace
}  // namespace heatkv::model
