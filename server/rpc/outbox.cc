#include "server/rpc/outbox.h"

#include <algorithm>
#include <utility>

namespace heatkv::server {

std::int64_t PictureBytes(const v1::GenerateImageEvent& event) {
  if (event.has_preview()) return event.preview().data().size();
  return event.has_image() ? event.image().data().size() : 0;
}

void Outbox::Push(v1::GenerateImageEvent event) {
  using Event = v1::GenerateImageEvent;
  if (event.event_case() == Event::kHeartbeat && !slots_.empty()) return;
  if (event.event_case() == Event::kQueued) {
    slots_.erase(std::remove_if(slots_.begin(), slots_.end(),
                                [](const Slot& slot) {
                                  return slot.event.has_value() &&
                                         slot.event->event_case() ==
                                             Event::kQueued;
                                }),
                 slots_.end());
  }
  Slot slot;
  slot.sequence = next_sequence_++;
  event.set_sequence(slot.sequence);
  slot.event = std::move(event);
  slots_.push_back(std::move(slot));
}

std::uint64_t Outbox::Reserve(std::optional<int> preview_of,
                              std::int64_t bytes) {
  if (preview_of.has_value()) {
    slots_.erase(std::remove_if(slots_.begin(), slots_.end(),
                                [&](const Slot& slot) {
                                  return slot.preview_of == preview_of;
                                }),
                 slots_.end());
  }
  Slot slot;
  slot.sequence = next_sequence_++;
  slot.preview_of = preview_of;
  slot.bytes = bytes;
  slots_.push_back(std::move(slot));
  return slots_.back().sequence;
}

bool Outbox::Fill(std::uint64_t sequence, v1::GenerateImageEvent event) {
  for (Slot& slot : slots_) {
    if (slot.sequence != sequence) continue;
    event.set_sequence(sequence);
    slot.bytes = PictureBytes(event);
    slot.event = std::move(event);
    return true;
  }
  return false;
}

bool Outbox::Awaits(std::uint64_t sequence) const {
  return std::any_of(slots_.begin(), slots_.end(), [&](const Slot& slot) {
    return slot.sequence == sequence && !slot.event.has_value();
  });
}

std::optional<v1::GenerateImageEvent> Outbox::Take() {
  if (slots_.empty() || !slots_.front().event.has_value()) return std::nullopt;
  v1::GenerateImageEvent event = *std::move(slots_.front().event);
  slots_.pop_front();
  return event;
}

std::int64_t Outbox::bytes() const {
  std::int64_t bytes = 0;
  for (const Slot& slot : slots_) bytes += slot.bytes;
  return bytes;
}

}  // namespace heatkv::server
