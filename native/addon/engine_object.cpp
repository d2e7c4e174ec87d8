#include "engine_object.h"

#include <algorithm>
#include <utility>

#include "arguments.h"
#include "backends/registry.h"
#include "convert.h"
#include "engine/error.h"
#include "guarded.h"

namespace komt::addon {

namespace {

/// More threads than any machine has cores for.
constexpr int64_t kMaxThreads = 4096;
constexpr int64_t kMaxReaders = 64;
/// What the garbage collector is told of at most: it takes a signed number.
constexpr double kMaxAccounted = 1e15;

uint32_t id_of(const Napi::Value& value, const char* name) {
  return uint32_t(integer_of(value, name, 0, UINT32_MAX));
}

int handle_of(const Napi::Value& value, const char* name) {
  return int(integer_of(value, name, 0, INT32_MAX));
}

/// Bytes of the weights as the engine keeps them.
uint64_t weight_bytes(const LoadRequest& request) {
  double bytes = 0;
  for (const WeightSource& source : request.sources) {
    double elements = 1;
    for (const int64_t length : source.shape) elements *= double(length);
    bytes += elements * double(size_of(request.config.dtype));
  }
  return uint64_t(std::min(bytes, kMaxAccounted));
}

}  // namespace

Napi::Function EngineObject::define(Napi::Env env) {
  return DefineClass(env, "Engine",
                     {
                         InstanceMethod<&EngineObject::load>("load"),
                         InstanceMethod<&EngineObject::cancel_load>("cancelLoad"),
                         InstanceMethod<&EngineObject::open_session>("openSession"),
                         InstanceMethod<&EngineObject::close_session>("closeSession"),
                         InstanceMethod<&EngineObject::create>("create"),
                         InstanceMethod<&EngineObject::fork>("fork"),
                         InstanceMethod<&EngineObject::truncate>("truncate"),
                         InstanceMethod<&EngineObject::release>("release"),
                         InstanceMethod<&EngineObject::forward>("forward"),
                         InstanceMethod<&EngineObject::decode>("decode"),
                         InstanceMethod<&EngineObject::verdict>("verdict"),
                         InstanceMethod<&EngineObject::cancel>("cancel"),
                         InstanceMethod<&EngineObject::dispose>("dispose"),
                     });
}

EngineObject::EngineObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<EngineObject>(info),
      host_(guarded(info.Env(), [&] { return EngineHost::create(info.Env()); })) {}

EngineObject::~EngineObject() {
  if (host_) host_->retire();
}

// load(config, sources, placement, { threads, readerThreads }, onProgress, onDone)
Napi::Value EngineObject::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto options = object_of(info[3], "options");
    LoadRequest request;
    request.config = read_config(info[0]);
    request.sources = read_sources(info[1]);
    request.reader_threads =
        int(integer_of(options.Get("readerThreads"), "readerThreads", 1, kMaxReaders));
    BackendOptions backend_options;
    backend_options.threads = int(integer_of(options.Get("threads"), "threads", 0, kMaxThreads));
    backend_options.dtype = request.config.dtype;
    const auto placement = read_placement(info[2]);
    EngineHost::Call call = host_->begin(info.This().As<Napi::Object>(),
                                         function_of(info[5], "onDone"), info[4]);

    auto backends = [placement, backend_options] {
      std::vector<std::unique_ptr<Backend>> made;
      for (const PlacementRequest& p : placement) {
        made.push_back(create_backend(p.device, backend_options));
      }
      return made;
    };
    auto placer = [placement](const std::vector<std::unique_ptr<Backend>>& made) {
      std::vector<Placement> out;
      int layer = 0;
      for (size_t i = 0; i < made.size(); ++i) {
        out.push_back({made[i].get(), layer, layer + placement[i].layers});
        layer += placement[i].layers;
      }
      return out;
    };
    auto progress = [step = call.steps()](const LoadProgress& p) {
      step([p, name = *p.name](Napi::Env env) -> std::vector<napi_value> {
        return {Napi::Number::New(env, double(p.bytes_loaded)),
                Napi::Number::New(env, double(p.bytes_total)), Napi::String::New(env, name)};
      });
    };
    const auto answer = call.answer(EngineHost::Gives::loaded, weight_bytes(request));
    host_->engine().load(std::move(request), backends, placer, progress, answer);
    return Napi::Number::New(info.Env(), call.commit());
  });
}

Napi::Value EngineObject::cancel_load(const Napi::CallbackInfo& info) {
  if (Engine* engine = host_->engine_if_alive()) engine->cancel_load();
  return info.Env().Undefined();
}

Napi::Value EngineObject::open_session(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), host_->engine().open_session());
  });
}

// closeSession(session): of an engine that is gone, too
Napi::Value EngineObject::close_session(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint32_t id = id_of(info[0], "session");
    if (Engine* engine = host_->engine_if_alive()) engine->close_session(id);
    return info.Env().Undefined();
  });
}

Napi::Value EngineObject::post(const Napi::CallbackInfo& info,
                               std::function<void(Session&)> action) {
  const uint32_t id = id_of(info[0], "session");
  if (!host_->engine().post(id, std::move(action))) {
    throw Error(ErrorKind::disposed, "The session was disposed");
  }
  return info.Env().Undefined();
}

