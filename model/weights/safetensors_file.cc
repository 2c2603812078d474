#include "model/weights/safetensors_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"

namespace heatkv::model {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors files are read in place");

// The limit of the format's own implementation.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

// Bytes of one value; 0 for an unknown dtype.
std::uint64_t ValueBytes(const std::string& dtype) {
  static const auto* const bytes = new std::map<std::string, std::uint64_t>{
      {"F64", 8}, {"F32", 4}, {"F16", 2},     {"BF16", 2},    {"I64", 8},
      {"I32", 4}, {"I16", 2}, {"I8", 1},      {"U64", 8},     {"U32", 4},
      {"U16", 2}, {"U8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"BOOL", 1}};
  const auto it = bytes->find(dtype);
  return it == bytes->end() ? 0 : it->second;
}

// Parses the header, refusing a tensor that is named twice (of which the JSON
// library would silently keep the last).
absl::StatusOr<nlohmann::json> ParseHeader(const std::string& path,
                                           std::span<const std::byte> bytes) {
  std::set<std::string> names;
  std::string repeated;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event,
                         nlohmann::json& parsed) {
    if (depth == 1 && event == nlohmann::json::parse_event_t::key &&
        !names.insert(parsed.get<std::string>()).second) {
      repeated = parsed.get<std::string>();
    }
    return true;
  };
  const char* const begin = reinterpret_cast<const char*>(bytes.data());
  nlohmann::json header = nlohmann::json::parse(begin, begin + bytes.size(),
                                                watch, /*exceptions=*/false);
  if (!header.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": the header of ", bytes.size(), " bytes is no JSON object"));
  }
  if (!repeated.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": tensor '", repeated, "' is named twice"));
  }
  return header;
}

// Every entry of the header is checked on its own here, and against the others
// in CheckLayout.
absl::StatusOr<TensorRecord> ParseRecord(const std::string& where,
                                         const nlohmann::json& entry) {
  const auto invalid = [&](const auto&... message) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", message...));
  };
  if (!entry.is_object()) return invalid("not a JSON object");
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!entry.contains(key)) return invalid("has no '", key, "'");
  }
  TensorRecord record;
  if (!entry["dtype"].is_string()) return invalid("dtype is no string");
  record.dtype = entry["dtype"].get<std::string>();
  const std::uint64_t value_bytes = ValueBytes(record.dtype);
  if (value_bytes == 0) return invalid("unknown dtype '", record.dtype, "'");

  if (!entry["shape"].is_array()) return invalid("shape is no list");
  std::uint64_t bytes = value_bytes;
  for (const nlohmann::json& side : entry["shape"]) {
    if (!side.is_number_unsigned()) {
      return invalid("shape has a side that is no whole number: ", side.dump());
    }
    const auto length = side.get<std::uint64_t>();
    if (length > (std::uint64_t{1} << 62) ||
        __builtin_mul_overflow(bytes, length, &bytes)) {
      return invalid("shape ", entry["shape"].dump(), " is too large");
    }
    record.shape.push_back(static_cast<std::int64_t>(length));
  }

  const nlohmann::json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 ||
      !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
    return invalid("data_offsets are no two whole numbers: ", offsets.dump());
  }
  record.begin = offsets[0].get<std::uint64_t>();
  record.end = offsets[1].get<std::uint64_t>();
  if (record.end < record.begin || record.end - record.begin != bytes) {
    return invalid("dtype ", record.dtype, " and shape ",
                   ShapeText(record.shape), " need ", bytes,
                   " bytes, but data_offsets are ", offsets.dump());
  }
  return record;
}

// The tensors must cover the data part exactly: no overlap, gap or truncation.
absl::Status CheckLayout(const std::string& path,
                         const std::map<std::string, TensorRecord>& tensors,
                         std::uint64_t data_bytes) {
  std::vector<std::pair<const std::string*, const TensorRecord*>> order;
  for (const auto& [name, record] : tensors) {
    if (record.end > data_bytes) {
      return absl::DataLossError(
          absl::StrCat(path, ": tensor '", name, "' ends at byte ", record.end,
                       " of the data, but the file holds only ", data_bytes));
    }
    if (record.end > record.begin) order.emplace_back(&name, &record);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.second->begin < b.second->begin;
  });
  std::uint64_t covered = 0;
  const std::string* previous = nullptr;
  for (const auto& [name, record] : order) {
    if (record->begin < covered) {
      return absl::DataLossError(absl::StrCat(
          path, ": tensor '", *name, "' starts at byte ", record->begin,
          " of the data, but '", *previous, "' ends at ", covered));
    }
    if (record->begin > covered) {
      return absl::DataLossError(absl::StrCat(
          path, ": ", record->begin - covered, " bytes before tensor '", *name,
          "' belong to no tensor"));
    }
    covered = record->end;
    previous = name;
  }
  if (covered != data_bytes) {
    return absl::DataLossError(
        absl::StrCat(path, ": the tensors end at byte ", covered,
                     " of the data, but the file holds ", data_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

std::string ShapeText(const Shape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  SafetensorsFile result;
  result.path_ = path;
  ASSIGN_OR_RETURN(result.file_, MappedFile::Open(path));
  const std::span<const std::byte> bytes = result.file_->bytes();
  std::uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) {
    return absl::DataLossError(absl::StrCat(
        path, ": ", bytes.size(), " bytes are too few for a safetensors file"));
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a safetensors file: it claims a header of ",
                     header_bytes, " bytes; the limit is ", kMaxHeaderBytes));
  }
  const std::uint64_t after_length = bytes.size() - sizeof(header_bytes);
  if (header_bytes > after_length) {
    return absl::DataLossError(absl::StrCat(
        path, ": the header has ", header_bytes, " bytes, but only ",
        after_length, " bytes follow its length"));
  }
  ASSIGN_OR_RETURN(
      const nlohmann::json header,
      ParseHeader(path, bytes.subspan(sizeof(header_bytes), header_bytes)));
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    ASSIGN_OR_RETURN(
        result.tensors_[name],
        ParseRecord(absl::StrCat(path, ": tensor '", name, "'"), entry));
  }
  result.data_offset_ = sizeof(header_bytes) + header_bytes;
  RETURN_IF_ERROR(
      CheckLayout(path, result.tensors_, after_length - header_bytes));
  return result;
}

std::span<const std::byte> SafetensorsFile::bytes(
    const TensorRecord& record) const {
  return file_->bytes().subspan(data_offset_ + record.begin,
                                record.end - record.begin);
}

}  // namespace heatkv::model
