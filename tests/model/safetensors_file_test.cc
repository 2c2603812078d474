#include "model/weights/safetensors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "tests/model/safetensors_writer.h"

namespace heatkv::model {
namespace {

using testing::HasSubstr;

// A header of one tensor.
std::string Entry(const std::string& dtype, const std::string& shape,
                  const std::string& offsets, const std::string& name = "a") {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

TEST(SafetensorsFileTest, ReadsTensorsOfAnyAlignment) {
  const TemporaryFolder folder;
  const std::string header = "{\"__metadata__\":{\"made\":\"by hand\"}," +
                             Entry("I8", "[3]", "[0,3]", "bytes") + "," +
                             Entry("F32", "[1,2]", "[3,11]", "floats") + "," +
                             Entry("F32", "[0,7]", "[3,3]", "none") + "}";
  const std::string data("abc\0\0\x80?\0\0\0@", 11);
  WriteFile(folder.File("x"), SafetensorsText(header, data));
  const auto file = SafetensorsFile::Open(folder.File("x"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 3);
  const TensorRecord& floats = file->tensors().at("floats");
  EXPECT_EQ(floats.dtype, "F32");
  EXPECT_EQ(floats.shape, (Shape{1, 2}));
  EXPECT_EQ(file->bytes(floats).size(), 8);
  EXPECT_EQ(static_cast<char>(file->bytes(file->tensors().at("bytes"))[2]),
            'c');
}

TEST(SafetensorsFileTest, SaysThatThereIsNoFile) {
  const auto file = SafetensorsFile::Open("/no/such/file.safetensors");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(file.status().message(), HasSubstr("/no/such/file.safetensors"));
}

struct Corruption {
  const char* name;
  std::string bytes;
  absl::StatusCode code;
  std::vector<const char*> message;  // parts of it
};

void PrintTo(const Corruption& corruption, std::ostream* out) {
  *out << corruption.name;
}

class SafetensorsCorruptionTest : public testing::TestWithParam<Corruption> {};

TEST_P(SafetensorsCorruptionTest, IsRefusedByName) {
  const TemporaryFolder folder;
  WriteFile(folder.File("bad.safetensors"), GetParam().bytes);
  const auto file = SafetensorsFile::Open(folder.File("bad.safetensors"));
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), GetParam().code) << file.status();
  EXPECT_THAT(file.status().message(), HasSubstr("bad.safetensors"));
  for (const char* part : GetParam().message) {
    EXPECT_THAT(file.status().message(), HasSubstr(part));
  }
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

std::string One(const std::string& entry, std::size_t data_bytes) {
  return SafetensorsText("{" + entry + "}", std::string(data_bytes, 'x'));
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsCorruptionTest,
    testing::Values(
        Corruption{"Empty", "", kDataLoss, {"0 bytes"}},
        Corruption{"FewerThanEightBytes", "abc", kDataLoss, {"3 bytes"}},
        Corruption{"AnotherFormat",
                   "PK\x03\x04 this is a zip file",
                   kInvalid,
                   {"not a safetensors file", "100000000"}},
        Corruption{"HeaderCutShort",
                   SafetensorsText(std::string(50, ' '), "").substr(0, 20),
                   kDataLoss,
                   {"50", "12"}},
        Corruption{
            "HeaderNoJson", SafetensorsText("{\"a\":", ""), kInvalid, {"JSON"}},
        Corruption{
            "HeaderNoObject", SafetensorsText("[1]", ""), kInvalid, {"JSON"}},
        Corruption{"EntryNoObject",
                   SafetensorsText("{\"a\":3}", ""),
                   kInvalid,
                   {"'a'"}},
        Corruption{
            "NoDtype",
            SafetensorsText("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}",
                            "abcd"),
            kInvalid,
            {"'a'", "dtype"}},
        Corruption{"UnknownDtype",
                   One(Entry("F12", "[1]", "[0,4]"), 4),
                   kInvalid,
                   {"'a'", "F12"}},
        Corruption{"NegativeSide",
                   One(Entry("F32", "[-1]", "[0,4]"), 4),
                   kInvalid,
                   {"'a'", "-1"}},
        Corruption{"FractionalSide",
                   One(Entry("F32", "[1.5]", "[0,4]"), 4),
                   kInvalid,
                   {"'a'", "1.5"}},
        Corruption{"ShapeOverflows",
                   One(Entry("F32", "[4611686018427387904,16]", "[0,4]"), 4),
                   kInvalid,
                   {"'a'", "too large"}},
        Corruption{"ShapeAndOffsetsDisagree",
                   One(Entry("F32", "[2,3]", "[0,20]"), 20),
                   kInvalid,
                   {"'a'", "[2, 3]", "24", "[0,20]"}},
        Corruption{"OffsetsBackwards",
                   One(Entry("F32", "[1]", "[8,4]"), 8),
                   kInvalid,
                   {"'a'", "[8,4]"}},
        Corruption{"ThreeOffsets",
                   One(Entry("F32", "[1]", "[0,4,8]"), 8),
                   kInvalid,
                   {"'a'", "data_offsets"}},
        Corruption{"DataCutShort",
                   One(Entry("F32", "[4]", "[0,16]"), 15),
                   kDataLoss,
                   {"'a'", "16", "15"}},
        Corruption{"BytesLeftOver",
                   One(Entry("F32", "[4]", "[0,16]"), 17),
                   kDataLoss,
                   {"16", "17"}},
        Corruption{"Gap",
                   One(Entry("F32", "[1]", "[4,8]"), 8),
                   kDataLoss,
                   {"'a'", "4 bytes"}},
        Corruption{"Overlap",
                   One(Entry("F32", "[2]", "[0,8]") + "," +
                           Entry("F32", "[2]", "[4,12]", "b"),
                       12),
                   kDataLoss,
                   {"'a'", "'b'", "4", "8"}},
        Corruption{"NamedTwice",
                   One(Entry("F32", "[1]", "[0,4]") + "," +
                           Entry("F32", "[1]", "[4,8]"),
                       8),
                   kInvalid,
                   {"'a'", "twice"}}),
    [](const testing::TestParamInfo<Corruption>& info) {
      return info.param.name;
    });

}  // namespace
}  // namespace heatkv::model
