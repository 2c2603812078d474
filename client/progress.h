// Shows on a terminal, or as plain lines, how far something is: the images of
// one request (which scale is done, how many bytes of cache it holds), or
// whatever text the caller has.
//
// Not thread-safe: one thread shows one thing.

#ifndef CLIENT_PROGRESS_H_
#define CLIENT_PROGRESS_H_

#include <cstdint>
#include <cstdio>
#include <string>

#include "heatkv/v1/image_generation.pb.h"

namespace heatkv::client {

enum class ProgressStyle {
  kNone,
  kLines,     // one line an event
  kTerminal,  // one line that is drawn over
};

// kTerminal if the stream is one, else kLines; kNone if `quiet`.
ProgressStyle StyleOf(std::FILE* stream, bool quiet);

class Progress {
 public:
  // `stream` must outlive it.
  Progress(std::FILE* stream, ProgressStyle style)
      : stream_(stream), style_(style) {}

  void Show(const v1::GenerateImageEvent& event);

  // Shows `text`, unless it is empty, behind a bar of which `share` (0 to 1) is
  // filled; bars are only drawn on terminals, and none if `share` is negative.
  void ShowText(const std::string& text, double share);

  // Ends the line that is being drawn over, so that others can be printed.
  void EndLine();

 private:
  std::FILE* stream_;
  ProgressStyle style_;
  bool is_line_open_ = false;
};

// What is shown of one event; empty for events that are not shown.
//   image 1: scale 5 of 8 (6x6), cache 1.2 MiB
std::string DescribeEvent(const v1::GenerateImageEvent& event);

}  // namespace heatkv::client

#endif  // CLIENT_PROGRESS_H_
