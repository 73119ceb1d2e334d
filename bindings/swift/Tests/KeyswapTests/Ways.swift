import Foundation
import Keyswap
import XCTest

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// The header that the key goes into, in a spelling that a library would not choose.
let spelled = "X-MEXC-APIKEY"
let refused = "the-key-before"
let accepted = "the-key-that-is-accepted"

/// `URLSession`, beneath keyswap or alone: the same program.
protocol Way: Sendable {
    func data(_ request: URLRequest) async throws -> (Data, HTTPURLResponse)
    func upload(_ request: URLRequest, _ body: Data) async throws -> (Data, HTTPURLResponse)
    func upload(_ request: URLRequest, file: URL) async throws -> (Data, HTTPURLResponse)
    /// Hears the body in parts, as they come.
    func stream(_ request: URLRequest, _ heard: @escaping @Sendable (Data) -> Void) async throws
}

struct Keyed: Way {
    let client: Client

    func data(_ request: URLRequest) async throws -> (Data, HTTPURLResponse) { try await client.data(for: request) }
    func upload(_ request: URLRequest, _ body: Data) async throws -> (Data, HTTPURLResponse) {
        try await client.upload(for: request, from: body)
    }
    func upload(_ request: URLRequest, file: URL) async throws -> (Data, HTTPURLResponse) {
        try await client.upload(for: request, fromFile: file)
    }
    func stream(_ request: URLRequest, _ heard: @escaping @Sendable (Data) -> Void) async throws {
        for try await part in try await client.bytes(for: request).0.chunks { heard(part) }
    }
}

/// A program without keyswap puts a key on its requests itself.
struct Alone: Way {
    private let session = URLSession(configuration: .ephemeral)

    private func keyed(_ request: URLRequest) -> URLRequest {
        var keyed = request
        keyed.setValue(accepted, forHTTPHeaderField: spelled)
        return keyed
    }

    func data(_ request: URLRequest) async throws -> (Data, HTTPURLResponse) {
        let (data, response) = try await session.data(for: keyed(request))
        return (data, response as! HTTPURLResponse)
    }
    func upload(_ request: URLRequest, _ body: Data) async throws -> (Data, HTTPURLResponse) {
        let (data, response) = try await session.upload(for: keyed(request), from: body)
        return (data, response as! HTTPURLResponse)
    }
    func upload(_ request: URLRequest, file: URL) async throws -> (Data, HTTPURLResponse) {
        let (data, response) = try await session.upload(for: keyed(request), fromFile: file)
        return (data, response as! HTTPURLResponse)
    }
    func stream(_ request: URLRequest, _ heard: @escaping @Sendable (Data) -> Void) async throws {
        let hearing = Hearing(heard)
        let session = URLSession(configuration: .ephemeral, delegate: hearing, delegateQueue: nil)
        defer { session.finishTasksAndInvalidate() }
        try await hearing.run(session.dataTask(with: keyed(request)))
    }
}

/// `URLSession.bytes` is not on every platform, and a delegate is.
private final class Hearing: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    private let heard: @Sendable (Data) -> Void
    private var done: CheckedContinuation<Void, any Error>?

    init(_ heard: @escaping @Sendable (Data) -> Void) { self.heard = heard }

    func run(_ task: URLSessionDataTask) async throws {
        try await withCheckedThrowingContinuation {
            done = $0
            task.resume()
        }
    }

    func urlSession(_: URLSession, dataTask _: URLSessionDataTask, didReceive data: Data) { heard(data) }

    func urlSession(_: URLSession, task _: URLSessionTask, didCompleteWithError error: (any Error)?) {
        if let error { done?.resume(throwing: error) } else { done?.resume() }
    }
}

/// Keys that are refused once, and then others that are not.
func rotating(wait: Duration = .seconds(10)) async throws -> KeySwap {
    let keys = Turns([refused, accepted])
    let policy = Policy {
        $0.fetchFloor = .milliseconds(50)
        $0.fetchFloorMin = .milliseconds(50)
        $0.wait = wait
    }
    return try await KeySwap.follow(
        .of {
            let key = keys.next()
            return Document(current: .init(id: key, key: key))
        }, policy: policy, timeout: .seconds(10))
}

/// One after another; the last one stays.
final class Turns: @unchecked Sendable {
    private let lock = NSLock()
    private var rest: [String]

    init(_ rest: [String]) { self.rest = rest }
    func next() -> String { lock.withLock { rest.count > 1 ? rest.removeFirst() : rest[0] } }
}

/// What threads add to.
final class Noted<T: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var noted: [T] = []

    var all: [T] { lock.withLock { noted } }
    func add(_ each: T) { lock.withLock { noted.append(each) } }
    func clear() { lock.withLock { noted = [] } }
}

/// Bodies as servers encode them. Nothing is made smaller: each of these forms may hold its bytes as they are.
enum Coding: String, CaseIterable {
    case identity, gzip, deflate, zstd

    func encoded(_ plain: Data) -> Data {
        switch self {
        case .identity: plain
        case .gzip:
            Data([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]) + stored(plain)
                + little(crc32(plain), 4) + little(UInt32(plain.count), 4)
        case .deflate: Data([0x78, 0x01]) + stored(plain) + Data(little(adler32(plain), 4).reversed())
        case .zstd: Data([0x28, 0xb5, 0x2f, 0xfd, 0, 0x58]) + raw(plain)
        }
    }

    private func pieces(_ plain: Data, _ most: Int) -> [(piece: Data, isLast: Bool)] {
        stride(from: 0, to: max(plain.count, 1), by: most).map { at in
            (Data(plain.dropFirst(at).prefix(most)), at + most >= plain.count)
        }
    }

    private func stored(_ plain: Data) -> Data {
        pieces(plain, 65535).reduce(into: Data()) { made, each in
            let size = UInt32(each.piece.count)
            made += Data([each.isLast ? 1 : 0]) + little(size, 2) + little(~size, 2) + each.piece
        }
    }

    private func raw(_ plain: Data) -> Data {
        pieces(plain, 65536).reduce(into: Data()) { made, each in
            made += little(UInt32(each.piece.count) << 3 | (each.isLast ? 1 : 0), 3) + each.piece
        }
    }

    private func little(_ number: UInt32, _ bytes: Int) -> Data {
        Data((0..<bytes).map { UInt8(truncatingIfNeeded: number >> (8 * UInt32($0))) })
    }

    private func crc32(_ plain: Data) -> UInt32 {
        ~plain.reduce(~0) { crc, byte in
            (0..<8).reduce(crc ^ UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
        }
    }

    private func adler32(_ plain: Data) -> UInt32 {
        let (low, high) = plain.reduce((UInt32(1), UInt32(0))) { sums, byte in
            let low = (sums.0 + UInt32(byte)) % 65521
            return (low, (sums.1 + low) % 65521)
        }
        return high << 16 | low
    }
}
