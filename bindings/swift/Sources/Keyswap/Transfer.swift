import Foundation
import KeySwapNative

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// One send, and its response as it comes. One task at a time waits for it.
final class Transfer: @unchecked Sendable {
    /// Bytes of a response that is given up which are read to keep its connection, and how long that may take: less
    /// costly than to open another.
    private static let small = Int(nativeSmall())
    private static let brief = DispatchTimeInterval.milliseconds(Int(nativeBriefMs()))
    /// The most that is held of a rejection while nobody knows yet whether it is the answer.
    private static let mostHeld = 1024 * 1024

    private struct State {
        var head: HTTPURLResponse?
        var isEarly = false
        var body = Data()
        var end: Result<Void, any Error>?
        /// When it has taken too long.
        var deadline: DispatchTime?
        var isHeld = false
        var waiter: Waiter?
    }

    private struct Waiter {
        let isOver: @Sendable (_ isEarly: Bool, _ bytes: Int) -> Bool
        let until: DispatchTime?
        let done: CheckedContinuation<Void, Never>
    }

    let isKeyed: Bool
    private let task: URLSessionTask
    private let each: Double?
    private let isEnough: @Sendable (HTTPURLResponse) -> Bool
    private let look: @Sendable (DispatchTime) -> Void
    private let lock = NSLock()
    private var state = State()

    init(
        _ task: URLSessionTask, isKeyed: Bool, left: Duration?, each: Duration?,
        isEnough: @escaping @Sendable (HTTPURLResponse) -> Bool,
        look: @escaping @Sendable (DispatchTime) -> Void
    ) {
        self.task = task
        self.isKeyed = isKeyed
        self.each = each.map(seconds)
        self.isEnough = isEnough
        self.look = look
        state.deadline = left.map { .now() + seconds($0) }
    }

    // MARK: - What is asked of it

    /// The head; if that is not enough, once the body is there, too.
    func head() async throws -> (HTTPURLResponse, isEarly: Bool) {
        await wait { isEarly, _ in isEarly }
        return try lock.withLock {
            if let head = state.head { return (head, state.isEarly) }
            if case .failure(let error) = state.end { throw error }
            throw URLError(.badServerResponse)
        }
    }

    /// The first bytes of the body, at most so many, and fewer if they do not come in time.
    func prefix(_ most: Int, within left: Duration?) async -> Data {
        await wait(until: left.map { .now() + seconds($0) }) { _, bytes in bytes >= most }
        return lock.withLock { state.body.prefix(most) }
    }

    /// All of the body.
    func collect() async throws -> Data {
        lock.withLock { state.isHeld = false }
        await wait { _, _ in false }
        return try lock.withLock {
            try state.end?.get()
            return state.body
        }
    }

    /// The next part of the body, which is then no longer held; nil after the last one.
    func part() async throws -> Data? {
        lock.withLock { state.isHeld = false }
        await wait { _, bytes in bytes > 0 }
        return try lock.withLock {
            if state.body.isEmpty {
                try state.end?.get()
                return nil
            }
            defer { state.body = Data() }
            return state.body
        }
    }

    /// It may be the answer, and may be given up: what comes is held, within limits.
    func hold() { lock.withLock { state.isHeld = true } }

    /// Reads what there is, if it is little and comes soon: the connection may then carry the next request.
    func settle() async { await wait(until: .now() + Transfer.brief) { _, bytes in bytes > Transfer.small } }

    /// Gives it up, with its connection unless all of it was read.
    func drop() { end(.failure(URLError(.cancelled))) }

    private func wait(
        until: DispatchTime? = nil, _ isOver: @escaping @Sendable (_ isEarly: Bool, _ bytes: Int) -> Bool
    ) async {
        if lock.withLock({ state.end != nil }) { return }
        await withTaskCancellationHandler {
            await withCheckedContinuation { done in
                let isNow = lock.withLock {
                    if state.end != nil || isOver(state.isEarly, state.body.count) { return true }
                    state.waiter = Waiter(isOver: isOver, until: until, done: done)
                    return false
                }
                if isNow { done.resume() } else if let until { look(until) }
            }
        } onCancel: {
            drop()
        }
    }

    // MARK: - What is told of it

    func began(_ head: HTTPURLResponse?) {
        // Reading a header takes long: it is asked once.
        let isEarly = head.map(isEnough) ?? false
        change {
            $0.head = head
            $0.isEarly = isEarly
            $0.deadline = each.map { .now() + $0 }
        }
    }

    func received(_ data: Data) {
        let isTooMuch = change {
            // What comes after it was given up is on its way through the queue.
            guard $0.end == nil else { return false }
            $0.body.append(data)
            $0.deadline = each.map { .now() + $0 }
            return $0.isHeld && $0.body.count > Transfer.mostHeld
        }
        // What is there stands for all of it.
        if isTooMuch { end(.success(())) }
    }

    func ended(_ head: HTTPURLResponse?, _ error: (any Error)?) {
        change {
            if $0.head == nil, error == nil, let head {
                $0.head = head
                $0.isEarly = isEnough(head)
            }
            if $0.end == nil { $0.end = error.map { .failure($0) } ?? .success(()) }
        }
    }

    /// When to look at its time again: what has taken too long has ended, and who waits no longer is told.
    func next(after now: DispatchTime) -> DispatchTime? {
        let (isLate, next, done) = lock.withLock {
            () -> (Bool, DispatchTime?, CheckedContinuation<Void, Never>?) in
            guard state.end == nil else { return (false, nil, nil) }
            if let deadline = state.deadline, deadline <= now { return (true, nil, nil) }
            guard let waiter = state.waiter, let until = waiter.until else { return (false, state.deadline, nil) }
            if until > now { return (false, min(until, state.deadline ?? until), nil) }
            state.waiter = nil
            return (false, state.deadline, waiter.done)
        }
        if isLate { end(.failure(URLError(.timedOut))) }
        done?.resume()
        return next
    }

    private func end(_ end: Result<Void, any Error>) {
        let isRunning = change { state in
            defer { state.end = state.end ?? end }
            return state.end == nil
        }
        // Not here: this may be the session's own queue, for which URLSession on Linux waits to cancel.
        if isRunning { DispatchQueue.global().async { [task] in task.cancel() } }
    }

    @discardableResult
    private func change<T>(_ change: (inout State) -> T) -> T {
        let (made, done) = lock.withLock { () -> (T, CheckedContinuation<Void, Never>?) in
            let made = change(&state)
            guard let waiter = state.waiter, state.end != nil || waiter.isOver(state.isEarly, state.body.count) else {
                return (made, nil)
            }
            state.waiter = nil
            return (made, waiter.done)
        }
        done?.resume()
        return made
    }
}

private func seconds(_ time: Duration) -> Double { max(0, time.inSeconds) }
