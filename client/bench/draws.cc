#include "client/bench/draws.h"

#include <algorithm>

namespace heatkv::client {
namespace {

std::uint64_t Mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

Draws::Draws(std::uint64_t seed, Purpose purpose, std::uint64_t index)
    : state_(Mix(seed + 0x9e3779b97f4a7c15u) ^
             Mix(static_cast<std::uint64_t>(purpose) << 56 ^ index)) {}

std::uint64_t Draws::Next() {
  state_ += 0x9e3779b97f4a7c15u;
  return Mix(state_);
}

double Draws::NextUnit() {
  return static_cast<double>(Next() >> 11) * 0x1.0p-53;
}

std::size_t Draws::NextIndex(std::size_t size) {
  const auto index =
      static_cast<std::size_t>(NextUnit() * static_cast<double>(size));
  return std::min(index, size - 1);
}

}  // namespace heatkv::client
