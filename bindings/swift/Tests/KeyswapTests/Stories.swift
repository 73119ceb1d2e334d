import Foundation
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif
import Keyswap

/// Counts of callers and of the client, by the keys of `expect`.
actor Tally {
    private(set) var counts: [String: Int] = [:]

    func add(_ keys: String...) {
        for key in keys { counts[key, default: 0] += 1 }
    }
}

/// One story of `tests/scenarios`, played through `Client`. The endpoint knows it, makes its steps happen by its own
/// clock, and says at the end whether the counts came out. Here are the callers.
struct Play: Sendable {
    let world: World
    let told: Told
    let tally = Tally()

    struct Told: @unchecked Sendable {
        let json: [String: Any]
        var client: [String: Any] { json["client"] as? [String: Any] ?? [:] }
        var isCold: Bool { client["start"] as? String == "cold" }
    }

    init(_ world: World, _ name: String) async throws {
        self.world = world
        told = Told(json: try await world.control("story", try read(name)))
    }

    struct Outcome {
        /// That of the endpoint: `counters`, `mismatches` and `errors`.
        let verdict: [String: Any]
        /// By so much the clock of the endpoint may be ahead.
        let startedMs: Int
    }

    func run() async throws -> Outcome {
        let early = told.isCold ? try await start() : nil
        let keys = try follow()
        let api = try Client(
            keys, baseURL: world.api, scheme: scheme,
            classifier: told.client["classifier"] as? String == "code_in_body" ? codeInBody : nil,
            retries: told.client["retries"] as? Int ?? 0, configuration: many)
        if !told.isCold { try await keys.ready(timeout: .seconds(10)) }
        // What was told before is no part of the story.
        let events = keys.events
        let listening = Task { for await event in events { await tally.add("event.\(event.name)") } }
        let (begin, startedMs): (ContinuousClock.Instant, Int)
        if let early { (begin, startedMs) = early } else { (begin, startedMs) = try await start() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in told.json["callers"] as? [[String: Any]] ?? [] {
                let caller = Caller(caller)
                for _ in 0..<caller.count {
                    group.addTask { await call(api, caller, begin) }
                }
            }
            for hint in told.client["hints"] as? [[String: Any]] ?? [] {
                let (at, generation) = (hint["at"] as! Int, hint["generation"] as? Int)
                group.addTask {
                    try await sleep(begin, at)
                    keys.hint(generation: generation.map(UInt64.init))
                }
            }
            group.addTask { try await sleep(begin, told.json["run_ms"] as! Int) }
            try await group.waitForAll()
        }
        try await Task.sleep(for: .milliseconds(30))
        let stats = keys.stats
        var counts: [String: Any] = await tally.counts
        counts["in_use"] = stats.inUse ?? "none"
        counts["generation"] = stats.generation ?? 0
        let verdict = try await world.control("finish", counts)
        keys.close()
        await listening.value
        return Outcome(verdict: verdict, startedMs: startedMs)
    }

    private var scheme: Scheme? {
        switch told.client["scheme"] as? String ?? "header" {
        case "bearer": .bearer
        case "query": .query("api_key")
        case "set": nil
        default: .header("x-api-key")
        }
    }

    private func follow() throws -> KeySwap {
        let client = told.client
        var policy = told.json["policy"] as? [String: Any] ?? [:]
        if let lease = client["lease_ms"] as? Double { policy["lease"] = lease / 1000 }
        let urls = (told.json["set_urls"] as! [String]).map { URL(string: $0)! }
        func region(_ url: URL, _ regions: [Source]) throws -> Source {
            try .endpoint(
                url, bootstrap: (told.json["bootstrap"] as! String),
                push: client["push"] as? Bool ?? true,
                heartbeat: (client["heartbeat_ms"] as? Int).map { .milliseconds($0) },
                signedBy: client["signed_by_endpoint"] as? Bool == true ? (told.json["public_key"] as! String) : nil,
                regions: regions)
        }
        let source = try region(urls[0], urls.dropFirst().map { try region($0, []) })
        let json = try JSONSerialization.data(withJSONObject: policy)
        return try KeySwap(source, policy: JSONDecoder().decode(Policy.self, from: json))
    }

    /// When the story began, and how many milliseconds it took to say so.
    private func start() async throws -> (ContinuousClock.Instant, Int) {
        let before = ContinuousClock.now
        try await world.control("start", [String: Any]())
        let begin = ContinuousClock.now
        return (begin, Int((begin - before) / .milliseconds(1)))
    }

