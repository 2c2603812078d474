// A ResultStore whose pictures are files in one folder: written whole or not at
// all, removed when their job is forgotten.  They do not outlive the server:
// what an earlier run left behind is removed at the start.
//
// Thread safety: see ResultStore.

#ifndef SERVER_RPC_RESULT_FOLDER_H_
#define SERVER_RPC_RESULT_FOLDER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/rpc/result_store.h"

namespace heatkv::server {

// Puts bytes into a file, whole or not at all.
using FileWriter = std::function<absl::Status(const std::string& path,
                                              absl::string_view bytes)>;

// Writes beside `path` and renames.  Fails with ResourceExhausted if disk,
// quota or the limit of a file's size is reached, else with Internal; the
// message names the file, the system's reason, and how many bytes of how many
// were written.  Leaves nothing behind if it fails.
absl::Status WriteFileWhole(const std::string& path, absl::string_view bytes);

// Makes the folder if there is none and removes files of earlier runs (named
// "heatkv-*.result"); others are not touched.  Fails with InvalidArgument,
// naming folder and reason, if a file cannot be written there or another server
// has the folder: one folder, one server, as long as the store lives.
absl::StatusOr<std::unique_ptr<ResultStore>> OpenResultFolder(
    const std::string& folder, FileWriter writer = WriteFileWhole);

}  // namespace heatkv::server

#endif  // SERVER_RPC_RESULT_FOLDER_H_
