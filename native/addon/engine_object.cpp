#include "engine_object.h"

#include <utility>

#include "backends/registry.h"
#include "convert.h"
#include "engine/decode.h"
#include "engine/error.h"
#include "guarded.h"

namespace komt::addon {

namespace {

Napi::Value float_array(Napi::Env env, const std::vector<float>& values) {
  auto out = Napi::Float32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), out.Data());
  return out;
}

}  // namespace

void EngineObject::JobHandle::attach(const std::shared_ptr<Job>& made) {
  const std::scoped_lock lock(mutex);
  job = made;
  if (cancelled) made->cancel();
}

void EngineObject::JobHandle::cancel() {
  const std::scoped_lock lock(mutex);
  cancelled = true;
  if (const auto running = job.lock()) running->cancel();
}

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
      state_(std::make_shared<State>()),
      dispatcher_(std::make_shared<Dispatcher>(info.Env())),
      engine_(std::make_unique<Engine>()),
      env_(info.Env()) {
  state_->owner = this;
  // After the thread-safe function, so that it runs before that is torn down (last in, first out).
  napi_add_env_cleanup_hook(env_, clean_up, this);
}

EngineObject::~EngineObject() {
  napi_remove_env_cleanup_hook(env_, clean_up, this);
  shut_down();
}

void EngineObject::clean_up(void* self) { static_cast<EngineObject*>(self)->shut_down(); }

void EngineObject::shut_down() {
  state_->owner = nullptr;
  if (!engine_) return;
  engine_->dispose();
  engine_.reset();
  dispatcher_->close();
}

uint32_t EngineObject::begin(Napi::Env env, Napi::Value on_done, Napi::Value on_step) {
  if (!engine_) throw Error(ErrorKind::disposed, "The engine was disposed");
  const uint32_t id = state_->next_id++;
  Pending pending;
  pending.on_done = Napi::Persistent(on_done.As<Napi::Function>());
  if (on_step.IsFunction()) pending.on_step = Napi::Persistent(on_step.As<Napi::Function>());
  pending.job = std::make_shared<JobHandle>();
  state_->pending.emplace(id, std::move(pending));
  dispatcher_->hold(env);
  Ref();
  return id;
}

EngineObject::Answer EngineObject::answer(uint32_t id) {
  return [state = state_, dispatcher = dispatcher_, id](std::exception_ptr error,
                                                        std::function<Napi::Value(Napi::Env)> value) {
    dispatcher->post([state, dispatcher, id, error, value = std::move(value)](Napi::Env env) {
      const auto it = state->pending.find(id);
      if (it == state->pending.end()) return;
      const Pending pending = std::move(it->second);
      state->pending.erase(it);
      dispatcher->release_hold(env);
      if (state->owner) state->owner->Unref();
      const Napi::Value failure = error ? to_js_error(env, error) : env.Null();
      pending.on_done.Call({failure, !error && value ? value(env) : env.Undefined()});
    });
  };
}

// load(config, sources, placement, { threads, readerThreads }, onProgress, onDone)
Napi::Value EngineObject::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto options = info[3].As<Napi::Object>();
    LoadRequest request;
    request.config = read_config(info[0].As<Napi::Object>());
    request.sources = read_sources(info[1].As<Napi::Array>());
    request.reader_threads = read_int(options, "readerThreads");
    BackendOptions backend_options;
    backend_options.threads = read_int(options, "threads");
    backend_options.dtype = request.config.dtype;
    const auto placement = read_placement(info[2].As<Napi::Array>());
    const uint32_t id = begin(info.Env(), info[5], info[4]);

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
    auto progress = [state = state_, dispatcher = dispatcher_, id](const LoadProgress& p) {
      dispatcher->post([state, id, p, name = *p.name](Napi::Env env) {
        const auto it = state->pending.find(id);
        if (it == state->pending.end() || it->second.on_step.IsEmpty()) return;
        it->second.on_step.Call({Napi::Number::New(env, double(p.bytes_loaded)),
                                 Napi::Number::New(env, double(p.bytes_total)),
                                 Napi::String::New(env, name)});
      });
    };
    auto done = [answer = answer(id)](std::exception_ptr error) { answer(error, nullptr); };
    engine_->load(std::move(request), backends, placer, progress, done);
    return Napi::Number::New(info.Env(), id);
  });
}

Napi::Value EngineObject::cancel_load(const Napi::CallbackInfo& info) {
  if (engine_) engine_->cancel_load();
  return info.Env().Undefined();
}

Napi::Value EngineObject::open_session(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!engine_) throw Error(ErrorKind::disposed, "The model was disposed");
    return Napi::Number::New(info.Env(), engine_->open_session());
  });
}

Napi::Value EngineObject::close_session(const Napi::CallbackInfo& info) {
  if (engine_) engine_->close_session(info[0].As<Napi::Number>().Uint32Value());
  return info.Env().Undefined();
}

Napi::Value EngineObject::post(const Napi::CallbackInfo& info,
                               std::function<void(Session&)> action) {
  if (engine_) engine_->post(info[0].As<Napi::Number>().Uint32Value(), std::move(action));
  return info.Env().Undefined();
}

// create(session, handle)
Napi::Value EngineObject::create(const Napi::CallbackInfo& info) {
  const int handle = info[1].As<Napi::Number>();
  return post(info, [handle](Session& session) { session.create(handle); });
}

