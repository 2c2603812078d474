// The flags that describe a request, alike in every command that has one
// (generate, estimate, job submit).
//
// Thread safety: stateless.

#ifndef CLIENT_REQUEST_FLAGS_H_
#define CLIENT_REQUEST_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "heatkv/v1/image_generation.pb.h"

namespace heatkv::client {

struct RequestFlags {
  std::string prompt;
  std::optional<std::uint64_t> seed;
  std::vector<std::uint64_t> seeds;
  int n = 0;
  std::string tier, allow_down_to, aspect, pixel_class;
  std::string priority, tenant, request_id;
  std::optional<double> guidance, tau, top_p;
  int quality = 0;
  bool previews = false;
  std::vector<int> preview_scales;
  int preview_edge = 0;
};

// Adds the prompt and the flags to `command`.  `flags` must outlive the parse.
void AddRequestFlags(CLI::App& command, RequestFlags* flags);

v1::GenerateImageRequest MakeRequest(const RequestFlags& flags,
                                     v1::ImageFormat format);

}  // namespace heatkv::client

#endif  // CLIENT_REQUEST_FLAGS_H_
