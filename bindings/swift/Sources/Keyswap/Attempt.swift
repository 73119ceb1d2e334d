import Foundation
import KeySwapNative

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// One request on its way through a rotation: one hop of it. `Authorizer.begin` makes it. One task at a time uses it;
/// to a second one, and once it is closed, all of it throws `KeyswapError` with the code `closed`.
public final class Attempt: Sendable {
    /// What to do next.
    public enum Step: Sendable {
        /// Send the request with what `apply` adds, and tell `received` or `failed`.
        case send
        /// Call `wait`; keep the last response meanwhile.
        case wait
        /// Call `received` again with the first bytes of the body: at most so many.
        case needBody(Int)
        /// The last response, or the library's own error, is the answer.
        case `return`
        /// There is no response to return, for this reason.
        case fail(KeyswapError)
    }

    /// Why no response came.
    public enum Failure: String, Sendable {
        /// No connection was made: the request has not left.
        case connect
        /// The request took too long; it may have arrived.
        case timeout
        /// Anything else; it may have arrived.
        case other
    }

    private let native: NativeAttempt
    private let classifier: Classifier?
    private let sign: Sign?
    private let throttled: @Sendable () -> Void

    init(
        _ native: NativeAttempt, classifier: Classifier?, sign: Sign?, throttled: @escaping @Sendable () -> Void
    ) {
        self.native = native
        self.classifier = classifier
        self.sign = sign
        self.throttled = throttled
    }

    /// What to do next.
    public var step: Step {
        get throws { try shown(native.step) }
    }

    /// The id of the credential of the send under way.
    public var credentialID: String? {
        get throws { try calling(native.credentialId) }
    }

    /// How often the request was sent so far, with the send under way.
    public var sends: Int {
        get throws { Int(try calling(native.sends)) }
    }

    /// Whether the last response was a rejection. If the first one was, too, that is the one to return when all is in
    /// vain: it is about the credential that was in use.
    public var isRejected: Bool {
        get throws { try calling(native.isRejected) }
    }

    /// Why a wait for a fresh credential brought nothing, beside the response that is returned.
    public var cause: KeyswapError? {
        do {
            try calling(native.checkCause)
            return nil
        } catch {
            return error as? KeyswapError
        }
    }

    /// What to add to the request. For an origin that is not allowed, nothing. The headers and the body are for a
    /// signature alone (`Scheme.sign`); the body is nil for a stream.
    ///
    /// - Throws: `KeyswapError` with the code `scheme_failed` if no credential can be put on the request.
    public func apply(
        method: String, url: URL, headers: [String: String] = [:], body: Data? = nil
    ) async throws -> Patch {
        guard let sign else {
            return Patch(try calling { try native.apply(method: method, url: url.absoluteString) })
        }
        while true {
            guard
                let credential = try calling({ try native.beginSigning(method: method, url: url.absoluteString) })
            else { return .nothing }
            let request = UnsignedRequest(method: method, url: url, headers: inLowerCase(headers), body: body)
            var signature: Signature?
            var failure: String?
            do {
                signature = try await sign(Credential(credential), request)
            } catch {
                try Task.checkCancellation()
                failure = "it \(thrown(error))"
            }
            let made = try calling {
                try native.signed(credential: credential, signature: signature?.native, failure: failure)
            }
            if let made { return Patch(made) }
        }
    }

    /// The response has come, with the beginning of its body if that was asked for. Returns what to do next. Values of
    /// one header stand in one text, with commas.
    @discardableResult
    public func received(status: Int, headers: [String: String], body: Data? = nil) throws -> Step {
        let headers = inLowerCase(headers)
        if headers["retry-after"] != nil { throttled() }
        return try shown {
            try native.response(
                status: UInt32(clamping: status), headers: byTurns(headers), body: body,
                verdict: classifier?.verdict(status, headers, body))
        }
    }

    /// The same for a response of `URLSession`.
    @discardableResult
    public func received(_ response: HTTPURLResponse, body: Data? = nil) throws -> Step {
        let headers = response.allHeaderFields.map { ("\($0)", "\($1)") }
        return try received(
            status: response.statusCode, headers: Dictionary(headers) { "\($0), \($1)" }, body: body)
    }

    /// No response came. Returns what to do next.
    @discardableResult
    public func failed(_ failure: Failure = .other) throws -> Step {
        try shown { try native.failed(failure: failure.rawValue) }
    }

