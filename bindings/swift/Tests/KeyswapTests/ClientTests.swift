import Foundation
import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

private let header = Scheme.header("x-api-key")

/// The options of `Client`, and responses that are read as they come.
final class ClientTests: XCTestCase {
    private func holding(_ key: String) async throws -> KeySwap {
        try await KeySwap.follow(.of { Document(current: .init(id: key, key: key)) }, timeout: .seconds(10))
    }

    func testARequestNamesTheKeysThatItIsSentWith() async throws {
        let stub = try Stub()
        let other = try await holding("other")
        let api = try Client(
            try await holding("first"), baseURL: URL(string: stub.url)!, scheme: header, named: ["other": other])
        let request = URLRequest(url: URL(string: "\(stub.url)/x")!)
        _ = try await api.data(for: request)
        _ = try await api.data(for: request, keys: "other")
        let (bytes, _) = try await api.bytes(for: request, keys: "other")
        for try await _ in bytes {}
        XCTAssertEqual(stub.asked.map(\.key), ["first", "other", "other"])
        do {
            _ = try await api.data(for: request, keys: "third")
            XCTFail("it was sent")
        } catch let error as KeyswapError {
            XCTAssertEqual(error.code, .invalidConfig)
        }
        XCTAssertEqual(stub.asked.count, 3)
        stub.stop()
    }

    /// What came of a request to a server that answers so, and how often it was sent.
    private func outcome(
        _ method: String, _ statuses: [Int], retries: Int? = nil, headers: [String: String] = [:]
    ) async throws -> [Int] {
        let turns = Turns(statuses.map(String.init))
        let stub = try Stub { _ in Told(status: Int(turns.next())!, headers: headers) }
        defer { stub.stop() }
        let (keys, base) = (try await holding("k"), URL(string: stub.url)!)
        let api =
            try retries.map { try Client(keys, baseURL: base, scheme: header, retries: $0) }
            ?? Client(keys, baseURL: base, scheme: header)
        var request = URLRequest(url: base)
        request.httpMethod = method
        if method == "POST" { request.httpBody = Data("order".utf8) }
        return [try await api.data(for: request).1.statusCode, stub.asked.count]
    }

    func testPassingFailuresAreRetriedWhereTheyMayBe() async throws {
        let cases: [(String, [Int], Int?, [Int])] = [
            ("GET", [503, 502, 200], nil, [200, 3]), ("GET", [503, 503, 503, 200], nil, [503, 3]),
            ("GET", [503, 200], 0, [503, 1]), ("POST", [503, 200], nil, [503, 1]), ("PUT", [504, 200], 1, [200, 2]),
            ("GET", [500, 200], nil, [500, 1]),
        ]
        for (method, statuses, retries, expected) in cases {
            let came = try await outcome(method, statuses, retries: retries)
            XCTAssertEqual(came, expected, "\(method) \(statuses)")
        }
        let began = ContinuousClock.now
        let asked = try await outcome("GET", [503, 200], headers: ["Retry-After": "1"])
        XCTAssertEqual(asked, [200, 2])
        XCTAssertGreaterThan(ContinuousClock.now - began, .milliseconds(900))
    }

    func testRetriesShareABudgetThatSuccessesEarnBack() async throws {
        let isUp = Noted<Bool>()
        let stub = try Stub { _ in Told(status: isUp.all.last ?? false ? 200 : 503) }
        defer { stub.stop() }
        let base = URL(string: stub.url)!
        let api = try Client(try await holding("k"), baseURL: base, scheme: header, retries: 1)
        /// How often so many requests were sent, all together.
        func sends(_ requests: Int) async throws -> Int {
            let before = stub.asked.count
            for _ in 0..<requests { _ = try await api.data(for: URLRequest(url: base)) }
            return stub.asked.count - before
        }
        let spent = try await sends(12)
        XCTAssertEqual(spent, 22, "ten of them were retried")
        for (successes, expected) in [(9, 1), (1, 2), (10, 2), (200, 20)] {
            isUp.add(true)
            _ = try await sends(successes)
            isUp.add(false)
            let came = try await sends(expected == 20 ? 10 : 1)
            XCTAssertEqual(came, expected, "after \(successes) successes")
        }
        let more = try await sends(1)
        XCTAssertEqual(more, 1, "a full budget is ten")
    }

