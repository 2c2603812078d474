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

const char* EndCauseName(EndCause cause) {
  switch (cause) {
    case EndCause::kClient:
      return "client";
    case EndCause::kDeadline:
      return "deadline";
    case EndCause::kStall:
      return "stall";
    case EndCause::kShutdown:
      return "shutdown";
    case EndCause::kFailure:
      return "failure";
  }
  return "unknown";
}

const char* RefusalName(Refusal refusal) {
  switch (refusal) {
    case Refusal::kQueueFull:
      return "queue_full";
    case Refusal::kBytesFull:
      return "bytes_full";
    case Refusal::kDeadline:
      return "deadline";
    case Refusal::kNeverFits:
      return "never_fits";
    case Refusal::kModelUnwell:
      return "model_unwell";
    case Refusal::kDraining:
      return "draining";
  }
  return "unknown";
}

}  // namespace heatkv::server
