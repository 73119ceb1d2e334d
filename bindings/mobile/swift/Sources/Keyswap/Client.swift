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
public final class Client: Sendable {
    private let keys: KeySwap
    private let base: URL
    private let authorizer: NativeAuthorizer
    private let classifier: Classifier?
    private let statuses: Set<Int>
    private let headers: [String]
    private let exchange: Exchange
    private let prepared = Prepared()

    /// - Throws: `KeyswapError` with the code `invalid_config` or `insecure_url`.
    public init(
        _ keys: KeySwap, baseURL: URL, scheme: Scheme? = nil, allowedOrigins: [URL] = [],
        classifier: Classifier? = nil, plainHTTPAllowed: Bool = false,
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
        statuses = Set(authorizer.attention().map(Int.init))
        headers = authorizer.attentionHeaders()
        exchange = Exchange(configuration)
    }

    deinit { exchange.end() }

    /// GETs a path below the base, or a whole URL.
    public func data(from path: String) async throws -> (Data, HTTPURLResponse) {
        guard let url = URL(string: path, relativeTo: base)?.absoluteURL else {
            throw KeyswapError(code: "invalid_config", reason: "not a path, and not a URL")
        }
        return try await data(for: URLRequest(url: url))
    }

    /// Sends a request. A response of any status is not an error.
    ///
    /// A body in `httpBody` is sent again with another credential if need be. `bodyStream` can be sent only once: if its
    /// credential is rejected, the API's response is returned.
    ///
    /// - Throws: `KeyswapError` if there is nothing to send with; what `URLSession` throws; `CancellationError`.
    public func data(
        for request: URLRequest, bodyStream: InputStream? = nil
    ) async throws -> (Data, HTTPURLResponse) {
        var request = request
        // A stream in the request is one, too.
        let stream = bodyStream ?? request.httpBodyStream
        // Setting it takes the other kind of body away, also when it is set to nothing.
        if let stream { request.httpBodyStream = stream }
        var canRepeat = stream == nil
        for _ in 0...mostHops {
            let (data, response) = try await hop(request, canRepeat)
            guard let next = follow(response, request) else { return (data, shown(response, request)) }
            if next.keepsBody, stream != nil {
                throw KeyswapError(code: "body", reason: "a redirect of a body that can be sent only once")
            }
            request = next.request
            canRepeat = true
        }
        throw KeyswapError(code: "transport", reason: "too many redirects")
    }

    // MARK: - One hop

    private func hop(_ request: URLRequest, _ replayable: Bool) async throws -> (Data, HTTPURLResponse) {
        let url = request.url?.absoluteString ?? ""
        guard try calling({ try authorizer.admits(url: url) }) else {
            return try await exchange.send(request)
        }
        let deadline = UInt64(clamping: Int(request.timeoutInterval * 1000))
        let attempt: NativeAttempt
        var last: (Data, HTTPURLResponse)?
        var step: NativeStep
        if let (snapshot, patch) = try prepared.look(keys.epoch, { try calling { try authorizer.snapshot() } }) {
            let answer = try await exchange.send(try patched(request, patch))
            guard attends(answer.1) else { return answer }
            attempt = try calling {
                try authorizer.beginAfter(
                    snapshot: snapshot, url: url, replayable: replayable, deadlineMs: deadline)
            }
            last = answer
            step = try show(attempt, answer, nil)
        } else {
            attempt = try calling {
                try authorizer.begin(url: url, replayable: replayable, deadlineMs: deadline)
            }
            step = try calling { try attempt.step() }
        }
        defer { attempt.end() }
        while true {
            switch step {
            case .send:
                let patch = try calling { try attempt.apply(method: request.httpMethod ?? "GET", url: url) }
                do {
                    let answer = try await exchange.send(try patched(request, patch))
                    last = answer
                    step = try show(attempt, answer, nil)
                } catch let error as URLError {
                    _ = try? attempt.failed(failure: error.code == .timedOut ? .timeout : .other)
                    throw error
                }
            case .wait:
                step = try await waiting { try await attempt.wait(job: $0) }
            case .needBody:
                guard let last else { throw absent }
                let limit = try calling { try attempt.bodyLimit() }
                step = try show(attempt, last, last.0.prefix(Int(limit)))
            case .fail:
                try calling { try attempt.check() }
                throw absent
            case .return:
                guard let last else { throw absent }
                return last
            }
        }
    }

    private var absent: KeyswapError { KeyswapError(code: "transport", reason: "there is no response") }

