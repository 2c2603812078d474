// The command `heatkv capabilities`: what a server can do.

#ifndef CLIENT_CAPABILITIES_COMMAND_H_
#define CLIENT_CAPABILITIES_COMMAND_H_

#include <string>

#include "CLI/App.hpp"

namespace heatkv::client {

// Adds the subcommand "capabilities" to `app`, as AddGenerateCommand does.
void AddCapabilitiesCommand(CLI::App& app, const std::string* server,
                            int* exit_code);

}  // namespace heatkv::client

#endif  // CLIENT_CAPABILITIES_COMMAND_H_
