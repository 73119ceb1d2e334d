import Foundation
import KeySwapNative

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// A response, and what its request carried of ours.
struct Answer {
    let data: Data
    let response: HTTPURLResponse
    let patch: Patch

    /// The request that a redirect asks for; nil if this is the answer. Where it leads is the core's to say.
    func next(_ request: URLRequest, _ isReplayable: Bool) throws -> URLRequest? {
        guard (300..<400).contains(response.statusCode), let url = request.url,
            let location = response.value(forHTTPHeaderField: "location"),
            let hop = try patch.follow(
                method: request.httpMethod ?? "GET", url: url, isReplayable: isReplayable,
                status: response.statusCode, location: location)
        else { return nil }
        var next = request
        next.url = hop.url
        next.httpMethod = hop.method
        if hop.dropsBody {
            next.httpBodyStream = nil
            next.httpBody = nil
        }
        for name in hop.drops { next.setValue(nil, forHTTPHeaderField: name) }
        return next
    }

    /// As the caller sees it: a key that went into the query is neither in its URL nor in where it leads.
    func shown(_ request: URLRequest) throws -> (Data, HTTPURLResponse) {
        guard let url = request.url else { return (data, response) }
        let location = response.value(forHTTPHeaderField: "location")
        let masked = try location.flatMap { try patch.masked(url: url, location: $0) }
        guard masked != nil || response.url != url else { return (data, response) }
        var fields: [String: String] = [:]
        for (name, value) in response.allHeaderFields {
            let isLocation = "\(name)".lowercased() == "location"
            fields["\(name)"] = isLocation ? masked ?? "\(value)" : "\(value)"
        }
        let shown = HTTPURLResponse(
            url: url, statusCode: response.statusCode, httpVersion: "HTTP/1.1", headerFields: fields)
        return (data, shown ?? response)
    }
}

/// A session whose delegate this is, because only a delegate can keep it from following redirects, and from storing a
/// request that has a key.
final class Exchange: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    private struct Running {
        let done: CheckedContinuation<(Data, HTTPURLResponse), any Error>
        let isKeyed: Bool
        var body = Data()
    }

    private let lock = NSLock()
    private var running: [Int: Running] = [:]
    private var session: URLSession!

    init(_ configuration: URLSessionConfiguration) {
        super.init()
        session = URLSession(configuration: configuration, delegate: self, delegateQueue: nil)
    }

    /// One that takes no proxy.
    static func direct(_ configuration: URLSessionConfiguration) -> Exchange {
        let copy = configuration.copy() as? URLSessionConfiguration ?? .ephemeral
        copy.connectionProxyDictionary = [:]
        return Exchange(copy)
    }

    /// A session holds its delegate until it is told to let go.
    func end() { session.finishTasksAndInvalidate() }

    func send(_ request: URLRequest, isKeyed: Bool) async throws -> (Data, HTTPURLResponse) {
        try Task.checkCancellation()
        let task = session.dataTask(with: request)
        do {
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { done in
                    lock.withLock { running[task.taskIdentifier] = Running(done: done, isKeyed: isKeyed) }
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

    func urlSession(
        _: URLSession, dataTask: URLSessionDataTask, willCacheResponse proposed: CachedURLResponse,
        completionHandler: @escaping (CachedURLResponse?) -> Void
    ) {
        // A cache stores the request too, on disk perhaps.
        let isKeyed = lock.withLock { running[dataTask.taskIdentifier]?.isKeyed ?? true }
        completionHandler(isKeyed ? nil : proposed)
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
        if let error = error as? URLError { return URLError(error.code) }
        let error = error as NSError
        guard error.domain == NSURLErrorDomain else { return NSError(domain: error.domain, code: error.code) }
        // It may be absent on some platforms, and cannot be on others.
        let code = URLError.Code(rawValue: error.code) as URLError.Code?
        return URLError(code ?? .unknown)
    }
}
