// Repeats a recorded run of the authors' implementation with our model: same
// weights, text features and random draws, through the same pool, block lists
// and step plans as the server's, with the schedule that drops nothing or, if
// the run was pruned, the one that we compute from its ranking and budget.

#ifndef MODEL_PARITY_PARITY_RUN_H_
#define MODEL_PARITY_PARITY_RUN_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/parity/golden_folder.h"
#include "model/parity/parity_report.h"

namespace heatkv::model {

struct ParityOptions {
  bool with_vae = true;
  // "cpu", or, in builds with CUDA, "cuda" or "cuda:N".
  std::string device = "cpu";
  // Of the large products and the cache.  A GPU has no other than bfloat16.
  enum class Precision { kFloat32, kBFloat16 };
  Precision precision = Precision::kFloat32;
  // Every scale starts from the bits that were fed on in the recorded run
  // (`fed_bits` if the folder has them, else `bits`), so that scales are
  // compared one by one.  Otherwise our own bits feed on.
  bool feed_recorded = false;
};

// Keeps the model of the latest run, so that runs on the same weights, device
// and precision load them once.  Used by one thread.
class ParityRunner {
 public:
  ParityRunner();
  ~ParityRunner();

  // Fails if the folder cannot be read or contradicts itself; a run that merely
  // differs is a report that does not pass.
  absl::StatusOr<ParityReport> Run(const std::string& folder,
                                   const ParityOptions& options);

 private:
  struct Model;
  absl::Status Load(const std::string& path, const GoldenFolder& folder,
                    const ParityOptions& options);
  absl::StatusOr<ParityReport> Compare(const std::string& path,
                                       const ParityOptions& options);

  std::unique_ptr<Model> model_;
};

}  // namespace heatkv::model

#endif  // MODEL_PARITY_PARITY_RUN_H_
