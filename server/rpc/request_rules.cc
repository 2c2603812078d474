#include "server/rpc/request_rules.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace heatkv::server {
namespace {

// Nobody reads more.
constexpr std::size_t kMostViolations = 100;
constexpr int kDefaultQuality = 90;
constexpr int kMaxIdLength = 128;
constexpr int kMaxTenantLength = 64;
constexpr int kMaxTags = 16;
constexpr int kMaxTagBytes = 128;

// Collects violations while a request is read field by field.
class Reading {
 public:
  Reading(const v1::GenerateImageRequest& request, const RequestRules& rules)
      : request_(request), rules_(rules), offer_(rules.offer()) {}

  ResolvedRequest ReadAll(bool streams) {
    ReadPrompt();
    ReadSize();
    ReadSeeds();
    ReadKnobs();
    ReadTier();
    ReadPriority();
    ReadEncoding();
    ReadPreviews(streams);
    ReadLabels();
    out_.generation.book = offer_.book;
    out_.generation.request_id = out_.request_id;
    return std::move(out_);
  }

  std::vector<FieldViolation>& violations() { return violations_; }

 private:
  template <typename... Parts>
  void Violate(std::string field, const Parts&... parts) {
    if (violations_.size() >= kMostViolations) return;
    violations_.push_back({std::move(field), absl::StrCat(parts...)});
  }

  void ReadPrompt() {
    const std::string& prompt = request_.prompt();
    if (prompt.empty()) {
      Violate("prompt", "must not be empty");
    } else if (prompt.size() > rules_.max_prompt_bytes) {
      Violate("prompt", "has ", prompt.size(), " bytes, at most ",
              rules_.max_prompt_bytes, " are taken");
    } else if (const auto tokens = rules_.count_tokens(prompt); !tokens.ok()) {
      Violate("prompt", tokens.status().message());
    } else if (*tokens > rules_.spec->tokenizer.max_length) {
      Violate("prompt", "has ", *tokens, " tokens, the model takes at most ",
              rules_.spec->tokenizer.max_length);
    }
    out_.generation.prompt = prompt;
    if (!request_.negative_prompt().empty()) {
      Violate("negative_prompt", "the model takes none");
    }
    if (!request_.model().empty() && request_.model() != rules_.spec->name) {
      Violate("model", "\"", request_.model(), "\" is not served, only \"",
              rules_.spec->name, "\"");
    }
  }

  bool Matches(const model::LadderSpec& ladder) const {
    const v1::ImageSize& size = request_.size();
    return (size.aspect().empty() || size.aspect() == ladder.aspect) &&
           (size.pixel_class().empty() ||
            size.pixel_class() == ladder.pixel_class) &&
           (size.width() == 0 ||
            size.width() == WidthOf(*rules_.spec, ladder)) &&
           (size.height() == 0 ||
            size.height() == HeightOf(*rules_.spec, ladder));
  }

  void ReadSize() {
    const v1::ImageSize& size = request_.size();
    if ((size.width() == 0) != (size.height() == 0)) {
      Violate("size", "width ", size.width(), " and height ", size.height(),
              " must be given both or neither");
      return;
    }
    const auto& ladders = rules_.spec->ladders;
    for (std::size_t i = 0; i < ladders.size(); ++i) {
      // Without an aspect or pixels, the first ladder's aspect is meant.
      if (size.aspect().empty() && size.width() == 0 &&
          ladders[i].aspect != ladders[0].aspect) {
        continue;
      }
      if (!Matches(ladders[i])) continue;
      out_.generation.ladder = static_cast<int>(i);
      out_.width = WidthOf(*rules_.spec, ladders[i]);
      out_.height = HeightOf(*rules_.spec, ladders[i]);
      return;
    }
    const std::string asked =
        size.width() != 0
            ? absl::StrCat(size.width(), "x", size.height(), " ", size.aspect(),
                           " ", size.pixel_class())
            : absl::StrCat(size.aspect(), " ", size.pixel_class());
    Violate(
        "size", "there is no size \"", absl::StripAsciiWhitespace(asked),
        "\"; there are: ",
        absl::StrJoin(ladders, ", ",
                      [this](std::string* text, const model::LadderSpec& l) {
                        absl::StrAppend(text, l.aspect, " ", l.pixel_class,
                                        " (", WidthOf(*rules_.spec, l), "x",
                                        HeightOf(*rules_.spec, l), ")");
                      }));
  }

