import Foundation
import KeySwapNative

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Sends requests with credentials, through any rotation, by a `URLSession` of its own.
///
/// ```swift
/// let api = try Client(keys, baseURL: URL(string: "https://api.example.com")!, scheme: .header("x-api-key"))
/// let (data, response) = try await api.data(from: "/v1/price/BTC")
/// ```
///
/// Credentials go to the origin of `baseURL` and to `allowedOrigins`, and nowhere else: requests to other origins
/// pass without. Redirects are followed here, hop by hop, because `URLSession` takes headers along to other origins.
/// Without `scheme`, credentials go onto requests as the set says. Background sessions are not supported: they send
/// while the program, and so this, does not run.
///
/// Plain HTTP on this machine takes no proxy; on Linux, where a variable of the environment names one for it, that is
/// an error: except this machine in `no_proxy`. What `localhost` is, is for the system to say: write 127.0.0.1 to be
/// sure.
public final class Client: Sendable {
    private let base: URL
    private let authorizer: Authorizer
    private let named: [String: Authorizer]
    private let timeout: Duration?
    private let retries: Retries
    private let outer: Exchange
    private let direct: Exchange

    /// With a session of its own.
    ///
    /// - Parameters:
    ///   - keys: Whose credentials.
    ///   - baseURL: What paths are added to, and the first allowed origin.
    ///   - scheme: How credentials go onto requests; without it, as the set says.
    ///   - allowedOrigins: The origins that credentials may be sent to, and nowhere else. Requests to other
    ///     origins go without.
    ///   - classifier: Which responses the program's own classifier judges; nothing if it has none, and then 401
    ///     means that the credential is rejected.
    ///   - plainHTTPAllowed: Allows plain HTTP to other machines. Everybody on the way can read the keys.
    ///   - ownHeaderWins: A request that sets the header of the scheme itself goes as it is, and what the API
    ///     says of it is no evidence about the credential. By default such a request is an error.
    ///   - named: Further keys, for requests that name them.
    ///   - timeout: How long a request may take until the head of its response is there, with all resends, and
    ///     then each part of the body. 30 s by default.
    ///   - retries: How often 429, 502, 503, 504 and failed connections are retried, within a budget. 2 by
    ///     default.
    ///   - configuration: That of the session which sends.
    /// - Throws: `KeyswapError` with the code `invalid_config` or `insecure_url`.
    public init(
        _ keys: KeySwap, baseURL: URL, scheme: Scheme? = nil, allowedOrigins: [URL] = [],
        classifier: Classifier? = nil, plainHTTPAllowed: Bool = false, ownHeaderWins: Bool = false,
        named: [String: KeySwap] = [:], timeout: Duration? = .seconds(30), retries: Int = 2,
        configuration: URLSessionConfiguration = .ephemeral
    ) throws {
        func authorizer(_ keys: KeySwap) throws -> Authorizer {
            try Authorizer(
                keys, scheme: scheme, allowedOrigins: [baseURL] + allowedOrigins, classifier: classifier,
                plainHTTPAllowed: plainHTTPAllowed, ownHeaderWins: ownHeaderWins)
        }
        self.authorizer = try authorizer(keys)
        self.named = try named.mapValues(authorizer)
        self.timeout = timeout
        self.retries = Retries(self.authorizer, limit: retries)
        base = baseURL
        outer = Exchange(configuration)
        direct = Exchange.direct(configuration)
    }

    deinit {
        outer.end()
        direct.end()
    }

    // MARK: - Whole responses

    /// GETs a path below the base, or a whole URL.
    ///
    /// - Throws: As `data(for:)`.
    public func data(from path: String) async throws -> (Data, HTTPURLResponse) { try await data(for: get(path)) }

