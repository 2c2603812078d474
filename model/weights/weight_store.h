// The weights of one part of a model (transformer, VAE or text encoder), from
// which its layers take their tensors by official name and exact shape.
//
// The account is strict: Finish() fails if any tensor was missing, misshapen or
// of a dtype we do not load, and if any tensor of the files was neither taken
// nor explicitly ignored.  Taking never fails by itself, so that layers load in
// straight lines and one message lists everything that is wrong with a file; a
// tensor that could not be taken is replaced by zeros of the wanted shape, and
// the caller must throw everything away when Finish() fails.
//
// Values are converted to the store's dtype and device.  Accepted dtypes: F32,
// F16, BF16, and I8 with a companion tensor NAME.int8_scale (F32, one value per
// row of dimension 0; rank >= 2): value = int8 * scale[row].
//
// Used by one thread while a model loads; may be destroyed afterwards.

#ifndef MODEL_WEIGHTS_WEIGHT_STORE_H_
#define MODEL_WEIGHTS_WEIGHT_STORE_H_

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/weights/safetensors_file.h"

namespace heatkv::model {

class WeightStore {
 public:
  struct Options {
    at::Device device = at::Device(at::kCPU);
    at::ScalarType dtype = at::kFloat;  // that Take() converts to
    // That TakeMatrix() converts to: of operands of the large products.
    at::ScalarType matrix_dtype = at::kFloat;
  };

  // Opens all files of a part (one, or the shards of a large one).  Fails as
  // SafetensorsFile::Open does, and with InvalidArgument if two files hold a
  // tensor of the same name or `paths` is empty.
  static absl::StatusOr<WeightStore> Open(const std::vector<std::string>& paths,
                                          const Options& options);

  // A store without files.  Every tensor that is asked for exists and is drawn
  // from `seed` when it is taken, on the device: matrices and convolutions keep
  // the size of what they are applied to, norms are near the identity, biases
  // small.  `blocks` is the number of transformer blocks that Names() tells of.
  // For measurements, which need the size of a model and not its knowledge.
  static WeightStore Random(std::uint64_t seed, int blocks,
                            const Options& options);

  bool Has(const std::string& name) const;

  // Shape in the file; nothing if there is no such tensor.
  std::optional<Shape> ShapeOf(const std::string& name) const;

  // Every tensor's name, sorted.
  std::vector<std::string> Names() const;

  // The tensor `name`, which must have exactly `shape`.
  at::Tensor Take(const std::string& name, const Shape& shape);

  // The same in Options::matrix_dtype.
  at::Tensor TakeMatrix(const std::string& name, const Shape& shape);

  // Take() where checkpoints in the wild store one of several shapes with the
  // same values in the same order; the result has the first of them.
  at::Tensor TakeAnyShape(const std::string& name,
                          const std::vector<Shape>& shapes);

  // Declares tensors that a file may hold and that nobody reads.
  void Ignore(const std::string& name);
  void IgnorePrefix(const std::string& prefix);

  // Fails with InvalidArgument if the account does not balance, with the
  // first few violations, each with the tensor's name and both shapes.
  absl::Status Finish() const;

 private:
  explicit WeightStore(const Options& options) : options_(options) {}

  struct Place {
    const SafetensorsFile* file;
    const TensorRecord* record;
  };

  at::Tensor TakeAs(const std::string& name, const std::vector<Shape>& shapes,
                    at::ScalarType dtype);
  at::Tensor Read(const std::string& name, const Place& place);
  at::Tensor Dequantise(const std::string& name, const Place& place);
  // Notes a violation and returns zeros.
  at::Tensor Refuse(const Shape& shape, std::string violation);
  std::string FileNames() const;

  Options options_;
  // Of a random store.
  std::optional<at::Generator> generator_;
  int random_blocks_ = 0;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Place> places_;
  std::set<std::string> spoken_for_;  // taken, refused or ignored
  std::vector<std::string> violations_;
};

}  // namespace heatkv::model

#endif  // MODEL_WEIGHTS_WEIGHT_STORE_H_
