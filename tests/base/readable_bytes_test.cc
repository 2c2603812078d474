#include "base/readable_bytes.h"

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace heatkv {
namespace {

TEST(ReadableBytesTest, TakesTheLargestUnitThatFits) {
  EXPECT_EQ(ReadableBytes(0), "0 B");
  EXPECT_EQ(ReadableBytes(1023), "1023 B");
  EXPECT_EQ(ReadableBytes(1024), "1.0 KiB");
  EXPECT_EQ(ReadableBytes(1536), "1.5 KiB");
  EXPECT_EQ(ReadableBytes(std::uint64_t{6} << 30), "6.0 GiB");
  EXPECT_EQ(ReadableBytes(5 * 1024 * 1024 / 4), "1.2 MiB");
  EXPECT_EQ(ReadableBytes(std::uint64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(ReadableBytes(std::uint64_t{1} << 60), "1048576.0 TiB");
}

}  // namespace
}  // namespace heatkv
