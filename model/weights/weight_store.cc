#include "model/weights/weight_store.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/weights/random_weight.h"
#include "model/weights/tensor_bytes.h"

namespace heatkv::model {
namespace {

constexpr char kScaleSuffix[] = ".int8_scale";
constexpr int kViolationsShown = 8;

bool IsFloatWeight(const std::string& dtype) {
  return dtype == "F32" || dtype == "F16" || dtype == "BF16";
}

}  // namespace

absl::StatusOr<WeightStore> WeightStore::Open(
    const std::vector<std::string>& paths, const Options& options) {
  if (paths.empty()) {
    return absl::InvalidArgumentError("no weight files are named");
  }
  WeightStore store(options);
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
    store.files_.push_back(std::make_unique<SafetensorsFile>(std::move(file)));
    const SafetensorsFile& opened = *store.files_.back();
    for (const auto& [name, record] : opened.tensors()) {
      const auto [it, added] =
          store.places_.emplace(name, Place{&opened, &record});
      if (!added) {
        return absl::InvalidArgumentError(absl::StrCat(
            "tensor '", name, "' is in two files: ", it->second.file->path(),
            " and ", path));
      }
    }
  }
  return store;
}

WeightStore WeightStore::Random(std::uint64_t seed, int blocks,
                                const Options& options) {
  WeightStore store(options);
  store.random_blocks_ = blocks;
  store.generator_ = RandomGenerator(seed, options.device);
  return store;
}

bool WeightStore::Has(const std::string& name) const {
  return places_.contains(name);
}

std::optional<Shape> WeightStore::ShapeOf(const std::string& name) const {
  const auto it = places_.find(name);
  if (it == places_.end()) return std::nullopt;
  return it->second.record->shape;
}

std::vector<std::string> WeightStore::Names() const {
  std::vector<std::string> names;
  for (int block = 0; block < random_blocks_; ++block) {
    names.push_back(absl::StrCat("blocks.", block, ".ada_gss"));
  }
  names.reserve(places_.size());
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

at::Tensor WeightStore::Take(const std::string& name, const Shape& shape) {
  return TakeAs(name, {shape}, options_.dtype);
}

at::Tensor WeightStore::TakeMatrix(const std::string& name,
                                   const Shape& shape) {
  return TakeAs(name, {shape}, options_.matrix_dtype);
}

at::Tensor WeightStore::TakeAnyShape(const std::string& name,
                                     const std::vector<Shape>& shapes) {
  return TakeAs(name, shapes, options_.dtype);
}

at::Tensor WeightStore::TakeAs(const std::string& name,
                               const std::vector<Shape>& shapes,
                               at::ScalarType dtype) {
  HEATKV_CHECK(!shapes.empty());
  if (generator_.has_value()) {
    return RandomWeight(name, shapes[0], *generator_, options_.device)
        .to(dtype);
  }
  const std::string expected =
      absl::StrJoin(shapes, " or ", [](std::string* out, const Shape& shape) {
        absl::StrAppend(out, ShapeText(shape));
      });
  const auto it = places_.find(name);
  if (it == places_.end()) {
    return Refuse(shapes[0], absl::StrCat("'", name, "' of shape ", expected,
                                          " is missing from ", FileNames()));
  }
  spoken_for_.insert(name);
  const Place& place = it->second;
  if (place.record->dtype == "I8") {
    spoken_for_.insert(absl::StrCat(name, kScaleSuffix));
  }
  if (std::find(shapes.begin(), shapes.end(), place.record->shape) ==
      shapes.end()) {
    return Refuse(
        shapes[0],
        absl::StrCat("'", name, "' in ", place.file->path(), " has shape ",
                     ShapeText(place.record->shape), ", expected ", expected));
  }
  const at::Tensor value = Read(name, place);
  if (!value.defined()) return at::zeros(shapes[0], dtype);
  return value.reshape(shapes[0]).to(options_.device, dtype);
}

at::Tensor WeightStore::Read(const std::string& name, const Place& place) {
  if (place.record->dtype == "I8") return Dequantise(name, place);
  if (!IsFloatWeight(place.record->dtype)) {
    violations_.push_back(absl::StrCat("'", name, "' in ", place.file->path(),
                                       " has dtype ", place.record->dtype,
                                       ", expected F32, F16, BF16 or I8"));
    return {};
  }
  return CopyTensor(*place.file, *place.record);
}

at::Tensor WeightStore::Dequantise(const std::string& name,
                                   const Place& place) {
  const Shape& shape = place.record->shape;
  const std::string scale_name = absl::StrCat(name, kScaleSuffix);
  if (shape.size() < 2) {
    violations_.push_back(absl::StrCat(
        "'", name, "' in ", place.file->path(), " is I8 with shape ",
        ShapeText(shape), "; only tensors of rank 2 and more may be I8"));
    return {};
  }
  const Shape scale_shape = {shape[0]};
  const auto scale = places_.find(scale_name);
  if (scale == places_.end()) {
    violations_.push_back(absl::StrCat("'", name, "' is I8, but '", scale_name,
                                       "' of shape ", ShapeText(scale_shape),
                                       " is missing from ", FileNames()));
    return {};
  }
  const TensorRecord& record = *scale->second.record;
  if (record.dtype != "F32" || record.shape != scale_shape) {
    violations_.push_back(
        absl::StrCat("'", scale_name, "' in ", scale->second.file->path(),
                     " is ", record.dtype, " ", ShapeText(record.shape),
                     ", expected F32 ", ShapeText(scale_shape)));
    return {};
  }
  Shape column(shape.size(), 1);
  column[0] = shape[0];
  return CopyTensor(*place.file, *place.record)
      .to(at::kFloat)
      .mul_(CopyTensor(*scale->second.file, record).view(column));
}

at::Tensor WeightStore::Refuse(const Shape& shape, std::string violation) {
  violations_.push_back(std::move(violation));
  return at::zeros(shape,
                   at::TensorOptions(options_.dtype).device(options_.device));
}

void WeightStore::Ignore(const std::string& name) { spoken_for_.insert(name); }

void WeightStore::IgnorePrefix(const std::string& prefix) {
  for (const auto& [name, place] : places_) {
    if (absl::StartsWith(name, prefix)) {
      spoken_for_.insert(name);
    }
  }
}

absl::Status WeightStore::Finish() const {
  std::vector<std::string> all = violations_;
  for (const auto& [name, place] : places_) {
    if (spoken_for_.contains(name)) continue;
    all.push_back(
        absl::StrCat("'", name, "' of shape ", ShapeText(place.record->shape),
                     " in ", place.file->path(), " is not part of the model"));
  }
  if (all.empty()) return absl::OkStatus();
  const std::size_t shown = std::min<std::size_t>(all.size(), kViolationsShown);
  std::string message =
      absl::StrCat("the weights do not fit the model (", all.size(),
                   all.size() == 1 ? " problem): " : " problems): ",
                   absl::StrJoin(all.begin(), all.begin() + shown, "; "));
  if (shown < all.size()) {
    absl::StrAppend(&message, "; and ", all.size() - shown, " more");
  }
  return absl::InvalidArgumentError(message);
}

std::string WeightStore::FileNames() const {
  return absl::StrJoin(
      files_, ", ",
      [](std::string* out, const std::unique_ptr<SafetensorsFile>& file) {
        absl::StrAppend(out, file->path());
      });
}

}  // namespace heatkv::model
