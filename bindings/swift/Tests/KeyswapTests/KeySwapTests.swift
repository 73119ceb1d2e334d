import Foundation
import KeySwapNative
@testable import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

final class KeySwapTests: XCTestCase {
    private func code(_ work: () async throws -> Void) async -> String {
        do {
            try await work()
            return "nothing was thrown"
        } catch let error as KeyswapError {
            return error.code.rawValue
        } catch {
            return "\(type(of: error))"
        }
    }

    func testAHandleReadsAndSwaps() async throws {
        let world = try World()
        defer { world.stop() }
        let keys = try await world.ready()
        XCTAssertEqual(try keys.current.id, "k1")
        let epoch = keys.epoch
        let events = keys.events
        try await world.step("revoke")
        try await keys.refresh(timeout: .seconds(10))
        for await event in events {
            guard case .swapped(let swap) = event else { continue }
            XCTAssertEqual([swap.from, swap.to, event.name], ["k1", "k2", "swapped"])
            XCTAssertEqual(swap.generation, keys.stats.generation)
            XCTAssertEqual("\(event)", "k2 replaces k1 at once")
            break
        }
        XCTAssertEqual(try keys.current.id, "k2")
        XCTAssertGreaterThan(keys.epoch, epoch)
        XCTAssertEqual(keys.credentials?.revoked, ["k1"])
        XCTAssertEqual(keys.stats.fetchesChanged, 2)
        keys.close()
        let told = await code { _ = try keys.current }
        XCTAssertEqual(told, "closed")
        let late = await code { try await keys.ready() }
        XCTAssertEqual(late, "closed")
        await keys.shutdown()
    }

    func testAFunctionIsASourceAndItsFailuresDisplaceNothing() async throws {
        let answers = Answers()
        await answers.set { Document(current: .init(id: "k1", key: "s3cr3t", expiresAt: Date() + 3600)) }
        let keys = try KeySwap(.of { try await answers.next() }, policy: fast)
        defer { keys.close() }
        try await keys.ready(timeout: .seconds(10))
        struct Own: Error { let words = "s3cr3t" }
        await answers.set { throw Own() }
        do {
            try await keys.refresh(timeout: .seconds(10))
            XCTFail("it failed")
        } catch let error as KeyswapError {
            XCTAssertEqual(error.code, .sourceFailed)
            XCTAssert("\(error)".contains("threw Own") && !"\(error)".contains("s3cr3t"), "\(error)")
        }
        await answers.set { Document(current: .init(id: "not an id", key: "s3cr3t")) }
        let malformed = await code { try await keys.refresh(timeout: .seconds(10)) }
        XCTAssertEqual(malformed, "malformed")
        XCTAssertEqual(try keys.current.reveal(), "s3cr3t")
    }

    func testAFunctionThatNobodyWaitsForIsCancelled() async throws {
        let ended = Lines()
        let keys = try KeySwap(
            .of {
                do {
                    try await Task.sleep(for: .seconds(60))
                } catch {
                    ended.add("ended", "\(type(of: error))")
                }
                throw Broken("too late")
            }, policy: Policy { $0.fetchTimeout = .milliseconds(100) })
        let isCancelled = try await eventually { ended.has("CancellationError") }
        XCTAssert(isCancelled)
        keys.close()
    }

    func testBadInputIsToldAtOnce() async throws {
        let url = URL(string: "https://keys.example.com/x")!
        let insecure = await code { _ = try Source.endpoint(URL(string: "ftp://keys.example.com")!) }
        XCTAssertEqual(insecure, "invalid_config")
        let timeout = await code { _ = try Source.endpoint(url, timeout: .seconds(-1)) }
        XCTAssertEqual(timeout, "invalid_config")
        for policy in [Policy { $0.pollSpread = -3 }, Policy { $0.poll = .seconds(-1) }, Policy { $0.pollSpread = .infinity }] {
            let told = await code { _ = try KeySwap(.env("X"), policy: policy) }
            XCTAssertEqual(told, "invalid_config", "\(policy)")
        }
        let keys = try KeySwap(.env("X"))
        let origin = await code { _ = try Client(keys, baseURL: URL(string: "http://api.example.com")!) }
        XCTAssertEqual(origin, "insecure_url")
        let bare = await code { _ = try KeySwap(.endpoint(url, bootstrap: "b", noBootstrap: true)) }
        XCTAssertEqual(bare, "invalid_config")
        let certificate = await code { _ = try KeySwap(.endpoint(url, noBootstrap: true, clientCertificate: "no PEM")) }
        XCTAssertEqual(certificate, "invalid_config")
    }

