// The events of one stream on their way out: in order, some of them still in
// the making (a picture that is being encoded), at most one being written.
//
// Bounded, whatever the client does: of previews of one image only the newest
// unsent one is kept, of queue positions only the newest, and no heartbeat
// joins a box that is not empty.  Images and scales are never dropped; their
// number is fixed by the request.  Its bytes are for the call to watch: while
// there are too many, no further image is to be started.
//
// Not thread-safe: guarded by its call's lock.

#ifndef SERVER_RPC_OUTBOX_H_
#define SERVER_RPC_OUTBOX_H_

#include <cstdint>
#include <deque>
#include <optional>

#include "heatkv/v1/image_generation.pb.h"

namespace heatkv::server {

// Bytes of the picture that an event carries, 0 if it carries none.
std::int64_t PictureBytes(const v1::GenerateImageEvent& event);

class Outbox {
 public:
  // Appends a finished event and stamps it with the next sequence number.
  void Push(v1::GenerateImageEvent event);

  // Appends a place for an event in the making, and returns its sequence
  // number.  `preview_of` is the image that it is a preview of, or nothing;
  // `bytes` is what it takes in memory until it is filled.
  std::uint64_t Reserve(std::optional<int> preview_of, std::int64_t bytes);

  // Puts the event into its place.  False if the place was dropped meanwhile,
  // because a newer preview came.
  bool Fill(std::uint64_t sequence, v1::GenerateImageEvent event);

  // Whether the place is still there to be filled.
  bool Awaits(std::uint64_t sequence) const;

  // The next event, unless there is none or it is still in the making.
  std::optional<v1::GenerateImageEvent> Take();

  // Forgets everything.
  void Clear() { slots_.clear(); }

  bool empty() const { return slots_.empty(); }
  std::size_t size() const { return slots_.size(); }
  // Of pictures, made or in the making.
  std::int64_t bytes() const;

 private:
  struct Slot {
    std::uint64_t sequence = 0;
    std::optional<int> preview_of;
    std::int64_t bytes = 0;
    std::optional<v1::GenerateImageEvent> event;  // none while in the making
  };

  std::deque<Slot> slots_;
  std::uint64_t next_sequence_ = 1;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_OUTBOX_H_
