import Foundation
import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

private let header = Scheme.header("x-api-key")
private let api = URL(string: "https://api.example.com/x")!
private let elsewhere = URL(string: "https://example.com/x")!

/// An attempt that a library of the program's own drives, and signatures.
final class AuthorizerTests: XCTestCase {
    /// Holds the first key, and brings the others as it is asked again. The secret of key `a` is `s3cr3t-a`.
    private func rotating(_ keys: String..., policy: Policy = quick) async throws -> KeySwap {
        let rest = Rest(keys)
        return try await KeySwap.follow(
            .of {
                let key = rest.next()
                return Document(current: .init(id: "id-\(key)", key: key, material: ["secret": "s3cr3t-\(key)"]))
            }, policy: policy, timeout: .seconds(10))
    }

    private func code(_ work: () async throws -> Void) async -> String {
        do {
            try await work()
            return "nothing was thrown"
        } catch {
            return (error as? KeyswapError)?.code.rawValue ?? "\(type(of: error))"
        }
    }

    private func describe(_ step: Attempt.Step) -> String { "\(step)" }

    func testWhatTheReadmeShowsIsWhatIsTested() throws {
        let root = tests.deletingLastPathComponent().appendingPathComponent("bindings/swift")
        func lines(_ path: String) throws -> [String] {
            try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
                .components(separatedBy: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        let compiled = try lines("Tests/KeyswapTests/Examples.swift").joined(separator: "\n")
        let blocks = try lines("README.md").joined(separator: "\n").components(separatedBy: "```swift\n").dropFirst()
            .map { $0.components(separatedBy: "\n```")[0] }
        XCTAssertEqual(blocks.count, 6)
        let first = try lines("../../examples/swift/rotation/Sources/First/main.swift").joined(separator: "\n")
        XCTAssertEqual(blocks[0] + "\n", first, "the program that the tests run")
        for shown in blocks.dropFirst() { XCTAssert(compiled.contains(shown), shown) }
    }

    func testALibraryThatKnowsNothingOfKeysGetsThroughARotation() async throws {
        let world = try World()
        defer { world.stop() }
        let keys = try await world.ready()
        let url = world.api.appendingPathComponent("v1/price")
        for scheme in [header, .query("api_key")] {
            let authorizer = try Authorizer(keys, scheme: scheme, allowedOrigins: [world.api])
            let before = try await get(url, by: Library(), with: authorizer).status
            try await world.step("cut")
            let after = try await get(url, by: Library(), with: authorizer).status
            XCTAssertEqual([before, after], [200, 200])
        }
        XCTAssertEqual(try keys.current.id, "k3")
        let leaks = try await world.counters()["leaks"]
        XCTAssertEqual(leaks, 0)
    }

    func testAnAttemptSaysWhatIsKnownOfItsRequest() async throws {
        let authorizer = try Authorizer(try await rotating("a", "b"), scheme: header, allowedOrigins: [api])
        XCTAssertEqual([try authorizer.admits(api), try authorizer.admits(elsewhere)], [true, false])
        let refused = await code { _ = try authorizer.begin(elsewhere) }
        XCTAssertEqual(refused, "origin_not_allowed")
        let attempt = try authorizer.begin(api)
        let away = try await attempt.apply(method: "GET", url: elsewhere)
        XCTAssertEqual(away.names, [])
        let patch = try await attempt.apply(method: "GET", url: api)
        XCTAssertEqual(patch.reveal(), ["x-api-key": "a"])
        XCTAssertEqual(try patch.revealURL(api), api)
        XCTAssertEqual(try attempt.credentialID, "id-a")
        XCTAssertEqual(try attempt.sends, 1)
        // It waits, unless the next key is there already.
        try attempt.received(status: 401, headers: ["X-Other": "1"])
        XCTAssert(try attempt.isRejected)
        let step = try await attempt.wait()
        XCTAssertEqual(describe(step), "send")
        let next = try await attempt.apply(method: "GET", url: api)
        XCTAssertEqual(next.reveal(), ["x-api-key": "b"])
        XCTAssertEqual(try attempt.sends, 2)
        XCTAssertEqual(describe(try attempt.received(status: 503, headers: [:])), "return")
        XCTAssertFalse(try attempt.isRejected)
        XCTAssertNil(attempt.cause)
        XCTAssert(try attempt.repeat())
        XCTAssertEqual(describe(try attempt.failed(.connect)), "return")
        attempt.close()
        let closed = await code { _ = try attempt.step }
        XCTAssertEqual(closed, "closed")
    }

    func testAClassifierIsShownTheBodyThatItAsksFor() async throws {
        let judge = Classifier(statuses: [200], bodyLimit: 3) { _, headers, body in
            guard let body else { return headers["x-told"] == "yes" ? .needBody : .accepted }
            return body == Data("bad".utf8) ? .rejected : .other
        }
        let authorizer = try Authorizer(
            try await rotating("a"), scheme: header, allowedOrigins: [api], classifier: judge)
        let attempt = try authorizer.begin(api)
        _ = try await attempt.apply(method: "GET", url: api)
        XCTAssertEqual(describe(try attempt.received(status: 200, headers: ["X-Told": "yes"])), "needBody(3)")
        try attempt.received(status: 200, headers: ["X-Told": "yes"], body: Data("bad".utf8))
        XCTAssert(try attempt.isRejected)
    }

    func testWhatNoKeyIsThereForFailsAndWhatWaitedInVainSaysWhy() async throws {
        let hanging = try KeySwap(
            .of {
                try await Task.sleep(for: .seconds(60))
                throw Broken("it was not cancelled")
            })
        let began = ContinuousClock.now
        let late = try Authorizer(hanging, scheme: header, allowedOrigins: [api]).begin(api, timeout: .milliseconds(200))
        XCTAssertEqual(describe(try late.step), "wait")
        guard case .fail(let error) = try await late.wait() else { return XCTFail("it did not fail") }
        XCTAssert(error.code == .notReady || error.code == .timeout, "\(error)")
        XCTAssertLessThan(ContinuousClock.now - began, .seconds(4))
        let given = try Authorizer(hanging, scheme: header, allowedOrigins: [api]).begin(api)
        let waiting = Task { try await given.wait() }
        waiting.cancel()
        let cancelled = await code { _ = try await waiting.value }
        XCTAssertEqual(cancelled, "CancellationError")

        let answers = Answers()
        await answers.set { Document(current: .init(id: "k1", key: "a")) }
        let failing = try await KeySwap.follow(.of { try await answers.next() }, policy: quick, timeout: .seconds(10))
        await answers.set { throw Broken("s3cr3t") }
        let attempt = try Authorizer(failing, scheme: header, allowedOrigins: [api]).begin(api)
        while true {
            switch try attempt.step {
            case .send:
                _ = try await attempt.apply(method: "GET", url: api)
                try attempt.received(status: 401, headers: [:])
                continue
            case .wait:
                try await attempt.wait()
                continue
            default: break
            }
            break
        }
        XCTAssert(try attempt.isRejected)
        let cause = try XCTUnwrap(attempt.cause)
        XCTAssertEqual(cause.code, .sourceFailed)
        XCTAssertFalse("\(cause)".contains("s3cr3t"))
    }

    func testWhatIsPreparedNeedsNoAttemptUntilAResponseSaysOtherwise() async throws {
        let world = try World()
        defer { world.stop() }
        let keys = try await world.ready()
        let authorizer = try Authorizer(keys, scheme: header, allowedOrigins: [world.api])
        let url = world.api.appendingPathComponent("v1/price")
        for _ in 0..<1000 where authorizer.prepared() == nil { _ = try await get(url, by: Library(), with: authorizer) }
        let prepared = try XCTUnwrap(authorizer.prepared())
        XCTAssertEqual(prepared.patch.reveal()["x-api-key"], try keys.current.reveal())
        XCTAssertFalse(authorizer.attends(status: 200) { _ in false })
        XCTAssert(authorizer.attends(status: 401) { _ in false })
        XCTAssert(authorizer.attends(status: 200) { $0 == "retry-after" })
        XCTAssertEqual(try authorizer.yields(prepared.patch) { _ in false }, false)
        let own = await code { _ = try authorizer.yields(prepared.patch) { $0 == "x-api-key" } }
        XCTAssertEqual(own, "invalid_config")
        let throttled = try Authorizer(keys, scheme: header, allowedOrigins: [world.api])
        try throttled.begin(after: XCTUnwrap(throttled.prepared()), url)
            .received(status: 429, headers: ["Retry-After": "60"])
        XCTAssertNil(throttled.prepared(), "requests wait")
        try await world.step("cut")
        let after = try authorizer.begin(after: prepared, url)
        let denied = HTTPURLResponse(url: url, statusCode: 401, httpVersion: nil, headerFields: ["X-Y": "z"])!
        try after.received(denied)
        let step = try await after.wait()
        XCTAssertEqual(describe(step), "send")
        let signing = try Authorizer(keys, scheme: signed, allowedOrigins: [world.api])
        XCTAssertNil(signing.prepared(), "each request is signed")
    }

    func testARedirectLeavesAKeyOfTheQueryBehind() async throws {
        let keys = try await rotating("s3cr3t")
        let attempt = try Authorizer(keys, scheme: .query("api_key"), allowedOrigins: [api]).begin(api)
        let patch = try await attempt.apply(method: "POST", url: api)
        XCTAssertEqual(try patch.revealURL(api).absoluteString, "https://api.example.com/x?api_key=s3cr3t")
        XCTAssertEqual(try patch.masked(url: api, location: "/login?next=s3cr3t")?.contains("s3cr3t"), false)
        XCTAssertNil(try patch.masked(url: api, location: "/login"))
        XCTAssertNil(try patch.follow(method: "POST", url: api, status: 302, location: "/s3cr3t"))
        let next = try XCTUnwrap(
            patch.follow(method: "POST", url: api, status: 303, location: elsewhere.absoluteString))
        XCTAssertEqual([next.method, next.url.absoluteString], ["GET", elsewhere.absoluteString])
        XCTAssert(next.dropsBody && next.drops.contains("authorization"))
    }

    // MARK: - Signatures

    func testEachSendIsSignedAnewWithWhatTheProgramGaveIt() async throws {
        let stub = try Stub {
            let signed = $0.headers["x-signature"] == "s3cr3t-b POST a=1 order text/plain" && $0.path.contains("by=id-b")
            return Told(status: signed ? 200 : 401)
        }
        let seen = Seen()
        let scheme = Scheme.sign { credential, request in
            await Task.yield()
            seen.add(request)
            let body = String(decoding: request.body ?? Data(), as: UTF8.self)
            let made = "\(credential.reveal("secret") ?? "") \(request.method) \(request.url.query ?? "") \(body)"
            return Signature(
                headers: ["X-Signature": "\(made) \(request.headers["content-type"] ?? "")", "x-mine": "signed"],
                query: ["by": credential.id])
        }
        let through = try Client(try await rotating("a", "b"), baseURL: URL(string: stub.url)!, scheme: scheme)
        var order = URLRequest(url: URL(string: "\(stub.url)/orders?a=1")!)
        order.httpMethod = "POST"
        order.httpBody = Data("order".utf8)
        order.setValue("text/plain", forHTTPHeaderField: "Content-Type")
        // Who signs may replace what the caller set.
        order.setValue("own", forHTTPHeaderField: "X-Mine")
        for _ in 0..<2 {
            let response = try await through.data(for: order).1
            XCTAssertEqual(response.statusCode, 200)
            XCTAssertEqual(response.url, order.url, "what was added is not shown")
        }
        XCTAssertEqual(stub.asked.map { $0.headers["x-mine"] }, ["signed", "signed", "signed"])
        XCTAssertEqual(seen.all.map { $0.headers["x-mine"] }, ["own", "own", "own"])
        XCTAssert(seen.all.allSatisfy { abs($0.now.timeIntervalSinceNow) < 60 })
        stub.stop()
    }

    func testASignatureThatFailsCostsItsCredentialAndTheRequestIfNoneIsLeft() async throws {
        let stub = try Stub { Told(status: $0.headers["x-signature"] == "b" ? 200 : 401) }
        let base = URL(string: stub.url)!
        struct Own: Error { let words = "s3cr3t" }
        let failures: [Sign] = [
            { _, _ in throw Own() },
            { _, _ in Signature(headers: ["no name": "s3cr3t"]) },
            { _, _ in Signature(headers: ["x-signature": "s3cr3t\n"]) },
        ]
        for failing in failures {
            let half = Scheme.sign { credential, request in
                guard credential.id == "id-b" else { return try await failing(credential, request) }
                return Signature(headers: ["x-signature": "b"])
            }
            let document = Document(current: .init(id: "id-a", key: "a"), previous: [.init(id: "id-b", key: "b")])
            let keys = try await KeySwap.follow(.of { document }, policy: quick, timeout: .seconds(10))
            let status = try await Client(keys, baseURL: base, scheme: half).data(from: "/x").1.statusCode
            XCTAssertEqual(status, 200)
            let sends = stub.asked.count
            let whole = try Client(keys, baseURL: base, scheme: .sign(failing))
            do {
                _ = try await whole.data(from: "/x")
                XCTFail("it was sent")
            } catch let error as KeyswapError {
                XCTAssertEqual(error.code, .schemeFailed)
                XCTAssertFalse("\(error)".contains("s3cr3t"), "\(error)")
            }
            XCTAssertEqual(stub.asked.count, sends, "nothing was sent")
        }
        stub.stop()
    }

    func testATaskThatIsCancelledWhileItSignsCostsNoCredential() async throws {
        let keys = try await rotating("a")
        let scheme = Scheme.sign { _, _ in
            try await Task.sleep(for: .seconds(60))
            return Signature()
        }
        let attempt = try Authorizer(keys, scheme: scheme, allowedOrigins: [api]).begin(api)
        let signing = Task { try await attempt.apply(method: "GET", url: api) }
        signing.cancel()
        let cancelled = await code { _ = try await signing.value }
        XCTAssertEqual(cancelled, "CancellationError")
        XCTAssertEqual(keys.stats.rejections, 0)
        XCTAssertEqual(describe(try attempt.step), "send")
    }

    func testASignatureGoesToAllowedOriginsAlone() async throws {
        let away = try Stub()
        let stub = try Stub { _ in .to("\(away.url)/x", 302) }
        let seen = Seen()
        let scheme = Scheme.sign { credential, request in
            seen.add(request)
            return Signature(headers: ["x-signature": "s3cr3t"], query: ["signature": "s3cr3t"])
        }
        let keys = try await rotating("a")
        let through = try Client(keys, baseURL: URL(string: stub.url)!, scheme: scheme)
        let status = try await through.data(from: "/x").1.statusCode
        XCTAssertEqual(status, 200)
        XCTAssert(stub.asked.allSatisfy { $0.has("s3cr3t") } && !away.asked.contains { $0.has("s3cr3t") })
        let attempt = try Authorizer(keys, scheme: scheme, allowedOrigins: [api]).begin(api)
        let patch = try await attempt.apply(method: "GET", url: elsewhere)
        XCTAssertEqual(patch.names, [])
        XCTAssertEqual(try patch.revealURL(elsewhere), elsewhere)
        XCTAssertEqual(seen.all.count, 1)
        for each in [stub, away] { each.stop() }
    }

    func testNothingThatCanBePrintedShowsASecret() async throws {
        let keys = try await rotating("s3cr3t-1")
        let scheme = Scheme.sign { _, request in
            var text = ""
            dump(request, to: &text)
            XCTAssertFalse("\(request) \(text)".contains("s3cr3t"))
            return Signature(headers: ["x-signature": "s3cr3t"], query: ["signature": "s3cr3t"])
        }
        let authorizer = try Authorizer(keys, scheme: header, allowedOrigins: [api])
        let attempt = try authorizer.begin(api)
        let patch = try await attempt.apply(method: "GET", url: api)
        try attempt.received(status: 200, headers: [:])
        let isUsable = try await eventually { authorizer.prepared() != nil }
        XCTAssert(isUsable)
        let signing = try Authorizer(keys, scheme: scheme, allowedOrigins: [api]).begin(api)
        let made = try await signing.apply(method: "GET", url: api, headers: ["Cookie": "s3cr3t"], body: Data())
        let signature = Signature(headers: ["x-signature": "s3cr3t"], query: ["signature": "s3cr3t"])
        let shown: [Any] = [
            authorizer, authorizer.prepared() as Any, attempt, patch, signing, made, signature, scheme, header,
        ]
        for each in shown {
            var text = "\(each) \(String(reflecting: each))"
            dump(each, to: &text)
            XCTAssertFalse(text.contains("s3cr3t"), "\(type(of: each)): \(text)")
        }
        XCTAssertEqual("\(made)", "Patch(x-signature)")
    }
}

/// Keys that are brought one after the other; the last one stays.
private final class Rest: @unchecked Sendable {
    private let lock = NSLock()
    private var keys: [String]

    init(_ keys: [String]) { self.keys = keys }
    func next() -> String { lock.withLock { keys.count > 1 ? keys.removeFirst() : keys[0] } }
}

/// What was to be signed.
private final class Seen: @unchecked Sendable {
    private let lock = NSLock()
    private var requests: [UnsignedRequest] = []

    func add(_ request: UnsignedRequest) { lock.withLock { requests.append(request) } }
    var all: [UnsignedRequest] { lock.withLock { requests } }
}

private let quick = Policy {
    $0.fetchFloor = .milliseconds(50)
    $0.fetchFloorMin = .milliseconds(50)
    $0.wait = .milliseconds(300)
}
