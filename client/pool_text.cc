#include "client/pool_text.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/readable_bytes.h"
#include "client/connection.h"
#include "client/durations.h"
#include "client/progress.h"

namespace heatkv::client {
namespace {

using HeadBytes = google::protobuf::RepeatedField<std::uint64_t>;

constexpr int kBarWidth = 40;

// Bytes by layer; empty unless every layer has its heads.
std::vector<std::uint64_t> LayerSums(const HeadBytes& bytes, int layers,
                                     int heads) {
  if (layers <= 0 || heads <= 0 || bytes.size() != layers * heads) return {};
  std::vector<std::uint64_t> sums(layers, 0);
  for (int i = 0; i < bytes.size(); ++i) sums[i / heads] += bytes[i];
  return sums;
}

// One character a head.
std::string Shades(const HeadBytes& bytes, int layer, int heads) {
  static constexpr char kShades[] = " .:-=+*#%@";
  constexpr int kDarkest = 9;
  const std::uint64_t most =
      std::max<std::uint64_t>(*std::max_element(bytes.begin(), bytes.end()), 1);
  std::string text;
  for (int head = 0; head < heads; ++head) {
    const std::uint64_t here = bytes[layer * heads + head];
    const auto shade = static_cast<int>(here * kDarkest / most);
    text += kShades[here > 0 ? std::max(shade, 1) : 0];
  }
  return text;
}

void AddLayers(const v1::PoolView& pool, bool per_head, std::string* text) {
  const int heads = pool.heads();
  const auto sums = LayerSums(pool.head_bytes(), pool.layers(), heads);
  if (sums.empty()) return;
  const double most = std::max<double>(
      1, static_cast<double>(*std::max_element(sums.begin(), sums.end())));
  for (int layer = 0; layer < static_cast<int>(sums.size()); ++layer) {
    const int filled = static_cast<int>(
        kBarWidth * static_cast<double>(sums[layer]) / most + 0.5);
    absl::StrAppendFormat(
        text, "layer %3d [%s%s] %10s", layer, std::string(filled, '#'),
        std::string(kBarWidth - filled, '.'), ReadableBytes(sums[layer]));
    if (per_head) {
      absl::StrAppend(text, "  |", Shades(pool.head_bytes(), layer, heads),
                      "|");
    }
    absl::StrAppend(text, "\n");
  }
}

void AddImages(const v1::PoolView& pool, bool per_head, std::string* text) {
  if (pool.images().empty()) return;
  absl::StrAppendFormat(text, "%-34s %-12s %-10s %9s %10s %12s\n", "image",
                        "tenant", "tier", "scale", "holds", "peak ahead");
  for (const v1::ImageView& image : pool.images()) {
    absl::StrAppendFormat(
        text, "%-34s %-12s %-10s %9s %10s %12s\n",
        absl::StrCat(image.request_id(), " #", image.image_index(),
                     image.device().empty() ? "" : " on ", image.device()),
        image.tenant().empty() ? "-" : image.tenant(), image.tier(),
        absl::StrCat(image.scales_done(), " of ", image.scales()),
        ReadableBytes(image.held_bytes()), ReadableBytes(image.peak_bytes()));
    const int layers = pool.layers(), heads = pool.heads();
    if (!per_head || image.head_bytes_size() == 0 ||
        image.head_bytes_size() != layers * heads) {
      continue;
    }
    for (int layer = 0; layer < layers; ++layer) {
      absl::StrAppendFormat(text, "    layer %3d |%s|\n", layer,
                            Shades(image.head_bytes(), layer, heads));
    }
  }
}

void AddDevices(const v1::PoolView& pool, std::string* text) {
  for (const v1::DeviceView& device : pool.devices()) {
    absl::StrAppendFormat(
        text, "%-8s %s of %s used, %s at most so far; %d images%s\n",
        device.device(), ReadableBytes(device.used_bytes()),
        ReadableBytes(device.effective_limit_bytes()),
        ReadableBytes(device.high_water_bytes()), device.images(),
        device.well() ? "" : "; its model cannot compute");
  }
}

}  // namespace

std::string PoolText(const v1::PoolView& pool, bool per_head) {
  const double share =
      100.0 * static_cast<double>(pool.used_bytes()) /
      std::max(1.0, static_cast<double>(pool.effective_limit_bytes()));
  std::string text = absl::StrFormat(
      "pool %s of %s used (%.1f %%), %s at most so far; peaks ahead add up to "
      "%s\n",
      ReadableBytes(pool.used_bytes()),
      ReadableBytes(pool.effective_limit_bytes()), share,
      ReadableBytes(pool.high_water_bytes()),
      ReadableBytes(pool.peak_sum_bytes()));
  if (pool.effective_limit_bytes() != pool.limit_bytes()) {
    absl::StrAppend(&text, "limit ", ReadableBytes(pool.limit_bytes()),
                    ", in force once running images let it\n");
  }
  absl::StrAppend(&text, pool.images_size(), " images in the making, ",
                  pool.waiting_requests(), " requests waiting (",
                  ReadableBytes(pool.waiting_bytes()), "), plan error ",
                  pool.plan_error_bytes(), " bytes",
                  pool.draining() ? ", draining" : "", "\n");
  AddDevices(pool, &text);
  AddLayers(pool, per_head, &text);
  AddImages(pool, per_head, &text);
  return text;
}

std::string RequestsText(const v1::ListRequestsResponse& response) {
  std::string text =
      absl::StrFormat("%-12s %-22s %-34s %-12s %-10s %9s %9s %7s %10s  %s\n",
                      "ended", "rpc", "request", "tenant", "tier", "took",
                      "queued", "images", "peak", "status");
  for (const v1::FinishedRequest& one : response.requests()) {
    const absl::Time end = absl::FromUnixSeconds(one.end_time().seconds()) +
                           absl::Nanoseconds(one.end_time().nanos());
    absl::StrAppendFormat(
        &text, "%-12s %-22s %-34s %-12s %-10s %7.2f s %7.2f s %7s %10s  %s\n",
        absl::FormatTime("%H:%M:%E3S", end, absl::LocalTimeZone()), one.rpc(),
        one.request_id(), one.tenant().empty() ? "-" : one.tenant(),
        one.tier().empty() ? "-" : one.tier(), Seconds(one.took()),
        Seconds(one.queued()),
        absl::StrCat(one.images_done(), "/", one.images_asked()),
        ReadableBytes(one.peak_cache_bytes()), CodeName(one.status().code()));
    if (one.status().code() != 0) {
      text.insert(text.size() - 1, absl::StrCat(": ", one.status().message()));
    }
  }
  return text;
}

}  // namespace heatkv::client
