#include "client/progress.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/readable_bytes.h"

namespace heatkv::client {
namespace {

constexpr int kBarWidth = 24;

std::string Bar(double share) {
  const int filled =
      std::clamp(static_cast<int>(kBarWidth * share), 0, kBarWidth);
  return absl::StrCat("[", std::string(filled, '#'),
                      std::string(kBarWidth - filled, '.'), "] ");
}

}  // namespace

ProgressStyle StyleOf(std::FILE* stream, bool quiet) {
  if (quiet) return ProgressStyle::kNone;
  return isatty(fileno(stream)) != 0 ? ProgressStyle::kTerminal
                                     : ProgressStyle::kLines;
}

std::string DescribeEvent(const v1::GenerateImageEvent& event) {
  switch (event.event_case()) {
    case v1::GenerateImageEvent::kAccepted:
      return absl::StrFormat(
          "accepted on tier %s: %s of cache at its peak, %.1f %% of the full "
          "cache",
          event.accepted().tier(), ReadableBytes(event.accepted().peak_bytes()),
          100.0 * event.accepted().peak_bytes() /
              event.accepted().full_cache_bytes());
    case v1::GenerateImageEvent::kQueued:
      return absl::StrCat("waiting for room, ", event.queued().position(),
                          " ahead");
    case v1::GenerateImageEvent::kStarted:
      return absl::StrCat("started on tier ", event.started().tier());
    case v1::GenerateImageEvent::kScaleDone: {
      const v1::ScaleDone& done = event.scale_done();
      return absl::StrCat("image ", done.image_index() + 1, ": scale ",
                          done.scale(), " of ", done.scales(), " (",
                          done.grid_height(), "x", done.grid_width(),
                          "), cache ", ReadableBytes(done.held_bytes()));
    }
    case v1::GenerateImageEvent::kPreview:
      return absl::StrCat("image ", event.preview().image_index() + 1,
                          ": preview after scale ", event.preview().scale());
    default:
      return "";
  }
}

void Progress::Show(const v1::GenerateImageEvent& event) {
  const v1::ScaleDone& done = event.scale_done();
  const bool has_share = event.has_scale_done() && done.scales() > 0;
  ShowText(DescribeEvent(event),
           has_share ? 1.0 * done.scale() / done.scales() : -1);
}

void Progress::ShowText(const std::string& text, double share) {
  if (style_ == ProgressStyle::kNone || text.empty()) return;
  if (style_ == ProgressStyle::kLines) {
    std::fprintf(stream_, "%s\n", text.c_str());
    return;
  }
  const std::string bar = share >= 0 ? Bar(share) : "";
  // To the line's start, then clear it.
  std::fprintf(stream_, "\r\033[K%s%s", bar.c_str(), text.c_str());
  std::fflush(stream_);
  is_line_open_ = true;
}

void Progress::EndLine() {
  if (!is_line_open_) return;
  std::fprintf(stream_, "\r\033[K");
  std::fflush(stream_);
  is_line_open_ = false;
}

}  // namespace heatkv::client
