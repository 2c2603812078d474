#include "model/weights/weight_store.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/model/safetensors_writer.h"

namespace heatkv::model {
namespace {

using testing::HasSubstr;
using testing::Not;

class WeightStoreTest : public testing::Test {
 protected:
  WeightStore Store(const NamedTensors& tensors) {
    WriteSafetensors(folder_.File("weights.safetensors"), tensors);
    auto store = WeightStore::Open({folder_.File("weights.safetensors")}, {});
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  TemporaryFolder folder_;
};

TEST_F(WeightStoreTest, ConvertsEveryFloatDtype) {
  const at::Tensor values = at::tensor({1.0f, -2.5f, 0.125f}).view({1, 3});
  WeightStore store = Store({{"a", values},
                             {"b", values.to(at::kHalf)},
                             {"c", values.to(at::kBFloat16)}});
  for (const char* name : {"a", "b", "c"}) {
    const at::Tensor taken = store.Take(name, {1, 3});
    EXPECT_EQ(taken.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(taken, values)) << name;
  }
  EXPECT_TRUE(store.Finish().ok()) << store.Finish();
}

TEST_F(WeightStoreTest, MultipliesInt8ByTheScaleOfItsRow) {
  const at::Tensor q =
      at::tensor({1, -127, 3, 4, 5, 100, 7, 8}).to(at::kChar).view({2, 2, 2});
  WeightStore store =
      Store({{"w", q}, {"w.int8_scale", at::tensor({0.5f, 0.25f})}});
  const at::Tensor expected =
      at::tensor({0.5f, -63.5f, 1.5f, 2.0f, 1.25f, 25.0f, 1.75f, 2.0f})
          .view({2, 2, 2});
  EXPECT_TRUE(at::equal(store.Take("w", {2, 2, 2}), expected));
  EXPECT_TRUE(store.Finish().ok()) << store.Finish();
}

TEST_F(WeightStoreTest, RefusesInt8WithoutAFittingScale) {
  const at::Tensor q = at::zeros({2, 3}, at::kChar);
  WeightStore store = Store({{"lone", q},
                             {"flat", at::zeros({3}, at::kChar)},
                             {"long", q},
                             {"long.int8_scale", at::ones({3})}});
  store.Take("lone", {2, 3});
  store.Take("flat", {3});
  store.Take("long", {2, 3});
  const absl::Status status = store.Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("3 problems"));
  EXPECT_THAT(status.message(), HasSubstr("'lone.int8_scale' of shape [2]"));
  EXPECT_THAT(status.message(), HasSubstr("'flat'"));
  EXPECT_THAT(status.message(), HasSubstr("F32 [3], expected F32 [2]"));
}

TEST_F(WeightStoreTest, NamesMissingMisshapenAndSuperfluousTensors) {
  WeightStore store =
      Store({{"wide", at::zeros({64, 128})}, {"stranger", at::zeros({5})}});
  EXPECT_EQ(store.Take("wide", {64, 256}).sizes(), (at::IntArrayRef{64, 256}));
  store.Take("absent", {7});
  const absl::Status status = store.Finish();
  EXPECT_THAT(status.message(),
              HasSubstr("has shape [64, 128], expected [64, 256]"));
  EXPECT_THAT(status.message(), HasSubstr("'absent' of shape [7] is missing"));
  EXPECT_THAT(status.message(), HasSubstr("'stranger' of shape [5]"));
  EXPECT_THAT(status.message(), HasSubstr("weights.safetensors"));
}

TEST_F(WeightStoreTest, ListsOnlyTheFirstOfManyProblems) {
  WeightStore store = Store({});
  for (int i = 0; i < 20; ++i) store.Take(absl::StrCat("tensor", i), {1});
  EXPECT_THAT(store.Finish().message(), HasSubstr("20 problems"));
  EXPECT_THAT(store.Finish().message(), HasSubstr("tensor7"));
  EXPECT_THAT(store.Finish().message(), HasSubstr("and 12 more"));
  EXPECT_THAT(store.Finish().message(), Not(HasSubstr("tensor8'")));
}

TEST_F(WeightStoreTest, RefusesWeightsThatAreNoFloats) {
  WeightStore store = Store({{"mask", at::zeros({4}, at::kLong)}});
  store.Take("mask", {4});
  EXPECT_THAT(store.Finish().message(), HasSubstr("dtype I64"));
}

TEST_F(WeightStoreTest, IgnoresWhatIsDeclaredUnused) {
  WeightStore store = Store({{"sa.zero_k_bias", at::zeros({4})},
                             {"encoder.conv.weight", at::zeros({4})},
                             {"quantize.lfq.mask", at::zeros({4}, at::kLong)}});
  store.Ignore("sa.zero_k_bias");
  store.Ignore("ca.zero_k_bias");  // not there: fine
  store.IgnorePrefix("encoder.");
  EXPECT_FALSE(store.Finish().ok());
  store.IgnorePrefix("quantize.");
  EXPECT_TRUE(store.Finish().ok()) << store.Finish();
}

TEST_F(WeightStoreTest, AcceptsOneOfSeveralShapesAndReturnsTheFirst) {
  WeightStore store = Store({{"scale_mul", at::ones({1, 1, 3, 1})}});
  EXPECT_EQ(
      store.TakeAnyShape("scale_mul", {{1, 3, 1, 1}, {1, 1, 3, 1}}).sizes(),
      (at::IntArrayRef{1, 3, 1, 1}));
  EXPECT_TRUE(store.Finish().ok()) << store.Finish();
}

TEST_F(WeightStoreTest, ReadsShardsAndRefusesATensorInTwoOfThem) {
  WriteSafetensors(folder_.File("1"), {{"a", at::ones({1})}});
  WriteSafetensors(folder_.File("2"), {{"b", at::ones({1})}});
  auto store = WeightStore::Open({folder_.File("1"), folder_.File("2")}, {});
  ASSERT_TRUE(store.ok());
  store->Take("a", {1});
  store->Take("b", {1});
  EXPECT_TRUE(store->Finish().ok());

  WriteSafetensors(folder_.File("2"), {{"a", at::ones({1})}});
  const auto twice =
      WeightStore::Open({folder_.File("1"), folder_.File("2")}, {});
  EXPECT_THAT(twice.status().message(), HasSubstr("'a' is in two files"));
}

}  // namespace
}  // namespace heatkv::model
