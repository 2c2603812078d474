// A folder with one recorded run of the authors' implementation:
//
//   meta.json             configuration, ladder, guidance, temperature, and how
//                         the cache was pruned, if it was
//   infinity.safetensors  transformer weights
//   vae.safetensors       decoder weights (optional)
//   goldens.safetensors   text features, random draws, intermediate values and
//                         pictures of the run
//
// Read-only; the tensors are copied out when asked for.

#ifndef MODEL_PARITY_GOLDEN_FOLDER_H_
#define MODEL_PARITY_GOLDEN_FOLDER_H_

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/geometry.h"
#include "cache/ladder.h"
#include "model/api/model_spec.h"
#include "model/weights/safetensors_file.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

class GoldenFolder {
 public:
  // A run with the authors' pruning: meta.json's 'heatkv'.
  struct HeatKv {
    double budget = 0;
    int sink_scales = 3;
    // Of each source scale after the sinks, ascending by importance.
    std::vector<std::vector<cache::HeadIndex>> orders;
  };

  // What meta.json says of the run, checked.
  struct Run {
    std::vector<cache::Grid> grids;
    std::vector<int> text_lengths;  // of each prompt
    std::vector<double> guidance;   // one value for each grid
    std::vector<double> tau;        // likewise
    double top_p = 0.97;
    // Grid to which positions are normalised: meta.json's 'rope_grid', or the
    // last grid of the authors' ladder that `grids` belong to.
    cache::Grid rope_grid;
    std::optional<HeatKv> heatkv;  // none: the full cache

    int batch() const { return static_cast<int>(text_lengths.size()); }
    bool guided() const;
  };

  // Fails, naming file and field, if a file is missing or broken, if meta.json
  // lacks a field or has one of the wrong form, or if the run is of a kind that
  // we do not reproduce (guidance inside the blocks).
  static absl::StatusOr<GoldenFolder> Open(const std::string& folder,
                                           bool with_vae);

  const Run& run() const { return run_; }

  // Weights, and the specs that fit their shapes and meta.json.
  absl::StatusOr<WeightStore> TransformerWeights(
      const WeightStore::Options& options = WeightStore::Options()) const;
  absl::StatusOr<WeightStore> VaeWeights(
      const WeightStore::Options& options = WeightStore::Options()) const;
  absl::StatusOr<TransformerSpec> ReadTransformerSpec(
      const WeightStore& weights) const;
  absl::StatusOr<VaeSpec> ReadVaeSpec(const WeightStore& weights) const;

  // A recorded tensor with `elements` values, if it is there.  Fails with
  // InvalidArgument if it has another number of values or an unknown dtype.
  absl::StatusOr<std::optional<at::Tensor>> Find(const std::string& name,
                                                 std::int64_t elements) const;

  // The same for one that must be there, in `shape`.
  absl::StatusOr<at::Tensor> Get(const std::string& name,
                                 const Shape& shape) const;

 private:
  struct Configuration {
    int depth = 0;
    int width = 0;
    int heads = 0;
    int bits = 0;
    bool patchify = false;
    std::optional<int> vae_base;
  };

  GoldenFolder(std::string folder, SafetensorsFile goldens)
      : folder_(std::move(folder)), goldens_(std::move(goldens)) {}
  absl::Status ReadMeta();

  std::string folder_;
  SafetensorsFile goldens_;
  Run run_;
  Configuration configuration_;
};

}  // namespace heatkv::model

#endif  // MODEL_PARITY_GOLDEN_FOLDER_H_
