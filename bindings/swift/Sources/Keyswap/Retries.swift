import Foundation
import KeySwapNative

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// How often and when a request is sent again for a reason that is not its credential. The rule is the core's, and all
/// requests of a client share its budget.
final class Retries: @unchecked Sendable {
    private let native: NativeRetries
    private let isNone: Bool
    private let lock = NSLock()
    /// While the budget is full, the core is not told of successes.
    private var isLacking = false

    init(_ authorizer: Authorizer, limit: Int) {
        native = NativeRetries(authorizer: authorizer.native, limit: UInt32(clamping: limit))
        isNone = limit <= 0
    }

    /// Whether the core has to be asked about a response of this status.
    func concern(_ status: Int) -> Bool { !isNone && status >= 400 }

    func succeeded() {
        lock.withLock {
            guard isLacking else { return }
            isLacking = (try? native.again(method: "GET", retried: 0, left: nil, status: 200, said: "")) != nil
        }
    }

    /// How long to wait before the request is sent again; nil if this is the answer.
    func wait(_ response: HTTPURLResponse, _ method: String, retried: Int, left: Duration?) throws -> Duration? {
        guard concern(response.statusCode) else { return nil }
        let said = response.value(forHTTPHeaderField: "retry-after") ?? ""
        return try again(method, retried, left, status: UInt32(clamping: response.statusCode), said)
    }

    /// The same where no response came.
    func wait(_ failure: Attempt.Failure, _ method: String, retried: Int, left: Duration?) throws -> Duration? {
        guard !isNone else { return nil }
        return try again(method, retried, left, status: nil, failure.rawValue)
    }

    private func again(
        _ method: String, _ retried: Int, _ left: Duration?, status: UInt32?, _ said: String
    ) throws -> Duration? {
        try lock.withLock {
            let wait = try calling {
                try native.again(
                    method: method, retried: UInt32(clamping: retried), left: left?.inSeconds, status: status,
                    said: said)
            }
            if wait != nil { isLacking = true }
            return wait.map(Duration.init(inSeconds:))
        }
    }
}
