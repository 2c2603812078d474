#include "server/rpc/outbox.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::server {
namespace {

v1::GenerateImageEvent Scale(int scale) {
  v1::GenerateImageEvent event;
  event.mutable_scale_done()->set_scale(scale);
  return event;
}

v1::GenerateImageEvent Queued(int position) {
  v1::GenerateImageEvent event;
  event.mutable_queued()->set_position(position);
  return event;
}

v1::GenerateImageEvent Picture(int index) {
  v1::GenerateImageEvent event;
  event.mutable_image()->set_index(index);
  return event;
}

TEST(OutboxTest, HandsEventsOutInOrderWithTheirNumbers) {
  Outbox outbox;
  outbox.Push(Scale(1));
  outbox.Push(Scale(2));
  EXPECT_EQ(outbox.Take()->sequence(), 1);
  const auto second = outbox.Take();
  EXPECT_EQ(second->sequence(), 2);
  EXPECT_EQ(second->scale_done().scale(), 2);
  EXPECT_FALSE(outbox.Take().has_value());
}

TEST(OutboxTest, AnEventInTheMakingHoldsUpThoseBehindIt) {
  Outbox outbox;
  const auto place = outbox.Reserve(std::nullopt, 0);
  outbox.Push(Scale(1));
  EXPECT_FALSE(outbox.Take().has_value());
  EXPECT_TRUE(outbox.Fill(place, Picture(0)));
  EXPECT_TRUE(outbox.Take()->has_image());
  EXPECT_TRUE(outbox.Take()->has_scale_done());
}

TEST(OutboxTest, KeepsOnlyTheNewestPreviewOfAnImageButEveryImage) {
  Outbox outbox;
  const auto stale = outbox.Reserve(0, 0);
  const auto other = outbox.Reserve(1, 0);
  const auto image = outbox.Reserve(std::nullopt, 0);
  const auto fresh = outbox.Reserve(0, 0);
  EXPECT_FALSE(outbox.Fill(stale, Picture(7)));
  EXPECT_TRUE(outbox.Fill(other, Picture(1)));
  EXPECT_TRUE(outbox.Fill(image, Picture(2)));
  EXPECT_TRUE(outbox.Fill(fresh, Picture(3)));
  EXPECT_EQ(outbox.Take()->image().index(), 1);
  EXPECT_EQ(outbox.Take()->image().index(), 2);
  EXPECT_EQ(outbox.Take()->image().index(), 3);
  EXPECT_TRUE(outbox.empty());
}

TEST(OutboxTest, StaysSmallHoweverOftenPositionsAndPreviewsCome) {
  Outbox outbox;
  for (int i = 0; i < 1000; ++i) {
    outbox.Push(Queued(1000 - i));
    outbox.Reserve(i % 3, 7);
  }
  EXPECT_EQ(outbox.size(), 4);
  EXPECT_EQ(outbox.bytes(), 3 * 7);
}

TEST(OutboxTest, CountsThePicturesThatItHoldsMadeOrInTheMaking) {
  Outbox outbox;
  const auto place = outbox.Reserve(std::nullopt, 1000);
  outbox.Push(Scale(1));
  EXPECT_EQ(outbox.bytes(), 1000);
  v1::GenerateImageEvent picture = Picture(0);
  picture.mutable_image()->set_data(std::string(300, 'x'));
  outbox.Fill(place, picture);
  EXPECT_EQ(outbox.bytes(), 300);
  outbox.Take();
  EXPECT_EQ(outbox.bytes(), 0);
}

TEST(OutboxTest, AHeartbeatJoinsNoQueue) {
  v1::GenerateImageEvent heartbeat;
  heartbeat.mutable_heartbeat();
  Outbox outbox;
  outbox.Push(Scale(1));
  outbox.Push(heartbeat);
  EXPECT_EQ(outbox.size(), 1);
  outbox.Take();
  outbox.Push(heartbeat);
  EXPECT_TRUE(outbox.Take()->has_heartbeat());
}

}  // namespace
}  // namespace heatkv::server
