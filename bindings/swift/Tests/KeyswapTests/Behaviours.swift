import Foundation
import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// With keyswap added, everything is as before, but for the key: each behaviour of `Client`, beside `URLSession` alone.
final class Behaviours: BehaviourCase {
    // MARK: - Rejections

    func testARejectionThatDoesNotEnd() async throws {
        let chunked = "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n"
        let refusals: [String: @Sendable (Line) -> Void] = [
            "short": { $0.answer(401, Data("short".utf8), length: 100) },
            "cut": {
                $0.answer(401, Data("short".utf8), length: 100)
                $0.hangUp()
            },
            "dripping": { line in
                line.answer(401, Data(), length: 1000)
                while line.say("x") { Thread.sleep(forTimeInterval: 0.02) }
            },
            "dripping chunks": { line in
                line.say(chunked)
                while line.say("1\r\nx\r\n") { Thread.sleep(forTimeInterval: 0.02) }
            },
            "endless": { line in
                line.say(chunked)
                let chunk = Data("1000\r\n".utf8) + Data(repeating: 120, count: 0x1000) + Data("\r\n".utf8)
                // As fast as a network, and not as memory: URLSession on Linux queues all that comes, and cannot be paused.
                while line.say(chunk) { Thread.sleep(forTimeInterval: 0.0005) }
            },
            "to the end": { $0.say("HTTP/1.1 401 No\r\nConnection: close\r\n\r\nit goes on until ") },
        ]
        try await behaviour("a rejected response that does not end is given up") {
            for (name, refuse) in refusals {
                let wire = try Wire { heard, line in
                    if BehaviourCase.isAccepted(heard) { line.answer(200, Data("yes".utf8)) } else { refuse(line) }
                }
                let way = try await keyed(wire.url)
                let began = ContinuousClock.now
                let (data, response) = try await way.data(request("\(wire.url)/"))
                XCTAssertEqual([response.statusCode, wire.heard.count], [200, 2], name)
                XCTAssertEqual(data, Data("yes".utf8), name)
                XCTAssertLessThan(ContinuousClock.now - began, .seconds(3), name)
                wire.stop()
            }
            return nil
        }
    }

    func testASmallRejection() async throws {
        try await behaviour("a small rejection keeps its connection, and is returned if all is in vain") {
            for isChunked in [false, true] {
                let (connections, asked) = (Noted<Int>(), Noted<String>())
                let wire = try Wire { heard, line in
                    connections.add(line.number)
                    asked.add(heard.value(spelled) ?? "")
                    let body = "no \(asked.all.count)"
                    if isChunked {
                        line.say("HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\(body)\r\n0\r\n\r\n")
                    } else {
                        line.answer(401, Data(body.utf8))
                    }
                }
                let way = try await keyed(wire.url, wait: .seconds(2))
                let (data, response) = try await way.data(request("\(wire.url)/"))
                XCTAssertEqual(response.statusCode, 401)
                XCTAssertEqual(String(decoding: data, as: UTF8.self), "no 1")
                XCTAssertEqual(Set(asked.all), [refused, accepted])
                XCTAssertEqual(Set(connections.all).count, 1, "chunked: \(isChunked)")
                let alone = Alone()
                for _ in 0..<2 { _ = try await alone.data(request("\(wire.url)/")) }
                XCTAssertEqual(Set(connections.all).count, 2, "alone, chunked: \(isChunked)")
                wire.stop()
            }
            return nil
        }
    }

    // MARK: - Bodies

    func testABodyThatCanBeHadAgain() async throws {
        let body = Data((0..<100_000).map { UInt8($0 % 23 + 97) })
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("keyswap-\(UUID().uuidString)")
        try body.write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let sends: [String: @Sendable (any Way, URLRequest) async throws -> HTTPURLResponse] = [
            "in the request": { way, request in
                var request = request
                request.httpBody = body
                return try await way.data(request).1
            },
            "data": { try await $0.upload($1, body).1 },
            "file": { try await $0.upload($1, file: file).1 },
        ]
        try await behaviour("a body that can be had again is sent again") {
            for (name, send) in sends {
                for method in ["POST", "PUT"] {
                    let wire = try Wire { $1.answer(BehaviourCase.isAccepted($0) ? 200 : 401) }
                    let asked = request("\(wire.url)/", method, ["Content-Type": "text/own"])
                    for way in [try await keyed(wire.url), Alone()] as [any Way] {
                        let response = try await send(way, asked)
                        XCTAssertEqual(response.statusCode, 200, name)
                    }
                    XCTAssertEqual(wire.heard.map(\.body), [body, body, body], name)
                    XCTAssertEqual(Set(wire.heard.map(comparable)).count, 1, "\(name): \(wire.heard.map(\.headers))")
                    wire.stop()
                }
            }
            return nil
        }
    }