  void ReadSeeds() {
    const int seeds = request_.seeds_size();
    std::uint32_t n = request_.n();
    if (n == 0) n = seeds > 0 ? seeds : 1;
    if (n > static_cast<std::uint32_t>(rules_.max_images)) {
      Violate("n", n, " images, at most ", rules_.max_images, " a request");
      return;
    }
    if (seeds > 0 && request_.has_seed()) {
      Violate("seeds", "seed and seeds must not be given both");
    }
    if (seeds > 0 && seeds != n) {
      Violate("seeds", "there are ", seeds, " for ", n, " images");
      return;
    }
    const std::uint64_t first = request_.has_seed() ? request_.seed()
                                : seeds > 0         ? 0
                                                    : rules_.draw_seed();
    for (std::uint32_t i = 0; i < n; ++i) {
      out_.generation.seeds.push_back(seeds > 0 ? request_.seeds(i)
                                                : first + i);
    }
  }

  double Knob(const char* field, bool given, double value, double otherwise,
              double least, double most) {
    if (!given) return otherwise;
    if (!(value >= least) || value > most) {
      Violate(field, "must be ", least, " to ", most, ", but is ", value);
    }
    return value;
  }

  void ReadKnobs() {
    const model::DefaultKnobs& knobs = rules_.spec->defaults;
    GenerationRequest& out = out_.generation;
    out.guidance = Knob("guidance", request_.has_guidance(),
                        request_.guidance(), knobs.guidance, 0, 100);
    out.tau =
        Knob("tau", request_.has_tau(), request_.tau(), knobs.tau, 0.001, 100);
    out.top_p = Knob("top_p", request_.has_top_p(), request_.top_p(),
                     knobs.top_p, 0.001, 1);
  }

  std::optional<int> FindTier(const char* field, const std::string& name) {
    const std::optional<int> tier = offer_.book->FindTier(name);
    if (!tier.has_value()) {
      Violate(field, "there is no tier \"", name, "\"; there are: ",
              absl::StrJoin(offer_.book->tiers(), ", ",
                            [](std::string* text, const TierSpec& t) {
                              absl::StrAppend(text, t.name);
                            }));
    }
    return tier;
  }

  void ReadTier() {
    out_.tier = request_.tier().empty() ? offer_.default_tier : request_.tier();
    const std::optional<int> tier = FindTier("tier", out_.tier);
    const std::string& least_name = request_.memory_policy().allow_down_to();
    std::optional<int> least = tier;
    if (!least_name.empty()) {
      least = FindTier("memory_policy.allow_down_to", least_name);
    }
    if (!tier.has_value() || !least.has_value()) return;
    const double most = offer_.book->tiers()[*tier].budget.fraction();
    const double fraction = offer_.book->tiers()[*least].budget.fraction();
    if (fraction > most) {
      Violate("memory_policy.allow_down_to", "tier \"", least_name, "\" keeps ",
              fraction, " of the full cache, more than tier \"", out_.tier,
              "\", which keeps ", most);
    }
    out_.generation.tier = *tier;
    out_.generation.least_tier = *least;
  }

  void ReadPriority() {
    switch (request_.priority()) {
      case v1::PRIORITY_UNSPECIFIED:
      case v1::PRIORITY_NORMAL:
        out_.generation.priority = Priority::kNormal;
        return;
      case v1::PRIORITY_LOW:
        out_.generation.priority = Priority::kLow;
        return;
      case v1::PRIORITY_HIGH:
        out_.generation.priority = Priority::kHigh;
        return;
      default:
        Violate("priority", "unknown priority ",
                static_cast<int>(request_.priority()));
    }
  }

  ImageFormat ReadFormat(const char* field, v1::ImageFormat format,
                         ImageFormat otherwise) {
    switch (format) {
      case v1::IMAGE_FORMAT_UNSPECIFIED:
        return otherwise;
      case v1::IMAGE_FORMAT_PNG:
        return ImageFormat::kPng;
      case v1::IMAGE_FORMAT_JPEG:
        return ImageFormat::kJpeg;
      case v1::IMAGE_FORMAT_WEBP:
        return ImageFormat::kWebp;
      default:
        Violate(field, "unknown format ", static_cast<int>(format));
        return otherwise;
    }
  }