    private func call(_ api: Client, _ caller: Caller, _ begin: ContinuousClock.Instant) async {
        for nth in 0..<caller.repeats {
            try? await sleep(begin, caller.at + nth * caller.every)
            await tally.add("requests")
            let sending = Task {
                try await api.data(
                    for: caller.request(world.api), bodyStream: caller.stream, timeout: .milliseconds(caller.timeout),
                    scopes: caller.scopes)
            }
            let cancelling = Task {
                guard let after = caller.cancelAfter else { return }
                try await Task.sleep(for: .milliseconds(after))
                sending.cancel()
            }
            do {
                let (_, response) = try await sending.value
                await tally.add("status.\(response.statusCode)")
                if response.statusCode >= 400 { await tally.add("failed") }
            } catch {
                if sending.isCancelled {
                    await tally.add("cancelled")
                } else {
                    await tally.add("failed", "error.\(code(of: error))")
                }
            }
            cancelling.cancel()
        }
    }

    private func code(of error: Error) -> String {
        if let error = error as? KeyswapError { return error.code.rawValue }
        return (error as? URLError)?.code == .timedOut ? "timeout" : "transport"
    }
}

struct Caller: Sendable {
    let at, every, repeats, count, timeout: Int
    let method, path, body: String
    let cancelAfter: Int?
    let scopes: [String]

    init(_ json: [String: Any]) {
        func number(_ name: String) -> Int { json[name] as? Int ?? 0 }
        at = number("at")
        every = number("every")
        repeats = number("repeat")
        count = number("count")
        timeout = number("timeout_ms")
        method = json["method"] as? String ?? "GET"
        path = json["path"] as? String ?? "/"
        body = json["body"] as? String ?? "none"
        cancelAfter = json["cancel_after_ms"] as? Int
        scopes = json["scopes"] as? [String] ?? []
    }

    private static let order = Data(#"{"order": 1}"#.utf8)

    /// A body that can be sent only once.
    var stream: InputStream? { body == "one_shot" ? InputStream(data: Self.order) : nil }

    func request(_ base: URL) -> URLRequest {
        var request = URLRequest(url: URL(string: path, relativeTo: base)!.absoluteURL)
        request.httpMethod = method
        if body == "replayable" { request.httpBody = Self.order }
        return request
    }
}

func sleep(_ begin: ContinuousClock.Instant, _ at: Int) async throws {
    try await Task.sleep(until: begin + .milliseconds(at), clock: .continuous)
}

let codeInBody = Classifier(statuses: [200, 401], bodyLimit: 256) { status, _, body in
    if status == 200 {
        guard let body else { return .needBody }
        return String(decoding: body, as: UTF8.self).contains("\"bad_key\"") ? .rejected : .accepted
    }
    return status == 401 ? .rejected : status < 400 ? .accepted : .other
}

/// As many connections as there are callers.
var many: URLSessionConfiguration {
    let many = URLSessionConfiguration.ephemeral
    many.httpMaximumConnectionsPerHost = 1000
    many.timeoutIntervalForRequest = 60
    return many
}

/// The repository's folder of tests.
let tests = URL(fileURLWithPath: ProcessInfo.processInfo.environment["KEYSWAP_TESTS"] ?? "tests")

func read(_ name: String) throws -> [String: Any] {
    let data = try Data(contentsOf: tests.appendingPathComponent("scenarios/\(name).json"))
    return try JSONSerialization.jsonObject(with: data) as! [String: Any]
}

/// How many requests a story has at once, at most.
func callers(_ name: String) throws -> Int {
    let callers = try read(name)["callers"] as? [[String: Any]] ?? []
    return callers.reduce(0) { $0 + ($1["count"] as? Int ?? 1) }
}

/// The stories that are played over sockets.
func names() throws -> [String] {
    let folder = tests.appendingPathComponent("scenarios").path
    let all = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".json") }
    return try all.map { String($0.dropLast(5)) }.filter { try read($0)["virtual_only"] as? Bool != true }.sorted()
}

/// What the support matrix says is not run, and why.
func notRun(_ through: String) throws -> [String: String] {
    let matrix = try String(contentsOf: tests.appendingPathComponent("support-matrix.yaml"), encoding: .utf8)
    if matrix.contains("\n  \(through):\n    not_run: {}") { return [:] }
    guard let block = matrix.components(separatedBy: "\n  \(through):\n    not_run:\n").dropFirst().first else {
        throw Broken("the matrix does not speak of \(through)")
    }
    var left: [String: String] = [:]
    for line in block.split(separator: "\n") {
        guard line.hasPrefix("      ") else { break }
        let parts = line.dropFirst(6).components(separatedBy: ": ")
        left[parts[0]] = parts.dropFirst().joined(separator: ": ")
    }
    return left
}