    /// Waits as `Step.wait` says; at once, if the step is another. Cancelled, it closes the attempt.
    @discardableResult
    public func wait() async throws -> Step {
        let step = try await waiting { [native] in try await native.wait(job: $0) }
        return try shown { step }
    }

    /// Begins again for a reason that is not the credential: after a 503, say. False if the request was sent as often
    /// as it may be.
    public func `repeat`() throws -> Bool { try calling(native.repeat) }

    /// Gives back what it holds, as the last reference does that goes.
    public func close() { native.end() }

    private func shown(_ next: () throws -> NativeStep) throws -> Step {
        try calling {
            switch try next() {
            case .send: return .send
            case .wait: return .wait
            case .needBody: return .needBody(Int(try native.bodyLimit()))
            case .return: return .return
            case .fail:
                do {
                    try native.check()
                    return .return
                } catch let error as NativeError {
                    return .fail(KeyswapError(error))
                }
            }
        }
    }
}

/// What to add to a request. Printing it shows the names of its headers, never the values.
public struct Patch: Sendable, CustomStringConvertible, CustomReflectable {
    /// What a request to an origin that is not allowed is sent with.
    static let nothing = Patch(.nothing())

    let native: NativePatch
    /// The names of its headers, in lower case.
    public let names: [String]
    private let headers: [String: String]
    private let hasQuery: Bool

    init(_ native: NativePatch) {
        self.native = native
        let turns = native.reveal()
        let pairs = stride(from: 0, to: turns.count - 1, by: 2).map { (turns[$0], turns[$0 + 1]) }
        headers = Dictionary(pairs) { $1 }
        names = headers.keys.map { $0.lowercased() }.sorted()
        hasQuery = native.hasQuery()
    }

    /// Its headers, in the clear, their names as the program or the set spells them: they replace any of the same name.
    public func reveal() -> [String: String] { headers }

    /// The URL with the parameters of the query that it sets, in the clear; the same if it sets none.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config` if it is not a whole URL.
    public func revealURL(_ url: URL) throws -> URL {
        guard hasQuery else { return url }
        let revealed = try calling { try native.revealUrl(url: url.absoluteString) }
        guard let url = URL(string: revealed) else { throw KeyswapError(.invalidConfig, "not a whole URL") }
        return url
    }

    /// Puts both on a request.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config` if it has no whole URL.
    public func apply(to request: inout URLRequest) throws {
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        if hasQuery { request.url = try request.url.map(revealURL) }
    }

    /// Where a response leads whose request carried this; nil if it is the answer. `isReplayable` says whether the
    /// body, if there was one, can be sent again, and `url` is without what this added.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config`.
    public func follow(
        method: String, url: URL, isReplayable: Bool = true, status: Int, location: String
    ) throws -> NextHop? {
        let next = try calling {
            try native.follow(
                method: method, url: url.absoluteString, replayable: isReplayable, status: UInt32(clamping: status),
                location: location)
        }
        guard let next, let url = URL(string: next.url) else { return nil }
        return NextHop(method: next.method, url: url, dropsBody: next.dropsBody, drops: next.drops)
    }

    /// A `Location` that quotes what this put on a request to this URL, as it may be seen; nil if it may be seen as it
    /// is.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config`.
    public func masked(url: URL, location: String) throws -> String? {
        try calling { try native.masked(url: url.absoluteString, location: location) }
    }

    /// The names of its headers.
    public var description: String { "Patch(\(names.joined(separator: ", ")))" }
    /// These names alone.
    public var customMirror: Mirror { Mirror(self, children: ["names": names]) }
}

/// The hop that a redirect asks for.
public struct NextHop: Sendable, Equatable {
    /// Its method.
    public let method: String
    /// Where it goes.
    public let url: URL
    /// Whether the body stays behind.
    public let dropsBody: Bool
    /// The headers that stay behind, in lower case.
    public let drops: [String]
}

/// As a program reads them: names in lower case.
private func inLowerCase(_ headers: [String: String]) -> [String: String] {
    Dictionary(headers.map { ($0.key.lowercased(), $0.value) }) { "\($0), \($1)" }
}

func byTurns(_ pairs: [String: String]) -> [String] { pairs.flatMap { [$0.key, $0.value] } }

/// What a program's own code did, without its words: these may quote a key.
func thrown(_ error: any Error) -> String { "threw \(type(of: error))" }
