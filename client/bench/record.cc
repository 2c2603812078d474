#include "client/bench/record.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace heatkv::client {
namespace {

using nlohmann::ordered_json;

const char* LeaveName(FaultPlan::Leave leave) {
  switch (leave) {
    case FaultPlan::Leave::kOnceAccepted:
      return "once_accepted";
    case FaultPlan::Leave::kAfterScales:
      return "after_scales";
    case FaultPlan::Leave::kBetweenImages:
      return "between_images";
  }
  return "";
}

ordered_json OrNull(const std::optional<double>& value) {
  return value.has_value() ? ordered_json(*value) : ordered_json();
}

}  // namespace

std::string WhyUnintended(const RequestRecord& record) {
  for (const ImageRecord& image : record.images) {
    if (!image.is_intact) {
      return absl::StrCat("image ", image.index,
                          " is not what its SHA-256 says");
    }
  }
  if (record.plan_errors > 0) {
    return absl::StrCat("held bytes differ from the plan after ",
                        record.plan_errors, " scales");
  }
  if (record.has_left && record.plan.fault == Fault::kVanish) return "";
  if (record.has_left && record.status == "CANCELLED") return "";
  if (record.status != "OK") {
    return absl::StrCat(record.status, ": ", record.message);
  }
  const int images = static_cast<int>(record.images.size());
  if (images != record.images_asked) {
    return absl::StrCat("ended well with ", images, " of ", record.images_asked,
                        " images");
  }
  return "";
}

ordered_json ToJson(const RequestRecord& record) {
  ordered_json images = ordered_json::array();
  for (const ImageRecord& image : record.images) {
    images.push_back({{"index", image.index},
                      {"prompt", record.prompt},
                      {"seed", image.seed},
                      {"tier", image.tier},
                      {"aspect", image.aspect},
                      {"pixel_class", image.pixel_class},
                      {"sha256", image.sha256},
                      {"is_intact", image.is_intact}});
  }
  ordered_json json = {{"index", record.index},
                       {"id", record.id},
                       {"request_id", record.request_id},
                       {"status", record.status},
                       {"message", record.message},
                       {"unintended", WhyUnintended(record)},
                       {"fault", FaultName(record.plan.fault)},
                       {"has_left", record.has_left}};
  if (record.plan.fault == Fault::kCancel ||
      record.plan.fault == Fault::kVanish) {
    json["leave"] = LeaveName(record.plan.leave);
  }
  json.update({{"tenant", record.tenant},
               {"priority", record.priority},
               {"asked_tier", record.asked_tier},
               {"granted_tier", record.granted_tier},
               {"due_seconds", record.due},
               {"latency_seconds", record.latency},
               {"first_preview_seconds", OrNull(record.first_preview)},
               {"first_picture_seconds", OrNull(record.first_picture)},
               {"queued_seconds", OrNull(record.queued)},
               {"planned_peak_bytes", record.planned_peak_bytes},
               {"full_cache_bytes", record.full_cache_bytes},
               {"peak_held_bytes", record.peak_held_bytes},
               {"plan_errors", record.plan_errors},
               {"previews", record.previews},
               {"images_asked", record.images_asked},
               {"images", std::move(images)}});
  return json;
}

}  // namespace heatkv::client
