// heatkv: the command line.  `heatkv --help` lists the commands.
//
// Exit status: 0 done; 1 a request or a file failed; 2 the command line is
// wrong; 3 no server answers.

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "CLI/CLI.hpp"
#include "client/capabilities_command.h"
#include "client/connection.h"
#include "client/generate_command.h"
#include "client/plan.h"

namespace heatkv::client {
namespace {

int Main(int argc, char** argv) {
  const char* const environment = std::getenv("HEATKV_SERVER");
  std::string server = environment != nullptr && *environment != '\0'
                           ? environment
                           : "localhost:50051";
  int exit_code = kExitOk;
  CLI::App app("Pictures from text, by a HeatKV server", "heatkv");
  app.set_version_flag("--version", "heatkv " HEATKV_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--server", server, "Address of the server (or HEATKV_SERVER)")
      ->capture_default_str();
  std::error_code error;
  const std::filesystem::path program =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  AddGenerateCommand(app, &server, &exit_code);
  AddCapabilitiesCommand(app, &server, &exit_code);
  AddPlanCommand(app, program, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitUsage;
  }
  return exit_code;
}

}  // namespace
}  // namespace heatkv::client

int main(int argc, char** argv) { return heatkv::client::Main(argc, argv); }
