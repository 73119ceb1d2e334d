import Foundation

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// What holds for all hops of one request.
struct Call: Sendable {
    var file: URL?
    let resend: Bool
    let scopes: [String]
    /// How long each part of the body may take, once the head is there.
    let each: Duration?
    /// When the head must be there.
    let until: ContinuousClock.Instant?
    /// Whether the caller waits for the whole body.
    let isWhole: Bool

    var left: Duration? { until.map { max(.zero, $0 - .now) } }
}

/// One hop of a request, with all of its sends.
struct Hop {
    let call: Call
    let authorizer: Authorizer
    let exchange: Exchange
    let retries: Retries
    let request: URLRequest
    let url: URL
    let isReplayable: Bool
    private var attempt: Attempt?
    /// The first rejection: it is about the credential that was in use.
    private var first: Answer?
    private var last: Result<Answer, URLError>?
    private var retried = 0

    init(
        _ call: Call, _ authorizer: Authorizer, _ exchange: Exchange, _ retries: Retries, _ request: URLRequest,
        _ url: URL, isReplayable: Bool
    ) {
        self.call = call
        self.authorizer = authorizer
        self.exchange = exchange
        self.retries = retries
        self.request = request
        self.url = url
        self.isReplayable = isReplayable
    }

    private var method: String { request.httpMethod ?? "GET" }

    /// The answer to a request as its caller made it: for an origin that is not allowed, or with a header of its own in
    /// the place of what a patch would put there.
    static func unkeyed(
        _ call: Call, _ exchange: Exchange, _ request: URLRequest, _ patch: Patch = .nothing
    ) async throws -> Answer {
        try await Hop.send(call, exchange, request, patch, isKeyed: false) { _ in true }
    }

    /// The answer.
    mutating func run() async throws -> Answer {
        var answer: Answer?
        defer {
            attempt?.close()
            if let first, first.transfer !== answer?.transfer { first.transfer.drop() }
            if case .success(let last) = last, last.transfer !== answer?.transfer { last.transfer.drop() }
        }
        answer = try await through()
        return answer!
    }

    private mutating func through() async throws -> Answer {
        var step: Attempt.Step
        if call.scopes.isEmpty, let prepared = authorizer.prepared() {
            if try yields(prepared.patch) { return try await Hop.unkeyed(call, exchange, request, prepared.patch) }
            let result = try await sent(prepared.patch)
            if case .success(let answer) = result, !answer.isOfInterest {
                if (200..<300).contains(answer.response.statusCode) { retries.succeeded() }
                return answer
            }
            let begun = try authorizer.begin(
                after: prepared, url, isReplayable: isReplayable, timeout: call.left, method: method)
            attempt = begun
            step = try show(result, to: begun)
        } else {
            attempt = try authorizer.begin(url, isReplayable: isReplayable, timeout: call.left, scopes: call.scopes)
            step = try attempt!.step
        }
        let attempt = attempt!
        while true {
            switch step {
            case .send:
                let patch = try await attempt.apply(
                    method: method, url: url, headers: request.allHTTPHeaderFields ?? [:], body: request.httpBody)
                if try yields(patch) { return try await Hop.unkeyed(call, exchange, request, patch) }
                try await giveUp(attempt)
                step = try show(try await sent(patch), to: attempt)
            case .wait:
                step = try await attempt.wait()
            case .needBody(let most):
                guard case .success(let answer) = last else { throw absent }
                let seen = await answer.transfer.prefix(most, within: call.left)
                step = try attempt.received(answer.response, body: seen)
                if try attempt.isRejected { answer.transfer.hold() }
            case .fail(let error):
                throw error
            case .return:
                guard let last else { throw absent }
                if let wait = try pause(last) {
                    try await Task.sleep(for: wait)
                    retried += 1
                    if try attempt.repeat() {
                        step = try attempt.step
                        continue
                    }
                }
                let answer = try last.get()
                return try attempt.isRejected ? first ?? answer : answer
            }
        }
    }

    private var absent: KeyswapError { KeyswapError(.transport, "there is no response") }

    /// Keeps the first rejection, in case all is in vain, and lets go of any other response.
    private mutating func giveUp(_ attempt: Attempt) async throws {
        guard case .success(let answer) = last else { return }
        last = nil
        if first == nil, try attempt.isRejected {
            first = answer
            await answer.transfer.settle()
        } else if answer.transfer !== first?.transfer {
            await answer.letGo()
        }
    }

    private mutating func show(_ result: Result<Answer, URLError>, to attempt: Attempt) throws -> Attempt.Step {
        last = result
        switch result {
        case .success(let answer):
            let step = try attempt.received(answer.response)
            if try attempt.isRejected { answer.transfer.hold() }
            return step
        case .failure(let error):
            return try attempt.failed(failure(error))
        }
    }

    /// How long to wait before this is sent again for a reason that is not its credential.
    private func pause(_ result: Result<Answer, URLError>) throws -> Duration? {
        switch result {
        case .success(let answer) where (200..<300).contains(answer.response.statusCode):
            retries.succeeded()
            return nil
        case _ where !isReplayable:
            return nil
        case .success(let answer):
            return try retries.wait(answer.response, method, retried: retried, left: call.left)
        case .failure(let error):
            return try retries.wait(failure(error), method, retried: retried, left: call.left)
        }
    }

    private func failure(_ error: URLError) -> Attempt.Failure {
        switch error.code {
        case .timedOut: .timeout
        case .cannotConnectToHost, .cannotFindHost, .dnsLookupFailed, .notConnectedToInternet: .connect
        default: .other
        }
    }

    private func yields(_ patch: Patch) throws -> Bool {
        try authorizer.yields(patch) { request.value(forHTTPHeaderField: $0) != nil }
    }

    // MARK: - One send

    /// Sends the request with what a patch puts on it. What `URLSession` says of it may be a reason to send it again;
    /// any other error is final.
    private func sent(_ patch: Patch) async throws -> Result<Answer, URLError> {
        let (authorizer, retries) = (authorizer, retries)
        do {
            return .success(
                try await Hop.send(call, exchange, request, patch, isKeyed: true) {
                    authorizer.attends(to: $0) || retries.concern($0.statusCode)
                })
        } catch let error as URLError {
            return .failure(error)
        }
    }

    /// Sends a request, as its caller made it if it is not keyed. A caller that waits for the whole body is spared a
    /// second wait, but for a response whose head is worth a look.
    private static func send(
        _ call: Call, _ exchange: Exchange, _ request: URLRequest, _ patch: Patch, isKeyed: Bool,
        isOfInterest: @escaping @Sendable (HTTPURLResponse) -> Bool
    ) async throws -> Answer {
        try Task.checkCancellation()
        var sent = request
        if isKeyed { try patch.apply(to: &sent) }
        let transfer = exchange.begin(
            sent, file: call.file, isKeyed: isKeyed, left: call.left, each: call.each,
            isEnough: { [isWhole = call.isWhole] in !isWhole || isOfInterest($0) })
        let (response, isEarly) = try await transfer.head()
        return Answer(
            transfer: transfer, response: response, patch: patch,
            isOfInterest: isEarly && (call.isWhole || isOfInterest(response)))
    }
}
