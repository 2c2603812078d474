// Host memory from which the GPU fetches what the host wrote for a step:
// page-locked, so that copies run while the host goes on, and kept, so that
// steps allocate none.
//
// There are two buffers in turn.  One belongs to the host from Next until Send,
// and then to the GPU until the copy that Send enqueued has run; Next waits for
// that, which it never has to if one copy at most is under way.  So the host
// may write for the next step while the last step's copy still runs.
//
// Used by one thread, with one device as the current one.

#ifndef MODEL_CUDA_UPLOAD_BUFFERS_H_
#define MODEL_CUDA_UPLOAD_BUFFERS_H_

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAEvent.h>

#include <array>
#include <cstdint>
#include <span>

namespace heatkv::model {

class UploadBuffers {
 public:
  // Both buffers get room for `values`, if they have less.
  void Reserve(std::int64_t values);

  // `values` int32 for the host to write.  Good until Send.
  std::span<std::int32_t> Next(std::int64_t values);

  // Copies the first `values` of them to the beginning of `device`, int32 on
  // the GPU, on the current stream, without waiting.
  void Send(const at::Tensor& device, std::int64_t values);

 private:
  struct Buffer {
    at::Tensor memory;          // int32, page-locked
    c10::cuda::CUDAEvent read;  // recorded behind the copy that reads it
  };

  std::array<Buffer, 2> buffers_;
  std::size_t turn_ = 0;  // the buffer that is the host's, or will be next
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_UPLOAD_BUFFERS_H_