    private func show(
        _ attempt: NativeAttempt, _ answer: (Data, HTTPURLResponse), _ body: Data?
    ) throws -> NativeStep {
        let response = answer.1
        var turns: [String] = []
        var record: [String: String] = [:]
        for (name, value) in response.allHeaderFields {
            let (name, value) = ("\(name)".lowercased(), "\(value)")
            turns += [name, value]
            record[name] = value
        }
        let status = response.statusCode
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

    /// The response as the caller sees it: a key that went into the query is not in its URL.
    private func shown(_ response: HTTPURLResponse, _ request: URLRequest) -> HTTPURLResponse {
        guard let url = request.url, response.url != url else { return response }
        let fields = Dictionary(
            uniqueKeysWithValues: response.allHeaderFields.map { ("\($0.key)", "\($0.value)") })
        return HTTPURLResponse(
            url: url, statusCode: response.statusCode, httpVersion: "HTTP/1.1", headerFields: fields) ?? response
    }
}

/// The most hops of one request.
private let mostHops = 10

private struct Next {
    let request: URLRequest
    let keepsBody: Bool
}

/// Where a response leads, as browsers follow it; nil if it leads nowhere.
private func follow(_ response: HTTPURLResponse, _ request: URLRequest) -> Next? {
    let status = response.statusCode
    guard [301, 302, 303, 307, 308].contains(status), let from = request.url,
        let location = response.value(forHTTPHeaderField: "location"),
        let url = URL(string: location, relativeTo: from)?.absoluteURL,
        url.scheme == "http" || url.scheme == "https"
    else { return nil }
    var next = request
    next.url = url
    let method = request.httpMethod ?? "GET"
    let becomesGet = (status == 303 && method != "GET" && method != "HEAD") || (status < 303 && method == "POST")
    if becomesGet {
        next.httpMethod = "GET"
        next.httpBodyStream = nil
        next.httpBody = nil
        for name in ["content-type", "content-length", "content-encoding"] {
            next.setValue(nil, forHTTPHeaderField: name)
        }
    }
    if (from.scheme, from.host, from.port) != (url.scheme, url.host, url.port) {
        for name in ["authorization", "cookie", "proxy-authorization"] {
            next.setValue(nil, forHTTPHeaderField: name)
        }
    }
    return Next(request: next, keepsBody: !becomesGet)
}

/// What requests of one epoch are sent with.
private final class Prepared: @unchecked Sendable {
    private let lock = NSLock()
    private var held: (epoch: UInt64, snapshot: NativeSnapshot, patch: NativePatch?)?

    /// Nil if a request has to begin an attempt. The core is asked once an epoch.
    func look(
        _ epoch: UInt64, _ read: () throws -> NativeSnapshot
    ) throws -> (NativeSnapshot, NativePatch)? {
        let known = lock.withLock { held?.epoch == epoch ? held : nil }
        if let known { return known.patch.map { (known.snapshot, $0) } }
        let snapshot = try read()
        let patch = snapshot.patch()
        if snapshot.epoch() == epoch { lock.withLock { held = (epoch, snapshot, patch) } }
        return patch.map { (snapshot, $0) }
    }
}

/// A session whose delegate this is, because only a delegate can keep it from following redirects.
private final class Exchange: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    private struct Running {
        let done: CheckedContinuation<(Data, HTTPURLResponse), any Error>
        var body = Data()
    }

    private let lock = NSLock()
    private var running: [Int: Running] = [:]
    private var session: URLSession!

    init(_ configuration: URLSessionConfiguration) {
        super.init()
        session = URLSession(configuration: configuration, delegate: self, delegateQueue: nil)
    }

    /// A session holds its delegate until it is told to let go.
    func end() { session.finishTasksAndInvalidate() }

    func send(_ request: URLRequest) async throws -> (Data, HTTPURLResponse) {
        try Task.checkCancellation()
        let task = session.dataTask(with: request)
        do {
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { done in
                    lock.withLock { running[task.taskIdentifier] = Running(done: done) }
                    task.resume()
                }
            } onCancel: {
                task.cancel()
            }
        } catch let error as URLError where error.code == .cancelled {
            try Task.checkCancellation()
            throw error
        }
    }

    func urlSession(
        _: URLSession, task _: URLSessionTask, willPerformHTTPRedirection _: HTTPURLResponse,
        newRequest _: URLRequest, completionHandler: @escaping (URLRequest?) -> Void
    ) {
        completionHandler(nil)
    }

    func urlSession(
        _: URLSession, task _: URLSessionTask, needNewBodyStream completionHandler: @escaping (InputStream?) -> Void
    ) {
        // A stream is sent once.
        completionHandler(nil)
    }

    func urlSession(_: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        lock.withLock { running[dataTask.taskIdentifier]?.body.append(data) }
    }

    func urlSession(_: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        guard let run = lock.withLock({ running.removeValue(forKey: task.taskIdentifier) }) else { return }
        if let error {
            run.done.resume(throwing: clean(error))
        } else if let response = task.response as? HTTPURLResponse {
            run.done.resume(returning: (run.body, response))
        } else {
            run.done.resume(throwing: URLError(.badServerResponse))
        }
    }

    /// The error without what it holds beside its code: that has the URL as it was sent.
    private func clean(_ error: any Error) -> any Error {
        guard let error = error as? URLError else {
            let error = error as NSError
            guard error.domain == NSURLErrorDomain else { return error }
            // It may be absent on some platforms, and cannot be on others.
            let code = URLError.Code(rawValue: error.code) as URLError.Code?
            return URLError(code ?? .unknown)
        }
        return URLError(error.code)
    }
}
