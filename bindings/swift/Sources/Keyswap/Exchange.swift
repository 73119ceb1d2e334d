import Foundation

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// A session whose delegate this is, because only a delegate can keep it from following redirects, and from storing a
/// request that has a key.
final class Exchange: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    private let lock = NSLock()
    private var running: [Int: Transfer] = [:]
    private var session: URLSession!
    /// When the times of transfers are looked at next.
    private var looksAt: DispatchTime?
    private let timer = DispatchQueue(label: "keyswap.times")

    init(_ configuration: URLSessionConfiguration) {
        super.init()
        #if canImport(FoundationNetworking)
        let queue: OperationQueue? = Inline()
        #else
        let queue: OperationQueue? = nil
        #endif
        session = URLSession(configuration: configuration, delegate: self, delegateQueue: queue)
    }

    /// One that takes no proxy.
    static func direct(_ configuration: URLSessionConfiguration) -> Exchange {
        let copy = configuration.copy() as? URLSessionConfiguration ?? .ephemeral
        copy.connectionProxyDictionary = [:]
        return Exchange(copy)
    }

    /// A session holds its delegate until it is told to let go.
    func end() { session.finishTasksAndInvalidate() }

    /// Sends a request, with the file as its body if there is one. Its head must be there within the time that is
    /// `left`, and then each part of its body within `each`. Who waits for a head waits for all, unless it `isEnough`.
    func begin(
        _ request: URLRequest, file: URL?, isKeyed: Bool, left: Duration?, each: Duration?,
        isEnough: @escaping @Sendable (HTTPURLResponse) -> Bool
    ) -> Transfer {
        let task = file.map { session.uploadTask(with: request, fromFile: $0) } ?? session.dataTask(with: request)
        let transfer = Transfer(task, isKeyed: isKeyed, left: left, each: each, isEnough: isEnough) { [weak self] in
            self?.look(at: $0)
        }
        lock.withLock { running[task.taskIdentifier] = transfer }
        task.resume()
        if let first = transfer.next(after: .now()) { look(at: first) }
        return transfer
    }

    /// One timer for all of them: it seldom has to do anything.
    private func look(at time: DispatchTime) {
        let isSooner = lock.withLock {
            if let looksAt, looksAt <= time { return false }
            looksAt = time
            return true
        }
        guard isSooner else { return }
        timer.asyncAfter(deadline: time) { [weak self] in self?.look() }
    }

    private func look() {
        let all = lock.withLock {
            looksAt = nil
            return Array(running.values)
        }
        let now = DispatchTime.now()
        if let next = all.compactMap({ $0.next(after: now) }).min() { look(at: next) }
    }

    private func transfer(_ task: URLSessionTask) -> Transfer? { lock.withLock { running[task.taskIdentifier] } }

    // MARK: - What the session tells

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
        completionHandler(transfer(dataTask)?.isKeyed ?? true ? nil : proposed)
    }

    func urlSession(
        _: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
    ) {
        transfer(dataTask)?.began(response as? HTTPURLResponse)
        completionHandler(.allow)
    }

    func urlSession(_: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        transfer(dataTask)?.received(data)
    }

    func urlSession(_: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        guard let transfer = lock.withLock({ running.removeValue(forKey: task.taskIdentifier) }) else { return }
        transfer.ended(task.response as? HTTPURLResponse, error.map(clean))
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

#if canImport(FoundationNetworking)
/// Tells the delegate at once, on the session's own queue, which is serial: an operation and another thread for each
/// piece of news would cost a tenth of a request. Foundation on Linux spares its own `data(for:)` that, too. Nothing
/// that is told may wait for the session.
private final class Inline: OperationQueue, @unchecked Sendable {
    override func addOperation(_ block: @escaping @Sendable () -> Void) { block() }
}
#endif
