import Foundation
import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

private let key1 = "s3cr3t-one"
private let key2 = "s3cr3t-two"
private let bodies = ["POST", "PUT", "PATCH"]
private let redirects = [301, 302, 303, 307, 308]

/// Redirects through `Client`: each hop is a request of its own, and its key is on the wire and nowhere else.
final class HopsTests: XCTestCase {
    /// Holds the first key, and brings the second when it is asked again.
    private func rotating() async throws -> KeySwap {
        let answers = Answers()
        await answers.set { Document(current: .init(id: "k1", key: key1)) }
        let keys = try KeySwap(.of { try await answers.next() }, policy: quick)
        try await keys.ready(timeout: .seconds(10))
        await answers.set { Document(current: .init(id: "k2", key: key2)) }
        return keys
    }

    private func client(
        _ keys: KeySwap, _ origins: [Stub], _ scheme: Scheme = .header("x-api-key"), classifier: Classifier? = nil,
        ownHeaderWins: Bool = false
    ) throws -> Client {
        let urls = origins.map { URL(string: $0.url)! }
        return try Client(
            keys, baseURL: urls[0], scheme: scheme, allowedOrigins: Array(urls.dropFirst()), classifier: classifier,
            ownHeaderWins: ownHeaderWins)
    }

    private func request(_ url: String, _ method: String = "GET", _ headers: [String: String] = [:]) -> URLRequest {
        var request = URLRequest(url: URL(string: url)!)
        request.httpMethod = method
        if method != "GET" { request.httpBody = Data("order".utf8) }
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        return request
    }

    func testAChainWithinTheAllowedOriginsAndThenElsewhereTakesNoKeyAlong() async throws {
        let elsewhere = try Stub()
        let second = try Stub { .to("\(elsewhere.url)/caught", Int($0.path.split(separator: "?")[0].dropFirst())!) }
        let first = try Stub { .to("\(second.url)\($0.path)", Int($0.path.split(separator: "?")[0].dropFirst())!) }
        for scheme in [Scheme.header("x-api-key"), .query("api_key")] {
            let api = try client(try await rotating(), [first, second], scheme)
            for method in bodies + ["GET"] {
                for status in redirects {
                    let (_, response) = try await api.data(for: request("\(first.url)/\(status)", method))
                    XCTAssertEqual(response.url?.absoluteString, "\(elsewhere.url)/caught")
                }
            }
        }
        XCTAssertEqual(elsewhere.asked.count, 40)
        XCTAssert((first.asked + second.asked).allSatisfy { $0.has(key1) })
        XCTAssertFalse(elsewhere.asked.contains { $0.has("s3cr3t") })
        for stub in [first, second, elsewhere] { stub.stop() }
    }

    func testWhatWasAnsweredIsNotSentAgain() async throws {
        let nobody = try Stub()
        nobody.stop()
        for method in bodies {
            for status in redirects {
                let api = try Stub {
                    switch $0.path {
                    case "/orders": .to("/done", status)
                    case "/lost": .to("\(nobody.url)/x", status)
                    default: Told(status: $0.key == key2 ? 200 : 401)
                    }
                }
                let through = try client(try await rotating(), [api, nobody])
                let done = try await through.data(for: request("\(api.url)/orders", method)).1.statusCode
                XCTAssertEqual(done, 200)
                let lost = try? await through.data(for: request("\(api.url)/lost", method))
                XCTAssertNil(lost)
                let counts = ["/orders", "/done", "/lost"].map(api.count)
                XCTAssertEqual(counts, [1, 2, 1], "\(method) \(status)")
                api.stop()
            }
        }
    }

    func testARedirectIsJudgedBeforeItIsFollowed() async throws {
        let api = try Stub {
            $0.path == "/login" ? Told() : $0.key == key2 ? Told(body: "here") : .to("/login", 302)
        }
        let judge = Classifier(statuses: [302]) { _, _, _ in .rejected }
        let through = try client(try await rotating(), [api], classifier: judge)
        let (data, _) = try await through.data(from: "/price")
        XCTAssertEqual(String(decoding: data, as: UTF8.self), "here")
        XCTAssertEqual(api.count("/login"), 0)
        api.stop()
    }

