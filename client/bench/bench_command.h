// The command `heatkv bench`: flags, files and wiring only; the rest of this
// folder has the logic.

#ifndef CLIENT_BENCH_BENCH_COMMAND_H_
#define CLIENT_BENCH_BENCH_COMMAND_H_

#include <filesystem>
#include <string>

#include "CLI/App.hpp"

namespace heatkv::client {

// Adds the subcommand "bench" to `app`.  When `app` is parsed with it, the load
// runs and `*exit_code` is set: 0 if every request ended as it was meant to,
// else as client/connection.h says.  `server` is the address, set by the time
// of parsing by the option --server of `app`; both must outlive the parse.  If
// the load is to have a server of its own, that is the one in `our_folder`.
void AddBenchCommand(CLI::App& app, const std::filesystem::path& our_folder,
                     const std::string* server, int* exit_code);

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_BENCH_COMMAND_H_
