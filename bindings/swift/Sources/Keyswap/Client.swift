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
    ///   - configuration: That of the session which sends.
    /// - Throws: `KeyswapError` with the code `invalid_config` or `insecure_url`.
    public init(
        _ keys: KeySwap, baseURL: URL, scheme: Scheme? = nil, allowedOrigins: [URL] = [],
        classifier: Classifier? = nil, plainHTTPAllowed: Bool = false, ownHeaderWins: Bool = false,
        configuration: URLSessionConfiguration = .ephemeral
    ) throws {
        authorizer = try Authorizer(
            keys, scheme: scheme, allowedOrigins: [baseURL] + allowedOrigins, classifier: classifier,
            plainHTTPAllowed: plainHTTPAllowed, ownHeaderWins: ownHeaderWins)
        base = baseURL
        outer = Exchange(configuration)
        direct = Exchange.direct(configuration)
    }

    deinit {
        outer.end()
        direct.end()
    }

    /// GETs a path below the base, or a whole URL.
    public func data(from path: String) async throws -> (Data, HTTPURLResponse) {
        guard let url = joined(path) else {
            throw KeyswapError(.invalidConfig, "not a path, and not a URL")
        }
        return try await data(for: URLRequest(url: url))
    }

    /// Sends a request. A response of any status is not an error.
    ///
    /// A body in `httpBody` is sent again with another credential if need be. `bodyStream` can be sent only once: if
    /// its credential is rejected, the API's response is returned, and so it is for every request with `resend: false`.
    /// A fresh credential, or an API that asked for fewer requests, is waited for until `patience` seconds have passed,
    /// which are the request's `timeoutInterval` unless said otherwise: then the response in hand is returned. Ten
    /// redirects are followed; each hop is a request of its own, and what was answered is never sent again. Without all
    /// of the `scopes` nothing is sent.
    ///
    /// - Throws: `KeyswapError` if there is nothing to send with; what `URLSession` throws; `CancellationError`.
    public func data(
        for request: URLRequest, bodyStream: InputStream? = nil, resend: Bool = true, patience: TimeInterval? = nil,
        scopes: [String] = []
    ) async throws -> (Data, HTTPURLResponse) {
        var request = request
        // A stream in the request is one, too.
        let stream = bodyStream ?? request.httpBodyStream
        // Setting it takes the other kind of body away, also when it is set to nothing.
        if let stream { request.httpBodyStream = stream }
        let until = ContinuousClock.now + .seconds(min(max(patience ?? request.timeoutInterval, 0), 1e9))
        var hops = 0
        var isKeyed = true
        while true {
            let canRepeat = request.httpBodyStream == nil
            guard let url = request.url else { throw KeyswapError(.invalidConfig, "the request has no URL") }
            // An origin that is not allowed has no say in what keys are used for, not even by a redirect.
            isKeyed = try isKeyed && authorizer.admits(url)
            let answer =
                isKeyed
                ? try await hop(request, url, canRepeat && resend, until, scopes)
                : try await sent(request, outer, .nothing, isKeyed: false)
            guard hops < mostRedirects, let next = try answer.next(request, canRepeat) else {
                return try answer.shown(request)
            }
            request = next
            hops += 1
        }
    }

    private func joined(_ path: String) -> URL? {
        if let whole = URL(string: path), whole.scheme == "https" || whole.scheme == "http", whole.host != nil {
            return whole
        }
        var below = base.absoluteString
        while below.hasSuffix("/") { below.removeLast() }
        return URL(string: path.hasPrefix("/") || path.hasPrefix("?") ? below + path : "\(below)/\(path)")
    }

    // MARK: - One hop

    private func hop(
        _ request: URLRequest, _ url: URL, _ isReplayable: Bool, _ until: ContinuousClock.Instant, _ scopes: [String]
    ) async throws -> Answer {
        let exchange = try way(url)
        let attempt: Attempt
        var first: Answer?
        var last: Answer?
        var step: Attempt.Step
        if scopes.isEmpty, let prepared = authorizer.prepared() {
            let patch = prepared.patch
            if try yields(request, patch) { return try await sent(request, exchange, patch, isKeyed: false) }
            let answer = try await sent(request, exchange, patch, isKeyed: true)
            guard authorizer.attends(to: answer.response) else { return answer }
            attempt = try authorizer.begin(
                after: prepared, url, isReplayable: isReplayable, patience: left(until),
                method: request.httpMethod ?? "GET")
            last = answer
            step = try attempt.received(answer.response)
        } else {
            attempt = try authorizer.begin(
                url, isReplayable: isReplayable, patience: left(until), scopes: scopes)
            step = try attempt.step
        }
        defer { attempt.close() }
        while true {
            switch step {
            case .send:
                let patch = try await attempt.apply(
                    method: request.httpMethod ?? "GET", url: url, headers: request.allHTTPHeaderFields ?? [:],
                    body: request.httpBody)
                if try yields(request, patch) { return try await sent(request, exchange, patch, isKeyed: false) }
                // The first rejection is about the credential that was in use.
                if first == nil, last != nil, try attempt.isRejected { first = last }
                do {
                    let answer = try await sent(request, exchange, patch, isKeyed: true)
                    last = answer
                    step = try attempt.received(answer.response)
                } catch let error as URLError {
                    _ = try? attempt.failed(failure(error))
                    throw error
                }
            case .wait:
                step = try await attempt.wait()
            case .needBody(let most):
                guard let last else { throw absent }
                step = try attempt.received(last.response, body: last.data.prefix(most))
            case .fail(let error):
                throw error
            case .return:
                guard let last else { throw absent }
                return try attempt.isRejected ? first ?? last : last
            }
        }
    }

    private var absent: KeyswapError { KeyswapError(.transport, "there is no response") }

    private func left(_ until: ContinuousClock.Instant) -> TimeInterval { max(0, (until - .now) / .seconds(1)) }

    private func failure(_ error: URLError) -> Attempt.Failure {
        switch error.code {
        case .timedOut: .timeout
        case .cannotConnectToHost, .cannotFindHost, .dnsLookupFailed, .notConnectedToInternet: .connect
        default: .other
        }
    }

    /// The session that a key for this URL may take.
    private func way(_ url: URL) throws -> Exchange {
        guard try calling({ try authorizer.native.goesDirect(url: url.absoluteString) }) else { return outer }
        guard let host = url.host, !isProxied(host) else {
            throw KeyswapError(
                .insecureURL,
                "plain HTTP to this machine would go through a proxy, which could read the key: name it in the "
                    + "variable no_proxy, or use https")
        }
        return direct
    }

    /// Sends a request with what a patch puts on it; as its caller made it, if it is not keyed.
    private func sent(
        _ request: URLRequest, _ exchange: Exchange, _ patch: Patch, isKeyed: Bool
    ) async throws -> Answer {
        var sent = request
        if isKeyed { try patch.apply(to: &sent) }
        let (data, response) = try await exchange.send(sent, isKeyed: isKeyed)
        return Answer(data: data, response: response, patch: patch)
    }

    private func yields(_ request: URLRequest, _ patch: Patch) throws -> Bool {
        try authorizer.yields(patch) { request.value(forHTTPHeaderField: $0) != nil }
    }
}

extension Client: CustomStringConvertible, CustomReflectable {
    public var description: String { "Client(\(base.host ?? ""))" }
    /// A session shows its tasks, and these the requests as they were sent.
    public var customMirror: Mirror { Mirror(self, children: ["host": base.host ?? ""]) }
}

/// The most redirects that a request follows.
private let mostRedirects = Int(constants().maxRedirects)

/// The variables that name a proxy for plain HTTP, where the system's library reads them.
private let proxyVariables = ["http_proxy", "all_proxy", "ALL_PROXY"]

/// Whether the environment sends plain HTTP to this host through a proxy. Only where URLSession is curl, which no
/// setting of a session keeps from it.
private func isProxied(_ host: String) -> Bool {
    #if canImport(FoundationNetworking)
    let environment = ProcessInfo.processInfo.environment
    guard proxyVariables.contains(where: { environment[$0]?.isEmpty == false }) else { return false }
    let excepted = (environment["no_proxy"] ?? environment["NO_PROXY"] ?? "").split { $0 == "," || $0 == " " }
    return !excepted.contains { $0 == "*" || $0 == host }
    #else
    return false
    #endif
}
