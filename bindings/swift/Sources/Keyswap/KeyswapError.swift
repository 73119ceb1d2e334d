import Foundation
import KeySwapNative

/// The one error of this package. `code` says what happened, by a word that is the same in every language, and
/// `message` what to do about it. It never holds key material.
///
/// ```swift
/// do {
///     try await keys.refresh()
/// } catch let error as KeyswapError where error.code == .throttled {
///     print("again in \(error.retryAfter ?? .seconds(1))")
/// }
/// ```
public struct KeyswapError: LocalizedError, Sendable, Hashable, CustomStringConvertible {
    /// What happened.
    public let code: Code
    /// What to do about it, in a sentence.
    public let message: String
    /// The HTTP status, if there was one.
    public let status: Int?
    /// How long to stay away, if that was said.
    public let retryAfter: Duration?
    /// Whether trying again soon is unlikely to help.
    public let isLasting: Bool

    /// The code and the message.
    public var description: String { "\(code): \(message)" }
    /// The message.
    public var errorDescription: String? { message }

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
        status = nil
        retryAfter = nil
        isLasting = code == .invalidConfig || code == .insecureURL
    }

    init(_ native: NativeError) {
        switch native {
        case .Failed(let record):
            code = Code(rawValue: record.code)
            message = record.message
            status = record.status.map(Int.init)
            retryAfter = record.retryAfterMs.map { .milliseconds(Int64(clamping: $0)) }
            isLasting = record.lasting
        }
    }

    /// Every code that an error may have. Cases may be added: end each `switch` with `default`.
    public enum Code: RawRepresentable, CaseIterable, Sendable, Hashable, CustomStringConvertible {
        // generated: errors (by keyswap-generate: do not edit)
        /// The endpoint rejected the bootstrap credential (401). Set `KEYSWAP_BOOTSTRAP`, or pass another one to the
        /// source. The set that is held stays in use, and the fetch is tried again slowly.
        case bootstrapRejected
        /// The endpoint refused this identity (403). Check what the bootstrap credential may read.
        case forbidden
        /// The endpoint does not know the set (404). Check the last part of the URL.
        case unknownSet
        /// The provider revoked the whole set: nothing may be used until it publishes a new generation.
        case setRevoked
        /// The source could not be reached, or said that it cannot answer now. It is tried again by itself.
        case unavailable
        /// The source asked for fewer requests (429). It is tried again when it said.
        case throttled
        /// The source took longer than the fetch timeout, or a request longer than its deadline.
        case timeout
        /// The source answered with something that is not a well-formed set. The provider must mend it; the set that is
        /// held stays in use.
        case malformed
        /// The answer has a lower generation than the set that is held. A rollback is a new generation.
        case olderGeneration
        /// The answer is not signed by the key that the program pinned, or the signature does not hold. Check the
        /// pinned key; the set that is held stays in use.
        case signatureInvalid
        /// The program's own source failed, or returned nothing of use. The set that is held stays in use.
        case sourceFailed
        /// Every credential of the set that is held has ended, and no newer one could be fetched.
        case expired
        /// No set has been fetched yet. Wait for `KeySwap.ready`.
        case notReady
        /// The handle was closed.
        case closed
        /// The request goes to an origin that is not allowed. Add it to the allowed origins if the API's keys may go
        /// there.
        case originNotAllowed
        /// The URL is plain `http://` to a host that is not this machine. Use `https://`.
        case insecureURL
        /// Something that the program configured is not valid: a URL, a header name, a policy.
        case invalidConfig
        /// The request needs scopes that the set does not have.
        case missingScope
        /// The credential cannot be put on the request: the set lacks material that the scheme needs, or names a scheme
        /// that this program does not know.
        case schemeFailed
        /// The API could not be reached, or the connection broke.
        case transport
        /// The API answered with an error status, and the program asked for that to be an error.
        case status
        /// The response's body could not be read or decoded.
        case body
        // end of errors
        /// A code that this version does not know.
        case unknown(String)

        /// The code of this word; `unknown` if this version does not know it.
        public init(rawValue: String) {
            self = Code.allCases.first { $0.rawValue == rawValue } ?? .unknown(rawValue)
        }

        /// Its stable word.
        public var description: String { rawValue }

        // generated: codes (by keyswap-generate: do not edit)
        /// All that this version knows.
        public static let allCases: [Code] = [
            .bootstrapRejected,
            .forbidden,
            .unknownSet,
            .setRevoked,
            .unavailable,
            .throttled,
            .timeout,
            .malformed,
            .olderGeneration,
            .signatureInvalid,
            .sourceFailed,
            .expired,
            .notReady,
            .closed,
            .originNotAllowed,
            .insecureURL,
            .invalidConfig,
            .missingScope,
            .schemeFailed,
            .transport,
            .status,
            .body,
        ]

        /// The stable word, the same in every language.
        public var rawValue: String {
            switch self {
            case .bootstrapRejected: "bootstrap_rejected"
            case .forbidden: "forbidden"
            case .unknownSet: "unknown_set"
            case .setRevoked: "set_revoked"
            case .unavailable: "unavailable"
            case .throttled: "throttled"
            case .timeout: "timeout"
            case .malformed: "malformed"
            case .olderGeneration: "older_generation"
            case .signatureInvalid: "signature_invalid"
            case .sourceFailed: "source_failed"
            case .expired: "expired"
            case .notReady: "not_ready"
            case .closed: "closed"
            case .originNotAllowed: "origin_not_allowed"
            case .insecureURL: "insecure_url"
            case .invalidConfig: "invalid_config"
            case .missingScope: "missing_scope"
            case .schemeFailed: "scheme_failed"
            case .transport: "transport"
            case .status: "status"
            case .body: "body"
            case .unknown(let code): code
            }
        }
        // end of codes
    }
}

extension Duration {
    /// As the core counts.
    var inSeconds: Double { self / .seconds(1) }

    init(inSeconds seconds: Double) { self = .seconds(seconds) }
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