    /// Sends a request, and waits for the whole response. One of any status is not an error.
    ///
    /// A body in `httpBody` is sent again with another credential if need be. `bodyStream` can be sent only once: if
    /// its credential is rejected, the API's response is returned, and so it is for every request with `resend: false`.
    /// Ten redirects are followed; each hop is a request of its own, and what was answered is never sent again.
    ///
    /// - Parameters:
    ///   - request: What is sent. Its `timeoutInterval`, where it is not 60, stands for the client's `timeout`.
    ///   - bodyStream: A body that can be had once, in place of the request's own.
    ///   - resend: Whether it may be sent more than once.
    ///   - timeout: In place of the client's: how long it may take until the head of the response is there, with all
    ///     resends. A fresh credential, or an API that asked for fewer requests, is waited for no longer, and the
    ///     response in hand is then returned.
    ///   - scopes: Without all of these, nothing is sent.
    ///   - keys: The name of the further keys, among `named`, that it is sent with.
    /// - Throws: `KeyswapError` if there is nothing to send with; what `URLSession` throws, such as
    ///   `URLError(.timedOut)` if no response came in time, and `URLError(.cancelled)` in a task that is cancelled.
    public func data(
        for request: URLRequest, bodyStream: InputStream? = nil, resend: Bool = true, timeout: Duration? = nil,
        scopes: [String] = [], keys: String? = nil
    ) async throws -> (Data, HTTPURLResponse) {
        let call = call(request, nil, resend, timeout, scopes, isWhole: true)
        return try await whole(call, with(bodyStream, request), keys)
    }

    /// Sends a request with this body, which is sent again if need be.
    ///
    /// - Throws: As `data(for:)`.
    public func upload(
        for request: URLRequest, from body: Data, resend: Bool = true, timeout: Duration? = nil, scopes: [String] = [],
        keys: String? = nil
    ) async throws -> (Data, HTTPURLResponse) {
        var request = request
        request.httpBody = body
        return try await data(for: request, resend: resend, timeout: timeout, scopes: scopes, keys: keys)
    }

    /// Sends a request with a file as its body, which is read for each send. It is never held whole.
    ///
    /// - Throws: As `data(for:)`.
    public func upload(
        for request: URLRequest, fromFile file: URL, resend: Bool = true, timeout: Duration? = nil,
        scopes: [String] = [], keys: String? = nil
    ) async throws -> (Data, HTTPURLResponse) {
        guard FileManager.default.isReadableFile(atPath: file.path) else { throw URLError(.fileDoesNotExist) }
        return try await whole(call(request, file, resend, timeout, scopes, isWhole: true), request, keys)
    }

    // MARK: - Responses as they come

    /// GETs a path below the base, or a whole URL. The response is there once its head is.
    ///
    /// - Throws: As `data(for:)`.
    public func bytes(from path: String) async throws -> (ResponseBytes, HTTPURLResponse) {
        try await bytes(for: get(path))
    }

    /// Sends a request. The response is there once its head is, and its body is read as it comes:
    ///
    /// ```swift
    /// let (bytes, response) = try await api.bytes(from: "/v1/prices")
    /// for try await part in bytes.chunks { print(part.count) }
    /// ```
    ///
    /// The parameters are those of `data(for:)`. Each part of the body has as long as the head had.
    ///
    /// - Throws: As `data(for:)`.
    public func bytes(
        for request: URLRequest, bodyStream: InputStream? = nil, resend: Bool = true, timeout: Duration? = nil,
        scopes: [String] = [], keys: String? = nil
    ) async throws -> (ResponseBytes, HTTPURLResponse) {
        let call = call(request, nil, resend, timeout, scopes, isWhole: false)
        let (answer, last) = try await answer(call, with(bodyStream, request), keys)
        return (ResponseBytes(answer.transfer), try answer.shown(last))
    }

    // MARK: - A chain of hops

    private func whole(_ call: Call, _ request: URLRequest, _ keys: String?) async throws -> (Data, HTTPURLResponse) {
        let (answer, last) = try await answer(call, request, keys)
        return (try await answer.transfer.collect(), try answer.shown(last))
    }

    /// The response, and the request of the hop that it answers.
    private func answer(_ call: Call, _ request: URLRequest, _ keys: String?) async throws -> (Answer, URLRequest) {
        do {
            return try await through(call, request, try authorizer(keys))
        } catch is CancellationError {
            // As URLSession says it.
            throw URLError(.cancelled)
        }
    }

