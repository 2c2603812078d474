// Turns a request as it came over the wire into one that the engine takes, or
// says everything that is wrong with it.  A request is never changed: what
// cannot be done as asked is a violation.
//
// Thread safety: stateless but for what RequestRules names, which any thread
// may call.

#ifndef SERVER_RPC_REQUEST_RULES_H_
#define SERVER_RPC_REQUEST_RULES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "heatkv/v1/image_generation.pb.h"
#include "model/api/model_spec.h"
#include "server/codec/image_codec.h"
#include "server/engine/request.h"
#include "server/engine/schedule_book.h"
#include "server/rpc/grpc_status.h"

namespace heatkv::server {

// The tiers that requests may name, and the one of those that name none.
struct TierOffer {
  std::shared_ptr<const ScheduleBook> book;
  std::string default_tier;
};

// What requests are judged by.  The pointed-to things outlive every judgement.
struct RequestRules {
  const model::ModelSpec* spec = nullptr;
  // What is in force; each judgement asks once and keeps what it got.
  std::function<TierOffer()> offer;
  int max_images = 10;
  int max_prompt_bytes = 4096;
  // Pieces of a prompt; called from any thread.
  std::function<absl::StatusOr<int>(absl::string_view)> count_tokens;
  // For what the client left to the server.
  std::function<std::uint64_t()> draw_seed;
  std::function<std::string()> make_request_id;
};

// A legal request with every default filled in.
struct ResolvedRequest {
  GenerationRequest generation;  // its deadline is for the caller to set
  EncodingOptions encoding;
  EncodingOptions preview_encoding;
  int preview_max_edge = 0;
  std::string request_id;
  std::string tier;  // asked for
  int width = 0;
  int height = 0;
  std::map<std::string, std::string> tags;
};

// Whether `text` is 0 to `most` printable ASCII characters without spaces, as
// names that clients choose must be.
bool IsName(absl::string_view text, int most);

// `streams` is whether there is a stream of events, which alone has previews.
std::variant<ResolvedRequest, std::vector<FieldViolation>> Resolve(
    const v1::GenerateImageRequest& request, const RequestRules& rules,
    bool streams);

// Pixels of a ladder's images.
int WidthOf(const model::ModelSpec& spec, const model::LadderSpec& ladder);
int HeightOf(const model::ModelSpec& spec, const model::LadderSpec& ladder);

v1::ImageFormat ToProto(ImageFormat format);

}  // namespace heatkv::server

#endif  // SERVER_RPC_REQUEST_RULES_H_
