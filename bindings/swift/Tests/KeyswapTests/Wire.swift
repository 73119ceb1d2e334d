import Foundation

#if canImport(Glibc)
import Glibc
private let stream = Int32(SOCK_STREAM.rawValue)
private let quietly = Int32(MSG_NOSIGNAL)
#else
import Darwin
private let stream = SOCK_STREAM
private let quietly: Int32 = 0
#endif

/// One request, as it stood on the wire.
struct Heard: Sendable {
    let line: String
    /// The headers in their spelling and order.
    let headers: [(name: String, value: String)]
    let body: Data

    var method: String { String(line.prefix { $0 != " " }) }
    var path: String { line.components(separatedBy: " ").dropFirst().first ?? "" }
    func value(_ name: String) -> String? { headers.first { $0.name.lowercased() == name.lowercased() }?.value }
}

/// The connection that a request came on.
final class Line: Sendable {
    private let socket: Int32
    /// Which of the server's it is.
    let number: Int

    fileprivate init(_ socket: Int32, _ number: Int) {
        self.socket = socket
        self.number = number
    }

    /// Whether it could be said: the other side may be gone.
    @discardableResult
    func say(_ bytes: Data) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let wrote = bytes[(bytes.startIndex + sent)...].withUnsafeBytes {
                send(socket, $0.baseAddress, $0.count, quietly)
            }
            if wrote <= 0 { return false }
            sent += wrote
        }
        return true
    }

    @discardableResult
    func say(_ text: String) -> Bool { say(Data(text.utf8)) }

    /// Says this. `length` is what it claims to be, where that is another one.
    @discardableResult
    func answer(
        _ status: Int = 200, _ body: Data = Data("{}".utf8), length: Int? = nil, headers: [String: String] = [:]
    ) -> Bool {
        let more = headers.map { "\($0.key): \($0.value)\r\n" }.joined()
        return say(Data("HTTP/1.1 \(status) Said\r\nContent-Length: \(length ?? body.count)\r\n\(more)\r\n".utf8) + body)
    }

    /// Nothing more will come.
    func hangUp() { shutdown(socket, Int32(SHUT_RDWR)) }

    /// Waits until the other side has gone.
    func untilGone() {
        var byte: UInt8 = 0
        while recv(socket, &byte, 1, 0) > 0 {}
    }

    fileprivate func more() -> Data? {
        var buffer = [UInt8](repeating: 0, count: 16384)
        let got = recv(socket, &buffer, buffer.count, 0)
        return got > 0 ? Data(buffer[..<got]) : nil
    }
}

/// A server that is told each byte to say. A connection is kept until either side ends it.
final class Wire: @unchecked Sendable {
    private let listening: Int32
    private let say: @Sendable (Heard, Line) -> Void
    private let lock = NSLock()
    private var noted: [Heard] = []
    private var open: Set<Int32> = []
    private var opened = 0
    let port: UInt16

    var url: String { "http://127.0.0.1:\(port)" }
    var heard: [Heard] { lock.withLock { noted } }

    init(_ say: @escaping @Sendable (Heard, Line) -> Void) throws {
        self.say = say
        listening = socket(AF_INET, stream, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (handle, length) = (listening, size)
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(handle, $0, length) }
        }
        guard bound == 0, listen(listening, 64) == 0 else { throw Broken("no port for a server") }
        _ = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(handle, $0, &size) }
        }
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { [self] in
            while true {
                let connection = accept(listening, nil, nil)
                if connection < 0 {
                    close(listening)
                    return
                }
                lock.withLock { _ = open.insert(connection) }
                Thread.detachNewThread { [self] in serve(connection) }
            }
        }
    }

    func stop() {
        shutdown(listening, Int32(SHUT_RDWR))
        for connection in lock.withLock({ open }) { shutdown(connection, Int32(SHUT_RDWR)) }
    }

    private func serve(_ connection: Int32) {
        let number = lock.withLock {
            opened += 1
            return opened
        }
        let line = Line(connection, number)
        var rest = Data()
        while let heard = read(line, &rest) {
            lock.withLock { noted.append(heard) }
            say(heard, line)
        }
        lock.withLock { _ = open.remove(connection) }
        close(connection)
    }

    /// One request; what came behind it is left in `rest`.
    private func read(_ line: Line, _ rest: inout Data) -> Heard? {
        guard let head = take(upTo: "\r\n\r\n", line, &rest) else { return nil }
        let lines = String(decoding: head, as: UTF8.self).components(separatedBy: "\r\n")
        let headers = lines.dropFirst().map { each in
            let parts = each.components(separatedBy: ":")
            return (name: parts[0], value: parts.dropFirst().joined(separator: ":").trimmingCharacters(in: .whitespaces))
        }
        let empty = Heard(line: lines[0], headers: headers, body: Data())
        if empty.value("expect") != nil { line.say("HTTP/1.1 100 Continue\r\n\r\n") }
        var body = Data()
        if empty.value("transfer-encoding") == "chunked" {
            while let size = take(upTo: "\r\n", line, &rest).flatMap({ Int(String(decoding: $0, as: UTF8.self), radix: 16) }) {
                guard let chunk = take(size + 2, line, &rest) else { return nil }
                if size == 0 { break }
                body += chunk.dropLast(2)
            }
        } else if let length = empty.value("content-length").flatMap({ Int($0) }) {
            guard let all = take(length, line, &rest) else { return nil }
            body = all
        }
        return Heard(line: lines[0], headers: headers, body: body)
    }

    private func take(upTo end: String, _ line: Line, _ rest: inout Data) -> Data? {
        while true {
            if let found = rest.range(of: Data(end.utf8)) {
                defer { rest = Data(rest[found.upperBound...]) }
                return Data(rest[..<found.lowerBound])
            }
            guard let more = line.more() else { return nil }
            rest += more
        }
    }

    private func take(_ count: Int, _ line: Line, _ rest: inout Data) -> Data? {
        while rest.count < count {
            guard let more = line.more() else { return nil }
            rest += more
        }
        defer { rest = Data(rest.dropFirst(count)) }
        return Data(rest.prefix(count))
    }
}