// fork(session, source, handle)
Napi::Value EngineObject::fork(const Napi::CallbackInfo& info) {
  const int source = info[1].As<Napi::Number>();
  const int handle = info[2].As<Napi::Number>();
  return post(info, [source, handle](Session& session) { session.fork(source, handle); });
}

// truncate(session, handle, length)
Napi::Value EngineObject::truncate(const Napi::CallbackInfo& info) {
  const int handle = info[1].As<Napi::Number>();
  const int length = info[2].As<Napi::Number>();
  return post(info, [handle, length](Session& session) { session.truncate(handle, length); });
}

// release(session, handle)
Napi::Value EngineObject::release(const Napi::CallbackInfo& info) {
  const int handle = info[1].As<Napi::Number>();
  return post(info, [handle](Session& session) { session.release(handle); });
}

// forward(session, sequences, lengths, tokens, wanted, hidden, onDone): Int32Arrays, one entry a row;
// tokens concatenated; wanted 0 none, 1 last, 2 all
Napi::Value EngineObject::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto sequences = read_ints(info[1], "sequences");
    const auto lengths = read_ints(info[2], "lengths");
    const auto tokens = read_ints(info[3], "tokens");
    const auto wanted_ints = read_ints(info[4], "wanted");
    const bool hidden = info[5].ToBoolean();
    std::vector<ChunkedForward::Row> rows;
    std::vector<ForwardJob::Wanted> wanted;
    size_t at = 0;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const size_t length = size_t(lengths.at(i));
      rows.push_back({sequences[i], {tokens.begin() + long(at), tokens.begin() + long(at + length)}});
      wanted.push_back(ForwardJob::Wanted(wanted_ints.at(i)));
      at += length;
    }
    const uint32_t id = begin(info.Env(), info[6], info.Env().Undefined());
    const Answer respond = answer(id);
    auto done = [respond](std::exception_ptr error, ForwardJob::Result result) {
      const auto shared = std::make_shared<ForwardJob::Result>(std::move(result));
      respond(error, [shared](Napi::Env env) -> Napi::Value {
        auto object = Napi::Object::New(env);
        object.Set("logits", float_array(env, shared->logits));
        object.Set("rows", double(shared->rows));
        if (!shared->hidden.empty()) object.Set("hidden", float_array(env, shared->hidden));
        return object;
      });
    };
    const auto handle = state_->pending.at(id).job;
    engine_->post_job(
        info[0].As<Napi::Number>().Uint32Value(),
        [=](Session& session) -> std::shared_ptr<Job> {
          auto job = std::make_shared<ForwardJob>(session, rows, wanted, hidden, done);
          handle->attach(job);
          return job;
        },
        [respond](std::exception_ptr error) { respond(error, nullptr); });
    return Napi::Number::New(info.Env(), id);
  });
}

// decode(session, request, onStep(step, tokens, logprobs), onDone)
Napi::Value EngineObject::decode(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const DecodeOptions options = read_decode(info[1].As<Napi::Object>());
    const uint32_t id = begin(info.Env(), info[3], info[2]);
    const Answer respond = answer(id);
    auto on_step = [state = state_, dispatcher = dispatcher_, id](const DecodeStep& step) {
      dispatcher->post([state, id, step](Napi::Env env) {
        const auto it = state->pending.find(id);
        if (it == state->pending.end()) return;
        auto tokens = Napi::Int32Array::New(env, step.tokens.size());
        std::copy(step.tokens.begin(), step.tokens.end(), tokens.Data());
        it->second.on_step.Call({Napi::Number::New(env, step.step), tokens,
                                 step.logprobs.empty() ? env.Undefined()
                                                       : float_array(env, step.logprobs)});
      });
    };
    auto done = [respond](std::exception_ptr error) { respond(error, nullptr); };
    const auto handle = state_->pending.at(id).job;
    engine_->post_job(
        info[0].As<Napi::Number>().Uint32Value(),
        [=](Session& session) -> std::shared_ptr<Job> {
          auto job = std::make_shared<DecodeJob>(session, options, on_step, done);
          handle->attach(job);
          return job;
        },
        done);
    return Napi::Number::New(info.Env(), id);
  });
}

// verdict(id, Uint8Array): a flag per row of the decode call, 1 = end it
Napi::Value EngineObject::verdict(const Napi::CallbackInfo& info) {
  const auto it = state_->pending.find(info[0].As<Napi::Number>().Uint32Value());
  if (engine_ && it != state_->pending.end()) {
    const auto flags = info[1].As<Napi::Uint8Array>();
    std::vector<bool> stop(flags.Data(), flags.Data() + flags.ElementLength());
    const std::scoped_lock lock(it->second.job->mutex);
    if (const auto job = std::static_pointer_cast<DecodeJob>(it->second.job->job.lock())) {
      job->verdict(std::move(stop));
    }
    engine_->wake();
  }
  return info.Env().Undefined();
}

// cancel(id): the call is answered with an `aborted` error within one step
Napi::Value EngineObject::cancel(const Napi::CallbackInfo& info) {
  const auto it = state_->pending.find(info[0].As<Napi::Number>().Uint32Value());
  if (engine_ && it != state_->pending.end()) {
    it->second.job->cancel();
    engine_->wake();
  }
  return info.Env().Undefined();
}

// dispose(onDone): answered when the engine's thread has released everything
Napi::Value EngineObject::dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint32_t id = begin(info.Env(), info[0], info.Env().Undefined());
    engine_->stop([respond = answer(id)] { respond(nullptr, nullptr); });
    return info.Env().Undefined();
  });
}

}  // namespace komt::addon