    func testTenRedirectsAndNoMore() async throws {
        let api = try Stub { _ in .to("/again", 302) }
        let through = try client(try await rotating(), [api])
        let last = try await through.data(from: "/x").1.statusCode
        XCTAssertEqual([last, api.asked.count], [302, 11])
        api.stop()
    }

    func testAnOriginThatIsNotAllowedLeadsNoKeyAnywhere() async throws {
        let home = try Stub()
        let away = try Stub { _ in .to("\(home.url)/back", 302) }
        let first = try Stub { _ in .to("\(away.url)/x", 302) }
        _ = try await client(try await rotating(), [first, home]).data(from: "/x")
        XCTAssertEqual(home.asked.map(\.key), [nil])
        for stub in [first, away, home] { stub.stop() }
    }

    func testAHeaderOfTheCallersOwnIsAnErrorOrWinsAndGoesNowhereElse() async throws {
        let elsewhere = try Stub()
        let api = try Stub { $0.path == "/away" ? .to("\(elsewhere.url)/caught", 302) : Told(status: 401) }
        let keys = try await rotating()
        let own = request("\(api.url)/x", "GET", ["X-Api-Key": "mine"])
        do {
            _ = try await client(keys, [api]).data(for: own)
            XCTFail("it was sent")
        } catch let error as KeyswapError {
            XCTAssert(error.code == .invalidConfig && error.message.contains("x-api-key"), "\(error)")
        }
        XCTAssert(api.asked.isEmpty)
        let yielding = try client(keys, [api], ownHeaderWins: true)
        let status = try await yielding.data(for: own).1.statusCode
        XCTAssertEqual(status, 401)
        _ = try await yielding.data(for: request("\(api.url)/away", "GET", ["X-Api-Key": "mine"]))
        XCTAssertEqual(api.asked.map(\.key), ["mine", "mine"])
        XCTAssertEqual(elsewhere.asked.map(\.key), [nil])
        XCTAssertEqual(keys.stats.rejections, 0, "it is no evidence about the key")
        for stub in [api, elsewhere] { stub.stop() }
    }

    func testACallerCanSayOnceAndTheFirstRejectionIsTheAnswer() async throws {
        let api = try Stub { Told(status: 401, body: "no to \($0.key ?? "")") }
        let through = try client(try await rotating(), [api])
        let once = try await through.data(for: request("\(api.url)/x"), resend: false).0
        XCTAssertEqual(api.asked.count, 1)
        XCTAssertEqual(String(decoding: once, as: UTF8.self), "no to \(key1)")
        let vain = try Stub { Told(status: 401, body: "no to \($0.key ?? "")") }
        let answer = try await client(try await rotating(), [vain]).data(from: "/x").0
        XCTAssertEqual(String(decoding: answer, as: UTF8.self), "no to \(key1)")
        XCTAssert(vain.asked.contains { $0.key == key2 })
        for stub in [api, vain] { stub.stop() }
    }

    func testTheTimeOfARequestBoundsItsWaitForAFreshKey() async throws {
        let api = try Stub { _ in Told(status: 401) }
        let answers = Answers()
        await answers.set { Document(current: .init(id: "k1", key: key1)) }
        let keys = try KeySwap(
            .of {
                let next = try await answers.next()
                await answers.set { throw Broken("hang") }
                return next
            }, policy: slow)
        try await keys.ready(timeout: .seconds(10))
        var sent = request("\(api.url)/x")
        sent.timeoutInterval = 1
        let began = ContinuousClock.now
        let status = try await client(keys, [api]).data(for: sent).1.statusCode
        XCTAssertEqual(status, 401)
        XCTAssertLessThan(ContinuousClock.now - began, .seconds(4))
        api.stop()
    }

    func testAKeyThatComesBackInALocationIsNotFollowedAndNotShown() async throws {
        let api = try Stub { .to("/login?next=" + $0.path.replacingOccurrences(of: "=", with: "%3D"), 302) }
        let through = try client(try await rotating(), [api], .query("api_key"))
        let (_, response) = try await through.data(from: "/price")
        XCTAssertEqual(response.statusCode, 302)
        XCTAssertEqual(api.asked.count, 1)
        XCTAssertFalse("\(response) \(response.allHeaderFields)".contains(key1))
        api.stop()
    }

