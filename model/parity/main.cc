// heatkv_parity [--no-vae] DIR: compares our model with a recorded run of the
// authors' implementation (model/parity/golden_folder.h says what DIR holds).
//
// Prints one JSON object on standard output and exits 0 if logits, bits and
// pixels agree, 1 if they do not; exits 2, with one line on standard error, if
// the folder cannot be read.

#include <iostream>
#include <string>
#include <string_view>

#include "model/parity/parity_run.h"

int main(int argc, char** argv) {
  bool with_vae = true;
  std::string folder;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--no-vae") {
      with_vae = false;
    } else if (folder.empty() && !argument.starts_with("--")) {
      folder = argument;
    } else {
      std::cerr << "heatkv_parity: unexpected argument '" << argument << "'\n";
      return 2;
    }
  }
  if (folder.empty()) {
    std::cerr << "usage: heatkv_parity [--no-vae] DIR\n";
    return 2;
  }
  const auto report = heatkv::model::RunParity(folder, with_vae);
  if (!report.ok()) {
    std::cerr << "heatkv_parity: " << report.status().message() << "\n";
    return 2;
  }
  std::cout << report->ToJson() << std::endl;
  return report->Passes() ? 0 : 1;
}