// create(session, handle)
Napi::Value EngineObject::create(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int handle = handle_of(info[1], "sequence");
    return post(info, [handle](Session& session) { session.create(handle); });
  });
}

// fork(session, source, handle)
Napi::Value EngineObject::fork(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int source = handle_of(info[1], "sequence");
    const int handle = handle_of(info[2], "sequence");
    return post(info, [source, handle](Session& session) { session.fork(source, handle); });
  });
}

// truncate(session, handle, length)
Napi::Value EngineObject::truncate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int handle = handle_of(info[1], "sequence");
    const int length = int(integer_of(info[2], "length", 0, INT32_MAX));
    return post(info, [handle, length](Session& session) { session.truncate(handle, length); });
  });
}

// release(session, handle)
Napi::Value EngineObject::release(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int handle = handle_of(info[1], "sequence");
    return post(info, [handle](Session& session) { session.release(handle); });
  });
}

// forward(session, sequences, lengths, tokens, wanted, hidden, onDone): Int32Arrays, one entry a row;
// tokens concatenated; wanted 0 none, 1 last, 2 all
Napi::Value EngineObject::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint32_t session_id = id_of(info[0], "session");
    ForwardRequest request = read_forward(info[1], info[2], info[3], info[4]);
    const bool hidden = bool_of(info[5], "hidden");
    EngineHost::Call call =
        host_->begin(info.This().As<Napi::Object>(), function_of(info[6], "onDone"), info.Env().Undefined());
    const auto answer = call.answer(EngineHost::Gives::forward);
    host_->engine().post_job(
        session_id,
        [request = std::move(request), hidden, answer,
         handle = call.job()](Session& session) mutable -> std::shared_ptr<Job> {
          auto job = std::make_shared<ForwardJob>(session, std::move(request.rows),
                                                  std::move(request.wanted), hidden, answer);
          handle->attach(std::shared_ptr<Job>(job));
          return job;
        },
        answer);
    return Napi::Number::New(info.Env(), call.commit());
  });
}

// decode(session, request, onStep(step, tokens, logprobs), onDone)
Napi::Value EngineObject::decode(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint32_t session_id = id_of(info[0], "session");
    DecodeOptions options = read_decode(info[1]);
    EngineHost::Call call =
        host_->begin(info.This().As<Napi::Object>(), function_of(info[3], "onDone"),
                     function_of(info[2], "onStep"), options.rows.size());
    auto on_step = [step = call.steps()](const DecodeStep& chosen) {
      step([chosen](Napi::Env env) -> std::vector<napi_value> {
        auto tokens = Napi::Int32Array::New(env, chosen.tokens.size());
        std::copy(chosen.tokens.begin(), chosen.tokens.end(), tokens.Data());
        const Napi::Value logprobs = chosen.logprobs.empty() ? env.Undefined()
                                                             : to_float_array(env, chosen.logprobs);
        return {Napi::Number::New(env, chosen.step), tokens, logprobs};
      });
    };
    const auto answer = call.answer(EngineHost::Gives::nothing);
    host_->engine().post_job(
        session_id,
        [options = std::move(options), on_step, answer,
         handle = call.job()](Session& session) mutable -> std::shared_ptr<Job> {
          auto job = std::make_shared<DecodeJob>(session, std::move(options), on_step, answer);
          handle->attach(job);
          return job;
        },
        answer);
    return Napi::Number::New(info.Env(), call.commit());
  });
}

// verdict(id, Uint8Array): a flag per row of the decode call, 1 = end it
Napi::Value EngineObject::verdict(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint32_t id = id_of(info[0], "call");
    const Elements flags = elements_of(info[1], "stop", napi_uint8_array);
    const size_t rows = host_->rows(id);
    if (rows == 0) return info.Env().Undefined();  // answered meanwhile
    if (flags.count != rows) invalid("stop", "a flag for each of " + std::to_string(rows) + " rows", info[1]);
    const auto* first = static_cast<const uint8_t*>(flags.data);
    host_->job(id)->verdict(std::vector<bool>(first, first + flags.count));
    if (Engine* engine = host_->engine_if_alive()) engine->wake();
    return info.Env().Undefined();
  });
}

// cancel(id): the call is answered with an `aborted` error within one step
Napi::Value EngineObject::cancel(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (EngineHost::JobHandle* job = host_->job(id_of(info[0], "call"))) {
      job->cancel();
      if (Engine* engine = host_->engine_if_alive()) engine->wake();
    }
    return info.Env().Undefined();
  });
}

// dispose(onDone): answered when the engine's thread has released everything
Napi::Value EngineObject::dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    EngineHost::Call call =
        host_->begin(info.This().As<Napi::Object>(), function_of(info[0], "onDone"), info.Env().Undefined());
    host_->engine().stop(
        [answer = call.answer(EngineHost::Gives::end)] { answer(nullptr); });
    call.commit();
    return info.Env().Undefined();
  });
}

}  // namespace komt::addon
