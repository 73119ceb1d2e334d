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
