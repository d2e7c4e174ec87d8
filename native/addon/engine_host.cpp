#include "engine_host.h"

#include <utility>

#include "convert.h"
#include "engine/error.h"

namespace komt::addon {

namespace {

/// Stacks, tables and scratch memory of an engine, beside its weights. It makes small models that nobody
/// disposes add up in the eyes of the garbage collector, which would not collect them else.
constexpr int64_t kEngineBytes = int64_t(4) << 20;

}  // namespace

/// Made when the call begins, so that answering needs no memory. The host is not kept by it: an engine's
/// closures must not be what destroys it.
struct EngineHost::Reply : Message {
  std::weak_ptr<EngineHost> host;
  uint32_t id = 0;
  Gives gives = Gives::nothing;
  uint64_t bytes = 0;
  std::exception_ptr error;
  ForwardJob::Result result;

  void run(Napi::Env env) override {
    if (const auto alive = host.lock()) alive->finish(env, *this);
  }
};

struct EngineHost::Reap : Message {
  std::weak_ptr<EngineHost> host;
  void run(Napi::Env env) override {
    if (const auto alive = host.lock()) alive->reap(env);
  }
};

struct EngineHost::Step : Message {
  std::weak_ptr<EngineHost> host;
  uint32_t id = 0;
  Call::Arguments arguments;

