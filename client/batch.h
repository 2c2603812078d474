// Many prompts from a file, several in flight: one JSON object a line,
//   {"id": "0001", "prompt": "a red apple", "seed": 7}
// with the keys of client/request_fields.h.  Each becomes the picture
// FOLDER/ID.png; FOLDER/ID-1.png and so on if a line asks for several images.
//
// Thread safety: RunBatch starts threads of its own and ends them.

#ifndef CLIENT_BATCH_H_
#define CLIENT_BATCH_H_

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connection.h"
#include "heatkv/v1/image_generation.pb.h"

namespace heatkv::client {

struct BatchItem {
  std::string id;
  v1::GenerateImageRequest request;
};

// Reads the lines; empty ones are passed over.  `defaults` is what an item's
// request is where its line says nothing.  InvalidArgument names each bad line:
// no JSON object, an unknown key, a missing or repeated id or prompt, a wrong
// type, an id that is no plain file name.
absl::StatusOr<std::vector<BatchItem>> ParseBatch(
    absl::string_view text, const v1::GenerateImageRequest& defaults);

struct BatchOptions {
  std::filesystem::path folder;  // exists
  int parallel = 4;
  absl::Duration timeout = absl::InfiniteDuration();  // of one item
  bool json = false;   // one object a finished item, on standard output
  bool quiet = false;  // no line a finished item on standard error
};

// Makes all pictures.  An item that the server refuses for want of room is
// tried again when the server says; one that fails otherwise is reported on
// standard error, and the rest go on.  The number of items that failed.
int RunBatch(const Connection& connection, const std::vector<BatchItem>& items,
             const BatchOptions& options);

}  // namespace heatkv::client

#endif  // CLIENT_BATCH_H_
