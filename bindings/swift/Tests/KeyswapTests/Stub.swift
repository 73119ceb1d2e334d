import Foundation

#if canImport(Glibc)
import Glibc
private let stream = Int32(SOCK_STREAM.rawValue)
#else
import Darwin
private let stream = SOCK_STREAM
#endif

/// What a `Stub` was asked.
struct Asked: Sendable {
    let method: String
    let path: String
    /// By names in lower case.
    let headers: [String: String]
    let body: String

    var key: String? { headers["x-api-key"] }
    func has(_ text: String) -> Bool { ([path, body] + headers.values).contains { $0.contains(text) } }
}

/// What a `Stub` answers.
struct Told: Sendable {
    var status = 200
    var body = ""
    var headers: [String: String] = [:]

    static func to(_ location: String, _ status: Int) -> Told { Told(status: status, headers: ["Location": location]) }
}

/// A server on this machine that notes what it is asked, and answers as it is told, one request a connection.
final class Stub: @unchecked Sendable {
    private let listening: Int32
    private let answer: @Sendable (Asked) -> Told
    private let lock = NSLock()
    private var noted: [Asked] = []
    let port: UInt16

    var url: String { "http://127.0.0.1:\(port)" }
    var asked: [Asked] { lock.withLock { noted } }
    func count(_ path: String) -> Int { asked.filter { $0.path == path }.count }

    init(_ answer: @escaping @Sendable (Asked) -> Told = { _ in Told() }) throws {
        self.answer = answer
        listening = socket(AF_INET, stream, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (handle, length) = (listening, size)
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(handle, $0, length) }
        }
        guard bound == 0, listen(listening, 64) == 0 else { throw Broken("no port for a stub") }
        _ = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(handle, $0, &size) }
        }
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { [self] in
            while true {
                let connection = accept(listening, nil, nil)
                if connection < 0 {
                    // Not before: its number would be that of another socket, which this thread would serve.
                    close(listening)
                    return
                }
                Thread.detachNewThread { [self] in serve(connection) }
            }
        }
    }

    func stop() { shutdown(listening, Int32(SHUT_RDWR)) }

    private func serve(_ connection: Int32) {
        defer { close(connection) }
        guard let request = read(connection) else { return }
        lock.withLock { noted.append(request) }
        let told = answer(request)
        var text = "HTTP/1.1 \(told.status) told\r\nConnection: close\r\nContent-Length: \(told.body.utf8.count)\r\n"
        for (name, value) in told.headers { text += "\(name): \(value)\r\n" }
        let bytes = Array((text + "\r\n" + told.body).utf8)
        var sent = 0
        while sent < bytes.count {
            let wrote = bytes[sent...].withUnsafeBytes { send(connection, $0.baseAddress, $0.count, 0) }
            if wrote <= 0 { return }
            sent += wrote
        }
    }

    private func read(_ connection: Int32) -> Asked? {
        var data = Data()
        var buffer = [UInt8](repeating: 0, count: 16384)
        while true {
            if let end = data.range(of: Data("\r\n\r\n".utf8)) {
                let lines = String(decoding: data[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
                var headers: [String: String] = [:]
                for line in lines.dropFirst() {
                    let parts = line.components(separatedBy: ": ")
                    headers[parts[0].lowercased()] = parts.dropFirst().joined(separator: ": ")
                }
                let body = data[end.upperBound...]
                if body.count >= Int(headers["content-length"] ?? "0") ?? 0 {
                    let first = lines[0].components(separatedBy: " ")
                    return Asked(
                        method: first[0], path: first[1], headers: headers, body: String(decoding: body, as: UTF8.self))
                }
            }
            let got = recv(connection, &buffer, buffer.count, 0)
            if got <= 0 { return nil }
            data += buffer[..<got]
        }
    }
}
