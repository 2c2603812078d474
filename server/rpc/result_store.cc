#include "server/rpc/result_store.h"

#include <utility>

namespace heatkv::server {
namespace {

class ResultInMemory final : public StoredResult {
 public:
  explicit ResultInMemory(std::string bytes)
      : StoredResult(bytes.size()), bytes_(std::move(bytes)) {}

  absl::StatusOr<std::string> Read() const override { return bytes_; }

 private:
  const std::string bytes_;
};

class MemoryStore final : public ResultStore {
 public:
  absl::StatusOr<std::shared_ptr<const StoredResult>> Put(
      const std::string&, std::string bytes) override {
    return std::make_shared<ResultInMemory>(std::move(bytes));
  }
};

}  // namespace

std::unique_ptr<ResultStore> MakeMemoryStore() {
  return std::make_unique<MemoryStore>();
}

}  // namespace heatkv::server
