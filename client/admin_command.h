// The commands `heatkv admin ...`: the operator's port of a server.

#ifndef CLIENT_ADMIN_COMMAND_H_
#define CLIENT_ADMIN_COMMAND_H_

#include <string>

#include "CLI/App.hpp"

namespace heatkv::client {

// Adds the subcommand "admin" to `app`.  `address` is the operator's port; its
// own flag --admin replaces it.  When `app` is parsed with it, the call is made
// and `*exit_code` is set (client/connection.h); it must outlive the parse.
void AddAdminCommand(CLI::App& app, const std::string& address, int* exit_code);

}  // namespace heatkv::client

#endif  // CLIENT_ADMIN_COMMAND_H_