    private func through(
        _ call: Call, _ request: URLRequest, _ authorizer: Authorizer
    ) async throws -> (Answer, URLRequest) {
        var (call, request) = (call, request)
        var hops = 0
        var isKeyed = true
        while true {
            let canRepeat = request.httpBodyStream == nil
            guard let url = request.url else { throw KeyswapError(.invalidConfig, "the request has no URL") }
            // An origin that is not allowed has no say in what keys are used for, not even by a redirect.
            let place = isKeyed ? try authorizer.place(url) : .elsewhere
            isKeyed = place != .elsewhere
            let answer: Answer
            if isKeyed {
                var hop = Hop(
                    call, authorizer, try way(place, url), retries, request, url,
                    isReplayable: canRepeat && call.resend)
                answer = try await hop.run()
            } else {
                answer = try await Hop.unkeyed(call, outer, request)
            }
            guard hops < mostRedirects, let next = try answer.next(request, canRepeat) else { return (answer, request) }
            await answer.letGo()
            request = next.0
            if next.dropsBody { call.file = nil }
            hops += 1
        }
    }

    private func authorizer(_ name: String?) throws -> Authorizer {
        guard let name else { return authorizer }
        guard let found = named[name] else {
            throw KeyswapError(
                .invalidConfig, "the client has no keys named \"\(name)\": add them with the option `named`")
        }
        return found
    }

    private func call(
        _ request: URLRequest, _ file: URL?, _ resend: Bool, _ timeout: Duration?, _ scopes: [String], isWhole: Bool
    ) -> Call {
        let own = request.timeoutInterval == usualInterval ? nil : Duration.seconds(min(request.timeoutInterval, 1e9))
        let limit = timeout ?? own ?? self.timeout
        return Call(
            file: file, resend: resend, scopes: scopes, each: limit, until: limit.map { .now + max(.zero, $0) },
            isWhole: isWhole)
    }

    /// The request with its stream. Setting one takes the other kind of body away, also when it is set to nothing.
    private func with(_ bodyStream: InputStream?, _ request: URLRequest) -> URLRequest {
        guard let stream = bodyStream ?? request.httpBodyStream else { return request }
        var request = request
        request.httpBodyStream = stream
        return request
    }

    private func get(_ path: String) throws -> URLRequest {
        guard let url = joined(path) else { throw KeyswapError(.invalidConfig, "not a path, and not a URL") }
        return URLRequest(url: url)
    }

    private func joined(_ path: String) -> URL? {
        if let whole = URL(string: path), whole.scheme == "https" || whole.scheme == "http", whole.host != nil {
            return whole
        }
        var below = base.absoluteString
        while below.hasSuffix("/") { below.removeLast() }
        return URL(string: path.hasPrefix("/") || path.hasPrefix("?") ? below + path : "\(below)/\(path)")
    }

    /// The session that a key for this URL may take.
    private func way(_ place: Place, _ url: URL) throws -> Exchange {
        guard place == .here else { return outer }
        guard let host = url.host, !isProxied(host) else {
            throw KeyswapError(
                .insecureURL,
                "plain HTTP to this machine would go through a proxy, which could read the key: name it in the "
                    + "variable no_proxy, or use https")
        }
        return direct
    }
}

extension Client: CustomStringConvertible, CustomReflectable {
    /// The host of its base.
    public var description: String { "Client(\(base.host ?? ""))" }
    /// That host alone: a session shows its tasks, and these the requests as they were sent.
    public var customMirror: Mirror { Mirror(self, children: ["host": base.host ?? ""]) }
}

/// What a `URLRequest` has as `timeoutInterval` if nobody said anything.
private let usualInterval: TimeInterval = 60

/// The most redirects that a request follows.
private let mostRedirects = Int(constants().maxRedirects)

/// The variables that name a proxy for plain HTTP, where the system's library reads them.
private let proxyVariables = ["http_proxy", "all_proxy", "ALL_PROXY"]

/// Whether the environment sends plain HTTP to this host through a proxy. Only where URLSession is curl, which no
/// setting of a session keeps from it.
private func isProxied(_ host: String) -> Bool {
    #if canImport(FoundationNetworking)
    // Each by itself: a copy of the whole environment costs much, and this is asked before each request.
    func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
    guard proxyVariables.contains(where: { variable($0)?.isEmpty == false }) else { return false }
    let excepted = (variable("no_proxy") ?? variable("NO_PROXY") ?? "").split { $0 == "," || $0 == " " }
    return !excepted.contains { $0 == "*" || $0 == host }
    #else
    return false
    #endif
}
