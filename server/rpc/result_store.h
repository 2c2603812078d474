// Where the encoded pictures of jobs lie until their job is forgotten.
//
// Two places exist: memory (here) and a folder of files (server/rpc/
// result_folder.h).  What is kept is held by a StoredResult; destroying it
// frees the memory or removes the file, so nothing can be forgotten twice or
// not at all, and who still reads one keeps it.
//
// Thread safety: any thread.  Put and Read may wait for a disk, so the engine's
// thread calls neither.

#ifndef SERVER_RPC_RESULT_STORE_H_
#define SERVER_RPC_RESULT_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace heatkv::server {

class StoredResult {
 public:
  explicit StoredResult(std::int64_t size) : size_(size) {}
  virtual ~StoredResult() = default;

  StoredResult(const StoredResult&) = delete;
  StoredResult& operator=(const StoredResult&) = delete;

  std::int64_t size() const { return size_; }  // bytes

  // The bytes that were put.  Fails with Internal, naming the file, if they are
  // not there any more.
  virtual absl::StatusOr<std::string> Read() const = 0;

 private:
  const std::int64_t size_;
};

class ResultStore {
 public:
  virtual ~ResultStore() = default;

  // Keeps `bytes` under a name that no other result has.  Fails with
  // ResourceExhausted, naming place and reason, if there is no room for them,
  // and with Internal if they cannot be written for another reason.
  virtual absl::StatusOr<std::shared_ptr<const StoredResult>> Put(
      const std::string& name, std::string bytes) = 0;
};

std::unique_ptr<ResultStore> MakeMemoryStore();

}  // namespace heatkv::server

#endif  // SERVER_RPC_RESULT_STORE_H_
