#include "server/model_folder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "calibration/sha256.h"
#include "model/api/random_ranking.h"
#include "server/config/model_yaml.h"

namespace heatkv::server {
namespace {

absl::Status CheckProfileFits(const ModelFolder& folder) {
  const calibration::Profile& profile = *folder.profile;
  const std::string file = (folder.path / folder.spec.profile).string();
  const model::TransformerSpec& transformer = folder.spec.transformer;
  if (profile.layers() != transformer.depth ||
      profile.heads() != transformer.heads) {
    return absl::InvalidArgumentError(absl::StrCat(
        file, ": is of a model with ", profile.layers(), " layers of ",
        profile.heads(), " heads, but model.yaml has ", transformer.depth,
        " of ", transformer.heads));
  }
  for (const model::LadderSpec& ladder : folder.spec.ladders) {
    if (ladder.ladder == profile.ladder) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": was measured at ", profile.aspect, " ",
                   profile.pixel_class, " with ", profile.ladder.num_scales(),
                   " scales, which is no ladder of model.yaml"));
}

absl::StatusOr<std::string> HashFile(const std::filesystem::path& file) {
  const absl::Status unreadable =
      absl::NotFoundError(absl::StrCat(file.string(), ": cannot be read"));
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return unreadable;
  struct stat facts;
  void* bytes = MAP_FAILED;
  if (fstat(descriptor, &facts) == 0 && facts.st_size > 0) {
    bytes = mmap(nullptr, facts.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  }
  close(descriptor);
  if (bytes == MAP_FAILED) return unreadable;
  std::string hash = calibration::Sha256Hex(
      std::string_view(static_cast<const char*>(bytes),
                       static_cast<std::size_t>(facts.st_size)));
  munmap(bytes, facts.st_size);
  return hash;
}

}  // namespace

std::filesystem::path FindModelFolder(const std::string& model) {
  const std::filesystem::path shipped = std::filesystem::path("models") / model;
  std::error_code none;
  const bool is_name = model.find('/') == std::string::npos &&
                       !std::filesystem::is_directory(model, none) &&
                       std::filesystem::is_directory(shipped, none);
  return is_name ? shipped : std::filesystem::path(model);
}

absl::StatusOr<ModelFolder> OpenModelFolder(const std::filesystem::path& path) {
  ModelFolder folder;
  folder.path = path;
  ASSIGN_OR_RETURN(folder.spec, LoadModelSpec(path));
  if (!folder.spec.profile.empty()) {
    ASSIGN_OR_RETURN(folder.profile,
                     calibration::ReadProfile(path / folder.spec.profile));
    RETURN_IF_ERROR(CheckProfileFits(folder));
  }
  return folder;
}

absl::StatusOr<ModelFolder> OpenModelWithRandomWeights(
    const std::filesystem::path& path, std::uint64_t seed) {
  ModelFolder folder;
  folder.path = path;
  folder.random_weights = seed;
  ASSIGN_OR_RETURN(folder.spec, LoadModelSpec(path));
  ASSIGN_OR_RETURN(folder.random_ranking,
                   model::RandomRanking(folder.spec, seed));
  return folder;
}

absl::StatusOr<std::string> DescribeWeights(const ModelFolder& folder) {
  if (folder.random_weights.has_value()) {
    return absl::StrCat("random, seed ", *folder.random_weights);
  }
  const auto& files = folder.spec.transformer.files;
  if (files.size() == 1) return HashFile(folder.path / files[0]);
  std::string hashes;
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(const std::string hash, HashFile(folder.path / file));
    absl::StrAppend(&hashes, hash, "\n");
  }
  return calibration::Sha256Hex(hashes);
}

absl::Status CheckProfileIsOf(const ModelFolder& folder,
                              const std::string& weights_sha256) {
  if (!folder.profile.has_value() ||
      folder.profile->model_sha256 == weights_sha256) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      (folder.path / folder.spec.profile).string(),
      ": was measured on weights with SHA-256 ", folder.profile->model_sha256,
      ", but ", (folder.path / folder.spec.transformer.files[0]).string(),
      " has ", weights_sha256));
}

}  // namespace heatkv::server