    func testABodyThatCanBeHadOnce() async throws {
        try await behaviour("a body that can be had once is sent once") {
            let wire = try Wire { $1.answer(BehaviourCase.isAccepted($0) ? 200 : 401) }
            var statuses: [Int] = []
            for way in [try await keyed(wire.url), Alone()] as [any Way] {
                var asked = request("\(wire.url)/", "POST", ["Content-Type": "text/own"])
                asked.httpBodyStream = InputStream(data: Data("one part after another".utf8))
                statuses.append(try await way.data(asked).1.statusCode)
            }
            XCTAssertEqual(statuses, [401, 200])
            XCTAssertEqual(wire.heard.map(\.body), Array(repeating: Data("one part after another".utf8), count: 2))
            XCTAssertEqual(Set(wire.heard.map(comparable)).count, 1, "\(wire.heard.map(\.headers))")
            wire.stop()
            return nil
        }
    }

    private let byCode = Classifier(statuses: [200], bodyLimit: 64) { _, _, body in
        guard let body else { return .needBody }
        return String(decoding: body, as: UTF8.self).contains("bad_key") ? .rejected : .accepted
    }

    func testAClassifierSeesTheDecodedBody() async throws {
        try await behaviour("a classifier sees the body as the library decodes it, and the program all of it") {
            var decoded: Set<Coding> = []
            for coding in Coding.allCases {
                for size in [0, 200_000] {
                    let tail = Data((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) })
                    let good = Data(#"{"code": "ok"}"#.utf8) + tail
                    let encoded = [coding.encoded(Data(#"{"code": "bad_key"}"#.utf8) + tail), coding.encoded(good)]
                    let wire = try Wire { heard, line in
                        line.answer(
                            200, encoded[BehaviourCase.isAccepted(heard) ? 1 : 0],
                            headers: coding == .identity ? [:] : ["Content-Encoding": coding.rawValue])
                    }
                    // Which codings it knows depends on the machine.
                    if let alone = try? await Alone().data(request("\(wire.url)/")).0, alone == good {
                        decoded.insert(coding)
                        let way = try await keyed(wire.url, classifier: byCode)
                        let whole = try await way.data(request("\(wire.url)/")).0
                        XCTAssertEqual(whole, good, "\(coding)")
                        let parts = Noted<Data>()
                        try await keyed(wire.url, classifier: byCode).stream(request("\(wire.url)/"), parts.add)
                        XCTAssertEqual(parts.all.reduce(Data(), +), good, "\(coding)")
                    }
                    wire.stop()
                }
            }
            XCTAssert(decoded.isSuperset(of: [.identity, .gzip, .deflate]), "\(decoded)")
            return nil
        }
    }

    func testAStreamedResponse() async throws {
        try await behaviour("a streamed response arrives as it is sent, looked into or not") {
            let ways: [(Classifier?, isAlone: Bool)] = [(nil, false), (byCode, false), (nil, true)]
            for (classifier, isAlone) in ways {
                let (isHeard, late) = (DispatchSemaphore(value: 0), Noted<String>())
                let wire = try Wire { heard, line in
                    guard BehaviourCase.isAccepted(heard) else {
                        line.answer(401)
                        return
                    }
                    line.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n\(String(repeating: "x", count: 64))\r\n")
                    if isHeard.wait(timeout: .now() + 5) == .timedOut { late.add("the beginning did not arrive") }
                    line.say("3\r\nend\r\n0\r\n\r\n")
                }
                let parts = Noted<Data>()
                let way: any Way = isAlone ? Alone() : try await keyed(wire.url, classifier: classifier)
                if classifier != nil {
                    // It is asked about 200 alone.
                    let keys = try await rotating()
                    try await keys.refresh(timeout: .seconds(10))
                    let client = try Client(
                        keys, baseURL: URL(string: wire.url)!, scheme: .header(spelled), classifier: classifier)
                    try await Keyed(client: client).stream(request("\(wire.url)/")) {
                        parts.add($0)
                        isHeard.signal()
                    }
                } else {
                    try await way.stream(request("\(wire.url)/")) {
                        parts.add($0)
                        isHeard.signal()
                    }
                }
                XCTAssertEqual(late.all, [])
                XCTAssertEqual(parts.all.reduce(Data(), +), Data((String(repeating: "x", count: 64) + "end").utf8))
                wire.stop()
            }
            return nil
        }
    }

    // MARK: - Headers

    func testNamesOfHeaders() async throws {
        try await behaviour("names of headers keep their case on HTTP/1.1") {
            let wire = try Wire { $1.answer() }
            let own = ["X-Of-The-Program": "1"]
            for way in [try await keyed(wire.url), Alone()] as [any Way] {
                _ = try await way.data(request("\(wire.url)/", "GET", own))
            }
            let signing = try Client(
                try await rotating(), baseURL: URL(string: wire.url)!,
                scheme: .sign { _, _ in Signature(headers: ["X-SIGN": "1"]) })
            _ = try await signing.data(from: "/")
            let names = wire.heard.map { $0.headers.map(\.name) }
            wire.stop()
            XCTAssert(names[0].contains("X-Of-The-Program"), "\(names[0])")
            XCTAssertEqual(Set(names[0]), Set(names[1]), "alone")
            if names[1].contains(spelled) {
                XCTAssert(names[2].contains("X-SIGN"), "\(names[2])")
                return nil
            }
            XCTAssert(names[1].contains("X-Mexc-Apikey"), "\(names[1])")
            return "URLRequest on Linux begins each word of a name with a capital, and writes the rest small"
        }
    }

    func testHeadersOfTheProgramsOwn() async throws {
        try await behaviour("headers of the program's own are sent as they are") {
            let wire = try Wire { $1.answer(BehaviourCase.isAccepted($0) ? 200 : 401) }
            let own = [
                "User-Agent": "own/1", "Accept": "text/own", "Authorization": "Bearer own", "X-Own": #"a, b;c="d""#,
                "Accept-Language": "tlh", "X-Empty": "",
            ]
            for way in [try await keyed(wire.url), Alone()] as [any Way] {
                var asked = request("\(wire.url)/x?a=%20b", "POST", own)
                asked.httpBody = Data("text".utf8)
                _ = try await way.data(asked)
            }
            XCTAssertEqual(wire.heard.count, 3)
            XCTAssertEqual(Set(wire.heard.map(comparable)).count, 1, "\(wire.heard.map(comparable))")
            for (name, value) in own { XCTAssertEqual(wire.heard[0].value(name), value, name) }
            wire.stop()
            return nil
        }
    }

    func testCookies() async throws {
        try await behaviour("cookies are kept as the library keeps them") {
            let sent = Noted<String>()
            let wire = try Wire { heard, line in
                sent.add(heard.value("cookie").map { $0.components(separatedBy: "; ").sorted().joined(separator: "; ") } ?? "none")
                if BehaviourCase.isAccepted(heard) {
                    line.answer(200, headers: ["Set-Cookie": "a=1; Path=/"])
                } else {
                    line.answer(401)
                }
            }
            var kept: [[String]] = []
            for way in [try await keyed(wire.url), Alone()] as [any Way] {
                // The key is accepted when it begins to count.
                _ = try await way.data(request("\(wire.url)/x"))
                sent.clear()
                var shown: [String] = []
                for headers in [[:], ["Cookie": "own=1"]] {
                    let response = try await way.data(request("\(wire.url)/x", "GET", headers)).1
                    shown.append(response.value(forHTTPHeaderField: "set-cookie") ?? "none")
                }
                kept.append(sent.all + shown)
            }
            XCTAssertEqual(kept[0], kept[1])
            XCTAssertEqual(kept[0].first, "a=1", "it has a jar")
            wire.stop()
            return nil
        }
    }
}