    func testAPolicyHasAPropertyForEachNumberOfTheCore() throws {
        let core = tests.deletingLastPathComponent().appendingPathComponent("core/src/policy.rs")
        let known = try String(contentsOf: core, encoding: .utf8).split(separator: "\n").compactMap { line in
            line.hasPrefix("    pub ") && !line.contains("(") ? String(line.dropFirst(8).prefix { $0 != ":" }) : nil
        }
        XCTAssertGreaterThan(known.count, 30)
        var numbers: [String: Any] = Dictionary(uniqueKeysWithValues: known.map { ($0, 0.5) })
        numbers["forced_burst"] = 2
        numbers["probe_delays"] = [0.5]
        let policy = try JSONDecoder().decode(Policy.self, from: JSONSerialization.data(withJSONObject: numbers))
        XCTAssertEqual(policy.poll, .milliseconds(500))
        XCTAssertEqual(policy.probeDelays, [.milliseconds(500)])
        let written = try JSONSerialization.jsonObject(with: JSONEncoder().encode(policy)) as? NSDictionary
        XCTAssertEqual(written, numbers as NSDictionary)
        let unset = Mirror(reflecting: policy).children.filter { "\($0.value)" == "nil" }.map(\.label)
        XCTAssertEqual(unset, [])
        XCTAssertEqual(Mirror(reflecting: policy).children.count, known.count)
        // The core refuses a name that it does not know.
        XCTAssertNoThrow(try KeySwap(.env("X"), policy: policy))
    }

    /// An event that holds all that any of them does.
    private func full(_ name: String) -> NativeEvent {
        NativeEvent(
            name: name, text: "in words", generation: 1, primary: "k", error: "timeout", retryInMs: 1, from: "k",
            to: "k", credential: "k", inUse: "k", proven: true, candidate: true, probeInMs: 1, reason: "scheme_failed",
            credentials: ["k"], set: true, forMs: 1, neverAccepted: true, fromGeneration: 1, toGeneration: 1, seconds: 1,
            byMs: -1, missed: 1)
    }

    func testEachWordOfTheCoreHasACase() {
        XCTAssertEqual(Set(KeyswapError.Code.allCases.map(\.rawValue)), Set(constants().errorCodes))
        for code in KeyswapError.Code.allCases { XCTAssertEqual(KeyswapError.Code(rawValue: code.rawValue), code) }
        XCTAssertEqual(KeyswapError.Code(rawValue: "newer"), .unknown("newer"))
        for name in constants().eventNames {
            let event = Event(full(name))
            XCTAssertEqual([event.name, "\(event)"], [name, "in words"])
            if case .unknown = event { XCTFail("\(name) has no case") }
        }
        guard case .unknown(let newer) = Event(full("newer")) else { return XCTFail("it is known") }
        XCTAssertEqual([newer.name, newer.text], ["newer", "in words"])
    }

    func testAnErrorSaysWhetherWaitingHelpsAndForHowLong() async throws {
        let world = try World()
        defer { world.stop() }
        let keys = try await world.ready()
        for (fault, code, isLasting) in [
            ("unknown_set", KeyswapError.Code.unknownSet, true), ("rate_limited", .throttled, false),
        ] {
            try await world.step(
                "endpoint", code == .throttled ? ["fault": fault, "retry_after": 3] : ["fault": fault])
            do {
                try await keys.refresh(timeout: .seconds(10))
                XCTFail("it was served")
            } catch let error as KeyswapError {
                XCTAssertEqual(error.code, code)
                XCTAssertEqual(error.isLasting, isLasting)
                XCTAssertEqual(error.retryAfter, code == .throttled ? .seconds(3) : nil)
                XCTAssertEqual(error.status, code == .throttled ? 429 : 404)
            }
        }
    }

    func testAHandleIsToldOfItsDeviceAndTellsItsLog() async throws {
        let world = try World()
        defer { world.stop() }
        let lines = Lines()
        try Log.install { _, event, text in lines.add(event, text) }
        defer { try? Log.install(nil) }
        let keys = try await world.ready()
        let before = keys.stats.fetchesNotModified
        keys.enteredBackground()
        keys.enteredForeground()
        keys.networkChanged()
        let hasLooked = try await eventually { keys.stats.fetchesNotModified > before }
        XCTAssert(hasLooked)
        try await world.step("revoke")
        try await keys.refresh(timeout: .seconds(10))
        let wasLogged = try await eventually { lines.has("swapped") }
        XCTAssert(wasLogged)
        let secret = try XCTUnwrap(keys.current.reveal())
        XCTAssertFalse(lines.has(secret))
    }

    func testWhoIsSlowIsToldOfTheEventsThatWereMissed() async throws {
        let often = Policy {
            $0.fetchFloor = .milliseconds(1)
            $0.fetchFloorMin = .milliseconds(1)
        }
        let document = Document(current: .init(id: "k1", key: "s3cr3t"))
        let keys = try await KeySwap.follow(.of { document }, policy: often, timeout: .seconds(10))
        let events = keys.events
        for _ in 0..<100 { try await keys.refresh(timeout: .seconds(10)) }
        var reader = events.makeAsyncIterator()
        let first = await reader.next()
        guard case .lagged(let lagged) = first else { return XCTFail("\(String(describing: first))") }
        XCTAssertGreaterThan(lagged.missed, 0)
        let second = await reader.next()
        XCTAssertEqual(second?.name, "not_modified")
        keys.close()
    }

