#include "client/pool_text.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::PoolView View() {
  v1::PoolView pool;
  pool.set_limit_bytes(64 << 20);
  pool.set_effective_limit_bytes(64 << 20);
  pool.set_used_bytes(16 << 20);
  pool.set_high_water_bytes(40 << 20);
  pool.set_peak_sum_bytes(70 << 20);
  pool.set_waiting_requests(3);
  pool.set_waiting_bytes(30 << 20);
  pool.set_layers(2);
  pool.set_heads(3);
  for (const std::uint64_t bytes : {1000, 900, 0, 500, 450, 1}) {
    pool.add_head_bytes(bytes);
  }
  v1::ImageView& image = *pool.add_images();
  image.set_request_id("r");
  image.set_tier("high");
  image.set_image_index(1);
  image.set_scales_done(5);
  image.set_scales(8);
  image.set_held_bytes(2 << 20);
  image.set_peak_bytes(3 << 20);
  return pool;
}

TEST(PoolTextTest, ShowsTotalsLayersAndImages) {
  const std::string text = PoolText(View(), false);
  EXPECT_THAT(text,
              HasSubstr("pool 16.0 MiB of 64.0 MiB used (25.0 %), 40.0 "
                        "MiB at most so far; peaks ahead add up to 70.0"));
  EXPECT_THAT(text, HasSubstr("1 images in the making, 3 requests waiting "
                              "(30.0 MiB), plan error 0 bytes\n"));
  EXPECT_THAT(text, HasSubstr("layer   0 [" + std::string(40, '#') + "]"))
      << "the layer that holds most has a full bar";
  EXPECT_THAT(text, HasSubstr("layer   1 [" + std::string(20, '#') +
                              std::string(20, '.') + "]"));
  EXPECT_THAT(text, HasSubstr("r #1"));
  EXPECT_THAT(text, HasSubstr("5 of 8    2.0 MiB      3.0 MiB"));
  EXPECT_THAT(text, Not(HasSubstr("draining")));
  EXPECT_THAT(text, Not(HasSubstr("limit")));
}

TEST(PoolTextTest, NamesEachOfSeveralDevices) {
  v1::PoolView pool = View();
  EXPECT_THAT(PoolText(pool, false), Not(HasSubstr(" on ")));
  pool.mutable_images(0)->set_device("cuda:1");
  for (const char* name : {"cuda:0", "cuda:1"}) {
    v1::DeviceView& device = *pool.add_devices();
    device.set_device(name);
    device.set_used_bytes(8 << 20);
    device.set_effective_limit_bytes(32 << 20);
    device.set_high_water_bytes(20 << 20);
    device.set_images(2);
    device.set_well(std::string(name) == "cuda:0");
  }
  const std::string text = PoolText(pool, false);
  EXPECT_THAT(text, HasSubstr("r #1 on cuda:1 "));
  EXPECT_THAT(text, HasSubstr("cuda:0   8.0 MiB of 32.0 MiB used, 20.0 MiB at "
                              "most so far; 2 images\n"));
  EXPECT_THAT(text, HasSubstr("2 images; its model cannot compute\n"));
}

TEST(PoolTextTest, ShadesHeadsByWhatTheyHold) {
  v1::PoolView pool = View();
  for (const std::uint64_t bytes : {0, 0, 0, 0, 5, 10}) {
    pool.mutable_images(0)->add_head_bytes(bytes);
  }
  const std::string text = PoolText(pool, true);
  EXPECT_THAT(text, HasSubstr("|@% |"));
  EXPECT_THAT(text, HasSubstr("|==.|")) << "what holds a byte is not blank";
  EXPECT_THAT(text, HasSubstr("    layer   0 |   |\n    layer   1 | =@|\n"));
}

TEST(PoolTextTest, SaysWhatIsUnusual) {
  v1::PoolView pool = View();
  pool.set_draining(true);
  pool.set_limit_bytes(32 << 20);
  pool.clear_head_bytes();
  pool.clear_images();
  const std::string text = PoolText(pool, true);
  EXPECT_THAT(text, HasSubstr("limit 32.0 MiB, in force once"));
  EXPECT_THAT(text, HasSubstr("draining"));
  EXPECT_THAT(text, Not(HasSubstr("layer")));
}

TEST(PoolTextTest, AnEmptyViewIsNoDivisionByZero) {
  EXPECT_THAT(PoolText({}, true), HasSubstr("pool 0 B of 0 B used (0.0 %)"));
}

TEST(PoolTextTest, ListsRequestsWithTheirErrors) {
  v1::ListRequestsResponse response;
  v1::FinishedRequest& good = *response.add_requests();
  good.set_rpc("GenerateImage");
  good.set_request_id("a");
  good.set_images_asked(3);
  good.set_images_done(3);
  v1::FinishedRequest& bad = *response.add_requests();
  bad.set_request_id("b");
  bad.mutable_status()->set_code(10);
  bad.mutable_status()->set_message("not read for 30 s");
  const std::string text = RequestsText(response);
  EXPECT_THAT(text, HasSubstr("3/3"));
  EXPECT_THAT(text, HasSubstr("  OK\n"));
  EXPECT_THAT(text, HasSubstr("  ABORTED: not read for 30 s\n"));
}

}  // namespace
}  // namespace heatkv::client
