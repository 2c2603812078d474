// The memory of a GPU in which everything lies that lives only while a step, a
// decoding or a text is computed: staging, activations, bands of the VAE, and
// what recordings work in.  All of that has one piece of memory, since it is
// computed one after the other.  It is a private pool of torch's allocator,
// which Reserve fills in one piece.  Tensors of up to 1 MiB have pages of the
// pool beside it.  If it should not suffice, torch takes more of what the
// device has free, though not of what it keeps itself.
//
// The arena has a stream of its own.  What is computed while there is a Use
// runs on that stream, in order with the stream that was current, and what the
// allocator hands out meanwhile lies in the arena, as does what a recording
// allocates.  Tensors of the arena are gone before the next Use or replay: a
// recording's addresses are its own for good while the allocator considers them
// free.  So whoever replays one, which may be done without a Use, writes its
// inputs right before and reads its results (Borrowed) before anything else is
// computed in the arena.
//
// Used by one thread, always the same, with the device on which it was made as
// the current one.  Others may make it and reserve its memory before.

#ifndef MODEL_CUDA_WORK_ARENA_H_
#define MODEL_CUDA_WORK_ARENA_H_

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/Device.h>
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>
#include <thread>

#include "base/check.h"

namespace heatkv::model {

class WorkArena {
 public:
  class Use;

  // An empty one of the current device.
  WorkArena();
  ~WorkArena();
  WorkArena(const WorkArena&) = delete;
  WorkArena& operator=(const WorkArena&) = delete;

  // Takes `bytes` of the device in one piece.  Throws c10::OutOfMemoryError if
  // there are not so many.  REQUIRES: nothing of the arena is in use.
  void Reserve(std::int64_t bytes);

  // Records what `body` enqueues and returns what it returns.  REQUIRES: there
  // is a Use, and `body` has been computed in it before, by which libraries set
  // themselves up and the arena has what they keep beside it.  Throws what
  // `body` or the capture throws; `graph` is then good for nothing, and nothing
  // of it stays behind: a capture that nobody ends would keep the stream and
  // the allocator waiting for its end.
  template <typename Body>
  auto Record(at::cuda::CUDAGraph& graph, Body body);

 private:
  using Pool = decltype(at::cuda::graph_pool_handle());

  // What they keep for a thread and a stream, beside the arena.
  void SetUpLibraries();
  // Has the allocator take what is wanted on the stream from the pool.
  void Open();
  void Close();
  // Ends a capture that has failed, wherever it has.
  void Abandon(at::cuda::CUDAGraph& graph);
  // Closes it for as long as this lives: a capture opens the pool itself.
  class Pause;

  c10::DeviceIndex device_;
  c10::cuda::CUDAStream stream_;
  Pool pool_;  // of the device's allocator, and of the host's
  bool is_open_ = false;
  std::thread::id set_up_for_;
  c10::cuda::CUDAEvent entered_;
  c10::cuda::CUDAEvent left_;
};

// While there is one, the current stream is the arena's, and new tensors lie in
// it.  Inside of another one it does nothing.
class WorkArena::Use {
 public:
  explicit Use(WorkArena& arena);
  ~Use();
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  WorkArena& arena_;
  const bool is_outermost_;
  const c10::cuda::CUDAStream outer_;
  const c10::cuda::CUDAStreamGuard guard_;
};

class WorkArena::Pause {
 public:
  explicit Pause(WorkArena& arena);
  ~Pause();
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  WorkArena& arena_;
};

// The same values at the same place, which may be given back.
at::Tensor Borrowed(const at::Tensor& tensor);

template <typename Body>
auto WorkArena::Record(at::cuda::CUDAGraph& graph, Body body) {
  HEATKV_CHECK(is_open_);
  const Pause pause(*this);
  try {
    graph.capture_begin(pool_, cudaStreamCaptureModeThreadLocal);
    auto made = body();
    graph.capture_end();
    return made;
  } catch (...) {
    Abandon(graph);
    throw;
  }
}

}  // namespace heatkv::model

#endif  // MODEL_CUDA_WORK_ARENA_H_
