#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>

#include "engine/error.h"

namespace komt {

namespace {

/// How long the thread spins for a verdict or new work before it sleeps: a JavaScript answer usually
/// comes within a few microseconds, and waking a sleeper costs more than that.
constexpr auto kSpin = std::chrono::microseconds(30);

std::exception_ptr error_of(ErrorKind kind, const char* text) noexcept {
  try {
    return std::make_exception_ptr(Error(kind, text));
  } catch (...) {
    return std::current_exception();  // no memory for the words
  }
}

}  // namespace

Engine::Engine(std::function<void()> released) : on_released_(std::move(released)) {
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    // EAGAIN stands for a limit on threads and for no memory for a stack alike.
    throw Error::out_of_memory(
        std::string("The system has no thread for the model (") + error.what() +
            "). Dispose other models, load with num_threads: 1, or raise the limit on threads "
            "(ulimit -u; a container's pids.max)",
        0, 0);
  }
}

Engine::~Engine() { dispose(); }

void Engine::wake() {
  signals_.fetch_add(1, std::memory_order_release);
  const std::scoped_lock lock(mutex_);
  changed_.notify_one();
}

void Engine::load(LoadRequest request, BackendFactory backends, Placer placer,
                  std::function<void(const LoadProgress&)> progress, Loaded done) {
  auto task = [this, request = std::move(request), backends = std::move(backends),
               placer = std::move(placer), progress = std::move(progress), done] {
    std::exception_ptr error;
    try {
      if (load_cancelled_) throw Error(ErrorKind::aborted, "Loading was aborted");
      backends_ = backends();
      model_ = std::make_unique<Model>(request.config, placer(backends_));
      model_->load(request.sources, request.reader_threads, progress, load_cancelled_);
    } catch (...) {
      error = std::current_exception();
      model_.reset();
      backends_.clear();
    }
    done(error);
  };
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(loads_, true)) {
      throw Error(ErrorKind::invalid_argument, "An engine loads one model, once");
    }
    if (!stopping_) {
      load_ = std::move(task);
      done = nullptr;
    }
  }
  if (done) return done(error_of(ErrorKind::disposed, "The engine was disposed"));
  wake();
}

Engine::SessionId Engine::open_session() {
  const std::scoped_lock lock(mutex_);
  auto state = std::make_shared<SessionState>();
  state->id = next_id_;
  sessions_.push_back(state);
  return next_id_++;
}

void Engine::close_session(SessionId id) {
  {
    const std::scoped_lock lock(mutex_);
    for (auto& s : sessions_) {
      if (s->id == id) s->closing = true;
    }
  }
  wake();
}

bool Engine::post(SessionId id, std::function<void(Session&)> action) {
  bool posted = false;
  {
    const std::scoped_lock lock(mutex_);
    for (auto& s : sessions_) {
      if (s->id != id || s->closing || stopping_) continue;
      s->tasks.push_back({std::move(action), nullptr, nullptr});
      posted = true;
      break;
    }
  }
  wake();
  return posted;
}

void Engine::post_job(SessionId id, std::function<std::shared_ptr<Job>(Session&)> make,
                      std::function<void(std::exception_ptr)> failed) {
  bool posted = false;
  {
    const std::scoped_lock lock(mutex_);
    for (auto& s : sessions_) {
      if (s->id != id || s->closing || stopping_) continue;
      s->tasks.push_back({nullptr, std::move(make), std::move(failed)});
      posted = true;
      break;
    }
  }
  if (!posted) return failed(error_of(ErrorKind::disposed, "The session was disposed"));
  wake();
}

void Engine::stop(std::function<void()> stopped) {
  bool late = false;
  {
    const std::scoped_lock lock(mutex_);
    late = released_;
    if (stopped && !late) stopped_.push_back(std::move(stopped));
    load_cancelled_ = true;
    stopping_ = true;
    for (auto& session : sessions_) session->closing = true;
  }
  if (late && stopped) stopped();
  wake();
}