  void ReadEncoding() {
    out_.encoding.format =
        ReadFormat("format", request_.format(), ImageFormat::kPng);
    out_.encoding.quality = kDefaultQuality;
    const std::uint32_t quality = request_.quality();
    if (quality == 0) return;
    if (out_.encoding.format == ImageFormat::kPng) {
      Violate("quality", "PNG has no quality, but it is ", quality);
    } else if (quality > 100) {
      Violate("quality", "must be 1 to 100, but is ", quality);
    } else {
      out_.encoding.quality = static_cast<int>(quality);
    }
  }

  void ReadPreviews(bool streams) {
    if (!request_.has_previews()) return;
    const v1::PreviewOptions& previews = request_.previews();
    out_.preview_encoding.format =
        ReadFormat("previews.format", previews.format(), ImageFormat::kJpeg);
    if (previews.max_edge() > 65536) {
      Violate("previews.max_edge", "must be 0 to 65536, but is ",
              previews.max_edge());
    }
    out_.preview_max_edge = static_cast<int>(previews.max_edge());
    if (!previews.every_scale() && previews.scales().empty()) return;
    if (!streams) {
      Violate("previews", "only GenerateImageStream and jobs have previews");
      return;
    }
    const int scales =
        rules_.spec->ladders[out_.generation.ladder].ladder.num_scales();
    std::vector<bool>& after = out_.generation.preview_after;
    after.assign(scales, previews.every_scale());
    after[scales - 1] = false;
    for (const std::uint32_t scale : previews.scales()) {
      if (scale < 1 || scale > scales) {
        Violate("previews.scales", "must be 1 to ", scales, ", but one is ",
                scale);
      } else if (scale < scales) {
        after[scale - 1] = true;
      }
    }
  }

  void ReadLabels() {
    out_.request_id = request_.request_id();
    if (!IsName(out_.request_id, kMaxIdLength)) {
      Violate("request_id", "must be at most ", kMaxIdLength,
              " printable ASCII characters without spaces");
    }
    out_.generation.tenant = request_.tenant();
    if (!IsName(request_.tenant(), kMaxTenantLength)) {
      Violate("tenant", "must be at most ", kMaxTenantLength,
              " printable ASCII characters without spaces");
    }
    if (out_.request_id.empty()) out_.request_id = rules_.make_request_id();
    if (request_.tags_size() > kMaxTags) {
      Violate("tags", "there are ", request_.tags_size(), ", at most ",
              kMaxTags, " are taken");
    }
    for (const auto& [key, value] : request_.tags()) {
      if (key.empty() || key.size() > kMaxTagBytes ||
          value.size() > kMaxTagBytes) {
        Violate("tags", "keys have 1 to ", kMaxTagBytes,
                " bytes and values at most as many, but one has ", key.size(),
                " and ", value.size());
      }
      out_.tags[key] = value;
    }
  }

  const v1::GenerateImageRequest& request_;
  const RequestRules& rules_;
  const TierOffer offer_;
  ResolvedRequest out_;
  std::vector<FieldViolation> violations_;
};

}  // namespace

bool IsName(absl::string_view text, int most) {
  return text.size() <= most &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return c > ' ' && c < 127; });
}

int WidthOf(const model::ModelSpec& spec, const model::LadderSpec& ladder) {
  return ladder.ladder.grid(ladder.ladder.num_scales() - 1).width *
         spec.pixels_per_token();
}

int HeightOf(const model::ModelSpec& spec, const model::LadderSpec& ladder) {
  return ladder.ladder.grid(ladder.ladder.num_scales() - 1).height *
         spec.pixels_per_token();
}

v1::ImageFormat ToProto(ImageFormat format) {
  switch (format) {
    case ImageFormat::kPng:
      return v1::IMAGE_FORMAT_PNG;
    case ImageFormat::kJpeg:
      return v1::IMAGE_FORMAT_JPEG;
    case ImageFormat::kWebp:
      return v1::IMAGE_FORMAT_WEBP;
  }
  return v1::IMAGE_FORMAT_UNSPECIFIED;
}

std::variant<ResolvedRequest, std::vector<FieldViolation>> Resolve(
    const v1::GenerateImageRequest& request, const RequestRules& rules,
    bool streams) {
  Reading reading(request, rules);
  ResolvedRequest resolved = reading.ReadAll(streams);
  if (!reading.violations().empty()) return std::move(reading.violations());
  return resolved;
}

}  // namespace heatkv::server
