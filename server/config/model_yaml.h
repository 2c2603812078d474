// Reads model.yaml, the description that every model folder carries, into a
// model::ModelSpec.  Strict: unknown keys, wrong types and contradictions are
// errors with line and column, all of them at once.  Opens no weight file; the
// backend checks weights against the spec.

#ifndef SERVER_CONFIG_MODEL_YAML_H_
#define SERVER_CONFIG_MODEL_YAML_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/api/model_spec.h"

namespace heatkv::server {

// `folder`/model.yaml.  NotFound if there is none; InvalidArgument, one line a
// mistake, otherwise.
absl::StatusOr<model::ModelSpec> LoadModelSpec(
    const std::filesystem::path& folder);

// The same from text; `file` names it in messages.
absl::StatusOr<model::ModelSpec> ParseModelSpec(const std::string& text,
                                                absl::string_view file);

}  // namespace heatkv::server

#endif  // SERVER_CONFIG_MODEL_YAML_H_
