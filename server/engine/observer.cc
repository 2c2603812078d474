#include "server/engine/observer.h"

namespace heatkv::server {

const char* StageName(Stage stage) {
  switch (stage) {
    case Stage::kQueue:
      return "queue";
    case Stage::kText:
      return "text";
    case Stage::kScales:
      return "scales";
    case Stage::kDecode:
      return "decode";
    case Stage::kEncode:
      return "encode";
  }
  return "unknown";
}

}  // namespace heatkv::server
