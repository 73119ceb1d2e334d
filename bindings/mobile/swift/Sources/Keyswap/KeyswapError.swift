import Foundation
import KeySwapNative

/// The one error of this package. `code` says what happened, in a word that is the same in every language, and the
/// description what to do about it. It never holds key material.
public struct KeyswapError: LocalizedError, Sendable, CustomStringConvertible {
    public let code: String
    public let reason: String
    /// The HTTP status, if there was one.
    public let status: Int?
    /// How long to stay away, if that was said.
    public let retryAfter: Duration?

    public var description: String { "\(code): \(reason)" }
    public var errorDescription: String? { reason }

    init(code: String, reason: String) {
        self.code = code
        self.reason = reason
        status = nil
        retryAfter = nil
    }

    init(_ native: NativeError) {
        switch native {
        case let .Failed(code, reason, status, retryAfterMs):
            self.code = code
            self.reason = reason
            self.status = status.map(Int.init)
            retryAfter = retryAfterMs.map { .milliseconds(Int64($0)) }
        }
    }

    /// Every code that an error may have.
    public static var codes: [String] { errorCodes() }
}

/// Calls into the core. What it throws there is a `KeyswapError` here.
func calling<T>(_ work: () throws -> T) throws -> T {
    do {
        return try work()
    } catch let error as NativeError {
        throw KeyswapError(error)
    }
}

/// Waits for work of the core. A task that is cancelled ends the work, too.
func waiting<T: Sendable>(_ work: @Sendable (NativeJob) async throws -> T) async throws -> T {
    let job = NativeJob()
    do {
        return try await withTaskCancellationHandler {
            try await work(job)
        } onCancel: {
            job.cancel()
        }
    } catch let error as NativeError {
        try Task.checkCancellation()
        throw KeyswapError(error)
    }
}
