#include "client/request_fields.h"

#include <cstdint>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"

namespace heatkv::client {
namespace {

using nlohmann::json;
using Request = v1::GenerateImageRequest;

constexpr std::uint32_t kLargest32 = std::numeric_limits<std::uint32_t>::max();

bool IsSmall(const json& value) {
  return value.is_number_unsigned() && value.get<std::uint64_t>() <= kLargest32;
}

std::string SetText(const std::string& key, const std::string& text,
                    Request* request) {
  if (key == "prompt") request->set_prompt(text);
  if (key == "tier") request->set_tier(text);
  if (key == "aspect") request->mutable_size()->set_aspect(text);
  if (key == "pixel_class") request->mutable_size()->set_pixel_class(text);
  if (key == "tenant") request->set_tenant(text);
  if (key == "request_id") request->set_request_id(text);
  if (key == "allow_down_to") {
    request->mutable_memory_policy()->set_allow_down_to(text);
  }
  if (key == "priority") {
    v1::Priority priority;
    if (!ReadPriority(text, &priority)) {
      return "priority must be low, normal or high";
    }
    request->set_priority(priority);
  }
  if (key == "format") {
    if (text == "png") {
      request->set_format(v1::IMAGE_FORMAT_PNG);
    } else if (text == "jpeg") {
      request->set_format(v1::IMAGE_FORMAT_JPEG);
    } else if (text == "webp") {
      request->set_format(v1::IMAGE_FORMAT_WEBP);
    } else {
      return "format must be png, jpeg or webp";
    }
  }
  return "";
}

std::string SetList(const std::string& key, const json& list,
                    Request* request) {
  const bool of_seeds = key == "seeds";
  const std::string wrong =
      absl::StrCat(key, " must be a list of whole numbers");
  if (!list.is_array()) return wrong;
  if (of_seeds) {
    request->clear_seeds();
  } else {
    request->mutable_previews()->clear_scales();
  }
  for (const json& value : list) {
    if (of_seeds && value.is_number_unsigned()) {
      request->add_seeds(value.get<std::uint64_t>());
    } else if (!of_seeds && IsSmall(value)) {
      request->mutable_previews()->add_scales(value.get<std::uint32_t>());
    } else {
      return wrong;
    }
  }
  return "";
}

std::string SetWholeNumber(const std::string& key, const json& value,
                           Request* request) {
  if (!value.is_number_unsigned() || (key != "seed" && !IsSmall(value))) {
    return absl::StrCat(key, " must be a whole number, 0 or more");
  }
  const auto number = value.get<std::uint64_t>();
  if (key == "seed") request->set_seed(number);
  if (key == "n") request->set_n(number);
  if (key == "quality") request->set_quality(number);
  if (key == "preview_edge") {
    request->mutable_previews()->set_max_edge(number);
  }
  return "";
}

std::string SetNumber(const std::string& key, const json& value,
                      Request* request) {
  if (!value.is_number()) return absl::StrCat(key, " must be a number");
  const auto number = value.get<double>();
  if (key == "guidance") request->set_guidance(number);
  if (key == "tau") request->set_tau(number);
  if (key == "top_p") request->set_top_p(number);
  return "";
}

}  // namespace

const char* FormatName(v1::ImageFormat format) {
  switch (format) {
    case v1::IMAGE_FORMAT_JPEG:
      return "jpeg";
    case v1::IMAGE_FORMAT_WEBP:
      return "webp";
    default:
      return "png";
  }
}

const char* PriorityName(v1::Priority priority) {
  switch (priority) {
    case v1::PRIORITY_LOW:
      return "low";
    case v1::PRIORITY_HIGH:
      return "high";
    default:
      return "normal";
  }
}

bool ReadPriority(absl::string_view name, v1::Priority* priority) {
  for (const v1::Priority one :
       {v1::PRIORITY_LOW, v1::PRIORITY_NORMAL, v1::PRIORITY_HIGH}) {
    if (name != PriorityName(one)) continue;
    *priority = one;
    return true;
  }
  return false;
}

std::string SetField(const std::string& key, const json& value,
                     Request* request) {
  enum class Kind { kText, kWhole, kNumber, kList, kSwitch };
  static const auto& kinds =
      *new std::map<std::string, Kind>{{"prompt", Kind::kText},
                                       {"tier", Kind::kText},
                                       {"aspect", Kind::kText},
                                       {"pixel_class", Kind::kText},
                                       {"allow_down_to", Kind::kText},
                                       {"tenant", Kind::kText},
                                       {"request_id", Kind::kText},
                                       {"priority", Kind::kText},
                                       {"format", Kind::kText},
                                       {"seed", Kind::kWhole},
                                       {"n", Kind::kWhole},
                                       {"quality", Kind::kWhole},
                                       {"preview_edge", Kind::kWhole},
                                       {"seeds", Kind::kList},
                                       {"preview_scales", Kind::kList},
                                       {"previews", Kind::kSwitch},
                                       {"guidance", Kind::kNumber},
                                       {"tau", Kind::kNumber},
                                       {"top_p", Kind::kNumber}};
  const auto kind = kinds.find(key);
  if (kind == kinds.end()) return absl::StrCat("unknown key \"", key, "\"");
  switch (kind->second) {
    case Kind::kText:
      if (!value.is_string()) return absl::StrCat(key, " must be text");
      return SetText(key, value.get_ref<const std::string&>(), request);
    case Kind::kWhole:
      return SetWholeNumber(key, value, request);
    case Kind::kNumber:
      return SetNumber(key, value, request);
    case Kind::kList:
      return SetList(key, value, request);
    case Kind::kSwitch:
      if (!value.is_boolean())
        return absl::StrCat(key, " must be true or false");
      request->mutable_previews()->set_every_scale(value.get<bool>());
      return "";
  }
  return "";
}

}  // namespace heatkv::client
