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
/// Plain HTTP on this machine takes no proxy; on Linux, where a variable of the environment names one for it, that is an
/// error: except this machine in `no_proxy`. What `localhost` is, is for the system to say: write 127.0.0.1 to be sure.
public final class Client: Sendable {
    private let keys: KeySwap
    private let base: URL
    private let authorizer: NativeAuthorizer
    private let classifier: Classifier?
    private let statuses: Set<Int>
    private let headers: [String]
    private let ownHeaderWins: Bool
    private let outer: Exchange
    private let direct: Exchange
    private let prepared = Prepared()

    /// A request with a header of its own where the key belongs is an error, unless `ownHeaderWins`: then it is sent as
    /// it is.
    ///
    /// - Throws: `KeyswapError` with the code `invalid_config` or `insecure_url`.
    public init(
        _ keys: KeySwap, baseURL: URL, scheme: Scheme? = nil, allowedOrigins: [URL] = [],
        classifier: Classifier? = nil, plainHTTPAllowed: Bool = false, ownHeaderWins: Bool = false,
        configuration: URLSessionConfiguration = .ephemeral
    ) throws {
        let spec = NativeAuthorizerSpec(
            scheme: scheme?.native, allowedOrigins: ([baseURL] + allowedOrigins).map(\.absoluteString),
            plainHttpAllowed: plainHTTPAllowed, judged: classifier?.statuses.map(UInt32.init(truncatingIfNeeded:)),
            bodyLimit: UInt32(clamping: classifier?.bodyLimit ?? 0))
        authorizer = try calling { try NativeAuthorizer(keys: keys.native, spec: spec) }
        self.keys = keys
        base = baseURL
        self.classifier = classifier
        self.ownHeaderWins = ownHeaderWins
        statuses = Set(authorizer.attention().map(Int.init))
        headers = authorizer.attentionHeaders()
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
            throw KeyswapError(code: "invalid_config", reason: "not a path, and not a URL")
        }
        return try await data(for: URLRequest(url: url))
    }

    /// Sends a request. A response of any status is not an error.
    ///
    /// A body in `httpBody` is sent again with another credential if need be. `bodyStream` can be sent only once: if its
    /// credential is rejected, the API's response is returned, and so it is for every request with `resend: false`. A
    /// fresh credential, or an API that asked for fewer requests, is waited for until `patience` seconds have passed,
    /// which are the request's `timeoutInterval` unless said otherwise: then the response in hand is returned. Ten
    /// redirects are followed; each hop is a request of its own, and what was answered is never sent again.
    ///
    /// - Throws: `KeyswapError` if there is nothing to send with; what `URLSession` throws; `CancellationError`.
    public func data(
        for request: URLRequest, bodyStream: InputStream? = nil, resend: Bool = true, patience: TimeInterval? = nil
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
            let url = request.url?.absoluteString ?? ""
            // An origin that is not allowed has no say in what keys are used for, not even by a redirect.
            isKeyed = try isKeyed && calling { try authorizer.admits(url: url) }
            let answer =
                isKeyed
                ? try await hop(request, url, canRepeat && resend, until)
                : try await sent(request, outer, .nothing(), isKeyed: false)
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
        _ request: URLRequest, _ url: String, _ replayable: Bool, _ until: ContinuousClock.Instant
    ) async throws -> Answer {
        let exchange = try way(url)
        let attempt: NativeAttempt
        var first: Answer?
        var last: Answer?
        var step: NativeStep
        if !prepared.isThrottled(authorizer.isThrottled),
            let (snapshot, patch) = try prepared.look(keys.epoch, { try calling { try authorizer.snapshot() } })
        {
            if try yields(request, patch) { return try await sent(request, exchange, patch, isKeyed: false) }
            let answer = try await sent(patched(request, patch), exchange, patch, isKeyed: true)
            guard attends(answer.response) else { return answer }
            attempt = try calling {
                try authorizer.beginAfter(
                    snapshot: snapshot, url: url, replayable: replayable, deadlineMs: left(until))
            }
            last = answer
            step = try show(attempt, answer, nil)
        } else {
            attempt = try calling {
                try authorizer.begin(url: url, replayable: replayable, deadlineMs: left(until))
            }
            step = try calling { try attempt.step() }
        }
        defer { attempt.end() }
        while true {
            switch step {
            case .send:
                let patch = try calling { try attempt.apply(method: request.httpMethod ?? "GET", url: url) }
                if try yields(request, patch) { return try await sent(request, exchange, patch, isKeyed: false) }
                // The first rejection is about the credential that was in use.
                if first == nil, last != nil, try calling({ try attempt.isRejected() }) { first = last }
                do {
                    let answer = try await sent(patched(request, patch), exchange, patch, isKeyed: true)
                    last = answer
                    step = try show(attempt, answer, nil)
                } catch let error as URLError {
                    _ = try? attempt.failed(failure: failure(error))
                    throw error
                }
            case .wait:
                step = try await waiting { try await attempt.wait(job: $0) }
            case .needBody:
                guard let last else { throw absent }
                let limit = try calling { try attempt.bodyLimit() }
                step = try show(attempt, last, last.data.prefix(Int(limit)))
            case .fail:
                try calling { try attempt.check() }
                throw absent
            case .return:
                guard let last else { throw absent }
                return try calling { try attempt.isRejected() } ? first ?? last : last
            }
        }
    }

    private var absent: KeyswapError { KeyswapError(code: "transport", reason: "there is no response") }

    private func left(_ until: ContinuousClock.Instant) -> UInt64 {
        let left = (until - .now).components
        return UInt64(clamping: left.seconds * 1000 + left.attoseconds / 1_000_000_000_000_000)
    }

    private func failure(_ error: URLError) -> NativeFailure {
        switch error.code {
        case .timedOut: .timeout
        case .cannotConnectToHost, .cannotFindHost, .dnsLookupFailed, .notConnectedToInternet: .connect
        default: .other
        }
    }

    /// The session that a key for this URL may take.
    private func way(_ url: String) throws -> Exchange {
        guard try calling({ try authorizer.goesDirect(url: url) }) else { return outer }
        guard let host = URL(string: url)?.host, !isProxied(host) else {
            throw KeyswapError(
                code: "insecure_url",
                reason: "plain HTTP to this machine would go through a proxy, which could read the key: name it in "
                    + "the variable no_proxy, or use https")
        }
        return direct
    }

    private func sent(
        _ request: URLRequest, _ exchange: Exchange, _ patch: NativePatch, isKeyed: Bool
    ) async throws -> Answer {
        let (data, response) = try await exchange.send(request, isKeyed: isKeyed)
        return Answer(data: data, response: response, patch: patch)
    }

    private func show(_ attempt: NativeAttempt, _ answer: Answer, _ body: Data?) throws -> NativeStep {
        var turns: [String] = []
        var record: [String: String] = [:]
        for (name, value) in answer.response.allHeaderFields {
            let (name, value) = ("\(name)".lowercased(), "\(value)")
            turns += [name, value]
            record[name] = value
        }
        if record["retry-after"] != nil { prepared.throttle() }
        let status = answer.response.statusCode
        let said = classifier.flatMap {
            $0.statuses.contains(status) ? $0.judge(status, record, body).native : nil
        }
        return try calling {
            try attempt.response(status: UInt32(status), headers: turns, body: body, said: said)
        }
    }

    private func attends(_ response: HTTPURLResponse) -> Bool {
        statuses.contains(response.statusCode)
            || headers.contains { response.value(forHTTPHeaderField: $0) != nil }
    }

    /// Whether a request goes out as its caller made it, because its own header wins.
    private func yields(_ request: URLRequest, _ patch: NativePatch) throws -> Bool {
        let turns = patch.reveal()
        let names = stride(from: 0, to: turns.count - 1, by: 2).map { turns[$0] }
        guard let own = names.first(where: { request.value(forHTTPHeaderField: $0) != nil }) else { return false }
        if ownHeaderWins { return true }
        throw KeyswapError(
            code: "invalid_config",
            reason: "the request has a header \(own) of its own, where the key belongs: leave it out, or say that it wins")
    }

    private func patched(_ request: URLRequest, _ patch: NativePatch) throws -> URLRequest {
        var sent = request
        let turns = patch.reveal()
        for at in stride(from: 0, to: turns.count - 1, by: 2) {
            sent.setValue(turns[at + 1], forHTTPHeaderField: turns[at])
        }
        if turns.isEmpty, let url = request.url {
            let revealed = try calling { try patch.revealUrl(url: url.absoluteString) }
            sent.url = URL(string: revealed)
        }
        return sent
    }
}

extension Client: CustomStringConvertible, CustomReflectable {
    public var description: String { "Client(\(base.host ?? ""))" }
    /// A session shows its tasks, and these the requests as they were sent.
    public var customMirror: Mirror { Mirror(self, children: ["host": base.host ?? ""]) }
}

/// The most redirects that a request follows.
private let mostRedirects = 10

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
