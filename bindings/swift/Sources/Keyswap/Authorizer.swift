import Foundation
import KeySwapNative

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Puts credentials on requests that an HTTP library of your own sends, and learns from the responses. `Client` does
/// that around a `URLSession`.
///
/// ```swift
/// let authorizer = try Authorizer(keys, scheme: .header("x-api-key"), allowedOrigins: [api])
/// let attempt = try authorizer.begin(url)
/// var response: Response?
/// while true {
///     switch try attempt.step {
///     case .send:
///         let patch = try await attempt.apply(method: "GET", url: url)
///         let got = try await library.get(patch.revealURL(url), headers: patch.reveal())
///         try attempt.received(status: got.status, headers: got.headers)
///         response = got
///     case .wait:
///         try await attempt.wait()
///     case .needBody(let most):
///         try attempt.received(status: response!.status, headers: response!.headers, body: response!.body.prefix(most))
///     case .fail(let error):
///         throw error
///     case .return:
///         return response!
///     }
/// }
/// ```
///
/// An attempt is one hop: the library must follow no redirect itself, because it would take the key along, and
/// `Patch.follow` says where one leads. Programs that send much ask for what is `prepared` first, which crosses into
/// the core only when something changed.
public final class Authorizer: Sendable {
    let native: NativeAuthorizer
    private let keys: KeySwap
    private let scheme: Scheme?
    private let classifier: Classifier?
    private let statuses: Set<Int>
    private let headers: [String]
    private let seen = Seen()

    /// For the origins that are allowed.
    ///
    /// - Parameters:
    ///   - keys: Whose credentials.
    ///   - scheme: How credentials go onto requests; without it, as the set says.
    ///   - allowedOrigins: The origins that credentials may be sent to, and nowhere else. Requests to other
    ///     origins go without.
    ///   - classifier: Which responses the program's own classifier judges; nothing if it has none, and then 401
    ///     means that the credential is rejected.
    ///   - plainHTTPAllowed: Allows plain HTTP to other machines. Everybody on the way can read the keys.
    ///   - ownHeaderWins: A request that sets the header of the scheme itself goes as it is, and what the API
    ///     says of it is no evidence about the credential. By default such a request is an error.
    /// - Throws: `KeyswapError` with the code `invalid_config` or `insecure_url`.
    public init(
        _ keys: KeySwap, scheme: Scheme? = nil, allowedOrigins: [URL], classifier: Classifier? = nil,
        plainHTTPAllowed: Bool = false, ownHeaderWins: Bool = false
    ) throws {
        let options = NativeAuthorizerOptions(
            scheme: scheme?.native, allowedOrigins: allowedOrigins.map(\.absoluteString),
            classifier: classifier?.native, plainHttpAllowed: plainHTTPAllowed, ownHeaderWins: ownHeaderWins)
        native = try calling { try NativeAuthorizer(keys: keys.native, options: options, signs: scheme?.sign != nil) }
        self.keys = keys
        self.scheme = scheme
        self.classifier = classifier
        let filter = native.filter()
        statuses = Set(filter.statuses.map(Int.init))
        headers = filter.headers
    }

    /// What a request to an allowed origin is sent with, without an attempt. Nil where it takes one: while the API is
    /// asked about a credential, asked for fewer requests, or wants them signed.
    public func prepared() -> Prepared? {
        seen.isThrottled(native.isThrottled) ? nil : seen.prepared(keys.epoch, native.snapshot)
    }

    /// Whether an attempt has to be shown a response of this status, and with headers of which `has` tells.
    public func attends(status: Int, has: (_ header: String) -> Bool) -> Bool {
        statuses.contains(status) || headers.contains(where: has)
    }

    /// Whether an attempt has to be shown this response.
    public func attends(to response: HTTPURLResponse) -> Bool {
        attends(status: response.statusCode) { response.value(forHTTPHeaderField: $0) != nil }
    }

    /// Whether credentials may go to this URL now.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config` if it is not a whole URL.
    public func admits(_ url: URL) throws -> Bool {
        try calling { try native.admits(url: url.absoluteString) }
    }

    /// What may go to this URL now. The core is asked once an epoch for each origin.
    func place(_ url: URL) throws -> Place {
        let whole = url.absoluteString
        return try seen.place(keys.epoch, native.snapshot, origin(whole)) { [native] in
            try calling {
                guard try native.admits(url: whole) else { return .elsewhere }
                return try native.goesDirect(url: whole) ? .here : .home
            }
        }
    }

    /// Whether a request goes as it is, because it has a header of its own, of which `has` tells, where this patch puts
    /// one. What comes back is then no evidence about the credential.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config`, unless such a header wins.
    public func yields(_ patch: Patch, has: (_ header: String) -> Bool) throws -> Bool {
        guard let own = patch.names.first(where: has) else { return false }
        return try calling { try native.yields(patch: patch.native, header: own) }
    }