    func testWaitsEndByTheirLimitAndWithTheirTask() async throws {
        let world = try World()
        defer { world.stop() }
        try await world.step("endpoint", ["fault": "hang"])
        let keys = try world.keys()
        let late = await code { try await keys.ready(timeout: .milliseconds(50)) }
        XCTAssertEqual(late, "timeout")
        let waiting = Task { try await keys.ready() }
        waiting.cancel()
        let cancelled = await code { try await waiting.value }
        XCTAssertEqual(cancelled, "CancellationError")
        let api = try Client(keys, baseURL: world.api, scheme: .header("x-api-key"))
        let sending = Task { _ = try await api.data(from: "/v1/price") }
        while keys.stats.waiting == 0 { await Task.yield() }
        sending.cancel()
        let given = await code { try await sending.value }
        XCTAssertEqual(given, "URLError", "as URLSession says it")
    }

    func testNothingThatCanBePrintedShowsAKey() async throws {
        let world = try World()
        defer { world.stop() }
        let keys = try await world.ready()
        let secret = try XCTUnwrap(keys.current.reveal())
        let document = Document(current: .init(id: "k", key: secret))
        let api = try Client(keys, baseURL: world.api, scheme: .query("api_key"))
        let (_, response) = try await api.data(from: "/v1/price")
        let shown: [Any] = [keys, try keys.current, keys.credentials as Any, keys.stats, document, api, response]
        for each in shown {
            var text = "\(each) \(String(reflecting: each))"
            dump(each, to: &text)
            XCTAssertFalse(text.contains(secret), "\(type(of: each))")
        }
    }

    func testAStormAtACut() async throws {
        let world = try World()
        defer { world.stop() }
        let keys = try await world.ready()
        let api = try Client(keys, baseURL: world.api, scheme: .header("x-api-key"), configuration: many)
        let first = try await api.data(from: "/v1/price").1.statusCode
        XCTAssertEqual(first, 200)
        let before = try await world.counters()
        try await world.step("cut")
        let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<256 { group.addTask { try await api.data(from: "/v1/price").1.statusCode } }
            return try await group.reduce(into: [Int: Int]()) { $0[$1, default: 0] += 1 }
        }
        XCTAssertEqual(statuses, [200: 256])
        let after = try await world.counters()
        XCTAssertEqual(after["fetch.changed"]! - before["fetch.changed"]!, 1)
        XCTAssertGreaterThan(after["api.rejected"]!, before["api.rejected"]!)
    }

    func testARedirectElsewhereTakesNoKeyAlong() async throws {
        let world = try World()
        defer { world.stop() }
        let keys = try await world.ready()
        for scheme in [Scheme.header("x-api-key"), .bearer, .query("api_key")] {
            let api = try Client(keys, baseURL: world.api, scheme: scheme)
            _ = try await api.data(from: "/redirect")
            let here = try await api.data(from: "/redirect-here").1
            XCTAssertEqual(here.statusCode, 200)
            _ = try await api.data(from: world.other.appendingPathComponent("x").absoluteString)
        }
        let leaks = try await world.counters()["leaks"]
        XCTAssertEqual(leaks, 0)
    }

    func testABodyIsSentAgainAndAStreamOnce() async throws {
        let world = try World()
        defer { world.stop() }
        let keys = try await world.ready()
        let api = try Client(keys, baseURL: world.api, scheme: .header("x-api-key"))
        var order = URLRequest(url: world.api.appendingPathComponent("v1/orders"))
        order.httpMethod = "POST"
        order.httpBody = Data("{}".utf8)
        try await world.step("cut")
        let again = try await api.data(for: order).1.statusCode
        XCTAssertEqual(again, 200)
        // The endpoint itself reads what is sent, by a way that takes no credential.
        var step = URLRequest(url: URL(string: "\(world.urls["control_url"] as! String)/step")!)
        step.httpMethod = "POST"
        step.httpBody = Data(#"{"do": "cut"}"#.utf8)
        let cut = try await api.data(for: step).1.statusCode
        XCTAssertEqual(cut, 200)
        order.httpBody = nil
        let once = try await api.data(for: order, bodyStream: InputStream(data: Data("{}".utf8))).1.statusCode
        XCTAssertEqual(once, 401)
    }

    func testAHandleThatNobodyHoldsEnds() async throws {
        let world = try World()
        defer { world.stop() }
        for _ in 0..<200 {
            let keys = try await world.ready()
            _ = try keys.current
        }
        weak var gone: KeySwap?
        do {
            let keys = try await world.ready()
            gone = keys
        }
        XCTAssertNil(gone)
    }
}

/// What the next call of a source returns.
actor Answers {
    private var answer: @Sendable () throws -> Document = { throw Broken("not set") }

    func set(_ answer: @escaping @Sendable () throws -> Document) { self.answer = answer }
    func next() throws -> Document { try answer() }
}

/// What a log was told.
private final class Lines: @unchecked Sendable {
    private let lock = NSLock()
    private var told = ""

    func add(_ event: String, _ text: String) { lock.withLock { told += "\(event): \(text)\n" } }
    func has(_ text: String) -> Bool { lock.withLock { told.contains(text) } }
}
