// How an engine is made.  Plain values.

#ifndef SERVER_ENGINE_ENGINE_OPTIONS_H_
#define SERVER_ENGINE_ENGINE_OPTIONS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "model/api/image_model.h"
#include "server/engine/scheduler_options.h"

namespace heatkv::server {

// With several devices, of each of them.
struct EngineOptions {
  // Blocks of the arena: the most that the limit can be set to.
  std::int64_t pool_blocks = 0;  // 1 or more
  // limit_blocks 0 means pool_blocks.
  SchedulerOptions scheduler;
  int cached_prompts = 256;
  std::int64_t cached_prompt_bytes = std::int64_t{256} << 20;
};

// A model on a device of its own.
struct DeviceModel {
  std::string device;  // as people call it: "cuda:0"
  std::unique_ptr<model::ImageModel> model;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_ENGINE_OPTIONS_H_
