// Which requests a load consists of: request i is drawn from templates by
// weight, with single fields drawn over it, or is simply line i of a file.
// Everything depends on the seed and i alone.
//
// Thread safety: const after it was made.

#ifndef CLIENT_BENCH_MIX_H_
#define CLIENT_BENCH_MIX_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "heatkv/v1/image_generation.pb.h"

namespace heatkv::client {

struct MixEntry {
  std::string id;     // "line 3" if the line has none
  double weight = 1;  // positive
  v1::GenerateImageRequest request;
};

// One JSON object a line with the keys of client/request_fields.h and, as
// wished, id and weight; empty lines are passed over.  `defaults` is what a
// request is where its line says nothing.  InvalidArgument names each bad line,
// or says that there is none.
absl::StatusOr<std::vector<MixEntry>> ParseMix(
    absl::string_view text, const v1::GenerateImageRequest& defaults);

// A prompt a line, all of one weight.  The same errors.
absl::StatusOr<std::vector<MixEntry>> ParsePrompts(
    absl::string_view text, const v1::GenerateImageRequest& defaults);

// The prompts of a load that names none.
std::vector<MixEntry> DefaultPrompts(const v1::GenerateImageRequest& defaults);

// Values that are drawn, each as likely, over what the template says; nothing
// is drawn from an empty list.
struct FieldChoices {
  std::vector<std::string> tiers, aspects, tenants;
  std::vector<v1::Priority> priorities;
  std::vector<double> guidances;
  std::vector<int> images;  // how many a request asks for
  // Share of the requests that ask for a preview after every scale; if
  // negative, the templates decide.
  double preview_share = -1;
};

struct MixRequest {
  std::string id;
  v1::GenerateImageRequest request;
};

class Mix {
 public:
  // `entries` is not empty.
  Mix(std::vector<MixEntry> entries, FieldChoices choices, std::uint64_t seed);
  // Each entry once, in order.
  static Mix Replay(std::vector<MixEntry> entries, std::uint64_t seed);

  // How many requests there are; nothing if there is no end to them.
  std::optional<int> size() const;

  // A request that names no seed gets one here, so that every image of a load
  // can be made again.
  MixRequest At(int index) const;

 private:
  const MixEntry& Choose(int index) const;

  std::vector<MixEntry> entries_;
  std::vector<double> up_to_;  // sums of the weights
  FieldChoices choices_;
  std::uint64_t seed_;
  bool is_replay_ = false;
};

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_MIX_H_
