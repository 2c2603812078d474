// One request as a JSON object, as batches and mixes have it on each line:
//   {"prompt": "a red apple", "seed": 7, "tier": "high", "n": 2}
// The keys are those of v1::GenerateImageRequest, with size, previews and
// memory_policy flattened:
//   prompt tier aspect pixel_class allow_down_to tenant request_id   text
//   priority                                  "low", "normal" or "high"
//   format                                    "png", "jpeg" or "webp"
//   seed n quality preview_edge               whole numbers
//   seeds preview_scales                      lists of whole numbers
//   previews                                  true: one after every scale
//   guidance tau top_p                        numbers
//
// Thread safety: stateless.

#ifndef CLIENT_REQUEST_FIELDS_H_
#define CLIENT_REQUEST_FIELDS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "heatkv/v1/image_generation.pb.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {

// Sets the field of `request` that `key` names.  What is wrong with the key or
// its value, in words; empty if nothing is.
std::string SetField(const std::string& key, const nlohmann::json& value,
                     v1::GenerateImageRequest* request);

// "png", "jpeg", "webp"
const char* FormatName(v1::ImageFormat format);

// "low", "normal", "high"
const char* PriorityName(v1::Priority priority);

// Whether `name` is one of the three; if so, sets `*priority`.
bool ReadPriority(absl::string_view name, v1::Priority* priority);

}  // namespace heatkv::client

#endif  // CLIENT_REQUEST_FIELDS_H_