    func testPlainHTTPToThisMachineTakesNoProxy() async throws {
        let proxy = try Stub { _ in Told(status: 502) }
        let api = try Stub()
        let through = try client(try await rotating(), [api])
        setenv("http_proxy", proxy.url, 1)
        defer { unsetenv("http_proxy") }
        do {
            _ = try await through.data(from: "/x")
            XCTAssertEqual(api.asked.map(\.key), [key1])
        } catch let error as KeyswapError {
            XCTAssertEqual(error.code, .insecureURL)
        }
        setenv("no_proxy", "127.0.0.1", 1)
        defer { unsetenv("no_proxy") }
        let status = try await through.data(from: "/x").1.statusCode
        XCTAssertEqual(status, 200)
        XCTAssert(proxy.asked.isEmpty, "\(proxy.asked)")
        for stub in [api, proxy] { stub.stop() }
    }

    func testAPathIsBelowTheBase() async throws {
        let api = try Stub()
        let keys = try await rotating()
        for base in ["\(api.url)/v1", "\(api.url)/v1/"] {
            let through = try Client(keys, baseURL: URL(string: base)!, scheme: .header("x-api-key"))
            for path in ["/price", "price", "?q=1", "//evil.example.com/x"] { _ = try await through.data(from: path) }
        }
        let paths = ["/v1/price", "/v1/price", "/v1?q=1", "/v1//evil.example.com/x"]
        XCTAssertEqual(api.asked.map(\.path), paths + paths)
        api.stop()
    }

    func testNothingOfAKeyIsStored() async throws {
        let api = try Stub { _ in Told(body: "here", headers: ["Cache-Control": "max-age=60"]) }
        let configuration = URLSessionConfiguration.ephemeral
        let cache = URLCache(memoryCapacity: 1 << 20, diskCapacity: 0, diskPath: nil)
        configuration.urlCache = cache
        let through = try Client(
            try await rotating(), baseURL: URL(string: api.url)!, scheme: .header("x-api-key"),
            configuration: configuration)
        for _ in 0..<2 { _ = try await through.data(from: "/x") }
        XCTAssertEqual(api.asked.count, 2)
        XCTAssertNil(cache.cachedResponse(for: request("\(api.url)/x")))
        api.stop()
    }

    func testABootstrapCredentialFromAStorage() async throws {
        struct Stored: SecretStorage {
            let secret: String?
            func load() throws -> String? { secret }
        }
        let world = try World()
        defer { world.stop() }
        let url = URL(string: world.setURL)!
        let keys = try await KeySwap.follow(
            .endpoint(url, bootstrapStorage: Stored(secret: world.bootstrap)), policy: quick, timeout: .seconds(10))
        XCTAssertEqual(try keys.current.id, "k1")
        for (source, code) in [
            (try Source.endpoint(url, bootstrapStorage: Stored(secret: nil)), KeyswapError.Code.sourceFailed),
            (try Source.endpoint(url, noBootstrap: true), .bootstrapRejected),
        ] {
            do {
                _ = try await KeySwap.follow(source, policy: quick, timeout: .seconds(10))
                XCTFail("it was served")
            } catch let error as KeyswapError {
                XCTAssertEqual(error.code, code, "\(error)")
            }
        }
        let document = #"{"current": {"id": "k9", "material": {"key": "s"}}}"#
        let held = try await KeySwap.follow(.storage(Stored(secret: document)), policy: quick, timeout: .seconds(10))
        XCTAssertEqual(try held.current.id, "k9")
    }
}

private let quick = Policy {
    $0.fetchFloor = .milliseconds(50)
    $0.fetchFloorMin = .milliseconds(50)
    $0.wait = .milliseconds(300)
}
private let slow = Policy {
    $0.fetchFloor = .seconds(5)
    $0.fetchFloorMin = .seconds(5)
}
