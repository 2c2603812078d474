#include "server/metrics/metrics_endpoint.h"

#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "prometheus/text_serializer.h"
#include "server/metrics/metrics.h"

// Not prometheus-cpp's Exposer: the library that it serves with gives its
// threads 100 KiB of stack, of which CUDA's libraries take all for what is
// local to a thread, so that it cannot start beside them.

namespace heatkv::server {
namespace {

// Several scrapers may hold connections that they use again.
constexpr std::size_t kHttpThreads = 4;
// How long such a connection is kept, and a scraper may keep a thread waiting
// in the middle of a request.
constexpr int kPatienceSeconds = 1;

// Another server at the same address is an error, which it is not to the
// library if that server is of the same kind.
void AllowRestart(socket_t socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

// The port, or -1, with errno saying why.
int Bind(httplib::Server& http, absl::string_view listen) {
  errno = EINVAL;
  const std::size_t colon = listen.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos ||
      !absl::SimpleAtoi(listen.substr(colon + 1), &port)) {
    return -1;
  }
  absl::string_view host = listen.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  const std::string name(host);
  if (port == 0) return http.bind_to_any_port(name);
  return http.bind_to_port(name, port) ? port : -1;
}

}  // namespace

struct MetricsEndpoint::State {
  explicit State(const MetricsOptions& options) : metrics(options) {
    http.new_task_queue = [] { return new httplib::ThreadPool(kHttpThreads); };
    http.set_socket_options(AllowRestart);
    http.set_keep_alive_timeout(kPatienceSeconds);
    http.set_read_timeout(kPatienceSeconds);
    http.set_write_timeout(kPatienceSeconds);
    http.Get("/metrics",
             [this](const httplib::Request&, httplib::Response& response) {
               response.set_content(
                   prometheus::TextSerializer().Serialize(metrics.Collect()),
                   "text/plain; version=0.0.4; charset=utf-8");
             });
  }

  ~State() {
    if (!thread.joinable()) return;
    // Before it runs, it cannot be stopped.
    while (!http.is_running() && !has_ended) std::this_thread::yield();
    http.stop();
    thread.join();
  }

  Metrics metrics;
  httplib::Server http;
  int port = 0;
  std::atomic<bool> has_ended = false;
  std::thread thread;
};

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<State> state)
    : state_(std::move(state)) {}

MetricsEndpoint::~MetricsEndpoint() = default;

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const MetricsOptions& options) {
  auto state = std::make_unique<State>(options);
  state->port = Bind(state->http, options.listen);
  if (state->port < 0) {
    return absl::UnavailableError(absl::StrCat("cannot serve metrics at ",
                                               options.listen, ": ",
                                               std::strerror(errno)));
  }
  state->thread = std::thread([state = state.get()] {
    state->http.listen_after_bind();
    state->has_ended = true;
  });
  return absl::WrapUnique(new MetricsEndpoint(std::move(state)));
}

ServerObserver* MetricsEndpoint::observer() { return &state_->metrics; }

void MetricsEndpoint::SetSource(std::function<EngineStats()> source) {
  state_->metrics.SetSource(std::move(source));
}

void MetricsEndpoint::SetTiers(const std::vector<std::string>& tiers) {
  state_->metrics.SetTiers(tiers);
}

void MetricsEndpoint::SetTenants(const std::vector<std::string>& tenants) {
  state_->metrics.SetTenants(tenants);
}

int MetricsEndpoint::port() const { return state_->port; }

}  // namespace heatkv::server