  void run(Napi::Env env) override {
    const auto alive = host.lock();
    if (!alive) return;
    const auto it = alive->pending_.find(id);
    if (it == alive->pending_.end() || it->second.on_step.IsEmpty()) return;
    it->second.on_step.Call(arguments(env));
  }
};

void EngineHost::Answer::operator()(std::exception_ptr error,
                                    ForwardJob::Result result) const noexcept {
  std::unique_ptr<Reply> reply = std::move(slot_->reply);
  if (!reply) return;
  reply->error = std::move(error);
  reply->result = std::move(result);
  slot_->dispatcher->post(std::move(reply));
}

void EngineHost::JobHandle::attach(const std::shared_ptr<Job>& made) {
  const std::scoped_lock lock(mutex_);
  job_ = made;
  if (cancelled_) made->cancel();
}

void EngineHost::JobHandle::attach(const std::shared_ptr<DecodeJob>& made) {
  attach(std::shared_ptr<Job>(made));
  const std::scoped_lock lock(mutex_);
  decode_ = made;
}

void EngineHost::JobHandle::cancel() {
  const std::scoped_lock lock(mutex_);
  cancelled_ = true;
  if (const auto running = job_.lock()) running->cancel();
}

void EngineHost::JobHandle::verdict(std::vector<bool> stop) {
  const std::scoped_lock lock(mutex_);
  if (const auto running = decode_.lock()) running->verdict(std::move(stop));
}

EngineHost::Call::~Call() {
  if (!committed_) host_.drop(id_);
}

const std::shared_ptr<EngineHost::JobHandle>& EngineHost::Call::job() const {
  return host_.pending_.at(id_).job;
}

EngineHost::Answer EngineHost::Call::answer(Gives gives, uint64_t bytes) const {
  Answer answer;
  answer.slot_ = std::make_shared<Slot>();
  answer.slot_->dispatcher = host_.dispatcher_;
  auto reply = std::make_unique<Reply>();
  reply->host = host_.weak_from_this();
  reply->id = id_;
  reply->gives = gives;
  reply->bytes = bytes;
  answer.slot_->reply = std::move(reply);
  host_.pending_.at(id_).gives = gives;
  return answer;
}

std::function<void(EngineHost::Call::Arguments)> EngineHost::Call::steps() const {
  return [host = host_.weak_from_this(), dispatcher = host_.dispatcher_, id = id_](Arguments arguments) {
    auto step = std::make_unique<Step>();
    step->host = host;
    step->id = id;
    step->arguments = std::move(arguments);
    dispatcher->post(std::move(step));
  };
}

uint32_t EngineHost::Call::commit() {
  committed_ = true;
  return id_;
}

std::shared_ptr<EngineHost> EngineHost::create(Napi::Env env) {
  const std::shared_ptr<EngineHost> host(new EngineHost(env));
  auto reap = std::make_unique<Reap>();
  reap->host = host;
  host->reap_ = std::move(reap);
  // The last steps: an engine that runs needs its host to end it.
  host->engine_ =
      std::make_unique<Engine>([raw = host.get()] { raw->dispatcher_->post(std::move(raw->reap_)); });
  host->self_ = host;
  // After the thread-safe function, so that it runs before that is torn down (last in, first out).
  napi_add_env_cleanup_hook(env, clean_up, host.get());
  host->account(env, kEngineBytes);
  return host;
}

EngineHost::EngineHost(Napi::Env env)
    : env_(env), dispatcher_(std::make_shared<Dispatcher>(env)) {}

EngineHost::~EngineHost() { dispatcher_->close(); }

Engine& EngineHost::engine() {
  if (!engine_) throw Error(ErrorKind::disposed, "The model was disposed");
  return *engine_;
}

EngineHost::Call EngineHost::begin(Napi::Object object, Napi::Function on_done, Napi::Value on_step,
                                   size_t rows) {
  (void)engine();
  const uint32_t id = next_id_++;
  Pending pending;
  pending.object = Napi::Persistent(object);
  pending.on_done = Napi::Persistent(on_done);
  if (on_step.IsFunction()) pending.on_step = Napi::Persistent(on_step.As<Napi::Function>());
  pending.job = std::make_shared<JobHandle>();
  pending.rows = rows;
  pending_.emplace(id, std::move(pending));
  dispatcher_->hold(env_);
  return {*this, id};
}

void EngineHost::drop(uint32_t id) {
  if (pending_.erase(id) > 0) dispatcher_->release_hold(env_);
}

EngineHost::JobHandle* EngineHost::job(uint32_t call) {
  const auto it = pending_.find(call);
  return it == pending_.end() ? nullptr : it->second.job.get();
}

size_t EngineHost::rows(uint32_t call) const {
  const auto it = pending_.find(call);
  return it == pending_.end() ? 0 : it->second.rows;
}

void EngineHost::finish(Napi::Env env, Reply& reply) {
  const auto it = pending_.find(reply.id);
  if (it == pending_.end()) return;
  const Pending pending = std::move(it->second);
  drop(reply.id);
  Napi::Value value = env.Undefined();
  if (!reply.error) {
    // What cannot be carried across is this call's error.
    try {
      if (reply.gives == Gives::loaded) account(env, int64_t(reply.bytes));
      if (reply.gives == Gives::forward) {
        auto object = Napi::Object::New(env);
        object.Set("rows", double(reply.result.rows));
        if (!reply.result.hidden.empty()) {
          object.Set("hidden", to_float_array(env, std::move(reply.result.hidden)));
        }
        object.Set("logits", to_float_array(env, std::move(reply.result.logits)));
        value = object;
      }
    } catch (...) {
      reply.error = std::current_exception();
    }
  }
  pending.on_done.Call({reply.error ? to_js_error(env, reply.error) : env.Null(), value});
}

void EngineHost::account(Napi::Env env, int64_t bytes) {
  accounted_ += bytes;
  Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
}

void EngineHost::retire() noexcept {
  if (engine_) engine_->stop();
}

void EngineHost::reap(Napi::Env env) {
  const std::shared_ptr<EngineHost> self = std::move(self_);
  napi_remove_env_cleanup_hook(env_, clean_up, this);
  engine_.reset();  // its thread has nothing left to do
  account(env, -accounted_);
  // What was asked for after the engine's last word.
  while (!pending_.empty()) {
    const Pending late = std::move(pending_.begin()->second);
    drop(pending_.begin()->first);
    const Napi::Value failure =
        late.gives == Gives::end
            ? env.Null()
            : to_js_error(env, std::make_exception_ptr(
                                   Error(ErrorKind::disposed, "The model was disposed")));
    late.on_done.Call({failure, env.Undefined()});
  }
  dispatcher_->close();
}

void EngineHost::clean_up(void* raw) {
  auto* host = static_cast<EngineHost*>(raw);
  const std::shared_ptr<EngineHost> self = std::move(host->self_);
  host->engine_.reset();  // ends everything and joins
  host->pending_.clear();
  host->dispatcher_->close();
}

}  // namespace komt::addon
