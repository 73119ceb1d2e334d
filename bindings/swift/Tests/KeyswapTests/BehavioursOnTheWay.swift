import Foundation
import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// The same of redirects, of requests that are given up, and of proxies.
final class BehavioursOnTheWay: BehaviourCase {
    func testRedirects() async throws {
        try await behaviour("redirects are followed as the library follows them") {
            var losesBodies = false
            for method in ["GET", "POST", "PUT"] {
                for status in [301, 302, 303, 307, 308] {
                    let wire = try Wire { heard, line in
                        if heard.path == "/there" || !BehaviourCase.isAccepted(heard) {
                            line.answer(BehaviourCase.isAccepted(heard) ? 200 : 401, Data("there".utf8))
                        } else {
                            line.answer(status, headers: ["Location": "/there"])
                        }
                    }
                    var hops: [[String]] = []
                    var bodies: [String] = []
                    for way in [try await keyed(wire.url), Alone()] as [any Way] {
                        let before = wire.heard.count
                        var asked = request("\(wire.url)/\(status)", method, ["Content-Type": "text/own"])
                        if method != "GET" { asked.httpBody = Data("text".utf8) }
                        let (data, response) = try await way.data(asked)
                        XCTAssertEqual(response.statusCode, 200)
                        XCTAssertEqual(data, Data("there".utf8))
                        XCTAssertEqual(response.url?.path, "/there")
                        let sends = wire.heard.dropFirst(before).filter(BehaviourCase.isAccepted)
                        hops.append(sends.map(\.line))
                        bodies.append(String(decoding: sends.last?.body ?? Data(), as: UTF8.self))
                    }
                    XCTAssertEqual(hops[0], hops[1], "\(method) \(status)")
                    let keepsMethod = hops[0].last?.hasPrefix(method) == true
                    XCTAssertEqual(bodies[0], keepsMethod && method != "GET" ? "text" : "", "\(method) \(status)")
                    if bodies[0] != bodies[1] {
                        XCTAssertEqual(bodies[1], "")
                        losesBodies = true
                    }
                    wire.stop()
                }
            }
            return losesBodies ? "alone, URLSession on Linux forgets a body that a redirect keeps; here it is sent" : nil
        }
    }

    /// A server that says nothing, or not enough, and knows when the other side has gone.
    private func waiting() throws -> (Wire, asked: DispatchSemaphore, gone: DispatchSemaphore) {
        let (asked, gone) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        let wire = try Wire { heard, line in
            guard BehaviourCase.isAccepted(heard) else {
                line.answer(401)
                return
            }
            if heard.path == "/begin" { line.answer(200, Data("begin".utf8), length: 1000) }
            asked.signal()
            line.untilGone()
            gone.signal()
        }
        return (wire, asked, gone)
    }

    private func isSignalled(_ semaphore: DispatchSemaphore) async -> Bool {
        await withCheckedContinuation { done in
            Thread.detachNewThread { done.resume(returning: semaphore.wait(timeout: .now() + 5) == .success) }
        }
    }

    private func error(_ work: () async throws -> Void) async -> String {
        do {
            try await work()
            return "nothing was thrown"
        } catch let error as URLError {
            return "URLError \(error.code.rawValue)"
        } catch {
            return "\(type(of: error)) \(error)"
        }
    }

    func testATimeout() async throws {
        try await behaviour("a timeout ends the request") {
            for path in ["/hang", "/begin"] {
                let (wire, _, gone) = try waiting()
                var errors: [String] = []
                for way in [try await keyed(wire.url), Alone()] as [any Way] {
                    var asked = request("\(wire.url)\(path)")
                    asked.timeoutInterval = 1
                    let began = ContinuousClock.now
                    errors.append(await error { _ = try await way.data(asked) })
                    XCTAssertLessThan(ContinuousClock.now - began, .seconds(4))
                    let hasGone = await isSignalled(gone)
                    XCTAssert(hasGone, "the connection is still there")
                }
                XCTAssertEqual(errors, Array(repeating: "URLError \(URLError.Code.timedOut.rawValue)", count: 2), path)
                wire.stop()
            }
            return nil
        }
    }

    func testARequestThatIsGivenUp() async throws {
        try await behaviour("a request that is given up ends its connection") {
            for path in ["/hang", "/begin"] {
                let (wire, asked, gone) = try waiting()
                var errors: [String] = []
                for way in [try await keyed(wire.url), Alone()] as [any Way] {
                    let sent = request("\(wire.url)\(path)")
                    let sending = Task { try await way.data(sent) }
                    let hasAsked = await isSignalled(asked)
                    XCTAssert(hasAsked)
                    try await Task.sleep(for: .milliseconds(50))
                    sending.cancel()
                    errors.append(await error { _ = try await sending.value })
                    let hasGone = await isSignalled(gone)
                    XCTAssert(hasGone, "the connection is still there")
                }
                XCTAssertEqual(errors, Array(repeating: "URLError \(URLError.Code.cancelled.rawValue)", count: 2), path)
                wire.stop()
            }
            return nil
        }
    }

    /// With these variables, and no others that name a proxy.
    private func environment(_ variables: [String: String], _ work: () async throws -> Void) async rethrows {
        let names = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"].flatMap { [$0, $0.uppercased()] }
        let before = ProcessInfo.processInfo.environment
        for name in names { unsetenv(name) }
        for (name, value) in variables { setenv(name, value, 1) }
        defer {
            for name in names { if let value = before[name] { setenv(name, value, 1) } else { unsetenv(name) } }
        }
        try await work()
    }

    func testTheProxiesOfTheEnvironment() async throws {
        #if !canImport(FoundationNetworking)
        throw XCTSkip("only curl reads the environment")
        #endif
        try await behaviour("the proxies of the environment are used, and NO_PROXY counts") {
            let proxy = try Wire { $1.answer(BehaviourCase.isAccepted($0) ? 200 : 401) }
            try await environment(["http_proxy": proxy.url, "no_proxy": "direct.test"]) {
                for way in [
                    try await keyed("http://api.test", "http://direct.test", plainHTTPAllowed: true), Alone(),
                ] as [any Way] {
                    let status = try await way.data(request("http://api.test/a")).1.statusCode
                    XCTAssertEqual(status, 200)
                    let direct = await error { _ = try await way.data(request("http://direct.test/b")) }
                    XCTAssertEqual(direct, "URLError \(URLError.Code.cannotFindHost.rawValue)")
                }
            }
            XCTAssertEqual(proxy.heard.map(\.path), Array(repeating: "http://api.test/a", count: 3))
            proxy.stop()
            return nil
        }
    }

    func testAProxyThatCannotBeUsed() async throws {
        #if !canImport(FoundationNetworking)
        throw XCTSkip("only curl reads the environment")
        #endif
        try await behaviour("a proxy that cannot be used is said") {
            var errors: [String] = []
            try await environment(["all_proxy": "socks5://127.0.0.1:1"]) {
                for way in [try await keyed("http://api.test", plainHTTPAllowed: true), Alone()] as [any Way] {
                    errors.append(await error { _ = try await way.data(request("http://api.test/")) })
                }
            }
            XCTAssertEqual(errors, Array(repeating: "URLError \(URLError.Code.cannotConnectToHost.rawValue)", count: 2))
            return "URLSession says of a proxy that is not there what it says of a server"
        }
    }
}
