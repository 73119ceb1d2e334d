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

    /// Which of the codes it is; nil for one that this version does not know.
    public var kind: Code? { Code(rawValue: code) }

    /// Every code that an error may have.
    public enum Code: String, CaseIterable, Sendable {
        /// The endpoint does not know the bootstrap credential: give it the right one.
        case bootstrapRejected = "bootstrap_rejected"
        /// The bootstrap credential may not read this set: ask the provider.
        case forbidden
        /// The endpoint has no such set: look at the URL.
        case unknownSet = "unknown_set"
        /// The provider ended the set: nothing is usable until it is restored.
        case setRevoked = "set_revoked"
        /// The source cannot be reached, or is in trouble: it is tried again by itself.
        case unavailable
        /// The source asked to be left alone, for `retryAfter`.
        case throttled
        /// It took too long.
        case timeout
        /// The answer of the source is not well-formed: tell the provider.
        case malformed
        /// The source answered with less than what is held.
        case olderGeneration = "older_generation"
        /// The answer is not signed as it must be.
        case signatureInvalid = "signature_invalid"
        /// A source of the program's own failed.
        case sourceFailed = "source_failed"
        /// Every credential that is held has ended.
        case expired
        /// No set has been fetched yet.
        case notReady = "not_ready"
        /// The handle was closed.
        case closed
        /// Credentials may not go to this origin: allow it, if they may.
        case originNotAllowed = "origin_not_allowed"
        /// Plain HTTP where others could read: use https.
        case insecureURL = "insecure_url"
        /// What the program said cannot work: the description says why.
        case invalidConfig = "invalid_config"
        /// The set lacks a scope that the request requires.
        case missingScope = "missing_scope"
        /// The credential cannot be put on a request.
        case schemeFailed = "scheme_failed"
        /// There is no response.
        case transport
        /// A status that the program did not want.
        case status
        /// A body that cannot be read.
        case body
    }
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
