// The command `heatkv generate`: flags and wiring only; client/generation.h and
// client/batch.h have the logic.

#ifndef CLIENT_GENERATE_COMMAND_H_
#define CLIENT_GENERATE_COMMAND_H_

#include <string>

#include "CLI/App.hpp"

namespace heatkv::client {

// Adds the subcommand "generate" to `app`.  When `app` is parsed with it, the
// pictures are made and `*exit_code` is set (client/connection.h).  `server`
// is the address, set by the time of parsing; both must outlive the parse.
void AddGenerateCommand(CLI::App& app, const std::string* server,
                        int* exit_code);

}  // namespace heatkv::client

#endif  // CLIENT_GENERATE_COMMAND_H_