    /// A request is about to be sent: one hop of it.
    ///
    /// `isReplayable` says whether it may be sent again: not if its body is a stream. `timeout` is how long its
    /// caller waits at most, from now on, for a fresh credential or an API that asked for fewer requests.
    /// Without all of the `scopes` it fails with the code `missing_scope`, and nothing is sent.
    ///
    /// - Throws: `KeyswapError` with the code `origin_not_allowed`.
    public func begin(
        _ url: URL, isReplayable: Bool = true, timeout: Duration? = nil, scopes: [String] = []
    ) throws -> Attempt {
        attempt(
            try calling {
                try native.begin(
                    url: url.absoluteString, replayable: isReplayable, deadline: timeout?.inSeconds, scopes: scopes)
            })
    }

    /// A request was sent with what was prepared, and this `attends` to its response: show it to this attempt. Without a
    /// `method` it is one that is not repeated for any other reason.
    ///
    /// - Throws: `KeyswapError`.
    public func begin(
        after prepared: Prepared, _ url: URL, isReplayable: Bool = true, timeout: Duration? = nil,
        method: String = "POST"
    ) throws -> Attempt {
        attempt(
            try calling {
                try native.beginAfter(
                    snapshot: prepared.snapshot, method: method, url: url.absoluteString,
                    replayable: isReplayable, deadline: timeout?.inSeconds)
            })
    }

    private func attempt(_ native: NativeAttempt) -> Attempt {
        Attempt(native, classifier: classifier, sign: scheme?.sign, throttled: { [seen] in seen.throttle() })
    }
}

/// What requests are sent with, without an attempt, as long as nothing changes.
public struct Prepared: Sendable {
    let snapshot: NativeSnapshot
    /// What to add to the request.
    public let patch: Patch
}

/// Where a URL leads.
enum Place {
    /// Its origin is not allowed.
    case elsewhere
    /// It is, and is plain HTTP on this machine, which takes no proxy.
    case here
    /// It is.
    case home
}

/// What was seen in one epoch.
private final class Seen: @unchecked Sendable {
    private struct Held {
        let epoch: UInt64
        let prepared: Prepared?
        var places: [Substring: Place] = [:]
    }

    private let lock = NSLock()
    private var held: Held?
    private var mayBeThrottled = false

    /// The API asked for fewer requests; the core knows when that is over.
    func throttle() { lock.withLock { mayBeThrottled = true } }

    func isThrottled(_ ask: () -> Bool) -> Bool {
        guard lock.withLock({ mayBeThrottled }) else { return false }
        let still = ask()
        lock.withLock { mayBeThrottled = still }
        return still
    }

    /// The core is asked once an epoch.
    func prepared(_ epoch: UInt64, _ read: () -> NativeSnapshot) -> Prepared? {
        if let held = lock.withLock({ held }), held.epoch == epoch { return held.prepared }
        return look(epoch, read)
    }

    func place(
        _ epoch: UInt64, _ read: () -> NativeSnapshot, _ origin: Substring?, _ ask: () throws -> Place
    ) throws -> Place {
        guard let origin else { return try ask() }
        if let known = lock.withLock({ held?.epoch == epoch ? held?.places[origin] : nil }) { return known }
        // It is noted beside what else was seen in the epoch.
        _ = prepared(epoch, read)
        let place = try ask()
        lock.withLock {
            guard let held, held.epoch == epoch, held.places.count < mostOrigins else { return }
            // A copy: nothing else of the URL is kept.
            self.held?.places[Substring(String(origin))] = place
        }
        return place
    }

    private func look(_ epoch: UInt64, _ read: () -> NativeSnapshot) -> Prepared? {
        let snapshot = read()
        let prepared = snapshot.patch().map { Prepared(snapshot: snapshot, patch: Patch($0)) }
        // One that was published meanwhile is looked at again next time.
        if snapshot.epoch() == epoch { lock.withLock { held = Held(epoch: epoch, prepared: prepared) } }
        return prepared
    }
}

/// The scheme and the authority of a URL, as it spells them: two URLs that begin with the same are of one origin. Nil
/// where they are not plain to see.
private func origin(_ url: String) -> Substring? {
    let bytes = url.utf8
    guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")) else { return nil }
    let rest = bytes[colon...]
    guard rest.starts(with: "://".utf8) else { return nil }
    let authority = rest.dropFirst(3)
    let isEnd = { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") }
    let end = authority.firstIndex(where: isEnd) ?? bytes.endIndex
    return end > authority.startIndex ? url[..<end] : nil
}

/// The most origins that are noted in an epoch.
private let mostOrigins = Int(constants().mostOrigins)
