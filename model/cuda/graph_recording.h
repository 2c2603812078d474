// Recording of a CUDA graph that leaves nothing behind if it fails: a capture
// that nobody ends would keep its stream and the allocator waiting for its end.

#ifndef MODEL_CUDA_GRAPH_RECORDING_H_
#define MODEL_CUDA_GRAPH_RECORDING_H_

#include <ATen/cuda/CUDAGraph.h>

namespace heatkv::model {

// Records what `body` enqueues on the current stream, in memory of `pool`, and
// returns what it returns.  Throws what `body` or the capture throws; `graph`
// is then good for nothing.
template <typename Body>
auto Record(at::cuda::CUDAGraph& graph,
            const decltype(at::cuda::graph_pool_handle())& pool, Body body) {
  graph.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
  try {
    auto made = body();
    graph.capture_end();
    return made;
  } catch (...) {
    try {
      graph.capture_end();
    } catch (...) {
      // The first failure is the one to tell.
    }
    throw;
  }
}

}  // namespace heatkv::model

#endif  // MODEL_CUDA_GRAPH_RECORDING_H_