    func testAnOriginThatASetIsNoLongerMeantForIsSentNoKey() async throws {
        let stub = try Stub()
        defer { stub.stop() }
        let stored = Changing(#"{"current": {"id": "a", "material": {"key": "a"}}}"#)
        let policy = Policy {
            $0.fetchFloor = .milliseconds(10)
            $0.fetchFloorMin = .milliseconds(10)
        }
        let keys = try await KeySwap.follow(.storage(stored), policy: policy, timeout: .seconds(10))
        let api = try Client(keys, baseURL: URL(string: stub.url)!, scheme: header)
        let sets = [
            #"{"current": {"id": "b", "material": {"key": "b"}}, "audience": ["https://api.example.com"]}"#,
            #"{"current": {"id": "c", "material": {"key": "c"}}, "audience": ["\#(stub.url)"]}"#,
        ]
        for _ in 0..<2 { _ = try await api.data(from: "/x") }
        for set in sets {
            stored.put(set)
            try await keys.refresh(timeout: .seconds(10))
            for _ in 0..<2 { _ = try await api.data(from: "/x?y") }
        }
        XCTAssertEqual(stub.asked.map(\.key), ["a", "a", nil, nil, "c", "c"])
    }

    func testARejectionWithoutAnEndIsHeldWithinLimits() async throws {
        let gone = Noted<Bool>()
        let wire = try Wire { _, line in
            line.say("HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n")
            let chunk = Data("1000\r\n".utf8) + Data(repeating: 120, count: 0x1000) + Data("\r\n".utf8)
            while line.say(chunk) { Thread.sleep(forTimeInterval: 0.0005) }
            gone.add(true)
        }
        defer { wire.stop() }
        let fetches = Noted<Bool>()
        let source = Source.of {
            fetches.add(true)
            // Until it was given up, nobody knows whether it is the answer.
            if fetches.all.count > 1 { _ = try await eventually { !gone.all.isEmpty } }
            return Document(current: .init(id: "k", key: "k"))
        }
        let policy = Policy {
            $0.fetchFloor = .milliseconds(10)
            $0.fetchFloorMin = .milliseconds(10)
            $0.wait = .seconds(20)
        }
        let keys = try await KeySwap.follow(source, policy: policy, timeout: .seconds(10))
        let api = try Client(keys, baseURL: URL(string: wire.url)!, scheme: header)
        let (data, response) = try await api.data(for: URLRequest(url: URL(string: wire.url)!), timeout: .seconds(20))
        XCTAssertEqual(response.statusCode, 401)
        XCTAssert((1 << 20..<2 << 20).contains(data.count), "\(data.count) bytes")
        XCTAssert(!gone.all.isEmpty)
    }

    func testAConnectionThatCannotBeMadeIsTriedAgain() async throws {
        let nobody = try Stub()
        nobody.stop()
        let signs = Noted<String>()
        let scheme = Scheme.sign { credential, _ in
            signs.add(credential.id)
            return Signature(headers: ["x-api-key": "k"])
        }
        let url = URL(string: nobody.url)!
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.httpBody = Data("order".utf8)
        for scheme in [scheme, header] {
            do {
                _ = try await Client(try await holding("k"), baseURL: url, scheme: scheme).data(for: request)
                XCTFail("it was answered")
            } catch {
                XCTAssertEqual((error as? URLError)?.code, .cannotConnectToHost)
            }
        }
        XCTAssertEqual(signs.all, ["k", "k", "k"], "nothing was sent, so it is sent again, whatever it is")
    }

    func testAClientHasATimeOfItsOwnAndARequestAnother() async throws {
        let wire = try Wire { _, line in line.untilGone() }
        let base = URL(string: wire.url)!
        let keys = try await holding("k")
        let hasty = try Client(keys, baseURL: base, scheme: header, timeout: .milliseconds(200))
        let patient = try Client(keys, baseURL: base, scheme: header, timeout: nil)
        let sends: [() async throws -> Void] = [
            { _ = try await hasty.data(from: "/x") },
            { _ = try await patient.data(for: URLRequest(url: base), timeout: .milliseconds(200)) },
            { _ = try await patient.data(for: URLRequest(url: base, timeoutInterval: 0.2)) },
        ]
        for send in sends {
            let began = ContinuousClock.now
            do {
                try await send()
                XCTFail("it was answered")
            } catch {
                XCTAssertEqual((error as? URLError)?.code, .timedOut)
            }
            XCTAssertLessThan(ContinuousClock.now - began, .seconds(2))
        }
        wire.stop()
    }

    func testAResponseThatNobodyReadsToItsEndIsDropped() async throws {
        let gone = DispatchSemaphore(value: 0)
        let wire = try Wire { _, line in
            line.answer(200, Data("begin".utf8), length: 1000)
            line.untilGone()
            gone.signal()
        }
        let api = try Client(try await holding("k"), baseURL: URL(string: wire.url)!, scheme: header)
        do {
            let (bytes, response) = try await api.bytes(from: "/x")
            XCTAssertEqual(response.statusCode, 200)
            var seen: [UInt8] = []
            for try await byte in bytes {
                seen.append(byte)
                if seen.count == 5 { break }
            }
            XCTAssertEqual(seen, Array("begin".utf8))
        }
        let hasGone = await withCheckedContinuation { done in
            Thread.detachNewThread { done.resume(returning: gone.wait(timeout: .now() + 5) == .success) }
        }
        XCTAssert(hasGone)
        wire.stop()
    }

    func testAFileThatIsNotThereIsAnError() async throws {
        let stub = try Stub()
        let base = URL(string: stub.url)!
        let api = try Client(try await holding("k"), baseURL: base, scheme: header)
        var request = URLRequest(url: base)
        request.httpMethod = "POST"
        do {
            _ = try await api.upload(for: request, fromFile: URL(fileURLWithPath: "/nowhere/at/all"))
            XCTFail("it was sent")
        } catch {
            XCTAssertEqual((error as? URLError)?.code, .fileDoesNotExist)
        }
        XCTAssertEqual(stub.asked.count, 0)
        stub.stop()
    }
}

/// A storage whose secret changes.
private final class Changing: SecretStorage, @unchecked Sendable {
    private let lock = NSLock()
    private var secret: String

    init(_ secret: String) { self.secret = secret }

    func put(_ secret: String) { lock.withLock { self.secret = secret } }

    func load() throws -> String? { lock.withLock { secret } }
}