void Engine::dispose() {
  stop();
  const std::scoped_lock lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void Engine::run() noexcept {
  for (;;) {
    const uint64_t seen = signals_.load(std::memory_order_acquire);
    std::function<void()> load;
    bool stopping = false;
    SessionId round_end = 0;
    {
      const std::scoped_lock lock(mutex_);
      stopping = stopping_;
      round_end = next_id_;
      load = std::exchange(load_, nullptr);
    }
    if (load) load();  // answers by itself when the engine is stopping
    if (stopping) break;

    bool worked = false;
    std::shared_ptr<SessionState> state;
    for (size_t i = 0;;) {
      {
        const std::scoped_lock lock(mutex_);
        // A session that its turn ended is gone, and the next one has its place.
        if (state && i < sessions_.size() && sessions_[i] == state) ++i;
        // One that was opened meanwhile comes after those that were closed before it.
        if (i >= sessions_.size() || sessions_[i]->id >= round_end) break;
        state = sessions_[i];
      }
      worked = turn(*state) || worked;
    }
    if (worked) continue;

    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    while (signals_.load(std::memory_order_acquire) == seen &&
           std::chrono::steady_clock::now() < deadline) {
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return signals_.load(std::memory_order_acquire) != seen; });
  }
  tear_down();
}

bool Engine::turn(SessionState& state) noexcept {
  Task task;
  bool closing = false;
  {
    const std::scoped_lock lock(mutex_);
    closing = state.closing;
    if (!closing && !state.job && !state.tasks.empty()) {
      task = std::move(state.tasks.front());
      state.tasks.pop_front();
    }
  }
  if (closing) {
    end_session(state, "The session was disposed");
    return true;
  }
  if (task.action || task.make) {
    try {
      if (!model_) throw Error(ErrorKind::disposed, "The engine holds no model: loading failed or it was disposed");
      if (!state.session) state.session = std::make_unique<Session>(*model_);
      if (state.pending_error && task.make) std::rethrow_exception(std::exchange(state.pending_error, nullptr));
      if (task.make) {
        state.job = task.make(*state.session);
      } else {
        task.action(*state.session);
      }
    } catch (...) {
      if (task.make) {
        task.failed(std::current_exception());
      } else {
        state.pending_error = std::current_exception();
      }
    }
    return true;
  }
  if (!state.job) return false;
  try {
    if (state.job->cancelled()) throw Error(ErrorKind::aborted, "The operation was aborted");
    const Job::Progress progress = state.job->advance();
    if (progress == Job::Progress::done) state.job.reset();
    return progress != Job::Progress::waiting;
  } catch (...) {
    const std::shared_ptr<Job> job = std::move(state.job);
    state.job.reset();
    job->fail(std::current_exception());
    return true;
  }
}

void Engine::end_session(SessionState& state, const char* why) noexcept {
  std::list<Task> tasks;
  {
    const std::scoped_lock lock(mutex_);
    tasks = std::move(state.tasks);
    std::erase_if(sessions_, [&](const auto& s) { return s.get() == &state; });
  }
  if (state.job) {
    const std::shared_ptr<Job> job = std::move(state.job);
    state.job.reset();
    job->fail(error_of(ErrorKind::disposed, why));
  }
  for (Task& task : tasks) {
    if (task.failed) task.failed(error_of(ErrorKind::disposed, why));
  }
  state.session.reset();
}

void Engine::tear_down() noexcept {
  for (;;) {
    std::shared_ptr<SessionState> state;
    {
      const std::scoped_lock lock(mutex_);
      if (sessions_.empty()) break;
      state = sessions_.front();
    }
    end_session(*state, "The model was disposed");
  }
  model_.reset();
  backends_.clear();
  std::vector<std::function<void()>> stopped;
  {
    const std::scoped_lock lock(mutex_);
    released_ = true;
    stopped = std::move(stopped_);
  }
  for (auto& callback : stopped) callback();
  if (on_released_) on_released_();
}

}  // namespace komt
