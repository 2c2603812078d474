#include "server/rpc/event_conversion.h"

namespace heatkv::server {

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  const std::int64_t seconds =
      absl::IDivDuration(duration, absl::Seconds(1), &duration);
  proto.set_seconds(seconds);
  proto.set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

v1::Accepted ToProto(const AcceptedEvent& event, const ResolvedRequest& asked,
                     const ScheduleBook& book) {
  v1::Accepted proto;
  proto.set_request_id(asked.request_id);
  proto.set_tier(asked.tier);
  proto.set_schedule_sha256(
      book.plan(asked.generation.ladder, asked.generation.tier)
          .schedule_sha256);
  proto.set_reserved_bytes(event.reserved_bytes);
  proto.set_full_cache_bytes(event.full_cache_bytes);
  for (const std::uint64_t seed : asked.generation.seeds) proto.add_seeds(seed);
  proto.set_queue_position(event.queue_position);
  proto.set_scales(event.scales);
  return proto;
}

v1::Queued ToProto(const QueuedEvent& event) {
  v1::Queued proto;
  proto.set_position(event.position);
  return proto;
}

v1::Started ToProto(const StartedEvent& event) {
  v1::Started proto;
  *proto.mutable_queued_for() = ToProto(event.queued_for);
  return proto;
}

v1::ScaleDone ToProto(const ScaleDoneEvent& event, int scales) {
  v1::ScaleDone proto;
  proto.set_image_index(event.image);
  proto.set_scale(event.scale + 1);
  proto.set_scales(scales);
  proto.set_grid_height(event.grid.height);
  proto.set_grid_width(event.grid.width);
  proto.set_held_bytes(event.held_bytes);
  proto.set_planned_bytes(event.planned_bytes);
  *proto.mutable_took() = ToProto(event.took);
  return proto;
}

v1::Usage ToProto(const RequestUsage& usage) {
  v1::Usage proto;
  *proto.mutable_queue() = ToProto(usage.queue);
  *proto.mutable_text() = ToProto(usage.text);
  *proto.mutable_scales() = ToProto(usage.scales);
  *proto.mutable_decode() = ToProto(usage.decode);
  *proto.mutable_total() = ToProto(usage.total);
  proto.set_peak_cache_bytes(usage.peak_cache_bytes);
  proto.set_full_cache_bytes(usage.full_cache_bytes);
  proto.set_text_was_cached(usage.text_was_cached);
  return proto;
}

}  // namespace heatkv::server
