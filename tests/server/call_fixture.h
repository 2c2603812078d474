// Calls without a transport, over an engine driven by hand: the test is the
// reader, and nothing happens that it does not bring about.

#ifndef TESTS_SERVER_CALL_FIXTURE_H_
#define TESTS_SERVER_CALL_FIXTURE_H_

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/generation_call.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {

// A stream whose writes are done when the test says so.
class HandCall final : public GenerationCall {
 public:
  explicit HandCall(const CallServices* services)
      : GenerationCall(services, "GenerateImageStream", Reader::kStream) {}

  // The write that is under way is done.
  void Done(bool ok = true) {
    EXPECT_TRUE(is_writing);
    is_writing = false;
    OnWritten(ok);
  }
  // The client reads whatever there is.
  void ReadAll() {
    while (is_writing) Done();
  }

  bool is_writing = false;
  int abandoned = 0;
  int closed = 0;
  grpc::Status end;
  std::vector<v1::GenerateImageEvent> events;

 private:
  bool Write(v1::GenerateImageEvent event) override {
    EXPECT_FALSE(is_writing);
    EXPECT_EQ(closed, 0);
    is_writing = true;
    events.push_back(std::move(event));
    return false;
  }
  void Close(const grpc::Status& status) override {
    ++closed;
    end = status;
  }
  void Abandon() override { ++abandoned; }
};

class CallFixture : public EngineFixture {
 protected:
  // After MakeEngine.
  void MakeServices() {
    services_.engine = engine_.get();
    services_.encoders = &encoders_;
    services_.calls = &calls_;
    services_.observer = &observer_;
    services_.clock = &clock_;
    services_.rules.spec = &engine_->spec();
    services_.rules.offer = [this] {
      return TierOffer{engine_->schedules(), "half"};
    };
    services_.rules.count_tokens = [](absl::string_view) { return 1; };
    services_.rules.draw_seed = [] { return std::uint64_t{1}; };
    services_.rules.make_request_id = [] { return std::string("id"); };
    services_.sha256 = [](absl::string_view) { return std::string("sha"); };
    services_.heartbeat = absl::Seconds(30);
    services_.stall_timeout = absl::Seconds(10);
  }

  ~CallFixture() override { AwaitEncoders(); }

  static v1::GenerateImageRequest Ask(const std::string& prompt, int n = 1) {
    v1::GenerateImageRequest request;
    request.set_prompt(prompt);
    request.set_n(n);
    request.set_seed(5);
    return request;
  }

  std::shared_ptr<HandCall> Call(const v1::GenerateImageRequest& request) {
    const auto call = std::make_shared<HandCall>(&services_);
    EXPECT_TRUE(call->Start(request, "peer", absl::Minutes(5)));
    return call;
  }

  // Until every picture is encoded that was decoded.
  void AwaitEncoders() {
    std::promise<void> done;
    encoders_.Schedule([&] { done.set_value(); });
    done.get_future().wait();
  }

  CallCount calls_;
  CallServices services_;
  WorkerPool encoders_{1};
};

}  // namespace heatkv::server

#endif  // TESTS_SERVER_CALL_FIXTURE_H_
