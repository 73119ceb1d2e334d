import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif
import Keyswap

/// What went wrong in a test's own machinery.
struct Broken: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// One running rotation endpoint with its protected API, from the binary that KEYSWAP_ENDPOINT names.
final class World: @unchecked Sendable {
    let urls: [String: Any]
    private(set) var setURL: String
    private(set) var bootstrap: String
    let api: URL
    let other: URL
    private let process: Process
    private let input: Pipe

    init() throws {
        guard let path = ProcessInfo.processInfo.environment["KEYSWAP_ENDPOINT"] else {
            throw Broken("KEYSWAP_ENDPOINT names no keyswap-endpoint: run ./tests/run swift")
        }
        process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = ["serve", "--exit-with-stdin"]
        input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        var line = Data()
        while line.last != UInt8(ascii: "\n") {
            let more = output.fileHandleForReading.availableData
            if more.isEmpty { throw Broken("the endpoint ended before it said where it is") }
            line += more
        }
        urls = try JSONSerialization.jsonObject(with: line) as! [String: Any]
        setURL = urls["set_url"] as! String
        bootstrap = urls["bootstrap"] as! String
        api = URL(string: urls["api_url"] as! String)!
        other = URL(string: urls["other_url"] as! String)!
    }

    deinit { stop() }

    func stop() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    @discardableResult
    func control(_ action: String, _ body: Any? = nil) async throws -> [String: Any] {
        var request = URLRequest(url: URL(string: "\(urls["control_url"] as! String)/\(action)")!)
        if let body {
            request.httpMethod = "POST"
            request.httpBody = try JSONSerialization.data(withJSONObject: body)
        }
        let (data, status) = try await plainly(request)
        if status >= 400 { throw Broken("\(action): \(status) \(String(decoding: data, as: UTF8.self))") }
        return try JSONSerialization.jsonObject(with: data) as? [String: Any] ?? [:]
    }

    /// A step of the timeline, now.
    func step(_ what: String, _ fields: [String: Any] = [:]) async throws {
        try await control("step", fields.merging(["do": what]) { $1 })
    }

    func counters() async throws -> [String: Int] {
        try await control("counters").compactMapValues { $0 as? Int }
    }

    func source() throws -> Source {
        try .endpoint(URL(string: setURL)!, bootstrap: bootstrap)
    }

    /// So that a test can fetch often.
    func keys(policy: Policy = fast) throws -> KeySwap {
        try KeySwap(source(), policy: policy)
    }

    func ready(policy: Policy = fast) async throws -> KeySwap {
        let keys = try keys(policy: policy)
        try await keys.ready(timeout: .seconds(10))
        return keys
    }
}

let fast = Policy {
    $0.fetchFloor = .milliseconds(50)
    $0.fetchFloorMin = .milliseconds(50)
}

/// Whether something comes true, in ten seconds.
func eventually(_ isTrue: () -> Bool) async throws -> Bool {
    for _ in 0..<1000 {
        if isTrue() { return true }
        try await Task.sleep(for: .milliseconds(10))
    }
    return false
}

/// A request with nothing of keyswap about it.
func plainly(_ request: URLRequest) async throws -> (Data, Int) {
    try await withCheckedThrowingContinuation { done in
        let task = URLSession.shared.dataTask(with: request) { data, response, error in
            if let error {
                done.resume(throwing: error)
            } else {
                done.resume(returning: (data ?? Data(), (response as? HTTPURLResponse)?.statusCode ?? 0))
            }
        }
        task.resume()
    }
}
